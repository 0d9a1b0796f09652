# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL of the host, of the service, or of both at once, in the middle of writes and flushes: what was acknowledged is there,
flushed or not (a killed process loses nothing acknowledged); what was in flight is old or new. Everything comes back by itself,
the map is replayed, nothing needs a hand.

Every 4 KiB piece carries its own address and a version, so that misplaced data shows as well as lost data."""
import signal
import struct
import unittest

import nbd

from instance import Instance, LAYOUT, rounds

PIECE = 4096
PIECES = 6144  # 24 MiB: six blocks, so that first writes and overwrites mix


def stamp(piece, version):
    return struct.pack("<QQ", piece, version) * (PIECE // 16) if version else bytes(PIECE)


class Kill(unittest.TestCase):
    def test_acknowledged_survives(self):
        count, dice = rounds(20 if LAYOUT == "" else 10, 500)
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", str(PIECES * PIECE // (1 << 20)) + "M")
            self.acked = [0] * PIECES    # version last acknowledged
            self.started = [0] * PIECES  # version last sent
            self.version = 0
            for n in range(count):
                self.write_until_killed(it, dice)
                it.wait_running(60)
                self.check(it, n)
                if n % 7 == 6:  # a fresh volume: first writes again
                    it.vlmc("remove", "v")  # the killed gateway was its client, and counts no more
                    it.vlmc("create", "v", "--size", str(PIECES * PIECE // (1 << 20)) + "M")
                    self.acked = [0] * PIECES
                    self.started = [0] * PIECES

    def write_until_killed(self, it, dice):
        client = nbd.NBD()
        client.connect_uri(it.uri("v"))
        writes = dice.randrange(20, 600)
        busy = set()
        for n in range(writes):
            if dice.random() < 0.02:
                while client.aio_in_flight():
                    client.poll(-1)
                client.flush()
            first = dice.randrange(PIECES)
            count = min(dice.choice((1, 1, 1, 2, 16, 300)), PIECES - first)
            if any(p in busy for p in range(first, first + count)):
                continue  # overlapping writes in flight have no order
            self.version += 1
            self.send(client, busy, first, count, self.version)
            while client.aio_in_flight() > 15:
                client.poll(-1)
        # With up to 16 writes in flight.
        victims = dice.choice(("host", "host", "service", "both", "both"))
        if victims != "host":
            it.stop_service(signal.SIGKILL)
        host = dice.choice(it.hosts)
        if victims != "service":
            it.kill_host(host)
        if victims != "host":
            it.start_service()
        # The gateway lives: everything in flight ends well, after a pause or without.
        if victims == "service" or (len(it.hosts) > 1 and host != "nbd"):
            while client.aio_in_flight():
                client.poll(-1)
            client.shutdown()
        del client

    def send(self, client, busy, first, count, version):
        data = b"".join(stamp(p, version) for p in range(first, first + count))
        pieces = range(first, first + count)
        busy.update(pieces)
        for p in pieces:
            self.started[p] = version

        def done(error):
            busy.difference_update(pieces)
            if not error:
                for p in pieces:
                    self.acked[p] = version
            return 1
        client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), first * PIECE, done)

    def check(self, it, n):
        client = nbd.NBD()
        client.connect_uri(it.uri("v"))
        for p in range(0, PIECES, 256):
            data = client.pread(256 * PIECE, p * PIECE)
            for i in range(256):
                got = data[i * PIECE:(i + 1) * PIECE]
                piece = p + i
                allowed = [stamp(piece, self.acked[piece]), stamp(piece, self.started[piece])]
                self.assertIn(got, allowed, f"round {n}, piece {piece}: acknowledged version {self.acked[piece]}, "
                                            f"found {struct.unpack('<QQ', got[:16])}")
                # What recovery has shown stays.
                self.acked[piece] = self.started[piece] = struct.unpack("<QQ", got[:16])[1]
        client.shutdown()


if __name__ == "__main__":
    unittest.main()
