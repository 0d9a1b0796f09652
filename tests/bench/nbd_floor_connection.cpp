// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The transmission of nbd-floor: batches in, batches out.
#include "tests/bench/nbd_floor.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace archipelago::bench {

namespace {

constexpr uint32_t kLongRest = 32u << 10; ///< behind a payload this long, what follows is a header, not a batch
constexpr size_t kShortStage = 4096;
constexpr size_t kMaxVectors = 2 * kSlots;

} // namespace

AlignedBuffer alignedBuffer(size_t bytes)
{
	auto *memory = static_cast<std::byte *>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
	ARCHIPELAGO_ASSERT(memory);
	std::memset(memory, 0, bytes); // the pages are there before anything is measured
	return AlignedBuffer(memory);
}

FloorConnection::FloorConnection(io_uring &ring, const Storage &storage, xseg::UniqueFd fd)
    : m_ring(ring), m_storage(storage), m_fd(std::move(fd)), m_slots(kSlots), m_stage(alignedBuffer(kStageBytes))
{
	m_poll.connection = this;
	for (Slot &slot : m_slots) {
		slot.connection = this;
		m_free.push_back(&slot);
	}
	endOfTurn();
}

void FloorConnection::receive()
{
	m_poll.isPoll = false;
	std::memmove(m_stage.get(), m_stage.get() + m_begin, m_end - m_begin);
	m_end -= m_begin;
	m_begin = 0;
	std::array<iovec, 2> vectors;
	msghdr message{};
	message.msg_iov = vectors.data();
	size_t direct = 0, room = kStageBytes - m_end;
	if (m_writing) {
		direct = m_writing->command.length - m_writing->received;
		vectors[message.msg_iovlen++] = {m_writing->buffer.get() + m_writing->received, direct};
		if (direct > kLongRest) room = kShortStage;
	}
	vectors[message.msg_iovlen++] = {m_stage.get() + m_end, room};
	const ssize_t n = ::recvmsg(m_fd.get(), &message, MSG_DONTWAIT);
	if (n <= 0) {
		m_closed = n == 0 || (errno != EAGAIN && errno != EINTR);
		return;
	}
	const size_t placed = std::min(static_cast<size_t>(n), direct);
	if (m_writing) m_writing->received += static_cast<uint32_t>(placed);
	m_end += static_cast<size_t>(n) - placed;
	process();
}

void FloorConnection::process()
{
	while (!m_closed && takePayload() && m_end - m_begin >= nbd::kCommandBytes && !m_free.empty()) {
		const auto command = nbd::readCommand(std::span<const std::byte, nbd::kCommandBytes>(m_stage.get() + m_begin, nbd::kCommandBytes));
		m_begin += nbd::kCommandBytes;
		const auto type = static_cast<nbd::CommandType>(command.type);
		const bool payload = type == nbd::CommandType::Read || type == nbd::CommandType::Write;
		if (command.magic != nbd::kCommandMagic || type == nbd::CommandType::Disconnect ||
		    (payload && command.length > nbd::kMaximumRequest)) {
			m_closed = true;
			return;
		}
		Slot &slot = *m_free.back();
		m_free.pop_back();
		slot.command = command;
		slot.received = 0;
		if (payload && slot.capacity < command.length) {
			slot.buffer = alignedBuffer(command.length);
			slot.capacity = command.length;
		}
		if (type == nbd::CommandType::Write)
			m_writing = &slot;
		else
			start(slot);
	}
}

/// Moves what the stage has of the payload that is coming in. True: it is whole, or there is none.
bool FloorConnection::takePayload()
{
	if (!m_writing) return true;
	const size_t n = std::min<size_t>(m_writing->command.length - m_writing->received, m_end - m_begin);
	std::memcpy(m_writing->buffer.get() + m_writing->received, m_stage.get() + m_begin, n);
	m_writing->received += static_cast<uint32_t>(n);
	m_begin += n;
	if (m_writing->received != m_writing->command.length) return false;
	start(*std::exchange(m_writing, nullptr));
	return true;
}

io_uring_sqe &FloorConnection::sqe(Slot &slot)
{
	io_uring_sqe *entry = io_uring_get_sqe(&m_ring);
	if (!entry) {
		io_uring_submit(&m_ring);
		entry = io_uring_get_sqe(&m_ring);
	}
	ARCHIPELAGO_ASSERT(entry);
	std::memset(entry, 0, sizeof *entry);
	entry->user_data = reinterpret_cast<uint64_t>(&slot);
	return *entry;
}

