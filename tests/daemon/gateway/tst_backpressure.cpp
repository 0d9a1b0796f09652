// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Connections under pressure: little room, deadlines, clients that do not move. The connection stands on a socket pair, with a
// budget and limits of the test's choosing.
#include "tests/daemon/gateway/nbd_rig.h"

#include "daemon/gateway/nbd/connection.h"
#include "daemon/gateway/nbd/handshake.h"

using namespace archipelago;
using namespace archipelago::testing;
using gateway::BufferBudget;
using gateway::VolumeSessions;
using nbd::Connection;

namespace {

constexpr uint16_t kRead = 0, kWrite = 1, kFlush = 3;
constexpr uint32_t kMiB = 1u << 20;

/// One or more connections with a shared budget, as the server sets them up.
struct PressureRig : Rig {
	FakeComposer composer{*this};
	std::shared_ptr<spdlog::logger> log = roleLogger("nbd");
	VolumeSessions volumes;
	BufferBudget budget;
	std::vector<std::byte> scratch{65536};
	std::vector<Connection *> dirty, ending;
	std::vector<Connection *> alive;
	uint64_t ioTimeoutMs = 0;
	unsigned ended = 0, looks = 0; ///< looks: how often somebody was waiting for too long

	explicit PressureRig(uint64_t budgetBytes, uint64_t stallMs = 60'000)
	    : Rig(192u << 20), volumes(*reactor, *log, options()),
	      budget(*reactor, volumes.buffers(), budgetBytes, stallMs, [this] {
		      ++looks;
		      for (Connection *c : std::vector(alive))
			      if (c->stalled()) c->evict();
	      })
	{
		if (!volumes.start()) qFatal("start");
		reactor->addTurnHook([this] {
			for (;;) {
				budget.serve();
				if (dirty.empty()) return;
				ending.swap(dirty);
				for (Connection *c : ending) c->endOfTurn();
				ending.clear();
			}
		});
	}
	~PressureRig()
	{
		composer.failIoWith = 0;
		composer.release();
		for (Connection *c : alive) c->stop();
		turnUntil(*this, [this] { return alive.empty(); });
		run(stopVolumes());
	}
	static VolumeSessions::Options options()
	{
		VolumeSessions::Options out;
		out.firstPort = 40;
		out.lastPort = 43;
		out.composerPort = kFakeControl;
		out.holder = Holder::Nbd;
		return out;
	}
	runtime::Task<void> stopVolumes()
	{
		const Result<void> stopped = co_await volumes.stop();
		(void)stopped;
	}

	/// A client in its transmission phase.
	std::unique_ptr<NbdClient> connect()
	{
		int ends[2];
		if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) qFatal("socketpair");
		const size_t before = alive.size();
		runtime::spawn(serve(xseg::UniqueFd(ends[0])));
		turnUntil(*this, [this, before] { return alive.size() > before; });
		return std::make_unique<NbdClient>(*this, ends[1]);
	}
	runtime::Task<void> serve(xseg::UniqueFd fd)
	{
		Result<gateway::OpenVolume> volume = co_await volumes.open("blank");
		if (!volume) qFatal("open");
		const nbd::ConnectionContext context{*reactor, budget, *log, scratch, dirty, ioTimeoutMs, 8 * kMiB};
		{
			Connection connection(context, fd.get(), {std::move(*volume), {}, "client"});
			alive.push_back(&connection);
			co_await connection.run();
			std::erase(alive, &connection);
		}
		++ended;
	}
};

std::string readReply(uint64_t cookie, size_t bytes) { return Wire::reply(0, cookie).bytes() + std::string(bytes, '\0'); }

} // namespace

