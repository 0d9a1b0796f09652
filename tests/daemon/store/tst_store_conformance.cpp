// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What every store promises (object_store.h, protocol.h), checked on each of them in the same words: memory, a fault
// store without faults, files with direct I/O, files through the page cache. Each test gets a fresh, empty store.
#include "daemon/store/fault/fault_store.h"
#include "daemon/store/memory/memory_store.h"
#include "store_bench.h"

#include <QtTest>

#include <filesystem>
#include <random>
#include <set>

using namespace archipelago;
using namespace archipelago::store;

namespace {

constexpr int kNone = 0;
int code(ErrorCode c) { return static_cast<int>(c); }

/// Reads one object again and again, each time as soon as the last answer is there.
struct EagerReader : StoreOp {
	EagerReader(ObjectStore &where, runtime::Reactor *nextTurn, const ObjectId &what, const int &completeVersion,
	            const bool &stopNow)
	    : store(where), reactor(nextTurn), complete(completeVersion), stop(stopNow)
	{
		op = Op::ObjRead;
		id = what;
		data = in.all();
		done = [](StoreOp &answered) { static_cast<EagerReader &>(answered).judge(); };
	}
	void ask()
	{
		idle = false;
		atLeast = complete;
		store.submit(*this);
	}
	void judge()
	{
		seen = static_cast<int>(in.all()[0]);
		wrong |= !ok || !in.isAll(seen) || seen < atLeast || seen > complete + 1;
		idle = stop || wrong;
		if (idle) return;
		if (reactor)
			reactor->post([this] { ask(); });
		else
			ask();
	}

	ObjectStore &store;
	runtime::Reactor *reactor;
	const int &complete;
	const bool &stop;
	Buffer in{65536};
	int atLeast = 0, seen = 0;
	bool idle = true, wrong = false;
};

} // namespace

class TestStoreConformance : public QObject {
	Q_OBJECT

private:
	std::optional<Bench> m_bench;
	ScratchDir m_scratch; ///< a file store of each kind, formatted once, emptied after each test
	std::unique_ptr<MemoryStore> m_below; ///< the fault store's, which has no bad day here
	Recording m_recording;
	std::unique_ptr<ObjectStore> m_store;

	void backends()
	{
		QTest::addColumn<QString>("backend");
		for (const char *name : {"memory", "fault", "direct", "buffered"}) QTest::newRow(name) << name;
	}
	int run(Op op, const ObjectId &id, std::span<std::byte> data = {}, uint64_t at = 0)
	{
		return m_bench->run(*m_store, op, id, data, at);
	}
	int runNamed(Op op, std::string_view name, std::span<std::byte> data = {}, uint64_t at = 0)
	{
		Errand errand(op, nameObject(), data, at);
		errand.name = name;
		return m_bench->run(*m_store, errand);
	}

private slots:
	void init()
	{
		m_bench.emplace();
		QFETCH(QString, backend);
		if (backend == "memory") {
			m_store = std::make_unique<MemoryStore>();
		} else if (backend == "fault") {
			m_below = std::make_unique<MemoryStore>();
			m_store = std::make_unique<FaultStore>(m_bench->reactor(), *m_below, &m_recording);
		} else {
			FileStoreOptions options;
			options.dir = m_scratch.path() + "/" + backend.toStdString();
			options.direct = backend == "direct";
			m_store = std::make_unique<FileStore>(m_bench->reactor(), options);
		}
		const auto opened = m_bench->await(m_store->open(true));
		QVERIFY2(opened, opened ? "" : opened.error().message.c_str());
		if (backend == "direct" && !static_cast<FileStore &>(*m_store).direct()) QSKIP("this filesystem takes no direct I/O");
	}
	void cleanup()
	{
		m_bench->await(m_store->close());
		m_store.reset();
		m_bench.reset();
		for (const auto &entry : std::filesystem::recursive_directory_iterator(m_scratch.path()))
			if (entry.is_regular_file() && entry.path().filename() != "identity") std::filesystem::remove(entry.path());
	}

