// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Who gets room, in which order, and what happens when nobody moves.
#include "tests/daemon/composer/actor.h"

#include "daemon/gateway/buffer_budget.h"

using namespace archipelago;
using namespace archipelago::testing;
using gateway::BufferBudget;

namespace {

/// Wants `cost` once; notes its number when it has it.
struct Wanting : BufferBudget::Waiter {
	BufferBudget &budget;
	std::vector<int> &order;
	int number;
	uint64_t cost;
	uint64_t held = BufferBudget::kOwnBytes; ///< already: what it may have anyhow
	bool has = false;
	Wanting(BufferBudget &b, std::vector<int> &o, int n, uint64_t c) : budget(b), order(o), number(n), cost(c) {}
	~Wanting() override { budget.leave(*this); }
	bool want()
	{
		has = budget.reserve(cost, held, *this);
		if (has) order.push_back(number);
		return has;
	}
	void roomFreed() override { want(); }
};

struct BudgetRig : Rig {
	xseg::BufferPool pool{*segment, 1};
	unsigned stalls = 0;
	BufferBudget budget{*reactor, pool, 1000, 20, [this] { ++stalls; }};
	std::vector<int> order;
};

} // namespace

class BufferBudgetTest : public QObject {
	Q_OBJECT

private slots:
	void buffersCostPowersOfTwo()
	{
		QCOMPARE(BufferBudget::cost(1), uint64_t{512});
		QCOMPARE(BufferBudget::cost(512), uint64_t{512});
		QCOMPARE(BufferBudget::cost(513), uint64_t{1024});
		QCOMPARE(BufferBudget::cost(3u << 20), uint64_t{4u << 20});
	}

	void thoseWhoWaitAreServedInOrderAndNobodyOvertakes()
	{
		BudgetRig rig;
		Wanting a(rig.budget, rig.order, 1, 800), b(rig.budget, rig.order, 2, 700), c(rig.budget, rig.order, 3, 100),
		    d(rig.budget, rig.order, 4, 100);
		QVERIFY(a.want());
		QVERIFY(!b.want());
		QVERIFY(!c.want()); // there would be room, but b was first
		rig.budget.serve();
		QCOMPARE(rig.order, (std::vector<int>{1}));
		rig.budget.release(800);
		QVERIFY(!d.want()); // what was freed belongs to those in line
		rig.budget.serve();
		QCOMPARE(rig.order, (std::vector<int>{1, 2, 3, 4}));
		QCOMPARE(rig.budget.used(), uint64_t{900});
		rig.budget.release(900);
	}

	/// Who has much to do gets a turn like everybody else, however much is free when it comes.
	void oneReservationForEachTurn()
	{
		struct Greedy : Wanting {
			using Wanting::Wanting;
			void roomFreed() override
			{
				while (want()) {}
			}
		};
		BudgetRig rig;
		Wanting a(rig.budget, rig.order, 1, 1000), c(rig.budget, rig.order, 3, 300);
		Greedy b(rig.budget, rig.order, 2, 300);
		QVERIFY(a.want());
		QVERIFY(!b.want() && !c.want());
		rig.budget.release(1000);
		rig.budget.serve();
		QCOMPARE(rig.order, (std::vector<int>{1, 2, 3, 2}));
		rig.budget.release(300); // alone in line it takes what there is
		rig.budget.serve();
		QCOMPARE(rig.order, (std::vector<int>{1, 2, 3, 2, 2}));
		rig.budget.release(900);
		rig.budget.leave(b);
	}

	void theFirstStaysFirstUntilItFits()
	{
		BudgetRig rig;
		Wanting a(rig.budget, rig.order, 1, 500), b(rig.budget, rig.order, 2, 500), c(rig.budget, rig.order, 3, 900),
		    d(rig.budget, rig.order, 4, 100);
		QVERIFY(a.want() && b.want());
		QVERIFY(!c.want() && !d.want());
		rig.budget.release(500);
		rig.budget.serve();
		QCOMPARE(rig.order, (std::vector<int>{1, 2})); // d would fit, c does not
		rig.budget.release(500);
		rig.budget.serve();
		QCOMPARE(rig.order, (std::vector<int>{1, 2, 3, 4}));
		rig.budget.release(1000);
	}

	void leavingLetsTheNextOneIn()
	{
		BudgetRig rig;
		std::vector<int> &order = rig.order;
		Wanting a(rig.budget, order, 1, 500), c(rig.budget, order, 3, 200);
		auto b = std::make_unique<Wanting>(rig.budget, order, 2, 900);
		QVERIFY(a.want());
		QVERIFY(!b->want() && !c.want());
		b.reset();
		rig.budget.serve();
		QCOMPARE(order, (std::vector<int>{1, 3}));
		rig.budget.release(700);
	}

	void whoeverHoldsLittlePassesTheLine()
	{
		BudgetRig rig;
		Wanting a(rig.budget, rig.order, 1, 1000), b(rig.budget, rig.order, 2, 1000), c(rig.budget, rig.order, 3, 512);
		QVERIFY(a.want());
		QVERIFY(!b.want()); // first in line, and there is no room
		c.held = BufferBudget::kOwnBytes - 512;
		QVERIFY(c.want());
		c.held = BufferBudget::kOwnBytes - 511;
		QVERIFY(!c.want()); // beyond its own it stands in line as well
		c.held = 0; // its own came back
		QVERIFY(c.want());
		rig.budget.release(1000);
		rig.budget.release(2 * 512);
		rig.budget.serve(); // and it is not in line any more: only b is served
		QCOMPARE(rig.order, (std::vector<int>{1, 3, 3, 2}));
		rig.budget.release(1000);
		rig.budget.serve();
		QCOMPARE(rig.budget.used(), uint64_t{0});
	}

	void stallsAreReportedWhileTheSameOneWaits()
	{
		BudgetRig rig;
		Wanting a(rig.budget, rig.order, 1, 1000), b(rig.budget, rig.order, 2, 100);
		QVERIFY(a.want());
		QVERIFY(!b.want());
		QVERIFY(turnUntil(rig, [&] { return rig.stalls >= 2; }));
		rig.budget.release(1000);
		rig.budget.serve();
		QVERIFY(b.has);
		const unsigned before = rig.stalls;
		Wanting idle(rig.budget, rig.order, 3, 100);
		runtime::Timer timer(*rig.reactor, [] {});
		timer.startMs(60);
		QVERIFY(turnUntil(rig, [&] { return !timer.active(); }));
		QCOMPARE(rig.stalls, before); // nobody waits
		rig.budget.release(100);
	}

	void memoryOfOthersIsTriedAgain()
	{
		BudgetRig rig;
		Wanting a(rig.budget, rig.order, 1, 100);
		rig.budget.waitForMemory(a);
		const uint64_t hook = rig.reactor->addTurnHook([&rig] { rig.budget.serve(); });
		QVERIFY(turnUntil(rig, [&] { return a.has; }));
		rig.reactor->removeTurnHook(hook);
		rig.budget.release(100);
	}
};

QTEST_APPLESS_MAIN(BufferBudgetTest)
#include "tst_buffer_budget.moc"
