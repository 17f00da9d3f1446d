"""Journals that cannot be read, or lie in another way, and readers who go.

What the verifiers cannot read they say nothing about: status 3, no finding.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import unittest

from chancery import Chancery, program
from second import SECOND

NOBODY = 65534


class Unread(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = c = cls.enterClassContext(Chancery())
        c.init().add_users("ann")
        hall = c.add_room("Hall")
        c.start()
        ann = c.sign_in("ann")
        ann.join(hall)
        for i in range(20):
            if ann.post(hall, "Text %d" % i) != 200:
                raise AssertionError("post refused")
        c.stop()
        cls.commands = (
            [str(program("chancery-verify")), "--key", c.vkey],
            [sys.executable, str(SECOND), "--key", c.vkey])

    def copy(self, name):
        folder = self.c.folder / name
        folder.mkdir()
        path = folder / "journal.db"
        with contextlib.closing(sqlite3.connect(self.c.journal.path)) as db:
            db.execute("VACUUM INTO ?", (str(path),))
        return path

    def judge(self, command, path, **more):
        return subprocess.run([*command, str(path)], capture_output=True,
                              text=True, timeout=60, **more)

    def is_unread(self, done):
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 3, said)
        self.assertRegex(said, "failure: |Permission denied")
        self.assertNotIn("finding: ", said)
        self.assertNotIn("FAILS", said)

    def test_no_right_to_read(self):
        path, judged = self.copy("private"), 0
        for command in self.commands:
            self.assertEqual(self.judge(command, path).returncode, 0)
        path.chmod(0)
        rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []} \
            if os.geteuid() == 0 else {}
        for command in self.commands:
            with contextlib.suppress(PermissionError):  # root's own Python
                self.is_unread(self.judge(command, path, **rights))
                judged += 1
        self.assertGreater(judged, 0)

    def test_locked(self):
        path = self.copy("locked")
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA user_version = 2")
            for command in self.commands:
                self.is_unread(self.judge(command, path))
        for command in self.commands:
            self.assertEqual(self.judge(command, path).returncode, 0)

    def test_nobody_reads_the_report(self):
        """A pipe that was closed, and a disk that is full."""
        path = self.c.journal.path
        for command in self.commands:
            there, here = os.pipe()
            os.close(there)
            done = subprocess.Popen([*command, str(path)], stdout=here,
                                    stderr=subprocess.PIPE, text=True)
            os.close(here)
            said = done.communicate(timeout=60)[1]
            self.assertIn(done.returncode, (3, -signal.SIGPIPE), said)
            self.assertNotIn("Traceback", said)
            with open("/dev/full", "w") as full:
                done = subprocess.run([*command, str(path)], stdout=full,
                                      stderr=subprocess.PIPE, text=True,
                                      timeout=60)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_only_the_first_line_is_read(self):
        for command in self.commands:
            done = subprocess.run(
                ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-",
                 *command, str(self.c.journal.path)], capture_output=True,
                text=True, timeout=60)
            self.assertIn(done.returncode, (0, 3, 128 + signal.SIGPIPE))
            self.assertEqual(done.stderr == "", done.returncode != 3)
            self.assertEqual(done.stdout.count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
