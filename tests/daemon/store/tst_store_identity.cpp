// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The identity as text, and every way to damage it; who holds a lock; the lock that outlives its descriptor in a ring.
#include "daemon/store/file/identity.h"
#include "daemon/store/file/store_lock.h"
#include "store_bench.h"

#include <QtTest>

#include <fcntl.h>
#include <sys/wait.h>

using namespace archipelago;
using namespace archipelago::store;

class TestStoreIdentity : public QObject {
	Q_OBJECT

private:
	static Identity sample()
	{
		Identity identity;
		identity.store = "00112233445566778899aabbccddeeff";
		identity.purpose = Purpose::Maps;
		identity.owner.host = "ffeeddccbbaa99887766554433221100";
		identity.owner.hostName = "node-7.example";
		return identity;
	}

private slots:
	void golden()
	{
		const std::string text = sample().format();
		QCOMPARE(text.size(), kIdentityBytes);
		const std::string shown = text.substr(0, text.find_last_not_of('\n') + 1);
		QCOMPARE(shown, std::string("archipelago object store\n"
		                            "format 1\n"
		                            "store 00112233445566778899aabbccddeeff\n"
		                            "purpose maps\n"
		                            "mode exclusive\n"
		                            "host ffeeddccbbaa99887766554433221100 node-7.example\n"
		                            "instance -\n"
		                            "crc32c daf4b505"));
	}

	void roundTrip()
	{
		const auto back = Identity::parse(sample().format());
		QVERIFY(back);
		QCOMPARE(back->store, sample().store);
		QVERIFY(back->purpose == Purpose::Maps);
		QCOMPARE(back->owner.host, sample().owner.host);
		QCOMPARE(back->owner.hostName, sample().owner.hostName);
		QVERIFY(back->owner.instance.empty());
	}

	void everyByteCounts()
	{
		const std::string good = sample().format();
		for (size_t i = 0; i < good.size(); ++i) {
			std::string bad = good;
			bad[i] = static_cast<char>(bad[i] ^ 1);
			const auto parsed = Identity::parse(bad);
			QVERIFY2(!parsed, std::to_string(i).c_str());
			QCOMPARE(parsed.error().code, ErrorCode::Config);
		}
		for (const size_t bytes : {size_t{0}, size_t{1}, good.size() - 1}) QVERIFY(!Identity::parse(good.substr(0, bytes)));
		QVERIFY(!Identity::parse(good + "\n"));
		QVERIFY(!Identity::parse(std::string(kIdentityBytes, '\0')));
	}

	void ownersThatAreNotKnownMatch()
	{
		const Owner a{"a", "", "1"};
		QVERIFY(a.sameAs(a));
		QVERIFY(a.sameAs(Owner{}));
		QVERIFY((Owner{"a", "other name", ""}).sameAs(a));
		QVERIFY(!(Owner{"b", "", "1"}).sameAs(a));
		QVERIFY(!(Owner{"a", "", "2"}).sameAs(a));
	}

	void newStoresDiffer()
	{
		const auto a = Identity::make(Purpose::Any, {}), b = Identity::make(Purpose::Any, {});
		QVERIFY(a && b);
		QVERIFY(a->store != b->store);
		QVERIFY(Identity::parse(a->format()));
	}

	void holderRoundTrip()
	{
		const LockHolder me = LockHolder::self(thisHost(), "blockerb");
		QVERIFY(me.alive());
		QVERIFY(me.onThisBoot());
		const LockHolder back = LockHolder::parse(me.format());
		QCOMPARE(back.pid, me.pid);
		QCOMPARE(back.started, me.started);
		QCOMPARE(back.role, me.role);
		QVERIFY(back.alive());
		QVERIFY(back.describe().find("blockerb") != std::string::npos);
	}

	void anotherProcessWithMyPidIsNotMe()
	{
		LockHolder other = LockHolder::self({}, "r");
		++other.started;
		QVERIFY(!other.alive());
		other = LockHolder::self({}, "r");
		other.boot = "00000000-0000-0000-0000-000000000000";
		QVERIFY(!other.alive());
		QVERIFY(!other.onThisBoot());
		QVERIFY(!LockHolder::parse("").alive());
		QVERIFY(!LockHolder::parse("pid x\nstarted \nboot\n\n\0garbage").alive());
		QVERIFY(!LockHolder::parse("pid 99999999999999999999999").alive());
	}

	void aZombieIsDead()
	{
		int ready[2];
		QVERIFY(pipe(ready) == 0);
		const pid_t child = fork();
		if (child == 0) {
			char c;
			::close(ready[1]);
			while (::read(ready[0], &c, 1) > 0) {}
			_exit(0);
		}
		::close(ready[0]);
		QFile stat(QString("/proc/%1/stat").arg(child));
		QVERIFY(stat.open(QIODevice::ReadOnly));
		LockHolder holder = LockHolder::self({}, "r");
		holder.pid = child;
		holder.started = stat.readAll().split(')').last().trimmed().split(' ')[19].toULongLong();
		QVERIFY(holder.alive());
		::close(ready[1]);
		siginfo_t info;
		QVERIFY(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0); // dead, not reaped
		QVERIFY(!holder.alive());
		QVERIFY(waitpid(child, nullptr, 0) == child);
		QVERIFY(!holder.alive());
	}

	/// The ring alone keeps the lock; the end of the ring gives it back; so does unlock() while the ring lives.
	void theRingHoldsTheLock()
	{
		ScratchDir scratch;
		const xseg::UniqueFd dir(::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY));
		auto other = StoreLock::open(dir.get());
		QVERIFY(other);
		auto bench = std::make_unique<Bench>();
		runtime::HeldFile kept;
		{
			auto lock = StoreLock::open(dir.get());
			QVERIFY(lock);
			QVERIFY(*lock->tryLock() == StoreLock::State::Taken);
			auto held = bench->reactor().hold(lock->duplicate());
			QVERIFY(held);
			kept = std::move(*held);
			QVERIFY(*other->tryLock() == StoreLock::State::Ending); // no name in it yet
			lock->sign(LockHolder::self({}, "blockerb"));
		} // as if killed: the descriptor is gone, nobody unlocked
		QVERIFY(*other->tryLock() == StoreLock::State::Held);
		kept.abandon(); // and nobody lets go of the ring's
		bench.reset();
		QTRY_VERIFY(*other->tryLock() == StoreLock::State::Taken); // the kernel takes rings apart in its own time

		Bench living;
		const auto held = living.reactor().hold(other->duplicate());
		QVERIFY(held);
		auto next = StoreLock::open(dir.get());
		QVERIFY(next);
		QVERIFY(*next->tryLock() != StoreLock::State::Taken);
		other->unlock();
		QVERIFY(*next->tryLock() == StoreLock::State::Taken);
	}
};

QTEST_GUILESS_MAIN(TestStoreIdentity)
#include "tst_store_identity.moc"
