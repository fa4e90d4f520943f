#!/usr/bin/env python3
"""Holds waypost-metrics(7), the alert rules and the dashboard to mta/metrics.cpp: every metric, with its kind, is in the page,
and no other; rules and dashboard name none that is not there.

Usage: metrics.py METRICS PAGE FILE... Prints what differs; exits 1 if anything does."""
import pathlib
import re
import sys


def from_program(text):
    """Metric -> kind."""
    found = {name: kind for kind, name in re.findall(r'page\.(counter|gauge|histogram)\(\s*"(waypost_\w+)"', text)}
    for name, kind in re.findall(r'page\.family\(\s*"(waypost_\w+)",.*?MetricType::(\w+)\)', text, re.S):
        found[name] = kind.lower()
    return found


def main():
    program = from_program(pathlib.Path(sys.argv[1]).read_text())
    page = dict(re.findall(r"^\.It Ic (waypost_\w+)\n\((\w+)\)", pathlib.Path(sys.argv[2]).read_text(), re.M))
    wrong = [f"{name}: not in the page" for name in program.keys() - page.keys()]
    wrong += [f"{name}: in the page alone" for name in page.keys() - program.keys()]
    wrong += [f"{name}: a {program[name]}, not a {page[name]}" for name in program.keys() & page.keys()
              if program[name] != page[name]]
    parts = {name + end for name, kind in program.items() if kind == "histogram" for end in ("_bucket", "_sum", "_count")}
    for file in sys.argv[3:]:
        # What a recording rule makes has a colon before and behind it.
        named = set(re.findall(r"(?<![\w:])waypost_\w+(?![\w:])", pathlib.Path(file).read_text()))
        wrong += [f"{file}: there is no {name}" for name in named - program.keys() - parts]
        if not named:
            wrong.append(f"{file}: no metric was found")
    if len(program) < 30:
        wrong.append(f"only {len(program)} metrics were found")
    print("\n".join(sorted(wrong)), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
