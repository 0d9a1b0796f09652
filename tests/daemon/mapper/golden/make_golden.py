#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the golden vectors of map 3 from daemon/mapper/MAP_FORMAT.md, and from nothing else.

It shares no code with the product: that both write the same bytes shows that the document says what the product does.
The .hex files are committed; this script is run by hand when the format changes (with its version).

File: lines "OFFSET: HEX", offsets and bytes in hex; bytes that no line has are zero; the last line is "length N", decimal.
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, seed=0):
    crc = ~seed & 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return ~crc & 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def seal(name, data):
    """Puts the checksum at 12: seeded with the object's own name, over everything, the field itself zero."""
    crc = crc32c(data[:12] + b"\0\0\0\0" + data[16:], crc32c(name))
    return data[:12] + struct.pack("<I", crc) + data[16:], crc


def prologue(kind, fixed, total, volume):
    return b"AM3" + kind + struct.pack("<HHII", 3, fixed, total, 0) + volume


def dump(file, comment, data):
    lines = ["# SPDX-FileCopyrightText: The Archipelago project", "# SPDX-License-Identifier: GPL-3.0-or-later", "# " + comment]
    for at in range(0, len(data), 32):
        row = data[at:at + 32]
        if any(row):
            lines.append(f"{at:06x}: " + row.hex(" ", 8))
    lines.append(f"length {len(data)}")
    (HERE / file).write_text("\n".join(lines) + "\n")


VOLUME = bytes(range(0x10, 0x20))
PARENT = bytes(range(0xA0, 0xB0))
BOOT = bytes.fromhex("6a1f9f58e1f04c4b9c0d3d2f5a7b8c9d")
GENERATION = 3
EPOCH = GENERATION << 40
text = VOLUME.hex()

# ---- n.db-01
name = b"db-01"
data = prologue(b"n", 128, 128, VOLUME) + struct.pack("<qH82s4x", 1_700_000_000_123_456_789, len(name), name)
dump("name.hex", "n.db-01: volume 1011..1f, time 1700000000123456789", seal(b"n." + name, data)[0])

# ---- a chunk: blocks 8192 + {0: own epoch, 5: a parent's, 8191: own}
entries = bytearray(8192 * 32)
owners = []
for place, owner, epoch in ((0, VOLUME, EPOCH + 1), (5, PARENT, 7), (8191, VOLUME, EPOCH + 2)):
    if owner not in owners:
        owners.append(owner)
    entries[place * 32:place * 32 + 32] = struct.pack("<HHHHQQII", owners.index(owner) + 1, 0, 0, 0, epoch, 0, 0, 0)
body = struct.pack("<QIIIIII", EPOCH + 3, 1, 8192, len(owners), 0, 0, 0) + bytes(entries) + b"".join(owners)
chunk, chunk_crc = seal(f"c.{text}.{EPOCH + 3:016x}.{1:08x}".encode(), prologue(b"c", 64, 32 + len(body), VOLUME) + body)
dump("chunk.hex", "c.1011..1f.0000030000000003.00000001: entries 0, 5 (owner a0a1..af) and 8191", chunk)

# ---- the header of generation 3, with that chunk and one of another volume
table = struct.pack("<II16sQ", 1, chunk_crc, VOLUME, EPOCH + 3) + struct.pack("<II16sQ", 2047, 0xDEADBEEF, PARENT, 9)
body = struct.pack(
    "<QQQBBHIQQQQIIQ16sQqqQH82sIQ",
    42, GENERATION, 64 << 40, 22, 13, 1, 0,              # writes, generation, 64 TiB, shifts, LIVE, flags
    EPOCH + (1 << 20), 2 << 40, EPOCH,                   # epoch limit, base, floor
    EPOCH, 0, 0, 0,                                      # journal epoch, first segment, reserved, applied
    PARENT, 77, 1_700_000_000_000_000_000, 0, 3 << 22,   # origin, its time, created, removed, allocated
    len(name), name, 2, 0) + table
header, _ = seal(f"h.{text}.{GENERATION:016x}".encode(), prologue(b"h", 256, 32 + len(body), VOLUME) + body)
assert len(header) == 256 + 2 * 32
dump("header.hex", "h.1011..1f.0000000000000003: 64 TiB, journal of epoch 3<<40, two chunks", header)


# ---- a journal segment
def journal(segment, first, records):
    """records: (type, body), or ("pad",) = up to the next block boundary."""
    head = prologue(b"j", 80, 80, VOLUME) + struct.pack("<QIIQ16sQ", EPOCH, segment, 0, first, BOOT, GENERATION)
    out, chain = seal(f"j.{text}.{EPOCH:016x}.{segment:08x}".encode(), head)
    sequence = first
    for record in records:
        left = -len(out) % 4096
        if 0 < left < 16:
            out += bytes(left)
            left = 0
        if record[0] == "pad":
            if not left:
                continue
            kind, body = 5, bytes(left - 16)
        else:
            kind, body = record
        rest = struct.pack("<HHQ", kind, 16 + len(body), sequence) + body
        chain = crc32c(b"\0\0\0\0" + rest, chain)
        out += struct.pack("<I", chain) + rest
        sequence += 1
    return out + bytes(-len(out) % 4096)


def entry(block, epoch):
    return 1, struct.pack("<II16sQ16sQ", block, 0, VOLUME, epoch, bytes(16), 0)


def drop(block, count):
    return 3, struct.pack("<II", block, count)


def commit(upto):
    return 4, struct.pack("<QQ", upto, GENERATION)


dump("journal.hex", "j.1011..1f.0000030000000000.00000000: ENTRY 1, ENTRY 2, COMMIT 3 {upto 2}, PAD 4, ENTRY 5",
     journal(0, 1, [entry(8192, EPOCH + 1), entry(16777215, EPOCH + 1), commit(2), ("pad",), entry(0, EPOCH + 2)]))
# The COMMIT behind 169 entries ends 8 bytes before a block boundary, where no record can begin: no PAD, 8 zero bytes.
dump("journal_edge.hex", "j.1011..1f.0000030000000000.00000002: ENTRY 1000..1168, COMMIT {upto 1168}, ENTRY at 12288",
     journal(2, 1000, [entry(block, EPOCH + 1) for block in range(169)] + [commit(1168), ("pad",), entry(0, EPOCH + 2)]))
dump("journal_drop.hex", "j.1011..1f.0000030000000000.00000000: ENTRY 1, DROP 2 (one block), DROP 3, COMMIT 4 {upto 3}, PAD 5, ENTRY 6",
     journal(0, 1, [entry(7, EPOCH + 1), drop(7, 1), drop(8191, 16769025), commit(3), ("pad",), entry(7, EPOCH + 2)]))
