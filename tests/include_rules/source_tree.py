# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules look at: the files of the checkout, and C++ text without its comments and strings.

The tree is walked, not asked of git, so that the rules also work on an unpacked release and on the copies that
self_test.py makes.
"""
import os
import re

# What .gitignore leaves out, and hidden folders other than .ci.
SKIPPED = re.compile(r'^(build(-.*)?|__pycache__|\.(?!ci$).*)$')
CPP = ('.c', '.h', '.cpp', '.hpp', '.cc')


def files(root, *suffixes):
    """Paths of the checkout, relative to its top, sorted; only those with one of the suffixes when there are any."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [d for d in subfolders if not SKIPPED.match(d)]
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names if not suffixes or n.endswith(suffixes)]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding='utf-8', errors='replace') as f:
        return f.read()


TOKEN = re.compile(r'''
    (?P<comment> //(?:[^\n\\]|\\.|\\\n)* | /\*.*?(?:\*/|\Z) )
  | (?P<string>  R"(?P<mark>[^()\s\\]*)\(.*?(?:\)(?P=mark)"|\Z) | "(?:[^"\\\n]|\\.|\\\n)*"? | (?<!\w)'(?:[^'\\\n]|\\.)*'? )
''', re.VERBOSE | re.DOTALL)


def without_comments(text, strings=True):
    """The text with comments blanked out, and string literals too unless `strings`; every line keeps its number."""
    def blank(match):
        if match['string'] and strings: return match[0]
        return re.sub(r'[^\n]', ' ', match[0])
    return TOKEN.sub(blank, text)
