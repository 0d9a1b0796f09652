// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The door of a volume: what freezing waits for, what it holds, and in which order it lets go.
#include "tests/daemon/composer/actor.h"

#include "daemon/composer/freeze.h"

using namespace archipelago;
using namespace archipelago::testing;
using composer::Freeze;

namespace {

runtime::Task<void> freezeThen(Freeze &door, bool &frozen)
{
	door.freeze();
	co_await door.drained();
	frozen = true;
}

/// Enters again when released; freezes the door after the first when told to.
struct Visitor : composer::Entrant {
	Freeze &door;
	std::vector<uint64_t> entered, refusedOnes;
	bool freezeAfterFirst = false, frozenAgain = false;
	explicit Visitor(Freeze &d) : door(d) {}
	virtual ~Visitor() = default;
	void released(xseg::RequestRef request) override
	{
		if (!door.enter()) return door.hold(*this, std::move(request));
		entered.push_back(request->offset);
		if (freezeAfterFirst && entered.size() == 1) runtime::spawn(freezeThen(door, frozenAgain));
	}
	void refused(xseg::RequestRef request) override { refusedOnes.push_back(request->offset); }
};

} // namespace

class FreezeTest : public QObject {
	Q_OBJECT

private slots:
	void freezingWaitsForThoseInside()
	{
		Freeze door;
		QVERIFY(door.enter());
		QVERIFY(door.enter());
		bool frozen = false;
		runtime::spawn(freezeThen(door, frozen));
		QVERIFY(!frozen);
		QVERIFY(!door.enter());
		door.leave();
		QVERIFY(!frozen);
		door.leave();
		QVERIFY(frozen);
		door.thaw();
		QVERIFY(door.enter());
	}
	void freezersNest()
	{
		Freeze door;
		bool one = false, two = false;
		runtime::spawn(freezeThen(door, one));
		runtime::spawn(freezeThen(door, two));
		QVERIFY(one && two);
		door.thaw();
		QVERIFY(door.frozen());
		QVERIFY(!door.enter());
		door.thaw();
		QVERIFY(!door.frozen());
		QVERIFY(door.enter());
	}
	void heldRequestsComeBackInOrder()
	{
		Rig rig;
		Actor owner(rig, 1);
		Freeze door;
		Visitor visitor(door);
		bool frozen = false;
		runtime::spawn(freezeThen(door, frozen));
		hold(owner, visitor, door, 3);
		QVERIFY(visitor.entered.empty());
		door.thaw();
		QCOMPARE(visitor.entered, (std::vector<uint64_t>{0, 1, 2}));
		QCOMPARE(door.inflight(), 3u);
	}
	void freezingDuringThawHoldsTheRestAgain()
	{
		Rig rig;
		Actor owner(rig, 1);
		Freeze door;
		Visitor visitor(door);
		visitor.freezeAfterFirst = true;
		bool frozen = false;
		runtime::spawn(freezeThen(door, frozen));
		hold(owner, visitor, door, 3);
		door.thaw();
		QCOMPARE(visitor.entered, (std::vector<uint64_t>{0}));
		QVERIFY(!visitor.frozenAgain);
		door.leave();
		QVERIFY(visitor.frozenAgain);
		door.thaw();
		QCOMPARE(visitor.entered, (std::vector<uint64_t>{0, 1, 2}));
	}
	void refusingSendsAwayWhatIsHeld()
	{
		Rig rig;
		Actor owner(rig, 1);
		Freeze door;
		Visitor visitor(door);
		bool frozen = false;
		runtime::spawn(freezeThen(door, frozen));
		hold(owner, visitor, door, 2);
		door.refuseHeld();
		QCOMPARE(visitor.refusedOnes, (std::vector<uint64_t>{0, 1}));
		door.thaw();
		QVERIFY(visitor.entered.empty());
	}

private:
	static void hold(Actor &owner, Visitor &visitor, Freeze &door, uint64_t count)
	{
		for (uint64_t i = 0; i < count; ++i) {
			xseg::RequestRef request = owner.make(Op::VolFlush);
			request->offset = i;
			door.hold(visitor, std::move(request));
		}
	}
};

QTEST_APPLESS_MAIN(FreezeTest)
#include "tst_freeze.moc"
