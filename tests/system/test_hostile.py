# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that do their worst, beside one that works: whatever they do, the host's memory stays within its bounds, the other
client hardly notices, and once they have gone nothing of them is left."""
import struct
import unittest

from hostile import FLUSH, GO, READ, WRITE, Holdings, Neighbour, Raw, command, go, option
from instance import Instance, rounds

MIB = 1024 * 1024
CLIENTS = 200    # the gateway's limit
MEMORY = 24 * MIB  # that hostile clients may cost in private memory: their records and queues, never their payload
BUFFERS = 16 * MIB  # free slabs of each size stay where they were used last
SLOWER = 10      # how many times longer the other's work may take; on a busy machine


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.it = it = cls.enterClassContext(Instance())
        it.start()
        for name in ("v", "other"):
            it.vlmc("create", name, "--size", "64M")
        cls.neighbour = Neighbour(it, "other")
        # Every block is there, and memory and open files are what they come to be.
        it.run(["qemu-io", "-f", "raw", "-c", "write -P 1 0 64M", it.uri("v")])
        cls.neighbour.work(1100)
        _, cls.dice = rounds(1, 1)
        # As many clients as there may be, once: what the host keeps for them from then on is its own.
        for raw in [cls.connect(True) for _ in range(CLIENTS - 1)]:
            raw.close()
        cls.alone_again()
        cls.before = Holdings(it)

    @classmethod
    def tearDownClass(cls):
        cls.neighbour.client.shutdown()

    @classmethod
    def connect(cls, transmit):
        raw = Raw(cls.it)
        return raw.go("v") if transmit else raw

    @classmethod
    def alone_again(cls):
        cls.it.wait_for("all clients but one to be gone", lambda: cls.it.volumes()["v"]["clients"] == 0, 30)

    def during(self, clients, step=lambda: None, work=200):
        """The other works undisturbed, then beside `clients` (and `step` before each operation). Afterwards all is as before."""
        alone = self.neighbour.work(work)
        try:
            beside = self.neighbour.work(work, step)
            held = Holdings(self.it)
            self.assertLess(held.memory, self.before.memory + MEMORY)
            self.assertLess(held.buffers, held.limit * 3 // 4)
        finally:
            for raw in clients:
                raw.close()
        self.everything_is_given_back()
        alone = max(alone, self.neighbour.work(work), key=sum)  # this machine may have other work, then or now
        print(f"{self._testMethodName}: {sum(beside) / sum(alone):.1f} times the time, worst {max(beside) * 1000:.0f} ms "
              f"(alone {max(alone) * 1000:.0f} ms); {held}", flush=True)
        self.assertLess(sum(beside), SLOWER * sum(alone) + 1)  # a second for what this machine does besides

    def everything_is_given_back(self):
        def back():
            held = Holdings(self.it)
            return (held.sockets <= self.before.sockets and held.buffers <= self.before.buffers + BUFFERS and
                    held.memory <= self.before.memory + MEMORY and held.requests == 0)
        try:
            self.it.wait_for("all of it to be given back", back, 40)
        except AssertionError as e:
            self.fail(f"{e}: {Holdings(self.it)}; before: {self.before}")

    # ---- in the handshake
    def test_slow_loris(self):
        """150 clients that say a byte now and then, and never the last one. The server has no patience with them."""
        words = struct.pack(">I", 3) + option(3, b"") + go("v")
        clients = [self.connect(False) for _ in range(150)]
        said = [0]

        def step():
            if said[0] % 8 == 0 and said[0] // 8 < len(words) - 1:
                for raw in clients:
                    raw.push(words[said[0] // 8:said[0] // 8 + 1])
            said[0] += 1
        self.during([], step)
        self.assertTrue(all(raw.at_end() for raw in clients), "a client that says nothing is kept")
        for raw in clients:
            raw.close()

    def test_options_of_any_length(self):
        flags = struct.pack(">I", 3)
        lies = [option(number, b"", length) for number in (1, 3, 6, GO, 8, 10, 99) for length in (0xFFFFFFFF, 1 << 31, (1 << 20) + 1, 1 << 20)]
        lies += [option(GO, struct.pack(">I", length) + b"v\0\0") for length in (0xFFFFFFFF, 0xFFFFFFFB, 4096, 2)]
        lies += [option(GO, struct.pack(">I", 1) + b"v" + struct.pack(">H", 65535)), option(8, b"x" * (1 << 20)), go("x" * 9000)]
        clients = []

        def step():
            raw = self.connect(False)
            raw.push(flags + lies[len(clients) % len(lies)])
            clients.append(raw)
            if len(clients) > 150:
                clients[len(clients) - 150].close()
        self.during(clients, step, work=400)

    def test_garbage(self):
        clients = []

        def step():
            if clients:
                clients[-1].close()
            raw = self.connect(len(clients) % 2 == 1)
            raw.push(self.dice.randbytes(self.dice.choice((1, 27, 28, 29, 1000, 100_000))))
            clients.append(raw)
        self.during(clients, step)
        for transmit in (False, True):
            with self.connect(transmit) as raw:
                raw.push(b"GET / HTTP/1.0\r\n\r\nHost: a client that speaks something else\r\n\r\n")
                self.assertTrue(raw.at_end())

    # ---- afterwards
    def test_half_requests(self):
        clients = [self.connect(True) for _ in range(100)]
        for n, raw in enumerate(clients):
            raw.sendall((command(FLUSH, 0, 0) + command(READ, 0, 4096))[:n % 55 + 1])
        self.during(clients)

    def test_headers_without_payload(self):
        clients = [self.connect(True) for _ in range(20)]
        for raw in clients:
            raw.sendall(command(WRITE, 0, 32 * MIB) + bytes(1000))
        self.during(clients)

    def test_clients_that_never_read(self):
        clients = [self.connect(True) for _ in range(5)]
        flood = b"".join(command(READ, n % 16 * 4 * MIB, 4 * MIB, cookie=n) for n in range(2000))
        for raw in clients:
            raw.push(flood)
        small = [self.connect(True) for _ in range(20)]
        requests = b"".join(command(READ, n * 4096, 4096, cookie=n) for n in range(2000))
        for raw in small:
            raw.push(requests)
        self.during(clients + small)

    def test_all_the_room_there_is(self):
        """They want more than the gateway has for all its clients together. Small I/O of others goes on."""
        clients = [self.connect(True) for _ in range(60)]
        for n, raw in enumerate(clients):
            raw.push(command(WRITE, 0, 32 * MIB) if n % 2 else b"".join(command(READ, 0, 4 * MIB, cookie=c) for c in range(8)))
        self.during(clients)

    def test_200_at_once(self):
        clients = [self.connect(True) for _ in range(CLIENTS - 1)]
        for n, raw in enumerate(clients):
            raw.sendall(command(WRITE, n * 65536, 65536, cookie=n) + bytes([n]) * 65536)
        for n, raw in enumerate(clients):
            self.assertEqual(raw.receive(16), struct.pack(">IIQ", 0x67446698, 0, n))
            raw.sendall(command(READ, n * 65536, 512, cookie=n))
        for n, raw in enumerate(clients):
            self.assertEqual(raw.receive(528), struct.pack(">IIQ", 0x67446698, 0, n) + bytes([n]) * 512)
        with Raw(self.it) as one_more:
            self.assertTrue(one_more.at_end())
        self.during(clients)
        with self.connect(True) as welcome:
            welcome.sendall(command(FLUSH, 0, 0))
            self.assertEqual(len(welcome.receive(16)), 16)


if __name__ == "__main__":
    unittest.main()
