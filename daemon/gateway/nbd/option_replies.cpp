// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See option_replies.h; the layouts are those of wire.h.
#include "daemon/gateway/nbd/option_replies.h"

#include "daemon/base/sizes.h"

namespace archipelago::gateway::nbd {

void append16(Bytes &to, uint16_t value)
{
	to.resize(to.size() + 2);
	write16(to.data() + to.size() - 2, value);
}

void append32(Bytes &to, uint32_t value)
{
	to.resize(to.size() + 4);
	write32(to.data() + to.size() - 4, value);
}

void append64(Bytes &to, uint64_t value)
{
	to.resize(to.size() + 8);
	write64(to.data() + to.size() - 8, value);
}

void appendText(Bytes &to, std::string_view text)
{
	const auto bytes = std::as_bytes(std::span(text));
	to.insert(to.end(), bytes.begin(), bytes.end());
}

/// CAN_MULTI_CONN: connections see each other's writes, because nothing is cached on the way to the volume; and a flush of one
/// covers what was acknowledged to all. It does because it is the mapper's, for a volume and not for those who use it: it syncs
/// every object of the volume that was written before (ObjSyncVolume), whoever wrote it, then commits every record of its map.
uint16_t transmissionFlags(const VolumeShape &shape, bool structured)
{
	const unsigned changing = shape.readOnly ? kReadOnly : kSendTrim | kSendWriteZeroes | kSendFastZero;
	const unsigned reading = structured ? kSendDf : 0;
	return static_cast<uint16_t>(kHasFlags | kSendFlush | kSendFua | kCanMultiConn | changing | reading);
}

void OptionReplies::reply(Option option, OptionReply type, const Bytes &data)
{
	append64(m_bytes, kOptionReplyMagic);
	append32(m_bytes, static_cast<uint32_t>(option));
	append32(m_bytes, static_cast<uint32_t>(type));
	append32(m_bytes, static_cast<uint32_t>(data.size()));
	m_bytes.insert(m_bytes.end(), data.begin(), data.end());
}

void OptionReplies::refuse(Option option, OptionReply type, std::string_view text)
{
	Bytes data;
	appendText(data, text.substr(0, kMaxNameOnWire)); // texts have the same limit as names
	reply(option, type, data);
}

/// Sizes of blocks are told to those who did not ask as well: they are not advice.
void OptionReplies::describe(Option option, const Export &about)
{
	const auto info = [&](InfoType type, const auto &append) {
		Bytes data;
		append16(data, static_cast<uint16_t>(type));
		append(data);
		reply(option, OptionReply::Info, data);
	};
	info(InfoType::Export, [&](Bytes &data) {
		append64(data, about.shape.sizeBytes);
		append16(data, transmissionFlags(about.shape, about.structured));
	});
	info(InfoType::BlockSize, [&](Bytes &data) {
		append32(data, kMinimumBlock);
		append32(data, kPreferredBlock);
		append32(data, about.maxRequestBytes);
	});
	if (about.wantsName) info(InfoType::Name, [&](Bytes &data) { appendText(data, about.name); });
	if (about.wantsDescription) {
		const std::string what = "Archipelago volume, " + formatSize(about.shape.sizeBytes);
		info(InfoType::Description, [&](Bytes &data) { appendText(data, about.shape.readOnly ? what + ", read-only" : what); });
	}
	reply(option, OptionReply::Ack);
}

} // namespace archipelago::gateway::nbd
