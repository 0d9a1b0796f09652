// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Why chained checksums: blocks behind the last valid record may hold anything, also whole records of an earlier write that
// the tail was torn from. Such a record was chained to a predecessor that is not there, so it cannot pass, and a later
// append can never make it valid again.
#include "daemon/mapper/journal_format.h"

#include "daemon/mapper/crc32c.h"
#include "daemon/mapper/structure.h"

#include <fcntl.h>

#include <cerrno>

#include <fmt/format.h>

#include "xseg/fd.h"

namespace archipelago::mapper {

namespace {

enum RecordType : uint16_t { kEntry = 1, kPresent = 2, kDrop = 3, kCommit = 4, kPad = 5 };

constexpr uint32_t kHeadBytes = sizeof(layout::Segment);
constexpr uint32_t kRecordHeadBytes = sizeof(layout::Record);
constexpr uint32_t kEntryBytes = kRecordHeadBytes + sizeof(layout::EntryBody);
constexpr uint32_t kDropBytes = kRecordHeadBytes + sizeof(layout::DropBody);
constexpr uint32_t kCommitBytes = kRecordHeadBytes + sizeof(layout::CommitBody);

constexpr uint32_t blockStart(uint32_t offset) { return offset & ~(kJournalBlockBytes - 1); }
constexpr uint32_t blockEnd(uint32_t offset) { return blockStart(offset + kJournalBlockBytes - 1); }

/// Where a record may begin, at or behind `offset`.
constexpr uint32_t recordStart(uint32_t offset)
{
	return blockEnd(offset) - offset < kRecordHeadBytes ? blockEnd(offset) : offset;
}

uint32_t recordCrc(uint32_t chain, std::span<const std::byte> record)
{
	constexpr std::byte kZero[sizeof(uint32_t)] = {};
	return crc32c(crc32c(chain, kZero), record.subspan(sizeof kZero));
}

/// Reads a segment record by record. An error is nonsense in an intact record; the end of the valid ones is no error.
class SegmentReader {
public:
	SegmentReader(const ObjectName &object, std::span<const std::byte> bytes, uint32_t crc, SegmentContent &content)
		: m_object(object),
		  m_bytes(bytes),
		  m_chain(crc),
		  m_content(content)
	{}
	/// False: the last valid record was read before.
	Result<bool> next()
	{
		m_at = recordStart(m_at);
		if (m_at > m_bytes.size() || m_bytes.size() - m_at < kRecordHeadBytes) return false;
		const auto head = loadAt<layout::Record>(m_bytes, m_at);
		if (head.bytes < kRecordHeadBytes || head.bytes % 8 || head.bytes > m_bytes.size() - m_at) return false;
		const auto record = m_bytes.subspan(m_at, head.bytes);
		if (recordCrc(m_chain, record) != head.crc) return false;

		if (head.sequence != m_content.lastSequence + 1)
			return refuse(ErrorCode::Corrupt, m_object, m_at + 8, "sequence", head.sequence,
			              fmt::to_string(m_content.lastSequence + 1));
		auto taken = take(head, record.subspan(kRecordHeadBytes));
		if (!taken) return tl::unexpected(taken.error());
		m_content.lastSequence = head.sequence;
		m_chain = head.crc;
		m_at += head.bytes;
		return true;
	}

private:
	Result<void> take(const layout::Record &head, std::span<const std::byte> body)
	{
		switch (head.type) {
		case kEntry: return takeEntry(head, body);
		case kDrop: return takeDrop(head, body);
		case kCommit: return takeCommit(head, body);
		case kPad:
			if (blockStart(m_at + head.bytes) != m_at + head.bytes)
				return refuse(ErrorCode::Corrupt, m_object, m_at + 6, "bytes of a PAD", head.bytes,
				              "up to a block boundary");
			if (const size_t n = firstNonZero(body); n < body.size())
				return refuse(ErrorCode::Corrupt, m_object, m_at + kRecordHeadBytes + n, "byte of a PAD", 1, "0");
			return {};
		default: return refuse(ErrorCode::Unsupported, m_object, m_at + 4, "type of a record", head.type, "1, 3, 4 or 5");
		}
	}
	Result<void> takeEntry(const layout::Record &head, std::span<const std::byte> body)
	{
		const uint32_t bodyAt = m_at + kRecordHeadBytes;
		if (body.size() < sizeof(layout::EntryBody))
			return refuse(ErrorCode::Corrupt, m_object, m_at + 6, "bytes of an ENTRY", head.bytes,
			              fmt::to_string(kEntryBytes));
		const auto raw = loadAt<layout::EntryBody>(body, 0);
		if (raw.flags) return refuse(ErrorCode::Unsupported, m_object, bodyAt + 4, "flags of an ENTRY", raw.flags, "0");
		if (body.size() != sizeof raw)
			return refuse(ErrorCode::Corrupt, m_object, m_at + 6, "bytes of an ENTRY", head.bytes,
			              fmt::to_string(kEntryBytes));
		if (raw.owner.isZero())
			return refuse(ErrorCode::Corrupt, m_object, bodyAt + 8, "owner of an ENTRY", 0, "a volume id");
		if (!raw.parent.isZero() || raw.parentEpoch)
			return refuse(ErrorCode::Corrupt, m_object, bodyAt + 32, "parent of a whole ENTRY", 1, "0");
		m_content.changes.push_back(
			ReplayedChange{head.sequence, MapChange{raw.block, MapEntry{raw.owner, raw.epoch}}});
		return {};
	}
	Result<void> takeDrop(const layout::Record &head, std::span<const std::byte> body)
	{
		if (body.size() != sizeof(layout::DropBody))
			return refuse(ErrorCode::Corrupt, m_object, m_at + 6, "bytes of a DROP", head.bytes,
			              fmt::to_string(kDropBytes));
		const auto raw = loadAt<layout::DropBody>(body, 0);
		if (raw.count == 0) return refuse(ErrorCode::Corrupt, m_object, m_at + 20, "count of a DROP", 0, "at least 1");
		m_content.changes.push_back(ReplayedChange{head.sequence, MapChange{raw.block, MapEntry{}, raw.count}});
		return {};
	}
	Result<void> takeCommit(const layout::Record &head, std::span<const std::byte> body)
	{
		if (body.size() != sizeof(layout::CommitBody))
			return refuse(ErrorCode::Corrupt, m_object, m_at + 6, "bytes of a COMMIT", head.bytes,
			              fmt::to_string(kCommitBytes));
		const auto raw = loadAt<layout::CommitBody>(body, 0);
		if (raw.upto >= head.sequence || raw.upto < m_content.committed)
			return refuse(ErrorCode::Corrupt, m_object, m_at + 16, "upto of a COMMIT", raw.upto,
			              fmt::format("{}..{}", m_content.committed, head.sequence - 1));
		if (raw.generation != m_content.head.generation)
			return refuse(ErrorCode::Corrupt, m_object, m_at + 24, "generation of a COMMIT", raw.generation,
			              fmt::to_string(m_content.head.generation));
		m_content.committed = raw.upto;
		return {};
	}

