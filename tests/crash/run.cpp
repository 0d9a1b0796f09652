// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See run.h.
#include "tests/crash/run.h"

#include <algorithm>

namespace archipelago::testing {

namespace {

constexpr uint64_t kSectorsPerBlock = kBlockBytes / kSectorBytes, kSectorsPerPiece = 8; ///< pieces of 4 KiB
/// The pieces of a block that are used: few, so that they are written often.
constexpr uint64_t kPieces[] = {0, 1, 512, 1023};

bool overlap(uint64_t a, uint64_t aCount, uint64_t b, uint64_t bCount) { return a < b + bCount && b < a + aCount; }

} // namespace

Run::Run(Rig &rig, uint64_t seed, const Tamper *tamper) : m_rig(rig), m_tamper(tamper), m_work(tamper ? tamper->work : Work()), m_random(seed), m_client(rig)
{
	m_disks.emplace();
	startNode();
	createVolume();
	createVolume();
}

Run::~Run() = default;

void Run::unlessCrashed(const std::string &text)
{
	if (!m_node->crashed()) problem(text);
}

void Run::problem(const std::string &text)
{
	m_problems.push_back("at " + std::to_string(now()) + ": " + text);
}

mapper::MapperOptions Run::mapperOptions()
{
	mapper::MapperOptions options;
	options.bootId = mapper::BootId{1};
	options.limits.epochsPerHeader = 8;
	options.limits.segmentBytes = 8u << 10;
	options.limits.checkpointBytes = 16u << 10;
	options.limits.journalBytes = 64u << 10;
	return options;
}

void Run::startNode()
{
	NodeOptions options;
	options.recording = &m_recording;
	options.mapper = mapperOptions();
	(*options.mapper.bootId)[14] = m_boots;
	if (m_tamper) options.tamper = m_tamper->always;
	m_node.emplace(m_rig, *m_disks, options);
}

void Run::play(unsigned pieces)
{
	for (unsigned i = 0; i < pieces && m_problems.empty(); ++i) {
		uint64_t what = pick(100);
		const auto isIt = [&what](unsigned percent) { return what < percent || (what -= percent, false); };
		if (isIt(100 - m_work.creates - m_work.removes - m_work.restarts - m_work.kills - m_work.powerCuts))
			someIo();
		else if (isIt(m_work.creates))
			createVolume();
		else if (isIt(m_work.removes))
			removeVolume();
		else if (isIt(m_work.restarts))
			restart();
		else
			kill(isIt(m_work.kills) ? After::Kill : After::PowerCut);
	}
	m_node->kill();
}

RunVolume *Run::anyLive()
{
	std::vector<RunVolume *> live;
	for (RunVolume &volume : m_volumes)
		if (volume.live() && volume.session) live.push_back(&volume);
	return live.empty() ? nullptr : live[pick(live.size())];
}

// ---- reads, writes, flushes

/// Up to five requests at once, on ranges that do not touch each other.
void Run::someIo()
{
	for (uint64_t n = 1 + pick(5); n > 0; --n) {
		RunVolume *volume = anyLive();
		if (!volume) return;
		Sent sent{volume, Op::VolFlush, 0, 0, false, {}, {}};
		uint64_t what = pick(100);
		const auto isIt = [&what](unsigned percent) { return what < percent || (what -= percent, false); };
		sent.op = isIt(m_work.flushes) ? Op::VolFlush : isIt(m_work.reads) ? Op::VolRead : isIt(m_work.trims) ? Op::VolTrim
		          : isIt(m_work.zeros) ? Op::VolZero : Op::VolWrite;
		if (sent.op != Op::VolFlush && !range(sent)) continue;
		sent.fua = sent.op != Op::VolFlush && sent.op != Op::VolRead && pick(8) == 0;
		send(std::move(sent));
	}
	awaitAll();
}

/// A piece, two that touch (perhaps in two blocks), or some sectors of one. False: somebody is there.
bool Run::range(Sent &sent)
{
	const uint64_t block = pick(kBlocks), piece = kPieces[pick(std::size(kPieces))];
	sent.sector = block * kSectorsPerBlock + piece * kSectorsPerPiece;
	sent.sectors = kSectorsPerPiece;
	const bool another = piece == 0 || (piece == 1023 && block + 1 < kBlocks);
	if (const uint64_t form = pick(4); form == 0 && another) {
		sent.sectors *= 2;
	} else if (form == 1) {
		sent.sector += pick(4);
		sent.sectors = 1 + pick(4);
	}
	if ((sent.op == Op::VolTrim || sent.op == Op::VolZero) && pick(2)) wideRange(sent);
	return !taken(sent);
}

/// A block, two, or from the middle of one to the middle of another.
void Run::wideRange(Sent &sent)
{
	const uint64_t first = pick(kBlocks), end = std::min(kBlocks, first + 1 + pick(2));
	const uint64_t fromMiddle = pick(3) == 0 ? 4 * kSectorsPerPiece : 0, toMiddle = pick(3) == 0 ? 511 * kSectorsPerPiece : 0;
	sent.sector = first * kSectorsPerBlock + fromMiddle;
	sent.sectors = end * kSectorsPerBlock - toMiddle - sent.sector;
}

bool Run::taken(const Sent &sent) const
{
	for (const auto &[index, other] : m_sent)
		if (other.volume == sent.volume && overlap(sent.sector, sent.sectors, other.sector, other.sectors)) return true;
	return false;
}

void Run::send(Sent sent)
{
	const bool filled = sent.op == Op::VolZero && sent.sectors <= 2 * kSectorsPerPiece && pick(2);
	xseg::RequestRef request = m_client.io(sent.op, sent.sector * kSectorBytes, sent.sectors * kSectorBytes,
	                                       (sent.fua ? kFlagFua : 0u) | (filled ? kFlagNoHole : 0u));
	History &history = sent.volume->history;
	if (sent.op == Op::VolWrite) {
		for (uint64_t i = 0; i < sent.sectors; ++i) {
			fillSector(request.data().subspan(i * kSectorBytes, kSectorBytes), ++m_versions);
			history.sent(sent.sector + i, m_versions, now());
			sent.changed.push_back(sent.sector + i);
		}
	}
	if (sent.op == Op::VolTrim || sent.op == Op::VolZero) {
		// Where nothing was ever written there are zeros already.
		for (const uint64_t sector : history.sectors())
			if (sector >= sent.sector && sector < sent.sector + sent.sectors) sent.changed.push_back(sector);
		for (const uint64_t sector : sent.changed) history.sent(sector, 0, now());
	}
	if (sent.op == Op::VolFlush) sent.vouched = history.vouched();
	const xseg::PortNo session = sent.volume->session;
	m_sent.emplace(request.index(), std::move(sent));
	m_client.actor().submit(std::move(request), session);
}

void Run::awaitAll()
{
	while (!m_sent.empty()) {
		const xseg::RequestRef reply = m_client.actor().reply();
		if (!reply) {
			m_sent.clear();
			return problem("a request is not answered");
		}
		const auto sent = m_sent.extract(reply.index());
		answered(sent.mapped(), reply);
	}
}

void Run::answered(const Sent &sent, const xseg::RequestRef &reply)
{
	if (reply->status != 0) {
		if (!m_node->crashed()) problem("I/O fails with " + std::to_string(reply->status));
		return;
	}
	History &history = sent.volume->history;
	switch (sent.op) {
	case Op::VolWrite:
	case Op::VolTrim:
	case Op::VolZero:
		++(sent.op == Op::VolWrite ? m_counts.writes : m_counts.trims);
		for (const uint64_t sector : sent.changed) history.acknowledged(sector);
		if (!sent.fua) break;
		for (const uint64_t sector : sent.changed) history.durable(sector, now());
		promise();
		break;
	case Op::VolRead:
		++m_counts.reads;
		for (uint64_t i = 0; i < sent.sectors; ++i) {
			const auto version = versionOf(reply.data().subspan(i * kSectorBytes, kSectorBytes));
			if (version && history.allowedAfterKill(sent.sector + i, *version)) continue;
			problem(sent.volume->name + " sector " + std::to_string(sent.sector + i) + " reads " +
			        std::to_string(version.value_or(~0ull)) + " (status 0), of" + history.describe(sent.sector + i));
			return;
		}
		break;
	default:
		++m_counts.flushes;
		history.flushed(sent.vouched, now());
		promise();
	}
}

// ---- volumes

void Run::createVolume()
{
	unsigned live = 0;
	for (const RunVolume &volume : m_volumes) live += volume.live();
	if (live >= 3) return;
	RunVolume &volume = m_volumes.emplace_back();
	volume.name = "volume-" + std::to_string(m_volumes.size());
	volume.createSent = now();
	if (const int32_t status = m_client.create(volume.name, kVolumeBytes); status != 0)
		return unlessCrashed("creation of " + volume.name + " fails with " + std::to_string(status));
	++m_counts.creates;
	volume.created = now();
	promise();
	const int session = m_client.attach(volume.name);
	if (session <= 0) return unlessCrashed(volume.name + " cannot be attached: " + std::to_string(session));
	volume.session = static_cast<xseg::PortNo>(session);
}

void Run::removeVolume()
{
	unsigned live = 0;
	for (const RunVolume &other : m_volumes) live += other.live();
	RunVolume *volume = anyLive();
	if (live < 2 || !volume) return;
	if (m_client.detach(std::exchange(volume->session, xseg::PortNo{0})) != 0) return unlessCrashed("detach fails");
	volume->removeSent = now();
	if (const int32_t status = m_client.remove(volume->name); status != 0)
		return unlessCrashed("removal of " + volume->name + " fails with " + std::to_string(status));
	++m_counts.removes;
	volume->removed = now();
	promise();
}

// ---- restarts

void Run::restart()
{
	for (RunVolume &volume : m_volumes) {
		if (!volume.session) continue;
		if (m_tamper && m_tamper->beforeClose) m_tamper->beforeClose(m_node->blocks(), m_node->maps());
		if (m_client.detach(std::exchange(volume.session, xseg::PortNo{0})) != 0) return problem("detach fails");
	}
	const Result<void> stopped = m_node->stop();
	if (!stopped) return problem("stop fails: " + stopped.error().message);
	for (RunVolume &volume : m_volumes) volume.history.flushed(volume.history.vouched(), now());
	++m_counts.restarts;
	promise();
	startNode();
	attachAll(After::Restart);
}

/// At a quiet moment, or some steps later in the middle of work.
void Run::kill(After what)
{
	if (pick(2)) {
		(pick(2) ? m_node->blocks() : m_node->maps()).crashAfter(1 + pick(6));
		for (int i = 0; i < 8 && !m_node->crashed() && m_problems.empty(); ++i) {
			const uint64_t work = pick(6);
			work == 0 ? createVolume() : work == 1 ? removeVolume() : someIo();
		}
	}
	if (!m_problems.empty()) return;
	for (RunVolume &volume : m_volumes) volume.session = 0;
	m_node->kill();
	++(what == After::Kill ? m_counts.kills : m_counts.powerCuts);
	if (what == After::PowerCut) losePower();
	startNode();
	settleNames();
	attachAll(what);
}

void Run::losePower()
{
	for (; m_applied < now(); ++m_applied) m_medium[m_recording[m_applied].store].apply(m_recording[m_applied]);
	const Left left = cutPower(m_medium, m_random);
	for (size_t i = 0; i < m_medium.size(); ++i) m_medium[i].keepOnly(left[i]);
	m_powerCuts[now()] = left;
	m_node.reset();
	m_disks.emplace(m_rig, left);
	if (!m_tamper || !m_tamper->sameBoot) ++m_boots;
}

/// What was being created or removed either is or is not, from now on. Headers and names are durable when written, so a
/// removal that is not seen now has left nothing.
void Run::settleNames()
{
	const auto listed = m_client.list();
	if (!listed) return problem("the volumes cannot be listed after a crash");
	for (RunVolume &volume : m_volumes) {
		const bool there = std::ranges::find(*listed, volume.name) != listed->end();
		if (!volume.created && !volume.removed) {
			if (there)
				volume.created = now();
			else
				volume.removeSent = volume.removed = now();
		} else if (volume.removeSent && !volume.removed) {
			if (there)
				volume.removeSent.reset();
			else
				volume.removed = now();
		} else if (there != volume.live()) {
			problem(volume.name + (there ? " is there again after a crash" : " is not there after a crash"));
		}
	}
}

/// Every volume is there and shows what it may.
void Run::attachAll(After what)
{
	for (RunVolume &volume : m_volumes) {
		if (!volume.live()) continue;
		const int session = m_client.attach(volume.name);
		if (session <= 0)
			return problem(volume.name + " cannot be attached after a " +
			               (what == After::Restart ? "restart: " : what == After::Kill ? "kill: " : "power cut: ") +
			               std::to_string(session));
		volume.session = static_cast<xseg::PortNo>(session);
		look(volume, what);
	}
	promise();
}

void Run::look(RunVolume &volume, After what)
{
	for (const uint64_t sector : volume.history.sectors()) {
		const auto reply = m_client.call(m_client.io(Op::VolRead, sector * kSectorBytes, kSectorBytes), volume.session);
		const auto version = reply->status == 0 ? versionOf(reply.data()) : std::nullopt;
		const bool allowed = version && (what == After::PowerCut ? volume.history.allowedAfterPowerCut(sector, *version, now())
		                                                        : volume.history.allowedAfterKill(sector, *version));
		if (!allowed)
			return problem(volume.name + " sector " + std::to_string(sector) + " reads " +
			               std::to_string(version.value_or(~0ull)) + " (status " + std::to_string(reply->status) +
			               ") after a restart, of" + volume.history.describe(sector));
		volume.history.shown(sector, *version, now());
	}
}

} // namespace archipelago::testing
