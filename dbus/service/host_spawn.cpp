// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The start message is in the socket before the child exists, so there is no moment in which a host waits for a supervisor
// that died in between: it finds its message, or (killed before the send) an end of file and goes.
#include "dbus/service/host_spawn.h"

#include "dbus/service/pidfd.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#ifndef ARCHIPELAGO_LIBEXECDIR
#error "the build defines where archip-host is installed"
#endif

extern char **environ;

namespace archipelago::service {

namespace {

constexpr int kChildControlFd = 3;

/// posix_spawn's two objects, freed with the scope.
struct SpawnActions {
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	SpawnActions()
	{
		posix_spawn_file_actions_init(&actions);
		posix_spawnattr_init(&attributes);
	}
	~SpawnActions()
	{
		posix_spawn_file_actions_destroy(&actions);
		posix_spawnattr_destroy(&attributes);
	}
	SpawnActions(const SpawnActions &) = delete;
	SpawnActions &operator=(const SpawnActions &) = delete;
};

Result<void> sendStart(xseg::FdChannel &channel, const QByteArray &text, const std::vector<xseg::UniqueFd> &fds)
{
	std::vector<int> numbers;
	for (const xseg::UniqueFd &fd : fds) numbers.push_back(fd.get());
	const auto sent = channel.send({text.constData(), static_cast<size_t>(text.size())}, numbers);
	if (sent) return {};
	if (sent.error().errnum == EMSGSIZE || sent.error().errnum == EAGAIN)
		return failure(ErrorCode::Config, "The configuration file is too long to hand to a host process (" + std::to_string(text.size()) + " bytes).");
	return systemFailure(sent.error().errnum, "Cannot hand the segment to a host process");
}

} // namespace

std::string hostProgramPath(const std::string &ourDirectory)
{
	const std::string beside = ourDirectory + "/archip-host";
	if (access(beside.c_str(), X_OK) == 0) return beside;
	return ARCHIPELAGO_LIBEXECDIR "/archip-host";
}

Result<HostProcess> spawnHost(SpawnRequest request)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return systemFailure(errno, "Cannot make a socket pair");
	HostProcess host;
	host.channel = xseg::FdChannel(xseg::UniqueFd(pair[0]));
	const xseg::UniqueFd theirs(pair[1]);
	const xseg::UniqueFd log(open(request.logFile.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
	if (!log) return systemFailure(errno, "Cannot open the log file " + request.logFile);
	if (auto sent = sendStart(host.channel, request.startMessage, request.fds); !sent) return tl::unexpected<Error>(sent.error());

	SpawnActions spawn;
	posix_spawn_file_actions_addopen(&spawn.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&spawn.actions, log.get(), STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&spawn.actions, log.get(), STDERR_FILENO);
	// dup2 onto itself clears close-on-exec as well (glibc 2.29), so it does not matter which number `theirs` has.
	posix_spawn_file_actions_adddup2(&spawn.actions, theirs.get(), kChildControlFd);
	posix_spawn_file_actions_addclosefrom_np(&spawn.actions, kChildControlFd + 1);
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&spawn.attributes, &none);
	posix_spawnattr_setsigdefault(&spawn.attributes, &all);
	posix_spawnattr_setflags(&spawn.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);

	std::string control = std::to_string(kChildControlFd), option = "--control-fd";
	char *const arguments[] = {request.program.data(), option.data(), control.data(), nullptr};
	const int failed = posix_spawn(&host.pid, request.program.c_str(), &spawn.actions, &spawn.attributes, arguments, environ);
	if (failed != 0) {
		return failure(ErrorCode::Failed, "Cannot run " + request.program + ": " + strerrordesc_np(failed) + ". Is Archipelago installed completely?");
	}
	// Our child, not yet waited for: the number cannot have passed to another process.
	host.pidfd = openPidfd(host.pid);
	if (!host.pidfd) {
		const int why = errno;
		kill(host.pid, SIGKILL);
		waitid(P_PID, static_cast<id_t>(host.pid), nullptr, WEXITED);
		return systemFailure(why, "Cannot watch a host process");
	}
	host.startTime = startTimeOf(host.pid);
	return host;
}

} // namespace archipelago::service
