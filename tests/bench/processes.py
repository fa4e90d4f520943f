"""What the kernel says of running programs."""
import os
import pathlib
import re


def tree(programs):
    """{pid: /proc/PID/stat without the name} of these and all that they started."""
    stats = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
    wanted = {program.pid for program in programs}
    while more := {pid for pid, fields in stats.items() if int(fields[1]) in wanted} - wanted:
        wanted |= more
    return {pid: stats[pid] for pid in wanted if pid in stats}


def spent(programs):
    """Seconds of processor time of these and all that they started, what has ended too."""
    return sum(sum(map(int, fields[11:15])) for fields in tree(programs).values()) / os.sysconf("SC_CLK_TCK")


def memory(programs, key):
    """Octets by that key of /proc/PID/status, of all of them."""
    total = 0
    for pid in tree(programs):
        found = re.search(rf"^{key}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
        total += int(found[1]) * 1024 if found else 0
    return total