	const ObjectName &m_object;
	std::span<const std::byte> m_bytes;
	uint32_t m_at = kHeadBytes;
	uint32_t m_chain;
	SegmentContent &m_content;
};

Result<void> checkHead(const ObjectName &object, const layout::Segment &raw)
{
	if (raw.prologue.totalBytes != kHeadBytes)
		return refuse(ErrorCode::Corrupt, object, 8, "total bytes", raw.prologue.totalBytes,
		              fmt::to_string(kHeadBytes));
	if (raw.journalEpoch != object.id().epoch)
		return refuse(ErrorCode::Corrupt, object, 32, "journal epoch", raw.journalEpoch, "that of its name");
	if (raw.segment != object.id().index)
		return refuse(ErrorCode::Corrupt, object, 40, "segment", raw.segment, "that of its name");
	if (raw.reserved) return refuse(ErrorCode::Corrupt, object, 44, "reserved field", raw.reserved, "0");
	if (raw.firstSequence == 0) return refuse(ErrorCode::Corrupt, object, 48, "first sequence", 0, "at least 1");
	return {};
}

} // namespace

Result<BootId> readBootId()
{
	constexpr const char *kPath = "/proc/sys/kernel/random/boot_id";
	const xseg::UniqueFd fd(::open(kPath, O_RDONLY | O_CLOEXEC));
	char text[64];
	const ssize_t length = fd ? ::read(fd.get(), text, sizeof text) : -1;
	if (length < 0) return systemFailure(errno, std::string("Cannot read ") + kPath);

	BootId id{};
	size_t digits = 0;
	for (const char c : std::string_view(text, static_cast<size_t>(length))) {
		const int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
		if (value < 0) continue; // the dashes and the end of the line
		if (digits / 2 < id.size()) id[digits / 2] = static_cast<uint8_t>(id[digits / 2] << 4 | value);
		++digits;
	}
	if (digits != 2 * id.size())
		return failure(ErrorCode::Failed, std::string("Cannot use ") + kPath + ": it is not a UUID.");
	return id;
}

Bytes encodeSegmentHead(const SegmentHead &head)
{
	const ObjectName object = ObjectName::journal(head.volume, head.journalEpoch, head.segment);
	layout::Segment raw;
	raw.prologue = prologueFor(object, sizeof raw, sizeof raw);
	raw.journalEpoch = head.journalEpoch;
	raw.segment = head.segment;
	raw.firstSequence = head.firstSequence;
	std::memcpy(raw.bootId, head.bootId.data(), head.bootId.size());
	raw.generation = head.generation;
	Bytes bytes;
	appendTo(bytes, raw);
	seal(object, bytes);
	return bytes;
}

SegmentEncoder::SegmentEncoder(const SegmentHead &head, uint32_t capacity)
	: m_generation(head.generation),
	  m_capacity(capacity),
	  m_sequence(head.firstSequence),
	  m_takenSequence(head.firstSequence),
	  m_bytes(encodeSegmentHead(head))
{
	ARCHIPELAGO_ASSERT(capacity % kJournalBlockBytes == 0 && capacity && capacity <= kSegmentBytes);
	m_chain = m_takenChain = loadAt<layout::Segment>(m_bytes, 0).prologue.crc;
	m_end = m_taken = kHeadBytes; // the head alone is no reason to write
}

bool SegmentEncoder::roomForRecord() const
{
	static_assert(kCommitBytes <= kEntryBytes && kDropBytes <= kEntryBytes, "an ENTRY is the largest one");
	// A COMMIT that fits has its PAD as well: the segment ends at a block boundary.
	return recordStart(m_end) + kEntryBytes <= m_capacity;
}

uint64_t SegmentEncoder::appendChange(const MapChange &change)
{
	if (!change.entry.mapped()) {
		layout::DropBody body;
		body.block = change.block;
		body.count = change.count;
		return append(kDrop, std::as_bytes(std::span(&body, 1)));
	}
	ARCHIPELAGO_ASSERT(change.count == 1);
	layout::EntryBody body;
	body.block = change.block;
	body.owner = change.entry.owner;
	body.epoch = change.entry.epoch;
	return append(kEntry, std::as_bytes(std::span(&body, 1)));
}

uint64_t SegmentEncoder::appendCommit(uint64_t upto)
{
	layout::CommitBody body;
	body.upto = upto;
	body.generation = m_generation;
	const uint64_t sequence = append(kCommit, std::as_bytes(std::span(&body, 1)));
	const uint32_t at = recordStart(m_end);
	if (at == blockStart(at)) {
		m_bytes.resize(at - m_start); // the block is full, or its last 8 bytes hold no record
		m_end = at;
	} else {
		constexpr std::byte kZeros[kJournalBlockBytes] = {};
		append(kPad, std::span(kZeros).first(blockEnd(at) - at - kRecordHeadBytes));
	}
	return sequence;
}

uint64_t SegmentEncoder::append(uint16_t type, std::span<const std::byte> body)
{
	const uint32_t at = recordStart(m_end);
	ARCHIPELAGO_ASSERT(at + kRecordHeadBytes + body.size() <= m_capacity);
	m_bytes.resize(at - m_start);

	layout::Record head;
	head.type = type;
	head.bytes = static_cast<uint16_t>(kRecordHeadBytes + body.size());
	head.sequence = m_sequence;
	appendTo(m_bytes, head);
	m_bytes.insert(m_bytes.end(), body.begin(), body.end());
	const auto record = std::span(m_bytes).subspan(at - m_start);
	m_chain = recordCrc(m_chain, record);
	std::memcpy(record.data(), &m_chain, sizeof m_chain);
	m_end = at + head.bytes;
	return m_sequence++;
}

SegmentEncoder::Piece SegmentEncoder::take()
{
	Piece piece;
	piece.offset = m_start;
	piece.bytes = m_bytes;
	piece.bytes.resize(blockEnd(m_end) - m_start);
	piece.lastSequence = m_sequence - 1;
	// Blocks that are full now are never written again.
	m_bytes.erase(m_bytes.begin(), m_bytes.begin() + (blockStart(m_end) - m_start));
	m_start = blockStart(m_end);
	m_taken = m_end;
	m_takenSequence = m_sequence;
	m_takenChain = m_chain;
	return piece;
}

void SegmentEncoder::withdraw()
{
	m_bytes.resize(m_taken - m_start); // m_start only moves when a piece is taken
	m_end = m_taken;
	m_sequence = m_takenSequence;
	m_chain = m_takenChain;
}

Result<std::optional<SegmentContent>> decodeSegment(const ObjectName &object, std::span<const std::byte> bytes)
{
	const PrologueRule rule{.fixedBytes = kHeadBytes, .exact = false};
	if (!checkSeal(object, bytes, rule)) return std::nullopt;
	const auto prologue = checkPrologue(object, bytes, rule);
	if (!prologue) return tl::unexpected(prologue.error());
	const auto raw = loadAt<layout::Segment>(bytes, 0);
	if (auto ok = checkHead(object, raw); !ok) return tl::unexpected(ok.error());

	SegmentContent content;
	content.head.volume = prologue->volume;
	content.head.journalEpoch = raw.journalEpoch;
	content.head.segment = raw.segment;
	content.head.firstSequence = raw.firstSequence;
	std::memcpy(content.head.bootId.data(), raw.bootId, sizeof raw.bootId);
	content.head.generation = raw.generation;
	content.lastSequence = raw.firstSequence - 1;

	SegmentReader reader(object, bytes.first(std::min<size_t>(bytes.size(), kSegmentBytes)), prologue->crc, content);
	for (;;) {
		const auto more = reader.next();
		if (!more) return tl::unexpected(more.error());
		if (!*more) return content;
	}
}

} // namespace archipelago::mapper