class BackpressureTest : public QObject {
	Q_OBJECT

private slots:
	void commandsWaitForRoomAndAllAreAnswered()
	{
		PressureRig rig(8 * kMiB);
		auto one = rig.connect(), two = rig.connect();
		std::string reads, writes;
		for (uint64_t i = 0; i < 10; ++i) reads += Wire::command(kRead, i, 0, 3 * kMiB).bytes();
		for (uint64_t i = 0; i < 10; ++i) writes += Wire::command(kWrite, i, 8 * kMiB, 2 * kMiB).bytes() + pattern(2 * kMiB, 5);
		QVERIFY(one->send(reads));
		size_t sent = 0;
		std::string got;
		QVERIFY(turnUntil(rig, [&] {
			const ssize_t n = ::send(two->fd(), writes.data() + sent, writes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n > 0) sent += static_cast<size_t>(n);
			char buffer[65536];
			ssize_t r;
			while ((r = ::recv(one->fd(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) got.append(buffer, static_cast<size_t>(r));
			if (rig.budget.used() > rig.budget.limit()) qFatal("over budget");
			return sent == writes.size() && got.size() == 10 * (16 + 3 * kMiB);
		}));
		QCOMPARE(two->receive(160).size(), size_t{160});
		QVERIFY(turnUntil(rig, [&] { return rig.budget.used() == 0; }));
	}

	void buffersOfUnreadRepliesAreBoundedPerClient()
	{
		PressureRig rig(64 * kMiB);
		auto deaf = rig.connect();
		std::string reads;
		for (uint64_t i = 0; i < 100; ++i) reads += Wire::command(kRead, i, 0, kMiB).bytes();
		QVERIFY(deaf->send(reads));
		settle(rig);
		QVERIFY(rig.budget.used() <= Connection::kMaxHeldBytes);
		QVERIFY(rig.budget.used() >= Connection::kMaxHeldBytes / 2);
		for (uint64_t i = 0; i < 100; ++i) QVERIFY(deaf->receive(16 + kMiB) == readReply(i, kMiB));
		QVERIFY(turnUntil(rig, [&] { return rig.budget.used() == 0; }));
	}

	void requestsAreBoundedPerClient()
	{
		PressureRig rig(64 * kMiB);
		auto client = rig.connect();
		rig.composer.holding = true;
		std::string flushes;
		for (uint64_t i = 0; i < 1000; ++i) flushes += Wire::command(kFlush, i, 0, 0);
		QVERIFY(client->send(flushes));
		settle(rig);
		QVERIFY(rig.composer.held.size() <= Connection::kMaxRequests);
		rig.composer.release();
		QCOMPARE(client->receive(16000).size(), size_t{16000});
	}

	void whoDoesNotMoveWhileOthersWaitIsDropped()
	{
		PressureRig rig(8 * kMiB, 30);
		auto deaf = rig.connect(), other = rig.connect();
		QVERIFY(deaf->send(Wire::command(kRead, 1, 0, 8 * kMiB)));
		QVERIFY(turnUntil(rig, [&] { return rig.budget.used() == 8 * kMiB; }));
		QVERIFY(other->send(Wire::command(kRead, 2, 0, kMiB)));
		QVERIFY(other->receive(16 + kMiB) == readReply(2, kMiB));
		QCOMPARE(rig.ended, 1u);
	}
	void whoHardlyMovesWhileOthersWaitIsDropped_data()
	{
		QTest::addColumn<size_t>("bytesPerLook");
		QTest::addColumn<uint64_t>("lookEveryMs");
		QTest::addColumn<unsigned>("dropped");
		QTest::newRow("in 32 looks") << size_t{256 * 1024} << uint64_t{30} << 1u;
		QTest::newRow("in three looks") << size_t{3 * kMiB} << uint64_t{400} << 0u;
	}
	void whoHardlyMovesWhileOthersWaitIsDropped()
	{
		QFETCH(size_t, bytesPerLook);
		QFETCH(uint64_t, lookEveryMs);
		QFETCH(unsigned, dropped);
		PressureRig rig(8 * kMiB, lookEveryMs);
		auto slow = rig.connect(), other = rig.connect();
		QVERIFY(slow->send(Wire::command(kRead, 1, 0, 8 * kMiB)));
		QVERIFY(turnUntil(rig, [&] { return rig.budget.used() == 8 * kMiB; }));
		QVERIFY(other->send(Wire::command(kRead, 2, 0, kMiB)));
		size_t fetched = 0, answer = 0;
		QVERIFY(turnUntil(rig, [&] {
			char buffer[65536];
			while (fetched < (rig.looks + 1) * bytesPerLook) {
				const ssize_t n = ::recv(slow->fd(), buffer, sizeof buffer, MSG_DONTWAIT);
				if (n <= 0) break;
				fetched += static_cast<size_t>(n);
			}
			const ssize_t n = ::recv(other->fd(), buffer, sizeof buffer, MSG_DONTWAIT);
			if (n > 0) answer += static_cast<size_t>(n);
			return answer == 16 + kMiB;
		}));
		QCOMPARE(rig.ended, dropped);
	}
	void whoStopsInAPayloadWhileOthersWaitIsDropped()
	{
		PressureRig rig(4 * kMiB, 30);
		auto slow = rig.connect(), other = rig.connect();
		QVERIFY(slow->send(Wire::command(kWrite, 1, 0, 4 * kMiB).bytes() + pattern(5000, 1)));
		QVERIFY(turnUntil(rig, [&] { return rig.budget.used() == 4 * kMiB; }));
		QVERIFY(other->send(Wire::command(kRead, 2, 0, kMiB)));
		QVERIFY(other->receive(16 + kMiB) == readReply(2, kMiB));
		QCOMPARE(rig.ended, 1u);
	}
	void slowStorageIsNotTheClientsFault()
	{
		PressureRig rig(4 * kMiB, 10);
		auto one = rig.connect(), two = rig.connect();
		rig.composer.holding = true;
		QVERIFY(one->send(Wire::command(kRead, 1, 0, 4 * kMiB)));
		QVERIFY(turnUntil(rig, [&] { return rig.composer.held.size() == 1; }));
		QVERIFY(two->send(Wire::command(kRead, 2, 0, 512)));
		runtime::Timer timer(*rig.reactor, [] {});
		timer.startMs(100); // ten looks at who moves
		QVERIFY(turnUntil(rig, [&] { return !timer.active(); }));
		QCOMPARE(rig.ended, 0u);
		rig.composer.release();
		QVERIFY(one->receive(16 + 4 * kMiB) == readReply(1, 4 * kMiB));
		QVERIFY(two->receive(16 + 512) == readReply(2, 512));
	}

	void aLateAnswerLeavesTheBufferAlone()
	{
		PressureRig rig(64 * kMiB);
		rig.ioTimeoutMs = 30;
		auto client = rig.connect();
		rig.composer.holding = true;
		QVERIFY(client->send(Wire::command(kRead, 1, 0, 4096).bytes() + Wire::command(kWrite, 2, 0, 4096).bytes() + pattern(4096, 6)));
		std::string replies = client->receive(32);
		QCOMPARE(replies, Wire::reply(5, 1).bytes() + Wire::reply(5, 2).bytes()); // EIO, when the time is over
		QCOMPARE(rig.composer.held.size(), size_t{2});
		QCOMPARE(rig.budget.used(), uint64_t{8192}); // both buffers are under I/O still
		rig.composer.release();
		QVERIFY(turnUntil(rig, [&] { return rig.budget.used() == 0; }));
		QVERIFY(client->quiet()); // nobody is answered twice
		QVERIFY(client->send(Wire::command(kRead, 3, 0, 4096)));
		QVERIFY(client->receive(16 + 4096) == Wire::reply(0, 3).bytes() + pattern(4096, 6));
	}
	void leavingAfterALateAnswerWaitsForIt()
	{
		PressureRig rig(64 * kMiB);
		rig.ioTimeoutMs = 20;
		auto client = rig.connect();
		rig.composer.holding = true;
		QVERIFY(client->send(Wire::command(kRead, 1, 0, 4096)));
		QCOMPARE(client->receive(16), Wire::reply(5, 1).bytes());
		client.reset();
		settle(rig);
		QCOMPARE(rig.ended, 0u);
		rig.composer.release();
		QVERIFY(turnUntil(rig, [&] { return rig.ended == 1; }));
		QCOMPARE(rig.budget.used(), uint64_t{0});
	}
	void whatIsInTimeIsNotLate()
	{
		PressureRig rig(64 * kMiB);
		rig.ioTimeoutMs = 20;
		auto client = rig.connect();
		for (uint64_t i = 0; i < 100; ++i) {
			QVERIFY(client->send(Wire::command(kRead, i, 0, 512)));
			QVERIFY(client->receive(528) == readReply(i, 512));
		}
	}

	void fragmentedMemoryGivesSmallerPieces()
	{
		PressureRig rig(64 * kMiB);
		auto client = rig.connect();
		// All that is left is every second slab: no room for a buffer of a block.
		std::vector<uint32_t> all;
		for (uint32_t buffer; (buffer = rig.volumes.buffers().allocate(256 * 1024)) != XS_NO_BUFFER;) all.push_back(buffer);
		std::ranges::sort(all);
		for (size_t i = 0; i < all.size(); i += 2) rig.volumes.buffers().free(all[i]);
		QVERIFY(client->send(Wire::command(kWrite, 1, 0, 8 * kMiB).bytes() + pattern(8 * kMiB, 7)));
		QCOMPARE(client->receive(16), Wire::reply(0, 1).bytes());
		QVERIFY(client->send(Wire::command(kRead, 2, 0, 8 * kMiB)));
		QVERIFY(client->receive(16 + 8 * kMiB) == Wire::reply(0, 2).bytes() + pattern(8 * kMiB, 7));
		QVERIFY(rig.composer.writes >= 32);
		QCOMPARE(rig.budget.used(), uint64_t{0});
		for (size_t i = 1; i < all.size(); i += 2) rig.volumes.buffers().free(all[i]);
	}
	void aSegmentFullOfOthersIsWaitedFor()
	{
		PressureRig rig(64 * kMiB);
		auto client = rig.connect();
		xseg::BufferPool others(*rig.segment, 77);
		std::vector<uint32_t> all;
		for (uint32_t size : {4 * kMiB, 256u * 1024, 512u})
			for (uint32_t buffer; (buffer = others.allocate(size)) != XS_NO_BUFFER;) all.push_back(buffer);
		QVERIFY(client->send(Wire::command(kRead, 1, 0, kMiB)));
		settle(rig);
		QCOMPARE(rig.budget.used(), uint64_t{0}); // holds nothing while it waits
		for (const uint32_t buffer : all) others.free(buffer);
		QVERIFY(client->receive(16 + kMiB) == readReply(1, kMiB));
	}

	void stopAnswersWhatIsInFlight()
	{
		PressureRig rig(64 * kMiB);
		auto client = rig.connect();
		rig.composer.holding = true;
		QVERIFY(client->send(Wire::command(kRead, 1, 0, 512).bytes() + Wire::command(kWrite, 2, 0, 4096).bytes() + pattern(100, 1)));
		QVERIFY(turnUntil(rig, [&] { return rig.composer.held.size() == 1 && rig.budget.used() == 512 + 4096; }));
		rig.alive.front()->stop();
		QCOMPARE(rig.budget.used(), uint64_t{512}); // the WRITE that was half here is forgotten
		rig.composer.release();
		QVERIFY(client->receive(528) == readReply(1, 512));
		QVERIFY(client->atEnd());
	}
	void stopDoesNotWaitForADeafClient()
	{
		PressureRig rig(64 * kMiB);
		auto deaf = rig.connect();
		QVERIFY(deaf->send(Wire::command(kRead, 1, 0, 8 * kMiB)));
		settle(rig);
		rig.alive.front()->stop();
		QVERIFY(turnUntil(rig, [&] { return rig.ended == 1; })); // within kLingerMs
	}

	void idleHandshakesEnd()
	{
		struct None : nbd::Exports {
			runtime::Task<Result<gateway::OpenVolume>> open(std::string) override { co_return failure(ErrorCode::NotFound, "no"); }
			runtime::Task<Result<std::vector<std::string>>> list() override { co_return std::vector<std::string>(); }
			virtual ~None() = default;
		};
		Rig rig;
		None exports;
		for (const std::string &bytes : {std::string(), Wire().u16(0).bytes(), Wire().u32(3).bytes(),
		                                 Wire().u32(3).bytes() + Wire::option(3, "").bytes() + "IHAVE",
		                                 Wire().u32(3).u64(nbd::kOptionMagic).u32(99).u32(5000).text("abc").bytes()}) {
			int ends[2];
			QCOMPARE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
			const xseg::UniqueFd server(ends[0]), client(ends[1]);
			QCOMPARE(::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), ssize_t(bytes.size()));
			nbd::HandshakeLimits limits;
			limits.idleMs = 20;
			ErrorCode code = ErrorCode::Failed;
			rig.run(negotiate(rig, server.get(), exports, limits, code));
			QCOMPARE(code, ErrorCode::Timeout);
		}
	}

private:
	static runtime::Task<void> negotiate(Rig &rig, int fd, nbd::Exports &exports, nbd::HandshakeLimits limits, ErrorCode &code)
	{
		const auto result = co_await nbd::handshake(*rig.reactor, fd, exports, *roleLogger("nbd"), limits);
		code = result ? ErrorCode::Failed : result.error().code;
	}
};

QTEST_APPLESS_MAIN(BackpressureTest)
#include "tst_backpressure.moc"
