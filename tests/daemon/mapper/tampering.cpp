// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See tampering.h.
#include "tests/daemon/mapper/tampering.h"

#include "daemon/mapper/crc32c.h"
#include "daemon/mapper/journal_format.h"
#include "daemon/mapper/structure.h"
#include "tests/daemon/mapper/crash_store.h"

#include <cstring>

namespace archipelago::mapper::testing {

namespace {

constexpr uint64_t kStepsOfACommit = 3; ///< the data's sync, the COMMIT, the journal's sync
constexpr uint16_t kCommit = 4;

/// A segment's bytes with every COMMIT{upto} made COMMIT{all before it}, chained as its writer would have.
Content withWrongCommits(Content bytes)
{
	const auto head = loadAt<layout::Segment>(bytes, 0);
	uint32_t chain = head.prologue.crc, wrongChain = chain;
	for (size_t at = sizeof head; at + sizeof(layout::Record) <= bytes.size();) {
		if (kJournalBlockBytes - at % kJournalBlockBytes < sizeof(layout::Record)) {
			at += kJournalBlockBytes - at % kJournalBlockBytes;
			continue;
		}
		const auto record = loadAt<layout::Record>(bytes, at);
		if (record.bytes < sizeof record || record.bytes > bytes.size() - at) break;
		const auto crcOf = [&](uint32_t seed) {
			const std::byte zero[sizeof(uint32_t)] = {};
			return crc32c(crc32c(seed, zero), std::span(bytes).subspan(at + sizeof zero, record.bytes - sizeof zero));
		};
		if (crcOf(chain) != record.crc) break;
		chain = record.crc;
		if (record.type == kCommit) {
			const uint64_t all = record.sequence - 1;
			std::memcpy(bytes.data() + at + sizeof record, &all, sizeof all);
		}
		wrongChain = crcOf(wrongChain);
		std::memcpy(bytes.data() + at, &wrongChain, sizeof wrongChain);
		at += record.bytes;
	}
	return bytes;
}

} // namespace

void Tampering::catchUp(World &world)
{
	for (const Late &late : std::exchange(m_lateWrites, {})) world.maps.write({late.id, {}}, late.offset, late.data, false);
	if (m_lateSync && world.steps >= m_lateSync->due) {
		world.blocks.syncVolume(m_lateSync->volume);
		m_lateSync.reset();
	}
}

std::optional<bool> Tampering::write(const Step &step)
{
	if (step.id.kind != ObjectKind::Journal) return std::nullopt;
	if (rule == BrokenRule::AckBeforeRecord) {
		m_lateWrites.push_back(Late{step.id, step.offset, {step.data.begin(), step.data.end()}});
		return true;
	}
	if (rule != BrokenRule::CommitCoversAll) return std::nullopt;
	const Content *now = step.disk.read({step.id, {}});
	if (!now) return false;
	Content &segment = m_segments.try_emplace(step.id, *now).first->second;
	segment.resize(std::max(segment.size(), step.offset + step.data.size()));
	std::copy(step.data.begin(), step.data.end(), segment.begin() + static_cast<ptrdiff_t>(step.offset));
	const Content wrong = withWrongCommits(segment);
	step.disk.write({step.id, {}}, step.offset, std::span(wrong).subspan(step.offset, step.data.size()), false);
	// Harsher on the mapper's own syncs than need be, but not on what is tested: a COMMIT that was written is durable.
	step.disk.sync({step.id, {}});
	return true;
}

std::optional<bool> Tampering::writeFull(const Step &step)
{
	if (rule != BrokenRule::TrimBeforeHeader || step.id.kind != ObjectKind::Header) return std::nullopt;
	const ObjectName object = ObjectName::header(step.id.volume, step.id.epoch);
	const auto header = decodeHeader(object, step.data);
	ARCHIPELAGO_ASSERT(header.has_value());
	bool removed = false;
	for (uint32_t segment = 0; header->journalEpoch && segment < header->firstSegment; ++segment) {
		const Disk::Name name = diskName(ObjectName::journal(step.id.volume, header->journalEpoch, segment));
		removed |= step.disk.exists(name);
		step.disk.remove(name);
		step.disk.sync(name);
	}
	if (!removed) return std::nullopt;
	if (step.world.steps >= step.world.stopAfter) return false; // between the two
	++step.world.steps;
	step.disk.writeFull({step.id, {}}, step.data);
	return true;
}

bool Tampering::putsOffSync(World &world, const VolumeId &volume)
{
	if (rule != BrokenRule::JournalBeforeData) return false;
	m_lateSync = LateSync{volume, world.steps + kStepsOfACommit - 1};
	return true;
}

void Tampering::written(const Step &step)
{
	if (rule != BrokenRule::DiscardRemovesEarly || step.id.kind != ObjectKind::Journal) return;
	const ObjectName object = ObjectName::journal(step.id.volume, step.id.epoch, step.id.index);
	const auto content = decodeSegment(object, *step.disk.read({step.id, {}}));
	if (!content || !*content) return;
	for (const auto &[sequence, change] : (**content).changes) {
		if (change.entry.mapped() || !m_dropped.emplace(step.id, sequence).second) continue;
		ListArgs args;
		args.kind = ObjectKind::Data;
		args.volume = step.id.volume;
		for (const Disk::Name &name : step.world.blocks.list(args)) {
			if (name.id.index < change.block || name.id.index - change.block >= change.count) continue;
			step.world.blocks.remove(name);
			step.world.blocks.sync(name);
		}
	}
}

} // namespace archipelago::mapper::testing
