// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Opening archip_dir: everything an operator can have wrong with it gets its code and its next step, and changes nothing;
// one process at a time, with the dead not in the way of the living.
#include "store_bench.h"

#include <QtTest>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>

using namespace archipelago;
using namespace archipelago::store;

namespace fs = std::filesystem;

class TestStoreDir : public QObject {
	Q_OBJECT

private:
	std::optional<Bench> m_bench;
	std::optional<ScratchDir> m_scratch;

	std::string dir() const { return m_scratch->path() + "/store"; }
	FileStoreOptions options() const
	{
		FileStoreOptions o;
		o.dir = dir();
		o.role = "blockerm";
		return o;
	}
	/// Opens and closes; "" or "E-SYMBOL message".
	std::string tryOpen(const FileStoreOptions &o, bool create = false)
	{
		FileStore store(m_bench->reactor(), o);
		const auto opened = m_bench->await(store.open(create));
		if (!opened) return std::string(errorInfo(opened.error().code).symbol) + " " + opened.error().message;
		m_bench->await(store.close());
		return {};
	}
	std::string tryOpen(bool create = false) { return tryOpen(options(), create); }
	static bool says(const std::string &text, std::initializer_list<const char *> words)
	{
		const bool all = std::all_of(words.begin(), words.end(), [&](const char *w) { return text.find(w) != std::string::npos; });
		if (!all) qWarning("said: %s", text.c_str());
		return all;
	}
	/// All there is below dir(), with sizes: to see that nothing was changed.
	std::set<std::pair<std::string, uintmax_t>> content() const
	{
		std::set<std::pair<std::string, uintmax_t>> all;
		for (const auto &entry : fs::recursive_directory_iterator(dir()))
			all.emplace(entry.path().string(), entry.is_regular_file() ? entry.file_size() : 0);
		return all;
	}
	void createObject(bool create = false)
	{
		FileStore store(m_bench->reactor(), options());
		QVERIFY(m_bench->await(store.open(create)));
		Buffer data(4096, 'd');
		QCOMPARE(m_bench->run(store, Op::ObjCreate, dataObject(1), data.all()), 0);
		m_bench->await(store.close());
	}
	static std::unique_ptr<QProcess> startHolder(const std::string &dir, QStringList more, QByteArray *line)
	{
		auto child = std::make_unique<QProcess>();
		child->start(QCoreApplication::applicationFilePath(), QStringList{"--hold-store", QString::fromStdString(dir)} + more);
		while (!line->contains('\n') && child->waitForReadyRead()) *line += child->readAllStandardOutput();
		return child;
	}

private slots:
	void init()
	{
		m_bench.emplace();
		m_scratch.emplace();
	}
	void cleanup()
	{
		m_bench.reset();
		m_scratch.reset();
	}

	// ---- is it a store?

	void missing()
	{
		QVERIFY(says(tryOpen(), {"E-NOTFOUND", dir().c_str(), "blockerm", "mounted?", "archipelago start --create-dirs"}));
		QVERIFY(!fs::exists(dir()));
	}

	void missingIsMadeWhenTold()
	{
		FileStoreOptions deep = options();
		deep.dir = m_scratch->path() + "/a/b/c";
		QCOMPARE(tryOpen(deep, true), std::string());
		QCOMPARE(tryOpen(deep), std::string());
		QVERIFY(fs::is_directory(deep.dir + "/f/f"));
		QCOMPARE(fs::status(deep.dir).permissions(), fs::perms(0750));
	}

	void emptyIsProbablyUnmounted()
	{
		fs::create_directory(dir());
		QVERIFY(says(tryOpen(), {"E-CONFIG", "is empty and not a store: is its filesystem mounted? For a first start: archipelago "
		                                     "start --create-dirs"}));
		QVERIFY(fs::is_empty(dir()));
		fs::create_directory(dir() + "/lost+found"); // a fresh filesystem
		QVERIFY(says(tryOpen(), {"E-CONFIG", "is empty"}));
		QCOMPARE(tryOpen(true), std::string());
	}

	void aStoreThatLostItsFilesystemIsRefused()
	{
		createObject(true);
		fs::rename(dir(), m_scratch->path() + "/mounted-elsewhere");
		fs::create_directory(dir()); // the mount point
		QVERIFY(says(tryOpen(), {"E-CONFIG", "is its filesystem mounted?"}));
	}

	void somethingElseIsLeftAlone()
	{
		fs::create_directory(dir());
		std::ofstream(dir() + "/thesis.txt") << "important";
		const auto before = content();
		for (const bool create : {false, true}) QVERIFY(says(tryOpen(create), {"E-CONFIG", "is not a store", "archip_dir"}));
		QVERIFY(content() == before);
	}

	void aFileIsNoDirectory()
	{
		std::ofstream(dir()) << "x";
		QVERIFY(says(tryOpen(true), {"E-CONFIG", "not a directory"}));
	}

