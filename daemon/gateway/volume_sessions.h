// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolumeSessions: the volumes of one gateway. Speaks with the composer from the gateway's first port (attach, detach, list)
// and gives each open volume one of the ports behind it.
//
// Every open attaches at the composer, also when the volume is open already: only the mapper knows which volume bears a
// name now, and whether it may be used. If that volume has a session here, the new attachment is given back and the session
// is shared; so a flush of one client covers all, and the composer counts one client per gateway and volume.
//
// When composer or mapper die, sessions are attached anew by their name, and it must be the same volume, not smaller: else
// their I/O fails, because what was written to one volume must not go on in another. It is tried again as long as it takes;
// an open() that comes meanwhile waits for some seconds.
//
// With several shards (base/shards.h) a volume can be opened from any of them; but its composer is on the thread of its own shard, so
// that is where I/O should come from.
#pragma once

#include "daemon/base/log.h"
#include "daemon/base/shards.h"
#include "daemon/gateway/volume_session.h"
#include "daemon/runtime/task.h"

#include <functional>
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
	bool sharesWith(const OpenVolume &other) const { return m_session == other.m_session; }
	void reset();

private:
	friend class VolumeSessions;
	OpenVolume(VolumeSessions &sessions, VolumeSession &session) : m_sessions(&sessions), m_session(&session) { ++session.users; }
	VolumeSessions *m_sessions = nullptr;
	VolumeSession *m_session = nullptr;
};

class VolumeSessions : private runtime::PortHandler, private SessionHost {
public:
	struct Options {
		xseg::PortNo firstPort = 0, lastPort = 0; ///< the first is for control, the others for volumes
		xseg::PortNo composerPort = 0, composerPortEnd = 0; ///< vlmcd's range; the end only matters with several shards
		Shard shard;
		Holder holder = Holder::Tool;
		bool onlyOpened = false; ///< volumes must have been opened explicitly
		std::function<std::string(std::string_view name)> clients; ///< who is connected to a volume, in words; empty: nobody
	};
	VolumeSessions(runtime::Reactor &reactor, spdlog::logger &log, const Options &options);
	~VolumeSessions() override;

	/// Takes the control port. E-PEER.
	Result<void> start();
	/// Nothing may be opened any more, and a volume that is away gets kStopPatienceMs to come back: then its I/O fails with
	/// E-PEER, so that its users can go.
	void beginStop();
	/// beginStop(), then waits until every volume is detached; all OpenVolumes must be gone.
	runtime::Task<Result<void>> stop();
	static constexpr uint64_t kStopPatienceMs = 2000, kOpenPatienceMs = 3000;

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
	void attachAnew(VolumeSession &session) override;
	IoTable &table() override { return m_table; }
	spdlog::logger &log() override { return m_log; }
	void tellClients(runtime::ServedPort &port, xseg::RequestRef request);
	runtime::Task<Result<AttachReply>> attach(std::string name, bool onlyIfOpened);
	runtime::Task<Result<AttachReply>> attachAt(xseg::PortNo composer, std::string name, bool onlyIfOpened);
	xseg::PortNo composerOf(uint32_t shard) const;
	runtime::Task<Result<AttachReply>> attachPatiently(std::string name);
	runtime::Task<void> bringBack(VolumeSession &session);
	runtime::Task<Result<void>> detach(AttachReply attached);
	std::optional<xseg::PortNo> choosePort(const VolumeId &volume) const;
	Result<VolumeSession *> create(std::string name, const AttachReply &attached);
	bool patienceIsOver() const;
	void watch();
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
	runtime::Timer m_watch;        ///< while there are sessions
	bool m_stopping = false;
	uint64_t m_giveUpNs = 0;       ///< when stopping
	runtime::WaitList m_settled;   ///< a session that was Away is not any more
	runtime::WaitList m_closed;
	Result<void> m_closeResult; ///< the first detach that failed
};

} // namespace archipelago::gateway
