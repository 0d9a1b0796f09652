// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Roles of one process: start in order, stop in reverse, all or none.
#include "rig.h"

#include "daemon/runtime/host_process.h"

using namespace archipelago;
using namespace archipelago::runtime;
using archipelago::testing::Rig;

namespace {

struct Recorded : Peer {
	std::string name;
	std::vector<std::string> &events;
	bool fails;
	Recorded(std::string n, std::vector<std::string> &e, bool f) : name(std::move(n)), events(e), fails(f) {}
	Task<Result<void>> start() override
	{
		events.push_back("start " + name);
		if (fails) co_return failure(ErrorCode::Locked, "Cannot start " + name + ": held elsewhere.");
		co_return Result<void>{};
	}
	Task<Result<void>> stop() override
	{
		events.push_back("stop " + name);
		co_return Result<void>{};
	}
};

using Outcome = tl::expected<void, HostProcess::Failure>;

} // namespace

class TestHostProcess : public QObject {
	Q_OBJECT

	static Task<void> startInto(HostProcess &process, std::optional<Outcome> &out) { out = co_await process.start(); }
	static Task<void> stopInto(HostProcess &process, Result<void> &out) { out = co_await process.stop(); }
	static Task<void> roleInto(HostProcess &process, bool start, std::string role, Result<void> &out)
	{
		if (start)
			out = co_await process.startRole(std::move(role));
		else
			out = co_await process.stopRole(std::move(role));
	}

private slots:
	void startsInOrderStopsInReverse()
	{
		Rig rig;
		Config config;
		std::vector<std::string> events;
		HostProcess process(PeerContext(*rig.reactor, config), {"blockerb", "mapperd", "vlmcd"},
		                    [&](const PeerContext &, const std::string &name) { return std::make_unique<Recorded>(name, events, false); },
		                    [](const std::string &, HostProcess::State) {});
		std::optional<Outcome> out;
		rig.run(startInto(process, out));
		QVERIFY(out && *out);
		for (const auto &role : process.status()) QCOMPARE(role.state, HostProcess::State::Up);
		Result<void> stopped;
		rig.run(stopInto(process, stopped));
		QVERIFY(stopped);
		QCOMPARE(events, (std::vector<std::string>{"start blockerb", "start mapperd", "start vlmcd", "stop vlmcd", "stop mapperd", "stop blockerb"}));
	}

	void aFailureNamesItsRoleAndLeavesNothing()
	{
		Rig rig;
		Config config;
		std::vector<std::string> events, states;
		HostProcess process(PeerContext(*rig.reactor, config), {"blockerb", "mapperd", "vlmcd"},
		                    [&](const PeerContext &, const std::string &name) { return std::make_unique<Recorded>(name, events, name == "mapperd"); },
		                    [&](const std::string &role, HostProcess::State state) { states.push_back(role + " " + std::string(stateName(state))); });
		std::optional<Outcome> out;
		rig.run(startInto(process, out));
		QVERIFY(out && !*out);
		QCOMPARE(out->error().role, std::string("mapperd"));
		QCOMPARE(out->error().error.code, ErrorCode::Locked);
		QCOMPARE(events, (std::vector<std::string>{"start blockerb", "start mapperd", "stop blockerb"}));
		QCOMPARE(states.back(), std::string("blockerb stopped"));
	}

	void aRoleComesAndGoesAlone()
	{
		Rig rig;
		Config config;
		std::vector<std::string> events;
		bool fails = false;
		HostProcess process(PeerContext(*rig.reactor, config), {"blockerb", "mapperd", "vlmcd"},
		                    [&](const PeerContext &, const std::string &name) { return std::make_unique<Recorded>(name, events, fails); },
		                    [](const std::string &, HostProcess::State) {});
		std::optional<Outcome> out;
		auto go = [](HostProcess &p, std::optional<Outcome> &o) -> Task<void> {
			std::vector<std::string> without;
			without.emplace_back("vlmcd");
			o = co_await p.start(std::move(without));
		};
		rig.run(go(process, out));
		QVERIFY(out && *out);
		QCOMPARE(process.status()[2].state, HostProcess::State::Stopped);
		Result<void> done;
		rig.run(roleInto(process, false, "mapperd", done));
		QVERIFY(done);
		QCOMPARE(process.status()[1].state, HostProcess::State::Stopped);
		QCOMPARE(process.status()[0].state, HostProcess::State::Up);
		rig.run(roleInto(process, false, "mapperd", done)); // already
		QVERIFY(done);
		fails = true;
		rig.run(roleInto(process, true, "mapperd", done));
		QVERIFY(!done);
		QCOMPARE(done.error().code, ErrorCode::Locked);
		fails = false;
		rig.run(roleInto(process, true, "mapperd", done));
		QVERIFY(done);
		rig.run(roleInto(process, true, "ghost", done));
		QCOMPARE(done.error().code, ErrorCode::NotFound);
		rig.run(stopInto(process, done));
		QCOMPARE(events, (std::vector<std::string>{"start blockerb", "start mapperd", "stop mapperd", "start mapperd", "start mapperd",
		                                           "stop mapperd", "stop blockerb"}));
	}

	void anUnknownRoleIsAConfigurationError()
	{
		Rig rig;
		Config config;
		HostProcess process(PeerContext(*rig.reactor, config), {"ghost"}, [](const PeerContext &, const std::string &) { return nullptr; },
		                    [](const std::string &, HostProcess::State) {});
		std::optional<Outcome> out;
		rig.run(startInto(process, out));
		QVERIFY(out && !*out);
		QCOMPARE(out->error().error.code, ErrorCode::Config);
	}
};

QTEST_APPLESS_MAIN(TestHostProcess)
#include "tst_host_process.moc"
