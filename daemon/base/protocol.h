// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What peers say to each other: operations, their arguments (typed views of xs_req::args, 48 bytes), their payloads.
//
// Conventions for every operation
//   offset, size     in bytes, of the object (Obj*) or of the volume (Vol*)
//   data             (data_blk, data_off, data_len) is the payload both ways; see each operation
//   status           0, or minus an ErrorCode
//   names            (Vol attach, Map attach, Cat*): `size` = bytes of the name at the start of the data; data_len = room for
//                    the answer, at least kControlBytes
//   E-PEER           whoever worked on it is gone: it may have been carried out or not. Also what an attachment (session port,
//                    mapper's handle) answers once the peer behind it has died: attach anew, then send again what had
//                    no answer; volume I/O may be repeated
//   control replies  (Vol attach/list, Map attach, Cat*): on failure `serviced` bytes of UTF-8 at the start of the data are
//                    the message for the operator (Error::message); 0 = none
// Nothing here is trusted by its receiver: lengths are checked against the buffer, enums against their range, handles
// against the table they index.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>

namespace archipelago {

enum class Op : uint16_t {
	None = 0,
	Ping = 1, ///< any peer answers status 0 from its event loop

	// ---- to a blocker. args = ObjectArgs
	ObjRead = 16,  ///< fills data_len bytes from offset; behind the object's end: zeros. serviced = bytes that exist. E-NOTFOUND
	ObjWrite,      ///< writes data at offset of an existing object. Flag Fua: durable when answered. E-NOTFOUND
	ObjCreate,     ///< creates exclusively, then writes data at offset (data_len may be 0). E-EXISTS, but not when
	               ///< xs_req::attempts > 0: then a dead predecessor of this blocker may have made it, and it is written
	ObjWriteFull,  ///< atomic replace: whole and durable when answered
	ObjRemove,     ///< idempotent; not durable until a sync
	ObjStat,       ///< size = length, serviced = bytes allocated. E-NOTFOUND
	ObjList,       ///< args = ListArgs; fills data with ListEntry records; serviced = bytes used; args.cursor = next, 0 = done
	ObjSync,       ///< this object, and its directory entry, durable
	ObjSyncVolume, ///< every object of args.id.volume written before this request arrived, also by a predecessor of this
	               ///< process. E-IO when one of them could not be made durable, also when that showed earlier
	ObjSyncAll,    ///< the whole store, including what a predecessor of this process wrote
	ObjCapacity,   ///< size = bytes in all, serviced = bytes free to us; args out: CapacityReply
	ObjPunch,      ///< size bytes from offset of an existing object read zeros from now on; their room is given back where
	               ///< the store can. No data. Flag Fua. E-NOTFOUND

	// ---- client to composer. args = VolumeArgs at session ports
	VolAttach = 48, ///< to the composer's first port. data = name (size bytes); args in AttachArgs, out AttachReply
	VolDetach,      ///< to the session port; answered when everything before it is done
	VolRead,        ///< offset, size = data_len; flag TakesHoles, answered with flag Hole
	VolWrite,       ///< offset, size = data_len; flag Fua
	VolFlush,
	VolList,        ///< as CatList
	VolTrim,        ///< offset, size: reads zeros from now on, room given back where that is cheap. No data. Flag Fua
	VolZero,        ///< as VolTrim; with flag NoHole zeros are written, so that no later write there can lack room
	VolExtents,     ///< offset, size: where something is stored. Fills data with BlockRuns, the first of them from the block of
	                ///< `offset` on; serviced = bytes used. It may stop short of the range, but has one run at least

	// ---- composer to mapper
	MapAttach = 64, ///< as VolAttach; AttachReply.sessionPort is left alone
	MapDetach,      ///< args = MapArgs
	MapRead,        ///< args in MapArgs, out MapReply: Zero or Object
	MapWrite,       ///< args in MapArgs, out MapReply: Object (write in place) or Create (see MapRecord)
	MapRecord,      ///< args = RecordArgs: ends a Create. Answered when the record is appended: then the write may be acknowledged
	MapFlush,       ///< args = MapArgs. Answered when all acknowledged before it was sent is durable
	MapTrim,        ///< args = MapArgs with count: these whole blocks read zeros. Answered when recorded
	MapPunch,       ///< args in MapArgs, out MapReply: Zero (nothing to do) or Object (punch it in place, then all is done)
	MapExtents,     ///< args = MapArgs with count; data out and serviced as in VolExtents

