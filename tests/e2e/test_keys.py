"""Epochs of the signing key: when they change, what a crash leaves behind,
and that both verifiers follow them from the genesis key alone."""

import base64
import hashlib
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from chancery import ROOT, Chancery  # noqa: E402


def second(c, *paths):
    return subprocess.run(
        [sys.executable, ROOT / "export" / "chancery-verify.py", "--key",
         c.vkey, *(paths or [c.journal.path])], capture_output=True,
        text=True, timeout=120)


class Keys(unittest.TestCase):
    def both_hold(self, c, *paths):
        """The report of the first."""
        done = c.verify(*paths)
        other = second(c, *paths)
        self.assertEqual(other.returncode, 0, other.stdout + other.stderr)
        return done.stdout

    def chain(self, c):
        """[(epoch, vkey, next, reason, clean)], the genesis first."""
        first = c.journal.control("open")[0]
        found = [("0", first["vkey"], first["next"], None, None)]
        found += [(k["epoch"], k["vkey"], k["next"], k["reason"], k["clean"])
                  for k in c.journal.control("key")]
        for before, key in zip(found, found[1:]):
            self.assertEqual(int(key[0]), int(before[0]) + 1)
            name, _, public = key[1].split("+", 2)
            self.assertEqual(hashlib.sha256(
                base64.b64decode(public)[1:]).hexdigest(), before[2])
        return found

    def test_each_start_begins_an_epoch(self):
        with Chancery() as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            for life in range(4):
                c.start()
                ann = c.sign_in("ann")
                ann.join(hall)
                self.assertEqual(ann.post(hall, "in life %d" % life), 200)
                c.stop()
                self.both_hold(c)
            found = self.chain(c)
            self.assertEqual([k[3] for k in found],
                             [None, "start", "start", "start"])
            self.assertEqual(found[0][1], c.vkey)
            self.assertEqual(len({k[1] for k in found}), 4)
            # one secret of the present, one of the next epoch, no other
            self.assertEqual(
                sorted(p.name for p in (c.state / "signer").iterdir()),
                ["closing", "key", "next", "state"])


if __name__ == "__main__":
    unittest.main()
