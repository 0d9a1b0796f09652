// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The client: knows from the ledger what its slots must hold, also what an earlier life of it had under way.
#include "tests/xseg/death/roles.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>

namespace xseg::test {
namespace {

constexpr uint32_t kMostOut = 8;

class Client final : public Worker {
public:
	Client(const Segment &segment, const BellFds &bells, Ledger &ledger, Role role, uint64_t seed)
		: Worker(segment, bells, ledger, role, seed)
	{}

private:
	struct Out {
		uint64_t seq;
		Operation op;
		uint32_t first, count; ///< slots of ours; kOnce: first = id
	};

	bool turn() override;
	bool finished() const override
	{
		return m_ledger.clientsStop && m_out.empty() && outboxEmpty() && std::ranges::none_of(slots(), underWay);
	}

	std::array<Ledger::Slot, kSlots> &slots() const
	{
		return *reinterpret_cast<std::array<Ledger::Slot, kSlots> *>(m_ledger.slot[m_role]);
	}
	static bool underWay(const Ledger::Slot &slot) { return slot.underWay != 0; }

	bool start();
	bool startWrite(uint32_t first, uint32_t count);
	bool startRead(uint32_t first, uint32_t count);
	bool startOnce();
	void sendOff(RequestRef request, const Out &out, PortNo to);
	void answered(RequestRef reply);
	void checkRead(const RequestRef &reply, const Out &out);

	std::map<RequestIndex, Out> m_out;
	std::array<bool, kSlots> m_busy{};
};

bool Client::turn()
{
	bool busy = false;
	while (RequestRef reply = port().receive()) {
		answered(std::move(reply));
		busy = true;
	}
	while (RequestRef request = port().accept()) m_ledger.violation("client %u was sent a request", m_role);
	while (m_out.size() < kMostOut && start()) busy = true;
	return busy;
}

/// What an earlier life left under way goes first, slot by slot: read it, or write it again.
bool Client::start()
{
	for (uint32_t slot = 0; slot < kSlots; ++slot) {
		if (m_busy[slot] || !underWay(slots()[slot])) continue;
		return below(2) ? startRead(slot, 1) : startWrite(slot, 1);
	}
	if (m_ledger.clientsStop) return false;
	if (below(8) == 0) return startOnce();
	const uint32_t count = 1 + below(kMostSlots), first = below(kSlots - count + 1);
	if (std::any_of(m_busy.begin() + first, m_busy.begin() + first + count, [](bool b) { return b; })) return false;
	return below(2) ? startRead(first, count) : startWrite(first, count);
}

bool Client::startWrite(uint32_t first, uint32_t count)
{
	RequestRef request = port().get(count * kSlotBytes);
	if (!request) return false;
	const auto data = request.data();
	if (data.size() != count * kSlotBytes) return false; // somebody scribbles on our request
	for (uint32_t i = 0; i < count; ++i) {
		Ledger::Slot &slot = slots()[first + i];
		if (!underWay(slot)) slot.underWay = ++m_ledger.serial;
		for (uint32_t n = 0; n < kSlotWords; ++n) {
			const uint64_t word = Ledger::wordOf(slot.underWay, n);
			std::memcpy(&data[i * kSlotBytes + n * 8], &word, 8);
		}
	}
	sendOff(std::move(request), {.seq = 0, .op = kWrite, .first = first, .count = count}, portOf(kComposer));
	return true;
}

bool Client::startRead(uint32_t first, uint32_t count)
{
	RequestRef request = port().get(count * kSlotBytes);
	if (!request) return false;
	std::ranges::fill(request.data(), std::byte{0xee});
	sendOff(std::move(request), {.seq = 0, .op = kRead, .first = first, .count = count}, portOf(kComposer));
	return true;
}

bool Client::startOnce()
{
	RequestRef request = port().get();
	if (!request) return false;
	const auto id = uint32_t(++m_ledger.serial % kOnceIds);
	m_ledger.once[id] = 0;
	sendOff(std::move(request), {.seq = 0, .op = kOnce, .first = id, .count = 0}, portOf(kBlocker));
	return true;
}

void Client::sendOff(RequestRef request, const Out &out, PortNo to)
{
	std::fill_n(m_busy.begin() + (out.op == kOnce ? 0 : out.first), out.count, true);
	Out &entry = m_out[request.index()] = out;
	entry.seq = request->seq;
	request->op = out.op;
	request->offset = out.op == kOnce ? out.first : m_role * kSlots + out.first;
	request->size = out.count;
	submit(std::move(request), to);
}

/// The answer to what this very life has sent, once. What op and offset say now is nobody's business.
void Client::answered(RequestRef reply)
{
	const auto found = m_out.find(reply.index());
	if (found == m_out.end()) return m_ledger.violation("client %u: an answer to nothing (request %u)", m_role, reply.index());
	const Out out = found->second;
	m_out.erase(found);
	if (reply->seq != out.seq || reply->npath != 0)
		return m_ledger.violation("client %u: an answer to an earlier request", m_role);
	std::fill_n(m_busy.begin() + (out.op == kOnce ? 0 : out.first), out.count, false);
	++m_ledger.answers;
	const int32_t status = reply->status;
	if (status != 0 && status != -EOWNERDEAD) return m_ledger.violation("client %u: status %d", m_role, status);
	m_ledger.ownerDead += status != 0;
	if (out.op == kOnce) {
		const uint32_t times = m_ledger.once[out.first];
		if (times > 1 || (status == 0 && times == 0))
			m_ledger.violation("carried out %u times, status %d", times, status);
	} else if (status == 0 && out.op == kRead) {
		checkRead(reply, out);
	} else if (status == 0) {
		for (uint32_t slot = out.first; slot < out.first + out.count; ++slot) {
			if (m_ledger.recorded[m_role * kSlots + slot] != slots()[slot].underWay)
				return m_ledger.violation("client %u: slot %u is acknowledged, but not recorded", m_role, slot);
			slots()[slot].acknowledged = slots()[slot].underWay.load();
			slots()[slot].underWay = 0; // killed before this: it is written once more, which changes nothing
		}
	}
	std::ranges::fill(reply.data(), std::byte{0xdd}); // ours again: whoever still writes it to the disk shows it
}

void Client::checkRead(const RequestRef &reply, const Out &out)
{
	const auto data = reply.data();
	if (data.size() != out.count * kSlotBytes) return m_ledger.violation("client %u: a read without its buffer", m_role);
	for (uint32_t at = 0; at < out.count * kSlotWords; ++at) {
		const Ledger::Slot &slot = slots()[out.first + at / kSlotWords];
		const uint32_t n = at % kSlotWords;
		uint64_t word;
		std::memcpy(&word, &data[at * 8], 8);
		const uint64_t wanted = slot.acknowledged, perhaps = slot.underWay;
		if (word == Ledger::wordOf(wanted, n) || (perhaps != 0 && word == Ledger::wordOf(perhaps, n))) continue;
		return m_ledger.violation("slot %u of client %u reads %llx, acknowledged was %llx, under way %llx",
		                          out.first + at / kSlotWords, m_role, static_cast<unsigned long long>(word >> 8),
		                          static_cast<unsigned long long>(wanted), static_cast<unsigned long long>(perhaps));
	}
}

} // namespace

std::unique_ptr<Worker> makeClient(const Segment &segment, const BellFds &bells, Ledger &ledger, Role role, uint64_t seed)
{
	return std::make_unique<Client>(segment, bells, ledger, role, seed);
}

} // namespace xseg::test