	// ---- service to mapper. data in = name (size bytes), unless said otherwise
	CatCreate = 96, ///< args = CreateArgs, out CreateArgs with the id. E-EXISTS, E-INVALID
	CatInfo,        ///< data out = one VolumeInfo. E-NOTFOUND
	CatList,        ///< args = ListArgs (cursor only); data out = VolumeInfo[], serviced = bytes
	CatRemove,      ///< to trash. E-BUSY when open
	CatOpen,        ///< sticky; succeeds when already open here
	CatClose,       ///< E-NOTOPEN, E-BUSY with who
	CatHealth,      ///< data out: a line "NAME\tE-IO\tmessage\n" for each volume that has stopped; serviced = bytes
	CatLive,        ///< mapper's shard 0 to the others: volumes that are open there, by name, from behind the given one (size 0:
	                ///< from the first) on. data out = VolumeInfo[], serviced = bytes; 0: no more

	// ---- service to gateway, at its first port. data in = name (size bytes)
	FrontClients = 128, ///< data out: who is connected to that volume, for an operator to read; serviced = bytes, 0 = nobody
};

/// May be carried out twice: what recovery hands to a successor (xseg/recovery.h). Everything else fails back, as E-PEER.
/// Obj*: names are never used twice and contents of one request are the same each time, so doing it again changes nothing.
constexpr bool isRepeatable(Op op)
{
	return op == Op::Ping || (op >= Op::ObjRead && op <= Op::ObjPunch) || op == Op::CatInfo || op == Op::CatList
	       || op == Op::CatHealth;
}

/// Bits of xs_req::flags.
enum RequestFlag : uint32_t {
	kFlagFua = 1u << 0,
	kFlagNoHole = 1u << 1, ///< VolZero only
	kFlagTakesHoles = 1u << 2, ///< VolRead: its sender can do without the data of a hole
	kFlagHole = 1u << 3, ///< answer to such a VolRead: nothing is stored there, all of it reads zeros, and the data were left alone
};

/// 128-bit random, made at creation, never reused.
struct VolumeId {
	std::array<uint8_t, 16> bytes{};
	auto operator<=>(const VolumeId &) const = default;
	bool isZero() const { return *this == VolumeId{}; }
};

/// MAP_FORMAT.md names the objects: n.NAME h.VID.GEN c.VID.EPOCH.INDEX j.VID.EPOCH.SEGMENT d.VID.EPOCH.BLOCK x.SHA256.
enum class ObjectKind : uint8_t { Data = 'd', Chunk = 'c', Header = 'h', Journal = 'j', Name = 'n', Content = 'x' };

struct ObjectId {
	VolumeId volume;         ///< Content: first half of the SHA-256
	uint64_t epoch = 0;      ///< Header: generation. Content: third quarter, as stored
	uint32_t index = 0;      ///< Data: block. Chunk: chunk index. Journal: segment. Content: next four bytes
	uint32_t index2 = 0;     ///< Content: last four bytes; else 0
	ObjectKind kind = ObjectKind::Data;
	uint8_t reserved[7] = {};
	auto operator<=>(const ObjectId &) const = default;
};
static_assert(sizeof(ObjectId) == 40);

/// Kind Name: the name's bytes (no NUL) follow the payload: at data_off + data_len of the same buffer, nameLength of them.
struct ObjectArgs {
	ObjectId id;
	uint16_t nameLength = 0;
	uint16_t reserved[3] = {};
};
static_assert(sizeof(ObjectArgs) == 48);

/// Lists the objects of one kind, of one volume or (volume zero) of all.
struct ListArgs {
	VolumeId volume;
	uint64_t cursor = 0; ///< 0 = from the start
	ObjectKind kind = ObjectKind::Name;
	uint8_t reserved[23] = {};
};
static_assert(sizeof(ListArgs) == 48);

/// One listed object; records follow each other at multiples of 8 bytes.
struct ListEntry {
	ObjectId id;
	uint16_t nameLength = 0; ///< Name: its bytes follow this struct
	uint16_t recordBytes = 0;
	uint32_t reserved = 0;
};
static_assert(sizeof(ListEntry) == 48);

struct CapacityReply {
	uint64_t reserveBytes = 0;   ///< kept for metadata: data is refused or waits below this
	uint32_t waitingWrites = 0;  ///< FULL_POLICY = "pause": writes that wait for room
	uint8_t full = 0;            ///< data is being refused or waits
	uint8_t reserved[35] = {};
};
static_assert(sizeof(CapacityReply) == 48);

enum class Holder : uint8_t { Explicit = 0, Nbd = 1, Fuse = 2, Device = 3, Tool = 4 };

struct AttachArgs {
	Holder holder = Holder::Tool;
	uint8_t readOnly = 0;
	uint8_t onlyIfOpened = 0; ///< E-NOTOPEN unless somebody opened it explicitly (an attachment made anew does not ask again)
	uint8_t shard = 0;        ///< MapAttach: the composer's, of so many (base/shards.h); 0 of 0 is 0 of 1
	uint8_t shards = 0;
	uint8_t reserved[43] = {};
};
static_assert(sizeof(AttachArgs) == 48);

struct AttachReply {
	VolumeId volume;
	uint64_t sizeBytes = 0;
	uint32_t handle = 0;      ///< mapper's; composer keeps it to itself
	uint16_t sessionPort = 0; ///< where this client sends its I/O
	uint8_t readOnly = 0;
	uint8_t blockShift = 22;
	uint64_t key = 0;         ///< goes with every request to sessionPort; see VolumeArgs
	uint8_t elsewhere = 0;    ///< 1: not attached. The composer of shardOf(volume) is the one to ask (base/shards.h)
	uint8_t reserved[7] = {};
};
static_assert(sizeof(AttachReply) == 48);

/// Vol*, but VolAttach and VolList. A session port is given to one client after the other, also by a successor of this composer: a
/// request that was meant for an earlier attachment has another key, and answers E-PEER instead of touching this one's volume.
struct VolumeArgs {
	uint64_t key = 0; ///< of AttachReply; never 0 there
	uint8_t reserved[40] = {};
};
static_assert(sizeof(VolumeArgs) == 48);

struct MapArgs {
	uint32_t handle = 0;
	uint32_t block = 0;
	uint32_t count = 0; ///< MapTrim, MapExtents: number of blocks
	uint8_t reserved[36] = {};
};
static_assert(sizeof(MapArgs) == 48);

/// Neighbouring blocks that are alike, as VolExtents and MapExtents tell them.
struct BlockRun {
	uint32_t blocks = 0; ///< never 0
	uint32_t mapped = 0; ///< 1: they have objects, and may hold anything. 0: they read zeros, nothing is stored
};
static_assert(sizeof(BlockRun) == 8);

enum class Placement : uint8_t {
	Zero = 0,   ///< nothing stored: reads zeros
	Object = 1, ///< read, or write in place
	Create = 2, ///< MapWrite only: create `id` exclusively with the data, then MapRecord; the block is locked until then
};

struct MapReply {
	ObjectId id;
	Placement placement = Placement::Zero;
	uint8_t committed = 0; ///< the block's entry is durable: FUA needs only the object
	uint16_t reserved = 0;
	uint32_t token = 0;    ///< Create: goes back with MapRecord
};
static_assert(sizeof(MapReply) == 48);

struct RecordArgs {
	uint32_t handle = 0;
	uint32_t block = 0;
	uint32_t token = 0;
	uint8_t stored = 0; ///< 1: the object holds its data, record it. 0: it failed, unlock the block
	uint8_t reserved[35] = {};
};
static_assert(sizeof(RecordArgs) == 48);

struct CreateArgs {
	VolumeId volume;
	uint64_t sizeBytes = 0;
	uint8_t reserved[24] = {};
};
static_assert(sizeof(CreateArgs) == 48);

inline constexpr uint32_t kMaxNameBytes = 82;
inline constexpr uint32_t kControlBytes = 1024; ///< least data_len of a control request: room for an error's message

/// One volume as the service sees it.
struct VolumeInfo {
	VolumeId volume;
	uint64_t sizeBytes = 0;
	uint64_t allocatedBytes = 0;    ///< mapped blocks x 4 MiB while open, the header's hint otherwise
	int64_t createdNs = 0;          ///< since the epoch
	int64_t removedNs = 0;          ///< 0 = not removed
	uint64_t generation = 0;        ///< of the newest header
	uint32_t clients = 0;           ///< attached sessions (NBD, FUSE, devices)
	int32_t error = 0;              ///< this row could not be read: minus an ErrorCode; the rest then is zero but the name.
	                                ///< With stopped = 1 the row is good, and this is why its I/O stopped
	uint16_t state = 0;             ///< MAP_FORMAT.md: LIVE=1 TRASH=2 PURGE=3 DEAD=4
	uint8_t snapshot = 0;
	uint8_t openedExplicitly = 0;
	uint16_t nameLength = 0;
	char name[kMaxNameBytes] = {};
	uint8_t stopped = 0;            ///< a failed sync: every I/O is E-IO until nobody holds it any more and it is opened again
	uint8_t reserved[23] = {};
};
static_assert(sizeof(VolumeInfo) == 176);

inline constexpr uint32_t kBlockShift = 22;
inline constexpr uint64_t kBlockBytes = 1ull << kBlockShift;
inline constexpr uint64_t kMaxVolumeBytes = 1ull << 52; ///< 4 PiB: the header's limit

} // namespace archipelago
