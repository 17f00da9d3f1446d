"""What the tests of chancery-threats(7) share: the cells of the page, and a
story that a real daemon recorded, copied for each attack."""

import contextlib
import io
import os
import pathlib
import re
import secrets
import sqlite3
import subprocess
import unittest

from chancery import ROOT, Chancery, program, wait_until
from forge import Forgery, Key, Tree
from second import second

PAGE = ROOT / "man" / "chancery-threats.7"
ADAPTERS = "".join(
    'adapter %s { program = "%s" directory = "out/%s" interval-s = 900 '
    "required = true }\n" % row for row in (
        ("records", "xml", "records"), ("vault", "tarball", "vault")))
POST, PURGE, KEY = 3, 131, 135
CHECKED = []
#: Cells whose attack is made by a test that has other work, too.
ELSEWHERE = {
    ("Root with the current key", "fork", "detected"):
        "tests/e2e/test_anchors.py: def test_a_stolen_key_does_not_help",
    ("Thief of the current key", "publish a counterfeit", "detected"):
        "tests/e2e/test_witness.py: def test_refusals_and_their_reasons",
    ("Operator in collusion", "fork", "detected"):
        "tests/e2e/test_witness.py: def test_refusals_and_their_reasons",
    ("Operator in collusion", "purge a class too early", "undetected"):
        "tests/unit/test_verify_purge.c: early_for_its_class",
    ("Holder of a backup", "restore it by mistake", "prevented"):
        "tests/e2e/test_recover.py: "
        "def test_a_copy_is_completed_from_archives_and_the_newer_file",
    ("Faulty parts", "adapter acknowledges garbage", "prevented"):
        "tests/unit/test_engine_adapters.c: test_read_back",
    ("Faulty parts", "witness signs something else", "prevented"):
        "tests/unit/test_cosign.c: test_each_byte_counts",
    ("Faulty parts", "witness lies", "prevented"):
        "tests/e2e/test_conflicts.py: "
        "def test_a_lie_stops_purges_until_an_officer_decides",
    ("Faulty parts", "witness refuses", "prevented"):
        "tests/e2e/test_anchors.py: def test_two_of_three",
    ("Faulty parts", "disk loses the tail", "detected"):
        "tests/e2e/test_recover.py: def test_a_cut_log_is_declared",
}


def cell(attacker, attack, verdict):
    """Marks a test as the one of a cell of the page."""
    def mark(test):
        CHECKED.append((attacker, attack, verdict))
        return test
    return mark


def page():
    """[(attacker, attack, verdict)] as the manual has them."""
    found, attacker = [], None
    for line in PAGE.read_text().splitlines():
        if line.startswith(".Ss "):
            attacker = line[4:].strip()
        row = re.match(r"\.It (.+?) Ta (\w+) Ta ", line)
        if row and attacker:
            found.append((attacker, row[1], row[2]))
    return found


def note_size(journal):
    with journal.open() as db:
        note = db.execute("SELECT note FROM head").fetchone()[0]
    return int(bytes(note).split(b"\n")[1]) if note else 0


def keep_checkpoint(chancery, name="outside.note"):
    """The newest note, as somebody outside would have kept it."""
    chancery.journal.wait(lambda j: note_size(j) == j.size(), "signature")
    with chancery.journal.open() as db:
        note = bytes(db.execute("SELECT note FROM head").fetchone()[0])
    path = chancery.folder / name
    path.write_bytes(note)
    return path


def talk(chancery, room, first, count=300):
    ann, bob = chancery.sign_in("ann"), chancery.sign_in("bob")
    ann.join(room)
    bob.join(room)
    for i in range(first, first + count):
        if ann.post(room, "word %d" % i) != 200:
            raise AssertionError("post refused")
    ann.wait_post("word %d" % (first + count - 1))
    for client in (ann, bob):
        client.sign_off()


def disconnect(chancery):
    if chancery.hub is not None:
        chancery.hub.stop()
        chancery.hub = None


