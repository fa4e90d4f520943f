#!/usr/bin/env python3
"""Holds waypost-log(5) to base/event_log.cpp: every event, with its part, level and keys, is in the page, and no other.

Usage: log_events.py EVENT_LOG PAGE. Prints what differs; exits 1 if anything does."""
import pathlib
import re
import sys


def from_program(text):
    """Event -> (part, level, keys), as the calls of the file have them."""
    events = {}
    for begin in re.finditer(r'(?:Event|Event event)\(Level::(\w+), "(\w+)", "(\w+)"', text):
        body = text[begin.start():text.index("\n}\n", begin.start())]
        keys = re.findall(r'\b(?:add|number|number_alone)\("([\w-]+)"', body)
        events[begin[3]] = (begin[2], begin[1], set(keys))
    return events


def from_page(text):
    """Event -> (part, levels, what is quoted)."""
    events = {}
    for entry in re.split(r"^\.It ", text[text.index(".Sh EVENTS"):text.index(".Sh EXAMPLES")], flags=re.M)[1:]:
        names, _, rest = entry.partition("\n")
        part, levels = re.match(r"\((\w+), ([\w ]+)\)", rest).groups()
        quoted = {word for line in re.findall(r"^\.Ql (.*)$", rest, re.M) for word in re.findall(r"[\w-]+", line)}
        for name in re.findall(r"\w+", names.removeprefix("Ic ")):
            events[name] = (part, levels, quoted)
    return events


def main():
    program = from_program(pathlib.Path(sys.argv[1]).read_text())
    page = from_page(pathlib.Path(sys.argv[2]).read_text())
    wrong = [f"{name}: not in the page" for name in program.keys() - page.keys()]
    wrong += [f"{name}: in the page alone" for name in page.keys() - program.keys()]
    for name in program.keys() & page.keys():
        part, level, keys = program[name]
        if part != page[name][0] or level not in page[name][1]:
            wrong.append(f"{name}: {part}, {level} and not {page[name][:2]}")
        wrong += [f"{name}: key {key} is not in the page" for key in keys - page[name][2]]
    if len(program) < 30:
        wrong.append(f"only {len(program)} events were found")
    print("\n".join(sorted(wrong)), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
