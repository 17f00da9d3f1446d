"""The threat table of chancery-threats(7): what can be done to the files.

Each attack is made on a copy of a journal that a real daemon recorded. What
reports it is run as an auditor would run it, and its words are compared. For
a cell that the page calls undetected the attack must really pass, and the
report must say what it does not know. What is done to a running system is in
test_threats_live.py.
"""

import contextlib
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
import unittest

import test_threats_live
from chancery import ROOT, Chancery
from forge import Forgery, Key, Tree, unguard
from threats import (ADAPTERS, CHECKED, ELSEWHERE, KEY, POST, PURGE, Evidence,
                     cell, page, talk)

assert test_threats_live  # its cells are counted here


class Page(unittest.TestCase):
    def test_every_cell_has_its_test(self):
        self.maxDiff = None
        self.assertGreater(len(page()), 40)
        self.assertEqual(sorted(page()), sorted([*CHECKED, *ELSEWHERE]))

    def test_tests_elsewhere_are_there(self):
        for cell_, place in ELSEWHERE.items():
            path, _, name = place.partition(": ")
            self.assertIn(name + "(", (ROOT / path).read_text(), cell_)


class Whole(Evidence):
    def test_nothing_was_done(self):
        """Without an attack all holds: what is reported has a cause."""
        self.assertEqual(self.verify("--checkpoint", self.outside,
                                     *self.archives), 0, self.report)
        self.forgery.write()
        self.assertEqual(self.verify("--checkpoint", self.outside,
                                     *self.archives), 0, self.report)

    def test_checkpoint_of_another_journal(self):
        """It must not be said to hold when nothing was compared with it."""
        other = self.c.folder / "other.note"
        other.write_text(re.sub(r"/journal/\w{8}", "/journal/00000000",
                                self.outside.read_text()))
        self.assertReported("compared with nothing", "--checkpoint", other)


class Administrator(Evidence):
    who = "Database administrator"

    @cell(who, "alter past", "detected")
    def test_alter(self):
        self.forgery.say(self.newest(), 1, b'{"v":1,"text":"never said"}')
        self.forgery.write()
        self.assertReported("root")

    @cell(who, "delete past", "detected")
    def test_delete(self):
        seq = self.newest()
        with contextlib.closing(sqlite3.connect(self.copy)) as db, db:
            unguard(db)
            db.execute("DELETE FROM body WHERE id >> 8 = ?", (seq,))
        self.assertReported("record %d.*purge" % seq)

    def test_delete_by_a_purge(self):
        """By a purge record that he writes himself, or that nobody signed."""
        f = self.forgery
        purge = f.find(PURGE, -1)
        f.checkpoints = {n: t for n, t in f.checkpoints.items() if n <= purge}
        f.note = f.checkpoints[max(f.checkpoints)]
        f.write()
        self.assertReported("record %d: no signed checkpoint covers" % purge)
        done = subprocess.run(
            [sys.executable, str(ROOT / "export" / "chancery-verify.py"),
             "--key", self.c.vkey, str(self.copy)], text=True,
            capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 1)
        self.assertIn("finding: ValueError('tail')", done.stdout)

    @cell(who, "append at the end", "undetected")
    def test_append(self):
        """Until the daemon starts, that nobody signed it is seen."""
        f, seq = self.forgery, self.whole(POST)[-1]
        f.leaves.append(f.leaves[seq])
        for part in range(2):
            f.bodies[256 * (len(f.leaves) - 1) + part] = \
                f.bodies[256 * seq + part]
        f.edit(-1, rb"^leaf/1 \d+", b"leaf/1 %d" % (len(f.leaves) - 1))
        f.set_time(-1, f.times()[-2] + 1)
        f.write()
        self.assertPasses("unsigned tail: records %d-%d" % (
            len(f.leaves) - 1, len(f.leaves) - 1))

    @cell(who, "reorder or insert", "detected")
    def test_reorder(self):
        f, a = self.forgery, self.newest()
        times = [re.search(rb"\nt (\d+) ", leaf)[1] for leaf in f.leaves]
        f.leaves.insert(a, f.leaves[a])
        f.renumber()
        for seq in range(a, len(f.leaves)):
            at = int(times[seq - 1]) + 1 if seq > a else int(times[a - 1]) + 1
            f.edit(seq, rb"\nt \d+ ", b"\nt %d " % at)
        f.write()
        self.assertReported("root")

    @cell(who, "truncate tail", "detected")
    def test_truncate(self):
        """A cut at a signed checkpoint holds by itself, with the note that
        its freshness is unknown; a newer checkpoint shows the loss. What the
        signer does is in test_recover.py."""
        f = self.forgery
        f.cut(min(n for n in f.checkpoints if n > f.find(PURGE, -1)))
        f.write()
        self.assertPasses()
        self.assertReported("outside", "--checkpoint", self.outside)

    @cell(who, "fork", "prevented")
    def test_fork(self):
        """Any other history lacks a signature; a key of his own is none."""
        f = self.forgery
        f.say(self.whole(POST)[-1], 1, b'{"v":1,"text":"never said"}')
        f.sign(Key(self.stolen().name, secrets.token_bytes(32)))
        f.write()
        self.assertReported("sign")

    @cell(who, "backdate", "detected")
    def test_backdate(self):
        f, seq = self.forgery, self.newest()
        at = int(re.search(rb"\nt (\d+) ", f.leaves[seq])[1])
        f.edit(seq, rb"\nt \d+ ", b"\nt %d " % (at - 1))
        f.write()
        self.assertReported("root")

    @cell(who, "forge a purged payload", "detected")
    def test_purged_payload(self):
        f = self.forgery
        seq = next(s for s in f.find_all(POST) if 256 * s not in f.bodies)
        payload = b'{"v":1,"text":"x"}'
        with contextlib.closing(sqlite3.connect(self.copy)) as db:
            with self.assertRaisesRegex(sqlite3.Error, "new leaf"):
                db.execute("INSERT INTO body VALUES (?, ?, ?)",
                           (256 * seq + 1, secrets.token_bytes(32), payload))
            unguard(db)
            db.execute("INSERT INTO body VALUES (?, ?, ?)",
                       (256 * seq + 1, secrets.token_bytes(32), payload))
            db.commit()
        self.assertReported("record %d" % seq)


