"""A bit is turned in what stands beside a journal.

In an archive, of each built-in form: the journal's acknowledgement gives it
away, each single time. In the signer's files: the keeper records nothing and
says why, or the files still serve, which a post, a new key and both
verifiers show. The journal itself, its WAL, notes and proofs are turned in
tests/unit/test_flips.c and test_two_verifiers.py.

The suite takes some bits, by chance (CHANCERY_SEED); CHANCERY_STRIDE=1 takes
them all.
"""

import collections
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from chancery import Chancery, program, wait_until

SEED = int(os.environ.get("CHANCERY_SEED", random.randrange(1 << 32)))
ALL = os.environ.get("CHANCERY_STRIDE") == "1"
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ADAPTERS = "".join(
    'adapter %s { program = "%s" directory = "out" interval-s = 900 '
    "required = true%s }\n" % row for row in (
        ("records", "xml", ""), ("strict", "xml", " strict = true"),
        ("vault", "tarball", "")))
SIGNER = ("key", "next", "state", "closing")


def turned(data, bit):
    return data[:bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + \
        data[bit // 8 + 1:]


class Bits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print("# seed %d" % SEED, file=sys.stderr)
        c = cls.c = cls.enterClassContext(Chancery(adapters=ADAPTERS))
        c.init().add_users("ann")
        cls.room = c.add_room("Hall")
        c.start()
        ann = c.sign_in("ann")
        ann.join(cls.room)
        cls.text = "nobody may turn a bit of this"
        assert ann.post(cls.room, cls.text) == 200
        for name in ("records", "strict", "vault"):
            c.cli("adapter", "run", name)
        c.cli("key", "rotate")
        ann.drop()
        c.stop()
        c.verify(c.journal.path, *cls.archives())

    @classmethod
    def archives(cls):
        return sorted(path for path in (cls.c.folder / "out").rglob("*")
                      if path.name.endswith((".xml", ".tar.zst")))

    def bits(self, data, some):
        every = range(8 * len(data))
        return every if ALL else sorted(
            random.Random(SEED).sample(every, min(some, len(every))))

    def sweep(self, judge, bits):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return collections.Counter(pool.map(judge, bits))

    def found(self, path, bit):
        """What the verifier says of the archive with that bit turned."""
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            for file in self.archives():
                shutil.copy(file, folder)
            one = pathlib.Path(folder, path.name)
            one.write_bytes(turned(path.read_bytes(), bit))
            return subprocess.run(
                [program("chancery-verify"), "--key", self.c.vkey,
                 self.c.journal.path, *sorted(pathlib.Path(folder).iterdir())],
                capture_output=True, timeout=60).returncode

    def test_archives(self):
        self.assertEqual({re.search(r"(\.evidence)?\.xml$|\.tar\.zst$", path.name)
                          .group() for path in self.archives()},
                         {".xml", ".evidence.xml", ".tar.zst"})
        for path in self.archives():
            with self.subTest(path.name):
                bits = self.bits(path.read_bytes(), 15)
                told = self.sweep(lambda bit: self.found(path, bit), bits)
                self.assertEqual(told, {1: len(bits)})
                print("# %s: all of %d bits reported" % (
                    path.name, len(bits)), file=sys.stderr)

    def life(self, name, bit):
        """Whether the signer's files still served, with that bit turned."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="bit-", dir=FAST))
        subprocess.run(["cp", "-a", str(self.c.state), str(folder)],
                       check=True, timeout=60)
        c = Chancery(adapters=ADAPTERS, folder=folder)
        c.vkey = self.c.vkey
        c.write_conf()
        file = c.state / "signer" / name
        data = turned(file.read_bytes(), bit)
        with open(file, "r+b") as f:    # owner and mode stay
            f.write(data)
        try:
            return self.served(c)
        except Exception as e:
            raise AssertionError("%s, bit %d (%s): %s" % (
                name, bit, folder, e)) from e
        finally:
            if c.hub is not None:
                c.hub.stop()
            if c.daemon is not None:
                c.stop()
            shutil.rmtree(folder)

    def served(self, c):
        size = c.journal.size()
        c.start()

        def settled():
            keeper = c.cli_json("status")["keeper"]
            return keeper if keeper["writable"] or keeper["why"] else None
        served = wait_until(settled, "records are taken or not")["writable"]
        if served:
            ann = c.sign_in("ann")
            self.assertEqual(ann.join(self.room).code, 200)
            self.assertEqual(ann.post(self.room, "after it"), 200)
            c.cli("key", "rotate")
            ann.drop()
        c.stop()
        if not served:
            self.assertEqual(c.journal.size(), size)
        c.verify()
        return served

    def test_signer(self):
        for name in SIGNER:
            with self.subTest(name):
                data = (self.c.state / "signer" / name).read_bytes()
                bits = self.bits(data, 4)
                served = self.sweep(lambda bit: self.life(name, bit), bits)
                print("# signer/%s: of %d bits, %d refused, %d without effect"
                      % (name, len(bits), served[False], served[True]),
                      file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