	void createWriteRead_data() { backends(); }
	void createWriteRead()
	{
		const ObjectId id = dataObject(1);
		Buffer a(8192, 'a'), b(4096, 'b'), in(16384, 'x');
		QCOMPARE(run(Op::ObjRead, id, in.all()), code(ErrorCode::NotFound));
		QCOMPARE(run(Op::ObjWrite, id, a.all()), code(ErrorCode::NotFound));
		QCOMPARE(run(Op::ObjStat, id), code(ErrorCode::NotFound));
		QCOMPARE(run(Op::ObjCreate, id, a.all(), 4096), kNone);
		QCOMPARE(run(Op::ObjCreate, id, b.all()), code(ErrorCode::Exists));
		QCOMPARE(run(Op::ObjWrite, id, b.all(), 8192), kNone);

		Errand read(Op::ObjRead, id, in.all());
		QCOMPARE(m_bench->run(*m_store, read), kNone);
		QCOMPARE(read.serviced, uint64_t{12288}); // what exists; the rest is zeros
		QCOMPARE(static_cast<char>(in.all()[0]), '\0');
		QCOMPARE(static_cast<char>(in.all()[4095]), '\0');
		QCOMPARE(static_cast<char>(in.all()[4096]), 'a');
		QCOMPARE(static_cast<char>(in.all()[8191]), 'a');
		QCOMPARE(static_cast<char>(in.all()[8192]), 'b');
		QCOMPARE(static_cast<char>(in.all()[12287]), 'b');
		QCOMPARE(static_cast<char>(in.all()[12288]), '\0');
		QCOMPARE(static_cast<char>(in.all()[16383]), '\0');

		Errand stat(Op::ObjStat, id);
		QCOMPARE(m_bench->run(*m_store, stat), kNone);
		QCOMPARE(stat.size, uint64_t{12288});
		QVERIFY(stat.serviced > 0);
	}

