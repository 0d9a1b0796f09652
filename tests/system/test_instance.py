# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instance of the other tests: one that cannot be started leaves nothing behind."""
import os
import sys
import unittest

from instance import CommandFailed, Instance

NEVER_READY = "import os, sys, time; os.close(int(sys.argv[2])); time.sleep(600)"


class Unstartable(Instance):
    """`command` makes something else of the service's command line; --ready-fd N is added behind it."""

    def __init__(self, command, made):
        self.command = command
        made.append(self)
        super().__init__()

    def service_command(self):
        return self.command(super().service_command())


def processes_of(it):
    """Those whose command line or environment names its directory: bus, service, hosts."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for part in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{part}", "rb") as f:
                    if it.dir.encode() in f.read():
                        found.append(int(pid))
            except OSError:  # gone, or somebody else's
                pass
    return set(found)


class Leftovers(unittest.TestCase):
    def check(self, command, error):
        made = []
        with self.assertRaises(error):
            Unstartable(command, made)
        self.assertEqual(processes_of(made[0]), set())
        self.assertEqual(os.path.exists(made[0].dir), "ARCHIPELAGO_KEEP" in os.environ)

    def test_processes_are_found(self):
        with Instance() as it:
            self.assertLessEqual({it.bus.pid, it.service.pid}, processes_of(it))
        self.assertEqual(processes_of(it), set())

    def test_service_that_refuses(self):
        self.check(lambda command: command + ["--no-such-option"], CommandFailed)

    def test_service_that_never_gets_ready(self):
        self.check(lambda _: [sys.executable, "-c", NEVER_READY], CommandFailed)

    def test_service_that_is_not_there(self):
        self.check(lambda command: ["/nonexistent" + command[0]], FileNotFoundError)


if __name__ == "__main__":
    unittest.main()
