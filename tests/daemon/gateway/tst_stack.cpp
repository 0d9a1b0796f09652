// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A gateway's volume above the real composer, mapper and blockers, of which composer and mapper die again and again while
// I/O is in flight: no I/O fails, and what is read is what was written last.
#include "tests/daemon/composer/slow_store.h"
#include "tests/daemon/composer/stack.h"

#include "daemon/gateway/volume_sessions.h"

#include <random>

using namespace archipelago;
using namespace archipelago::testing;
using gateway::OpenVolume;
using gateway::VolumeIo;
using gateway::VolumeSessions;

namespace {

constexpr uint32_t kPiece = 8192;
constexpr unsigned kPlaces = 48; ///< places that are written and read; one I/O each at a time
constexpr uint64_t kBytes = kPlaces * kBlockBytes;
constexpr unsigned kInFlight = 16;

/// One in each block; every eighth lies in the block before as well.
uint64_t offsetOf(unsigned place)
{
	const uint64_t offset = place * kBlockBytes;
	return place && place % 8 == 0 ? offset - kPiece / 2 : offset;
}
/// It has the block for itself, so the block may be dropped as a whole, and is made anew by the next write.
bool hasBlock(unsigned place) { return place % 8 != 0 && place % 8 != 7; }

struct DeathsRig : Rig {
	struct Place : VolumeIo {
		DeathsRig *rig = nullptr;
		bool busy = false;
		uint32_t version = 0; ///< acknowledged last; 0: zeros
		uint32_t next = 0;    ///< that a write under way brings
	};

	Config config;
	Stack stack;
	Actor service{*this, 1};
	std::shared_ptr<spdlog::logger> log = roleLogger("gateway");
	std::unique_ptr<VolumeSessions> volumes;
	OpenVolume volume;
	std::array<Place, kPlaces> places;
	std::mt19937 random;
	unsigned done = 0, failed = 0, wrong = 0, busy = 0;
	uint32_t lastVersion = 0;

	explicit DeathsRig(uint32_t seed)
	    : Rig(128u << 20), stack(*this, config, std::make_unique<SlowStore>(*reactor, seed), std::make_unique<SlowStore>(*reactor, seed + 1)),
	      random(seed)
	{
		if (stack.create(service, "vol", kBytes) != 0) qFatal("create");
		VolumeSessions::Options options;
		options.firstPort = 40;
		options.lastPort = 43;
		options.composerPort = kNodeComposer;
		options.holder = Holder::Nbd;
		volumes = std::make_unique<VolumeSessions>(*reactor, *log, options);
		if (!volumes->start()) qFatal("start");
		run(open());
		for (unsigned i = 0; i < kPlaces; ++i) {
			places[i].rig = this;
			places[i].buffer = volumes->buffers().allocate(kPiece);
			places[i].done = [](VolumeIo &io) { static_cast<Place &>(io).rig->ended(static_cast<Place &>(io)); };
		}
	}
	runtime::Task<void> open()
	{
		auto opened = co_await volumes->open("vol");
		if (!opened) qFatal("open: %s", opened.error().message.c_str());
		volume = std::move(*opened);
	}
	runtime::Task<void> stop(Result<void> &result) { result = co_await volumes->stop(); }

	std::span<uint32_t> dataOf(const Place &place)
	{
		return {reinterpret_cast<uint32_t *>(segment->buffer(place.buffer, 0, kPiece)->data()), kPiece / 4};
	}
	void ended(Place &place)
	{
		--busy;
		++done;
		place.busy = false;
		if (!place.ok) {
			++failed;
			qWarning("an I/O failed: %s", std::string(errorInfo(place.error).symbol).c_str());
		} else if (place.op == Op::VolRead) {
			for (const uint32_t word : dataOf(place)) wrong += word != place.version;
		} else {
			place.version = place.next;
		}
	}
	void submit(Place &place, Op op)
	{
		place.busy = true;
		++busy;
		place.op = op;
		const auto number = static_cast<unsigned>(&place - places.data());
		const bool block = op == Op::VolTrim && hasBlock(number);
		place.offset = block ? number * kBlockBytes : offsetOf(number);
		place.length = block ? static_cast<uint32_t>(kBlockBytes) : kPiece;
		place.fua = op != Op::VolRead && random() % 5 == 0;
		place.noHole = op == Op::VolZero && random() % 2;
		place.next = op == Op::VolWrite ? ++lastVersion : 0;
		const uint32_t buffer = place.buffer;
		std::ranges::fill(dataOf(place), op == Op::VolWrite ? place.next : 0xeeeeeeeeu);
		if (op == Op::VolTrim || op == Op::VolZero) place.buffer = XS_NO_BUFFER;
		volume->submit(place);
		if (place.buffer == XS_NO_BUFFER) keep(place, buffer);
	}
	/// A span has no buffer while it is under way.
	void keep(Place &place, uint32_t buffer) { kept[&place] = buffer; }
	std::map<Place *, uint32_t> kept;

