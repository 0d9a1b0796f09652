# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data host is killed again and again under fio with verification, the gateway in a host of its own: the clients see a
pause, never an error. How long the pause is, is measured by a client that writes 4 KiB at a time."""
import select
import statistics
import threading
import time
import unittest

import nbd

from instance import BIN, Instance, Load, SPLIT, rounds


class Meter(threading.Thread):
    """Writes and reads back 4 KiB pieces; remembers when each operation began and ended."""

    def __init__(self, uri):
        super().__init__()
        self.client = nbd.NBD()
        self.client.connect_uri(uri)
        self.samples, self.error, self.ending = [], None, False

    def run(self):
        n = 0
        try:
            while not self.ending:
                n += 1
                data = n.to_bytes(8, "little") * 512
                offset = (n * 7919 % 4096) * 4096
                self.timed(self.client.pwrite, data, offset)
                if n % 16 == 0:
                    self.timed(self.client.flush)
                if self.timed(self.client.pread, 4096, offset) != data:
                    raise AssertionError(f"write {n} reads back differently")
            self.client.shutdown()
        except Exception as e:  # the test reports it
            self.error = e

    def timed(self, what, *args):
        began = time.monotonic()
        result = what(*args)
        self.samples.append((began, time.monotonic()))
        return result

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self.ending = True
        self.join(60)

    def pause_around(self, moment):
        """The longest operation that was under way at `moment` or began within half a second after it."""
        return max((b - a for a, b in self.samples if b > moment and a < moment + 0.5), default=0)


class Pause(unittest.TestCase):
    def test_clients_see_a_pause(self):
        kills, dice = rounds(50, 200)
        with Instance(sections=SPLIT) as it:
            it.start()
            it.vlmc("create", "v", "--size", "256M")
            it.vlmc("create", "meter", "--size", "64M")
            meter = Meter(it.uri("meter"))
            moments = []
            with Load(it, "v", "--rw=randrw", "--verify_backlog=256", "--bsrange=4k-256k", "--bs_unaligned=0", "--iodepth=16",
                      "--size=256M", "--fsync=64") as load, meter:
                for n in range(kills):
                    # Now and then at once after it came up, or even while it does: then the next try waits a little longer.
                    it.wait_for("the data host", lambda: self.alive(it) or dice.random() < 0.01)
                    select.select([], [], [], dice.choice((0.02, 0.55, 0.6, 0.65, 0.7)))
                    if not self.alive(it):
                        continue
                    moments.append(time.monotonic())
                    it.kill_host("data")
                    load.check()
                    self.assertIsNone(meter.error, f"the meter's client, kill {n}")
                it.wait_running()
                load.end()
            self.assertIsNone(meter.error)
            pauses = sorted(meter.pause_around(m) for m in moments)
            print(f"{len(moments)} kills, {len(meter.samples)} operations; pause: median {statistics.median(pauses) * 1000:.0f} ms, "
                  f"90 % {pauses[len(pauses) * 9 // 10] * 1000:.0f} ms, longest {pauses[-1] * 1000:.0f} ms")
            self.assertGreater(len(moments), kills * 2 // 3)
            self.assertLess(pauses[len(pauses) * 9 // 10], 1.0)

    @staticmethod
    def alive(it):
        try:
            it.host_pid("data")
            return it.run([BIN + "/archipelago", "status", "blockerb", "--json"], expect=None).returncode == 0
        except (OSError, ValueError, IndexError):
            return False


if __name__ == "__main__":
    unittest.main()
