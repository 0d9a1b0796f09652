// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Several reactors in one process: mail between them, coroutines that travel, roles that are one peer on all of them.
#include "rig.h"

#include "daemon/runtime/reactor_thread.h"
#include "daemon/runtime/sharded_peer.h"

#include <thread>

using namespace archipelago;
using namespace archipelago::runtime;
using archipelago::testing::Rig;

namespace {

std::vector<std::unique_ptr<ReactorThread>> threadsOf(Rig &rig, unsigned count)
{
	std::vector<std::unique_ptr<ReactorThread>> out;
	for (unsigned n = 0; n < count; ++n) {
		Reactor::Options options;
		options.waiter = n + 1;
		auto thread = ReactorThread::start(*rig.segment, rig.bells, options, "reactor-" + std::to_string(n + 1));
		if (!thread) qFatal("%s", thread.error().message.c_str());
		out.push_back(std::move(*thread));
	}
	return out;
}

/// Says on which threads it was used.
struct Threaded : Peer {
	struct Seen {
		std::thread::id started, stopped, destroyed;
	};
	Seen &seen;
	std::atomic<int> &running;
	const bool fails;
	Threaded(Seen &s, std::atomic<int> &r, bool f) : seen(s), running(r), fails(f) {}
	~Threaded() override { seen.destroyed = std::this_thread::get_id(); }
	Task<Result<void>> start() override
	{
		seen.started = std::this_thread::get_id();
		if (fails) co_return failure(ErrorCode::Locked, "held elsewhere");
		++running;
		co_return Result<void>{};
	}
	Task<Result<void>> stop() override
	{
		seen.stopped = std::this_thread::get_id();
		--running;
		co_return Result<void>{};
	}
	uint32_t inflight() const override { return 7; }
};

Task<void> startInto(Peer &peer, Result<void> &out) { out = co_await peer.start(); }
Task<void> stopInto(Peer &peer, Result<void> &out) { out = co_await peer.stop(); }

} // namespace

class TestReactorThreads : public QObject {
	Q_OBJECT

	static Task<std::thread::id> here() { co_return std::this_thread::get_id(); }
	static Task<int> later(Reactor &reactor, int value)
	{
		co_await reactor.sleepMs(2);
		co_return value;
	}
	/// `n` trips there and back; each has to come back to the thread it left.
	static Task<void> travel(Reactor &home, Reactor &there, int n, int &sum, int &strays)
	{
		const std::thread::id mine = std::this_thread::get_id();
		for (int i = 0; i < n; ++i) {
			std::function<Task<std::thread::id>()> who = [] { return here(); };
			const std::thread::id other = co_await runOn(home, there, std::move(who));
			strays += other == mine || std::this_thread::get_id() != mine;
			std::function<Task<int>()> job = [&there, i] { return later(there, i); };
			sum += co_await runOn(home, there, std::move(job));
			strays += std::this_thread::get_id() != mine;
		}
	}

private slots:
	void mailKeepsItsOrderAndWakesTheSleeper()
	{
		Rig rig;
		std::vector<int> got;
		std::jthread other([&] {
			for (int i = 0; i < 2000; ++i) {
				// Now and then only when it is asleep, so that the bell is what wakes it.
				while (i % 400 == 0 && std::atomic_ref<uint32_t>(rig.segment->waiter(0).bell).load() != 1) std::this_thread::yield();
				rig.reactor->postFromAnyThread([&got, i] { got.push_back(i); });
			}
		});
		QElapsedTimer time;
		time.start();
		rig.reactor->runUntil([&] { return got.size() == 2000; });
		QVERIFY(std::ranges::is_sorted(got));
	}

	void mailFromManyThreadsIsComplete()
	{
		Rig rig;
		int sum = 0;
		std::vector<std::jthread> others;
		for (int t = 0; t < 4; ++t)
			others.emplace_back([&] {
				for (int i = 0; i < 500; ++i) rig.reactor->postFromAnyThread([&sum] { ++sum; });
			});
		rig.reactor->runUntil([&] { return sum == 2000; });
		QCOMPARE(sum, 2000);
	}

	void coroutinesTravelAndComeBack()
	{
		Rig rig;
		const auto threads = threadsOf(rig, 3);
		int sum = 0, strays = 0, done = 0;
		auto go = [](Reactor &home, Reactor &there, int &total, int &lost, int &ended) -> Task<void> {
			co_await travel(home, there, 20, total, lost);
			++ended;
		};
		for (const auto &thread : threads) spawn(go(*rig.reactor, thread->reactor(), sum, strays, done));
		rig.reactor->runUntil([&] { return done == 3; });
		QCOMPARE(sum, 3 * 190);
		QCOMPARE(strays, 0);
	}

	void aRoleLivesOnAllReactors()
	{
		Rig rig;
		const auto threads = threadsOf(rig, 2);
		std::atomic<int> running = 0;
		std::array<Threaded::Seen, 3> seen;
		std::vector<Reactor *> reactors{rig.reactor.get(), &threads[0]->reactor(), &threads[1]->reactor()};
		std::vector<std::unique_ptr<Peer>> parts;
		for (auto &s : seen) parts.push_back(std::make_unique<Threaded>(s, running, false));
		ShardedPeer peer(reactors, std::move(parts));
		Result<void> result;
		rig.run(startInto(peer, result));
		QVERIFY(result);
		QCOMPARE(running.load(), 3);
		rig.reactor->runUntil([&] { return peer.inflight() == 21; }); // asked, then said
		rig.run(stopInto(peer, result));
		QVERIFY(result);
		QCOMPARE(running.load(), 0);
		QCOMPARE(seen[0].started, std::this_thread::get_id());
		QVERIFY(seen[1].started != seen[0].started && seen[2].started != seen[1].started && seen[2].started != seen[0].started);
		for (const auto &s : seen) QVERIFY(s.started == s.stopped && s.started == s.destroyed);
	}

	void aShardThatFailsTakesTheOthersDown()
	{
		Rig rig;
		const auto threads = threadsOf(rig, 2);
		std::atomic<int> running = 0;
		std::array<Threaded::Seen, 3> seen;
		std::vector<Reactor *> reactors{rig.reactor.get(), &threads[0]->reactor(), &threads[1]->reactor()};
		std::vector<std::unique_ptr<Peer>> parts;
		for (size_t i = 0; i < seen.size(); ++i) parts.push_back(std::make_unique<Threaded>(seen[i], running, i == 1));
		ShardedPeer peer(reactors, std::move(parts));
		Result<void> result;
		rig.run(startInto(peer, result));
		QVERIFY(!result);
		QCOMPARE(result.error().code, ErrorCode::Locked);
		QCOMPARE(running.load(), 0);
		QCOMPARE(seen[0].stopped, std::this_thread::get_id()); // the first was up
		QCOMPARE(seen[2].started, std::thread::id());          // the third never began
		QCOMPARE(peer.inflight(), 0u);
	}
};

QTEST_APPLESS_MAIN(TestReactorThreads)
#include "tst_reactor_threads.moc"
