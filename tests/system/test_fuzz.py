# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/fuzz/fuzz_nbd_live against the socket of a living host, half a minute, or half an hour in the soak. It checks itself what
its clients get; here: the host is the same process afterwards, has grown by nothing, and serves a normal client."""
import unittest

from hostile import Holdings, Neighbour
from instance import BIN, Instance, rounds

MIB = 1024 * 1024
FUZZER = BIN + "/../tests/fuzz_nbd_live"
VOLUME = 24  # MiB, what the fuzzer expects


class Fuzz(unittest.TestCase):
    def fuzz(self, it, seed, seconds):
        done = it.run([FUZZER, it.run_dir + "/nbd.sock", "fuzzed", "--seed", str(seed), "--seconds", str(seconds)],
                      expect=None, timeout=seconds + 120)
        print(done.stdout, end="", flush=True)
        self.assertEqual(done.returncode, 0, f"{done.stderr[-2000:]}\nThe volume held what earlier inputs of that seed had left.")

    def test_a_living_host(self):
        seconds, dice = rounds(30, 1800)
        with Instance() as it:
            it.start()
            it.vlmc("create", "fuzzed", "--size", f"{VOLUME}M")
            it.vlmc("create", "normal", "--size", "64M")
            neighbour = Neighbour(it, "normal")
            neighbour.work(1100)
            pid = it.host_pid()
            self.fuzz(it, dice.getrandbits(32), 5)  # until memory and open files are what they come to be
            neighbour.work(50)
            before = self.quiet(it)
            self.fuzz(it, dice.getrandbits(32), seconds)
            neighbour.work(1100)
            neighbour.client.shutdown()
            self.assertEqual(it.host_pid(), pid, "the host was started anew")
            after = self.quiet(it)
            print(f"before: {before}; after: {after}", flush=True)
            self.assertLessEqual(after.sockets, before.sockets)
            self.assertLess(after.memory, before.memory + 8 * MIB)
            self.assertLess(after.buffers, before.buffers + 16 * MIB)
            it.verify_segment()
            it.run(["qemu-io", "-f", "raw", "-c", f"write -P 9 0 {VOLUME}M", "-c", f"read -P 9 0 {VOLUME}M", it.uri("fuzzed")])
            it.archipelago("restart")
            it.run(["qemu-io", "-f", "raw", "-c", f"read -P 9 0 {VOLUME}M", it.uri("fuzzed")])

    def quiet(self, it):
        """What is held once the fuzzer's last clients are gone."""
        it.wait_for("the fuzzer's clients to be gone", lambda: it.volumes()["fuzzed"]["clients"] == 0 and Holdings(it).requests == 0)
        return Holdings(it)


if __name__ == "__main__":
    unittest.main()
