// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Who answers is known from the kernel (SO_PEERCRED), compared with the pid file, and the pidfd is opened before the start
// time is looked at again: from then on it is that process and no other.
#include "dbus/service/host_adoption.h"

#include "dbus/service/pidfd.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>

namespace archipelago::service {

namespace {

constexpr int kHelloMs = 2'000;

} // namespace

bool sameFile(int a, int b)
{
	struct stat one {}, two {};
	return fstat(a, &one) == 0 && fstat(b, &two) == 0 && one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

Result<FoundHost> contactHost(const QString &runDir, const Orphan &orphan)
{
	const std::string who = "Host " + orphan.host.toStdString() + " (pid " + std::to_string(orphan.pid) + ")";
	const std::string path = (runDir + QLatin1String("/hosts/") + orphan.host + QLatin1String(".sock")).toStdString();
	FoundHost out;
	out.name = orphan.host;
	out.process.pid = orphan.pid;
	out.process.startTime = orphan.startTime;
	out.process.ours = false;
	out.process.pidfd = openPidfd(orphan.pid);
	if (!out.process.pidfd || startTimeOf(orphan.pid) != orphan.startTime) return failure(ErrorCode::Peer, who + " has just ended.");
	auto channel = xseg::FdChannel::connect(path);
	if (!channel) return failure(ErrorCode::Peer, who + " cannot be reached: " + channel.error().what + ".");

	ucred peer{};
	socklen_t length = sizeof peer;
	if (getsockopt(channel->fd(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.pid != orphan.pid)
		return failure(ErrorCode::Peer, path + " is served by another process than " + who + ".");
	pollfd wait{channel->fd(), POLLIN, 0};
	if (poll(&wait, 1, kHelloMs) != 1) return failure(ErrorCode::Peer, who + " does not answer.");
	auto hello = channel->receive(false);
	if (!hello) return failure(ErrorCode::Peer, who + " closed the connection.");

	const QJsonObject message = QJsonDocument::fromJson(QByteArray::fromStdString(hello->text)).object();
	if (message.value(QLatin1String("type")).toString() != QLatin1String("hello") || hello->fds.size() < 2
	    || message.value(QLatin1String("host")).toString() != orphan.host)
		return failure(ErrorCode::Corrupt, who + " answers something that makes no sense. Is it of another version?");
	out.config = message.value(QLatin1String("config")).toString().toUtf8();
	out.up = message.value(QLatin1String("up")).toBool();
	const QJsonArray roles = message.value(QLatin1String("roles")).toArray();
	for (const QJsonValue &role : roles)
		out.roles.insert(role.toObject().value(QLatin1String("name")).toString(), role.toObject().value(QLatin1String("state")).toString());
	out.fds = std::move(hello->fds);
	out.process.channel = std::move(*channel);
	return out;
}

} // namespace archipelago::service
