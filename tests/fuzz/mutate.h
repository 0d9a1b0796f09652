// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Mutation for fuzzers, and the loop that runs them. Plain programs, no compiler support needed; best under asan.
//
// Input number i of seed s is a pure function of (s, i, corpus, dictionary): what failed is made again by
//     fuzz_x --seed S --only I
// which the loop prints when an input crashes, aborts, fails a check or takes longer than 10 s. Corpus entries that crash a
// parser belong into the corpus for good. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace archipelago::fuzz {

/// splitmix64: small, fast, and the same numbers everywhere.
class Random {
public:
	explicit Random(uint64_t seed) : m_state(seed) {}
	uint64_t next();
	/// 0..bound-1; 0 for bound 0. The bias does not matter here.
	std::size_t below(std::size_t bound) { return bound == 0 ? 0 : static_cast<std::size_t>(next() % bound); }
	bool oneIn(std::size_t n) { return below(n) == 0; }

private:
	uint64_t m_state;
};

struct Material {
	std::vector<std::string> corpus;     ///< valid inputs to start from; at least one, may be empty text
	std::vector<std::string> dictionary; ///< tokens of the format
	std::size_t maxBytes = 64 << 10;     ///< inputs grow to this
};

/// One input: a corpus entry with a few random edits (bits, bytes, numbers, tokens, pieces moved, copied or cut, splices with
/// another entry), now and then nothing but noise.
std::string makeInput(Random &random, const Material &material);

/// Runs `target` on input after input. Arguments: [--seed N] [--seconds N | --iterations N] [--only N] [--show]; environment:
/// ARCHIPELAGO_FUZZ_SEED, ARCHIPELAGO_FUZZ_SECONDS. Without a seed a random one, printed; without a length 3 s.
/// `target` returns empty text when all is well, else what is wrong with how the input was treated. Returns the exit code.
int run(int argc, char **argv, const Material &material, const std::function<std::string(std::string_view)> &target);

/// The whole file; ends the program when it cannot be read.
std::string readFile(const std::string &path);

} // namespace archipelago::fuzz
