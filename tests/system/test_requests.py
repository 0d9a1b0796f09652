# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request means at its edges, asked by libnbd with its own checks turned off: of no length, behind the end, not aligned,
too long, with every flag there is. Whatever the answer, the connection goes on and nothing else changes."""
import errno
import unittest

import nbd

from instance import Instance, rounds

MIB = 1024 * 1024
BLOCK = 4 * MIB
SIZE = 96 * MIB
LARGEST = 32 * MIB


class Requests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.it = cls.enterClassContext(Instance())
        cls.it.start()

    def setUp(self):
        self.name = self._testMethodName
        self.it.vlmc("create", self.name, "--size", str(SIZE // MIB) + "M")
        self.nbd = self.connect()

    def tearDown(self):
        self.nbd.shutdown()

    def connect(self):
        client = nbd.NBD()
        client.set_strict_mode(0)
        client.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        client.connect_uri(self.it.uri(self.name))
        return client

    def allocated(self):
        return self.it.volumes()[self.name]["allocatedBytes"]

    def refused(self, code, what, *args, **more):
        with self.assertRaises(nbd.Error) as caught:
            what(*args, **more)
        self.assertEqual(caught.exception.errnum, code, caught.exception)
        self.nbd.flush()  # and goes on

    def spans(self):
        """The requests that have a length and no payload."""
        return {"trim": self.nbd.trim, "zero": self.nbd.zero}

    def test_of_no_length(self):
        self.nbd.pwrite(b"x" * 4096, 0)
        for offset in (0, 512, BLOCK, SIZE):
            self.assertEqual(self.nbd.pread(0, offset), b"")
            self.nbd.pwrite(b"", offset)
            self.nbd.pwrite(b"", offset, nbd.CMD_FLAG_FUA)
            for what in self.spans().values():
                what(0, offset)
        self.assertEqual(self.nbd.pread(4096, 0), b"x" * 4096)

    def test_behind_the_end(self):
        whole = bytes(range(256)) * 2
        self.nbd.pwrite(whole, SIZE - 512)
        for offset, length in ((SIZE, 512), (SIZE - 512, 1024), (SIZE + BLOCK, 4096), (1 << 62, 512), ((1 << 63) - 512, 512)):
            self.refused(errno.EINVAL, self.nbd.pread, length, offset)
            self.refused(errno.ENOSPC, self.nbd.pwrite, b"y" * length, offset)
            self.refused(errno.EINVAL, self.nbd.trim, length, offset)
            self.refused(errno.ENOSPC, self.nbd.zero, length, offset)
        for what in self.spans().values():
            with self.assertRaises(nbd.Error):
                what(0xfffffe00, 512)
        self.assertEqual(self.nbd.pread(512, SIZE - 512), whole)

    def test_not_aligned(self):
        self.nbd.pwrite(b"a" * 8192, 0)
        for offset, length in ((1, 512), (0, 511), (511, 1), (100, 1024), (256, 256)):
            self.refused(errno.EINVAL, self.nbd.pread, length, offset)
            self.refused(errno.EINVAL, self.nbd.pwrite, b"b" * length, offset)
            for what in self.spans().values():
                self.refused(errno.EINVAL, what, length, offset)
        self.assertEqual(self.nbd.pread(8192, 0), b"a" * 8192)

    def test_as_long_as_can_be(self):
        data = bytearray(b"".join(n.to_bytes(8, "little") for n in range(LARGEST // 8)))
        for offset in (0, BLOCK - 512, SIZE - LARGEST):
            self.nbd.pwrite(data, offset)
            self.assertTrue(self.nbd.pread(LARGEST, offset) == data, offset)
        self.refused(errno.EINVAL, self.nbd.pread, LARGEST + 512, 0)
        self.refused(errno.EINVAL, self.nbd.pwrite, bytearray(LARGEST + 512), 0)
        self.assertTrue(self.nbd.pread(LARGEST, SIZE - LARGEST) == data)
        for what in self.spans().values():  # no payload: up to the whole volume
            what(SIZE, 0)
        self.assertEqual(self.nbd.pread(LARGEST, BLOCK), bytes(LARGEST))

    def test_fua(self):
        self.nbd.pwrite(b"1" * 4096, 0, nbd.CMD_FLAG_FUA)
        self.nbd.pwrite(b"2" * BLOCK, BLOCK, nbd.CMD_FLAG_FUA)
        self.nbd.zero(4096, BLOCK, nbd.CMD_FLAG_FUA)
        self.nbd.trim(4096, 2 * BLOCK, nbd.CMD_FLAG_FUA)
        self.nbd.pwrite(b"3" * 512, BLOCK - 512)
        other = self.connect()  # an acknowledged write is everybody's
        self.assertEqual(other.pread(512, BLOCK - 512), b"3" * 512)
        self.assertEqual(other.pread(8192, BLOCK), bytes(4096) + b"2" * 4096)
        other.shutdown()

    def test_flags_that_do_not_exist(self):
        for flag in (1 << 5, 1 << 15):
            self.refused(errno.EINVAL, self.nbd.pwrite, b"z" * 512, 0, flag)
            self.refused(errno.EINVAL, self.nbd.trim, 512, 0, flag)
        self.refused(errno.EINVAL, self.nbd.cache, 4096, 0)  # not offered
        self.assertEqual(self.nbd.pread(512, 0), bytes(512))

    def test_trim_and_zero_give_back_what_they_can(self):
        """A whole block that is trimmed, or zeroed with holes allowed, is nobody's any more; with NO_HOLE it stays."""
        for what in (lambda n, o: self.nbd.trim(n, o), lambda n, o: self.nbd.zero(n, o)):
            self.nbd.pwrite(b"k" * (3 * BLOCK), 0)
            self.nbd.flush()
            self.assertEqual(self.allocated(), 3 * BLOCK)
            what(BLOCK, BLOCK)
            self.nbd.flush()
            self.assertEqual(self.nbd.pread(BLOCK + 1024, BLOCK - 512), b"k" * 512 + bytes(BLOCK) + b"k" * 512)
            self.assertEqual(self.allocated(), 2 * BLOCK)
        self.nbd.zero(BLOCK, BLOCK, nbd.CMD_FLAG_NO_HOLE)
        self.nbd.zero(BLOCK, 0, nbd.CMD_FLAG_NO_HOLE)
        self.nbd.flush()
        self.assertEqual(self.nbd.pread(2 * BLOCK + 512, 0), bytes(2 * BLOCK) + b"k" * 512)
        self.assertEqual(self.allocated(), 3 * BLOCK)  # there is room for what will be written there
        # Across borders, and less than blocks.
        self.nbd.pwrite(b"m" * (3 * BLOCK), 0)
        self.nbd.zero(BLOCK + 1024, BLOCK - 512)
        self.assertEqual(self.nbd.pread(BLOCK + 2048, BLOCK - 1024), b"m" * 512 + bytes(BLOCK + 1024) + b"m" * 512)

    def test_fast_zeroes_are_fast_or_refused(self):
        """Refused where data would have to be written (the file system below knows holes of 4 KiB); then nothing has changed."""
        data = bytes(range(256)) * (2 * BLOCK // 256)
        self.nbd.pwrite(data, 0)
        fast = nbd.CMD_FLAG_FAST_ZERO
        for offset, length, flags in ((0, 512, 0), (4096, BLOCK + 512, 0), (BLOCK - 512, 4096, 0), (BLOCK, BLOCK, nbd.CMD_FLAG_NO_HOLE)):
            self.refused(errno.EOPNOTSUPP, self.nbd.zero, length, offset, fast | flags)
            self.assertTrue(self.nbd.pread(2 * BLOCK, 0) == data, offset)
        self.nbd.zero(4096, 8192, fast)
        self.assertTrue(self.nbd.pread(2 * BLOCK, 0) == data[:8192] + bytes(4096) + data[12288:])
        self.nbd.zero(BLOCK + 4096, BLOCK - 4096, fast | nbd.CMD_FLAG_FUA)
        self.nbd.zero(3 * BLOCK, 3 * BLOCK, fast)
        self.nbd.zero(4096, 4 * BLOCK + 8192, fast)  # part of a hole
        self.assertTrue(self.nbd.pread(3 * BLOCK, 0) == data[:8192] + bytes(4096) + data[12288:BLOCK - 4096] + bytes(2 * BLOCK + 4096))
        self.assertEqual(self.allocated(), BLOCK)

    def extents(self, length, offset, flags=0):
        """[(offset, bytes, zero?)]; what is asked for may be told in several answers."""
        out, end = [], offset + length

        def told(_context, _offset, entries, _error):
            at = offset
            for size, state in zip(entries[::2], entries[1::2]):
                self.assertIn(state, (0, nbd.STATE_HOLE | nbd.STATE_ZERO))
                out.append((at, min(size, end - at), state != 0))
                at += size
            return 0
        while offset < end:
            self.nbd.block_status(end - offset, offset, told, flags)
            self.assertGreater(out[-1][0] + out[-1][1], offset)  # it gets on
            offset = out[-1][0] + out[-1][1]
        return out

    def test_block_status_is_true(self):
        count, dice = rounds(12, 200)
        for _ in range(count):
            for _ in range(4):
                block, length = dice.randrange(SIZE // BLOCK), 512 * dice.choice((1, 7, 1024, 8192, 20000))
                offset = min(block * BLOCK + 512 * dice.choice((0, 0, 0, 1, 8191)), SIZE - length)
                dice.choice((lambda n, o: self.nbd.pwrite(b"d" * n, o), self.nbd.trim, self.nbd.zero))(length, offset)
            first = 512 * dice.randrange(SIZE // 512)
            length = SIZE - first if dice.random() < 0.5 else 512 * dice.randrange(1, (SIZE - first) // 512 + 1)
            extents = self.extents(length, first, dice.choice((0, nbd.CMD_FLAG_REQ_ONE)))
            self.assertEqual(sum(size for _, size, _ in extents), length)
            for offset, size, zero in extents:
                for at in range(offset, offset + size if zero else offset, LARGEST):
                    piece = min(LARGEST, offset + size - at)
                    self.assertTrue(self.nbd.pread(piece, at) == bytes(piece), (at, piece))
        for offset, length in ((1, 512), (0, 100), (SIZE, 512), (SIZE - 512, 1024)):
            self.refused(errno.EINVAL, self.nbd.block_status, length, offset, lambda *_: 0)


if __name__ == "__main__":
    unittest.main()