	void interruptedFormatIsFinished()
	{
		fs::create_directories(dir() + "/0/0");
		fs::create_directories(dir() + "/0/1");
		fs::create_directories(dir() + "/tmp");
		std::ofstream(dir() + "/lock") << "pid 1";
		std::ofstream(dir() + "/tmp/identity.new") << "archipelago obj";
		QVERIFY(says(tryOpen(), {"E-CONFIG", "is empty"}));
		QCOMPARE(tryOpen(true), std::string());
		QCOMPARE(tryOpen(), std::string());
		QVERIFY(!fs::exists(dir() + "/tmp/identity.new"));
	}

	void halfAStoreIsNotEmpty()
	{
		fs::create_directories(dir() + "/0/0");
		std::ofstream(dir() + "/0/0/n.web") << "x";
		const auto before = content();
		QVERIFY(says(tryOpen(true), {"E-CONFIG", "is not a store"}));
		QVERIFY(content() == before);
	}

	void damagedIdentity()
	{
		createObject(true);
		std::fstream file(dir() + "/identity", std::ios::in | std::ios::out);
		file.seekp(40);
		file.put('!');
		file.close();
		QVERIFY(says(tryOpen(), {"E-CONFIG", "identity is damaged", "touch", "/adopt"}));
		std::ofstream(dir() + "/adopt").flush();
		QCOMPARE(tryOpen(), std::string());
		QVERIFY(!fs::exists(dir() + "/adopt"));
		QCOMPARE(tryOpen(), std::string());
	}

	void identityOfTheFuture()
	{
		createObject(true);
		std::string text(kIdentityBytes, '\n');
		const std::string head = "archipelago object store\nformat 2\n";
		std::copy(head.begin(), head.end(), text.begin());
		std::ofstream(dir() + "/identity") << text;
		QVERIFY(says(tryOpen(), {"E-CONFIG", "format 2", "format 1"}));
	}

	void lostIdentity()
	{
		createObject(true);
		fs::remove(dir() + "/identity");
		for (const bool create : {false, true}) QVERIFY(says(tryOpen(create), {"E-CONFIG", "identity is missing", "/adopt"}));
		std::ofstream(dir() + "/adopt").flush();
		QCOMPARE(tryOpen(), std::string());
		FileStore store(m_bench->reactor(), options());
		QVERIFY(m_bench->await(store.open(false)));
		QCOMPARE(m_bench->run(store, Op::ObjStat, dataObject(1)), 0);
		m_bench->await(store.close());
	}

	void missingHashDirectory()
	{
		createObject(true);
		fs::remove_all(dir() + "/a/7");
		QVERIFY(says(tryOpen(), {"E-CORRUPT", "a/7", "missing"}));
		QVERIFY(!fs::exists(dir() + "/a/7")); // not made anew, empty
	}

	void exchangedDirectories()
	{
		FileStoreOptions maps = options(), data = options();
		maps.purpose = Purpose::Maps;
		data.purpose = Purpose::Data;
		QCOMPARE(tryOpen(maps, true), std::string());
		QVERIFY(says(tryOpen(data), {"E-CONFIG", "store of maps", "needs one of data", "exchanged"}));
		QCOMPARE(tryOpen(options()), std::string()); // no opinion
		QCOMPARE(tryOpen(maps), std::string());
	}

	void somebodyElsesStore()
	{
		FileStoreOptions theirs = options(), ours = options();
		theirs.owner = Owner{std::string(32, 'a'), "node-7", std::string(32, '1')};
		ours.owner = Owner{std::string(32, 'b'), "node-8", std::string(32, '1')};
		QCOMPARE(tryOpen(theirs, true), std::string());
		const auto before = content();
		QVERIFY(says(tryOpen(ours), {"E-CONFIG", "belongs to", "node-7", "/adopt"}));
		QVERIFY(content() == before);
		FileStoreOptions sibling = theirs;
		sibling.owner.instance = std::string(32, '2');
		QVERIFY(says(tryOpen(sibling), {"E-CONFIG", "another installation"}));
		std::ofstream(dir() + "/adopt").flush();
		QCOMPARE(tryOpen(ours), std::string());
		QVERIFY(says(tryOpen(theirs), {"E-CONFIG", "node-8"}));
	}

	// ---- may we?

	void unwritable()
	{
		createObject(true);
		if (geteuid() == 0) {
			// root may everything: somebody else tries.
			QByteArray line;
			auto child = startHolder(dir(), {"--uid", "65534"}, &line);
			child->closeWriteChannel();
			child->waitForFinished();
			QVERIFY(says(line.toStdString(), {"E-DENIED", dir().c_str(), "65534"}));
			QCOMPARE(child->exitCode(), 1);
			fs::permissions(dir(), fs::perms(0755)); // visible, but not writable
			line.clear();
			child = startHolder(dir(), {"--uid", "65534"}, &line);
			child->closeWriteChannel();
			child->waitForFinished();
			QVERIFY(says(line.toStdString(), {"E-DENIED"}));
		} else {
			fs::permissions(dir(), fs::perms(0555));
			const std::string said = tryOpen();
			fs::permissions(dir(), fs::perms(0755));
			QVERIFY(says(said, {"E-DENIED", dir().c_str()}));
		}
	}

