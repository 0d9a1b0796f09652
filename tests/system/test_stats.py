# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters: what a client did is what `vlmc stat` says, to the operation and the byte; they outlive the hosts; `archipelago top`
shows a load while it runs. Shards and their ports are nothing that an operator has to add up."""
import contextlib
import json
import unittest

import nbd

from instance import Instance, Load, SPLIT
from sharded import ShardedInstance

KIB, MIB = 1024, 1024 * 1024
CLASSES = ("read", "write", "flush", "trim", "extents")


def stat(it, *names):
    """Counters by volume and class."""
    items = json.loads(it.vlmc("stat", *names, "--json").stdout)["items"]
    return {item["name"]: item["ops"] for item in items}


class Stats(unittest.TestCase):
    def client(self, it, name):
        client = nbd.NBD()
        client.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        client.connect_uri(it.uri(name))
        return client

    def expect(self, ops, **wanted):
        """`wanted`: class = (ops, bytes); every operation has a latency and none is in flight or failed."""
        for name in CLASSES:
            with self.subTest(name):
                got = ops[name]
                self.assertEqual((got["ops"], got["bytes"]), wanted.get(name, (0, 0)))
                self.assertEqual((got["errors"], got["inFlight"]), (0, 0))
                self.assertEqual(sum(count for _, count in got["histogram"]), got["ops"])
                if got["ops"]:
                    # Plausible on any machine: a write reaches a file, and nothing takes longer than the whole test. What is
                    # answered from memory (a flush of nothing, a trim of a hole) may take no time that can be told.
                    least = 1024 if name == "write" else 0
                    self.assertTrue(least <= got["p50Ns"] <= got["p99Ns"] <= got["p999Ns"] <= got["maxNs"] < 60e9, got)
                    self.assertTrue(got["meanNs"] <= got["maxNs"], got)

    def test_what_a_client_did(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            it.vlmc("create", "idle", "--size", "64M")
            self.expect(stat(it, "v")["v"])
            client = self.client(it, "v")
            for n in range(37):
                client.pwrite(bytes([n + 1]) * 8192, n * 8192)
            for n in range(53):
                client.pread(4096, n * 4096)
            for _ in range(5):
                client.flush()
            client.trim(MIB, 4 * MIB)
            client.zero(2 * MIB, 8 * MIB)
            for _ in range(7):
                client.block_status(16 * MIB, 0, lambda *_: 0)
            done = dict(write=(37, 37 * 8192), flush=(5, 0), trim=(2, 3 * MIB), extents=(7, 0))
            self.expect(stat(it, "v")["v"], read=(53, 53 * 4096), **done)
            client.shutdown()

            # Nobody else's I/O is in it, whoever comes in between; and its own goes on when it is opened again.
            other = self.client(it, "idle")
            other.pread(512, 0)
            other.shutdown()
            client = self.client(it, "v")
            client.pread(4096, 0)
            client.shutdown()
            both = stat(it)
            self.assertEqual(set(both), {"v", "idle"})
            self.expect(both["v"], read=(54, 54 * 4096), **done)
            self.expect(both["idle"], read=(1, 512))

            # The segment says how many ports count: these two, and one at least of each role.
            info = json.loads(it.run(["xseg", "--run-dir", it.run_dir, "info", "--json"]).stdout)
            self.assertGreaterEqual(info["stats"]["ports"], 6)

    def test_fio_and_the_counters_agree(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            before = stat(it, "v")["v"]
            out = it.run(["fio", "--name=load", "--ioengine=nbd", "--uri=" + it.uri("v"), "--rw=randrw", "--bs=4k", "--iodepth=16",
                          "--size=16M", "--randrepeat=0", "--output-format=json"], timeout=120).stdout
            job = json.loads(out[out.index("{"):])["jobs"][0]
            after = stat(it, "v")["v"]
            for name in ("read", "write"):
                ops, size = (after[name][key] - before[name][key] for key in ("ops", "bytes"))
                self.assertEqual(ops, job[name]["total_ios"])
                self.assertEqual(size, job[name]["io_bytes"])
                # What fio sees is ours and the way to us.
                self.assertLess(after[name]["p50Ns"], 1.3 * job[name]["clat_ns"]["percentile"]["50.000000"] + 1e6)

    def test_roles_count_too(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            with Load(it, "v", "--rw=randwrite", "--bs=4k", "--iodepth=8", "--size=16M", "--verify_backlog=64") as load:
                it.wait_for("writes", lambda: stat(it, "v")["v"]["write"]["ops"] > 0)
                top = json.loads(it.archipelago("top", "--json", "--interval", "2").stdout)
                load.check()
                lines = it.vlmc("stat", "v", "--interval", "0.5", "--count", "3", "--json").stdout.splitlines()
                load.end()
            self.assertEqual([v["name"] for v in top["items"]], ["v"])
            self.assertGreater(top["items"][0]["ops"]["write"]["opsPerSecond"], 0)
            roles = {role["name"]: role for role in top["roles"]}
            self.assertEqual(set(roles), {"blockerb", "blockerm", "mapperd", "vlmcd"})
            for name in ("blockerb", "vlmcd"):
                self.assertGreater(roles[name]["ops"]["write"]["opsPerSecond"], 0)
            rates = [json.loads(line) for line in lines]
            self.assertEqual(len(rates), 3)
            self.assertGreater(sum(r["items"][0]["ops"]["write"]["opsPerSecond"] for r in rates), 0)
            self.assertTrue(all(r["seconds"] > 0.4 for r in rates), rates)

    def test_shards_add_up(self):
        """Four reactors: a row for each volume and role, whatever is on which thread; and the roles' is the sum of all shards."""
        with ShardedInstance(4) as it:
            it.start()
            names = [name for _, name in sorted(it.spread().items())]
            for n, name in enumerate(names):
                client = self.client(it, name)
                for block in range(10 + n):
                    client.pwrite(bytes([block + 1]) * 4096, block * 4096)
                client.pread(8192, 0)
                client.block_status(MIB, 0, lambda *_: 0)
                client.shutdown()
            before = stat(it)
            self.assertEqual(set(before), set(names))
            for n, name in enumerate(names):
                self.expect(before[name], write=(10 + n, (10 + n) * 4096), read=(1, 8192), extents=(1, 0))

            how = ("--rw=randwrite", "--bs=4k", "--iodepth=8", "--size=16M", "--verify_backlog=64")
            loads = [Load(it, name, *how) for name in names]
            with contextlib.ExitStack() as running:
                for load in loads:
                    running.enter_context(load)
                it.wait_for("writes", lambda: all(now["write"]["ops"] > 100 for now in stat(it, *names).values()))
                top = json.loads(it.archipelago("top", "--json", "--interval", "2").stdout)
                for load in loads:
                    load.end()
            self.assertEqual(sorted(v["name"] for v in top["items"]), sorted(names))
            self.assertEqual(sorted(role["name"] for role in top["roles"]), ["blockerb", "blockerm", "mapperd", "vlmcd"])
            roles = {role["name"]: role for role in top["roles"]}
            for name in ("blockerb", "mapperd"):
                self.assertEqual(roles[name]["ports"], 4, "not one for each shard")
            # The composer is asked for each of a client's writes once; both were read in one go, up to what is in flight.
            asked = roles["vlmcd"]["ops"]["write"]["opsPerSecond"]
            done = [v["ops"]["write"]["opsPerSecond"] for v in top["items"]]
            self.assertTrue(all(done), done)
            self.assertLess(abs(asked - sum(done)), 64 / 2 + 0.1 * sum(done), (asked, done))

    def test_they_outlive_hosts_and_service(self):
        """A gateway that goes on sees a pause; one that is killed goes on counting where it was."""
        with Instance(sections=SPLIT) as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            client = self.client(it, "v")
            client.pwrite(b"x" * 4096, 0)
            it.kill_host("data")
            client.pread(4096, 0)  # waits for the next one
            self.expect(stat(it, "v")["v"], write=(1, 4096), read=(1, 4096))
            client.shutdown()
            it.wait_running(60)
            it.kill_host("front")
            it.wait_running(60)
            client = self.client(it, "v")
            client.pread(4096, 0)
            self.expect(stat(it, "v")["v"], write=(1, 4096), read=(2, 8192))
            it.stop_service()
            it.start_service()
            self.expect(stat(it, "v")["v"], write=(1, 4096), read=(2, 8192))
            client.shutdown()
            # All of them gone: a new segment, and everything from zero.
            # The composer finds out within seconds that a gateway was killed; until then it counts as a client.
            it.wait_for("nobody to use it", lambda: it.archipelago("stop", expect=None).returncode == 0)
            it.start()
            self.expect(stat(it, "v")["v"])


if __name__ == "__main__":
    unittest.main()
