# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""archipelagod is killed and replaced, by the same build and by a newer one (bin/next: the same sources as the next version),
while fio writes and verifies: no I/O error, the status is true within a second, and what was ordered before is there. Hosts
are of the build that started them, until the one in charge starts them anew."""
import json
import os
import time
import unittest

import nbd

from instance import BIN, Instance, Load, SPLIT, rounds

NEXT = BIN + "/next"


class Upgrade(unittest.TestCase):
    def version_of(self, it, place):
        return it.run([place + "/archipelagod", "--version"]).stdout.split()[-1]

    def version_in_charge(self, it):
        done = it.run(["dbus-send", "--bus=" + it.address, "--print-reply=literal", "--dest=org.archipelago.Archipelago1",
                       "/org/archipelago/Archipelago1", "org.freedesktop.DBus.Properties.Get",
                       "string:org.archipelago.Archipelago1.Manager", "string:Version"])
        return done.stdout.split()[-1]

    def builds(self, it):
        """Where the program of each running host is."""
        return {os.path.dirname(os.readlink(f"/proc/{it.host_pid(host)}/exe")) for host in it.hosts}

    def roles(self, it):
        done = it.run([BIN + "/archipelago", "status", "--json"], expect=None)
        return {p["name"]: p for p in json.loads(done.stdout)["items"]} if done.returncode in (0, 1) else {}

    def test_replaced_under_load(self):
        count, dice = rounds(6, 60)
        for sections in ("", SPLIT):
            with self.subTest(split=bool(sections)), Instance(sections=sections) as it:
                it.start()
                it.vlmc("create", "v", "--size", "128M")
                versions = {place: self.version_of(it, place) for place in (BIN, NEXT)}
                self.assertNotEqual(versions[BIN], versions[NEXT])
                self.assertEqual(self.version_in_charge(it), versions[BIN])
                pids = {name: p["pid"] for name, p in self.roles(it).items()}
                times = []
                with Load(it, "v", "--rw=randwrite", "--verify_backlog=128", "--bs=16k", "--iodepth=16", "--size=128M") as load:
                    for n in range(count):
                        it.vlmc("create", f"n{n}", "--size", "1G")
                        command = it.service_command()
                        it.stop_service(9)
                        at = (BIN, NEXT)[n % 2]  # the last one is the newer one
                        it.service_command = lambda c=command, at=at: [at + "/archipelagod", *c[1:]]
                        began = time.monotonic()
                        it.start_service()
                        it.wait_for("a true status", lambda: {k: p["pid"] for k, p in self.roles(it).items()} == pids)
                        times.append(time.monotonic() - began)
                        self.assertEqual(self.version_in_charge(it), versions[at])
                        self.assertTrue(all(p["state"] == "up" for p in self.roles(it).values()))
                        self.assertIn(f"n{n}", it.volumes())
                        load.check()
                        it.vlmc("remove", f"n{n}") if dice.random() < 0.5 else it.vlmc("info", f"n{n}")
                    load.end()
                print(f"true again after {max(times) * 1000:.0f} ms at most")
                self.assertLess(sorted(times)[len(times) // 2], 1.0)
                # The newer one is in charge, over hosts of the older: it stops them, and starts its own.
                self.assertEqual(self.version_in_charge(it), versions[NEXT])
                self.assertEqual(self.builds(it), {os.path.realpath(BIN)})
                names = set(it.volumes())
                it.archipelago("restart")
                self.assertTrue({p["pid"] for p in self.roles(it).values()}.isdisjoint(pids.values()))
                self.assertEqual(self.builds(it), {os.path.realpath(NEXT)})
                self.assertEqual(set(it.volumes()), names)
                client = nbd.NBD()
                client.connect_uri(it.uri("v"))
                client.pwrite(b"next" * 1024, 0)
                client.flush()
                self.assertEqual(client.pread(4096, 0), b"next" * 1024)
                client.shutdown()

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
