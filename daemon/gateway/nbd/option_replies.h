// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// OptionReplies: what the server says in the handshake, gathered until it is sent. Replies to one option go out together.
#pragma once

#include "daemon/gateway/front.h"
#include "daemon/gateway/nbd/wire.h"

#include <string>
#include <vector>

namespace archipelago::gateway::nbd {

using Bytes = std::vector<std::byte>;
void append16(Bytes &to, uint16_t value);
void append32(Bytes &to, uint32_t value);
void append64(Bytes &to, uint64_t value);
void appendText(Bytes &to, std::string_view text);

uint16_t transmissionFlags(const VolumeShape &shape, bool structured);

class OptionReplies {
public:
	/// What INFO and GO tell of an export. Of `name` and `description` only those that were asked for.
	struct Export {
		VolumeShape shape;
		bool structured = false;
		uint32_t maxRequestBytes = 0;
		std::string name;
		bool wantsName = false, wantsDescription = false;
	};

	void reply(Option option, OptionReply type, const Bytes &data = {});
	/// `text`: for whoever reads the client's error.
	void refuse(Option option, OptionReply type, std::string_view text);
	/// Size, flags, sizes of blocks, what was asked for, and that this was all.
	void describe(Option option, const Export &about);

	/// What is to be sent; others may append to it.
	Bytes &bytes() { return m_bytes; }

private:
	Bytes m_bytes;
};

} // namespace archipelago::gateway::nbd
