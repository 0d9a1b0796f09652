// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See mutate.h. A crash is reported from the signal handler (or the sanitizer's death callback) with nothing but write():
// which input it was is all that is needed to have it again.
#include "tests/fuzz/mutate.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include <unistd.h>

extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace archipelago::fuzz {

namespace {

constexpr unsigned kHangSeconds = 10;
constexpr std::string_view kNumbers[] = {
	"0", "1", "-1", "255", "65536", "2147483647", "4294967295", "4294967296", "9223372036854775807", "18446744073709551615",
	"18446744073709551616", "0x7f", "1e308", "nan",
};

void insert(std::string &input, std::size_t at, std::string_view piece) { input.insert(at, piece); }

std::string_view somePiece(Random &random, std::string_view from)
{
	const std::size_t begin = random.below(from.size());
	return from.substr(begin, 1 + random.below(std::min<std::size_t>(from.size() - begin, 64)));
}

/// Replaces a run of digits, when there is one behind a random place.
void changeNumber(Random &random, std::string &input)
{
	const std::size_t begin = input.find_first_of("0123456789", random.below(input.size()));
	if (begin == std::string::npos) return;
	const std::size_t end = std::min(input.find_first_not_of("0123456789", begin), input.size());
	input.replace(begin, end - begin, kNumbers[random.below(std::size(kNumbers))]);
}

/// Little- or big-endian integers near a boundary, for binary formats.
void changeWord(Random &random, std::string &input)
{
	const std::size_t width = std::size_t{1} << random.below(4);
	if (input.size() < width) return;
	static constexpr std::array<uint64_t, 8> kEdges{
		0, 1, 0x7f, 0x80, 0x7fffffff, 0x80000000, 0xffffffffffffffff, 0x7fffffffffffffff};
	uint64_t value = kEdges[random.below(kEdges.size())] + random.below(3) - 1;
	const bool big = random.oneIn(2);
	const std::size_t at = random.below(input.size() - width + 1);
	for (std::size_t i = 0; i < width; ++i, value >>= 8)
		input[big ? at + width - 1 - i : at + i] = static_cast<char>(value);
}

void mutateOnce(Random &random, std::string &input, const Material &material)
{
	const std::size_t at = random.below(input.size() + 1);
	const auto token = [&]() -> std::string_view {
		return material.dictionary.empty() ? std::string_view("\n")
		                                   : material.dictionary[random.below(material.dictionary.size())];
	};
	if (input.empty()) return insert(input, 0, token());
	const std::size_t byte = random.below(input.size());
	switch (random.below(13)) {
	case 0: input[byte] = static_cast<char>(input[byte] ^ static_cast<char>(1u << random.below(8))); return;
	case 1: input[byte] = static_cast<char>(random.next()); return;
	case 2: return insert(input, at, std::string(1 + random.below(4), static_cast<char>(random.next())));
	case 3: input.erase(byte, 1 + random.below(std::min<std::size_t>(input.size(), 32))); return;
	case 4: return insert(input, at, std::string(somePiece(random, input)));
	case 5: return insert(input, at, somePiece(random, material.corpus[random.below(material.corpus.size())] + "\n"));
	case 6:
	case 7: return insert(input, at, token());
	case 8: { // a token in place of what stands there
		const std::string_view word = token();
		input.replace(byte, std::min(word.size(), input.size() - byte), word);
		return;
	}
	case 9: return changeNumber(random, input);
	case 10: return changeWord(random, input);
	case 11: input.resize(byte); return;
	default: { // the same piece very often: depth and length
		const std::string piece(somePiece(random, random.oneIn(2) ? std::string(token()) : input));
		const std::size_t room = material.maxBytes - std::min(material.maxBytes, input.size());
		std::string many;
		for (std::size_t n = random.below(1 + room / piece.size() / (random.oneIn(8) ? 1 : 64)); n > 0; --n)
			many += piece;
		return insert(input, at, many);
	}
	}
}

uint64_t g_seed, g_iteration;
char g_program[128];

void appendNumber(char *&end, uint64_t number) { end = std::to_chars(end, end + 20, number).ptr; }

/// Async-signal-safe.
void sayWhere(const char *what)
{
	char line[256];
	char *end = line;
	const auto add = [&end](const char *text) {
		const std::size_t size = std::strlen(text);
		std::memcpy(end, text, size);
		end += size;
	};
	add(what);
	add(". Again with: ");
	add(g_program);
	add(" --seed ");
	appendNumber(end, g_seed);
	add(" --only ");
	appendNumber(end, g_iteration);
	add("\n");
	[[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line, static_cast<std::size_t>(end - line));
}

extern "C" void onDeath() { sayWhere("Died"); }
extern "C" void onSignal(int number)
{
	sayWhere(number == SIGALRM ? "No end after 10 s" : "Crashed");
	std::signal(number, SIG_DFL);
	::raise(number);
}

void watchForDeath()
{
	std::signal(SIGALRM, onSignal);
	if (__sanitizer_set_death_callback != nullptr) {
		__sanitizer_set_death_callback(onDeath);
		return;
	}
	for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) std::signal(number, onSignal);
}

/// Digits or the end of the program.
uint64_t numberOf(const char *text)
{
	char *end = nullptr;
	errno = 0;
	const uint64_t number = std::strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0') {
		std::fprintf(stderr, "not a number: %s\n", text);
		std::exit(2);
	}
	return number;
}

struct Plan {
	uint64_t seed = 0, iterations = UINT64_MAX, first = 0;
	uint64_t seconds = 3;
	bool show = false;
};

Plan planFrom(int argc, char **argv)
{
	Plan plan;
	const char *const seed = std::getenv("ARCHIPELAGO_FUZZ_SEED"), *const seconds = std::getenv(
																	   "ARCHIPELAGO_FUZZ_SECONDS");
	plan.seed = seed != nullptr ? numberOf(seed) : std::random_device{}();
	if (seconds != nullptr) plan.seconds = numberOf(seconds);
	for (int i = 1; i < argc; ++i) {
		const std::string_view option = argv[i];
		if (option == "--show") {
			plan.show = true;
			continue;
		}
		if (i + 1 == argc) {
			std::fprintf(stderr, "usage: %s [--seed N] [--seconds N | --iterations N] [--only N] [--show]\n", argv[0]);
			std::exit(2);
		}
		const uint64_t value = numberOf(argv[++i]);
		if (option == "--seed") plan.seed = value;
		if (option == "--seconds") plan.seconds = value;
		if (option == "--iterations") plan.iterations = value;
		if (option == "--only") {
			plan.first = value;
			plan.iterations = 1;
		}
		if (option == "--iterations" || option == "--only") plan.seconds = UINT64_MAX;
	}
	return plan;
}

} // namespace

