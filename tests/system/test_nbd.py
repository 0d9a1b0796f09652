# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real NBD clients make of the gateway: structured replies and holes, block status, several connections, who is there, and
a restart behind a client that connects again."""
import errno
import json
import os
import re
import subprocess
import unittest

import nbd

from instance import BIN, Instance, LAYOUT

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 4 * MIB
SIZE = 64 * MIB
DATA, HOLE = 0, nbd.STATE_HOLE | nbd.STATE_ZERO


def connect(it, name="v", contexts=(nbd.CONTEXT_BASE_ALLOCATION,), strict=True, structured=True):
    client = nbd.NBD()
    client.set_request_structured_replies(structured)
    for context in contexts:
        client.add_meta_context(context)
    if not strict:
        client.set_strict_mode(0)
    client.connect_uri(it.uri(name))
    return client


def block_status(client, count, offset, flags=0):
    out = []

    def extent(context, at, entries, error):
        assert context == nbd.CONTEXT_BASE_ALLOCATION and at == offset and not error.value
        out.extend(zip(entries[::2], entries[1::2]))
        return 0
    client.block_status(count, offset, extent, flags)
    return out


def chunks(client, count, offset, flags=0):
    """A read, as the kinds of its chunks: (offset, bytes, hole)."""
    out = []

    def chunk(data, at, status, error):
        assert status in (nbd.READ_DATA, nbd.READ_HOLE) and not error.value
        out.append((at, len(data), status == nbd.READ_HOLE))
        return 0
    data = client.pread_structured(count, offset, chunk, flags)
    return data, sorted(out)


class Nbd(unittest.TestCase):
    def fails(self, code, call, *args):
        with self.assertRaises(nbd.Error) as caught:
            call(*args)
        self.assertEqual(caught.exception.errnum, code, caught.exception)

    def merged(self, extents):
        """[(offset, bytes, data?)], neighbours that are alike as one."""
        out = []
        for start, length, data in extents:
            if out and out[-1][2] == data:
                out[-1] = (out[-1][0], out[-1][1] + length, data)
            else:
                out.append((start, length, data))
        return out

    def test_holes_and_data(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            client = connect(it)
            self.assertTrue(client.get_structured_replies_negotiated())
            self.assertTrue(client.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION))
            self.assertTrue(client.can_df() and client.can_multi_conn() and client.can_fast_zero())
            self.assertEqual(block_status(client, SIZE, 0), [(SIZE, HOLE)])
            piece = os.urandom(64 * KIB)
            client.pwrite(piece, BLOCK + 4096)          # part of block 1
            client.pwrite(os.urandom(BLOCK), 3 * BLOCK)  # all of block 3
            client.pwrite(piece, 5 * BLOCK - 32 * KIB)   # over the border of 4 and 5
            expected = [(BLOCK, HOLE), (BLOCK, DATA), (BLOCK, HOLE), (3 * BLOCK, DATA), (SIZE - 6 * BLOCK, HOLE)]
            self.assertEqual(block_status(client, SIZE, 0), expected)
            self.assertEqual(block_status(client, SIZE - 512, 512, nbd.CMD_FLAG_REQ_ONE), [(BLOCK - 512, HOLE)])
            self.assertEqual(block_status(client, BLOCK, BLOCK + 4096), [(BLOCK - 4096, DATA), (4096, HOLE)])

            data, kinds = chunks(client, 3 * BLOCK, 0)
            self.assertEqual(kinds, [(0, BLOCK, True), (BLOCK, BLOCK, False), (2 * BLOCK, BLOCK, True)])
            self.assertEqual(data, bytes(BLOCK + 4096) + piece + bytes(2 * BLOCK - 4096 - len(piece)))
            again, kinds = chunks(client, 3 * BLOCK, 0, nbd.CMD_FLAG_DF)
            self.assertEqual(kinds, [(0, 3 * BLOCK, False)])
            self.assertEqual(again, data)
            self.assertEqual(connect(it, contexts=(), structured=False).pread(3 * BLOCK, 0), data)

            client.trim(BLOCK, 3 * BLOCK)
            client.zero(BLOCK, 4 * BLOCK, nbd.CMD_FLAG_FAST_ZERO)
            client.zero(BLOCK, 7 * BLOCK, nbd.CMD_FLAG_NO_HOLE)
            expected = [(BLOCK, HOLE), (BLOCK, DATA), (3 * BLOCK, HOLE), (BLOCK, DATA), (BLOCK, HOLE), (BLOCK, DATA),
                        (SIZE - 8 * BLOCK, HOLE)]
            self.assertEqual(block_status(client, SIZE, 0), expected)
            self.fails(errno.EOPNOTSUPP, client.zero, BLOCK, 8 * BLOCK, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
            self.assertEqual(block_status(client, SIZE, 0), expected)

            # The tools say the same, and after a restart still.
            for after_restart in (False, True):
                with self.subTest(after_restart=after_restart):
                    self.tools(it, expected)
                if not after_restart:
                    client.shutdown()
                    it.archipelago("restart")
            self.assertEqual(block_status(connect(it), SIZE, 0), expected)

    def tools(self, it, expected):
        offsets = [sum(length for length, _ in expected[:n]) for n in range(len(expected))]
        wanted = [(at, length, state == DATA) for at, (length, state) in zip(offsets, expected)]
        told = json.loads(it.run(["nbdinfo", "--map", "--json", it.uri("v")]).stdout)
        self.assertEqual(self.merged((e["offset"], e["length"], e["type"] == DATA) for e in told), wanted)
        told = json.loads(it.run(["qemu-img", "map", "-f", "raw", "--output=json", it.uri("v")]).stdout)
        self.assertEqual(self.merged((e["start"], e["length"], e["data"]) for e in told), wanted)
        self.assertTrue(all(e["zero"] != e["data"] for e in told), told)
        info = json.loads(it.run(["nbdinfo", "--json", it.uri("v")]).stdout)["exports"][0]
        self.assertEqual((info["description"], info["contexts"]), ("Archipelago volume, 64 MiB", ["base:allocation"]))
        self.assertEqual((info["block_size_minimum"], info["block_size_preferred"], info["block_size_maximum"]), (512, 4096, 32 * MIB))
        used = json.loads(it.run(["qemu-img", "measure", "-f", "raw", "-O", "qcow2", "--output=json", it.uri("v")]).stdout)
        self.assertLess(used["required"], sum(length for length, state in expected if state == DATA) + 4 * MIB)

    def test_sparse_copies_stay_sparse(self):
        with Instance() as it:
            it.start()
            for name in ("v", "w"):
                it.vlmc("create", name, "--size", "64M")
            client = connect(it)
            for block in (0, 3, 4, 15):
                client.pwrite(os.urandom(BLOCK), block * BLOCK)
            client.shutdown()
            copy = it.dir + "/copy"
            it.run(["nbdcopy", "--connections=4", it.uri("v"), copy], timeout=120)
            self.assertLess(os.stat(copy).st_blocks * 512, 5 * BLOCK)
            it.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", copy, it.uri("v")], timeout=120)
            it.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", it.uri("v"), it.uri("w")], timeout=120)
            it.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", it.uri("v"), it.uri("w")], timeout=120)
            self.assertEqual(it.volumes()["w"]["allocatedBytes"], 4 * BLOCK)

    def test_block_status_at_its_edges(self):
        """As test_requests.py for the others."""
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            client = connect(it, strict=False)
            for count, offset in ((512, SIZE), (1024, SIZE - 512), (512, 1 << 62), (512, 1), (100, 0), (0, 0)):
                self.fails(errno.EINVAL, block_status, client, count, offset)
            self.assertEqual(block_status(client, 512, SIZE - 512), [(512, HOLE)])
            plain = connect(it, contexts=(), strict=False)
            self.fails(errno.EINVAL, plain.pread, 512, SIZE, nbd.CMD_FLAG_FUA)  # an error chunk, to a read
            self.assertEqual(plain.pread(512, 0), bytes(512))
            client.shutdown()

    def test_a_flush_covers_all_connections(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            a, b = connect(it), connect(it)
            written = {}
            for n, offset in enumerate((0, BLOCK - 4096, 7 * BLOCK + 512, SIZE - 8192)):
                written[offset] = os.urandom(8192)
                (a, b)[n % 2].pwrite(written[offset], offset)
                self.assertEqual((b, a)[n % 2].pread(8192, offset), written[offset])
            a.pwrite(os.urandom(4096), 9 * BLOCK)
            b.flush()
            for host in it.hosts:
                it.kill_host(host)
            it.wait_running(60)
            client = connect(it)
            for offset, data in written.items():
                self.assertEqual(client.pread(8192, offset), data)
            client.shutdown()

    def test_who_is_there(self):
        with Instance(sections='[nbd]\nexports = "opened"\nlog_level = 2\n' + LAYOUT) as it:
            it.start()
            for name in ("v", "w"):
                it.vlmc("create", name, "--size", "64M")
            # What is not open is neither listed nor served.
            self.fails_to_connect(it, "w")
            it.vlmc("open", "v")
            listed = json.loads(it.run(["nbdinfo", "--list", "--json", it.uri("")]).stdout)["exports"]
            self.assertEqual([e["export-name"] for e in listed], ["v"])
            self.fails_to_connect(it, "w")

            a, b = connect(it), connect(it)
            a.pwrite(bytes(4096), 0)
            a.pread(8192, 0)
            b.flush()
            said = it.vlmc("close", "v", expect=5).stderr
            self.assertIn("in use by nbd clients", said)
            me = f"client {os.getpid()} (uid {os.getuid()})"
            self.assertIn(f"{me}, {me}", said)
            a.shutdown()
            b.shutdown()
            self.assertIn(me + " connected", it.log(it.hosts[-1]))
            gone = re.compile(re.escape(me) + r" on v is gone: (\d+) reads \((.*?)\), (\d+) writes \((.*?)\), (\d+) other commands, 0 errors")
            it.wait_for("both to be logged", lambda: len(gone.findall(it.log(it.hosts[-1]))) == 2)
            totals = sorted(gone.findall(it.log(it.hosts[-1])))
            self.assertEqual(totals, [("0", "0 B", "0", "0 B", "1"), ("1", "8 KiB", "1", "4 KiB", "0")])
            it.wait_for("nobody to use it", lambda: it.vlmc("close", "v", expect=None).returncode == 0)

    def fails_to_connect(self, it, name):
        with self.assertRaises(nbd.Error):
            connect(it, name)

    def test_a_client_that_connects_again_sees_a_pause(self):
        """qemu's block layer with the option line of `vlmc info`; the role restarts, and then the whole host, by SIGKILL."""
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            line = next(l for l in it.vlmc("info", "v").stdout.splitlines() if l.startswith("qemu\t"))
            options = re.search(r"driver=nbd\S*", line).group().rstrip("'")
            self.assertIn("reconnect-delay=", options)
            options = re.sub(r"node-name=[^,]*,", "", options)
            with subprocess.Popen(["qemu-io", "--image-opts", options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, env=it.env) as shell:
                def command(text, expected):
                    shell.stdin.write(text + "\n")
                    shell.stdin.flush()
                    while True:  # its prompt stands before each answer
                        answer = shell.stdout.readline()
                        self.assertTrue(answer, "qemu-io ended")
                        if "failed" in answer or "rror" in answer:
                            self.fail(f"{text}: {answer}")
                        if expected in answer:
                            return
                command("write -P 17 0 8M", "wrote 8388608/8388608")
                it.archipelago("restart", "-f", "nbd")
                command("read -P 17 0 8M", "read 8388608/8388608")
                command("write -P 18 4M 1M", "wrote 1048576/1048576")
                it.archipelago("restart", "-f")
                command("write -P 19 6M 1M", "wrote 1048576/1048576")
                it.kill_host(it.hosts[-1])
                command("read -P 18 4M 1M", "read 1048576/1048576")
                command("read -P 19 6M 1M", "read 1048576/1048576")
                shell.stdin.close()
                self.assertEqual(shell.wait(60), 0)

    def test_a_restart_answers_what_is_in_flight(self):
        """What a client has sent before the gateway stops is answered or not; what was answered is true."""
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "64M")
            client = connect(it)
            data = os.urandom(SIZE)
            acknowledged = set()
            for at in range(0, SIZE, 256 * KIB):
                def done(error, at=at):
                    if not error.value:
                        acknowledged.add(at)
                    return 1
                client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data[at:at + 256 * KIB])), at, done)
            restart = subprocess.Popen([BIN + "/archipelago", "restart", "-f", "nbd"], env=it.env,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            while client.aio_in_flight() and not client.aio_is_dead():
                try:
                    client.poll(-1)
                except nbd.Error:
                    break
            self.assertEqual(restart.wait(60), 0)
            it.wait_running()
            print(f"{len(acknowledged)} of {SIZE // (256 * KIB)} writes were answered")
            again = connect(it)
            for at in sorted(acknowledged):
                self.assertEqual(again.pread(256 * KIB, at), data[at:at + 256 * KIB])
            again.shutdown()


if __name__ == "__main__":
    unittest.main()