	void submitOne()
	{
		Place &place = places[random() % kPlaces];
		if (place.busy) return;
		if (const auto at = kept.find(&place); at != kept.end()) {
			place.buffer = at->second;
			kept.erase(at);
		}
		static constexpr Op kOps[] = {Op::VolWrite, Op::VolWrite, Op::VolWrite, Op::VolRead, Op::VolTrim, Op::VolTrim, Op::VolZero};
		submit(place, kOps[random() % std::size(kOps)]);
	}
	/// As many turns of the reactor.
	void turns(unsigned count)
	{
		for (unsigned i = 0; i < count; ++i) {
			bool turned = false;
			reactor->post([&turned] { turned = true; });
			reactor->runUntil([&turned] { return turned; });
		}
	}
	void die(bool composer, bool mapper)
	{
		if (composer) stack.killComposer();
		turns(unsigned(random() % 4));
		if (mapper) stack.stopMapper();
		turns(unsigned(random() % 30));
		if (mapper) stack.startMapper();
		if (composer) stack.startComposer();
	}
};

} // namespace

class GatewayStackTest : public QObject {
	Q_OBJECT

private slots:
	void nothingIsLostWhenTheyDie_data()
	{
		QTest::addColumn<bool>("composer");
		QTest::addColumn<bool>("mapper");
		QTest::newRow("nobody dies") << false << false; // what the test itself does
		QTest::newRow("composer") << true << false;
		QTest::newRow("mapper") << false << true;
		QTest::newRow("both") << true << true;
	}
	void nothingIsLostWhenTheyDie()
	{
		QFETCH(bool, composer);
		QFETCH(bool, mapper);
		const uint32_t seed = qEnvironmentVariableIsSet("ARCHIPELAGO_SEED") ? qEnvironmentVariable("ARCHIPELAGO_SEED").toUInt()
		                                                                    : std::random_device()();
		qInfo("ARCHIPELAGO_SEED=%u", seed);
		DeathsRig rig(seed);
		constexpr unsigned kDeaths = 20, kBetween = 50;
		for (unsigned death = 0; death < kDeaths; ++death) {
			const unsigned upTo = rig.done + kBetween;
			QVERIFY2(turnUntil(rig, [&] {
				while (rig.busy < kInFlight && rig.done < upTo) {
					const unsigned before = rig.busy;
					rig.submitOne();
					if (rig.busy == before) break;
				}
				return rig.done >= upTo;
			}), "I/O does not go on");
			for (int i = 0; i < 64 && rig.busy < kInFlight; ++i) rig.submitOne();
			rig.turns(unsigned(rig.random() % 40)); // somewhere on their ways
			rig.die(composer, mapper);
		}
		QVERIFY(turnUntil(rig, [&] { return rig.busy == 0; }));
		for (const auto &[place, buffer] : rig.kept) place->buffer = buffer;
		for (auto &place : rig.places) rig.submit(place, Op::VolRead);
		QVERIFY(turnUntil(rig, [&] { return rig.busy == 0; }));
		QCOMPARE(rig.failed, 0u);
		QCOMPARE(rig.wrong, 0u);
		QVERIFY(rig.done >= kDeaths * kBetween);

		for (auto &place : rig.places) rig.volumes->buffers().free(place.buffer);
		rig.volume.reset();
		Result<void> stopped;
		rig.run(rig.stop(stopped));
		QVERIFY(stopped);
		QVERIFY(rig.stack.stop());
	}
};

QTEST_APPLESS_MAIN(GatewayStackTest)
#include "tst_stack.moc"
