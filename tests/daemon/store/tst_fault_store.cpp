// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FaultStore and CrashImage: that the tools which judge others do what they say. What a power cut may leave must be
// reachable, all of it, and nothing else.
#include "daemon/store/fault/crash_image.h"
#include "daemon/store/fault/fault_store.h"
#include "daemon/store/memory/memory_store.h"
#include "store_bench.h"

#include <QtTest>

#include <random>
#include <set>

using namespace archipelago;
using namespace archipelago::store;

namespace {

constexpr int kNone = 0;
int code(ErrorCode c) { return static_cast<int>(c); }

} // namespace

class TestFaultStore : public QObject {
	Q_OBJECT

private:
	std::optional<Bench> m_bench;
	std::unique_ptr<MemoryStore> m_disk;
	std::unique_ptr<FaultStore> m_store;
	Recording m_recording;
	std::mt19937_64 m_random{7};

	int run(Op op, const ObjectId &id, std::span<std::byte> data = {}, uint64_t at = 0, bool fua = false)
	{
		Errand errand(op, id, data, at);
		errand.fua = fua;
		if (op == Op::ObjPunch) errand.size = 512;
		return m_bench->run(*m_store, errand);
	}
	int write(const ObjectId &id, char fill, size_t bytes = 1024, uint64_t at = 0, bool fua = false)
	{
		Buffer data(bytes, fill);
		return run(Op::ObjWrite, id, data.all(), at, fua);
	}
	/// What lies below, whatever the fault store says; '-' when it is not there.
	char below(const ObjectId &id, uint64_t at = 0)
	{
		Buffer in(512, 'x');
		const int error = m_bench->run(*m_disk, Op::ObjRead, id, in.all(), at);
		return error ? '-' : static_cast<char>(in.all()[0]);
	}
	CrashImage image() const
	{
		CrashImage out;
		for (const Step &step : m_recording) out.apply(step);
		return out;
	}
	/// Everything that many power cuts show of two sectors of the object: "AB", or "--" when it is gone.
	std::set<std::string> afterPowerCuts(const ObjectId &id)
	{
		std::set<std::string> seen;
		const CrashImage medium = image();
		for (int i = 0; i < 300; ++i) {
			const auto left = medium.afterPowerCut(m_random);
			const auto found = left.find(CrashImage::Name{id, ""});
			std::string text = "--";
			for (uint64_t n = 0; found != left.end() && n < 2; ++n) {
				const auto sector = found->second.sectors.find(n);
				const char c = sector == found->second.sectors.end() ? '\0' : static_cast<char>(sector->second[100]);
				text[n] = c ? c : '0';
			}
			seen.insert(text);
		}
		return seen;
	}
	void add(Fault::What what, Op op, uint64_t skip = 0, uint64_t times = 1)
	{
		Fault fault;
		fault.what = what;
		fault.op = op;
		fault.skip = skip;
		fault.times = times;
		fault.sectors = 1;
		m_store->add(fault);
	}

private slots:
	void init()
	{
		m_bench.emplace();
		m_disk = std::make_unique<MemoryStore>();
		m_recording.clear();
		m_store = std::make_unique<FaultStore>(m_bench->reactor(), *m_disk, &m_recording);
		QVERIFY(m_bench->await(m_store->open(true)));
		Buffer a(1024, 'A');
		QCOMPARE(run(Op::ObjCreate, dataObject(1), a.all()), kNone);
		QCOMPARE(run(Op::ObjSyncAll, {}), kNone);
	}
	void cleanup()
	{
		m_bench->await(m_store->close());
		m_store.reset();
		m_disk.reset();
		m_bench.reset();
	}

	// ---- faults

	void theNthOfAKindFails()
	{
		const size_t steps = m_recording.size();
		add(Fault::What::Fail, Op::ObjWrite, 1);
		QCOMPARE(write(dataObject(1), 'B'), kNone);
		QCOMPARE(write(dataObject(1), 'C'), code(ErrorCode::Io));
		QCOMPARE(below(dataObject(1)), 'B');
		QCOMPARE(m_recording.size(), steps + 1);
		QCOMPARE(write(dataObject(1), 'D'), kNone);

		Fault chosen;
		chosen.object = dataObject(2);
		chosen.error = ErrorCode::NoSpace;
		m_store->add(chosen);
		Buffer data(512, 'x');
		QCOMPARE(run(Op::ObjCreate, dataObject(3), data.all()), kNone);
		QCOMPARE(run(Op::ObjCreate, dataObject(2), data.all()), code(ErrorCode::NoSpace));
		QCOMPARE(run(Op::ObjCreate, dataObject(2), data.all()), kNone);
	}

