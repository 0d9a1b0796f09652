// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See reactor_thread.h.
#include "daemon/runtime/reactor_thread.h"

#include <pthread.h>
#include <signal.h>

#include <future>

namespace archipelago::runtime {

Result<std::unique_ptr<ReactorThread>> ReactorThread::start(const xseg::Segment &segment, const xseg::BellFds &bells,
                                                            const Reactor::Options &options, const std::string &name)
{
	std::unique_ptr<ReactorThread> out(new ReactorThread);
	std::promise<Result<Reactor *>> made;
	std::future<Result<Reactor *>> result = made.get_future();
	// Signals belong to the main thread (its signalfd).
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	out->m_thread = std::thread([&segment, &bells, options, made = std::move(made)]() mutable {
		Result<std::unique_ptr<Reactor>> reactor = Reactor::create(segment, bells, options);
		if (!reactor) return made.set_value(tl::unexpected<Error>(reactor.error()));
		made.set_value(reactor->get());
		(*reactor)->run();
	});
	pthread_sigmask(SIG_SETMASK, &before, nullptr);
	pthread_setname_np(out->m_thread.native_handle(), name.c_str());
	Result<Reactor *> reactor = result.get();
	if (!reactor) return tl::unexpected<Error>(reactor.error());
	out->m_reactor = *reactor;
	return out;
}

ReactorThread::~ReactorThread()
{
	if (m_reactor) m_reactor->postFromAnyThread([reactor = m_reactor] { reactor->stop(); });
	if (m_thread.joinable()) m_thread.join();
}

} // namespace archipelago::runtime
