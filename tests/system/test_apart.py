# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role in a host of its own, and one of them is killed at a time, under fio with verification: whoever it is, the clients
see a pause and no error."""
import unittest

from instance import APART, ROLES, rounds
from pauses import kill_under_load

MORTALS = [role for role in ROLES if role != "nbd"]


class Apart(unittest.TestCase):
    def test_any_role_may_die(self):
        kills, dice = rounds(20, 400)
        kill_under_load(self, APART, MORTALS, kills, dice)


if __name__ == "__main__":
    unittest.main()
