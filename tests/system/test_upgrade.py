# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""archipelagod is killed and replaced, by the same build and by one at another place, while fio writes and verifies: no I/O
error, the status is true within a second, and what was ordered before is there."""
import json

import shutil
import time
import unittest

from instance import BIN, Instance, Load, SPLIT, rounds


class Upgrade(unittest.TestCase):
    def roles(self, it):
        done = it.run([BIN + "/archipelago", "status", "--json"], expect=None)
        return {p["name"]: p for p in json.loads(done.stdout)["items"]} if done.returncode in (0, 1) else {}

    def test_replaced_under_load(self):
        count, dice = rounds(6, 60)
        for sections in ("", SPLIT):
            with self.subTest(split=bool(sections)), Instance(sections=sections) as it:
                it.start()
                it.vlmc("create", "v", "--size", "128M")
                newer = it.dir + "/newer"
                shutil.copytree(BIN, newer)
                pids = {name: p["pid"] for name, p in self.roles(it).items()}
                times = []
                with Load(it, "v", "--rw=randwrite", "--verify_backlog=128", "--bs=16k", "--iodepth=16", "--size=128M") as load:
                    for n in range(count):
                        it.vlmc("create", f"n{n}", "--size", "1G")
                        command = it.service_command()
                        it.stop_service(9)
                        it.service_command = lambda c=command, at=(newer, BIN)[n % 2]: [at + "/archipelagod", *c[1:]]
                        began = time.monotonic()
                        it.start_service()
                        it.wait_for("a true status", lambda: {k: p["pid"] for k, p in self.roles(it).items()} == pids)
                        times.append(time.monotonic() - began)
                        self.assertTrue(all(p["state"] == "up" for p in self.roles(it).values()))
                        self.assertIn(f"n{n}", it.volumes())
                        load.check()
                        it.vlmc("remove", f"n{n}") if dice.random() < 0.5 else it.vlmc("info", f"n{n}")
                    load.end()
                print(f"true again after {max(times) * 1000:.0f} ms at most")
                self.assertLess(sorted(times)[len(times) // 2], 1.0)
                # The one that took over is in charge: it stops and starts them.
                it.archipelago("restart")
                self.assertNotEqual({name: p["pid"] for name, p in self.roles(it).items()}, pids)

    def test_host_and_service_die_together(self):
        with Instance(sections=SPLIT) as it:
            it.start()
            it.vlmc("create", "v", "--size", "16M")
            it.stop_service(9)
            it.kill_host("data")  # nobody looks
            it.start_service()
            it.wait_running()
            self.assertIn("v", it.volumes())


if __name__ == "__main__":
    unittest.main()
