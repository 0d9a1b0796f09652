// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolumeSessions: the volumes of one gateway. Speaks with the composer from the gateway's first port (attach, detach, list)
// and gives each open volume one of the ports behind it.
//
// Every open attaches at the composer, also when the volume is open already: only the mapper knows which volume bears a
// name now, and whether it may be used. If that volume has a session here, the new attachment is given back and the session
// is shared; so a flush of one client covers all, and the composer counts one client per gateway and volume.
#pragma once

#include "daemon/base/log.h"
#include "daemon/gateway/volume_session.h"
#include "daemon/runtime/task.h"

#include <optional>

namespace archipelago::gateway {

class VolumeSessions;

/// A face's hold on a volume. While one is alive, the volume stays attached. Nothing of it may be in flight when it goes.
class OpenVolume {
public:
	OpenVolume() = default;
	OpenVolume(OpenVolume &&other) noexcept
	    : m_sessions(std::exchange(other.m_sessions, nullptr)), m_session(std::exchange(other.m_session, nullptr))
	{
	}
	OpenVolume &operator=(OpenVolume &&other) noexcept
	{
		if (this != &other) {
			reset();
			m_sessions = std::exchange(other.m_sessions, nullptr);
			m_session = std::exchange(other.m_session, nullptr);
		}
		return *this;
	}
	~OpenVolume() { reset(); }

	explicit operator bool() const { return m_session != nullptr; }
	VolumeSession *operator->() const { return m_session; }
	void reset();

private:
	friend class VolumeSessions;
	OpenVolume(VolumeSessions &sessions, VolumeSession &session) : m_sessions(&sessions), m_session(&session) { ++session.users; }
	VolumeSessions *m_sessions = nullptr;
	VolumeSession *m_session = nullptr;
};

class VolumeSessions : private runtime::PortHandler {
public:
	struct Options {
		xseg::PortNo firstPort = 0, lastPort = 0; ///< the first is for control, the others for volumes
		xseg::PortNo composerPort = 0;
		Holder holder = Holder::Tool;
		bool onlyOpened = false; ///< volumes must have been opened explicitly
	};
	VolumeSessions(runtime::Reactor &reactor, spdlog::logger &log, const Options &options);
	~VolumeSessions() override;

	/// Takes the control port. E-PEER.
	Result<void> start();
	/// Waits until every volume is detached; all OpenVolumes must be gone. Nothing may be opened any more.
	runtime::Task<Result<void>> stop();

	/// E-NOTFOUND, E-NOTOPEN (onlyOpened), E-LIMIT, E-PEER, and what opening a map can end in.
	runtime::Task<Result<OpenVolume>> open(std::string name);
	/// Names of the volumes that open() would open, in the catalog's order.
	runtime::Task<Result<std::vector<std::string>>> list();

	xseg::BufferPool &buffers() { return m_buffers; }
	uint32_t inflight() const;

private:
	friend class OpenVolume;
	void onRequest(runtime::ServedPort &port, xseg::RequestRef request) override;
	void onReply(runtime::ServedPort &port, xseg::RequestRef request) override;
	runtime::Task<Result<AttachReply>> attach(const std::string &name);
	runtime::Task<Result<void>> detach(xseg::PortNo sessionPort, uint64_t key);
	Result<VolumeSession *> create(const AttachReply &attached);
	VolumeSession *find(const VolumeId &volume);
	void release(VolumeSession &session);
	runtime::Task<void> close(VolumeSession &session);

	runtime::Reactor &m_reactor;
	spdlog::logger &m_log;
	Options m_options;
	xseg::BufferPool m_buffers; ///< one for all ports of the gateway: a buffer may move from one volume to another
	IoTable m_table;
	std::unique_ptr<runtime::ServedPort> m_control;
	std::optional<runtime::Caller> m_caller;
	std::vector<std::unique_ptr<VolumeSession>> m_sessions;
	runtime::WaitList m_closed;
	Result<void> m_closeResult; ///< the first detach that failed
};

} // namespace archipelago::gateway
