// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Tasks: laziness, values, order of waiting; and the compiler's trap that the repository's lint keeps out of the product.
#include "daemon/runtime/task.h"

#include <QtTest>

#include <string>
#include <vector>

using namespace archipelago::runtime;

namespace {

/// Counts how often it was made and destroyed.
struct Counted {
	static inline int made = 0, destroyed = 0;
	int value = 0;
	explicit Counted(int v) : value(v) { ++made; }
	Counted(const Counted &o) : value(o.value) { ++made; }
	Counted(Counted &&o) noexcept : value(o.value) { ++made; }
	~Counted() { ++destroyed; }
};
struct Braced {
	Counted counted{0};
};

Task<int> takes(Braced braced) { co_return braced.counted.value; }
Task<int64_t> number(int n) { co_return n; }
Task<int64_t> sum(int n)
{
	int64_t total = 0;
	for (int i = 1; i <= n; ++i) total += co_await number(i);
	co_return total;
}

Task<void> inOrder(Gate &gate, std::vector<int> &order, WaitList &pause, int who)
{
	co_await gate.enter();
	order.push_back(who);
	co_await pause.wait();
	order.push_back(-who);
	gate.leave();
}

} // namespace

class TestTask : public QObject {
	Q_OBJECT
private slots:
	void nothingRunsBeforeItIsAwaited()
	{
		bool ran = false;
		auto task = [](bool &flag) -> Task<void> { flag = true; co_return; }(ran);
		QVERIFY(!ran);
		spawn(std::move(task));
		QVERIFY(ran);
	}

	void valuesComeBackAndDeepChainsDoNotGrowTheStack()
	{
		int64_t total = 0;
		auto go = [](int64_t &out) -> Task<void> { out = co_await sum(100'000); };
		spawn(go(total));
		QCOMPARE(total, int64_t(100'000) * 100'001 / 2);
	}

	void theGateIsFairAndExclusive()
	{
		Gate gate;
		WaitList pause;
		std::vector<int> order;
		for (int who = 1; who <= 3; ++who) spawn(inOrder(gate, order, pause, who));
		QCOMPARE(order, (std::vector<int>{1}));
		while (!pause.empty()) pause.wakeAll();
		QCOMPARE(order, (std::vector<int>{1, -1, 2, -2, 3, -3}));
		QVERIFY(!gate.taken());
	}

	void wakeOneWakesTheFirst()
	{
		WaitList list;
		std::vector<int> order;
		auto wait = [](WaitList &l, std::vector<int> &o, int who) -> Task<void> { co_await l.wait(); o.push_back(who); };
		for (int who = 1; who <= 3; ++who) spawn(wait(list, order, who));
		list.wakeOne();
		QCOMPARE(order, (std::vector<int>{1}));
		list.wakeAll();
		QCOMPARE(order, (std::vector<int>{1, 2, 3}));
	}

	/// g++ 12 destroys a braced temporary of a co_await expression twice. Should this fail one day, the compiler has been
	/// mended and the rule (and its lint) may go.
	void theBracedTemporaryTrapIsStillThere()
	{
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ == 12
		Counted::made = Counted::destroyed = 0;
		auto trap = []() -> Task<void> {
			const int n = co_await takes({.counted = Counted(7)}); // lint: shows the trap
			(void)n;
		};
		spawn(trap());
		QVERIFY2(Counted::destroyed > Counted::made, "the trap is gone");
#endif
		Counted::made = Counted::destroyed = 0;
		auto named = []() -> Task<void> {
			Braced braced;
			const int n = co_await takes(std::move(braced));
			(void)n;
		};
		spawn(named());
		QCOMPARE(Counted::destroyed, Counted::made);
	}
};

QTEST_APPLESS_MAIN(TestTask)
#include "tst_task.moc"
