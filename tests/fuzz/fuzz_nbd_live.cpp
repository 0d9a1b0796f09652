// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Fuzzes a living host over its real socket: fuzz_nbd_live SOCKET VOLUME [arguments of mutate.h]; tests/system/test_fuzz.py
// starts the instance and looks at what the host holds afterwards. The volume is kVolumeBytes long and nobody else's.
//
// An input is a script for kClients connections at once, each with a region of its own (live_client.h). Each step takes a
// connection and has it do something: negotiate in its own way, send commands good and bad without waiting, in any pieces; take
// replies or not; send half a write, or rubbish; leave politely, by half, or at once. Whatever the others do, a client that kept
// the framing gets every command answered once, errors where they are deserved, and from its region what was acknowledged.
#include "tests/fuzz/live_client.h"
#include "tests/fuzz/mutate.h"

#include <cstdio>

using namespace archipelago;
using namespace archipelago::fuzz;
using archipelago::testing::Wire;

namespace {

constexpr size_t kClients = 6;
constexpr uint64_t kVolumeBytes = kClients * kRegionBytes;
constexpr uint32_t kMost = 128 * 1024; ///< of most commands; a few are as long as the region
constexpr uint16_t kRead = 0, kWrite = 1, kFlush = 3, kTrim = 4, kZero = 6, kStatus = 7;

/// What a script's bytes mean; when they have run out, noughts.
struct Script {
	std::string_view bytes;
	bool more() const { return !bytes.empty(); }
	uint32_t u8()
	{
		if (bytes.empty()) return 0;
		const auto value = static_cast<uint8_t>(bytes.front());
		bytes.remove_prefix(1);
		return value;
	}
	uint32_t u16() { return u8() << 8 | u8(); }
	uint32_t u32() { return u16() << 16 | u16(); }
	std::string text(size_t length)
	{
		const std::string out(bytes.substr(0, length));
		bytes.remove_prefix(out.size());
		return out;
	}
};

struct Player {
	std::string path, volume;
	std::vector<Region> regions;
	std::vector<std::unique_ptr<LiveClient>> clients;

	Player(std::string socket, std::string name) : path(std::move(socket)), volume(std::move(name))
	{
		for (size_t i = 0; i < kClients; ++i) regions.emplace_back(i * kRegionBytes);
		for (Region &region : regions) clients.push_back(std::make_unique<LiveClient>(path, region));
	}

	std::string play(std::string_view input)
	{
		Script script{input};
		std::string wrong;
		while (script.more() && wrong.empty()) {
			const size_t who = script.u8() % kClients;
			LiveClient &client = *clients[who];
			wrong = client.transmits() ? step(client, regions[who], script) : negotiate(client, script);
			if (!wrong.empty()) wrong = "client " + std::to_string(who) + ": " + wrong;
		}
		for (size_t who = 0; who < kClients && wrong.empty(); ++who) {
			if (clients[who]->transmits() && !clients[who]->rude()) wrong = lookAt(*clients[who], regions[who].offset(), kRegionBytes);
			if (wrong.empty()) wrong = clients[who]->finish(who % 2);
		}
		for (auto &client : clients) client->close();
		return wrong;
	}

	// ---- the handshake
	std::string negotiate(LiveClient &client, Script &script)
	{
		std::string wrong = client.connect();
		const uint32_t odd = script.u8();
		if (!wrong.empty() || odd == 255) return wrong; // leaves without a word
		const bool fixed = odd < 248;
		if (wrong = client.flags(fixed ? odd % 8 ? 3 : 1 : script.u32()); !wrong.empty()) return wrong;
		if (!fixed) return client.option(3, "");
		for (uint32_t n = script.u8() % 8 < 6 ? 0 : script.u8() % 6; n && wrong.empty() && !client.over(); --n) wrong = anyOption(client, script);
		if (!wrong.empty() || client.over()) return wrong;
		const uint32_t dialect = script.u8() % 4;
		if (dialect) wrong = client.option(8, "");
		if (wrong.empty() && dialect > 1 && client.structured()) wrong = client.option(10, contexts("base:allocation"));
		if (!wrong.empty() || client.over()) return wrong;
		wrong = client.go(volume, script.u8() % 8 == 7);
		if (wrong.empty() && !client.transmits()) return client.over() ? "the server left when it was asked for the volume" : "the volume was refused: " + client.refusal();
		return wrong;
	}
	std::string contexts(std::string_view query) const
	{
		return Wire().u32(static_cast<uint32_t>(volume.size())).text(volume).u32(1).u32(static_cast<uint32_t>(query.size())).text(query);
	}
	std::string anyOption(LiveClient &client, Script &script)
	{
		switch (script.u8() % 10) {
		case 0: return client.option(3, "");
		case 1: return client.option(6, Wire().u32(static_cast<uint32_t>(volume.size())).text(volume).u16(1).u16(static_cast<uint16_t>(script.u8() % 5)).bytes());
		case 2: return client.go("no such volume", false);
		case 3: return client.option(5, "");
		case 4: return client.option(9, contexts(script.u8() % 2 ? "base:" : script.text(script.u8() % 30)));
		case 5: return client.option(10, script.text(script.u8() % 40));
		case 6: return client.option(7, script.text(script.u8() % 40));
		case 7: return client.option(script.u8(), std::string(script.u8() % 4 ? script.u8() : script.u16(), 'o'));
		case 8: return client.option(script.u8() % 12, script.text(8), std::max(script.u32(), 9u)); // the rest never comes
		default: return client.option(2, "");
		}
	}

