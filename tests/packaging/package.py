"""The built package from outside: what is in it and with which modes, and what Debian's own checkers say of it."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE, PEERS = pathlib.Path(sys.argv.pop(1)), pathlib.Path(sys.argv.pop(1))


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="waypost-package-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.tree = cls.folder / "tree"
        run("dpkg-deb", "-x", PACKAGE, cls.tree, check=True)
        run("dpkg-deb", "-e", PACKAGE, cls.folder / "control", check=True)

    def silent(self, *command, **options):
        done = run(*command, **options)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""), command[0])

    def test_files_and_modes(self):
        for line in run("dpkg-deb", "-c", PACKAGE, check=True).stdout.splitlines():
            mode, owner, *_, name = line.split(" -> ")[0].split()
            self.assertEqual(owner, "root/root", name)
            program = re.fullmatch(r"\./usr/(s?bin/\w+|lib/waypost/drop|share/waypost/from-postfix)", name)
            wanted = "lrwxrwxrwx" if mode[0] == "l" else "drwxr-xr-x" if mode[0] == "d" else "-rwxr-xr-x" if program else "-rw-r--r--"
            self.assertEqual(mode, wanted, name)
        for name in (
                "usr/sbin/waypostd", "usr/bin/waypost", "usr/sbin/sendmail", "usr/lib/sendmail", "usr/bin/mailq", "usr/bin/newaliases",
                "usr/lib/waypost/drop", "usr/share/bash-completion/completions/waypost", "lib/systemd/system/waypost.service",
                "lib/systemd/system/waypost.socket", "usr/lib/sysusers.d/waypost.conf", "usr/lib/tmpfiles.d/waypost.conf",
                "etc/waypost/waypost.toml", "etc/logrotate.d/waypost", "etc/fail2ban/filter.d/waypost.conf",
                "usr/share/waypost/reply-rules.toml"):
            self.assertTrue((self.tree / name).exists(), name)
        pages = {page.name for page in (ROOT / "man").iterdir()}
        self.assertEqual({page.stem for page in (self.tree / "usr/share/man").rglob("*.gz")}, pages)

    def test_what_is_a_configuration_file_is_kept_over_upgrades(self):
        listed = set((self.folder / "control/conffiles").read_text().split())
        self.assertEqual(listed, {f"/{path.relative_to(self.tree)}" for path in (self.tree / "etc").rglob("*") if path.is_file()})

    def test_the_version_is_the_programs(self):
        version = run("dpkg-deb", "-f", PACKAGE, "Version", check=True).stdout
        said = run(self.tree / "usr/sbin/waypostd", "--version", check=True).stdout
        self.assertEqual(version.split("-")[0], said.split()[-1])

    def test_lintian(self):
        self.silent("lintian", "--allow-root", PACKAGE)

    def test_shellcheck(self):
        scripts = [ROOT / f"packaging/debian/waypost.{name}" for name in ("config", "postinst", "prerm", "postrm")]
        # SC1091: debconf's library is there on a system alone.
        self.silent("shellcheck", "-e", "SC1091", *scripts, ROOT / "packaging/deb")

    def test_the_service_is_confined(self):
        done = run("systemd-analyze", "security", "--offline=yes", "--threshold=16", "--no-pager",
                   self.tree / "lib/systemd/system/waypost.service")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_sockets_are_those_of_the_configuration(self):
        unit = (self.tree / "lib/systemd/system/waypost.socket").read_text()
        toml = (self.tree / "etc/waypost/waypost.toml").read_text()
        listeners = re.findall(r'^\[\[listener\]\]\n(?:#.*\n)*address = "(.*)"', toml, re.M)
        self.assertEqual(re.findall(r"^ListenStream=(.*)$", unit, re.M), listeners)

    def test_apparmor(self):
        """The profile is one that its parser takes; nothing is loaded."""
        folder = self.folder / "apparmor.d"
        shutil.copytree(PEERS / "apparmor/etc/apparmor.d", folder)
        profile = self.tree / "etc/apparmor.d/usr.sbin.waypostd"
        done = run(PEERS / "apparmor/sbin/apparmor_parser", "--skip-kernel-load", "--skip-cache", "--base", folder,
                   "--config-file", "/dev/null", profile)
        # A kernel without AppArmor is no mistake of the profile.
        self.assertEqual((done.returncode, re.sub("Cache read/write disabled: .*\n", "", done.stderr)), (0, ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
