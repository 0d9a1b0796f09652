// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See checker.h.
#include "tests/crash/checker.h"

#include <algorithm>
#include <set>

namespace archipelago::testing {

namespace {

using store::CrashImage;

constexpr size_t kProblemsToFind = 3;
constexpr unsigned kPieces = 60; ///< of work in a run

class Checker {
public:
	Checker(Rig &rig, const Run &run, uint64_t seed, const Tamper *tamper)
	    : m_rig(rig), m_run(run), m_tamper(tamper), m_random(seed), m_client(rig)
	{
	}
	/// What is wrong with what a cut at that moment left; empty: nothing.
	std::string check(const Left &left, Moment cut, bool twice);
	std::mt19937_64 &random() { return m_random; }

private:
	using Shown = std::map<std::pair<std::string, uint64_t>, uint64_t>;

	void start(Disks &disks, store::Recording *recording);
	std::string names(Moment cut);
	std::string look(Moment cut, Shown &shown);
	std::string lookAgain(const Shown &shown);
	std::string use();

	Rig &m_rig;
	const Run &m_run;
	const Tamper *m_tamper;
	std::mt19937_64 m_random;
	NodeClient m_client;
	std::optional<Node> m_node;
	std::map<std::string, xseg::PortNo> m_sessions;
	uint8_t m_boot = 1;
};

void Checker::start(Disks &disks, store::Recording *recording)
{
	NodeOptions options;
	options.recording = recording;
	options.mapper = Run::mapperOptions();
	if (!m_tamper || !m_tamper->sameBoot) (*options.mapper.bootId)[15] = ++m_boot;
	if (m_tamper) options.tamper = m_tamper->always;
	m_sessions.clear();
	m_node.emplace(m_rig, disks, options);
}

std::string Checker::check(const Left &left, Moment cut, bool twice)
{
	const uint64_t second = m_random(); // how much the second cut draws depends on ids, which are not the seed's
	Shown shown;
	store::Recording recording;
	std::string problem;
	{
		Disks disks(m_rig, left);
		start(disks, &recording);
		problem = names(cut);
		if (problem.empty()) problem = look(cut, shown);
		if (!twice) {
			if (problem.empty()) problem = use();
			for (const auto &[name, session] : m_sessions)
				if (m_client.detach(session) != 0 && problem.empty()) problem = name + " cannot be detached";
			const Result<void> stopped = m_node->stop();
			if (!stopped && problem.empty()) problem = "stop fails: " + stopped.error().message;
		}
		m_node.reset();
	}
	if (!twice || !problem.empty()) return problem;

	Medium medium{CrashImage(left[0]), CrashImage(left[1])};
	for (const store::Step &step : recording) medium[step.store].apply(step);
	std::mt19937_64 random(second);
	Disks disks(m_rig, cutPower(medium, random));
	start(disks, nullptr);
	problem = names(cut);
	if (problem.empty()) problem = lookAgain(shown);
	m_node.reset();
	return problem.empty() ? problem : "after a second power cut: " + problem;
}

std::string Checker::names(Moment cut)
{
	const auto listed = m_client.list();
	if (!listed) return "the volumes cannot be listed";
	std::set<std::string> there(listed->begin(), listed->end());
	if (there.size() != listed->size()) return "a volume is listed twice";
	for (const RunVolume &volume : m_run.volumes()) {
		const bool listedOne = there.erase(volume.name) > 0;
		const bool must = volume.created && *volume.created <= cut && !(volume.removeSent && *volume.removeSent <= cut);
		const bool mustNot = (volume.removed && *volume.removed <= cut) || *volume.createSent >= cut;
		if (must && !listedOne) return volume.name + " was created and is not there";
		if (mustNot && listedOne) return volume.name + " should not be there";
	}
	return there.empty() ? "" : "a volume of a strange name: " + *there.begin();
}

std::string Checker::look(Moment cut, Shown &shown)
{
	for (const RunVolume &volume : m_run.volumes()) {
		if (!volume.created || *volume.created > cut || (volume.removeSent && *volume.removeSent <= cut)) continue;
		const int session = m_client.attach(volume.name);
		if (session <= 0) return volume.name + " cannot be opened: " + std::to_string(session);
		m_sessions[volume.name] = static_cast<xseg::PortNo>(session);
		for (const uint64_t sector : volume.history.sectors()) {
			const auto reply = m_client.call(m_client.io(Op::VolRead, sector * kSectorBytes, kSectorBytes), m_sessions[volume.name]);
			const auto version = reply->status == 0 ? versionOf(reply.data()) : std::nullopt;
			if (!version || !volume.history.allowedAfterPowerCut(sector, *version, cut))
				return volume.name + " sector " + std::to_string(sector) + " reads " +
				       (version ? std::to_string(*version) : "nonsense") + " (status " + std::to_string(reply->status) + "), of" +
				       volume.history.describe(sector);
			shown[{volume.name, sector}] = *version;
		}
	}
	return "";
}

std::string Checker::lookAgain(const Shown &shown)
{
	for (const auto &[where, before] : shown) {
		const auto &[name, sector] = where;
		if (!m_sessions.contains(name)) {
			const int session = m_client.attach(name);
			if (session <= 0) return name + " cannot be opened: " + std::to_string(session);
			m_sessions[name] = static_cast<xseg::PortNo>(session);
		}
		const auto reply = m_client.call(m_client.io(Op::VolRead, sector * kSectorBytes, kSectorBytes), m_sessions[name]);
		const auto version = reply->status == 0 ? versionOf(reply.data()) : std::nullopt;
		if (version != before)
			return name + " sector " + std::to_string(sector) + " showed " + std::to_string(before) + " and now reads " +
			       (version ? std::to_string(*version) : "nonsense") + " (status " + std::to_string(reply->status) + ")";
	}
	return "";
}

/// Something in a block that may be mapped and something in one that may not be.
std::string Checker::use()
{
	for (const auto &[name, session] : m_sessions) {
		for (const uint64_t block : {uint64_t{0}, Run::kBlocks - 1}) {
			const uint64_t offset = block * kBlockBytes + 64 * kSectorBytes, version = 1u << 20 | block;
			xseg::RequestRef write = m_client.io(Op::VolWrite, offset, kSectorBytes);
			fillSector(write.data(), version);
			if (m_client.call(std::move(write), session)->status != 0) return name + " cannot be written";
			if (m_client.call(m_client.io(Op::VolFlush, 0, 0), session)->status != 0) return name + " cannot be flushed";
			const auto reply = m_client.call(m_client.io(Op::VolRead, offset, kSectorBytes), session);
			if (reply->status != 0 || versionOf(reply.data()) != version) return name + " does not read what was written";
		}
	}
	return "";
}

/// Over the step at that moment, and the power cut before it if there was one.
void advance(Medium &medium, const Run &run, Moment moment)
{
	if (const auto left = run.powerCuts().find(moment); left != run.powerCuts().end())
		for (size_t i = 0; i < medium.size(); ++i) medium[i].keepOnly(left->second[i]);
	const store::Step &step = run.recording()[moment];
	medium[step.store].apply(step);
}

std::vector<Moment> moments(const Run &run, std::mt19937_64 &random, const CheckOptions &options)
{
	const std::set<Moment> promised(run.promises().begin(), run.promises().end());
	std::vector<Moment> all(promised.begin(), promised.end());
	for (Moment moment = 0; moment <= run.recording().size(); ++moment)
		if (!promised.contains(moment) && random() % options.oneMomentIn == 0) all.push_back(moment);
	std::shuffle(all.begin(), all.end(), random);
	if (all.size() > options.maxCuts) all.resize(options.maxCuts);
	std::sort(all.begin(), all.end());
	return all;
}

} // namespace

CheckResult checkRun(Rig &rig, const Run &run, uint64_t seed, const CheckOptions &options, const Tamper *tamper)
{
	Checker checker(rig, run, seed, tamper);
	CheckResult result;
	Medium medium;
	Moment now = 0;
	for (const Moment cut : moments(run, checker.random(), options)) {
		for (; now < cut; ++now) advance(medium, run, now);
		// At the very moment of a power cut of the run itself: the one it had.
		if (run.powerCuts().contains(cut)) continue;
		++result.cuts;
		for (unsigned image = 0; image < options.imagesPerCut; ++image) {
			const Left left = cutPower(medium, checker.random());
			const std::string problem = checker.check(left, cut, image == 0 && checker.random()() % 4 == 0);
			++result.images;
			if (!problem.empty())
				result.problems.push_back("power cut at " + std::to_string(cut) + ", image " + std::to_string(image) + ": " + problem);
			if (result.problems.size() >= kProblemsToFind) return result;
		}
	}
	for (; now < run.recording().size(); ++now) advance(medium, run, now);
	for (const CrashImage &image : medium)
		for (const auto &[id, name] : image.violations())
			result.problems.push_back("a name was used twice: kind " + std::string(1, static_cast<char>(id.kind)) + " epoch " +
			                          std::to_string(id.epoch) + " index " + std::to_string(id.index));
	return result;
}

std::vector<std::string> playAndCheck(uint64_t seed, const Tamper *tamper, std::string *counts)
{
	Rig runRig, checkRig;
	Run run(runRig, seed, tamper);
	run.play(kPieces);
	std::vector<std::string> problems = run.problems();
	CheckResult checked;
	if (problems.empty()) {
		checked = checkRun(checkRig, run, seed, CheckOptions{}, tamper);
		problems = checked.problems;
	}
	const Run::Counts &c = run.counts();
	const auto chunks = std::ranges::count_if(run.recording(), [](const store::Step &step) {
		return step.op == Op::ObjWriteFull && step.id.kind == ObjectKind::Chunk;
	});
	if (counts)
		*counts = "seed " + std::to_string(seed) + ": " + std::to_string(run.recording().size()) + " steps, " +
		          std::to_string(c.writes) + " writes, " + std::to_string(c.reads) + " reads, " + std::to_string(c.trims) +
		          " trims, " + std::to_string(c.flushes) + " flushes, " + std::to_string(c.creates) + " creates, " +
		          std::to_string(c.removes) + " removes, " + std::to_string(c.restarts) + " restarts, " +
		          std::to_string(c.kills) + " kills, " + std::to_string(c.powerCuts) + " power cuts, " + std::to_string(chunks) + " chunks written; " + std::to_string(checked.cuts) + " cuts, " +
		          std::to_string(checked.images) + " images";
	return problems;
}

uint64_t seedThatShows(const Tamper &tamper, uint64_t runs, std::string &shown)
{
	for (uint64_t seed = 1; seed <= runs; ++seed) {
		const auto problems = playAndCheck(seed, &tamper, nullptr);
		if (problems.empty() || problems.front().find(tamper.shows) == std::string::npos) continue;
		shown = "seen with seed " + std::to_string(seed) + ": " + problems.front();
		return seed;
	}
	shown = "not seen in " + std::to_string(runs) + " runs";
	return 0;
}

} // namespace archipelago::testing
