// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What a log line looks like on stderr. stderr becomes one end of a packet socket: one packet is one write, so a line that is
// cut into two would show.
#include "base_test.h"

#include "daemon/base/log.h"

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include <sys/socket.h>
#include <unistd.h>

using namespace archipelago;

namespace {

class StderrPackets {
public:
	StderrPackets()
	{
		int ends[2] = {-1, -1};
		if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) qFatal("socketpair");
		m_saved = ::dup(STDERR_FILENO);
		::dup2(ends[1], STDERR_FILENO);
		::close(ends[1]);
		m_read = ends[0];
	}
	~StderrPackets()
	{
		::dup2(m_saved, STDERR_FILENO);
		::close(m_saved);
		::close(m_read);
	}
	/// The next write to stderr; "" when there is none.
	std::string next()
	{
		std::string packet(65536, '\0');
		const ssize_t got = ::recv(m_read, packet.data(), packet.size(), MSG_DONTWAIT);
		packet.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
		return packet;
	}

private:
	int m_saved = -1, m_read = -1;
};

} // namespace

class TestLog : public QObject {
	Q_OBJECT
private slots:
	/// Far from UTC, so that local time in a line would show wherever the tests run.
	void initTestCase()
	{
		::setenv("TZ", "XYZ-9", 1);
		::tzset();
	}

	void lineFormat()
	{
		initLogging("archip-host");
		std::string line;
		const QDateTime before = QDateTime::currentDateTimeUtc();
		{
			StderrPackets packets;
			roleLogger("blockerb")->error("cannot open {}", "/srv/x");
			line = packets.next();
		}
		const QRegularExpression form("^(\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z) error archip-host/blockerb: cannot open /srv/x\n$");
		const auto match = form.match(QString::fromStdString(line));
		QVERIFY2(match.hasMatch(), line.c_str());
		const QDateTime stamp = QDateTime::fromString(match.captured(1), Qt::ISODateWithMs);
		QVERIFY(before.msecsTo(stamp) >= 0 && before.msecsTo(stamp) < 60'000); // UTC, and now
	}

	void levels()
	{
		const struct {
			unsigned level;
			int lines;
		} rows[] = {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {99, 4}};
		const auto log = roleLogger("mapperd");
		for (const auto &row : rows) {
			setLogLevel("mapperd", row.level);
			int lines = 0;
			{
				StderrPackets packets;
				log->error("e");
				log->warn("w");
				log->info("i");
				log->debug("d");
				while (!packets.next().empty()) ++lines;
			}
			QCOMPARE(lines, row.lines);
		}
	}

	void defaultLevelIsWarning()
	{
		QCOMPARE(roleLogger("fresh")->level(), spdlog::level::warn);
	}

	void levelsArePerRole()
	{
		setLogLevel("loud", 3);
		setLogLevel("quiet", 0);
		QCOMPARE(roleLogger("loud")->level(), spdlog::level::debug);
		QCOMPARE(roleLogger("quiet")->level(), spdlog::level::err);
		QCOMPARE(roleLogger("loud").get(), roleLogger("loud").get());
	}

	/// A volume's name or a client's text must not be able to write a line of its own.
	void oneEventIsOneLine()
	{
		std::string line;
		{
			StderrPackets packets;
			roleLogger("nbd")->error("bad export name {}",
			        "x\n2026-01-01T00:00:00.000Z error archip-host/mapperd: forged\x1b[2J");
			line = packets.next();
			QVERIFY(packets.next().empty());
		}
		QCOMPARE(std::count(line.begin(), line.end(), '\n'), 1);
		QVERIFY(line.find('\x1b') == std::string::npos);
		QVERIFY(line.find("\\n2026-01-01") != std::string::npos);
	}

	void programNameIsNotAPattern()
	{
		initLogging("100%n");
		std::string line;
		{
			StderrPackets packets;
			roleLogger("x")->error("y");
			line = packets.next();
		}
		QVERIFY2(line.find(" error 100%n/x: y\n") != std::string::npos, line.c_str());
	}
};

QTEST_APPLESS_MAIN(TestLog)
#include "test_log.moc"
