#!/usr/bin/env python3
"""Holds waypost-api(7) to mta/control_api.cpp: the same paths, with the same methods.

Usage: api.py CONTROL_API PAGE. Prints what differs; exits 1 if anything does."""
import pathlib
import re
import sys

code, page = (pathlib.Path(name).read_text() for name in sys.argv[1:])
served = {(method.upper(), path) for path, method in re.findall(r'path == "(/v1/[\w/]+)"\) return (get|post)', code)}
told = {(method, path) for method, path in re.findall(r"^\.It Li (GET|POST) (/v1/[\w/]+)", page, re.M) if "/ID" not in path}
for method, path in sorted(served ^ told):
    print(f"{method} {path}: {'not in the page' if (method, path) in served else 'in the page alone'}")
if len(served) < 15:
    print(f"only {len(served)} were found")
sys.exit(1 if served != told or len(served) < 15 else 0)
