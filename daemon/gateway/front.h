// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What a client's face (NBD connection, later FUSE and kernel devices) and a volume say to each other:
//
//   open      VolumeSessions::open(name)  -> OpenVolume           (volume_sessions.h)
//   shape     OpenVolume->shape()         size, limits, read-only
//   I/O       OpenVolume->submit(io)      read, write, flush, trim, zero, extents; VolumeIo::done comes later, once, never inside
//                                         submit()
//   resize    Front::sizeChanged()
//   detach    the OpenVolume goes; everything submitted through it must be done by then
//
// A face owns its VolumeIo and the buffer in it, until done(): it comes when nobody below touches the buffer any more, and
// not before, whatever a client's deadline says. When a peer below dies, done() comes later, and says nothing of it. E-PEER:
// this gateway stops before the volume was back; the I/O may have been carried out or not, and whoever connects to the next
// gateway may send it again. One thread.
#pragma once

#include "daemon/base/errors.h"
#include "daemon/base/protocol.h"
#include "xseg/segment.h"

#include <cstdint>

namespace archipelago::gateway {

struct VolumeShape {
	uint64_t sizeBytes = 0;
	bool readOnly = false;
	/// One I/O lies inside one block best: then it needs no splitting further down.
	static constexpr uint32_t kBlock = static_cast<uint32_t>(kBlockBytes);
	/// What has no data may be longer: trims (and zeros that leave holes) cost a question for all their blocks, zeros without
	/// holes are written. One I/O at a time of a long range leaves room for others.
	static constexpr uint32_t kLongestTrim = 1u << 30;
	static constexpr uint32_t kLongestFill = 32u << 20;
	/// Offsets, lengths and buffers are multiples of this.
	static constexpr uint32_t kAlignment = 512;
};

struct VolumeIo {
	// ---- set by the face
	Op op = Op::None;      ///< VolRead, VolWrite, VolFlush, VolTrim, VolZero, VolExtents
	bool fua = false;
	bool noHole = false;   ///< VolZero: what is zeroed has room in the store afterwards
	bool takesHoles = false; ///< VolRead: `hole` may be said instead of filling the buffer with zeros
	uint32_t length = 0;   ///< bytes; a flush has none
	uint64_t offset = 0;   ///< in the volume
	uint32_t buffer = XS_NO_BUFFER; ///< reads and writes: handle; the data is its first `length` bytes. VolExtents: see `room`
	uint32_t room = 0;     ///< VolExtents: bytes of the buffer
	void (*done)(VolumeIo &io) = nullptr;
	// ---- set when done
	bool ok = false;
	ErrorCode error = ErrorCode::Failed; ///< when not ok
	bool hole = false;     ///< VolRead that takes holes: it reads zeros, and the buffer has anything
	uint32_t filled = 0;   ///< VolExtents: bytes of the buffer that are BlockRuns (protocol.h: may stop short of `length`)
	// ---- the session's, while it is submitted; the face's, before and after
	VolumeIo *next = nullptr;
	uint64_t sequence = 0; ///< rises with each submit()
	uint64_t submittedNs = 0;
};

class Front {
public:
	/// The volume has another size now; shape() says so already.
	virtual void sizeChanged(uint64_t sizeBytes) = 0;

protected:
	~Front() = default;
};

} // namespace archipelago::gateway
