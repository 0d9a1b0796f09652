// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Start order from a configuration, and what state and verdict follow from which facts.
#include "dbus/service/instance_state.h"
#include "tests/dbus/verify.h"

#include <QtTest>

using namespace archipelago;
using namespace archipelago::service;

namespace {

Config parsed(const char *hosts)
{
	ConfigDefaults defaults;
	defaults.trial = true;
	defaults.runDir = "/tmp/x/run";
	defaults.stateDir = "/tmp/x";
	ParsedConfig config = parseConfig(std::string("SEGMENT_SIZE = 64\n") + hosts, defaults);
	if (!config.ok()) qFatal("%s", config.diagnostics.front().message.c_str());
	return config.config;
}

InstanceFacts facts(PeerState state)
{
	InstanceFacts out;
	out.layout = HostLayout::of(parsed(""));
	for (PeerRole &role : out.layout.roles) role.state = state;
	return out;
}

QStringList names(const HostLayout &layout)
{
	QStringList out;
	for (const PeerRole &role : layout.roles) out.append(role.name);
	return out;
}

} // namespace

class TestInstanceState : public QObject {
	Q_OBJECT

private slots:
	void oneHostRunsAllByDefault()
	{
		const HostLayout layout = HostLayout::of(parsed(""));
		QCOMPARE(layout.hosts, QStringList{QStringLiteral("data")});
		QCOMPARE(names(layout), (QStringList{QStringLiteral("blockerb"), QStringLiteral("blockerm"), QStringLiteral("mapperd"), QStringLiteral("vlmcd"), QStringLiteral("nbd")}));
		QCOMPARE(layout.roles.at(3).ports(), QStringLiteral("500-999"));
		QCOMPARE(layout.roles.at(0).ports(), QStringLiteral("1000"));
		QVERIFY(layout.roles.at(4).gateway);
	}

	void hostsStandInTheOrderOfTheirFirstRole()
	{
		const HostLayout layout = HostLayout::of(parsed("[hosts.gateways]\nroles = [\"nbd\"]\n"
		                                                "[hosts.late]\nroles = [\"vlmcd\", \"blockerm\"]\n"
		                                                "[hosts.early]\nroles = [\"mapperd\", \"blockerb\"]\n"));
		QCOMPARE(layout.hosts, (QStringList{QStringLiteral("early"), QStringLiteral("late"), QStringLiteral("gateways")}));
		QCOMPARE(names(layout), (QStringList{QStringLiteral("blockerb"), QStringLiteral("mapperd"), QStringLiteral("blockerm"), QStringLiteral("vlmcd"), QStringLiteral("nbd")}));
		const auto hosts = layout.hostsOf({QStringLiteral("nbd"), QStringLiteral("blockerb"), QStringLiteral("mapperd")});
		VERIFY_OK(hosts);
		QCOMPARE(*hosts, (QStringList{QStringLiteral("early"), QStringLiteral("gateways")}));
		const auto unknown = layout.hostsOf({QStringLiteral("maperd")});
		VERIFY_ERROR(unknown, ErrorCode::NotFound);
		VERIFY_SAYS(unknown, "mapperd");
	}

	void stateFollowsTheRoles()
	{
		QCOMPARE(instanceState(facts(PeerState::Up)), QStringLiteral("running"));
		QCOMPARE(instanceState(facts(PeerState::Stopped)), QStringLiteral("stopped"));
		QCOMPARE(instanceState(facts(PeerState::Failed)), QStringLiteral("stopped")); // did not start: nothing runs
		for (const PeerState state : {PeerState::Stopped, PeerState::Failed, PeerState::Stuck}) {
			InstanceFacts mixed = facts(PeerState::Up);
			mixed.layout.roles[2].state = state;
			QCOMPARE(instanceState(mixed), QStringLiteral("degraded"));
			QVERIFY(instanceVerdict(mixed).startsWith(QStringLiteral("mapperd ")));
			QVERIFY(instanceVerdict(mixed).contains(QStringLiteral("Try: archipelago ")));
		}
		InstanceFacts none;
		QCOMPARE(instanceState(none), QStringLiteral("stopped"));
	}

	void anOrderHidesTheRest()
	{
		InstanceFacts busy = facts(PeerState::Stopped);
		busy.activity = Activity::Starting;
		busy.crashed.insert(QStringLiteral("data"), QStringLiteral("SIGKILL"));
		QCOMPARE(instanceState(busy), QStringLiteral("starting"));
		QCOMPARE(instanceVerdict(busy), QString());
		busy.activity = Activity::Stopping;
		QCOMPARE(instanceState(busy), QStringLiteral("stopping"));
	}

	void theWorstIsNamedFirst()
	{
		InstanceFacts bad = facts(PeerState::Failed);
		bad.configError = QStringLiteral("line 1");
		QVERIFY(instanceVerdict(bad).contains(QStringLiteral("check-config")));
		bad.startError = QStringLiteral("Cannot start mapperd: no.");
		QCOMPARE(instanceVerdict(bad), QStringLiteral("The last start failed: Cannot start mapperd: no."));
		bad.layout.roles[0].state = PeerState::Stuck;
		QCOMPARE(instanceVerdict(bad), QStringLiteral("blockerb does not answer. Try: archipelago restart blockerb"));
		bad.orphans.push_back({QStringLiteral("data"), 41, 7});
		QVERIFY(instanceVerdict(bad).startsWith(QStringLiteral("host data (pid 41) of an earlier service")));
		QCOMPARE(instanceState(bad), QStringLiteral("degraded"));
		bad.crashed.insert(QStringLiteral("data"), QStringLiteral("SIGSEGV"));
		QCOMPARE(instanceVerdict(bad), QStringLiteral("host data ended by SIGSEGV; blockerb, blockerm, mapperd, vlmcd and nbd are down. Try: archipelago start"));
		QCOMPARE(instanceVerdict(facts(PeerState::Up)), QString());
	}
};

QTEST_GUILESS_MAIN(TestInstanceState)
#include "tst_instance_state.moc"
