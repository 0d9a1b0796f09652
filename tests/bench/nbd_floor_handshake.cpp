// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The handshake of nbd-floor: GO and ABORT, which is all that fio, nbdinfo, nbdcopy and qemu use; every name is the one export.
#include "tests/bench/nbd_floor.h"

#include <sys/socket.h>

#include <string>

namespace archipelago::bench {

namespace {

constexpr uint16_t kFlags = nbd::kHasFlags | nbd::kSendFlush | nbd::kSendFua | nbd::kCanMultiConn;

template <typename T> void put(std::string &to, T value)
{
	for (int shift = 8 * (static_cast<int>(sizeof value) - 1); shift >= 0; shift -= 8) to += static_cast<char>(value >> shift);
}

bool sendAll(int fd, const std::string &bytes)
{
	return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

bool receiveAll(int fd, std::byte *to, size_t bytes)
{
	return bytes == 0 || ::recv(fd, to, bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes);
}

std::string optionReply(uint32_t option, nbd::OptionReply type, const std::string &data)
{
	std::string reply;
	put(reply, nbd::kOptionReplyMagic);
	put(reply, option);
	put(reply, static_cast<uint32_t>(type));
	put(reply, static_cast<uint32_t>(data.size()));
	return reply + data;
}

std::string exportInfo(uint32_t option, uint64_t sizeBytes)
{
	std::string size, blocks;
	put(size, static_cast<uint16_t>(nbd::InfoType::Export));
	put(size, sizeBytes);
	put(size, kFlags);
	put(blocks, static_cast<uint16_t>(nbd::InfoType::BlockSize));
	for (const uint32_t value : {nbd::kMinimumBlock, nbd::kPreferredBlock, nbd::kMaximumRequest}) put(blocks, value);
	return optionReply(option, nbd::OptionReply::Info, size) + optionReply(option, nbd::OptionReply::Info, blocks) +
	       optionReply(option, nbd::OptionReply::Ack, {});
}

} // namespace

bool floorHandshake(int fd, uint64_t sizeBytes)
{
	std::string greeting;
	put(greeting, nbd::kInitMagic);
	put(greeting, nbd::kOptionMagic);
	put(greeting, static_cast<uint16_t>(nbd::kFixedNewstyle | nbd::kNoZeroes));
	std::array<std::byte, nbd::kOptionBytes> head;
	if (!sendAll(fd, greeting) || !receiveAll(fd, head.data(), 4)) return false;

	while (receiveAll(fd, head.data(), head.size())) {
		const uint32_t option = nbd::read32(head.data() + 8), length = nbd::read32(head.data() + 12);
		std::array<std::byte, nbd::kMaxOptionBytes> data;
		if (nbd::read64(head.data()) != nbd::kOptionMagic || length > data.size() || !receiveAll(fd, data.data(), length)) return false;
		switch (static_cast<nbd::Option>(option)) {
		case nbd::Option::Go: return sendAll(fd, exportInfo(option, sizeBytes));
		case nbd::Option::Abort: sendAll(fd, optionReply(option, nbd::OptionReply::Ack, {})); return false;
		default:
			if (!sendAll(fd, optionReply(option, nbd::OptionReply::Unsupported, {}))) return false;
		}
	}
	return false;
}

} // namespace archipelago::bench
