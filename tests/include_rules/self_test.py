#!/usr/bin/python3 -B
# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows that the rules bite: each case puts one file into a copy of the tree and expects its own complaint, or none.

The cases are written out instead of derived from the table, so that a slip in the table is a failure here.
"""
import contextlib
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import house_rules
import include_rules
from source_tree import CPP, files

TREE = Path(__file__).parents[2]
SPDX = '// SPDX-FileCopyrightText: The Archipelago project\n// SPDX-License-Identifier: GPL-3.0-or-later\n'

FORBIDDEN = [  # a file, what it may not include
    ('xseg/src/probe.cpp', '"daemon/base/errors.h"'),
    ('xseg/src/probe.cpp', '<QString>'),
    ('daemon/base/probe.h', '"daemon/runtime/reactor.h"'),
    ('daemon/base/probe.h', '"xseg/port.h"'),
    ('daemon/runtime/probe.h', '"daemon/store/object_store.h"'),
    ('daemon/runtime/probe.h', '"daemon/client/peer_client.h"'),
    ('daemon/mapper/probe.cpp', '"daemon/store/object_store.h"'),
    ('daemon/mapper/probe.cpp', '"daemon/composer/split.h"'),
    ('daemon/composer/probe.cpp', '"daemon/mapper/volume_map.h"'),
    ('daemon/store/file/probe.cpp', '"daemon/mapper/journal.h"'),
    ('daemon/store/probe.cpp', '"daemon/gateway/front.h"'),
    ('daemon/gateway/nbd/probe.cpp', '"daemon/composer/composer.h"'),
    ('daemon/gateway/nbd/probe.cpp', '"daemon/host/main.h"'),
    ('daemon/gateway/nbd/probe.cpp', '"kmod/xsegbd_uapi.h"'),
    ('daemon/gateway/nbd/probe.cpp', '"xseg/src/ring.h"'),
    ('daemon/gateway/xsegbd/probe.cpp', '"kmod/compat.h"'),
    ('daemon/host/probe.cpp', '"daemon/client/peer_client.h"'),
    ('daemon/host/probe.cpp', '<QtCore/QObject>'),
    ('daemon/client/probe.cpp', '"daemon/mapper/mapper.h"'),
    ('dbus/service/probe.cpp', '"daemon/runtime/reactor.h"'),
    ('dbus/service/probe.cpp', '"daemon/mapper/mapper.h"'),
    ('dbus/client/probe.cpp', '"daemon/client/peer_client.h"'),
    ('dbus/client/probe.cpp', '"dbus/service/jobs.h"'),
    ('dbus/interfaces/probe.h', '"dbus/client/values.h"'),
    ('cli/vlmc/probe.cpp', '"xseg/segment.h"'),
    ('cli/vlmc/probe.cpp', '"daemon/client/peer_client.h"'),
    ('cli/vlmc/probe.cpp', '"cli/archipelago/cmd_start.h"'),
    ('cli/probe.cpp', '"dbus/service/jobs.h"'),
    ('gui/view/probe.cpp', '"dbus/service/jobs.h"'),
    ('gui/view/probe.cpp', '"cli/out/table.h"'),
    ('gui/view/probe.cpp', '"xseg/segment.h"'),
    ('kmod/probe.c', '"xseg/abi.h"'),
    ('kmod/probe.c', '<QObject>'),
    ('daemon/mapper/probe.cpp', '"tests/daemon/mapper/rig.h"'),
    ('daemon/mapper/probe.cpp', '"../store/object_store.h"'),
    ('daemon/mapper/probe.cpp', '"port.h"'),
    ('tests/daemon/mapper/probe.cpp', '"segment_fixture.h"'),
    ('daemon/mapper/probe.cpp', 'PLATFORM_HEADER'),
    ('daemon/attic/probe.cpp', '"daemon/base/errors.h"'),
]
ALLOWED = [
    ('xseg/src/probe.cpp', '"xseg/src/ring.h"'),
    ('xseg/src/probe.cpp', '"xseg/port.h"'),
    ('daemon/runtime/probe.h', '"xseg/port.h"'),
    ('daemon/mapper/probe.cpp', '"daemon/runtime/task.h"'),
    ('daemon/mapper/probe.cpp', '"daemon/base/protocol.h"'),
    ('daemon/store/file/probe.cpp', '"daemon/store/object_store.h"'),
    ('daemon/store/file/probe.cpp', '<liburing.h>'),
    ('daemon/gateway/xsegbd/probe.cpp', '"kmod/xsegbd_uapi.h"'),
    ('daemon/gateway/xsegbd/probe.cpp', '"daemon/gateway/front.h"'),
    ('daemon/host/probe.cpp', '"daemon/mapper/mapper.h"'),
    ('daemon/client/probe.cpp', '"xseg/port.h"'),
    ('dbus/service/probe.cpp', '"daemon/client/peer_client.h"'),
    ('dbus/service/probe.cpp', '<QObject>'),
    ('dbus/service/probe.cpp', '"dbus/interfaces/bus.h"'),
    ('cli/vlmc/probe.cpp', '"cli/out/table.h"'),
    ('cli/vlmc/probe.cpp', '"dbus/client/values.h"'),
    ('cli/vlmc/probe.cpp', '"daemon/base/sizes.h"'),
    ('gui/view/probe.cpp', '"dbus/client/model_feed.h"'),
    ('gui/view/probe.cpp', '"probe.moc"'),
    ('kmod/probe.c', '"compat.h"'),
    ('kmod/probe.c', '<linux/module.h>'),
    ('tests/daemon/mapper/probe.cpp', '"daemon/store/memory/memory_store.h"'),
    ('tests/daemon/mapper/probe.cpp', '"xseg/src/ring.h"'),
    ('tests/xseg/probe.cpp', '"segment_fixture.h"'),
]
TRAPS = ['auto r = co_await f({.name = x});', 'co_await Sleep{5};', 'auto r = co_await f(a,\n\tRequest{b});',
         'if (auto r = co_await g(Name{"x"}); !r) return;', 'co_await f([&] { return 1; });']
SAFE = ['auto r = co_await f(x);', 'if (co_await f(x)) {\n\tg();\n}', 'for (;;) { co_await f(); }',
        'while (auto r = co_await next(a[i])) {', 'co_await f("{"); // like co_await f({})', 'Result r{co_await f(x)};',
        'Pair p{co_await f(), Name{"x"}};', "co_await f('{');"]


class Rules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix='archipelago-rules.')
        cls.root = Path(cls.scratch.name)
        for path in files(TREE, *CPP, '.py', '.md'):
            (cls.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / path, cls.root / path)
        cls.house_before = house_rules.violations(cls.root)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    @contextlib.contextmanager
    def one_more(self, path, text):
        file = self.root / path
        made = [d for d in file.parents if not d.exists()]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        try: yield
        finally:
            file.unlink()
            for d in made: d.rmdir()

    def include(self, path, text):
        with self.one_more(path, text): return include_rules.violations(self.root, [path])

    def house(self, path, text):
        """What one more file adds."""
        with self.one_more(path, text):
            return [c for c in house_rules.violations(self.root) if c not in self.house_before]

    def test_forbidden_includes(self):
        for path, include in FORBIDDEN:
            with self.subTest(path=path, include=include):
                got = self.include(path, f'{SPDX}#include {include}\n')
                self.assertEqual([c[:len(path) + 3] for c in got], [f'{path}:3:'], got)

    def test_allowed_includes(self):
        for path, include in ALLOWED:
            with self.subTest(path=path, include=include):
                self.assertEqual(self.include(path, f'{SPDX}#include {include}\n'), [])

    def test_include_in_a_comment_is_none(self):
        text = f'{SPDX}/* an example:\n#include "daemon/store/object_store.h"\n*/\n//#include <QString>\n'
        self.assertEqual(self.include('daemon/mapper/probe.cpp', text), [])

    def test_braces_in_co_await(self):
        for text in TRAPS:
            with self.subTest(text=text): self.assertEqual(len(list(house_rules.braces_in_await(text))), 1)
        for text in SAFE:
            with self.subTest(text=text): self.assertEqual(list(house_rules.braces_in_await(text)), [])
        got = self.house('daemon/base/probe.cpp', f'{SPDX}\n{TRAPS[0]}\n')
        self.assertEqual([c.partition(' ')[0] for c in got], ['daemon/base/probe.cpp:4:'])
        self.assertEqual(self.house('daemon/base/probe.cpp', f'{SPDX}\n{TRAPS[0]} // lint: shows the trap\n'), [])

    def test_licence(self):
        self.assertEqual(self.house('tests/models/probe.py', '#!/usr/bin/python3\n' + SPDX.replace('//', '#')), [])
        self.assertEqual(len(self.house('tests/models/probe.py', 'print()\n')), 2)
        kernel = self.house('kmod/probe.c', SPDX)
        self.assertTrue(any('GPL-2.0-only' in c for c in kernel), kernel)

    def test_readme(self):
        got = self.house('gui/attic/probe.cpp', SPDX)
        self.assertEqual([c.split(':')[0] for c in got], ['gui/attic/README.md'])
        got = self.house('gui/attic/README.md', 'a line\n' * 16)
        self.assertEqual([c.split(':')[0] for c in got], ['gui/attic/README.md'])

    def test_names_in_readmes(self):
        for text in ('the link (`no_such_link`)\n', '`no_such.h`\n', '`../mapper/no_such.cpp`\n', '`daemon/mapper/no_such.h`\n'):
            with self.subTest(text=text):
                got = self.house('daemon/mapper/probe/README.md', text)
                self.assertEqual(got, [])  # no code there, so what it names may be a plan
                with self.one_more('daemon/mapper/probe/probe.cpp', SPDX):
                    got = self.house('daemon/mapper/probe/README.md', f'first\n{text}')
                self.assertEqual([c.partition(' ')[0] for c in got], ['daemon/mapper/probe/README.md:2:'])
        there = '`volume_map` `volume_map.h` `../volume_map.cpp` `daemon/mapper/volume_map.h` `Task` `vlmc info` `map` `port_leaving`\n'
        with self.one_more('daemon/mapper/probe/probe.cpp', SPDX):
            self.assertEqual(self.house('daemon/mapper/probe/README.md', there), [])

    def test_top_level_folder(self):
        self.assertEqual([c.split(':')[0] for c in self.house('common/notes.txt', '')], ['common'])


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + ['-v'])
