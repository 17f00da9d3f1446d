"""Proofs of single records and receipts of senders, as outsiders use them."""

import base64
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
import unittest

from chancery import ROOT, Chancery, program

SECOND = ROOT / "export" / "chancery-verify.py"
ADAPTERS = ('adapter records { program = "xml" directory = "out/records" '
            'interval-s = 900 required = true }\n')


class Proofs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = cls.enterClassContext(Chancery(adapters=ADAPTERS, purge=0))
        c = cls.c
        c.init().add_users("ann", "bob")
        cls.hall = c.add_room("Hall & <Söhne>")
        c.start()
        cls.ann, cls.bob = c.sign_in("ann"), c.sign_in("bob")
        cls.ann.join(cls.hall)
        cls.bob.join(cls.hall)
        if cls.ann.post(cls.hall, "purged one day") != 200:
            raise AssertionError("post refused")
        c.cli("adapter", "run", "records")
        c.journal.wait(lambda j: len(j.control("purge")) > 0, "purge", 60)
        for i in range(5):
            if cls.ann.post(cls.hall, "Grüße %d\tund \"mehr\"" % i) != 200 \
                    or cls.bob.post(cls.hall, "reply %d" % i) != 200:
                raise AssertionError("post refused")
        cls.wait_signed()
        cls.folder = c.folder / "away"
        cls.folder.mkdir()

    @classmethod
    def wait_signed(cls):
        """Until the newest record has a checkpoint over it."""
        def signed(j):
            with j.open() as db:
                size, note = db.execute(
                    "SELECT size, note FROM head").fetchone()
            return note and int(bytes(note).split(b"\n")[1]) == size
        cls.c.journal.wait(signed, "signature")

    def prove(self, seq, *options, name="proof.tlog-proof", check=True):
        path = self.folder / name
        done = self.c.run("chancery-export", "prove", "--journal",
                          self.c.journal.path, "-o", path, *options, seq,
                          check=check)
        return path if check else done

    def first(self, path, key=None):
        done = subprocess.run(
            [program("chancery-verify"), "--key", key or self.c.vkey,
             str(path)], capture_output=True, text=True, timeout=60,
            cwd=self.folder)
        self.assertNotRegex(done.stderr, "Sanitizer|runtime error")
        return done.returncode, done.stdout + done.stderr

    def second(self, path, key=None):
        done = subprocess.run(
            [sys.executable, str(SECOND), "--key", key or self.c.vkey,
             str(path)], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def both(self, path, status, key=None):
        said = []
        for judge in (self.first, self.second):
            found, text = judge(path, key)
            self.assertEqual(found, status, text)
            said.append(text)
        return said

    # ---- receipts ----

    def receipts(self, *words, check=True):
        return self.c.cli("receipt", *words, check=check)

    def test_receipt_proof_verify(self):
        """What the sender holds is what an outsider finds, with the key and
        nothing else."""
        found = self.c.cli_json("receipt", "sip:ann@example.test")
        self.assertEqual(found["origin"], self.c.vkey.split("+")[0])
        posts = {p["seq"]: p for p in self.c.journal.events("post")}
        self.assertEqual(len(found["receipts"]), 5)
        self.assertEqual(found["unknown"], 1)
        for receipt in found["receipts"]:
            self.assertTrue(receipt["signed"])
            self.assertEqual(receipt["room"], self.hall)
            self.assertEqual(posts[receipt["seq"]]["chat"], receipt["chat"])
        receipt = found["receipts"][2]
        path = self.prove(receipt["seq"])
        copy = self.folder / "copy"
        copy.mkdir()
        moved = copy / "letter.txt"
        shutil.move(path, moved)
        status, said = self.first(moved)
        self.assertEqual(status, 0, said)
        self.assertIn(receipt["time"], said)
        shutil.move(moved, path)
        for said in self.both(path, 0):
            self.assertIn(receipt["hash"], said)
            self.assertIn("Grüße 2", said)
            self.assertIn("sip:ann@example.test", said)
            self.assertIn(self.hall, said)

    def test_receipts_selected(self):
        everything = self.receipts("sip:ann@example.test").stdout.split("\n")
        self.assertEqual(len(everything), 6)
        self.assertEqual(everything[:5], self.receipts(
            "ANN@example.test", "--room", "Hall & <Söhne>"
        ).stdout.split("\n")[:5])
        seq, time, hash_, room, chat = everything[3].split(" ")
        self.assertEqual(self.receipts(
            "ann@example.test", "--chat", chat).stdout, everything[3] + "\n")
        self.assertEqual(self.receipts(
            "ann@example.test", "--since", time).stdout.split("\n"),
            everything[3:])
        with self.c.journal.open() as db:
            leaf, = db.execute("SELECT bytes FROM leaf WHERE seq = ?",
                               (int(seq),)).fetchone()
        self.assertEqual(hash_, hashlib.sha256(b"\0" + leaf).hexdigest())
        for words in (["nobody@example.test"],
                      ["ann@example.test", "--room", "Nowhere"]):
            done = self.receipts(*words, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("no post of " + words[0], done.stderr)
        for words in (["ann@example.test", "--since", "yesterday"],
                      ["ann@example.test", "--chat", "x"], []):
            self.assertEqual(self.receipts(*words, check=False).returncode, 2)

    # ---- proofs ----

    def test_every_record(self):
        """Of users and of the journal itself, purged or not."""
        purged = {seq for p in self.c.journal.control("purge")
                  for seq in range(int(p["first"]), int(p["last"]) + 1)}
        for seq in range(self.c.journal.size()):
            said = self.both(self.prove(seq), 0)
            kind = said[0].split("record: %d, " % seq)[1].split("\n")[0]
            if kind == "post":
                self.assertEqual("not in this proof" in said[0],
                                 seq in purged, said[0])
                self.assertEqual('"text":' in said[1], seq not in purged)

    def test_withheld_text(self):
        seq = self.c.cli_json("receipt", "bob@example.test")["receipts"][0][
            "seq"]
        path = self.prove(seq, "--without-text")
        extra = base64.b64decode(re.search(
            "^extra (.*)$", path.read_text("utf-8"), re.M)[1])
        with self.c.journal.open() as db:
            data, = db.execute("SELECT data FROM body WHERE id = ?",
                               (256 * seq + 1,)).fetchone()
        self.assertNotIn(base64.b64encode(data), extra)
        first, second = self.both(path, 0)
        self.assertIn("not in this proof", first)
        for said in first, second:
            self.assertIn("sip:bob@example.test", said)
            self.assertNotIn("reply", said)

    def test_no_such_record(self):
        done = self.prove(10**6, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("no record 1000000 is signed", done.stderr)
        for words in (["x"], ["-1"], ["1", "2"]):
            done = self.c.run("chancery-export", "prove", "--journal",
                              self.c.journal.path, *words, check=False)
            self.assertEqual(done.returncode, 2)

    def test_another_key(self):
        path = self.prove(1)
        name = self.c.vkey.split("+")[0]
        public = b"\1" + bytes(range(32))
        other = "%s+%s+%s" % (name, hashlib.sha256(
            name.encode() + b"\n" + public).hexdigest()[:8],
            base64.b64encode(public).decode())
        self.both(path, 1, key=other)
        for command in ([program("chancery-verify")],
                        [sys.executable, str(SECOND)]):
            for key, status, words in (
                    ([], 1, "a proof shows nothing without"),
                    (["--key", other.replace("+", "-")], 2, "--key")):
                done = subprocess.run([*command, *key, str(path)], timeout=60,
                                      capture_output=True, text=True)
                self.assertEqual(done.returncode, status, done.stdout)
                self.assertIn(words, done.stdout + done.stderr)
                self.assertNotIn("lambda", done.stderr)

    def test_every_bit(self):
        """Each bit of a proof that is turned is reported by both."""
        seq = self.c.cli_json("receipt", "ann@example.test")["receipts"][0][
            "seq"]
        data = self.prove(seq).read_bytes()
        spec = importlib.util.spec_from_file_location("second", SECOND)
        second = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(second)
        paths, taken = [], []
        folder = self.folder / "bits"
        folder.mkdir()
        for bit in range(8 * len(data)):
            turned = bytearray(data)
            turned[bit // 8] ^= 1 << bit % 8
            path = folder / ("%06d.tlog-proof" % bit)
            path.write_bytes(turned)
            paths.append(path)
            try:
                second.read_proof(types.SimpleNamespace(
                    key=[self.c.vkey]), str(path))
                taken.append(bit)
            except Exception:
                pass
        self.assertEqual(taken, [])
        done = subprocess.run(
            [program("chancery-verify"), "--json", "--key", self.c.vkey,
             str(folder)], capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(re.findall(rb'"findings_total": ?0\b', done.stdout),
                         [])
        self.assertEqual(len(re.findall(rb'"findings_total"', done.stdout)),
                         len(paths))
        self.assertGreater(len(paths), 8000)


if __name__ == "__main__":
    os.chdir(ROOT)
    unittest.main()