	// ---- the transmission
	std::string step(LiveClient &client, Region &region, Script &script)
	{
		const uint32_t what = script.u8();
		if (client.rude()) return what % 4 ? client.finish(false) : (client.close(), std::string());
		if (what < 150) return good(client, region, script);
		if (what < 200) return bad(client, region, script);
		if (what < 215) return client.receive(false);
		if (what < 228) return client.receive(true);
		if (what < 238) return lookAt(client, place(region, script), 64 * kSector);
		if (what < 242) return client.finish(script.u8() % 2);
		if (what < 246) return client.halfWrite(region.offset(), kSector * (1 + script.u16() % 4096), script.u16() * 16);
		if (what < 250) return rubbish(client, script);
		client.close();
		return {};
	}
	/// In the region, at least 64 sectors before its end.
	static uint64_t place(const Region &region, Script &script) { return region.offset() + script.u16() % (kRegionBytes / kSector - 64) * kSector; }

	std::string good(LiveClient &client, Region &region, Script &script)
	{
		static constexpr uint16_t kTypes[] = {kRead, kRead, kRead, kWrite, kWrite, kWrite, kWrite, kWrite, kTrim, kZero, kZero, kStatus};
		LiveCommand command;
		const uint32_t choice = script.u8();
		command.type = choice == 255 ? kFlush : kTypes[choice % std::size(kTypes)];
		if (command.type == kStatus && !client.allocation()) command.type = kRead;
		const bool all = script.u8() == 255;
		command.offset = all ? region.offset() : place(region, script);
		command.length = all ? static_cast<uint32_t>(kRegionBytes) : kSector * (script.u8() % (script.u8() % 8 ? 16 : 65));
		command.length = std::min(command.length, all ? static_cast<uint32_t>(kRegionBytes) : kMost);
		if (command.type == kStatus && !command.length) command.length = kSector;
		if (command.type == kFlush) command.offset = command.length = 0;
		if (command.type == kZero) command.flags = script.u8() % 2 * 2; // NO_HOLE
		if (command.type == kZero && script.u8() % 16 == 0) command.flags = 16, command.expect = Expect::Either; // FAST_ZERO
		if (command.type == kRead && client.structured()) command.flags = script.u8() % 2 * 4; // DF
		if (command.type == kStatus) command.flags = script.u8() % 2 * 8; // REQ_ONE
		const bool fua = script.u8() > 250;
		if (fua) command.flags |= 1;
		static constexpr size_t kPieces[] = {1, 27, 28, 29, 600, 1023, 1024, 1025, 4096};
		const uint32_t pieces = script.u8();
		return client.command(command, pieces < 200 || all ? 0 : kPieces[pieces % std::size(kPieces)]);
	}

	/// In step, and refused: each of these must get an error and change nothing.
	static std::string bad(LiveClient &client, const Region &region, Script &script)
	{
		LiveCommand command{kRead, 0, region.offset(), kSector, Expect::Error};
		static constexpr uint16_t kTypes[] = {kRead, kWrite, kTrim, kZero};
		command.type = kTypes[script.u8() % std::size(kTypes)];
		switch (script.u8() % 7) {
		case 0: command.offset += 1 + script.u8() % 511; break;
		case 1: command.length = 1 + script.u16() % 511; break;
		case 2: command.offset = kVolumeBytes + script.u16() * kSector; break;
		case 3: command.offset = kVolumeBytes - kSector, command.length = 2 * kSector; break;
		case 4: command.offset = UINT64_MAX - 511 - script.u8() * kSector; break;
		case 5: command.flags = static_cast<uint16_t>(1u << (5 + script.u8() % 11)); break;
		default: // a type that is not there; WRITE's number would have a payload
			command.type = static_cast<uint16_t>(8 + script.u16() % 60000);
			command.length = script.u32();
		}
		return client.command(command);
	}

	static std::string rubbish(LiveClient &client, Script &script)
	{
		std::string bytes = script.text(script.u8()) + std::string(script.u16() % 2000, static_cast<char>(script.u8()));
		if (bytes.empty()) bytes = "?";
		bytes[0] = 'x'; // a command it never is: who knows what it would write
		return client.raw(bytes);
	}

	/// Everything is answered, and what is there is what was acknowledged.
	static std::string lookAt(LiveClient &client, uint64_t offset, uint64_t length)
	{
		std::string wrong = client.receive(true);
		if (wrong.empty() && client.transmits()) wrong = client.command({kRead, 0, offset, static_cast<uint32_t>(length), Expect::Success});
		return wrong.empty() ? client.receive(true) : wrong;
	}
};

fuzz::Material material()
{
	// Long random scripts: the bytes choose, so any of them are a script. The seed decides; mutation does the rest.
	fuzz::Material out;
	Random random(1);
	for (int i = 0; i < 24; ++i) {
		std::string text(100 + random.below(700), '\0');
		for (char &c : text) c = static_cast<char>(random.next());
		out.corpus.push_back(std::move(text));
	}
	out.maxBytes = 1500;
	return out;
}

} // namespace

int main(int argc, char **argv)
{
	if (argc < 3) {
		std::fprintf(stderr, "usage: %s SOCKET VOLUME [--seed N] [--seconds N | --iterations N] [--only N] [--show]\n", argv[0]);
		return 2;
	}
	Player player(argv[1], argv[2]);
	std::string name = std::string(argv[0]) + " " + argv[1] + " " + argv[2];
	argv[2] = name.data();
	return fuzz::run(argc - 2, argv + 2, material(), [&player](std::string_view input) { return player.play(input); });
}