	void readBehindTheEndIsZeros_data() { backends(); }
	void readBehindTheEndIsZeros()
	{
		Buffer data(4096, 'd'), in(4096, 'x');
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), kNone);
		Errand read(Op::ObjRead, dataObject(1), in.all(), 1 << 20);
		QCOMPARE(m_bench->run(*m_store, read), kNone);
		QCOMPARE(read.serviced, uint64_t{0});
		QVERIFY(in.isAll(0));
	}

	void createWithoutData_data() { backends(); }
	void createWithoutData()
	{
		QCOMPARE(run(Op::ObjCreate, dataObject(1)), kNone);
		Errand stat(Op::ObjStat, dataObject(1));
		QCOMPARE(m_bench->run(*m_store, stat), kNone);
		QCOMPARE(stat.size, uint64_t{0});
		QCOMPARE(run(Op::ObjCreate, dataObject(1)), code(ErrorCode::Exists));
	}

	void oddSizesAndPlaces_data() { backends(); }
	/// Any offset, size and memory, against a model: neighbours stay, the end stays where it belongs.
	void oddSizesAndPlaces()
	{
		const ObjectId id = mapObject(ObjectKind::Chunk, 1);
		std::mt19937 random(4711);
		std::vector<std::byte> model;
		QCOMPARE(run(Op::ObjCreate, id), kNone);
		for (int round = 0; round < 60; ++round) {
			const size_t at = random() % 9000, bytes = random() % 5000 + 1, skew = random() % 3;
			Buffer memory(bytes + skew, static_cast<int>(round + 1));
			QCOMPARE(run(Op::ObjWrite, id, memory.part(skew, bytes), at), kNone);
			if (model.size() < at + bytes) model.resize(at + bytes);
			std::fill_n(model.begin() + static_cast<ptrdiff_t>(at), bytes, static_cast<std::byte>(round + 1));

			Errand stat(Op::ObjStat, id);
			QCOMPARE(m_bench->run(*m_store, stat), kNone);
			QCOMPARE(stat.size, uint64_t{model.size()});
			const size_t from = random() % 9000, count = random() % 9000 + 1;
			Buffer in(count + skew, 'x');
			Errand read(Op::ObjRead, id, in.part(skew, count), from);
			QCOMPARE(m_bench->run(*m_store, read), kNone);
			QCOMPARE(read.serviced, uint64_t{from < model.size() ? std::min(count, model.size() - from) : 0});
			for (size_t i = 0; i < count; ++i)
				QCOMPARE(static_cast<int>(in.all()[skew + i]), static_cast<int>(from + i < model.size() ? model[from + i] : std::byte{0}));
		}
	}

	void oddWritesBesideOthers_data() { backends(); }
	/// Sixteen writers of 100 bytes each share a few sectors, a seventeenth writes whole ones behind: nobody loses anything.
	void oddWritesBesideOthers()
	{
		const ObjectId id = dataObject(1);
		Buffer zeros(8192);
		QCOMPARE(run(Op::ObjCreate, id, zeros.all()), kNone);
		std::vector<std::unique_ptr<Buffer>> memory;
		std::vector<std::unique_ptr<Errand>> errands;
		for (int n = 0; n < 16; ++n) {
			memory.push_back(std::make_unique<Buffer>(100, n + 1));
			errands.push_back(std::make_unique<Errand>(Op::ObjWrite, id, memory.back()->all(), static_cast<uint64_t>(n) * 100));
			if (n % 5 == 0) {
				memory.push_back(std::make_unique<Buffer>(4096, 'w'));
				errands.push_back(std::make_unique<Errand>(Op::ObjWrite, id, memory.back()->all(), 4096));
			}
		}
		for (auto &errand : errands) m_store->submit(*errand);
		for (auto &errand : errands) m_bench->wait(*errand);
		for (auto &errand : errands) QCOMPARE(errand->error(), kNone);
		Buffer in(8192, 'x');
		QCOMPARE(run(Op::ObjRead, id, in.all()), kNone);
		for (size_t i = 0; i < 1600; ++i) QCOMPARE(static_cast<size_t>(in.all()[i]), i / 100 + 1);
		for (size_t i = 1600; i < 4096; ++i) QCOMPARE(static_cast<int>(in.all()[i]), 0);
		for (size_t i = 4096; i < 8192; ++i) QCOMPARE(static_cast<char>(in.all()[i]), 'w');
	}

	void oddWriteOverAWholeOne_data() { backends(); }
	/// What an odd write puts back around itself is what the whole write before it has written, not what was there before.
	void oddWriteOverAWholeOne()
	{
		const ObjectId id = dataObject(1);
		QCOMPARE(run(Op::ObjCreate, id), kNone);
		for (int round = 1; round < 60; ++round) {
			Buffer whole(4096, round), odd(100, 'o'), in(4096);
			Errand first(Op::ObjWrite, id, whole.all()), second(Op::ObjWrite, id, odd.all(), 100);
			m_store->submit(first);
			m_store->submit(second);
			m_bench->wait(first);
			m_bench->wait(second);
			QCOMPARE(run(Op::ObjRead, id, in.all()), kNone);
			for (size_t i = 0; i < 4096; ++i)
				if (i < 100 || i >= 200) QCOMPARE(static_cast<int>(in.all()[i]), round);
		}
	}

	void punchedRangesReadZeros_data() { backends(); }
	/// Any range, between writes, against a model: it reads zeros, its neighbours and the object's length stay.
	void punchedRangesReadZeros()
	{
		const ObjectId id = dataObject(1);
		std::mt19937 random(815);
		constexpr size_t kBytes = 100'000;
		std::vector<std::byte> model(kBytes, std::byte{'f'});
		Buffer full(kBytes, 'f');
		QCOMPARE(run(Op::ObjCreate, id, full.all()), kNone);
		for (int round = 0; round < 60; ++round) {
			const size_t at = random() % kBytes, bytes = 1 + random() % (round % 2 ? kBytes : 9000);
			const size_t end = std::min(kBytes, at + bytes);
			Errand punch(Op::ObjPunch, id, {}, at);
			punch.size = bytes; // also beyond the end
			punch.fua = round % 7 == 0;
			QCOMPARE(m_bench->run(*m_store, punch), kNone);
			std::fill(model.begin() + static_cast<ptrdiff_t>(at), model.begin() + static_cast<ptrdiff_t>(end), std::byte{0});
			const size_t from = random() % (kBytes - 5000), length = 1 + random() % 5000;
			Buffer data(length, round + 1);
			QCOMPARE(run(Op::ObjWrite, id, data.all(), from), kNone);
			std::fill_n(model.begin() + static_cast<ptrdiff_t>(from), length, static_cast<std::byte>(round + 1));

			Buffer in(kBytes, 'x');
			Errand read(Op::ObjRead, id, in.all());
			QCOMPARE(m_bench->run(*m_store, read), kNone);
			QCOMPARE(read.serviced, uint64_t{kBytes});
			QVERIFY(std::ranges::equal(in.all(), model));
		}
	}

	void punchGivesRoomBack_data() { backends(); }
	void punchGivesRoomBack()
	{
		const ObjectId id = dataObject(1);
		Buffer full(4 << 20, 'f');
		QCOMPARE(run(Op::ObjCreate, id, full.all()), kNone);
		const auto allocated = [&] {
			Errand stat(Op::ObjStat, id);
			m_bench->run(*m_store, stat);
			return stat.serviced;
		};
		QVERIFY(allocated() >= 4 << 20);
		Errand punch(Op::ObjPunch, id, {}, 0);
		punch.size = 3 << 20;
		QCOMPARE(m_bench->run(*m_store, punch), kNone);
		QVERIFY2(allocated() <= 2 << 20, qPrintable(QString::number(allocated())));
		Errand missing(Op::ObjPunch, dataObject(2), {}, 0);
		missing.size = 4096;
		QCOMPARE(m_bench->run(*m_store, missing), code(ErrorCode::NotFound));
		Errand beyond(Op::ObjPunch, id, {}, 4096);
		beyond.size = 4 << 20;
		QCOMPARE(m_bench->run(*m_store, beyond), code(ErrorCode::Invalid));
	}

	void punchBesideWrites_data() { backends(); }
	/// One write, one punch of its neighbours, one odd write, all in flight together: no one's bytes go to another.
	void punchBesideWrites()
	{
		const ObjectId id = dataObject(1);
		Buffer full(16384, 'f');
		QCOMPARE(run(Op::ObjCreate, id, full.all()), kNone);
		for (int round = 1; round < 40; ++round) {
			Buffer whole(4096, round), odd(100, 'o'), in(16384);
			Errand first(Op::ObjWrite, id, whole.all(), 0), second(Op::ObjPunch, id, {}, 4096), third(Op::ObjWrite, id, odd.all(), 12300);
			second.size = 8192;
			for (Errand *errand : {&first, &second, &third}) m_store->submit(*errand);
			for (Errand *errand : {&first, &second, &third}) {
				m_bench->wait(*errand);
				QCOMPARE(errand->error(), kNone);
			}
			QCOMPARE(run(Op::ObjRead, id, in.all()), kNone);
			for (size_t i = 0; i < 16384; ++i) {
				const int expected = i < 4096 ? round : i < 12288 ? 0 : i >= 12300 && i < 12400 ? 'o' : 'f';
				QCOMPARE(static_cast<int>(in.all()[i]), expected);
			}
		}
	}

	void aCreateSentAgainWrites_data() { backends(); }
	/// What a dead predecessor may have created for the same request is written; any other create still fails.
	void aCreateSentAgainWrites()
	{
		Buffer half(4096, 'h'), data(8192, 'd'), in(8192);
		QCOMPARE(run(Op::ObjCreate, dataObject(1), half.all(), 4096), kNone);
		for (const uint32_t block : {1u, 2u}) {
			Errand again(Op::ObjCreate, dataObject(block), data.all());
			again.mayExist = true;
			again.fua = block == 1;
			QCOMPARE(m_bench->run(*m_store, again), kNone);
			QCOMPARE(again.serviced, uint64_t{8192});
			QCOMPARE(run(Op::ObjRead, dataObject(block), in.all()), kNone);
			QVERIFY(in.isAll('d'));
		}
		Errand empty(Op::ObjCreate, dataObject(1));
		empty.mayExist = true;
		QCOMPARE(m_bench->run(*m_store, empty), kNone);
		QCOMPARE(run(Op::ObjCreate, dataObject(1), half.all()), code(ErrorCode::Exists));
	}

	void twoCreatesOneWins_data() { backends(); }
	void twoCreatesOneWins()
	{
		for (uint32_t n = 0; n < 20; ++n) {
			Buffer a(4096, 'a'), b(4096, 'b'), in(4096);
			Errand first(Op::ObjCreate, dataObject(n), a.all()), second(Op::ObjCreate, dataObject(n), b.all());
			m_store->submit(first);
			m_store->submit(second);
			m_bench->wait(first);
			m_bench->wait(second);
			QCOMPARE(first.ok + second.ok, 1);
			QCOMPARE((first.ok ? second : first).error(), code(ErrorCode::Exists));
			QCOMPARE(run(Op::ObjRead, dataObject(n), in.all()), kNone);
			QVERIFY(in.isAll(first.ok ? 'a' : 'b'));
		}
	}

	void writeFullReplaces_data() { backends(); }
	void writeFullReplaces()
	{
		const ObjectId id = mapObject(ObjectKind::Header, 0);
		Buffer longer(5000, 'l'), shorter(288, 's'), in(8192, 'x');
		QCOMPARE(run(Op::ObjWriteFull, id, longer.all()), kNone);
		QCOMPARE(run(Op::ObjWriteFull, id, shorter.all()), kNone);
		Errand read(Op::ObjRead, id, in.all());
		QCOMPARE(m_bench->run(*m_store, read), kNone);
		QCOMPARE(read.serviced, uint64_t{288}); // nothing of the longer one
		QCOMPARE(static_cast<char>(in.all()[287]), 's');
		QCOMPARE(static_cast<char>(in.all()[288]), '\0');
		QCOMPARE(run(Op::ObjWriteFull, id, shorter.all(), 512), code(ErrorCode::Invalid));
		QCOMPARE(run(Op::ObjWriteFull, id), kNone); // empty is a content too
		Errand stat(Op::ObjStat, id);
		QCOMPARE(m_bench->run(*m_store, stat), kNone);
		QCOMPARE(stat.size, uint64_t{0});
	}

	void writeFullIsAtomicForReaders_data() { backends(); }
	/// The old object is being read whenever it is replaced. Each reader sees one whole version, none older than what was
	/// complete when it asked.
	void writeFullIsAtomicForReaders()
	{
		QFETCH(QString, backend);
		const ObjectId id = mapObject(ObjectKind::Header, 0);
		// The memory store answers inside submit(): its readers come back in the next turn.
		runtime::Reactor *nextTurn = backend == "memory" || backend == "fault" ? &m_bench->reactor() : nullptr;
		int complete = 0;
		bool stop = false;
		std::vector<std::unique_ptr<EagerReader>> readers;
		for (int version = 1; version < 30; ++version) {
			Buffer fresh(65536, version);
			QCOMPARE(run(Op::ObjWriteFull, id, fresh.all()), kNone);
			complete = version;
			while (readers.size() < 4) {
				readers.push_back(std::make_unique<EagerReader>(*m_store, nextTurn, id, complete, stop));
				readers.back()->ask();
			}
		}
		stop = true;
		m_bench->reactor().runUntil([&] { return std::all_of(readers.begin(), readers.end(), [](auto &r) { return r->idle; }); });
		for (auto &reader : readers) QVERIFY2(!reader->wrong, qPrintable(QString("saw %1").arg(reader->seen)));
	}

	void writesGoToTheReplacement_data() { backends(); }
	void writesGoToTheReplacement()
	{
		const ObjectId id = mapObject(ObjectKind::Journal, 1);
		Buffer a(4096, 'a'), b(4096, 'b'), c(4096, 'c'), in(8192);
		QCOMPARE(run(Op::ObjCreate, id, a.all()), kNone);
		QCOMPARE(run(Op::ObjWriteFull, id, b.all()), kNone);
		QCOMPARE(run(Op::ObjWrite, id, c.all(), 4096), kNone);
		QCOMPARE(run(Op::ObjRead, id, in.all()), kNone);
		QCOMPARE(static_cast<char>(in.all()[0]), 'b');
		QCOMPARE(static_cast<char>(in.all()[4096]), 'c');
	}

	void removeIsIdempotent_data() { backends(); }
	void removeIsIdempotent()
	{
		const ObjectId id = dataObject(1);
		Buffer data(4096, 'd');
		QCOMPARE(run(Op::ObjRemove, id), kNone);
		QCOMPARE(run(Op::ObjCreate, id, data.all()), kNone);
		QCOMPARE(run(Op::ObjRemove, id), kNone);
		QCOMPARE(run(Op::ObjRemove, id), kNone);
		QCOMPARE(run(Op::ObjRead, id, data.all()), code(ErrorCode::NotFound));
		QCOMPARE(run(Op::ObjSync, id), kNone); // makes the removal durable
		QCOMPARE(run(Op::ObjCreate, id, data.all()), kNone);
	}

	void removeWhileInUse_data() { backends(); }
	/// Everything about one object at once, many times: every operation comes back, the end is what came last.
	void removeWhileInUse()
	{
		std::mt19937 random(99);
		const ObjectId id = dataObject(1);
		for (int round = 0; round < 40; ++round) {
			std::vector<std::unique_ptr<Buffer>> memory;
			std::vector<std::unique_ptr<Errand>> errands;
			for (int n = 0; n < 12; ++n) {
				static constexpr Op kOps[] = {Op::ObjRead, Op::ObjWrite, Op::ObjCreate, Op::ObjRemove, Op::ObjWriteFull,
				                              Op::ObjSync, Op::ObjStat, Op::ObjSyncVolume};
				const Op op = kOps[random() % std::size(kOps)];
				const bool empty = op == Op::ObjRemove || op == Op::ObjStat || op == Op::ObjSync || op == Op::ObjSyncVolume;
				memory.push_back(std::make_unique<Buffer>(4096, 'm'));
				errands.push_back(std::make_unique<Errand>(op, id, empty ? std::span<std::byte>() : memory.back()->all()));
			}
			for (auto &errand : errands) m_store->submit(*errand);
			for (auto &errand : errands) {
				m_bench->wait(*errand);
				QVERIFY(errand->ok || errand->error() == code(ErrorCode::NotFound) || errand->error() == code(ErrorCode::Exists));
			}
			QCOMPARE(run(Op::ObjRemove, id), kNone);
			Buffer a(4096, round + 1), in(4096);
			QCOMPARE(run(Op::ObjCreate, id, a.all()), kNone);
			QCOMPARE(run(Op::ObjRead, id, in.all()), kNone);
			QVERIFY(in.isAll(round + 1));
			QCOMPARE(run(Op::ObjRemove, id), kNone);
			QCOMPARE(run(Op::ObjStat, id), code(ErrorCode::NotFound));
		}
	}

	void listFindsAll_data() { backends(); }
	void listFindsAll()
	{
		Buffer data(512, 'd');
		std::set<std::pair<ObjectId, std::string>> ours, theirs, headers, names;
		for (uint32_t n = 0; n < 300; ++n) {
			QCOMPARE(run(Op::ObjCreate, dataObject(n, 1), data.all()), kNone);
			ours.emplace(dataObject(n, 1), "");
		}
		for (uint32_t n = 0; n < 5; ++n) {
			QCOMPARE(run(Op::ObjCreate, dataObject(n, 2), data.all()), kNone);
			theirs.emplace(dataObject(n, 2), "");
			const ObjectId header = mapObject(ObjectKind::Header, 0, 1, n + 1);
			QCOMPARE(run(Op::ObjWriteFull, header, data.all()), kNone);
			headers.emplace(header, "");
		}
		for (const char *name : {"a", "web-01", "with space", "\xc3\xa4\xe2\x82\xac", "percent%20", "a.b_c"}) {
			QCOMPARE(runNamed(Op::ObjWriteFull, name, data.all()), kNone);
			names.emplace(nameObject(), name);
		}
		const std::string longest(82, 'n');
		QCOMPARE(runNamed(Op::ObjWriteFull, longest, data.all()), kNone);
		names.emplace(nameObject(), longest);

		const auto asSet = [this](ObjectKind kind, const VolumeId &volume, size_t buffer) {
			int error = 0;
			const auto list = listAll(*m_bench, *m_store, kind, volume, buffer, &error);
			std::set<std::pair<ObjectId, std::string>> set(list.begin(), list.end());
			if (error || set.size() != list.size()) set.clear(); // a double is as wrong as a missing one
			return set;
		};
		for (const size_t buffer : {size_t{sizeof(ListEntry)}, size_t{1000}, size_t{65536}}) {
			QVERIFY(asSet(ObjectKind::Data, volumeId(1), buffer) == ours);
			QVERIFY(asSet(ObjectKind::Data, volumeId(2), buffer) == theirs);
			QVERIFY(asSet(ObjectKind::Header, volumeId(1), buffer) == headers);
			QVERIFY(asSet(ObjectKind::Header, VolumeId{}, buffer) == headers);
			QVERIFY(asSet(ObjectKind::Header, volumeId(9), buffer).empty());
			QVERIFY(asSet(ObjectKind::Chunk, VolumeId{}, buffer).empty());
		}
		std::set<std::pair<ObjectId, std::string>> both = ours;
		both.insert(theirs.begin(), theirs.end());
		QVERIFY(asSet(ObjectKind::Data, VolumeId{}, 4096) == both);
		QVERIFY(asSet(ObjectKind::Name, VolumeId{}, 136) == names);
		QVERIFY(asSet(ObjectKind::Name, VolumeId{}, 4096) == names);

		int error = 0;
		listAll(*m_bench, *m_store, ObjectKind::Data, VolumeId{}, sizeof(ListEntry) - 8, &error);
		QCOMPARE(error, code(ErrorCode::Invalid));
		listAll(*m_bench, *m_store, ObjectKind::Name, VolumeId{}, 128, &error); // the longest does not fit
		QCOMPARE(error, code(ErrorCode::Invalid));
		Buffer buffer(4096);
		Errand bad(Op::ObjList, {}, buffer.all());
		bad.list.cursor = 77;
		QCOMPARE(m_bench->run(*m_store, bad), code(ErrorCode::Invalid));
	}

	void namesAreObjectsToo_data() { backends(); }
	void namesAreObjectsToo()
	{
		Buffer a(128, 'a'), in(128);
		QCOMPARE(runNamed(Op::ObjRead, "db", in.all()), code(ErrorCode::NotFound));
		QCOMPARE(runNamed(Op::ObjWriteFull, "db", a.all()), kNone);
		QCOMPARE(runNamed(Op::ObjRead, "db", in.all()), kNone);
		QVERIFY(in.isAll('a'));
		QCOMPARE(runNamed(Op::ObjRead, "DB", in.all()), code(ErrorCode::NotFound));
		QCOMPARE(runNamed(Op::ObjRemove, "db"), kNone);
		QCOMPARE(runNamed(Op::ObjRead, "db", in.all()), code(ErrorCode::NotFound));
		QCOMPARE(runNamed(Op::ObjWriteFull, "../../up", a.all()), kNone);
		QCOMPARE(runNamed(Op::ObjWriteFull, "", a.all()), code(ErrorCode::Invalid));
		QCOMPARE(runNamed(Op::ObjWriteFull, std::string(83, 'a'), a.all()), code(ErrorCode::Invalid));
	}

	void nonsenseIsRefused_data() { backends(); }
	void nonsenseIsRefused()
	{
		Buffer data(4096);
		ObjectId bad = dataObject(1);
		bad.index2 = 1;
		QCOMPARE(run(Op::ObjCreate, bad, data.all()), code(ErrorCode::Invalid));
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all(), kBlockBytes - 512), code(ErrorCode::Invalid));
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all(), ~uint64_t{0} - 100), code(ErrorCode::Invalid));
		QCOMPARE(run(Op::ObjStat, dataObject(1)), code(ErrorCode::NotFound));
		QCOMPARE(run(Op::MapRead, dataObject(1)), code(ErrorCode::Unsupported));
	}

	void syncsSucceed_data() { backends(); }
	void syncsSucceed()
	{
		Buffer data(4096, 'd');
		for (uint32_t n = 0; n < 8; ++n) QCOMPARE(run(Op::ObjCreate, dataObject(n), data.all()), kNone);
		ObjectId volume;
		volume.volume = volumeId(1);
		QCOMPARE(run(Op::ObjSync, dataObject(1)), kNone);
		QCOMPARE(run(Op::ObjSyncVolume, volume), kNone);
		QCOMPARE(run(Op::ObjSyncVolume, volume), kNone);
		volume.volume = volumeId(7); // never heard of
		QCOMPARE(run(Op::ObjSyncVolume, volume), kNone);
		QCOMPARE(run(Op::ObjSyncAll, {}), kNone);
		Errand fua(Op::ObjWrite, dataObject(1), data.all());
		fua.fua = true;
		QCOMPARE(m_bench->run(*m_store, fua), kNone);
		Errand created(Op::ObjCreate, dataObject(100), data.all());
		created.fua = true;
		QCOMPARE(m_bench->run(*m_store, created), kNone);
		Errand odd(Op::ObjWrite, dataObject(100), data.part(1, 99), 4097);
		odd.fua = true;
		QCOMPARE(m_bench->run(*m_store, odd), kNone);
	}

	void capacityIsTold_data() { backends(); }
	void capacityIsTold()
	{
		Errand errand(Op::ObjCapacity, {});
		QCOMPARE(m_bench->run(*m_store, errand), kNone);
		QVERIFY(errand.size > 0);
		QVERIFY(errand.serviced <= errand.size);
	}

	void manyAtOnce_data() { backends(); }
	/// 600 blocks written and read back with everything in flight together.
	void manyAtOnce()
	{
		constexpr uint32_t kCount = 600;
		for (const Op op : {Op::ObjCreate, Op::ObjWrite, Op::ObjRead}) {
			std::vector<std::unique_ptr<Buffer>> memory;
			std::vector<std::unique_ptr<Errand>> errands;
			for (uint32_t n = 0; n < kCount; ++n) {
				memory.push_back(std::make_unique<Buffer>(512, static_cast<int>(op == Op::ObjRead ? 0 : n % 251)));
				errands.push_back(std::make_unique<Errand>(op, dataObject(n, static_cast<uint8_t>(n % 3 + 1)), memory.back()->all()));
			}
			for (auto &errand : errands) m_store->submit(*errand);
			for (auto &errand : errands) m_bench->wait(*errand);
			for (auto &errand : errands) QCOMPARE(errand->error(), kNone);
			for (uint32_t n = 0; n < kCount; ++n) QVERIFY(memory[n]->isAll(static_cast<int>(n % 251)));
		}
	}

	void closedStoresRefuse_data() { backends(); }
	void closedStoresRefuse()
	{
		m_bench->await(m_store->close());
		QCOMPARE(run(Op::ObjCapacity, {}), code(ErrorCode::Cancelled));
		QCOMPARE(run(Op::ObjRemove, dataObject(1)), code(ErrorCode::Cancelled));
	}

	void closeWaitsForWhatIsInFlight_data() { backends(); }
	void closeWaitsForWhatIsInFlight()
	{
		std::vector<std::unique_ptr<Buffer>> memory;
		std::vector<std::unique_ptr<Errand>> errands;
		for (uint32_t n = 0; n < 50; ++n) {
			memory.push_back(std::make_unique<Buffer>(4096, 'm'));
			const Op op = n % 3 == 0 ? Op::ObjCreate : n % 3 == 1 ? Op::ObjWriteFull : Op::ObjSyncAll;
			errands.push_back(std::make_unique<Errand>(op, dataObject(n), op == Op::ObjSyncAll ? std::span<std::byte>() : memory.back()->all()));
			m_store->submit(*errands.back());
		}
		m_bench->await(m_store->close());
		for (auto &errand : errands) {
			QVERIFY(errand->back);
			QCOMPARE(errand->error(), kNone);
		}
	}
};

QTEST_GUILESS_MAIN(TestStoreConformance)
#include "tst_store_conformance.moc"