class Evidence(unittest.TestCase):
    """The story: talk, archives, a purge, another key, and the same again;
    then talk that no batch states a root of."""

    @classmethod
    def setUpClass(cls):
        c = cls.c = cls.enterClassContext(Chancery(adapters=ADAPTERS,
                                                   purge=0))
        c.init().add_users("ann", "bob")
        room = c.add_room("Hall")
        c.start()
        cls.archive(c)  # one of the beginning, and one of the talk
        talk(c, room, 0)
        cls.archive(c)
        c.journal.wait(lambda j: sum(
            int(p["count"]) for p in j.control("purge")) > 300, "purge", 60)
        disconnect(c)
        c.restart()  # each start begins an epoch
        talk(c, room, 310)
        cls.archive(c)
        c.journal.wait(lambda j: sum(
            int(p["count"]) for p in j.control("purge")) > 600, "purge", 60)
        talk(c, room, 650, 5)
        cls.outside = keep_checkpoint(c)
        talk(c, room, 700, 5)
        disconnect(c)
        c.stop()
        cls.archives = sorted(p for p in (c.folder / "out").rglob("*")
                              if p.is_file())

    @staticmethod
    def archive(c):
        """All there is, and no purge of it comes afterwards."""
        for name in ("records", "vault"):
            c.cli("adapter", "run", name)
        wait_until(lambda: not c.cli("purge", "run", check=False).returncode,
                   "the chat store lacks records")

    def setUp(self):
        self.copy = self.c.folder / ("%s.db" % self.id().rsplit(".")[-1])
        with contextlib.closing(sqlite3.connect(self.c.journal.path)) as db:
            db.execute("VACUUM INTO ?", (str(self.copy),))
        self.forgery = Forgery(self.copy)

    def tearDown(self):
        os.unlink(self.copy)

    def stolen(self, name="key"):
        return Key.stolen(self.c.state / "signer" / name)

    def verify(self, *more):
        done = subprocess.run(
            [program("chancery-verify"), "--key", self.c.vkey,
             *map(str, more), str(self.copy)], text=True,
            capture_output=True, timeout=120)
        self.report = done.stdout + done.stderr
        self.second(done.returncode, more)
        return done.returncode

    def second(self, status, more):
        """The other verifier says the same; it takes files only."""
        words = [str(file) for word in more for file in (
            sorted(p for p in word.rglob("*") if p.is_file())
            if isinstance(word, pathlib.Path) and word.is_dir() else [word])]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            found = second.main(["--key", self.c.vkey, *words,
                                 str(self.copy)])
        self.assertEqual(found, status, said.getvalue() + self.report)

    def assertReported(self, words, *more):
        self.assertEqual(self.verify(*more), 1, self.report)
        self.assertRegex(self.report, words)

    def assertPasses(self, *caveats):
        """The attack succeeds, and the report says what it cannot see."""
        self.assertEqual(self.verify(), 0, self.report)
        for words in caveats or ("freshness unknown",):
            self.assertRegex(self.report, words)

    def rewrite(self, how, rotate=False):
        """The current epoch made anew by who has its key, and perhaps the
        next one. A record that is not as it was, or that all after it are
        gone with, is one that the checkpoint outside covers."""
        f, seq, key = self.forgery, self.newest(), self.stolen()
        if how == "alter":
            f.say(seq, 1, b'{"v":1,"text":"never said"}')
        elif how == "remove":
            f.remove(seq)
        elif how == "reorder":
            f.swap(seq, seq + 1)
        elif how == "backdate":
            f.hasten(f.find(PURGE, -1))  # before it all is in archives
        elif how == "truncate":
            size = seq - 3
            f.checkpoints[size] = key.note(size, Tree(f.leaves).root(size))
            f.cut(size)
        f.sign(key, [n for n in f.checkpoints if n > f.find(KEY, -1) + 1])
        if rotate:
            f.rotate(key, self.stolen("next"),
                     Key(key.name, secrets.token_bytes(32)))
        f.write()

    def whole(self, *kinds):
        """Numbers of the records whose payload is there."""
        f = self.forgery
        return [s for s in range(len(f.leaves)) if 256 * s in f.bodies and
                (not kinds or f.kind(s) in kinds)]

    def newest(self):
        """The newest post that the checkpoint outside covers."""
        size = int(self.outside.read_text().split("\n")[1])
        return [s for s in self.whole(POST) if s < size][-1]

    def earlier(self):
        """A post of the epoch before the current one; it may be purged."""
        rotated = self.forgery.find(KEY, -1)
        return [s for s in self.forgery.find_all(POST) if s < rotated][-1]
