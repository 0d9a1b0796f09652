# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several reactors in a host: volumes lie on different shards, each with socket, session, map and data on one thread. What holds
for one reactor holds for two and for four: real data through real clients, kills under verified load on several volumes at once,
restarts of single roles, a forced stop."""
import contextlib
import json
import os
import re
import unittest

from instance import Load, make_image, rounds
from sharded import BLOCKS, ShardedInstance

# More than a machine has cores is slow, not wrong: ARCHIPELAGO_REACTORS=8,16 tries it.
COUNTS = [int(n) for n in os.environ.get("ARCHIPELAGO_REACTORS", "2,4").split(",")]


class Reactors(unittest.TestCase):
    def test_everything_of_a_volume_is_on_one_thread(self):
        for count in COUNTS:
            with self.subTest(reactors=count), ShardedInstance(count) as it:
                it.start()
                where = it.spread()
                clients = {shard: it.connect(name) for shard, name in where.items()}
                for shard, client in clients.items():
                    client.pwrite(b"first" * 8192, 0)  # 40 KiB
                    before = it.ports()
                    for n in range(100):
                        client.pread(4096, 4096 * (n % 10))
                    after = it.ports()
                    moved = {p: r for p, r in after.items() if p in before and r["accepted"] - before[p]["accepted"] >= 100}
                    # Session, map and blocker of that shard, and only these, have served these reads: all on one waiter.
                    self.assertIn(BLOCKS + shard, moved)
                    self.assertEqual({r["waiter"] for r in moved.values()}, {after[BLOCKS + shard]["waiter"]}, moved)
                    sent = {r["waiter"] for p, r in after.items() if p in before and r["submitted"] - before[p]["submitted"] >= 100}
                    self.assertEqual(sent, {after[BLOCKS + shard]["waiter"]}, "the gateway's port is on another thread")
                self.assertEqual(len({r["waiter"] for p, r in it.ports().items() if BLOCKS <= p < BLOCKS + count}), count)
                shown = it.volumes()
                for name in where.values():  # the state of volumes of all shards is known
                    self.assertEqual(json.loads(it.vlmc("info", name, "--json").stdout)["items"][0]["clients"], 1)
                    self.assertEqual(shown[name]["clients"], 1)
                    it.vlmc("remove", name, expect=5)  # in use, wherever it lives
                for client in clients.values():
                    client.shutdown()
                for name in where.values():
                    it.vlmc("open", name)
                    self.assertTrue(it.volumes()[name]["opened"])
                    it.vlmc("remove", name, expect=5)
                    it.wait_for("its client to be gone", lambda name=name: it.vlmc("close", name, expect=None).returncode == 0)
                    it.vlmc("remove", name)
                    it.vlmc("create", name, "--size", "16M")  # the name is free, on whatever shard it is now
                    self.assertEqual(it.connect(name).pread(4096, 0), bytes(4096))

    def test_data_survives_every_client_and_restarts(self):
        with ShardedInstance(COUNTS[-1]) as it:
            it.start()
            image = it.dir + "/image"
            make_image(image, 16)
            where = it.spread("16M")
            for name in where.values():
                it.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, it.uri(name)], timeout=120)
            self.identical(it, where, image)
            it.archipelago("restart")
            self.identical(it, where, image)
            it.archipelago("stop")
            it.archipelago("status", expect=3)
            it.archipelago("start")
            it.archipelago("status")
            self.identical(it, where, image)
            for role in ("nbd", "vlmcd", "mapperd", "blockerm", "blockerb"):
                it.archipelago("restart", role)
                self.identical(it, where, image)

    def identical(self, it, where, image):
        for name in where.values():
            out = it.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", image, it.uri(name)], timeout=120).stdout
            self.assertIn("Images are identical", out)

    def test_verified_load_on_all_shards_through_kills_and_restarts(self):
        count, dice = rounds(4, 100)
        with ShardedInstance(COUNTS[0], split=True) as it:  # the gateway lives: its clients see pauses and no errors
            it.start()
            where = it.spread()
            loads = [Load(it, name, "--rw=randrw", "--bs=4k", "--iodepth=8", "--size=16M", "--fsync=32", "--verify_backlog=64")
                     for name in where.values()]
            with contextlib.ExitStack() as running:
                for load in loads:
                    running.enter_context(load)
                for n in range(count):
                    before = {shard: self.written(it, shard) for shard in where}
                    what = dice.choice(("kill", "kill", "mapperd", "vlmcd", "blockerb")) if n else "kill"
                    if what == "kill":
                        it.kill_host("data")
                    else:
                        it.archipelago("restart", what)
                    it.wait_running(60)
                    for shard in where:  # it goes on, on each; a blocker that is another one now counts from where it was
                        it.wait_for(f"load on shard {shard}", lambda at=shard: self.written(it, at) > before[at] + 200, 60)
                    for load in loads:
                        load.check()
                for load in loads:
                    load.end()
            it.archipelago("stop", "-f")
            it.archipelago("status", expect=3)

    def written(self, it, shard):
        row = it.ports().get(BLOCKS + shard)
        return row["responded"] if row else 0

    def test_acknowledged_survives_the_kill_of_everything(self):
        count, dice = rounds(4, 100)
        with ShardedInstance(COUNTS[-1]) as it:
            it.start()
            where = it.spread()
            for n in range(count):
                wrote = {}
                clients = [it.connect(name) for name in where.values()]
                for client, name in zip(clients, where.values()):
                    for _ in range(dice.randrange(20, 60)):
                        piece, data = dice.randrange(4096), os.urandom(4096)
                        client.pwrite(data, piece * 4096)  # acknowledged, not flushed
                        wrote[name, piece] = data
                it.kill_host("data")
                it.wait_running(60)
                clients = {name: it.connect(name) for name in where.values()}
                for (name, piece), data in wrote.items():
                    self.assertEqual(clients[name].pread(4096, piece * 4096), data, f"round {n}: {name}, piece {piece}")
                for client in clients.values():
                    client.shutdown()

    def test_hosts_that_do_not_agree_are_refused(self):
        with ShardedInstance(2, split=True) as it:
            with open(it.config, encoding="utf-8") as f:
                text = f.read()
            with open(it.config, "w", encoding="utf-8") as f:
                f.write(re.sub(r"(\[hosts\.front\]\nroles = .*\n)reactors = 2", r"\1reactors = 3", text))
            said = it.archipelago("check-config", it.config, expect=2)
            self.assertIn("all hosts need the same number", said.stdout + said.stderr)


if __name__ == "__main__":
    unittest.main()