uint64_t Random::next()
{
	uint64_t z = (m_state += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

std::string makeInput(Random &random, const Material &material)
{
	std::string input;
	if (random.oneIn(64)) { // noise
		input.resize(random.below(256));
		for (char &c : input) c = static_cast<char>(random.next());
	} else {
		input = material.corpus[random.below(material.corpus.size())];
	}
	if (random.oneIn(16)) { // the head of one with the tail of another
		const std::string &other = material.corpus[random.below(material.corpus.size())];
		input = input.substr(0, random.below(input.size() + 1)) + other.substr(random.below(other.size() + 1));
	}
	// Mostly few edits, so that what lies behind the first checks is reached; sometimes many.
	for (std::size_t edits = 1 + random.below(random.oneIn(8) ? 64 : 4); edits > 0; --edits)
		mutateOnce(random, input, material);
	if (input.size() > material.maxBytes) input.resize(material.maxBytes);
	return input;
}

int run(int argc, char **argv, const Material &material, const std::function<std::string(std::string_view)> &target)
{
	const Plan plan = planFrom(argc, argv);
	g_seed = plan.seed;
	std::snprintf(g_program, sizeof g_program, "%s", argv[0]);
	std::printf("%s: seed %llu\n", argv[0], static_cast<unsigned long long>(plan.seed));
	std::fflush(stdout);
	watchForDeath();

	using Clock = std::chrono::steady_clock;
	const Clock::time_point begin = Clock::now();
	const auto elapsed = [begin] {
		return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - begin).count());
	};
	uint64_t done = 0;
	for (; done < plan.iterations && elapsed() < plan.seconds; ++done) {
		g_iteration = plan.first + done;
		// Each input from its own generator: --only needs none of those before it.
		Random random(plan.seed * 0x2545f4914f6cdd1d + g_iteration);
		const std::string input = makeInput(random, material);
		if (plan.show) {
			std::fwrite(input.data(), 1, input.size(), stdout);
			std::fflush(stdout);
		}
		::alarm(kHangSeconds);
		const std::string wrong = target(input);
		::alarm(0);
		if (wrong.empty()) continue;
		std::fprintf(stderr, "%s\n", wrong.c_str());
		sayWhere("Failed");
		return 1;
	}
	std::printf("%llu inputs in %llu s\n", static_cast<unsigned long long>(done),
	            static_cast<unsigned long long>(elapsed()));
	return 0;
}

std::string readFile(const std::string &path)
{
	std::ifstream in(path, std::ios::binary);
	std::string text{std::istreambuf_iterator<char>(in), {}};
	if (!in) {
		std::fprintf(stderr, "cannot read %s\n", path.c_str());
		std::exit(2);
	}
	return text;
}

} // namespace archipelago::fuzz
