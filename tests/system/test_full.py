# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small file system runs full under a writer. By default writers pause, status says so and what to do, and once there is
room again they go on; with FULL_POLICY = "error" the client gets ENOSPC. Everything acknowledged is there either way.

Mounts a tmpfs in a mount namespace of its own; where that is not allowed the test says so and is skipped."""
import errno
import json
import os
import subprocess
import sys
import time
import unittest

import nbd

from instance import BIN, SPLIT, Instance

MIB = 1024 * 1024
STORE = 160  # MiB
FILLER = 48  # MiB that somebody else uses and then gives back


def pattern(n):
    return bytes([n % 255 + 1]) * MIB


class Full(unittest.TestCase):
    def instance(self, extra="", **more):
        it = Instance(extra=extra, **more)
        fs = it.dir + "/fs"
        os.makedirs(fs)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STORE}m", "none", fs], check=True)
        with open(it.config, encoding="utf-8") as f:
            text = f.read()
        with open(it.config, "w", encoding="utf-8") as f:
            f.write(text.replace(it.dir + "/blocks", fs + "/blocks").replace(it.dir + "/maps", fs + "/maps"))
        with open(fs + "/filler", "wb") as f:
            f.write(bytes(FILLER * MIB))
        it.start()
        it.vlmc("create", "v", "--size", "1G")
        return it, fs

    def leave(self, it, fs):
        it.verify_segment()
        it.close()
        subprocess.run(["umount", "-l", fs], check=False)

    def verdict(self, it):
        done = it.run([BIN + "/archipelago", "status", "--json"], expect=None)
        return done.returncode, json.loads(done.stdout)["verdict"]

    def write_until_it_waits(self, client):
        """Writes MiB after MiB. Returns how many were acknowledged and the one that waits."""
        for n in range(STORE):
            ended = []
            client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(pattern(n))), n * MIB, lambda e, d=ended: d.append(e.value) or 1)
            end = time.monotonic() + 3
            while not ended and time.monotonic() < end:
                client.poll(100)
            if not ended:
                return n, ended
            self.assertEqual(ended, [0], f"MiB {n}")
        self.fail("the store did not run full")

    def test_a_gateway_that_dies_meanwhile_comes_back(self):
        """Its writes wait in the blocker and keep its requests from home: nobody waits for them any more, so they are dropped."""
        it, fs = self.instance(sections=SPLIT)
        try:
            client = nbd.NBD()
            client.connect_uri(it.uri("v"))
            count, _ = self.write_until_it_waits(client)
            it.kill_host("front")
            self.assertRaises(nbd.Error, client.pread, MIB, 0)

            def serves():
                again = nbd.NBD()
                try:
                    again.connect_uri(it.uri("v"))
                except nbd.Error:
                    return None
                return again
            it.wait_for("the gateway", serves, 20)
            again = serves()
            for n in range(count):
                self.assertEqual(again.pread(MIB, n * MIB), pattern(n), f"MiB {n}")
            again.shutdown()
            self.leave(it, fs)
        except BaseException:
            it.__exit__(True)
            raise

    def test_writers_pause(self):
        it, fs = self.instance()
        try:
            client = nbd.NBD()
            client.connect_uri(it.uri("v"))
            count, waiting = self.write_until_it_waits(client)
            print(f"full after {count} MiB of {STORE - FILLER} with 64 kept")
            self.assertLess(count, STORE - FILLER - 32)
            it.wait_for("status to say so", lambda: "is full" in self.verdict(it)[1], 10)
            status, verdict = self.verdict(it)
            self.assertEqual(status, 1)
            self.assertRegex(verdict, r"blockerb.*writes? wait.*[Ff]ree space")
            # What needs no room goes on: reads, names, another look.
            other = nbd.NBD()
            other.connect_uri(it.uri("v"))
            self.assertEqual(other.pread(MIB, (count - 1) * MIB), pattern(count - 1))
            it.vlmc("create", "w", "--size", "1G")
            it.vlmc("remove", "w")
            self.assertEqual(waiting, [])
            os.unlink(fs + "/filler")
            end = time.monotonic() + 20
            while not waiting and time.monotonic() < end:
                client.poll(100)
            self.assertEqual(waiting, [0])
            client.flush()
            it.wait_for("status to be well again", lambda: self.verdict(it)[0] == 0, 10)
            for n in range(count + 1):
                self.assertEqual(other.pread(MIB, n * MIB), pattern(n), f"MiB {n}")
            client.shutdown()
            other.shutdown()
            self.leave(it, fs)
        except BaseException:
            it.__exit__(True)
            raise

    def test_or_get_an_error(self):
        it, fs = self.instance('FULL_POLICY = "error"')
        try:
            client = nbd.NBD()
            client.connect_uri(it.uri("v"))
            count, error = 0, None
            while error is None and count < STORE:
                try:
                    client.pwrite(pattern(count), count * MIB)
                    count += 1
                except nbd.Error as e:
                    error = e
            self.assertEqual(error.errnum, errno.ENOSPC)
            client.flush()
            it.wait_for("status to say so", lambda: "is full" in self.verdict(it)[1], 10)
            client.shutdown()
            it.archipelago("restart")
            client = nbd.NBD()
            client.connect_uri(it.uri("v"))
            for n in range(count):
                self.assertEqual(client.pread(MIB, n * MIB), pattern(n), f"MiB {n}")
            self.assertIn(client.pread(MIB, count * MIB), (bytes(MIB), pattern(count)))
            os.unlink(fs + "/filler")
            it.wait_for("room", lambda: self.verdict(it)[0] == 0, 10)
            client.pwrite(pattern(count), count * MIB)
            client.flush()
            self.assertEqual(client.pread(MIB, count * MIB), pattern(count))
            client.shutdown()
            self.leave(it, fs)
        except BaseException:
            it.__exit__(True)
            raise


if __name__ == "__main__":
    if not os.environ.get("ARCHIPELAGO_MOUNTS"):
        probe = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
        if subprocess.run([*probe, "mount", "-t", "tmpfs", "none", "/mnt"], check=False, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode != 0:
            print("skipped: no mount namespace can be made here")
            sys.exit(77)
        os.environ["ARCHIPELAGO_MOUNTS"] = "1"
        os.execvp(probe[0], [*probe, sys.executable, *sys.argv])
    unittest.main()
