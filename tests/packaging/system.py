"""A Debian 12 of its own: a tree with nothing in it but what a package depends on, booted with systemd in namespaces, with a
network of loopback alone. Needs root; the tree is made once, by mmdebstrap, and each boot sees a throw-away overlay of it."""
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000

# The kernel is shared: what is not of the namespaces' own stays read-only, as in any container.
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$run"
mkdir "$run/up" "$run/work" "$run/root"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$run/up,workdir=$run/work" "$run/root"
cd "$run/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
ln -s pts/ptmx dev/ptmx
mkdir dev/shm
mount -t tmpfs tmpfs dev/shm
echo fresh >etc/hostname
ip link set lo up
mkdir old
pivot_root . old
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=false --unit=multi-user.target
"""


class Unavailable(Exception):
    """There is no network, or a tool is missing: nothing is known of the package then."""


def make_tree(packages, later=()):
    """A folder with a minimal Debian and these packages, as it was made before if that was of the same ones. Those that come
    `later` are in it to be installed: apt-get install --no-download."""
    if os.geteuid() != 0:
        raise Unavailable("only root can make and boot a Debian of its own")
    for tool in ("mmdebstrap", "unshare", "nsenter", "pivot_root", "ip"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is missing: packaging/install-deps installs it")
    tree, stamp = ROOT / "build/deb/debian", ROOT / "build/deb/debian.packages"
    wanted = f"{' '.join(sorted(packages))}; {' '.join(sorted(later))}"
    if not stamp.exists() or stamp.read_text() != wanted:
        stamp.unlink(missing_ok=True)
        shutil.rmtree(tree, ignore_errors=True)
        load = f'chroot "$1" apt-get install --download-only --yes --no-install-recommends {" ".join(later)}'
        made = subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt", f"--include={','.join(packages)}",
                               f"--customize-hook={load if later else 'true'}", "bookworm", tree],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
        if made.returncode != 0:
            raise Unavailable(f"no Debian can be had: {made.stderr[-2000:]}")
        stamp.write_text(wanted)
    return tree


class System:
    """Booted by start(), and gone with all its processes after stop()."""

    def __init__(self, tree):
        self.tree, self.init, self.unshare = tree, None, None

    def start(self):
        self.run_folder = tempfile.mkdtemp(prefix="waypost-system-")
        environment = dict(os.environ, run=self.run_folder, tree=str(self.tree))
        self.log = open(os.path.join(self.run_folder + ".log"), "w+b")
        self.unshare = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup", "sh", "-c", BOOT],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        for _ in range(100):
            children = pathlib.Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children").read_text().split()
            if children and pathlib.Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
                self.init = int(children[0])
                break
            if self.unshare.poll() is not None:
                break
            threading.Event().wait(0.1)
        else:
            self.stop()
        if self.init is None:
            self.log.seek(0)
            raise Unavailable(f"no system can be booted here: {self.log.read().decode()[-2000:]}")
        # Its private socket comes a moment later.
        self("sh", "-c", "until systemctl is-system-running 2>/dev/null | grep -Eq 'running|degraded'; do sleep 0.1; done", timeout=60)
        return self

    def stop(self):
        if self.init is not None:
            os.kill(self.init, signal.SIGKILL)  # and with it all of its namespace
        self.unshare.kill()
        self.unshare.wait()
        self.log.close()
        os.unlink(self.log.name)
        os.rmdir(self.run_folder)

    def __call__(self, *command, check=True, timeout=120, input=None):
        """Runs a command inside; returns its exit code with its output, both kinds."""
        done = subprocess.run(["nsenter", "-t", str(self.init), "-a", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                               "DEBIAN_FRONTEND=noninteractive", *command],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, input=input or "")
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}: {done.stdout}")
        return done

    def path(self, path):
        """Where a file of it is seen from outside."""
        return pathlib.Path(f"/proc/{self.init}/root{path}")

    def in_network(self, function):
        """Starts `function` in a thread whose sockets are of its network."""

        def enter():
            with open(f"/proc/{self.init}/ns/net", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            function()

        thread = threading.Thread(target=enter, daemon=True)
        thread.start()
        return thread
