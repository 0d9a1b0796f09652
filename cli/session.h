// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Session: a command's dealings with the service and with the person at the terminal. Connects when the first call needs it;
// every wait has a deadline and says after three seconds what it waits for; Ctrl-C ends a wait at once (a job is asked to
// stop first, when it can be; a second Ctrl-C leaves it to the service). One thread; each ask() and job() runs an event
// loop until its answer is there. After an interrupt every further wait fails at once and the program ends with 130.
#pragma once

#include "cli/out/console.h"
#include "cli/out/errors.h"
#include "cli/out/progress.h"
#include "dbus/client/proxies.h"

#include <functional>
#include <memory>

#include <QObject>
#include <QSocketNotifier>

namespace archipelago::cli {

struct SessionOptions {
	std::string bus = "system"; ///< system, session or an address
	int timeoutMs = 30'000;     ///< for one call, and for one job; 0 = none
	bool assumeYes = false;
	bool noInput = false;
	std::string configFile; ///< -c: must be the file the service uses; empty = whichever it uses
};

class Session : public QObject {
	Q_OBJECT

public:
	Session(Console &console, SessionOptions options);
	~Session() override;

	const SessionOptions &options() const { return m_options; }
	/// The connection, made at the first call. E-PEER: no bus; E-CONFIG: the service uses another file than -c names.
	Result<dbus::Bus *> bus();

	/// One call: session.ask<VolumeInfo>("show db", [&](dbus::Bus &bus, auto done) { VolumeProxy(bus, name).info(done); })
	/// Errors read "Cannot <what>: ...".
	template <typename T, typename Start> Result<T> ask(const std::string &what, Start &&start);

	using StartJob = std::function<void(dbus::Bus &, dbus::JobEvents)>;
	/// One job, to its end. `news` sees each state of it and may say() things.
	Result<dbus::JobInfo> job(const std::string &what, const StartJob &start,
	                          const std::function<void(const dbus::JobInfo &)> &news = {});
	/// A line on stderr, above the progress line when there is one.
	void say(std::string_view line);

	/// Asks "question [y/N]" when somebody is there to be asked: stdin is a terminal, no -y, no --no-input, and
	/// ARCHIPELAGO_CONFIRM is not "never"; otherwise yes (the original's verbs never asked). E-CANCELLED: no.
	Result<void> confirm(const std::string &question);
	/// Whether confirm() would ask, for what is said before it.
	bool wouldAsk() const;

	/// Lets `ms` go by, or less when `wakeFd` (-1: none) can be read. False: interrupted.
	bool pause(int ms, int wakeFd = -1);

	bool interrupted() const { return m_interrupts > 0; }

private:
	Result<dbus::Bus *> connectBus();
	Result<void> checkConfigFile(dbus::Bus &bus);
	void onInterrupt();
	/// Around every wait: a note after three seconds.
	class Waiting {
	public:
		Waiting(Session &session, const std::string &what);

	private:
		QTimer m_note;
	};

	Console &m_console;
	SessionOptions m_options;
	std::unique_ptr<dbus::Bus> m_bus;
	std::unique_ptr<QSocketNotifier> m_interruptNotifier;
	std::unique_ptr<Progress> m_progress; ///< while a job runs
	dbus::JobInfo m_runningJob;           ///< its last state; an empty path = none runs
	int m_interrupts = 0;
	bool m_detached = false; ///< by Ctrl-C: the job goes on without us
};

template <typename T, typename Start> Result<T> Session::ask(const std::string &what, Start &&start)
{
	auto connected = bus();
	if (!connected) return tl::unexpected<Error>(cannot(what, connected.error()));
	const Waiting waiting(*this, what);
	auto answer = dbus::wait<T>([&](auto done) { start(**connected, std::move(done)); });
	if (!answer) return tl::unexpected<Error>(cannot(what, answer.error()));
	return answer;
}

} // namespace archipelago::cli
