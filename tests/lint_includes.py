#!/usr/bin/env python3
"""Holds the direction of includes: a folder includes itself and what stands below it, by `folder/file.h` alone.

Usage: lint_includes.py ROOT. Prints each include that points the wrong way; exits 1 if there is one.
"""
import os
import re
import sys

BELOW = {
    'base': [],
    'smtp': ['base'],
    'net': ['base'],
    'conf': ['base'],
    'resolver': ['base', 'smtp', 'net', 'conf'],
    'queue': ['base', 'smtp', 'net', 'conf'],
    'delivery': ['base', 'smtp', 'net', 'conf', 'resolver', 'queue'],
    'mta': ['base', 'smtp', 'net', 'conf', 'resolver', 'queue', 'delivery'],
}
# Libraries that one folder wraps: what it hides must not show elsewhere.
OWNER = {'uv.h': ['net', 'resolver'], 'sqlite3.h': ['queue', 'conf'], 'ares.h': ['resolver'], 'toml++/toml.h': ['conf'],
         'microhttpd.h': ['mta'], 'idn2.h': ['smtp'], 're2/re2.h': ['delivery', 'queue'], 'curl/curl.h': ['mta'], 'openssl/ssl.h': ['net']}
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')


def check(root):
    bad = 0
    for folder, below in BELOW.items():
        for name in sorted(os.listdir(os.path.join(root, folder))):
            if not name.endswith(('.h', '.cpp')):
                continue
            path = os.path.join(folder, name)
            with open(os.path.join(root, path), encoding='utf-8') as file:
                for number, line in enumerate(file, 1):
                    found = INCLUDE.match(line)
                    if not found:
                        continue
                    why = None
                    if found.group(1):
                        target = found.group(1).split('/')
                        if len(target) != 2 or target[0] not in BELOW:
                            why = 'is not written as folder/file.h from the root'
                        elif target[0] != folder and target[0] not in below:
                            why = f'points up: {folder} stands on {", ".join(below) or "nothing"}'
                        elif not os.path.exists(os.path.join(root, found.group(1))):
                            why = 'does not exist'
                    elif folder not in OWNER.get(found.group(2), [folder]):
                        why = f'belongs to {" and ".join(OWNER[found.group(2)])} alone'
                    if why:
                        print(f'{path}:{number}: include of {found.group(1) or found.group(2)} {why}')
                        bad += 1
    return bad


if __name__ == '__main__':
    sys.exit(1 if check(sys.argv[1]) else 0)