	void doneAllTheSame()
	{
		add(Fault::What::FailDone, Op::ObjWrite);
		QCOMPARE(write(dataObject(1), 'B'), code(ErrorCode::Io));
		QCOMPARE(below(dataObject(1)), 'B');
		QCOMPARE(m_recording.back().op, Op::ObjWrite);
	}

	void tornWrites()
	{
		add(Fault::What::Tear, Op::ObjWrite);
		QCOMPARE(write(dataObject(1), 'B'), code(ErrorCode::Io));
		QCOMPARE(below(dataObject(1)), 'B');
		QCOMPARE(below(dataObject(1), 512), 'A');
	}

	void heldAndDelayed()
	{
		add(Fault::What::HoldAnswer, Op::ObjWrite);
		add(Fault::What::Hold, Op::ObjWrite);
		Buffer b(1024, 'B'), c(1024, 'C');
		Errand first(Op::ObjWrite, dataObject(1), b.all()), second(Op::ObjWrite, dataObject(1), c.all());
		m_store->submit(first);
		m_store->submit(second);
		QCOMPARE(m_store->held(), size_t{2});
		QCOMPARE(below(dataObject(1)), 'B');
		QVERIFY(!first.back && !second.back);
		m_store->release();
		QVERIFY(first.back && second.back);
		QCOMPARE(below(dataObject(1)), 'C');

		Fault late;
		late.what = Fault::What::HoldAnswer;
		late.delayMs = 30;
		m_store->add(late);
		const uint64_t began = runtime::Reactor::nowNs();
		QCOMPARE(write(dataObject(1), 'D'), kNone);
		QVERIFY(runtime::Reactor::nowNs() - began >= 30'000'000u);
	}

	void nothingHappensAfterTheCrash()
	{
		add(Fault::What::AnswerEarly, Op::ObjWrite);
		add(Fault::What::HoldAnswer, Op::ObjRead);
		QCOMPARE(write(dataObject(1), 'E'), kNone); // answered, not done
		Buffer in(512);
		Errand reading(Op::ObjRead, dataObject(1), in.all());
		m_store->submit(reading);
		m_store->crashAfter(2);
		QCOMPARE(write(dataObject(1), 'B'), kNone);
		QVERIFY(!m_store->crashed());
		QCOMPARE(write(dataObject(1), 'C'), code(ErrorCode::Io)); // happened, but nobody hears of it
		QVERIFY(m_store->crashed());
		QVERIFY(reading.back);
		QCOMPARE(reading.error(), code(ErrorCode::Io));
		const size_t steps = m_recording.size();
		QCOMPARE(write(dataObject(1), 'D'), code(ErrorCode::Io));
		QCOMPARE(run(Op::ObjSyncAll, {}), code(ErrorCode::Io));
		m_store->release();
		QCOMPARE(below(dataObject(1)), 'C');
		QCOMPARE(m_recording.size(), steps);
	}

	void liesAreRecordedAsNothing()
	{
		const size_t steps = m_recording.size();
		add(Fault::What::Lie, Op::ObjSyncAll);
		QCOMPARE(run(Op::ObjSyncAll, {}), kNone);
		QCOMPARE(m_recording.size(), steps);
	}

	// ---- images

	/// Two sectors, synced as A, then written as B and C: each sector is any of the three, on its own.
	void everySubsetAndOrderOfSectors()
	{
		QCOMPARE(write(dataObject(1), 'B'), kNone);
		QCOMPARE(write(dataObject(1), 'C'), kNone);
		std::set<std::string> all;
		for (const char first : {'A', 'B', 'C'})
			for (const char second : {'A', 'B', 'C'}) all.insert(std::string{first, second});
		QCOMPARE(afterPowerCuts(dataObject(1)), all);
		QCOMPARE(run(Op::ObjSync, dataObject(1)), kNone);
		QCOMPARE(afterPowerCuts(dataObject(1)), std::set<std::string>{"CC"});
		QCOMPARE(run(Op::ObjPunch, dataObject(1)), kNone);
		QCOMPARE(afterPowerCuts(dataObject(1)), (std::set<std::string>{"CC", "0C"}));
	}

