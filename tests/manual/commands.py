#!/usr/bin/env python3
"""Holds waypost(8) and waypostd(8) to the programs: every verb and option that --help prints, of every verb below, is in
the page, and none is in the page that does not exist; every verb has an example in both.

Usage: commands.py PROGRAM PAGE. Prints what differs; exits 1 if anything does.

In a page the options of the program itself stand under `.Sh OPTIONS` or `.Sh DESCRIPTION`, those of a verb under
`.Ss queue list` (or `.Ss queue hold, queue release` where verbs share them), each as `.It Fl -json`.
"""
import os
import re
import subprocess
import sys

OPTION = re.compile(r"^\s*(-[\w-]+(?:,-[\w-]+)*)")


def help_of(program, verb):
    done = subprocess.run([program, *verb, "--help"], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def from_program(program):
    """Verb -> its options; "" is the program itself. And the verbs whose --help has no example."""
    verbs, without_example = {}, []

    def walk(words):
        text = help_of(program, words)
        options, below, in_verbs = set(), [], False
        for line in text.splitlines():
            found = OPTION.match(line)
            if found:
                options.update(found[1].split(","))
            if re.match(r"^\S.*:", line):
                in_verbs = line.startswith("Subcommands:")
            elif in_verbs and re.match(r"^  \w", line):
                below.append(line.split()[0])
        if words:
            options -= {"-h", "--help"}  # said once, of all
            if "Example:" not in text:
                without_example.append(" ".join(words))
        # A verb that only leads to others has no options of its own to describe.
        if not below or not words:
            verbs[" ".join(words)] = options
        for verb in below:
            walk([*words, verb])

    walk([])
    return verbs, without_example


def flags_of(line):
    """The options that `.It Fl c Ar file , Fl -config Ar file` names."""
    return {"-" + flag for flag in re.findall(r"\bFl (\S+)", line)}


def from_page(path):
    """Verb -> its options, verb -> its examples, as the page has them."""
    verbs, examples, at = {}, {}, []
    with open(path, encoding="utf-8") as page:
        for line in page:
            if line.startswith(".Sh "):
                at = [""] if line.strip() in (".Sh OPTIONS", ".Sh DESCRIPTION") else []
            elif line.startswith(".Ss "):
                verb = line[4:].strip()
                # Subsections of a page without verbs are about other things.
                at = verb.split(", ") if verb == verb.lower() and not verb.startswith("the ") else []
            for verb in at:
                verbs.setdefault(verb, set())
                if line.startswith(".It Fl "):
                    verbs[verb] |= flags_of(line)
                if line.startswith(".Dl "):
                    examples.setdefault(verb, []).append(line[4:])
    return verbs, examples


def compare(program, page):
    name = os.path.basename(program)
    real, without_example = from_program(program)
    said, examples = from_page(page)
    wrong = [f"{name} {verb} --help: no example" for verb in without_example]
    for verb in sorted(real.keys() | said.keys()):
        command = f"{name} {verb}".strip()
        if verb not in said:
            wrong.append(f"{command}: not in {page}")
            continue
        if verb not in real:
            wrong.append(f"{page}: {command} does not exist")
            continue
        wrong += [f"{command} {option}: not in {page}" for option in sorted(real[verb] - said[verb])]
        wrong += [f"{page}: {command} {option} does not exist" for option in sorted(said[verb] - real[verb])]
        if not any(example.startswith(command) for example in examples.get(verb, [])):
            wrong.append(f"{page}: no example of {command}")
    # An option in an example or in the synopsis exists too.
    with open(page, encoding="utf-8") as text:
        for option in re.findall(r"(?:^|\s)(--[\w-]+)", text.read()):
            if not any(option in options for options in real.values()):
                wrong.append(f"{page}: {option} in an example does not exist")
    return wrong


if __name__ == "__main__":
    found = compare(sys.argv[1], sys.argv[2])
    print("\n".join(found))
    sys.exit(1 if found else 0)
