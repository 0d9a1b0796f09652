#!/usr/bin/python3 -B
# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""House rules that a machine can see.

  house_rules.py [ROOT]     one line per violation; exit status 1 when there is one

licence     each source file names its licence in its first lines; which one depends on the room
co_await    no braces inside a co_await expression: g++ 12.2 destroys such a temporary twice, be it a braced value or
            the captures of a lambda (CONTRIBUTING.md). A line that says "lint: shows the trap" is left alone
readme      each folder with code has a README.md of at most 15 lines of text
names       a file that such a README.md names between backticks (`reply_queue`, `wire.h`, `daemon/base/config.h`) is there
folders     no top-level folder outside the plan
"""
import os
import re
import sys
from pathlib import Path

from source_tree import CPP, SKIPPED, files, read, without_comments

TOP_FOLDERS = {'xseg', 'daemon', 'kmod', 'gui', 'cli', 'dbus', 'resources', 'tests', 'packaging', '.ci'}

OWNER = 'SPDX-FileCopyrightText: The Archipelago project'
GPL3 = 'GPL-3.0-or-later'
KERNEL = 'GPL-2.0-only'
SHARED_WITH_KERNEL = 'GPL-2.0-only WITH Linux-syscall-note OR GPL-3.0-or-later'
SHOWS_THE_TRAP = 'lint: shows the trap'
SHARED_FILES = ('xseg/include/xseg/abi.h', 'kmod/xsegbd_uapi.h')


def is_source(root, path):
    name = Path(path).name
    if name.endswith(CPP + ('.py', '.sh', '.cmake')) or name == 'CMakeLists.txt': return True
    if path.startswith('dbus/interfaces/') and name.endswith('.xml'): return True
    if not os.access(root / path, os.X_OK): return False
    with open(root / path, 'rb') as f: return f.read(2) == b'#!'


def licence_of(path):
    if path in SHARED_FILES: return SHARED_WITH_KERNEL
    return KERNEL if path.startswith('kmod/') else GPL3


def licences(root):
    for path in files(root):
        if not is_source(root, path): continue
        # A shebang, an XML declaration or a DOCTYPE may come first.
        lines = [line.strip(' \t*/<!>-#') for line in read(root, path).split('\n')[:6]]
        if OWNER not in lines: yield f'{path}:1: "{OWNER}" is missing'
        if 'SPDX-License-Identifier: ' + licence_of(path) not in lines:
            yield f'{path}:2: "SPDX-License-Identifier: {licence_of(path)}" is missing'


def braces_in_await(text):
    """Offsets of co_await expressions with a brace inside. An expression ends at a ; or at a parenthesis it did not open."""
    code = without_comments(text, strings=False)
    for await_ in re.finditer(r'\bco_await\b', code):
        depth = 0
        for c in code[await_.end():]:
            if c == '{':
                yield await_.start()
                break
            depth += (c in '([') - (c in ')]')
            if depth < 0 or (c in ';,' and depth == 0): break


def co_awaits(root):
    for path in files(root, *CPP):
        text = read(root, path)
        for offset in braces_in_await(text):
            line = text.count('\n', 0, offset) + 1
            if SHOWS_THE_TRAP in text.split('\n')[line - 1]: continue
            yield f'{path}:{line}: braces inside a co_await expression: name the value first (g++ 12.2)'


def readmes(root):
    # In tests/ and below include/ and src/ the folder above speaks for those below.
    missing = set()
    for inside in {Path(p).parent for p in files(root, *CPP, '.py')}:
        while inside.name in ('include', 'src') or 'include' in inside.parts[:-1]: inside = inside.parent
        candidates = [inside]
        if inside.parts[0] == 'tests':
            candidates = [p for p in (inside, *inside.parents) if p.parts and p.parts[0] == 'tests']
        if not any((root / c / 'README.md').exists() for c in candidates): missing.add(candidates[0])
    for folder in sorted(missing):
        yield f'{folder}/README.md:1: missing: what the folder is for, its entry file, who may include it'
    for path in files(root, 'README.md'):
        if path == 'README.md': continue
        text = re.sub(r'<!--.*?-->', '', read(root, path), flags=re.DOTALL)
        count = sum(1 for line in text.split('\n') if line.strip())
        if count > 15: yield f'{path}:1: {count} lines of text; 15 are enough for what, entry file and who may include it'


# A path with an ending, or words joined by _: what else stands between backticks in a README (commands, keys, types) is neither.
FILE_NAME = re.compile(r'`((?:[\w.]+/)*\w+\.(?:h|cpp|c|py|md)|[a-z0-9]+(?:_[a-z0-9]+)+)`')


def names(root):
    known = {name for p in files(root) for name in (Path(p).name, Path(p).stem)}
    with_code = {folder for p in files(root, *CPP, '.py') for folder in Path(p).parents}
    for path in files(root, 'README.md'):
        folder = Path(path).parent
        if folder not in with_code: continue  # says what will be there
        text = read(root, path)
        for found in FILE_NAME.finditer(text):
            name = found[1]
            if '/' in name: there = (root / name).exists() or (root / folder / name).exists()
            else: there = name in known or name + '_test' in known
            if there: continue
            line = text.count('\n', 0, found.start()) + 1
            yield f'{path}:{line}: `{name}` is no file here: name the one that is meant'


def folders(root):
    for entry in sorted(os.scandir(root), key=lambda e: e.name):
        if entry.is_dir() and not SKIPPED.match(entry.name) and entry.name not in TOP_FOLDERS:
            yield f'{entry.name}:1: top-level folders are fixed (ARCHITECTURE.md): put it in one of them'


def violations(root):
    root = Path(root)
    return [*licences(root), *co_awaits(root), *readmes(root), *names(root), *folders(root)]


def main():
    found = violations(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2])
    print(*found, sep='\n', end='\n' if found else '')
    print(f'{len(found)} violations')
    return bool(found)


if __name__ == '__main__':
    sys.exit(main())
