// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Composer and blocker. What they know beyond the segment dies with them, as it does with the real ones.
#include "tests/xseg/death/roles.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

namespace xseg::test {
namespace {

class Composer final : public Worker {
public:
	using Worker::Worker;

private:
	struct Whole {
		RequestRef request;
		uint32_t count = 0, sent = 0, back = 0;
		int32_t status = 0;
	};
	struct Part {
		RequestIndex whole;
		uint32_t slot;
		bool copied;
	};
	enum class Step : uint8_t { Asking, Storing, Recording };
	struct Single {
		Operation op;
		uint64_t offset;
		Step step = Step::Asking;
	};

	bool turn() override;
	bool finished() const override { return m_ledger.serversStop && outboxEmpty() && m_wholes.empty() && m_singles.empty(); }
	void begin(RequestRef request);
	bool sendParts();
	void replied(RequestRef reply);
	void joined(RequestRef part);
	void record(RequestRef request, uint64_t offset);

	std::map<RequestIndex, Whole> m_wholes;
	std::map<RequestIndex, Part> m_parts;
	std::map<RequestIndex, Single> m_singles;
};

bool Composer::turn()
{
	bool busy = false;
	while (RequestRef reply = port().receive()) {
		replied(std::move(reply));
		busy = true;
	}
	while (RequestRef request = port().accept()) {
		begin(std::move(request));
		busy = true;
	}
	return sendParts() || busy;
}

void Composer::begin(RequestRef request)
{
	const RequestIndex index = request.index();
	const auto op = Operation(request->op);
	const uint64_t count = request->size;
	if ((op != kWrite && op != kRead) || count == 0 || count > kMostSlots || request.data().size() != count * kSlotBytes) {
		m_ledger.violation("composer: a request that nobody sent: op %u, size %u, data %zu", op, unsigned(count), request.data().size());
		return;
	}
	if (count == 1) {
		m_singles[index] = {.op = op, .offset = request->offset};
		request->op = kAsk;
		request.setArgs(index);
		return forward(std::move(request), portOf(kBlocker));
	}
	Whole &whole = m_wholes[index];
	whole.count = uint32_t(count);
	whole.request = std::move(request);
}

bool Composer::sendParts()
{
	bool busy = false;
	for (auto &[index, whole] : m_wholes) {
		for (; whole.sent < whole.count; ++whole.sent) {
			const bool copied = whole.request->op == kWrite && below(4) == 0;
			RequestRef part = copied ? port().get(kSlotBytes) : port().get();
			if (!part) return busy;
			const auto from = whole.request.data(), to = part.data();
			if (copied && from.size() == whole.count * kSlotBytes && to.size() == kSlotBytes) {
				std::memcpy(to.data(), &from[whole.sent * kSlotBytes], kSlotBytes);
			} else {
				part->data_blk = whole.request->data_blk;
				part->data_off = whole.request->data_off + whole.sent * kSlotBytes;
				part->data_len = kSlotBytes;
			}
			part->op = whole.request->op == kWrite ? kStoreWrite : kStoreRead;
			part->offset = whole.request->offset + whole.sent;
			m_parts[part.index()] = {.whole = index, .slot = whole.sent, .copied = copied};
			submit(std::move(part), portOf(kBlocker));
			busy = true;
		}
	}
	return busy;
}

void Composer::replied(RequestRef reply)
{
	if (reply->npath == 0) return joined(std::move(reply));
	const auto found = m_singles.find(reply.index());
	if (found == m_singles.end()) return m_ledger.violation("composer: a reply to what it never forwarded");
	Single &single = found->second;
	const int32_t status = reply->status;
	if (status == 0 && single.step == Step::Storing && single.op == kWrite) {
		single.step = Step::Recording;
		return record(std::move(reply), single.offset);
	}
	if (status == 0 && single.step == Step::Asking) {
		single.step = Step::Storing;
		reply->op = single.op == kWrite ? kStoreWrite : kStoreRead;
		reply.setArgs(single.offset);
		return forward(std::move(reply), portOf(kBlocker));
	}
	reply->op = single.op;
	m_singles.erase(found);
	respond(std::move(reply), status);
}

void Composer::joined(RequestRef part)
{
	const auto found = m_parts.find(part.index());
	if (found == m_parts.end()) return m_ledger.violation("composer: a reply to a part it never sent");
	const RequestIndex index = found->second.whole;
	m_parts.erase(found);
	Whole &whole = m_wholes[index];
	if (part->status != 0) whole.status = part->status;
	part.reset();
	if (++whole.back < whole.count) return;
	RequestRef request = std::move(whole.request);
	const int32_t status = whole.status;
	m_wholes.erase(index);
	if (status != 0 || request->op == kRead) return respond(std::move(request), status);
	m_singles[index] = {.op = kWrite, .offset = request->offset, .step = Step::Recording};
	const uint64_t offset = request->offset;
	record(std::move(request), offset);
}

void Composer::record(RequestRef request, uint64_t offset)
{
	request->op = kRecord;
	request.setArgs(offset);
	forward(std::move(request), portOf(kBlocker));
}

class Blocker final : public Worker {
public:
	using Worker::Worker;

private:
	bool turn() override;
	bool finished() const override { return m_ledger.serversStop && outboxEmpty() && m_inHand.empty(); }
	void carryOut(RequestRef request);

