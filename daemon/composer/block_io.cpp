// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The stations of block_io.h, callers above callees. As step(), functions that return bool say whether the request has arrived
// at its end; if not, it has gone on and `request` is empty.
#include "daemon/composer/block_io.h"

#include <cstring>

namespace archipelago::composer {

namespace {

using Step = IoContext::Step;
using Way = IoContext::Way;

uint32_t blockOf(const IoContext &context) { return static_cast<uint32_t>(context.offset >> kBlockShift); }

/// Status words of other peers, reduced to the codes of our table.
int32_t checkedStatus(int32_t status)
{
	const auto code = errorFromWire(status);
	return code ? wireStatus(*code) : 0;
}

/// What the mapper is asked first.
Op question(Way way)
{
	switch (way) {
	case Way::Read: return Op::MapRead;
	case Way::Write: return Op::MapWrite;
	case Way::Punch: return Op::MapPunch;
	case Way::Drop: return Op::MapTrim;
	case Way::Extents: return Op::MapExtents;
	case Way::Fill: break;
	}
	ARCHIPELAGO_ASSERT(!"only pieces of a fill travel");
}

/// What is done to an object that is there.
Op action(Way way)
{
	switch (way) {
	case Way::Read: return Op::ObjRead;
	case Way::Write: return Op::ObjWrite;
	case Way::Punch: return Op::ObjPunch;
	default: break;
	}
	ARCHIPELAGO_ASSERT(!"whole blocks are the mapper's alone");
}

} // namespace

void BlockIo::start(xseg::RequestRef request)
{
	IoContext &context = contextOf(request);
	context.step = Step::Map;
	MapArgs args;
	args.handle = m_route.handle;
	args.block = blockOf(context);
	if (context.way == Way::Drop) args.count = static_cast<uint32_t>(context.length >> kBlockShift);
	if (context.way == Way::Extents)
		args.count = static_cast<uint32_t>((context.offset + context.length - 1) >> kBlockShift) - args.block + 1;
	request->op = static_cast<uint16_t>(question(context.way));
	request->flags = 0;
	request.setArgs(args);
	send(std::move(request), m_route.mapper);
}

bool BlockIo::step(xseg::RequestRef &request, int32_t &status)
{
	IoContext &context = contextOf(request);
	switch (context.step) {
	case Step::Map:
		status = mapperStatus(request->status);
		if (status) return true;
		if (context.way == Way::Drop) return written(request, status, false);
		if (context.way == Way::Extents) return true;
		return mapped(request, status);
	case Step::Object: status = checkedStatus(request->status); return objectDone(request, status);
	case Step::Create: status = checkedStatus(request->status); return created(request, status);
	case Step::Record:
		status = mapperStatus(request->status);
		if (context.status) status = context.status; // why there is nothing to record, not how the mapper took it
		return status || written(request, status, false);
	case Step::Flush: status = mapperStatus(request->status); return true;
	default: break;
	}
	ARCHIPELAGO_ASSERT(!"a reply to a request that is not on its way");
}

void BlockIo::toMapper(xseg::RequestRef request, Op op, Step step)
{
	contextOf(request).step = step;
	request->op = static_cast<uint16_t>(op);
	request->flags = 0;
	request.setArgs(MapArgs{.handle = m_route.handle});
	send(std::move(request), m_route.mapper);
}

int32_t BlockIo::mapperStatus(int32_t status)
{
	const int32_t checked = checkedStatus(status);
	// E-NOTOPEN: it gave us the handle and does not know it, so it is another one.
	if (checked != wireStatus(ErrorCode::Peer) && checked != wireStatus(ErrorCode::NotOpen)) return checked;
	m_lost = true;
	return wireStatus(ErrorCode::Peer);
}

void BlockIo::send(xseg::RequestRef request, xseg::PortNo to)
{
	// Our own requests are at home here and set out anew each time; a client's goes on along its path.
	if (contextOf(request).piece)
		m_port.submit(std::move(request), to);
	else
		m_port.forward(std::move(request), to);
}

bool BlockIo::mapped(xseg::RequestRef &request, int32_t &status)
{
	IoContext &context = contextOf(request);
	const auto reply = request.args<MapReply>();
	if (context.asked && reply.placement == Placement::Object && reply.id == context.object) {
		m_log.error("volume {} block {}: the map names an object that the store does not have (epoch {:#x}, object block {})",
		            m_route.volume, blockOf(context), reply.id.epoch, reply.id.index);
		status = wireStatus(ErrorCode::Missing);
		return true;
	}
	context.object = reply.id;
	context.committed = reply.committed == 1;
	context.token = reply.token;
	switch (reply.placement) {
	case Placement::Zero: {
		if (context.way == Way::Write) break;
		if (context.way == Way::Punch) return written(request, status, context.committed);
		context.hole = context.takesHoles;
		if (context.hole) return true;
		const auto data = request.data();
		std::memset(data.data(), 0, data.size());
		return true;
	}
	case Placement::Object: toObject(std::move(request), action(context.way), Step::Object); return false;
	case Placement::Create:
		if (context.way != Way::Write) break;
		toObject(std::move(request), Op::ObjCreate, Step::Create);
		return false;
	}
	m_log.error("volume {} block {}: the mapper's answer makes no sense (placement {})", m_route.volume, blockOf(context),
	            static_cast<unsigned>(reply.placement));
	status = wireStatus(ErrorCode::Failed);
	return true;
}

bool BlockIo::objectDone(xseg::RequestRef &request, int32_t &status)
{
	IoContext &context = contextOf(request);
	if (status == wireStatus(ErrorCode::NotFound)) {
		// The block may have been dropped or moved since the mapper named the object: look again, and only an unchanged
		// entry is damage. Each further round needs a further change, so this ends.
		context.asked = true;
		if (unreachable(status)) return true;
		start(std::move(request));
		return false;
	}
	return status || context.way == Way::Read || written(request, status, context.committed);
}

/// Recorded when the data is there; else the block is given free, and the name is never used again.
bool BlockIo::created(xseg::RequestRef &request, int32_t &status)
{
	IoContext &context = contextOf(request);
	if (status == wireStatus(ErrorCode::Exists)) {
		// Names of objects are never used twice, so this one is not ours: taking it would mix two histories.
		m_log.error("volume {} block {}: the object of a first write exists already; the write is refused", m_route.volume,
		            blockOf(context));
		status = wireStatus(ErrorCode::Corrupt);
	}
	context.status = status;
	if (unreachable(status)) return true;
	context.step = Step::Record;
	RecordArgs args;
	args.handle = m_route.handle;
	args.block = blockOf(context);
	args.token = context.token;
	args.stored = context.status == 0;
	request->op = static_cast<uint16_t>(Op::MapRecord);
	request->flags = 0;
	request.setArgs(args);
	send(std::move(request), m_route.mapper);
	return false;
}

void BlockIo::toObject(xseg::RequestRef request, Op op, Step step)
{
	IoContext &context = contextOf(request);
	context.step = step;
	request->op = static_cast<uint16_t>(op);
	request->flags = context.fua && context.committed && step == Step::Object && context.way != Way::Read ? kFlagFua : 0u;
	request->offset = context.offset & (kBlockBytes - 1);
	request.setArgs(ObjectArgs{.id = context.object});
	send(std::move(request), m_route.blocker);
}

bool BlockIo::written(xseg::RequestRef &request, int32_t &status, bool durable)
{
	if (!contextOf(request).fua || durable || unreachable(status)) return true;
	toMapper(std::move(request), Op::MapFlush, Step::Flush);
	return false;
}

/// Before each step to the mapper; before the first the session has looked.
bool BlockIo::unreachable(int32_t &status) const
{
	if (!mapperLost()) return false;
	status = wireStatus(ErrorCode::Peer);
	return true;
}

} // namespace archipelago::composer
