// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The mapper over the real blockers, in one process: memory stores within one life, file stores across restarts. What the
// crash stores of the other tests take for granted (alignment, listings, lengths of objects) is asked of the real ones here.
#include "daemon/store/blocker.h"
#include "daemon/store/memory/memory_store.h"
#include "tests/daemon/mapper/mapper_life.h"

#include <QTemporaryDir>

using namespace archipelago;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

class RealLife {
public:
	/// `dir` empty: memory stores.
	RealLife(Rig &rig, const QString &dir) : m_rig(rig)
	{
		addRole("blockerb", RoleType::FileBlocker, kBlockerbPort, dir);
		addRole("blockerm", RoleType::FileBlocker, kBlockermPort, dir);
		addRole("mapperd", RoleType::Mapperd, kMapperPort, dir);
		runtime::PeerContext context(*rig.reactor, m_config);
		context.createDirs = true;
		for (const RoleConfig &role : m_config.roles) {
			if (role.type == RoleType::Mapperd)
				m_peers.push_back(mapper::makeMapper(context, role));
			else if (dir.isEmpty())
				m_peers.push_back(store::makeBlocker(context, role, std::make_unique<store::MemoryStore>(256u << 20)));
			else
				m_peers.push_back(store::makeBlocker(context, role));
			const Result<void> started = wait(m_peers.back()->start());
			if (!started) qFatal("%s", started.error().message.c_str());
		}
		client = std::make_unique<Client>(*rig.reactor);
	}
	~RealLife()
	{
		client.reset();
		while (!m_peers.empty()) {
			const Result<void> stopped = wait(m_peers.back()->stop());
			if (!stopped) qFatal("%s", stopped.error().message.c_str());
			m_peers.pop_back();
		}
	}
	template <typename T> T wait(runtime::Task<T> task)
	{
		std::optional<T> out;
		runtime::spawn(keep(std::move(task), out));
		m_rig.reactor->runUntil([&out] { return out.has_value(); });
		return std::move(*out);
	}

	std::unique_ptr<Client> client;

private:
	void addRole(const char *name, RoleType type, xseg::PortNo port, const QString &dir)
	{
		RoleConfig role;
		role.name = name;
		role.type = type;
		role.portnoStart = role.portnoEnd = port;
		role.blockerbPort = kBlockerbPort;
		role.blockermPort = kBlockermPort;
		role.archipDir = (dir + "/" + name).toStdString();
		m_config.roles.push_back(role);
	}
	template <typename T> static runtime::Task<void> keep(runtime::Task<T> task, std::optional<T> &out)
	{
		T value = co_await task;
		out.emplace(std::move(value));
	}

	Rig &m_rig;
	Config m_config;
	std::vector<std::unique_ptr<runtime::Peer>> m_peers;
};

constexpr uint64_t kSize = 64ull << 40;
constexpr uint32_t kLast = static_cast<uint32_t>(kSize / kBlockBytes - 1);

/// What a session does to a volume, and finds there afterwards.
void useVolume(RealLife &life, uint32_t value)
{
	const auto attached = life.wait(life.client->attach("db"));
	QVERIFY2(attached, attached ? "" : attached.error().message.c_str());
	for (uint32_t block : {0u, 1u, 8191u, 8192u, kLast})
		QVERIFY(life.wait(life.client->write(attached->handle, block, value + block)));
	QVERIFY(life.wait(life.client->flush(attached->handle)));
	for (uint32_t block : {0u, 1u, 8191u, 8192u, kLast}) {
		const auto got = life.wait(life.client->read(attached->handle, block));
		QVERIFY2(got, got ? "" : got.error().message.c_str());
		QCOMPARE(*got, value + block);
	}
	QCOMPARE(life.wait(life.client->read(attached->handle, 2)).value(), 0u);
	QVERIFY(life.wait(life.client->detach(attached->handle)));
}

} // namespace

class TestOverBlocker : public QObject {
	Q_OBJECT
	Rig m_rig{256u << 20};

private slots:
	void volume_inMemory()
	{
		RealLife life(m_rig, {});
		QVERIFY(life.wait(life.client->create("db", kSize)));
		for (uint32_t round = 1; round <= 3; ++round) useVolume(life, round * 1000);
		const auto info = life.wait(life.client->info("db"));
		QVERIFY(info);
		QCOMPARE(info->allocatedBytes, 5 * kBlockBytes);
		QCOMPARE(info->generation, 4u);
	}

	void volume_inFilesAcrossRestarts()
	{
		QTemporaryDir dir;
		{
			RealLife life(m_rig, dir.path());
			QVERIFY(life.wait(life.client->create("db", kSize)));
			useVolume(life, 1000);
		}
		RealLife life(m_rig, dir.path());
		const auto attached = life.wait(life.client->attach("db"));
		QVERIFY(attached);
		QCOMPARE(life.wait(life.client->read(attached->handle, kLast)).value(), 1000 + kLast);
		QVERIFY(life.wait(life.client->detach(attached->handle)));
		useVolume(life, 2000);
	}

	void names_listedInPages()
	{
		RealLife life(m_rig, {});
		for (int n = 0; n < 200; ++n) QVERIFY(life.wait(life.client->create("volume " + std::to_string(n), 512)));
		QVERIFY(life.wait(life.client->named(Op::CatRemove, "volume 7")));
		for (uint32_t rows : {6u, 50u, 1000u}) {
			const auto list = life.wait(life.client->list(rows));
			QVERIFY2(list, list ? "" : list.error().message.c_str());
			std::set<std::string> names;
			for (const VolumeInfo &info : *list) {
				QCOMPARE(info.error, 0);
				names.emplace(info.name, info.nameLength);
			}
			QCOMPARE(names.size(), size_t(199));
			QCOMPARE(list->size(), size_t(199));
		}
	}
};

QTEST_GUILESS_MAIN(TestOverBlocker)
#include "tst_over_blocker.moc"