	std::vector<RequestRef> m_inHand;
};

bool Blocker::turn()
{
	bool busy = false;
	while (RequestRef reply = port().receive()) m_ledger.violation("the blocker was sent a reply");
	for (unsigned i = 1 + below(5); i > 0; --i) { // at least one: what stays in the ring rings no second time
		RequestRef request = port().accept();
		if (!request) break;
		m_inHand.push_back(std::move(request));
		busy = true;
	}
	for (unsigned i = below(4); i > 0 && !m_inHand.empty(); --i) {
		std::swap(m_inHand[below(uint32_t(m_inHand.size()))], m_inHand.back());
		RequestRef request = std::move(m_inHand.back());
		m_inHand.pop_back();
		carryOut(std::move(request));
		busy = true;
	}
	return busy || !m_inHand.empty();
}

void Blocker::carryOut(RequestRef request)
{
	const auto op = Operation(request->op);
	const uint64_t offset = request->offset;
	const auto data = request.data();
	if (op == kOnce && offset < kOnceIds) {
		++m_ledger.once[offset];
	} else if ((op == kStoreRead || op == kStoreWrite) && offset < kClients * kSlots && data.size() == kSlotBytes) {
		for (uint32_t n = 0; n < kSlotWords; ++n) {
			uint64_t word = m_ledger.disk[offset][n];
			if (op == kStoreWrite) std::memcpy(&word, &data[n * 8], 8);
			// Whatever is written here is what this slot's client is writing now: nothing old, nobody else's buffer.
			const uint64_t wanted = m_ledger.slot[offset / kSlots][offset % kSlots].underWay;
			if (op == kStoreWrite && word != Ledger::wordOf(wanted, n))
				m_ledger.violation("blocker: word %u of slot %u would become %llx, under way is %llx (request %u of port %u, use "
				                   "%llu, buffer %u, path of %u from %x, attempts %u)",
				                   n, unsigned(offset), static_cast<unsigned long long>(word),
				                   static_cast<unsigned long long>(wanted), request.index(), request->home,
				                   static_cast<unsigned long long>(request->seq), request->data_blk, request->npath,
				                   request->path[0], request->attempts);
			if (op == kStoreWrite) m_ledger.disk[offset][n] = word;
			std::memcpy(&data[n * 8], &word, 8);
		}
	} else if (op == kRecord && offset + data.size() / kSlotBytes <= kClients * kSlots) {
		for (uint64_t i = 0; i < data.size() / kSlotBytes; ++i) {
			uint64_t word;
			std::memcpy(&word, &data[i * kSlotBytes], 8);
			m_ledger.recorded[offset + i] = word >> 8;
		}
	} else if (op != kAsk) {
		m_ledger.violation("blocker: a request that nobody sent: op %u, offset %llu, data %zu", op,
		                   static_cast<unsigned long long>(offset), data.size());
	}
	respond(std::move(request), 0);
}

} // namespace

std::unique_ptr<Worker> makeComposer(const Segment &segment, const BellFds &bells, Ledger &ledger, uint64_t seed)
{
	return std::make_unique<Composer>(segment, bells, ledger, kComposer, seed);
}

std::unique_ptr<Worker> makeBlocker(const Segment &segment, const BellFds &bells, Ledger &ledger, uint64_t seed)
{
	return std::make_unique<Blocker>(segment, bells, ledger, kBlocker, seed);
}

} // namespace xseg::test