class Root(Evidence):
    who = "Root with the current key"

    @cell(who, "alter an earlier epoch", "detected")
    def test_earlier_epoch(self):
        f = self.forgery
        f.deny(self.earlier())
        f.sign(self.stolen())
        f.write()
        self.assertReported("epoch|signed by")

    def rewritten(self, how):
        """It passes, and who holds a checkpoint of it finds out."""
        self.rewrite(how)
        self.assertPasses()
        self.assertReported("outside", "--checkpoint", self.outside)

    @cell(who, "alter the current epoch", "undetected")
    @cell(who, "alter what is anchored", "detected")
    def test_current_epoch(self):
        self.rewritten("alter")

    @cell(who, "remove from the current epoch", "undetected")
    def test_remove(self):
        self.rewritten("remove")

    @cell(who, "reorder the current epoch", "undetected")
    def test_reorder(self):
        self.rewritten("reorder")

    @cell(who, "backdate the current epoch", "undetected")
    def test_backdate(self):
        self.rewritten("backdate")

    @cell(who, "truncate tail", "detected")
    def test_truncate(self):
        """Signed anew at a size of his choice."""
        self.rewritten("truncate")


class Successor(Evidence):
    who = "Root after the fact"

    @cell(who, "rotate to another key", "detected")
    def test_rotate(self):
        """Before the newest key record he puts in his own key."""
        f, own = self.forgery, Key(self.stolen().name, secrets.token_bytes(32))
        rotated = f.find(KEY, -1)
        f.edit(rotated, rb"\nvkey [^\n]*", b"\nvkey " + own.vkey.encode())
        f.sign(own, [n for n in f.checkpoints if n > rotated])
        f.write()
        self.assertReported("announced")

    @cell(who, "alter past", "detected")
    def test_alter(self):
        f = self.forgery
        f.say(self.newest(), 1, b'{"v":1,"text":"never said"}')
        f.sign(Key(self.stolen().name, secrets.token_bytes(32)))
        f.write()
        self.assertReported("sign")


class Thief(Evidence):
    who = "Thief of the current key"

    @cell(who, "counterfeit an earlier epoch", "detected")
    def test_earlier(self):
        f = self.forgery
        f.deny(self.earlier())
        rotated = f.find(KEY, -1)
        f.sign(self.stolen(), [n for n in f.checkpoints if n > rotated + 1])
        f.checkpoints = {n: t for n, t in f.checkpoints.items()
                         if n > rotated + 1 or n <= self.earlier()}
        f.write()
        self.assertReported("epoch|closing|root")

    @cell(who, "counterfeit the newest records", "undetected")
    def test_newest(self):
        f = self.forgery
        f.say(self.whole(POST)[-1], 1, b'{"v":1,"text":"never said"}')
        closing = f.find(KEY, -1) + 1
        f.sign(self.stolen(), [n for n in f.checkpoints if n > closing])
        f.write()
        self.assertPasses()

    @cell("Thief of the current and the next key", "rotate in a counterfeit",
          "undetected")
    def test_rotation(self):
        """He goes on with the announced key, and after it with his own."""
        f, now, announced = self.forgery, self.stolen(), self.stolen("next")
        own = Key(now.name, secrets.token_bytes(32))
        f.rotate(now, announced, own)
        f.write()
        self.assertPasses()
        self.assertIn(announced.vkey.encode(), f.leaves[-1])


