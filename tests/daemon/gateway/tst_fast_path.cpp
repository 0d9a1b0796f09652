// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What a mapped block costs: a whole node on one reactor, from an NBD client's socket to files. No allocation, and few
// calls of the socket: many commands are received at once, many replies sent at once.
//
// operator new, recvmsg and sendmsg are replaced in this program and counted while the server turns.
#include "tests/daemon/composer/stack.h"
#include "tests/daemon/gateway/nbd_client.h"

#include "daemon/gateway/nbd/server.h"
#include "daemon/store/file/file_store.h"

#include <QTemporaryDir>

#include <sys/syscall.h>

#include <cstdlib>
#include <new>

namespace {

bool counting = false;
unsigned allocations = 0, receives = 0, sends = 0;

void *counted(size_t bytes)
{
	if (counting) ++allocations;
	void *at = std::malloc(bytes);
	if (!at) throw std::bad_alloc();
	return at;
}

} // namespace

void *operator new(size_t bytes) { return counted(bytes); }
void *operator new[](size_t bytes) { return counted(bytes); }
void operator delete(void *at) noexcept { std::free(at); }
void operator delete[](void *at) noexcept { std::free(at); }
void operator delete(void *at, size_t) noexcept { std::free(at); }
void operator delete[](void *at, size_t) noexcept { std::free(at); }

extern "C" ssize_t recvmsg(int fd, msghdr *message, int flags)
{
	if (counting) ++receives;
	return syscall(SYS_recvmsg, fd, message, flags);
}
extern "C" ssize_t sendmsg(int fd, const msghdr *message, int flags)
{
	if (counting) ++sends;
	return syscall(SYS_sendmsg, fd, message, flags);
}

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint16_t kRead = 0, kWrite = 1;
constexpr uint32_t kPiece = 4096;
constexpr unsigned kBlocks = 16, kDepth = 32, kRounds = 200, kWarmUp = 50;
constexpr size_t kReplyBytes = 16, kChunkBytes = 20 + 8; // before the data

runtime::Task<void> format(store::FileStore &store)
{
	const Result<void> opened = co_await store.open(true);
	if (!opened) qFatal("format: %s", opened.error().message.c_str());
	co_await store.close();
}

std::unique_ptr<store::ObjectStore> fileStore(Rig &rig, const QTemporaryDir &at, const char *name, store::Purpose purpose)
{
	store::FileStoreOptions options;
	options.dir = at.filePath(name).toStdString();
	options.role = name;
	options.purpose = purpose;
	store::FileStore first(*rig.reactor, options);
	rig.run(format(first));
	return std::make_unique<store::FileStore>(*rig.reactor, options);
}

struct Node : Rig {
	QTemporaryDir directory;
	Config config;
	Stack stack;
	Actor service{*this, 1};
	std::unique_ptr<runtime::Peer> gateway;

	Node()
	    : Rig(192u << 20), config(configIn(directory)),
	      stack(*this, config, fileStore(*this, directory, "blocks", store::Purpose::Data), fileStore(*this, directory, "maps", store::Purpose::Maps))
	{
		if (stack.create(service, "vol", kBlocks * kBlockBytes) != 0) qFatal("create");
		gateway = gateway::nbd::makeNbdGateway(runtime::PeerContext(*reactor, config));
		run(startPeer(*gateway));
	}
	~Node()
	{
		Result<void> stopped;
		run(stopPeer(*gateway, stopped));
		gateway.reset();
		stopped = stack.stop();
		if (!stopped) qFatal("stop: %s", stopped.error().message.c_str());
	}
	static Config configIn(const QTemporaryDir &at)
	{
		Config out;
		out.nbd.portnoStart = 40;
		out.nbd.portnoEnd = 43;
		out.nbd.composerPort = kNodeComposer;
		out.nbd.exports = NbdExports::All;
		out.nbd.socket = at.filePath("nbd.sock").toStdString();
		return out;
	}

