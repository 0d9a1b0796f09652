# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data host is killed again and again under fio with verification, the gateway in a host of its own: the clients see a
pause, never an error."""
import unittest

from instance import SPLIT, rounds
from pauses import kill_under_load


class Pause(unittest.TestCase):
    def test_clients_see_a_pause(self):
        kills, dice = rounds(50, 200)
        kill_under_load(self, SPLIT, ("data",), kills, dice)


if __name__ == "__main__":
    unittest.main()
