// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// SegmentClient and CatalogClient against a peer that answers, hesitates, vanishes and lies. The test's event loop is poll(2)
// on the client's descriptor and nothing else, so an answer that does not ring the bell hangs the test.
#include "daemon/client/catalog_client.h"
#include "tests/daemon/client/scripted_peer.h"

#include <QtTest>

#include <poll.h>

#include <set>

using namespace archipelago;
using namespace archipelago::client;
using archipelago::testing::ScriptedPeer;

namespace {

constexpr xseg::PortNo kOurPort = 10, kPeerPort = 20;
constexpr int kGuardMs = 20'000;

std::string textIn(const xseg::RequestRef &request)
{
	const auto data = request.data();
	const uint64_t size = request->size;
	return size <= data.size() ? std::string(reinterpret_cast<const char *>(data.data()), size) : "size is beyond the buffer";
}

void putText(const xseg::RequestRef &request, std::string_view text)
{
	std::memcpy(request.data().data(), text.data(), text.size());
	request->serviced = text.size();
}

VolumeInfo infoOf(std::string_view name)
{
	VolumeInfo info;
	info.state = 1;
	info.sizeBytes = 4096;
	info.nameLength = static_cast<uint16_t>(name.size());
	std::memcpy(info.name, name.data(), std::min(name.size(), sizeof info.name));
	return info;
}

void putInfos(const xseg::RequestRef &request, const std::vector<VolumeInfo> &infos, uint64_t next)
{
	const auto data = request.data();
	std::memcpy(data.data(), infos.data(), infos.size() * sizeof(VolumeInfo));
	request->serviced = infos.size() * sizeof(VolumeInfo);
	ListArgs args;
	args.cursor = next;
	request.setArgs(args);
}

void answerOk(ScriptedPeer &peer, xseg::RequestRef request)
{
	peer.answer(std::move(request), 0);
}

void hold(ScriptedPeer &peer, xseg::RequestRef request)
{
	peer.held().push_back(std::move(request));
}

} // namespace

class TestSegmentClient : public QObject {
	Q_OBJECT

private:
	std::optional<xseg::Segment> m_segment;
	xseg::BellFds m_bells;
	std::unique_ptr<SegmentClient> m_client;

	/// The event loop: process, then sleep on the descriptor for as long as the client says. False: nothing came.
	bool runUntil(const std::function<bool()> &done)
	{
		const uint64_t guard = SegmentClient::nowNs() + uint64_t(kGuardMs) * 1'000'000;
		for (;;) {
			m_client->process();
			if (done()) return true;
			const uint64_t now = SegmentClient::nowNs();
			if (now > guard) return false;
			const auto next = m_client->nextDeadlineNs();
			const int ms = next ? static_cast<int>(*next > now ? (*next - now) / 1'000'000 + 1 : 0) : kGuardMs;
			pollfd p{m_client->pollFd(), POLLIN, 0};
			::poll(&p, 1, ms);
		}
	}
	/// Sends, and waits for the answer.
	Result<ControlReply> ask(ControlRequest request)
	{
		std::optional<Result<ControlReply>> answer;
		int calls = 0;
		m_client->request(std::move(request), [&](Result<ControlReply> r) {
			answer.emplace(std::move(r));
			calls++;
		});
		if (!runUntil([&] { return answer.has_value(); })) return failure(ErrorCode::Failed, "the test's guard ran out");
		if (calls != 1) return failure(ErrorCode::Failed, "the callback was called more than once");
		return std::move(*answer);
	}
	static ControlRequest requestOf(Op op, std::string payload = {}, uint32_t capacity = kControlBytes, uint64_t timeoutMs = 10'000)
	{
		ControlRequest request;
		request.op = op;
		request.to = kPeerPort;
		request.payload = std::move(payload);
		request.replyCapacity = capacity;
		request.timeoutMs = timeoutMs;
		return request;
	}

private slots:
	void init()
	{
		xseg::SegmentConfig config;
		config.ports = 64;
		config.sizeBytes = 64u << 20;
		auto segment = xseg::Segment::create(config);
		QVERIFY(segment.has_value());
		m_segment.emplace(std::move(*segment));
		auto bells = xseg::createBells(2);
		QVERIFY(bells.has_value());
		m_bells = std::move(*bells);
		SegmentClient::Options options;
		options.port = kOurPort;
		auto client = SegmentClient::create(*m_segment, m_bells, options);
		QVERIFY(client.has_value());
		m_client = std::move(*client);
	}
	void cleanup()
	{
		m_client.reset();
		m_bells.clear();
		m_segment.reset();
	}

	void aPingIsAnswered()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, answerOk);
		std::optional<Result<void>> answer;
		ping(*m_client, kPeerPort, 10'000, [&](Result<void> r) { answer = std::move(r); });
		QVERIFY(runUntil([&] { return answer.has_value(); }));
		QVERIFY(answer->has_value());
		QCOMPARE(m_client->outstanding(), size_t(0));
	}