	/// Sends `bytes`, turns until `expected` bytes have come, without an allocation of its own.
	bool exchange(int fd, const std::string &bytes, size_t expected)
	{
		struct {
			int fd;
			const std::string &bytes;
			size_t expected, sent = 0, got = 0;
			bool gone = false;
		} now{fd, bytes, expected};
		counting = true;
		reactor->runUntil([&now] {
			static char sink[256 * 1024];
			while (now.sent < now.bytes.size()) {
				const ssize_t n = ::send(now.fd, now.bytes.data() + now.sent, now.bytes.size() - now.sent, MSG_DONTWAIT | MSG_NOSIGNAL);
				if (n <= 0) break;
				now.sent += static_cast<size_t>(n);
			}
			while (now.got < now.expected) {
				const ssize_t n = ::recv(now.fd, sink, std::min(sizeof sink, now.expected - now.got), MSG_DONTWAIT);
				if (n == 0) now.gone = true;
				if (n <= 0) break;
				now.got += static_cast<size_t>(n);
			}
			return now.gone || now.got == now.expected;
		});
		counting = false;
		return now.got == expected;
	}
};

/// One round of requests, each in another block than the one before.
std::string roundOf(uint16_t type, unsigned round)
{
	std::string out;
	for (unsigned i = 0; i < kDepth; ++i) {
		const uint64_t block = (i * 7 + round) % kBlocks, piece = (i * 131 + round * 17) % (kBlockBytes / kPiece);
		out += Wire::command(type, i, block * kBlockBytes + piece * kPiece, kPiece).bytes();
		if (type == kWrite) out.append(kPiece, static_cast<char>(round + i));
	}
	return out;
}

} // namespace

class FastPathTest : public QObject {
	Q_OBJECT

private slots:
	void aMappedBlockAllocatesNothing_data()
	{
		QTest::addColumn<uint>("type");
		QTest::addColumn<bool>("structured");
		QTest::newRow("read") << uint(kRead) << false;
		QTest::newRow("read, structured replies") << uint(kRead) << true;
		QTest::newRow("write") << uint(kWrite) << false;
	}
	void aMappedBlockAllocatesNothing()
	{
		QFETCH(uint, type);
		QFETCH(bool, structured);
		Node node;
		NbdClient client(node, node.config.nbd.socket);
		QVERIFY(structured ? client.goStructured("vol") : client.go("vol"));
		for (unsigned block = 0; block < kBlocks; ++block) { // mapped, and whole
			const std::string data(1u << 20, 'x');
			for (unsigned part = 0; part < 4; ++part) {
				QVERIFY(client.send(Wire::command(kWrite, 0, block * kBlockBytes + part * data.size(), 1u << 20).bytes() + data));
				QCOMPARE(client.receive(kReplyBytes), Wire::reply(0, 0).bytes());
			}
		}
		const auto command = static_cast<uint16_t>(type);
		const size_t expected = kDepth * ((structured ? kChunkBytes : kReplyBytes) + (type == kRead ? kPiece : 0));
		for (unsigned round = 0; round < kWarmUp; ++round) QVERIFY(node.exchange(client.fd(), roundOf(command, round), expected));
		allocations = receives = sends = 0;
		unsigned turns = 0;
		const uint64_t hook = node.reactor->addTurnHook([&turns] { ++turns; });
		for (unsigned round = 0; round < kRounds; ++round) QVERIFY(node.exchange(client.fd(), roundOf(command, round), expected));
		node.reactor->removeTurnHook(hook);

		constexpr double kRequests = kRounds * kDepth;
		qInfo("%.0f requests: %u allocations, %.2f receives and %.2f sends per request", kRequests, allocations, receives / kRequests,
		      sends / kRequests);
		// Writes have the room that is left measured now and then, which allocates; nothing else does.
		QVERIFY(allocations / kRequests < (type == kWrite ? 0.02 : 1e-9));
		QVERIFY(receives / kRequests < 0.3);
		// How many requests end together is the device's affair, and whose processor it interrupts: up to 0.8 sends were seen.
		QVERIFY(sends <= turns);
	}
};

QTEST_GUILESS_MAIN(FastPathTest)
#include "tst_fast_path.moc"