void FloorConnection::start(Slot &slot)
{
	const auto &[magic, flags, type, cookie, offset, length] = slot.command;
	const auto what = static_cast<nbd::CommandType>(type);
	if (what != nbd::CommandType::Read && what != nbd::CommandType::Write && what != nbd::CommandType::Flush)
		return reply(slot, nbd::WireError::Enotsup);
	if (what != nbd::CommandType::Flush && (offset > m_storage.sizeBytes || length > m_storage.sizeBytes - offset))
		return reply(slot, nbd::WireError::Einval);
	const auto &files = m_storage.files;
	if (files.empty()) return reply(slot, nbd::WireError::None);
	const uint64_t which = offset / m_storage.fileBytes, inside = offset % m_storage.fileBytes;
	const bool flush = what == nbd::CommandType::Flush;
	if (flush ? files.size() > 1 : inside + length > m_storage.fileBytes) return reply(slot, nbd::WireError::Enotsup);
	const int file = files[flush ? 0 : which].get();
	io_uring_sqe &entry = sqe(slot);
	const uint64_t userData = entry.user_data;
	if (what == nbd::CommandType::Read) io_uring_prep_read(&entry, file, slot.buffer.get(), length, inside);
	if (what == nbd::CommandType::Write) io_uring_prep_write(&entry, file, slot.buffer.get(), length, inside);
	if (what == nbd::CommandType::Write && (flags & nbd::kCommandFua)) entry.rw_flags = RWF_DSYNC;
	if (what == nbd::CommandType::Flush) io_uring_prep_fsync(&entry, file, IORING_FSYNC_DATASYNC);
	entry.user_data = userData;
}

void FloorConnection::completed(Slot &slot, int result)
{
	const bool flush = slot.command.type == static_cast<uint16_t>(nbd::CommandType::Flush);
	const bool whole = result >= 0 && (flush || static_cast<uint32_t>(result) == slot.command.length);
	reply(slot, whole ? nbd::WireError::None : result == -ENOSPC ? nbd::WireError::Enospc : nbd::WireError::Eio);
}

void FloorConnection::reply(Slot &slot, nbd::WireError error)
{
	const bool read = slot.command.type == static_cast<uint16_t>(nbd::CommandType::Read);
	slot.payloadBytes = read && error == nbd::WireError::None ? slot.command.length : 0;
	nbd::writeReply(slot.header.data(), error, slot.command.cookie);
	m_home.push_back(&slot);
}

/// Blocks while the client does not read: a yardstick's clients do.
void FloorConnection::sendReplies()
{
	std::array<iovec, kMaxVectors> vectors;
	size_t count = 0, at = 0;
	for (Slot *slot : m_home) {
		vectors[count++] = {slot->header.data(), slot->header.size()};
		if (slot->payloadBytes) vectors[count++] = {slot->buffer.get(), slot->payloadBytes};
	}
	while (at < count && !m_closed) {
		msghdr message{};
		message.msg_iov = vectors.data() + at;
		message.msg_iovlen = count - at;
		const ssize_t n = ::sendmsg(m_fd.get(), &message, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR) m_closed = true;
		for (size_t left = n > 0 ? static_cast<size_t>(n) : 0; left;) {
			const size_t part = std::min(left, vectors[at].iov_len);
			vectors[at].iov_base = static_cast<std::byte *>(vectors[at].iov_base) + part;
			vectors[at].iov_len -= part;
			left -= part;
			if (!vectors[at].iov_len) ++at;
		}
	}
	m_free.insert(m_free.end(), m_home.begin(), m_home.end());
	m_home.clear();
}

void FloorConnection::endOfTurn()
{
	while (!m_home.empty()) {
		sendReplies();
		process(); // what waited for a slot; without storage it is home at once
	}
	if (m_closed && m_writing) m_free.push_back(std::exchange(m_writing, nullptr));
	if (m_closed || m_poll.isPoll || m_free.empty()) return;
	m_poll.isPoll = true;
	io_uring_sqe &entry = sqe(m_poll);
	const uint64_t userData = entry.user_data;
	io_uring_prep_poll_add(&entry, m_fd.get(), POLLIN);
	entry.user_data = userData;
}

} // namespace archipelago::bench
