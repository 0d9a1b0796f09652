// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// AttachedVolume: a life of a mapper that has one volume of three chunks, "db", with a client attached.
#pragma once

#include "tests/daemon/mapper/mapper_life.h"

namespace archipelago::mapper::testing {

struct AttachedVolume {
	static constexpr uint64_t kSize = 3 * kChunkSpan;
	World world;
	Life life;
	uint32_t handle = 0;
	VolumeId volume;

	explicit AttachedVolume(archipelago::testing::Rig &rig, const Life::Options &options = {}) : life(rig, world, options)
	{
		if (!life.wait(life.client().create("db", kSize))) qFatal("create");
		if (!attach()) qFatal("attach");
	}
	/// Handle and volume stay as they were when it fails.
	bool attach()
	{
		const Result<AttachReply> attached = life.wait(life.client().attach("db"));
		if (!attached) return false;
		handle = attached->handle;
		volume = attached->volume;
		return true;
	}
	bool reopen() { return life.wait(life.client().detach(handle)) && attach(); }

	Result<void> write(uint32_t block, uint32_t value) { return life.wait(life.client().write(handle, block, value)); }
	Result<uint32_t> read(uint32_t block) { return life.wait(life.client().read(handle, block)); }
	/// What a read finds; ~0 when it fails.
	uint32_t value(uint32_t block) { return read(block).value_or(~0u); }
	Result<void> trim(uint32_t block, uint32_t count) { return life.wait(life.client().trim(handle, block, count)); }
	Result<void> flush() { return life.wait(life.client().flush(handle)); }
	Result<MapReply> map(Op op, uint32_t block) { return life.wait(life.client().map(op, handle, block)); }
	VolumeInfo info() { return life.wait(life.client().info("db")).value(); }
};

} // namespace archipelago::mapper::testing