	void payloadAndArgumentsTravelBothWays()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, [](ScriptedPeer &self, xseg::RequestRef request) {
			const std::string name = textIn(request);
			putText(request, "hello " + name);
			request->args[0] = static_cast<uint8_t>(request->args[0] + 1);
			self.answer(std::move(request), 0);
		});
		ControlRequest request = requestOf(Op::CatInfo, "web");
		request.args[0] = std::byte{41};
		const auto reply = ask(std::move(request));
		QVERIFY2(reply.has_value(), reply ? "" : reply.error().message.c_str());
		QCOMPARE(reply->serviced, uint64_t(9));
		QCOMPARE(std::string(reinterpret_cast<const char *>(reply->data.data()), 9), std::string("hello web"));
		QCOMPARE(reply->data.size(), size_t(kControlBytes));
		QCOMPARE(int(reply->args[0]), 42);
	}

	void whatThePeerDoesNotWriteIsZero()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, answerOk);
		QVERIFY(ask(requestOf(Op::CatInfo, std::string(500, 'x'))).has_value());
		// The same buffer again: nothing of the first request shows.
		const auto reply = ask(requestOf(Op::CatInfo, "y"));
		QVERIFY(reply.has_value());
		QCOMPARE(reply->data[1], std::byte{0});
	}

	void aRefusalCarriesThePeersWords()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, [](ScriptedPeer &self, xseg::RequestRef request) {
			putText(request, "Volume web is open.\x1b[31m");
			self.answer(std::move(request), wireStatus(ErrorCode::Busy));
		});
		const auto reply = ask(requestOf(Op::CatRemove, "web"));
		QVERIFY(!reply.has_value());
		QCOMPARE(reply.error().code, ErrorCode::Busy);
		QCOMPARE(reply.error().message, std::string("Volume web is open. [31m")); // no escape sequence
	}

	void aRefusalWithoutWordsGetsTheTablesText()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort,
		                        [](ScriptedPeer &self, xseg::RequestRef r) { self.answer(std::move(r), wireStatus(ErrorCode::NotOpen)); });
		const auto reply = ask(requestOf(Op::CatClose, "web"));
		QCOMPARE(reply.error().code, ErrorCode::NotOpen);
		QCOMPARE(reply.error().message, std::string(errorInfo(ErrorCode::NotOpen).text));
	}

	void nobodyThereIsToldAtOnce()
	{
		const auto reply = ask(requestOf(Op::CatInfo, "web", kControlBytes, 0));
		QVERIFY(!reply.has_value());
		QCOMPARE(reply.error().code, ErrorCode::Peer);
		QCOMPARE(m_client->outstanding(), size_t(0));
	}

	void aDeadlineAbandonsWaitingButNotTheBuffer()
	{
		ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, hold);
		int calls = 0;
		std::optional<ErrorCode> code;
		m_client->request(requestOf(Op::CatInfo, "precious", kControlBytes, 50), [&](Result<ControlReply> r) {
			calls++;
			code = r ? std::optional<ErrorCode>() : r.error().code;
		});
		QVERIFY(runUntil([&] { return calls == 1; }));
		QCOMPARE(code, std::optional(ErrorCode::Timeout));
		QCOMPARE(m_client->outstanding(), size_t(1));

		// New requests get other buffers: what the peer still holds is untouched.
		for (int i = 0; i < 20; i++)
			m_client->request(requestOf(Op::CatInfo, "other", kControlBytes, 1), [](Result<ControlReply>) {});
		std::string seen;
		peer.post([&](xseg::Port &) { seen = textIn(peer.held().front()); });
		QCOMPARE(seen, std::string("precious"));

		// The late answers free everything, and nobody is called again.
		peer.post([&](xseg::Port &) {
			for (auto &request : peer.held()) peer.answer(std::move(request), 0);
			peer.held().clear();
		});
		QVERIFY(runUntil([&] { return m_client->outstanding() <= 20; }));
		peer.post([&](xseg::Port &) {
			for (auto &request : peer.held()) peer.answer(std::move(request), 0);
			peer.held().clear();
		});
		QVERIFY(runUntil([&] { return m_client->outstanding() == 0; }));
		QCOMPARE(calls, 1);
	}

	void anAnswerRingsWhileTheLoopSleeps()
	{
		ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, hold);
		bool answered = false;
		m_client->request(requestOf(Op::Ping, {}, 0), [&](Result<ControlReply> r) { answered = r.has_value(); });
		m_client->process();
		// From here nothing of the client runs: only the descriptor can tell.
		bool held = false;
		while (!held) peer.post([&](xseg::Port &) { held = !peer.held().empty(); });
		pollfd p{m_client->pollFd(), POLLIN, 0};
		QCOMPARE(::poll(&p, 1, 0), 0);
		peer.post([&](xseg::Port &) {
			peer.answer(std::move(peer.held().front()), 0);
			peer.held().clear();
		});
		QCOMPARE(::poll(&p, 1, kGuardMs), 1);
		m_client->process();
		QVERIFY(answered);
	}

	void moreRequestsThanCreditAllComeBack()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, answerOk);
		constexpr int kCount = 500;
		int answered = 0;
		for (int i = 0; i < kCount; i++)
			m_client->request(requestOf(Op::CatInfo, std::to_string(i)), [&](Result<ControlReply> r) { answered += r.has_value(); });
		QVERIFY(runUntil([&] { return answered == kCount; }));
		QCOMPARE(m_client->outstanding(), size_t(0));
		QVERIFY(!m_client->nextDeadlineNs());
	}

	void aPeerThatHoldsEverythingDoesNotHoldUpAnother()
	{
		ScriptedPeer stuck(*m_segment, m_bells, 1, kPeerPort, hold);
		int refused = 0;
		for (int i = 0; i < 40; i++)
			m_client->request(requestOf(Op::CatInfo, "x", kControlBytes, 50), [&](Result<ControlReply> r) { refused += !r.has_value(); });
		ControlRequest other = requestOf(Op::Ping, {}, 0);
		other.to = kPeerPort + 1; // nobody there
		const auto reply = ask(std::move(other));
		QCOMPARE(reply.error().code, ErrorCode::Peer);
		QVERIFY(runUntil([&] { return refused == 40; }));
		stuck.post([&](xseg::Port &) { stuck.held().clear(); }); // dropped: they fail back
		QVERIFY(runUntil([&] { return m_client->outstanding() == 0; }));
	}

	void liesInTheAnswerAreNotBelieved()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, [](ScriptedPeer &self, xseg::RequestRef request) {
			const bool refuse = request->op == static_cast<uint16_t>(Op::CatRemove);
			std::memcpy(request.data().data(), "true", 4);
			request->serviced = uint64_t(1) << 60;
			request->data_blk = 0xfffffff0u;
			request->data_off = 0x7fffffffu;
			request->data_len = 0xffffffffu;
			self.answer(std::move(request), refuse ? -123456 : 0);
		});
		const auto reply = ask(requestOf(Op::CatInfo, "web"));
		QVERIFY(reply.has_value());
		QCOMPARE(std::string(reinterpret_cast<const char *>(reply->data.data()), 4), std::string("true"));
		const auto refused = ask(requestOf(Op::CatRemove, "web"));
		QVERIFY(!refused.has_value());
		QCOMPARE(refused.error().code, ErrorCode::Failed); // an unknown code
		QVERIFY(refused.error().message.size() <= kControlBytes);
		// And nothing was lost by it.
		QCOMPARE(m_client->outstanding(), size_t(0));
	}

	void requestsToUsFailBack()
	{
		std::optional<int32_t> status;
		ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, answerOk);
		xseg::RequestRef sent;
		peer.post([&](xseg::Port &port) {
			auto request = port.get();
			port.submit(request, kOurPort);
		});
		// The scripted peer drops its replies; that its request came home is all there is to see.
		QVERIFY(runUntil([&] {
			uint32_t out = 1;
			peer.post([&](xseg::Port &port) { out = port.inflight(); });
			return out == 0;
		}));
	}

	void failAllTellsEverybodyOnce()
	{
		ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, hold);
		std::vector<ErrorCode> codes;
		for (int i = 0; i < 3; i++)
			m_client->request(requestOf(Op::CatInfo, "x"), [&](Result<ControlReply> r) { codes.push_back(r.error().code); });
		m_client->failAll(Error{ErrorCode::Peer, "gone"});
		QCOMPARE(codes, std::vector(3, ErrorCode::Peer));
		QCOMPARE(m_client->outstanding(), size_t(3));
		int held = 0;
		while (held < 3) peer.post([&](xseg::Port &) { held = static_cast<int>(peer.held().size()); });
		peer.post([&](xseg::Port &) { peer.held().clear(); });
		QVERIFY(runUntil([&] { return m_client->outstanding() == 0; }));
		QCOMPARE(codes.size(), size_t(3));
	}

	void aBoundPortIsRefused()
	{
		SegmentClient::Options options;
		options.port = kOurPort;
		options.waiter = 1;
		const auto second = SegmentClient::create(*m_segment, m_bells, options);
		QVERIFY(!second.has_value());
		QCOMPARE(second.error().code, ErrorCode::Peer);
		options.waiter = 99;
		QCOMPARE(SegmentClient::create(*m_segment, m_bells, options).error().code, ErrorCode::Invalid);
	}

	// ---- CatalogClient

	void createSendsNameAndSizeAndReturnsTheId()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, [](ScriptedPeer &self, xseg::RequestRef request) {
			auto args = request.args<CreateArgs>();
			const bool right = textIn(request) == "web" && args.sizeBytes == 10u << 20 && request->op == uint16_t(Op::CatCreate);
			args.volume.bytes.fill(0xab);
			request.setArgs(args);
			self.answer(std::move(request), right ? 0 : wireStatus(ErrorCode::Invalid));
		});
		std::optional<Result<VolumeId>> id;
		CatalogClient(*m_client, kPeerPort).create("web", 10u << 20, [&](Result<VolumeId> r) { id = std::move(r); });
		QVERIFY(runUntil([&] { return id.has_value(); }));
		QVERIFY(id->has_value());
		QCOMPARE(formatVolumeId(**id), std::string("abababababababababababababababab"));
	}

	void listsAreReadToTheirEnd()
	{
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, [](ScriptedPeer &self, xseg::RequestRef request) {
			const uint64_t cursor = request.args<ListArgs>().cursor;
			putInfos(request, {infoOf("v" + std::to_string(2 * cursor)), infoOf("v" + std::to_string(2 * cursor + 1))}, cursor == 2 ? 0 : cursor + 1);
			self.answer(std::move(request), 0);
		});
		std::optional<Result<std::vector<VolumeInfo>>> list;
		CatalogClient(*m_client, kPeerPort).listAll([&](auto r) { list = std::move(r); });
		QVERIFY(runUntil([&] { return list.has_value(); }));
		std::set<std::string> names;
		for (const VolumeInfo &info : list->value()) names.emplace(nameOf(info));
		QCOMPARE(names, (std::set<std::string>{"v0", "v1", "v2", "v3", "v4", "v5"}));
	}

	void damagedListsAreRefused_data()
	{
		QTest::addColumn<int>("serviced");
		QTest::addColumn<int>("nameLength");
		QTest::newRow("half a record") << int(sizeof(VolumeInfo)) / 2 << 3;
		QTest::newRow("beyond the buffer") << (100 << 20) << 3;
		QTest::newRow("no name") << int(sizeof(VolumeInfo)) << 0;
		QTest::newRow("name too long") << int(sizeof(VolumeInfo)) << 83;
		QTest::newRow("name far too long") << int(sizeof(VolumeInfo)) << 65535;
	}
	void damagedListsAreRefused()
	{
		QFETCH(const int, serviced);
		QFETCH(const int, nameLength);
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, [=](ScriptedPeer &self, xseg::RequestRef request) {
			VolumeInfo info = infoOf("web");
			info.nameLength = static_cast<uint16_t>(nameLength);
			putInfos(request, {info}, 0);
			request->serviced = static_cast<uint64_t>(serviced);
			self.answer(std::move(request), 0);
		});
		std::optional<Result<std::vector<VolumeInfo>>> list;
		CatalogClient(*m_client, kPeerPort).listAll([&](auto r) { list = std::move(r); });
		QVERIFY(runUntil([&] { return list.has_value(); }));
		QVERIFY(!list->has_value());
		QCOMPARE(list->error().code, ErrorCode::Corrupt);
	}

	void health_data()
	{
		QTest::addColumn<QByteArray>("text");
		QTest::addColumn<int>("extra"); // bytes that the peer says it wrote besides
		QTest::addColumn<int>("volumes"); // -1: E-CORRUPT
		const QByteArray line = "db\tE-IO\tVolume db has stopped.\n";
		QTest::newRow("all is well") << QByteArray() << 0 << 0;
		QTest::newRow("one") << line << 0 << 1;
		QTest::newRow("three") << line + "a b\tE-NOSPACE\t\n" + "c\tE-NEW\tof tomorrow\n" << 0 << 3;
		QTest::newRow("not ended") << line.chopped(1) << 0 << -1;
		QTest::newRow("no symbol") << QByteArray("db\tE-IO\n") << 0 << -1;
		QTest::newRow("symbol of the next line") << QByteArray("db\nx\tE-IO\ty\n") << 0 << -1;
		QTest::newRow("no name") << QByteArray("\tE-IO\tx\n") << 0 << -1;
		QTest::newRow("beyond the buffer") << line << (100 << 20) << -1;
	}
	void health()
	{
		QFETCH(const QByteArray, text);
		QFETCH(const int, extra);
		QFETCH(const int, volumes);
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, [=](ScriptedPeer &self, xseg::RequestRef request) {
			const bool right = request->op == uint16_t(Op::CatHealth) && request.data().size() >= size_t(text.size());
			if (!text.isEmpty()) std::memcpy(request.data().data(), text.data(), size_t(text.size()));
			request->serviced = uint64_t(text.size() + extra);
			self.answer(std::move(request), right ? 0 : wireStatus(ErrorCode::Invalid));
		});
		std::optional<Result<std::vector<StoppedVolume>>> stopped;
		CatalogClient(*m_client, kPeerPort).health([&](auto r) { stopped = std::move(r); });
		QVERIFY(runUntil([&] { return stopped.has_value(); }));
		if (volumes < 0) {
			QVERIFY(!stopped->has_value());
			QCOMPARE(stopped->error().code, ErrorCode::Corrupt);
			return;
		}
		QVERIFY(stopped->has_value());
		QCOMPARE((*stopped)->size(), size_t(volumes));
		const std::vector<StoppedVolume> expected{{"db", ErrorCode::Io, "Volume db has stopped."},
		                                          {"a b", ErrorCode::NoSpace, ""},
		                                          {"c", ErrorCode::Failed, "of tomorrow"}};
		for (size_t n = 0; n < (*stopped)->size(); ++n) {
			QCOMPARE((**stopped)[n].name, expected[n].name);
			QCOMPARE((**stopped)[n].code, expected[n].code);
			QCOMPARE((**stopped)[n].message, expected[n].message);
		}
	}

	void infoWithoutARecordIsCorrupt()
	{
		// Answers success without writing anything: the zeroed buffer is not taken for a volume.
		const ScriptedPeer peer(*m_segment, m_bells, 1, kPeerPort, [](ScriptedPeer &self, xseg::RequestRef request) {
			std::memset(request.data().data(), 0, request.data().size());
			self.answer(std::move(request), 0);
		});
		std::optional<Result<VolumeInfo>> info;
		CatalogClient(*m_client, kPeerPort).info("web", [&](auto r) { info = std::move(r); });
		QVERIFY(runUntil([&] { return info.has_value(); }));
		QCOMPARE(info->error().code, ErrorCode::Corrupt);
	}
};

QTEST_GUILESS_MAIN(TestSegmentClient)
#include "tst_segment_client.moc"