	void hashDirectoryOfSomebodyElse()
	{
		if (geteuid() != 0) QSKIP("needs root");
		createObject(true);
		for (const auto &entry : fs::recursive_directory_iterator(dir())) QVERIFY(chown(entry.path().c_str(), 65534, 65534) == 0);
		QVERIFY(chown(dir().c_str(), 65534, 65534) == 0);
		QVERIFY(chown((dir() + "/c/3").c_str(), 0, 0) == 0);
		QByteArray line;
		auto child = startHolder(dir(), {"--uid", "65534"}, &line);
		child->closeWriteChannel();
		child->waitForFinished();
		QVERIFY(says(line.toStdString(), {"E-DENIED", "c/3"}));
	}

	// ---- one at a time

	void twiceInOneProcess()
	{
		FileStore first(m_bench->reactor(), options());
		QVERIFY(m_bench->await(first.open(true)));
		QVERIFY(says(tryOpen(), {"E-LOCKED", "role blockerm of the same process", "archip_dir"}));
		m_bench->await(first.close());
		QCOMPARE(tryOpen(), std::string()); // although the ring still has the file of the lock
	}

	void anotherProcessHoldsIt()
	{
		QByteArray line;
		auto child = startHolder(dir(), {"--create"}, &line);
		QCOMPARE(line, QByteArray("open\n"));
		QElapsedTimer clock;
		clock.start();
		const std::string pid = std::to_string(child->processId());
		QVERIFY(says(tryOpen(), {"E-LOCKED", dir().c_str(), ("process " + pid).c_str(), "role blockerb", "on this host", "Stop that"}));
		QVERIFY(clock.elapsed() < 10'000); // a living holder is not waited for
		child->closeWriteChannel();
		QVERIFY(child->waitForFinished());
		QCOMPARE(child->exitCode(), 0);
		QCOMPARE(tryOpen(), std::string());
	}

	void aKilledHolderIsNotInTheWay()
	{
		for (int round = 0; round < 5; ++round) {
			QByteArray line;
			auto child = startHolder(dir(), {"--create"}, &line);
			QCOMPARE(line, QByteArray("open\n"));
			child->kill();
			QVERIFY(child->waitForFinished());
			QCOMPARE(tryOpen(), std::string());
		}
	}

	/// The holder is dead, its ring is not: waited for, and not longer than promised.
	void theDeadAreWaitedFor()
	{
		createObject(true);
		QProcess dead;
		dead.start("/bin/true", QStringList());
		QVERIFY(dead.waitForStarted());
		LockHolder record = LockHolder::self({}, "blockerb");
		record.pid = dead.processId();
		QVERIFY(dead.waitForFinished());
		const int fd = ::open((dir() + "/lock").c_str(), O_RDWR | O_CLOEXEC);
		QVERIFY(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
		const std::string text = record.format();
		QVERIFY(pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));

		FileStoreOptions impatient = options();
		impatient.lockWaitMs = 60;
		QVERIFY(says(tryOpen(impatient), {"E-LOCKED", "has ended", "kernel", "device"}));

		runtime::Timer ringGone(m_bench->reactor(), [fd] { flock(fd, LOCK_UN); });
		ringGone.startMs(80);
		QCOMPARE(tryOpen(), std::string());
		::close(fd);
	}

	void aHolderOfAnotherHostIsNotWaitedFor()
	{
		createObject(true);
		LockHolder record = LockHolder::self({"", "node-9", ""}, "blockerb");
		record.boot = "00000000-0000-0000-0000-000000000000";
		const int fd = ::open((dir() + "/lock").c_str(), O_RDWR | O_CLOEXEC);
		QVERIFY(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
		const std::string text = record.format();
		QVERIFY(pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
		QVERIFY(says(tryOpen(), {"E-LOCKED", "on host node-9"}));
		::close(fd);
		QCOMPARE(tryOpen(), std::string()); // what is written in an unlocked file means nothing
	}

	void refusalsLeaveNoLock()
	{
		FileStoreOptions maps = options(), data = options();
		maps.purpose = Purpose::Maps;
		data.purpose = Purpose::Data;
		QCOMPARE(tryOpen(maps, true), std::string());
		FileStore refused(m_bench->reactor(), data);
		QVERIFY(!m_bench->await(refused.open(false)));
		QCOMPARE(tryOpen(maps), std::string());
	}
};

int main(int argc, char **argv)
{
	if (const auto held = holdStore(argc, argv)) return *held;
	QCoreApplication app(argc, argv);
	TestStoreDir test;
	return QTest::qExec(&test, argc, argv);
}
#include "tst_store_dir.moc"
