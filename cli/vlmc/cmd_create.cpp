// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc create NAME --size SIZE. A bare number is MiB, as it always was. Silent in a pipe; on a terminal it says what was
// understood: "created db, 10 MiB", "created db, 10GB = 9.31 GiB".
#include "cli/out/json.h"
#include "cli/out/text.h"
#include "cli/session.h"
#include "cli/vlmc/commands.h"
#include "daemon/base/names.h"
#include "daemon/base/sizes.h"

namespace archipelago::cli {

namespace {

/// kB, MB, GB...: powers of 1000, which the echo in powers of 1024 would not show as typed.
bool isDecimalUnit(std::string_view text)
{
	if (text.size() < 2 || (text.back() != 'B' && text.back() != 'b')) return false;
	return std::string_view("kKmMgGtTpP").find(text[text.size() - 2]) != std::string_view::npos;
}

void printCreated(Context &c, const std::string &name, const std::string &typed, uint64_t bytes,
                  const dbus::JobInfo &job)
{
	if (c.console.json()) {
		QJsonObject item{{"name", jsonText(name)}, {"sizeBytes", jsonSize(bytes)}, {"state", "closed"}};
		item.insert("id", job.result.value("id").toString());
		return c.console.data(toJson({.schema = "archipelago.volumes/1", .items = {item}, .warnings = {}, .more = {}}));
	}
	const std::string size = (isDecimalUnit(typed) ? typed + " = " : std::string{}) + formatSize(bytes);
	c.console.chat("created " + shellQuoted(name) + ", " + size);
}

} // namespace

ExitOr runCreate(Context &c)
{
	const std::string name = c.args.operands.front();
	if (auto legal = checkName(name); !legal) return tl::unexpected<Failure>(legal.error());
	const auto typed = c.args.value("--size");
	if (!typed)
		return failure(ErrorCode::Invalid,
		               "--size is missing. As in: vlmc create " + shellQuoted(name) + " --size 10G");
	const auto bytes = parseVolumeSize(*typed, BareNumber::Mebibytes);
	if (!bytes) return tl::unexpected<Failure>(bytes.error());

	const auto job = c.session.job("create " + shellQuoted(name), [&](dbus::Bus &bus, dbus::JobEvents events) {
		dbus::ManagerProxy(bus).createVolume(QString::fromStdString(name), *bytes, std::move(events));
	});
	if (!job) {
		const bool exists = job.error().code == ErrorCode::Exists;
		return tl::unexpected<Failure>(
			Failure(job.error(), {}, exists ? "vlmc info " + shellQuoted(name) + ", or another name" : ""));
	}
	printCreated(c, name, *typed, *bytes, *job);
	return 0;
}

} // namespace archipelago::cli
