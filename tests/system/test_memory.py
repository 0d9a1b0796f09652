# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host takes beside the segment: bounded with a hundred full volumes of 100 GiB open. Neither it nor the service grows
under a mixed load (an hour of it in the soak)."""
import os
import random
import statistics
import time
import unittest

import nbd

from instance import BIN, Instance, Load

FILL_MAPS = os.path.dirname(BIN) + "/tests/fill-maps"
MIB = 1 << 20
CHUNK = 32 << 30  # of a volume: what one chunk of its map covers
FILL = b"\x5a"    # what fill-maps writes


def resident_bytes(pid):
    """Without the segment: that is the process's only shared memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        fields = dict(line.split(":", 1) for line in f)
    return sum(int(fields[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile"))


def connect(it, name):
    client = nbd.NBD()
    client.connect_uri(it.uri(name))
    return client


class Memory(unittest.TestCase):
    def test_a_hundred_full_volumes(self):
        names = [f"full{n}" for n in range(100)]
        with Instance() as it:
            it.start()
            for name in names:
                it.vlmc("create", name, "--size", "100G")
            it.archipelago("stop")
            it.run([FILL_MAPS, it.dir + "/maps", it.dir + "/blocks", *names], timeout=120)
            it.start()
            idle = resident_bytes(it.host_pid())
            self.assertEqual({v["allocatedBytes"] for v in it.volumes().values()}, {100 << 30})
            clients = [connect(it, name) for name in names]
            opened = resident_bytes(it.host_pid())
            for _ in range(2):  # the second time most chunks of the first are there
                for client in clients:
                    for first in range(0, client.get_size(), CHUNK):
                        self.assertEqual(client.pread(4096, first), FILL * 4096)
            touched = resident_bytes(it.host_pid())
            print(f"host beside the segment: {idle / MIB:.0f} MiB idle, {opened / MIB:.0f} MiB with 100 volumes attached,"
                  f" {touched / MIB:.0f} MiB with their maps looked at")
            self.assertGreater(touched - opened, 64 * MIB)  # else no chunk was loaded, and this shows nothing
            self.assertLess(touched, 256 * MIB)
            for client in clients:
                client.shutdown()

    def test_mixed_load_does_not_grow(self):
        soak = "ARCHIPELAGO_SOAK" in os.environ
        seed = int(os.environ.get("ARCHIPELAGO_SEED") or random.randrange(1 << 32))
        seconds = 3600 if soak else 12
        print(f"seed {seed} (ARCHIPELAGO_SEED), {seconds} s", flush=True)
        dice = random.Random(seed)
        with Instance() as it:
            it.start()
            for name in ("load", "small", "span"):
                it.vlmc("create", name, "--size", "64M")
            samples = []
            with Load(it, "load", "--rw=randrw", "--bsrange=4k-256k", "--iodepth=16", "--size=64M", "--fsync=64",
                      "--verify_backlog=64") as load:
                began = time.monotonic()
                while time.monotonic() - began < seconds or len(samples) < 15:
                    self.mix(it, dice, len(samples))
                    load.check()
                    samples.append((resident_bytes(it.host_pid()), resident_bytes(it.service.pid)))
                load.end()
        # The first third warms up: lists grow to what was ever in flight, files of all blocks are opened.
        third = len(samples) // 3
        for column, process in enumerate(("host", "service")):
            middles = [statistics.median(s[column] for s in part) / MIB for part in (samples[third:2 * third], samples[2 * third:])]
            print(f"{process}: {samples[0][column] / MIB:.1f} MiB in the first of {len(samples)} rounds,"
                  f" {middles[0]:.1f} in the second third, {middles[1]:.1f} in the last")
            self.assertLess(middles[1] - middles[0], 2, process)

    def mix(self, it, dice, number):
        """What comes and goes: clients, volumes, requests of all kinds and lengths, refused ones among them."""
        clients = [connect(it, name) for name in ("small", "small", "span")]
        for client in clients:
            for _ in range(40):
                length = dice.choice((512, 4096, 65536, MIB))
                offset = dice.randrange(0, (64 << 20) - length, 512)
                dice.choice((lambda: client.pread(length, offset), lambda: client.pwrite(b"x" * length, offset),
                             lambda: client.trim(length, offset), lambda: client.zero(length, offset), client.flush))()
            client.set_strict_mode(0)
            self.assertRaises(nbd.Error, client.pread, 4096, 64 << 20)
            client.trim(64 << 20, 0)
        for client in clients[:2]:
            client.shutdown()
        del clients  # the third one leaves without a word
        self.assertRaises(nbd.Error, connect, it, "none")
        it.vlmc("create", f"new{number}", "--size", "1G")
        it.vlmc("remove", f"new{number}")


if __name__ == "__main__":
    unittest.main()
