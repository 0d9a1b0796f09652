# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance whose hosts have several reactors: each role is there once for each of them, as a shard on a thread of its own."""
import json

import nbd

from instance import BIN, Instance

BLOCKS, MAPS, MAPPER = 1600, 1620, 1640  # first ports; vlmcd and nbd divide their usual ranges


class ShardedInstance(Instance):
    def __init__(self, count, split=False, **more):
        self.count = count
        behind = ["blockerb", "blockerm", "mapperd", "vlmcd"]
        hosts = {"data": behind, "front": ["nbd"]} if split else {"data": behind + ["nbd"]}
        sections = "".join(f"[hosts.{name}]\nroles = {json.dumps(roles)}\nreactors = {count}\n" for name, roles in hosts.items())
        sections += (f"[vlmcd]\nblocker_port = {BLOCKS}\nmapper_port = {MAPPER}\n[mapperd]\nblockerb_port = {BLOCKS}\n"
                     f"blockerm_port = {MAPS}\nportno_start = {MAPPER}\nportno_end = {MAPPER + count - 1}\n")
        super().__init__(sections=sections, **more)

    def write_config(self, extra="", sections="", segment=256):
        super().write_config(extra, sections, segment)
        with open(self.config, encoding="utf-8") as f:
            text = f.read()
        for role, port in (("blockerb", BLOCKS), ("blockerm", MAPS)):
            text = text.replace(f"[{role}]\n", f"[{role}]\nportno_start = {port}\nportno_end = {port + self.count - 1}\n", 1)
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(text)

    def ports(self):
        rows = json.loads(self.run([BIN + "/xseg", "--run-dir", self.run_dir, "ports", "--json"]).stdout)
        return {row["port"]: row for row in rows if row["state"] == "bound"}

    def shard_of(self, volume):
        """As daemon/base/shards.h says it; that it is so is for the ports to show."""
        return int.from_bytes(bytes.fromhex(self.volumes()[volume]["id"].replace("-", ""))[:8], "little") % self.count

    def connect(self, volume):
        client = nbd.NBD()
        client.connect_uri(self.uri(volume))
        return client

    def spread(self, size="32M"):
        """New volumes until each shard has one: shard -> name."""
        out = {}
        for n in range(32 * self.count):
            name = f"v{n}"
            self.vlmc("create", name, "--size", size)
            out.setdefault(self.shard_of(name), name)
            if len(out) == self.count:
                return out
        raise AssertionError(f"{32 * self.count} volumes are on the shards {sorted(out)} of {self.count} only")