	void durableWritesAreDurableAlone()
	{
		QCOMPARE(write(dataObject(1), 'B', 512), kNone);
		QCOMPARE(write(dataObject(1), 'C', 512, 512, true), kNone);
		QCOMPARE(afterPowerCuts(dataObject(1)), (std::set<std::string>{"AC", "BC"}));
	}

	void namesComeAndGoOnTheirOwn()
	{
		Buffer data(1024, 'B');
		QCOMPARE(run(Op::ObjCreate, dataObject(2), data.all()), kNone);
		QCOMPARE(afterPowerCuts(dataObject(2)), (std::set<std::string>{"--", "00", "0B", "B0", "BB"}));
		QCOMPARE(run(Op::ObjSyncVolume, dataObject(9, 2)), kNone); // another volume's
		QVERIFY(afterPowerCuts(dataObject(2)).contains("--"));
		QCOMPARE(run(Op::ObjSyncVolume, dataObject(9)), kNone);
		QCOMPARE(afterPowerCuts(dataObject(2)), std::set<std::string>{"BB"});
		QCOMPARE(run(Op::ObjRemove, dataObject(2)), kNone);
		QCOMPARE(afterPowerCuts(dataObject(2)), (std::set<std::string>{"--", "BB"}));
		QCOMPARE(run(Op::ObjSync, dataObject(2)), kNone);
		QCOMPARE(afterPowerCuts(dataObject(2)), std::set<std::string>{"--"});
	}

	void writeFullIsWhole()
	{
		const ObjectId header = mapObject(ObjectKind::Header, 0);
		for (const char version : {'B', 'C'}) {
			Buffer data(1024, version);
			QCOMPARE(run(Op::ObjWriteFull, header, data.all()), kNone);
			QCOMPARE(afterPowerCuts(header), std::set<std::string>{std::string(2, version)});
		}
	}

	void usedNamesAreNoticed()
	{
		Buffer data(512, 'B');
		QVERIFY(image().violations().empty());
		QCOMPARE(run(Op::ObjRemove, dataObject(1)), kNone);
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), kNone);
		QCOMPARE(image().violations().size(), size_t{1});
	}

	/// Random work: what a kill leaves, put back into another store, is what the first one has.
	void aKillLeavesEverything()
	{
		for (int i = 0; i < 300; ++i) {
			const ObjectId id = dataObject(static_cast<uint32_t>(m_random() % 5), 1, m_random() % 40 + 1);
			Buffer data(1 + m_random() % 3000, static_cast<int>(1 + m_random() % 250));
			static constexpr Op kOps[] = {Op::ObjWrite, Op::ObjCreate, Op::ObjWrite, Op::ObjPunch, Op::ObjRemove, Op::ObjWriteFull};
			const Op op = kOps[m_random() % std::size(kOps)];
			const bool bytes = op == Op::ObjWrite || op == Op::ObjCreate || op == Op::ObjWriteFull;
			run(op, id, bytes ? data.all() : std::span<std::byte>(), op == Op::ObjWriteFull ? 0 : m_random() % 5000, m_random() % 9 == 0);
		}
		const auto left = image().afterKill();
		MemoryStore copy;
		QVERIFY(m_bench->await(copy.open(true)));
		QVERIFY(m_bench->await(CrashImage::load(copy, left)));
		const auto objects = listAll(*m_bench, *m_disk, ObjectKind::Data, {}, 4096);
		QVERIFY(objects.size() > 10);
		QCOMPARE(listAll(*m_bench, copy, ObjectKind::Data, {}, 4096), objects);
		for (const auto &[id, name] : objects) {
			Buffer one(16384), other(16384, 1);
			Errand first(Op::ObjRead, id, one.all()), second(Op::ObjRead, id, other.all());
			QCOMPARE(m_bench->run(*m_disk, first), kNone);
			QCOMPARE(m_bench->run(copy, second), kNone);
			QCOMPARE(first.serviced, second.serviced);
			QVERIFY(std::ranges::equal(one.all(), other.all()));
		}
		m_bench->await(copy.close());
	}
};

QTEST_GUILESS_MAIN(TestFaultStore)
#include "tst_fault_store.moc"
