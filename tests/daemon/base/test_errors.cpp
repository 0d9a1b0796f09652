// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The error table: the contract of symbols, D-Bus names, exit codes and errnos, written out once more as operators and
// clients rely on it, and the look-ups.
#include "base_test.h"

#include "daemon/base/errors.h"

#include <cerrno>
#include <climits>
#include <set>

using namespace archipelago;

namespace {

struct Row {
	const char *symbol, *dbusName;
	int exitCode, errnum, blockErrnum;
};

// In code order: the numbers travel between processes.
constexpr Row kContract[] = {
	{"E-FAILED", "Failed", 1, EIO, EIO},
	{"E-INVALID", "InvalidArgument", 2, EINVAL, EINVAL},
	{"E-CONFIG", "InvalidConfiguration", 2, EINVAL, EIO},
	{"E-PEER", "PeerUnavailable", 3, EHOSTDOWN, EIO},
	{"E-NOTFOUND", "NotFound", 4, ENOENT, EIO},
	{"E-BUSY", "Busy", 5, EBUSY, EIO},
	{"E-MAPPED", "AlreadyMapped", 5, EBUSY, EIO},
	{"E-LOCKED", "Locked", 5, EBUSY, EIO},
	{"E-NOTLOCKED", "NotLocked", 5, EIO, EIO},
	{"E-NOTOPEN", "NotOpen", 5, EIO, EIO},
	{"E-FENCED", "Fenced", 5, ESHUTDOWN, EIO},
	{"E-PROTECTED", "Protected", 5, EPERM, EPERM},
	{"E-READONLY", "ReadOnly", 5, EROFS, EPERM},
	{"E-EXISTS", "AlreadyExists", 6, EEXIST, EIO},
	{"E-NOSPACE", "NoSpace", 8, ENOSPC, ENOSPC},
	{"E-LIMIT", "LimitExceeded", 8, EDQUOT, ENOSPC},
	{"E-IO", "InputOutput", 9, EIO, EIO},
	{"E-CORRUPT", "CorruptMetadata", 9, EUCLEAN, EIO},
	{"E-MISSING", "MissingObject", 9, EIO, EIO},
	{"E-TIMEOUT", "Timeout", 10, ETIMEDOUT, EIO},
	{"E-CANCELLED", "Cancelled", 11, ECANCELED, EIO},
	{"E-UNSUPPORTED", "NotSupported", 1, EOPNOTSUPP, EOPNOTSUPP},
	{"E-NOTMAPPED", "NotMapped", 5, EIO, EIO},
	{"E-DENIED", "", 7, EPERM, EPERM},
};

std::string commandsOf(std::string_view explanation)
{
	std::string out;
	for (std::size_t at = explanation.find('`'); at != std::string_view::npos; at = explanation.find('`', at + 1)) {
		const std::size_t end = explanation.find('`', at + 1);
		if (end == std::string_view::npos) return "unpaired `";
		out += std::string(explanation.substr(at + 1, end - at - 1)) + "\n";
		at = end;
	}
	return out;
}

} // namespace

class TestErrors : public QObject {
	Q_OBJECT
private slots:
	void tableIsTheContract()
	{
		QCOMPARE(allErrors().size(), std::size(kContract));
		for (std::size_t i = 0; i < std::size(kContract); ++i) {
			const ErrorInfo &info = allErrors()[i];
			const Row &row = kContract[i];
			QCOMPARE(static_cast<std::size_t>(info.code), i + 1);
			QCOMPARE(std::string(info.symbol), std::string(row.symbol));
			QCOMPARE(std::string(info.dbusName), std::string(row.dbusName));
			QVERIFY2(info.exitCode == row.exitCode, row.symbol);
			QVERIFY2(info.errnum == row.errnum, row.symbol);
			QVERIFY2(info.blockErrnum == row.blockErrnum, row.symbol);
			QCOMPARE(&errorInfo(info.code), &info);
		}
	}

	void symbolsAndNamesAreUnique()
	{
		std::set<std::string_view> symbols, names, texts;
		for (const ErrorInfo &info : allErrors()) {
			QVERIFY(symbols.insert(info.symbol).second);
			QVERIFY(info.dbusName.empty() || names.insert(info.dbusName).second);
			QVERIFY(texts.insert(info.text).second);
		}
	}

	/// NBD and the kernel's block layer know no others; an unknown one would become EINVAL or a dropped connection.
	void blockClientsOnlyHearWhatTheyKnow()
	{
		const std::set<int> known{EPERM, EIO, EINVAL, ENOSPC, EOPNOTSUPP};
		for (const ErrorInfo &info : allErrors()) QVERIFY2(known.contains(info.blockErrnum), info.symbol.data());
	}

	void textsAreComplete()
	{
		for (const ErrorInfo &info : allErrors()) {
			QVERIFY(info.text.size() < 80 && info.text.ends_with('.') &&
			        info.text.find('\n') == std::string_view::npos);
			QVERIFY2(info.explanation.size() > 120 && info.explanation.ends_with('.'), info.symbol.data());
		}
	}

