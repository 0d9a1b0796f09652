// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The message is not trusted: what is no sealed segment is refused by Segment::attach(), and a bell more or less than the
// segment has waiters means that the other side is something else.
#include "xseg/tool/source.h"

#include "xseg/fd_channel.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace xseg::tool {
namespace {

constexpr int kAnswerWithinMs = 5000;

tl::unexpected<Failure> failure(int errnum, std::string what) { return tl::unexpected(Failure{errnum, std::move(what)}); }

} // namespace

std::filesystem::path runDirOf(const std::filesystem::path &socket)
{
	return std::filesystem::absolute(socket).parent_path().parent_path();
}

Result<Source> fetch(const std::filesystem::path &socket)
{
	auto channel = FdChannel::connect(socket);
	if (!channel) return tl::unexpected(channel.error());
	pollfd entry{.fd = channel->fd(), .events = POLLIN, .revents = 0};
	if (poll(&entry, 1, kAnswerWithinMs) != 1) return failure(ETIMEDOUT, socket.string() + " does not answer");
	auto message = channel->receive(false);
	if (!message || message->fds.empty()) return failure(EPROTO, socket.string() + " sent no segment");
	auto segment = Segment::attach(std::move(message->fds.front()));
	if (!segment) return failure(segment.error().errnum, socket.string() + ": " + segment.error().what);
	message->fds.erase(message->fds.begin());
	// One bell for each waiter that is used; a segment may have room for more.
	if (message->fds.size() > segment->geometry().waiters)
		return failure(EPROTO, socket.string() + " sent " + std::to_string(message->fds.size()) + " bells for " +
		                           std::to_string(segment->geometry().waiters) + " waiters");
	return Source{std::move(*segment), std::move(message->fds), socket};
}

Result<Source> fetchFromAnyHost(const std::filesystem::path &runDir)
{
	std::error_code error;
	std::vector<std::filesystem::path> sockets;
	for (const auto &entry : std::filesystem::directory_iterator(runDir / "hosts", error)) {
		if (entry.path().extension() == ".sock") sockets.push_back(entry.path());
	}
	if (error && error != std::errc::no_such_file_or_directory)
		return failure(error.value(), "cannot read " + (runDir / "hosts").string() + ": " + error.message());
	std::ranges::sort(sockets);
	Failure last{ENOENT, "no host runs below " + runDir.string()};
	for (const auto &socket : sockets) {
		auto source = fetch(socket);
		if (source) return source;
		// A socket that nobody listens on any more is what a killed host leaves.
		if (source.error().errnum != ECONNREFUSED && source.error().errnum != ENOENT) last = source.error();
	}
	return tl::unexpected(std::move(last));
}

} // namespace xseg::tool
