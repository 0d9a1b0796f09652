// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The one table of errors. Each has a symbol an operator can look up (`archipelago explain E-LOCKED`), an errno for block
// clients, a D-Bus name, an exit code, one line of text and an explanation with the next step. Codes travel between
// peers as int32 (0 = done, minus the code = failed); their numbers are part of the segment protocol and never reused.
// Error = a code plus what the operator should read. Result<T> carries one or the other.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace archipelago {

enum class ErrorCode : int32_t {
	Failed = 1,
	Invalid,
	Config,
	Peer,
	NotFound,
	Busy,
	Mapped,
	Locked,
	NotLocked,
	NotOpen,
	Fenced,
	Protected,
	ReadOnly,
	Exists,
	NoSpace,
	Limit,
	Io,
	Corrupt,
	Missing,
	Timeout,
	Cancelled,
	Unsupported,
	NotMapped,
	Denied,
};

struct ErrorInfo {
	ErrorCode code;
	std::string_view symbol;      ///< "E-LOCKED"
	std::string_view dbusName;    ///< "Locked"; empty: a standard D-Bus error
	int exitCode;
	int errnum;                   ///< as a system call would say it
	int blockErrnum;              ///< as a block client (NBD, kernel) may be told
	std::string_view text;        ///< one line
	std::string_view explanation; ///< a paragraph: what it means, what state things are in, what to do next
};

/// All errors, in code order.
std::span<const ErrorInfo> allErrors();
const ErrorInfo &errorInfo(ErrorCode code);
/// By "E-LOCKED", case-insensitive, the "E-" may be missing.
std::optional<ErrorCode> errorFromSymbol(std::string_view symbol);
/// By the last part of a D-Bus error name.
std::optional<ErrorCode> errorFromDBusName(std::string_view name);
/// What a failed system call means to an operator (ENOSPC -> NoSpace, EACCES -> Denied, ...; Io when nothing fits).
ErrorCode errorFromErrno(int errnum);

struct Error {
	ErrorCode code = ErrorCode::Failed;
	std::string message; ///< "Cannot <verb> <object>: <cause>." and what to do next, without the symbol

	/// The same error with `context` in front: "context: message".
	Error within(std::string_view context) const &;
};
template <typename T> using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> failure(ErrorCode code, std::string message)
{
	return tl::unexpected<Error>(Error{code, std::move(message)});
}
/// failure() for a system call: "what: strerror".
tl::unexpected<Error> systemFailure(int errnum, std::string_view what);

/// int32 on the wire.
inline int32_t wireStatus(ErrorCode code) { return -static_cast<int32_t>(code); }
/// Reads a status from another process: 0 is success (nullopt), -EOWNERDEAD and -ECANCELED (the segment's own: who held the
/// request is gone) are Peer, any other unknown value is Failed.
std::optional<ErrorCode> errorFromWire(int32_t status);

/// Programmer errors: always on, says where, aborts.
[[noreturn]] void assertFailed(const char *expression, const char *file, int line);
#define ARCHIPELAGO_ASSERT(x) ((x) ? void(0) : ::archipelago::assertFailed(#x, __FILE__, __LINE__))

} // namespace archipelago
