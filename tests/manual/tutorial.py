#!/usr/bin/env python3
"""Does what waypost-tutorial(7) says, as far as that goes without a machine of its own: its configuration, beside the sample
one, has no error; its verbs are there.

Usage: tutorial.py PROGRAM SAMPLE PAGE"""
import pathlib
import re
import subprocess
import sys
import tempfile


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


def main():
    program, sample, page = map(pathlib.Path, sys.argv[1:])
    text = page.read_text()
    blocks = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", text, re.M | re.S)
    configuration = "\n".join(block for block in blocks if block.startswith("["))
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"^\.Dl ([^\n]*)", text, re.M)
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "conf.d").mkdir()
        (folder / "waypost.toml").write_text(re.sub(r"(?m)^#hostname = .*", 'hostname = "relay.office.example"', sample.read_text()))
        for secret in set(re.findall(r"/etc/waypost/secrets/(\w+)", configuration)):
            (folder / secret).write_text("secret\n")
            (folder / secret).chmod(0o640)
        (folder / "conf.d/office.toml").write_text(configuration.replace("/etc/waypost/secrets", name))
        checked = run(program, "--config", folder / "waypost.toml", "config", "check")
        if checked.returncode != 0 or "no errors" not in checked.stdout:
            wrong.append(checked.stdout + checked.stderr)
    verbs = {tuple(re.findall(r"[a-z]+", words)) for line in lines if (words := line.partition("waypost ")[2]) and line.startswith("waypost ")}
    for verb in verbs:
        # Help is of the longest part that is a verb; what follows is a value.
        first = run(program, verb[0], "--help").stdout
        length = 2 if "Subcommands:" in first else 1
        called = " ".join(["waypost", *verb[:length]])
        if f"Usage: {called} [OPTIONS]" not in run(program, *verb[:length], "--help").stdout:
            wrong.append(f"{called}: there is no such verb")
    if configuration.count("[[") < 4 or len(verbs) < 10:
        wrong.append("less was found in the page than is there")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
