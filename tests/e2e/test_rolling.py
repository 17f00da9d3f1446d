"""A journal that goes on in file after file, under load and kill -9."""

import os
import random
import re
import signal
import subprocess
import sys
import unittest

from chancery import ROOT, Chancery, Journal, wait_until
from load import Load

USERS = ["u%d" % i for i in range(4)]
SMALL = "journal { segment-records = 512 }\n"
SECOND = ROOT / "export" / "chancery-verify.py"


def files(c):
    """In their order: journal.db, journal-0001.db, ..."""
    return sorted(c.journal.path.parent.glob("journal*.db"),
                  key=lambda path: (len(path.name), path.name))


class Segments(unittest.TestCase):
    def second(self, c, paths):
        return subprocess.run([sys.executable, SECOND, "--key", c.vkey,
                               *map(str, paths)], capture_output=True,
                              text=True, timeout=200)

    def check(self, c):
        """Both verifiers say that all files are one journal that holds."""
        folder = c.journal.path.parent
        self.assertIn("segments", c.verify(folder).stdout)
        done = self.second(c, files(c))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def told(self, c):
        """What status says of the journal, when it says it of all files."""
        journal = c.cli_json("status")["journal"]
        return journal if journal["files"] == len(files(c)) else None

    def test_rolls_under_load_and_kills(self):
        with Chancery(extra=SMALL) as c:
            c.init().add_users(*USERS)
            room = c.add_room("Desk")
            c.start()
            load = Load(c, USERS, [room]).start()
            chance = random.Random(20261122)
            for count in range(1, 6):
                wait_until(lambda: len(files(c)) > count, "no other file", 60)
                old = c.roles()[chance.choice(["keeper", "signer"])]
                os.kill(old, signal.SIGKILL)
            load.finish()
            told = wait_until(lambda: self.told(c), "status")
            self.assertEqual(told["files"], len(files(c)))
            self.assertGreater(told["file_first"], 512)
            self.assertEqual(told["file_first"] % 256, 0)
            self.assertIn("files         %d, the newest from" % len(files(c)),
                          c.cli("status").stdout)
            c.stop()
            self.check(c)
            exported = c.export("--format", "jsonl", "--type", "post").stdout
            for poster in load.posters:
                for text, status in poster.outcomes.items():
                    if status == 200:
                        self.assertIn('"%s"' % text, exported)
            missing = files(c)[1]
            missing.rename(missing.with_suffix(".away"))
            done = c.verify(c.journal.path.parent, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("is missing", done.stdout)
            self.assertEqual(self.second(c, files(c)).returncode, 1)

    def test_purge_in_earlier_files(self):
        with Chancery(extra=SMALL) as c:
            vault = c.folder / "vault"
            vault.mkdir(mode=0o777)
            vault.chmod(0o777)
            c.adapters = (
                'adapter vault { program = "tarball" directory = "%s" '
                'interval-s = 1 required = true }\n' % vault)
            c.purge = -1
            c.init().add_users(*USERS)
            room = c.add_room("Desk")
            c.start()
            load = Load(c, USERS, [room]).start()
            c.cli("key", "rotate")
            wait_until(lambda: len(files(c)) > 3, "no other file", 60)
            load.finish()
            c.stop()
            old = files(c)[0].read_bytes()
            self.assertTrue(b"u1-1\"" in old)
            c.purge = 0
            c.write_conf()
            c.start()
            c.cli("adapter", "run", "vault")
            # What is missing of the newest one could be a crash's.
            Journal(files(c)[-1]).wait(
                lambda j: len(j.control("purge")) > 1, "no purges")
            wait_until(lambda: b"u1-1\"" not in files(c)[0].read_bytes(),
                       "the first file is not purged", 60)
            c.stop()
            self.check(c)
            self.newest_alone(c, vault)
            self.comes_back(c, old)
            self.is_missing(c)

    def comes_back(self, c, old):
        """An old copy of a sealed file, with what was purged from it."""
        files(c)[0].write_bytes(old)
        c.start()
        c.log.wait("AUDIT: file 0 held payloads that were purged before", 30)
        wait_until(lambda: b"u1-1\"" not in files(c)[0].read_bytes(),
                   "the first file is not purged again", 30)
        Journal(files(c)[-1]).wait(lambda j: any(
            a["result"] == "broken" for a in j.control("audit")),
            "it is not on record")
        c.stop()
        self.check(c)

    def is_missing(self, c):
        """The others are read and purged, and whoever looks is told."""
        name = files(c)[1]
        name.rename(name.with_suffix(".away"))
        c.start()
        c.log.wait("cannot be held to the purge records: %s" % name, 30)
        # The first has no payloads any more.
        c.log.wait("file 0, of which all payloads are purged, is written anew",
                   30)
        Journal(files(c)[-1]).wait(lambda j: any(
            (a["first"], a["last"], a["result"]) == ("0", "511", "whole")
            for a in j.control("audit")), "it is not on record")
        done = c.cli("audit", "run", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(c.cli("status").stdout, "records 512 to .* cannot be "
                         "read: .*/%s" % name.name)
        told = c.cli_json("status")["keeper"]["alarm"]
        self.assertIn(str(name), told)
        self.assertIn("Next: see that the file", told)
        self.assertIn("\tALARM         " + told, c.cli("status").stdout)
        name.with_suffix(".away").rename(name)
        wait_until(lambda: not c.cli_json("status")["keeper"]["alarm"],
                   "the alarm stays", 30)
        self.assertNotIn("ALARM", c.cli("status").stdout)
        c.cli("audit", "run")
        # Beside an index of its WAL from before, the file can be read once
        # the keeper has opened it; who comes before is told.
        c.stop(allowed=re.escape(str(name)) + ": .*readonly database")
        self.assertEqual(sum(
            "cannot be held to" in line for line in c.log.lines), 1)
        self.check(c)

    def newest_alone(self, c, vault):
        """It holds, and the report tells what nothing was compared with."""
        newest = max(files(c), key=lambda p: (len(p.name), p.name))
        archives = sorted(vault.glob("*.tar.zst"))
        said = c.verify(newest).stdout
        for words in ("not given: what the next file copied",
                      "purges of records that were not given are not",
                      "epochs? ended in files that were not given",
                      "no checkpoint from outside given:"):
            self.assertRegex(said, words)
        said = c.verify(newest, archives[0], check=False).stdout
        self.assertIn("stated roots, 1 of them of checkpoints from outside",
                      said)
        self.assertIn("no checkpoint from outside given that reaches", said)
        self.assertRegex(c.verify(newest, *archives).stdout,
                         "newest checkpoint from outside: size")


if __name__ == "__main__":
    unittest.main()
