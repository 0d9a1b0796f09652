// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The stations of block_io.h, callers above callees.
#include "daemon/composer/block_io.h"

#include <cstring>

namespace archipelago::composer {

namespace {

uint32_t blockOf(const IoContext &context) { return static_cast<uint32_t>(context.offset >> kBlockShift); }

/// Status words of other peers, reduced to the codes of our table.
int32_t checkedStatus(int32_t status)
{
	const auto code = errorFromWire(status);
	return code ? wireStatus(*code) : 0;
}

} // namespace

void BlockIo::start(xseg::RequestRef request)
{
	IoContext &context = contextOf(request);
	askMapper(std::move(request), context);
}

bool BlockIo::step(xseg::RequestRef &request, int32_t &status)
{
	IoContext &context = contextOf(request);
	status = checkedStatus(request->status);
	switch (context.step) {
	case IoContext::Step::Map: return status ? true : mapped(request, context, status);
	case IoContext::Step::Object:
		if (status == wireStatus(ErrorCode::NotFound)) {
			// The block may have been dropped or moved since the mapper named the object: look again, and only an unchanged
			// entry is damage. Each further round needs a further change, so this ends.
			context.asked = true;
			askMapper(std::move(request), context);
			return false;
		}
		return status || !context.write || written(request, context, context.committed);
	case IoContext::Step::Create:
		if (status == wireStatus(ErrorCode::Exists)) {
			// Names of objects are never used twice, so this one is not ours: taking it would mix two histories.
			m_log.error("volume {} block {}: the object of a first write exists already; the write is refused", m_route.volume,
			            blockOf(context));
			status = wireStatus(ErrorCode::Corrupt);
		}
		context.status = status;
		record(std::move(request), context, status == 0);
		return false;
	case IoContext::Step::Record:
		if (context.status) status = context.status; // why there is nothing to record, not how the mapper took it
		return status || written(request, context, false);
	case IoContext::Step::Flush: return true;
	default: break;
	}
	ARCHIPELAGO_ASSERT(!"a reply to a request that is not on its way");
}

void BlockIo::toMapper(xseg::RequestRef request, Op op, IoContext::Step step)
{
	contextOf(request).step = step;
	request->op = static_cast<uint16_t>(op);
	request->flags = 0;
	request.setArgs(MapArgs{.handle = m_route.handle, .block = 0});
	send(std::move(request), m_route.mapper);
}

void BlockIo::send(xseg::RequestRef request, xseg::PortNo to)
{
	// Our own requests are at home here and set out anew each time; a client's goes on along its path.
	if (contextOf(request).piece)
		m_port.submit(std::move(request), to);
	else
		m_port.forward(std::move(request), to);
}

void BlockIo::askMapper(xseg::RequestRef request, IoContext &context)
{
	context.step = IoContext::Step::Map;
	request->op = static_cast<uint16_t>(context.write ? Op::MapWrite : Op::MapRead);
	request->flags = 0;
	request.setArgs(MapArgs{.handle = m_route.handle, .block = blockOf(context)});
	send(std::move(request), m_route.mapper);
}

bool BlockIo::mapped(xseg::RequestRef &request, IoContext &context, int32_t &status)
{
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
		if (context.write) break;
		const auto data = request.data();
		std::memset(data.data(), 0, data.size());
		return true;
	}
	case Placement::Object:
		toObject(std::move(request), context, context.write ? Op::ObjWrite : Op::ObjRead, IoContext::Step::Object);
		return false;
	case Placement::Create:
		if (!context.write) break;
		toObject(std::move(request), context, Op::ObjCreate, IoContext::Step::Create);
		return false;
	}
	m_log.error("volume {} block {}: the mapper's answer makes no sense (placement {})", m_route.volume, blockOf(context),
	            static_cast<unsigned>(reply.placement));
	status = wireStatus(ErrorCode::Failed);
	return true;
}

void BlockIo::toObject(xseg::RequestRef request, IoContext &context, Op op, IoContext::Step step)
{
	context.step = step;
	request->op = static_cast<uint16_t>(op);
	request->flags = context.fua && context.committed && op == Op::ObjWrite ? kFlagFua : 0u;
	request->offset = context.offset & (kBlockBytes - 1);
	request.setArgs(ObjectArgs{.id = context.object});
	send(std::move(request), m_route.blocker);
}

void BlockIo::record(xseg::RequestRef request, IoContext &context, bool stored)
{
	context.step = IoContext::Step::Record;
	RecordArgs args;
	args.handle = m_route.handle;
	args.block = blockOf(context);
	args.token = context.token;
	args.stored = stored;
	request->op = static_cast<uint16_t>(Op::MapRecord);
	request->flags = 0;
	request.setArgs(args);
	send(std::move(request), m_route.mapper);
}

bool BlockIo::written(xseg::RequestRef &request, const IoContext &context, bool durable)
{
	if (!context.fua || durable) return true;
	toMapper(std::move(request), Op::MapFlush, IoContext::Step::Flush);
	return false;
}

} // namespace archipelago::composer
