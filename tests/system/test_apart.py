# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role in a host of its own, and one of them is killed at a time, under fio with verification: whoever it is, the clients
see a pause and no error."""
import select
import statistics
import time
import unittest

from instance import BIN, Instance, Load, rounds
from test_pause import Meter

MORTALS = ("blockerb", "blockerm", "mapperd", "vlmcd")
APART = "".join(f'[hosts.{role}]\nroles = ["{role}"]\n' for role in MORTALS + ("nbd",))


class Apart(unittest.TestCase):
    def test_any_role_may_die(self):
        kills, dice = rounds(20, 400)
        with Instance(sections=APART) as it:
            it.start()
            it.vlmc("create", "v", "--size", "256M")
            it.vlmc("create", "meter", "--size", "64M")
            meter = Meter(it.uri("meter"))
            moments = []
            with Load(it, "v", "--rw=randrw", "--verify_backlog=256", "--bsrange=4k-256k", "--bs_unaligned=0", "--iodepth=16",
                      "--size=256M", "--fsync=64") as load, meter:
                for n in range(kills):
                    role = MORTALS[n % len(MORTALS)] if n < len(MORTALS) else dice.choice(MORTALS)
                    it.wait_for(role, lambda: self.alive(it, role))
                    select.select([], [], [], dice.choice((0.02, 0.55, 0.6, 0.65, 0.7)))
                    moments.append((time.monotonic(), role))
                    it.kill_host(role)
                    load.check()
                    self.assertIsNone(meter.error, f"the meter's client, kill {n}: {role}")
                it.wait_running()
                load.end()
            self.assertIsNone(meter.error)
            pauses = []
            for role in MORTALS:
                own = sorted(meter.pause_around(moment) for moment, who in moments if who == role)
                pauses += own
                print(f"{role}: {len(own)} kills, pause: median {statistics.median(own) * 1000:.0f} ms, longest {own[-1] * 1000:.0f} ms")
            self.assertLess(sorted(pauses)[len(pauses) * 9 // 10], 1.0)

    @staticmethod
    def alive(it, role):
        try:
            it.host_pid(role)
            return it.run([BIN + "/archipelago", "status", role, "--json"], expect=None).returncode == 0
        except (OSError, ValueError, IndexError):
            return False


if __name__ == "__main__":
    unittest.main()
