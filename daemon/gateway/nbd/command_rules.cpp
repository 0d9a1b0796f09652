// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A table of what each command may have, and the checks in the order in which they are answered.
#include "daemon/gateway/nbd/command_rules.h"

#include <algorithm>

namespace archipelago::gateway::nbd {

namespace {

/// What may be asked.
struct CommandRule {
	CommandType type;
	uint16_t flags;         ///< that may be set
	bool changes;           ///< not on a read-only volume
	bool payload;           ///< its length is that of a payload, either way
	WireError behindTheEnd; ///< as the protocol wants it
};
constexpr CommandRule kRules[] = {
    {CommandType::Read, kCommandFua | kCommandDf, false, true, WireError::Einval},
    {CommandType::Write, kCommandFua, true, true, WireError::Enospc},
    {CommandType::Flush, kCommandFua, false, false, WireError::Einval},
    {CommandType::Trim, kCommandFua, true, false, WireError::Einval},
    {CommandType::WriteZeroes, kCommandFua | kCommandNoHole | kCommandFastZero, true, false, WireError::Enospc},
    {CommandType::BlockStatus, kCommandFua | kCommandReqOne, false, false, WireError::Einval},
};

const CommandRule *ruleOf(uint16_t type)
{
	const auto *rule = std::ranges::find(kRules, type, [](const CommandRule &r) { return static_cast<uint16_t>(r.type); });
	return rule == std::end(kRules) ? nullptr : rule;
}

} // namespace

Fault checkCommand(const Command &command, const VolumeShape &shape, const Dialect &dialect, uint32_t maxRequestBytes)
{
	const CommandRule *rule = ruleOf(command.type);
	if (!rule) return {WireError::Einval, "The command is not known."};
	const bool status = rule->type == CommandType::BlockStatus;
	if (status && !dialect.allocation) return {WireError::Einval, "base:allocation was not negotiated for this export."};
	const uint32_t flags = dialect.structured ? rule->flags : rule->flags & ~uint32_t{kCommandDf};
	if (command.flags & ~flags) return {WireError::Einval, "The command has a flag that is not for it."};
	if (rule->type == CommandType::Flush && (command.offset || command.length))
		return {WireError::Einval, "A flush covers everything and has neither offset nor length."};
	if (rule->changes && shape.readOnly) return {WireError::Eperm, "The volume is read-only."};
	if (rule->payload && command.length > maxRequestBytes)
		return {WireError::Einval, "The request is longer than the maximum of this export."};
	if ((command.offset | command.length) & (kMinimumBlock - 1))
		return {WireError::Einval, "Offset and length must be multiples of 512 bytes."};
	if (command.offset > shape.sizeBytes || command.length > shape.sizeBytes - command.offset)
		return {rule->behindTheEnd, "The range ends behind the end of the volume."};
	if (status && !command.length) return {WireError::Einval, "The block status of nothing was asked for."};
	// Blocks go out of the map and parts of them become holes, without a byte of data; room that must stay is written to, and so
	// are the ends of a range that is not made of pages. (In a directory whose filesystem has no holes, parts of two blocks are.)
	const bool pages = !((command.offset | command.length) & (kPreferredBlock - 1));
	if ((command.flags & kCommandFastZero) && ((command.flags & kCommandNoHole) || !pages))
		return {WireError::Enotsup, "Only multiples of 4096 bytes that may become holes are zeroed without writing."};
	return {};
}

} // namespace archipelago::gateway::nbd