	/// An explanation that names a command nobody can run helps nobody.
	void explanationsNameOnlyCommandsThatExist()
	{
		const std::set<std::string> commands{
			"archipelago start", "archipelago status", "archipelago stop", "archipelago restart",
			        "archipelago restart ROLE",
			"archipelago check-config", "vlmc list", "vlmc info NAME", "vlmc open NAME", "vlmc close NAME",
			        "vlmc close",
			"vlmc remove NAME",
			"nbd-client -d", "df", "dmesg", "iostat"}; // of the system
		for (const ErrorInfo &info : allErrors()) {
			std::string rest = commandsOf(info.explanation);
			while (!rest.empty()) {
				const std::string command = rest.substr(0, rest.find('\n'));
				rest.erase(0, command.size() + 1);
				QVERIFY2(commands.contains(command), (std::string(info.symbol) + ": " + command).c_str());
			}
		}
	}

	void lookUpBySymbol()
	{
		for (const ErrorInfo &info : allErrors()) QCOMPARE(errorFromSymbol(info.symbol), std::optional(info.code));
		QCOMPARE(errorFromSymbol("e-locked"), std::optional(ErrorCode::Locked));
		QCOMPARE(errorFromSymbol("Locked"), std::optional(ErrorCode::Locked));
		QCOMPARE(errorFromSymbol("io"), std::optional(ErrorCode::Io));
		for (const char *wrong : {"", "E-", "-", "E-LOCK", "E-LOCKEDX", "LOCKED ",
		        "EIO"}) QVERIFY2(!errorFromSymbol(wrong), wrong);
	}

	void lookUpByDBusName()
	{
		for (const ErrorInfo &info : allErrors())
			if (!info.dbusName.empty()) QCOMPARE(errorFromDBusName(info.dbusName), std::optional(info.code));
		QCOMPARE(errorFromDBusName("AccessDenied"), std::optional(ErrorCode::Denied));
		QCOMPARE(errorFromDBusName("InteractiveAuthorizationRequired"), std::optional(ErrorCode::Denied));
		for (const char *wrong : {"", "locked", "NoReply"}) QVERIFY2(!errorFromDBusName(wrong), wrong);
	}

	void fromErrno()
	{
		const struct {
			int errnum;
			ErrorCode code;
		} rows[] = {
			{ENOSPC, ErrorCode::NoSpace}, {EDQUOT, ErrorCode::NoSpace}, {EACCES, ErrorCode::Denied},
			 {EPERM, ErrorCode::Denied},
			{ENOENT, ErrorCode::NotFound}, {EEXIST, ErrorCode::Exists}, {EBUSY, ErrorCode::Busy},
			 {EADDRINUSE, ErrorCode::Busy},
			{EAGAIN, ErrorCode::Locked}, {EINVAL, ErrorCode::Invalid}, {ENOTDIR, ErrorCode::Invalid},
			{ENAMETOOLONG, ErrorCode::Invalid}, {EMFILE, ErrorCode::Limit}, {ENOMEM, ErrorCode::Limit},
			{ETIMEDOUT, ErrorCode::Timeout}, {ECANCELED, ErrorCode::Cancelled}, {ENOSYS, ErrorCode::Unsupported},
			{EOPNOTSUPP, ErrorCode::Unsupported}, {ECONNREFUSED, ErrorCode::Peer}, {EHOSTDOWN, ErrorCode::Peer},
			{ESHUTDOWN, ErrorCode::Fenced}, {EROFS, ErrorCode::ReadOnly}, {EUCLEAN, ErrorCode::Corrupt},
			{EBADMSG, ErrorCode::Corrupt}, {EIO, ErrorCode::Io}, {ENODEV, ErrorCode::Io}, {0, ErrorCode::Io},
			 {-1, ErrorCode::Io},
		};
		for (const auto &row : rows) QCOMPARE(errorFromErrno(row.errnum), row.code);
	}

	void wire()
	{
		for (const ErrorInfo &info : allErrors()) {
			QVERIFY(wireStatus(info.code) < 0);
			QCOMPARE(errorFromWire(wireStatus(info.code)), std::optional(info.code));
		}
		QCOMPARE(errorFromWire(0), std::optional<ErrorCode>());
		// From another process anything may come; none of it is success.
		for (const int32_t wild : {1, 24, -25, -1000, INT_MAX, INT_MIN}) QCOMPARE(errorFromWire(wild),
		        std::optional(ErrorCode::Failed));
	}

	void errorsCarryContext()
	{
		const Error inner{ErrorCode::Locked, "somebody has it"};
		const Error outer = inner.within("cannot open db");
		QCOMPARE(outer.code, ErrorCode::Locked);
		QCOMPARE(outer.message, std::string("cannot open db: somebody has it"));
		const Result<int> failed = systemFailure(ENOSPC, "write /srv/x");
		QCOMPARE(failed.error().code, ErrorCode::NoSpace);
		QCOMPARE(failed.error().message, std::string("write /srv/x: No space left on device"));
	}
};

QTEST_APPLESS_MAIN(TestErrors)
#include "test_errors.moc"
