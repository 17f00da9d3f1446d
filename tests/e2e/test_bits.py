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

from chancery import Chancery, program, progress

SEED = int(os.environ.get("CHANCERY_SEED", random.randrange(1 << 32)))
ALL = os.environ.get("CHANCERY_STRIDE") == "1"
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ADAPTERS = "".join(
    'adapter %s { program = "%s" directory = "out" interval-s = 900 '
    "required = true%s }\n" % row for row in (
        ("records", "xml", ""), ("strict", "xml", " strict = true"),
        ("vault", "tarball", "")))
SIGNER = ("key", "next", "state", "closing")
WORKERS = 8 if ALL else 2


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

    def found(self, path, bits):
        """{bit: what the verifier says of the archive with it turned}"""
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            for file in self.archives():
                shutil.copy(file, folder)
            numbers = pathlib.Path(folder, "bits")
            numbers.write_text("\n".join(map(str, bits)))
            paths = [pathlib.Path(folder, p.name) for p in self.archives()]
            with open(numbers) as lines, subprocess.Popen(
                    [program("tests/fault/turn"),
                     pathlib.Path(folder, path.name), "--key", self.c.vkey,
                     self.c.journal.path, *paths],
                    stdin=lines, stdout=subprocess.PIPE, text=True) as turn:
                told = {}
                for line in turn.stdout:
                    bit, status = map(int, line.split())
                    told[bit] = status
                    progress(path.name, len(told), len(bits))
            self.assertEqual(turn.returncode, 0)
            return told

    def test_archives(self):
        self.assertEqual({re.search(r"(\.evidence)?\.xml$|\.tar\.zst$", path.name)
                          .group() for path in self.archives()},
                         {".xml", ".evidence.xml", ".tar.zst"})
        for path in self.archives():
            with self.subTest(path.name), \
                    concurrent.futures.ThreadPoolExecutor(2) as pool:
                bits = self.bits(path.read_bytes(), 30)
                told = {}
                for part in pool.map(lambda i: self.found(path, bits[i::2]),
                                     range(2)):
                    told.update(part)
                self.assertEqual(sorted(told), list(bits))
                self.assertEqual([b for b in bits if told[b] != 1], [])
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
        # A daemon that takes no records is ready only after five seconds.
        # Of a peer that is slow to come is told, too, and then it comes.
        refused = ("keeper: warning: no records are taken: "
                   "(?!the (chat server|signer) has not )")
        c.start(until="chanceryd: info: ready|" + refused)
        served = not c.log.find("^" + refused)
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
                served = collections.Counter()
                with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
                    for life in pool.map(lambda b: self.life(name, b), bits):
                        served[life] += 1
                        progress("signer/" + name, served.total(), len(bits))
                print("# signer/%s: of %d bits, %d refused, %d without effect"
                      % (name, len(bits), served[False], served[True]),
                      file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