class Collusion(Evidence):
    who = "Operator in collusion"

    def anchored(self, how):
        """With every key that is left, and the next one."""
        self.rewrite(how, rotate=True)
        self.assertPasses()
        self.assertReported("outside", "--checkpoint", self.outside)

    @cell(who, "alter what is anchored", "detected")
    def test_alter(self):
        self.anchored("alter")

    @cell(who, "remove what is anchored", "detected")
    def test_remove(self):
        self.anchored("remove")

    @cell(who, "reorder what is anchored", "detected")
    def test_reorder(self):
        self.anchored("reorder")

    @cell(who, "backdate what is anchored", "detected")
    def test_backdate(self):
        self.anchored("backdate")

    @cell(who, "truncate tail", "detected")
    def test_truncate(self):
        self.anchored("truncate")

    @cell(who, "purge against the rules", "detected")
    def test_purge(self):
        """Payloads go that no archive has, by a signed purge record."""
        f, seq = self.forgery, self.whole(POST)[-1]
        f.purge(seq, seq)
        f.sign(self.stolen(), [])
        f.write()
        self.assertReported("required adapter \\w+ had not stored")

    @cell(who, "acknowledge a false archive", "detected")
    def test_false_archive(self):
        """What the acknowledgement names is another file."""
        false = self.c.folder / "false"
        shutil.rmtree(false, ignore_errors=True)
        shutil.copytree(self.c.folder / "out", false)
        archive = sorted(false.rglob("*.tar.zst"))[0]
        data = bytearray(archive.read_bytes())
        data[-1] ^= 1
        archive.write_bytes(bytes(data))
        self.assertReported("archive", false)

    @cell(who, "own all witnesses", "undetected")
    def test_all_witnesses(self):
        """Two histories, each whole with its own checkpoint from outside."""
        self.assertEqual(
            self.verify("--checkpoint", self.outside), 0, self.report)
        self.rewrite("alter")
        other = self.c.folder / "other.note"
        other.write_text(self.forgery.note)
        self.assertEqual(self.verify("--checkpoint", other), 0, self.report)


class CollusionUnderHold(unittest.TestCase):
    @cell("Operator in collusion", "purge what is held", "detected")
    def test_purge_what_is_held(self):
        """By a purge record that keeps all rules but that one."""
        with Chancery(adapters=ADAPTERS, purge=0) as c:
            c.init().add_users("ann", "bob")
            hall, desk = c.add_room("Hall"), c.add_room("Desk")
            c.start()
            c.cli("hold", "add", "--matter", "m", "--room", desk)
            talk(c, hall, 0, 3)
            talk(c, desk, 3, 3)
            for name in ("records", "vault"):
                c.cli("adapter", "run", name)
            c.journal.wait(lambda j: [e["room"] for e in j.events("post")] ==
                           3 * [desk], "purge", 60)
            held = [e["seq"] for e in c.journal.events("post")]
            c.stop()
            copy = c.folder / "forged.db"
            with contextlib.closing(sqlite3.connect(c.journal.path)) as db:
                db.execute("VACUUM INTO ?", (str(copy),))
            self.assertIn("whether they heeded these",
                          c.verify(copy, c.folder / "out").stdout)
            f = Forgery(copy)
            f.purge(held[0], held[-1])
            f.sign(Key.stolen(c.state / "signer" / "key"), [])
            f.write()
            c.verify(copy)
            done = c.verify(copy, c.folder / "out", check=False)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn(
                "removed by purge %s (record %d), while hold 1 (record %d) "
                "was in force" % (
                    f.fields(f.find(PURGE, -1))["purge"], f.find(PURGE, -1),
                    c.journal.control("hold")[0]["seq"]), done.stdout)


class Archives(Evidence):
    who = "Archive operator"

    @cell(who, "alter an archive", "detected")
    def test_alter(self):
        changed = self.c.folder / "changed.xml"
        xml = next(p for p in self.archives if p.suffix == ".xml")
        text = xml.read_bytes()
        changed.write_bytes(text.replace(b'seq="', b'seq="1', 1))
        self.assertNotEqual(text, changed.read_bytes())
        self.assertReported("changed.xml", changed)

    @cell(who, "lose an archive", "detected")
    def test_lose(self):
        """The vault without its largest archive, and no other."""
        vault = sorted((p for p in self.archives if p.suffix == ".zst"),
                       key=lambda p: p.stat().st_size)
        few = vault[:-1]
        self.assertTrue(few)
        self.assertReported("purged", *few)


class Damage(Evidence):
    @cell("Faulty parts", "disk damages the file", "detected")
    def test_damage(self):
        """A sector of zeroes in the middle; test_flips takes every bit."""
        data = bytearray(self.copy.read_bytes())
        at = data.index(b"word 652") // 512 * 512
        data[at:at + 512] = bytes(512)
        self.copy.write_bytes(bytes(data))
        self.assertReported("commitment|payload|read")


if __name__ == "__main__":
    unittest.main()
