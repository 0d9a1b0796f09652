// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Segments in order, from the header's first. The listing comes first: without it an absent segment could not be told from
// the end of the journal.
#include "daemon/mapper/journal_replay.h"

#include <algorithm>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

constexpr uint32_t kSegmentGuess = 256u << 10;

tl::unexpected<Error> contradiction(const ObjectName &object, std::string what)
{
	return failure(ErrorCode::Corrupt, fmt::format("object {}: {}", object.text(), what));
}

/// What a journal's segments have told so far.
class Reading {
public:
	explicit Reading(const Header &header) : m_header(header) {}

	Result<void> add(const ObjectName &object, SegmentContent content)
	{
		const SegmentHead &head = content.head;
		if (head.generation != m_header.generation)
			return contradiction(
				object, fmt::format("generation {}, the header's is {}", head.generation, m_header.generation));
		// Segment n was synced before n + 1 was made: a gap between them cannot come from a crash.
		const bool follows = m_started ? head.firstSequence == m_last + 1 : head.firstSequence <= m_header.applied + 1;
		if (!follows)
			return contradiction(object, fmt::format("first sequence {}, the one before it ends at {}",
			                                         head.firstSequence, m_started ? m_last : m_header.applied));
		if (m_started && head.bootId != m_bootId)
			return contradiction(object, "boot id differs from the first segment's");
		if (content.committed && content.committed < m_committed)
			return contradiction(object,
			                     fmt::format("a COMMIT up to {} after one up to {}", content.committed, m_committed));
		if (auto ok = checkChanges(object, content); !ok) return ok;

		m_started = true;
		m_bootId = head.bootId;
		m_last = content.lastSequence;
		m_committed = std::max(m_committed, content.committed);
		m_changes.insert(m_changes.end(), content.changes.begin(), content.changes.end());
		return {};
	}

	std::vector<MapChange> counting(const BootId &bootId) const
	{
		const uint64_t upto = m_bootId == bootId ? m_last : m_committed;
		std::vector<MapChange> changes;
		for (const ReplayedChange &replayed : m_changes)
			if (replayed.sequence > m_header.applied && replayed.sequence <= upto) changes.push_back(replayed.change);
		return changes;
	}

private:
	Result<void> checkChanges(const ObjectName &object, const SegmentContent &content) const
	{
		for (const auto &[sequence, change] : content.changes) {
			if (uint64_t(change.block) + change.count > m_header.blockCount())
				return contradiction(object, fmt::format("record {} is of blocks {} to {}, the volume has {}", sequence,
				                                         change.block, uint64_t(change.block) + change.count - 1,
				                                         m_header.blockCount()));
			if (change.entry.owner == m_header.volume && change.entry.epoch >= m_header.epochLimit)
				return contradiction(object, fmt::format("record {} has epoch {}, the limit is {}", sequence,
				                                         change.entry.epoch, m_header.epochLimit));
		}
		return {};
	}

	const Header &m_header;
	bool m_started = false;
	BootId m_bootId{};
	uint64_t m_last = 0, m_committed = 0;
	std::vector<ReplayedChange> m_changes;
};

/// The numbers of the journal's segments, ascending. Lower ones than the first are left from a checkpoint.
std::vector<uint32_t> segmentNumbers(const std::vector<ObjectId> &objects, const Header &header)
{
	std::vector<uint32_t> numbers;
	for (const ObjectId &id : objects)
		if (id.epoch == header.journalEpoch && id.index >= header.firstSegment) numbers.push_back(id.index);
	std::ranges::sort(numbers);
	return numbers;
}

} // namespace

runtime::Task<Result<Replay>> readJournal(ObjectClient &blockerm, const Header &header, const BootId &bootId)
{
	Result<std::vector<ObjectId>> objects = co_await blockerm.listVolume(ObjectKind::Journal, header.volume);
	if (!objects) co_return tl::unexpected(std::move(objects.error()));
	const std::vector<uint32_t> numbers = segmentNumbers(*objects, header);

	Reading reading(header);
	for (size_t n = 0; n < numbers.size(); ++n) {
		const ObjectName object = ObjectName::journal(header.volume, header.journalEpoch, numbers[n]);
		if (numbers[n] != header.firstSegment + n)
			co_return failure(ErrorCode::Missing,
			                  fmt::format("object {} is there, but a journal segment before it is not", object.text()));
		Result<Bytes> bytes = co_await blockerm.readWhole(object, kSegmentGuess, kSegmentBytes);
		if (!bytes) {
			Error error = std::move(bytes.error());
			if (error.code == ErrorCode::NotFound) error.code = ErrorCode::Missing; // the listing had it
			co_return tl::unexpected(std::move(error));
		}
		Result<std::optional<SegmentContent>> content = decodeSegment(object, *bytes);
		if (!content) co_return tl::unexpected(std::move(content.error()));
		if (!*content) {
			// Its creation was cut off, and nothing follows such a segment.
			if (n + 1 < numbers.size()) co_return contradiction(object, "no valid head, but another segment follows");
			break;
		}
		Result<void> added = reading.add(object, std::move(**content));
		if (!added) co_return tl::unexpected(std::move(added.error()));
	}
	Replay replay;
	replay.changes = reading.counting(bootId);
	replay.segments = std::move(*objects);
	co_return std::move(replay);
}

} // namespace archipelago::mapper
