// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See fault_store.h. A Passing is the operation that the store below sees; what it writes from is a copy when the answer comes
// before the deed, because the sender's buffer is gone by then.
#include "daemon/store/fault/fault_store.h"

#include <algorithm>

namespace archipelago::store {

bool Fault::matches(const StoreOp &operation) const
{
	const bool ofObjects = operation.op != Op::ObjSyncAll && operation.op != Op::ObjCapacity && operation.op != Op::ObjList;
	const bool ofOne = ofObjects && operation.op != Op::ObjSyncVolume;
	return (!op || *op == operation.op) && (!kind || (ofOne && *kind == operation.id.kind)) &&
	       (!volume || (ofObjects && *volume == operation.id.volume)) && (!object || (ofOne && *object == operation.id));
}

struct FaultStore::Passing : StoreOp {
	Passing(FaultStore &through, StoreOp &from) : store(through), outer(&from), timer(through.m_reactor, [this] { due(); })
	{
		op = from.op;
		id = from.id;
		name = from.name;
		offset = from.offset;
		data = from.data;
		fua = from.fua;
		mayExist = from.mayExist;
		list = from.list;
		size = from.size;
		StoreOp::done = [](StoreOp &ended) {
			auto &passing = static_cast<Passing &>(ended);
			passing.store.ended(passing);
		};
	}
	void due() { store.letGo(this); }
	/// From now on nothing of the sender's is used.
	void keepData()
	{
		copy.assign(data.begin(), data.end());
		data = copy;
		nameCopy = name;
		name = nameCopy;
		outer = nullptr;
	}

	FaultStore &store;
	StoreOp *outer;          ///< null: answered
	runtime::Timer timer;
	std::vector<std::byte> copy;
	std::string nameCopy;
	std::optional<ErrorCode> failWith; ///< whatever the store says
	std::optional<uint64_t> delayMs;   ///< of the answer; 0: until released
	bool began = false, over = false;
};

FaultStore::FaultStore(runtime::Reactor &reactor, ObjectStore &below, Recording *recording, unsigned index)
    : m_reactor(reactor), m_below(below), m_recording(recording), m_index(index)
{
}

FaultStore::~FaultStore() { ARCHIPELAGO_ASSERT(m_inflight == 0); }

runtime::Task<Result<void>> FaultStore::open(bool createDirs) { return m_below.open(createDirs); }

runtime::Task<void> FaultStore::close()
{
	release();
	m_closing = true; // only now: whoever ends first would wake us, when we may be gone
	while (m_inflight > 0) co_await m_quiet.wait();
}

Fault *FaultStore::faultFor(const StoreOp &op)
{
	for (Fault &fault : m_faults) {
		if (fault.times == 0 || !fault.matches(op)) continue;
		if (fault.skip > 0) {
			--fault.skip;
			continue;
		}
		if (fault.times != kForever) --fault.times;
		return &fault;
	}
	return nullptr;
}

void FaultStore::submit(StoreOp &op)
{
	if (m_crashed || m_closing) return op.fail(m_crashed ? ErrorCode::Io : ErrorCode::Cancelled);
	const Fault *fault = faultFor(op);
	if (fault && fault->what == Fault::What::Fail) return op.fail(fault->error);
	if (fault && fault->what == Fault::What::Lie) {
		op.serviced = op.data.size();
		return op.finish();
	}
	auto *passing = new Passing(*this, op);
	++m_inflight;
	if (!fault) return begin(passing);
	switch (fault->what) {
	case Fault::What::FailDone: passing->failWith = fault->error; break;
	case Fault::What::Tear:
		passing->failWith = fault->error;
		passing->data = passing->data.first(std::min<size_t>(passing->data.size(), fault->sectors * 512));
		break;
	case Fault::What::CreateOver: passing->mayExist = true; break;
	case Fault::What::HoldAnswer: passing->delayMs = fault->delayMs; break;
	case Fault::What::Hold: return hold(passing, fault->delayMs);
	case Fault::What::AnswerEarly:
		passing->keepData();
		hold(passing, 0);
		op.serviced = op.data.size();
		return op.finish();
	default: break;
	}
	begin(passing);
}

void FaultStore::hold(Passing *op, uint64_t delayMs)
{
	m_held.push_back(op);
	if (delayMs > 0) op->timer.startMs(delayMs);
}

void FaultStore::release()
{
	while (!m_held.empty()) letGo(m_held.front());
}

void FaultStore::letGo(Passing *op)
{
	std::erase(m_held, op);
	op->timer.cancel();
	op->over ? answer(op) : begin(op);
}

void FaultStore::begin(Passing *op)
{
	op->began = true;
	m_below.submit(*op);
}

void FaultStore::ended(Passing &op)
{
	op.over = true;
	if (op.ok && isStep(op.op)) {
		++m_steps;
		if (m_recording) {
			Step step;
			step.store = m_index;
			step.op = op.op;
			step.id = op.id;
			step.name = op.name;
			step.offset = op.offset;
			step.size = op.size;
			step.data.assign(op.data.begin(), op.data.end());
			step.fua = op.fua;
			m_recording->push_back(std::move(step));
		}
	}
	const bool last = m_crashed || (op.ok && isStep(op.op) && m_stepsLeft != ~uint64_t{0} && m_stepsLeft-- <= 1);
	if (last && !m_crashed) crash();
	if (m_crashed) op.failWith = ErrorCode::Io; // it happened, but nobody hears of it
	if (op.delayMs && !m_crashed) return hold(&op, *op.delayMs);
	answer(&op);
}

void FaultStore::answer(Passing *op)
{
	StoreOp *outer = op->outer;
	const bool ok = op->ok && !op->failWith;
	const ErrorCode code = op->failWith.value_or(op->error);
	if (outer) {
		outer->size = op->size;
		outer->serviced = op->serviced;
		outer->list = op->list;
	}
	delete op;
	forgetOne();
	if (!outer) return;
	ok ? outer->finish() : outer->fail(code);
}

void FaultStore::forgetOne()
{
	if (--m_inflight == 0 && m_closing) m_reactor.post([this] { m_quiet.wakeAll(); });
}

/// What is with the store below may still happen, and be recorded: it was on its way.
void FaultStore::crash()
{
	m_crashed = true;
	for (Passing *op : std::exchange(m_held, {})) {
		op->timer.cancel();
		op->failWith = ErrorCode::Io;
		op->over = true;
		answer(op);
	}
}

} // namespace archipelago::store
