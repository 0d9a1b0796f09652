#!/usr/bin/python3 -B
# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The include rules of ARCHITECTURE.md as a test: everything points down, siblings do not know each other.

  include_rules.py [ROOT]     one line per forbidden #include; exit status 1 when there is one

A room is a folder of the tree; a file belongs to the deepest room above it. A room may include itself and whatever can
be reached from it through MAY_INCLUDE. Tests may include everything, and a fixture in their own folder by its short
name. Change the table only together with the drawing.
"""
import re
import sys
from pathlib import Path

from source_tree import CPP, files, read, without_comments

MAY_INCLUDE = {
    'gui':                   ['dbus/client'],
    'cli/archipelago':       ['cli'],
    'cli/vlmc':              ['cli'],
    'cli':                   ['dbus/client', 'daemon/base'],
    'dbus/client':           ['dbus/interfaces', 'daemon/base'],
    'dbus/service':          ['dbus/interfaces', 'daemon/client'],
    'dbus/interfaces':       ['daemon/base'],
    'daemon/host':           ['daemon/mapper', 'daemon/composer', 'daemon/store', 'daemon/gateway',
                              'daemon/gateway/xsegbd'],
    'daemon/mapper':         ['daemon/runtime'],
    'daemon/composer':       ['daemon/runtime'],
    'daemon/store':          ['daemon/runtime'],
    'daemon/gateway':        ['daemon/runtime'],
    'daemon/gateway/xsegbd': ['daemon/gateway', 'kmod/xsegbd_uapi.h'],
    'daemon/client':         ['xseg', 'daemon/base'],
    'daemon/runtime':        ['xseg', 'daemon/base'],
    'daemon/base':           [],
    'xseg':                  [],
    'kmod':                  [],
}
EVERYTHING = ('tests',)
NO_QT = ('xseg', 'daemon', 'kmod')
TOP = sorted({room.split('/')[0] for room in MAY_INCLUDE} | {'tests', 'resources', 'packaging'})
XSEG_PUBLIC = 'xseg/include/'

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include(?:_next)?\b[ \t]*(?P<what>.*?)[ \t]*$', re.MULTILINE)
NAMED = re.compile(r'^(?:"(?P<quoted>[^"]+)"|<(?P<angled>[^>]+)>)')
QT = re.compile(r'^(Qt?[A-Z]\w*(/.*)?|q[a-z0-9_]+\.h)$')


def reachable(room):
    seen, todo = set(), [room]
    while todo:
        if (r := todo.pop()) not in seen:
            seen.add(r)
            todo += MAY_INCLUDE.get(r, [])
    return seen


REACHABLE = {room: reachable(room) for room in MAY_INCLUDE}


def room_of(path):
    """The deepest room above a path; a single file that the table names is a room of its own; None outside."""
    if path in {target for targets in MAY_INCLUDE.values() for target in targets}: return path
    above = [r for r in (*MAY_INCLUDE, *EVERYTHING) if path.startswith(r + '/')]
    return max(above, key=len, default=None)


def target_of(name, root):
    """Path in the tree that an include names, existing or generated; None when it is not ours."""
    if name.startswith('xseg/') and not (root / name).exists(): return XSEG_PUBLIC + name
    return name if name.split('/')[0] in TOP and '/' in name else None


def complaint(path, what, root, by_name):
    """Why this #include is against the rules; None when it is not."""
    named = NAMED.match(what)
    if not named: return f'{what}: an include must name its file, or the rules cannot be checked'
    name = named['quoted'] or named['angled']
    room = room_of(path)
    if path.split('/')[0] in NO_QT and QT.match(name): return f'{name}: no Qt in {path.split("/")[0]}/'
    target = target_of(name, root)
    if target is None:
        if named['angled'] or name.endswith('.moc') or name.startswith('moc_'): return None
        here = Path(path).parent / name
        if room in EVERYTHING and '/' not in name and (root / here).exists(): return None
        if room == 'kmod': return None if '/' not in name else f'{name}: kmod includes nothing of ours'
        if '..' in here.parts or (root / here).exists() or name in by_name:
            return f'{name}: project headers by their full path from the top of the repository'
        return None
    if room in EVERYTHING: return None
    if room is None: return f'{name}: {Path(path).parent} is not a room of the plan'
    if target.startswith('xseg/') and not target.startswith(XSEG_PUBLIC) and room != 'xseg':
        return f'{name}: private to xseg; others include "xseg/..."'
    if room_of(target) in REACHABLE[room]: return None
    below = ', '.join(sorted(REACHABLE[room] - {room})) or 'nothing else of ours'
    return f'{name}: {room} may not include {room_of(target) or target} (it may include {below})'


def violations(root, paths=None):
    """All complaints of a tree, or of some of its files, as "path:line: text"."""
    root, found = Path(root), []
    sources = files(root, *CPP)
    by_name = {Path(p).name for p in sources}
    for path in sources if paths is None else paths:
        text = without_comments(read(root, path))
        for include in INCLUDE.finditer(text):
            if why := complaint(path, include['what'], root, by_name):
                found.append(f'{path}:{text.count(chr(10), 0, include.start()) + 1}: {why}')
    return found


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2])
    found = violations(root)
    print(*found, sep='\n', end='\n' if found else '')
    print(f'{len(files(root, *CPP))} files, {len(found)} forbidden includes')
    return bool(found)


if __name__ == '__main__':
    sys.exit(main())
