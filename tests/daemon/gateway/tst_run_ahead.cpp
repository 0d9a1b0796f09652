// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Runs of WRITEs are received ahead of their headers (run_ahead.h): wherever a run ends, and wherever the stream is cut, every
// byte lands where its command says.
#include "tests/daemon/gateway/nbd_rig.h"

#include <algorithm>
#include <map>
#include <random>

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint16_t kRead = 0, kWrite = 1, kFlush = 3;
constexpr uint32_t kVolume = 16u << 20, kEinval = 22, kEnospc = 28;

/// Commands, and what must come of them.
class Stream {
public:
	explicit Stream(unsigned seed) : m_dice(seed), m_model(kVolume, '\0') {}

	void play(unsigned runs)
	{
		for (unsigned i = 0; i < runs; ++i) {
			const uint32_t length = m_lengths[pick(std::size(m_lengths))];
			for (size_t n = pick(40); n > 0; --n) write(length);
			somethingElse();
		}
	}
	const std::string &bytes() const { return m_bytes; }
	const std::string &model() const { return m_model; }
	/// Of the first `bytes` of the stream: what the volume holds when all whole commands are done, and how many there are.
	std::pair<std::string, size_t> after(size_t bytes) const
	{
		std::string model(kVolume, '\0');
		for (const Written &w : m_written)
			if (w.end <= bytes) model.replace(w.offset, w.data.size(), w.data);
		const auto whole = std::ranges::count_if(m_ends, [bytes](size_t end) { return end <= bytes; });
		return {std::move(model), static_cast<size_t>(whole)};
	}
	const std::map<uint64_t, std::string> &replies() const { return m_replies; } ///< by cookie
	size_t pick(size_t n) { return m_dice() % n; }

private:
	static constexpr uint32_t m_lengths[] = {512, 4096, 4096, 4096, 12288, 65536, 131072, 131072 + 512};

	void write(uint32_t length)
	{
		const uint64_t offset = pick((kVolume - length) / 512 + 1) * 512; // some lie across two blocks
		const std::string data = pattern(length, static_cast<unsigned>(m_cookie));
		command(kWrite, offset, length);
		m_bytes += data;
		m_model.replace(offset, length, data);
		m_written.push_back({m_bytes.size(), offset, data});
		expect(0, "");
	}
	void refused(uint64_t offset, uint32_t length, uint32_t error)
	{
		command(kWrite, offset, length);
		m_bytes += pattern(length, 5);
		expect(error, "");
	}
	void somethingElse()
	{
		switch (pick(5)) {
		case 0: return refused(kVolume - 512, 4096, kEnospc);
		case 1: return refused(0, 4095, kEinval);
		case 2: command(kFlush, 0, 0); return expect(0, "");
		case 3: {
			const uint64_t offset = pick(kVolume / 512 - 16) * 512;
			command(kRead, offset, 8192);
			return expect(0, m_model.substr(offset, 8192));
		}
		default: return; // another length follows at once
		}
	}
	void command(uint16_t type, uint64_t offset, uint32_t length) { m_bytes += Wire::command(type, m_cookie, offset, length).bytes(); }
	void expect(uint32_t error, const std::string &payload)
	{
		m_replies[m_cookie] = Wire::reply(error, m_cookie).bytes() + payload;
		m_ends.push_back(m_bytes.size());
		++m_cookie;
	}

	struct Written {
		size_t end; ///< of the command, in the stream
		uint64_t offset;
		std::string data;
	};
	std::vector<Written> m_written;
	std::vector<size_t> m_ends; ///< of all commands
	std::mt19937 m_dice;
	uint64_t m_cookie = 0;
	std::string m_bytes, m_model;
	std::map<uint64_t, std::string> m_replies;
};

} // namespace

class RunAheadTest : public QObject {
	Q_OBJECT

private:
	/// Reads replies until all have come; the first that is wrong ends it.
	static bool allAnswered(NbdClient &client, const Stream &stream)
	{
		for (size_t n = 0; n < stream.replies().size(); ++n) {
			const std::string header = client.receive(16);
			if (header.size() != 16) return false;
			const auto expected = stream.replies().find(nbd::read64(reinterpret_cast<const std::byte *>(header.data()) + 8));
			if (expected == stream.replies().end()) return false;
			if (header + client.receive(expected->second.size() - 16) != expected->second) return false;
		}
		return client.quiet();
	}

private slots:
	void everyByteLandsWhereItsCommandSays_data()
	{
		QTest::addColumn<uint>("seed");
		QTest::addColumn<uint>("longestCut"); // bytes that are sent before the server gets a turn
		for (uint seed = 1; seed <= 6; ++seed) {
			QTest::addRow("%u, all at once", seed) << seed << ~0u;
			QTest::addRow("%u, cut anywhere", seed) << seed << 20'000u;
			QTest::addRow("%u, in crumbs", seed) << seed << 2'000u;
		}
	}
	void everyByteLandsWhereItsCommandSays()
	{
		QFETCH(uint, seed);
		QFETCH(uint, longestCut);
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		Stream stream(seed);
		stream.play(longestCut < 10'000 ? 4 : 8);
		// The replies fit into the socket, so nobody has to read meanwhile.
		for (size_t at = 0; at < stream.bytes().size();) {
			const size_t now = longestCut == ~0u ? stream.bytes().size() : 1 + stream.pick(longestCut);
			QVERIFY(client.send(stream.bytes().substr(at, now)));
			settle(rig);
			at += now;
		}
		QVERIFY(allAnswered(client, stream));
		QVERIFY(std::memcmp(rig.blank().data(), stream.model().data(), kVolume) == 0);
	}

	/// Whole commands are done and answered, of the one that was cut nothing; and what was made ready for more is given back (the
	/// connection asserts it).
	void aStreamThatEndsAnywhereEndsAtItsLastWholeCommand()
	{
		for (unsigned seed = 1; seed <= 24; ++seed) {
			NbdRig rig;
			NbdClient client = rig.connect();
			QVERIFY(client.go("blank"));
			Stream stream(seed);
			stream.play(4);
			const size_t cut = stream.pick(stream.bytes().size());
			const auto [model, whole] = stream.after(cut);
			QVERIFY(client.send(stream.bytes().substr(0, cut)));
			client.halfClose();
			size_t answered = 0;
			for (;; ++answered) {
				const std::string header = client.receive(16);
				if (header.empty()) break;
				QCOMPARE(header.size(), size_t{16});
				const auto expected = stream.replies().find(nbd::read64(reinterpret_cast<const std::byte *>(header.data()) + 8));
				QVERIFY(expected != stream.replies().end());
				QCOMPARE(header + client.receive(expected->second.size() - 16), expected->second);
			}
			QCOMPARE(answered, whole);
			QVERIFY(std::memcmp(rig.blank().data(), model.data(), kVolume) == 0);
			rig.run(rig.stop());
		}
	}
};

QTEST_GUILESS_MAIN(RunAheadTest)
#include "tst_run_ahead.moc"
