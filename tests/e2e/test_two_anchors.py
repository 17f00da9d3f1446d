"""Two verifiers, and what others than the server said of a journal.

Witnesses and a time-stamp authority that are really asked, and then their
cosignatures, their tokens and the records that tell of them changed: as they
lie there, and with all made anew by keys of the test's own, so that nothing
but the rule in question can give a change away.
"""

import base64
import calendar
import contextlib
import hashlib
import io
import pathlib
import re
import shutil
import sqlite3
import struct
import time
import unittest
import urllib.parse

import mutants
import test_anchors
from chancery import Chancery, tree_root
from mutants import Forger, Signer, edit, flip, leaf_hash, unguard
from second import second
from test_two_verifiers import COUNT, Judges
from witness import DASH, Key, Witness, b64, openssl, sha256

HALF = COUNT // 2    # each takes some 50 signatures
NAMES = ("witness.example/one", "witness.example/two")
SHA256 = bytes.fromhex("608648016503040201")
EVERYTHING = b'{"v":1}'


class Word(str):
    """An option between the paths that the verifiers are asked about."""

    parent = pathlib.Path("/nowhere")

    def exists(self):
        return False


class OwnWitness(Key):
    """What it cosigns is up to the test."""

    def __init__(self, name, seed=b""):
        super().__init__(name.encode() + seed)
        self.name = name
        self.id = sha256(name.encode(), b"\n\4", self.public)[:4]
        self.vkey = "%s+%s+%s" % (name, self.id.hex(), b64(
            b"\4" + self.public))
        self.made = {}

    def line(self, note, at, name=None):
        body = note[:note.index(b"\n\n") + 1]
        message = b"cosignature/v1\ntime %d\n" % at + body
        if message not in self.made:
            self.made[message] = self.sign(message)
        return ("%s%s %s\n" % (DASH, name or self.name, b64(
            self.id + struct.pack(">Q", at) + self.made[message]))).encode()


class Anchored(Forger):
    """What outsiders said is made anew, too, and the records tell of it."""

    def __init__(self, source, folder, tsa):
        super().__init__(source, folder)
        self.witnesses = {name: OwnWitness(name) for name in NAMES}
        self.tsa, self.notes, self.tokens = tsa, {}, {}
        with contextlib.closing(sqlite3.connect(source)) as db:
            self.sizes = [row[0] for row in db.execute(
                "SELECT size FROM checkpoint ORDER BY size")]
            self.said = [*db.execute("SELECT size, name, at, line FROM cosig"),
                         *db.execute("SELECT size, NULL, at, token FROM "
                                     "stamp")]
        self.digests = {hashlib.sha256(said).hexdigest().encode(): (
            size, name, at) for size, name, at, said in self.said}

    def signed(self, size, root):
        if (size, root) not in self.notes:
            self.notes[size, root] = self.signer.note(size, root).encode()
        return self.notes[size, root]

    def evidence(self, note, name, at):
        """The time and the line or the token."""
        if name is not None:
            return at, self.witnesses[name].line(note, at)
        if note not in self.tokens:
            self.tokens[note] = self.tsa.token(note)
        return self.tokens[note]

    def repair(self, text, hashes):
        def vkey(found):
            return self.witnesses[found[0].split(b"+")[0].decode()
                                  ].vkey.encode()
        if text.startswith(b"leaf/1 1 134\n"):
            return re.sub(rb"witness\.example/(one|two)\+[0-9a-f]{8}\+"
                          rb"[A-Za-z0-9+/=]+", vkey, text)
        found = re.search(rb"\n(anchor|sha256) ([0-9a-f]{64})\n", text)
        if not found or found[2] not in self.digests:
            return text
        size, name, at = self.digests[found[2]]
        if size > len(hashes):
            return text
        now, said = self.evidence(self.signed(size, tree_root(hashes[:size])),
                                  name, at)
        text = text.replace(found[2], hashlib.sha256(said).hexdigest(
            ).encode())
        return text.replace(b"\ntime %d\n" % at, b"\ntime %d\n" % now)

    def write(self, leaves, path, parts=(), change=lambda db: None):
        super().write(leaves, path, parts)
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            hashes = [leaf_hash(bytes(row[0])) for row in db.execute(
                "SELECT bytes FROM leaf ORDER BY seq")]
            notes = {size: self.signed(size, tree_root(hashes[:size]))
                     for size in self.sizes if size <= len(hashes)}
            db.executemany("INSERT INTO checkpoint VALUES (?, ?)",
                           notes.items())
            for table in ("cosig", "stamp"):
                db.execute("DELETE FROM " + table)
            for size, name, at, _ in self.said:
                if size in notes:
                    self.put_said(db, size, name,
                                  *self.evidence(notes[size], name, at))
            unguard(db)
            change(db)

    @staticmethod
    def put_said(db, size, name, at, said):
        if name is None:
            db.execute("INSERT INTO stamp VALUES (?, ?, ?)", (size, at, said))
        else:
            db.execute("INSERT INTO cosig VALUES (?, ?, ?, ?)",
                       (size, name, said, at))


class Stamper(test_anchors.Authority):
    def token(self, data):
        """(its second, the token)"""
        path = self.folder / "data"
        path.write_bytes(data)
        query = openssl("ts", "-query", "-data", path, "-sha256", "-cert")
        (self.folder / "answer").write_bytes(self.stamp(query))
        token = openssl("ts", "-reply", "-in", self.folder / "answer",
                        "-token_out")
        return second_of(token), token


def second_of(token):
    """By openssl's eyes."""
    at = re.search(rb"\x18\x0f(\d{14})Z", token)[1].decode()
    return calendar.timegm(time.strptime(at, "%Y%m%d%H%M%S"))


class TwoVerifiersOutside(Judges):
    talk = test_anchors.Witnesses.talk
    purged = staticmethod(test_anchors.Witnesses.purged)
    introduce = test_anchors.Witnesses.introduce

    @classmethod
    def setUpClass(cls):
        cls.c = c = cls.enterClassContext(Chancery(purge=0))
        cls.tsa = Stamper(c.folder / "tsa")
        c.helpers.append(cls.tsa)
        cls.story(cls("introduce"), c)
        cls.folder = c.folder / "mutants"
        cls.folder.mkdir()
        cls.source = cls.folder / "source.db"
        with contextlib.closing(sqlite3.connect(c.journal.path)) as db:
            db.execute("VACUUM INTO ?", (str(cls.source),))
        cls.forger = Anchored(cls.source, cls.folder, cls.tsa)

    def story(self, c):
        """Two witnesses and a time-stamp, a purge by both, a beat; then one
        of the witnesses fails."""
        self.witnesses = {}
        for name in NAMES:
            w = Witness(c.folder / name.split("/")[1], name)
            type(self).addClassCleanup(w.end, kill=True)
            self.witnesses[name] = w.start()
        c.extra = ("anchors { quorum = 2 interval-s = 1 }\n"
                   "journal { beat-s = 2 }\n"
                   'stamp { url = "%s" ca = "%s" required = true }\n' % (
                       self.tsa.url, self.tsa.ca) + "".join(
                       'witness %s { url = "%s" vkey = "%s" ca = "%s" }\n'
                       % (name.split("/")[1], w.url, w.vkey, w.ca)
                       for name, w in self.witnesses.items()))
        c.adapters = ('adapter records { program = "xml" directory = "%s" '
                      "interval-s = 3600 required = true }\n"
                      % (c.folder / "out"))
        c.init().add_users("ann")
        self.hall = c.add_room("Hall")
        c.start()
        self.introduce(c)
        self.talk(c, "a word")
        self.purged(c, "not purged")
        c.journal.wait(lambda j: any(b["anchor"] != "-" for b in
                                     j.control("beat")), "no beat", 60)
        self.witnesses[NAMES[1]].end()
        self.talk(c, "another word")
        c.journal.wait(lambda j: j.control("anchor")[-1]["state"] == "failed",
                       "no record of the failure", 60)
        c.stop()

    def second(self, *paths, key=None):
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                return super().second(*paths, key=key)
        except SystemExit as e:     # by argparse, as it ends the command
            return e.code, "usage"

    def both(self, status, *paths, key=None):
        for judge in (self.first, self.second):
            found, said = judge(*paths, key=key)
            self.assertEqual(found, status, said)

    def test_both_hold(self):
        self.both(0, self.c.journal.path)
        path = self.folder / "journal.db"
        self.forger.write(self.forger.leaves, path)
        self.both(0, path, key=self.forger.signer.vkey)

    def test_rows(self):
        """As they lie there: no hash covers them."""
        path = self.folder / "journal.db"

        def make(chance):
            shutil.copy(self.source, path)
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                unguard(db)
                for _ in range(chance.choice((1, 1, 2))):
                    with contextlib.suppress(sqlite3.Error):
                        mutants.row(chance, db, (
                            "cosig", "stamp", "stamp", "checkpoint"))
            return path
        tally = self.mutate("said", make, count=HALF)
        self.assertGreater(tally[1], HALF // 2)

    def test_signed_records(self):
        """Policies, anchor, beat and purge records tell something else."""
        path, forger = self.folder / "journal.db", self.forger
        told = [i for i, t in enumerate(forger.leaves)
                if t.split()[2] in (b"131", b"133", b"134", b"141")]

        def make(chance):
            leaves = list(forger.leaves)
            at = chance.choice(told)
            text = leaves[at].decode("latin-1")
            if chance.randrange(2):
                name, form = chance.choice(second.KINDS[int(
                    text.split()[2])][1:])
                text = re.sub("\n%s .*" % name, lambda _: "\n%s %s" % (
                    name, mutants.value(chance, form, at)), text)
            else:
                text = edit(chance, text)
            leaves[at] = text.encode("latin-1")
            forger.write(leaves, path)
            return path, forger.signer.vkey
        tally = self.mutate("told", make, count=HALF)
        self.assertGreater(tally[1], 0)

    def test_evidence(self):
        """Cosignatures and tokens, made right of something else, or wrong."""
        path, forger = self.folder / "journal.db", self.forger
        strange = OwnWitness("witness.example/three")
        twin = OwnWitness(NAMES[0], b"twin")

        def make(chance):
            def change(db):
                notes = dict(db.execute("SELECT size, note FROM checkpoint"))
                size, name, at, said = chance.choice(db.execute(
                    "SELECT size, name, at, line FROM cosig UNION ALL "
                    "SELECT size, NULL, at, token FROM stamp").fetchall())
                if chance.randrange(3):     # one that no record names
                    size = chance.choice(list(notes))
                note = chance.choice((
                    *[notes[size]] * 3, chance.choice(list(notes.values())),
                    notes[size] + b"\xe2\x80\x94 x AAAAAAAA\n"))
                if name is None:
                    at, said = chance.choice((
                        lambda: self.tsa.token(note),
                        lambda: (at, said.replace(SHA256, SHA256[:-1] + b"\3")),
                        lambda: (at, flip(chance, said)),
                        lambda: (at, said + b"\0"),
                        lambda: (at, forged_der(chance, said))))()
                else:
                    by = chance.choice((*forger.witnesses.values(), strange,
                                        twin))
                    name = chance.choice((by.name, by.name, name))
                    at = chance.choice((at, at + 1, 0, 2**63 - 1, 2**63))
                    said = by.line(note, at, chance.choice((name, None)))
                    if chance.randrange(4) == 0:
                        said = chance.choice((
                            flip(chance, said), said[:-1], said + said,
                            edit(chance, said.decode()).encode("latin-1",
                                                               "replace")))
                at = chance.choice((at, at, at, at + 1)) % 2**63
                db.execute("DELETE FROM %s WHERE size = ? %s" % (
                    ("stamp", "") if name is None else (
                        "cosig", "AND name = '%s'" % name)), (size,))
                if chance.randrange(8):
                    forger.put_said(db, size, name, at, said)
            forger.write(forger.leaves, path, change=change)
            return path, forger.signer.vkey
        tally = self.mutate("evidence", make, count=HALF)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def test_signed_ends(self):
        """Records of what outsiders said more at the end."""
        path, forger = self.folder / "journal.db", self.forger
        size = len(forger.leaves)
        policy = forger.leaves[1].decode()
        hashes = forger.whole(forger.leaves)[1]
        (self.folder / "other").mkdir(exist_ok=True)
        other = Signer(self.folder / "other", forger.origin)

        def conflict(chance, seq):
            had = seq - 1
            of = chance.choice((had, had + 1, 0, 9, 10**6))
            root = tree_root(hashes[:of]) if chance.randrange(3) == 0 and \
                of <= size else chance.randbytes(32)
            by = chance.choice((forger.signer, forger.signer, other))
            note = by.note(of, root).encode()
            note = chance.choice((
                note, note, note, b"", flip(chance, note),
                note + b"\xe2\x80\x94 x AAAAAAAA\n",
                note.replace(forger.origin.encode(), b"x/journal/00000000"),
                note + b"\xe2\x80\x94 x " + b"A" * 8200 + b"\n"))
            return "witness %s\nsize %d\nproof %s\nhold %d\nnote %s\n" % (
                chance.choice((NAMES[0], "x", "a%20b", "a+b")),
                chance.choice((of, of, of, of, 0)),
                chance.choice(("yes", "yes", "no")),
                chance.choice((1, 1, 1, 1, 2)), b64(note) or "-")

        def make(chance):
            way, at = chance.randrange(6), size
            texts, hold = [], None
            if way < 3:
                selector = chance.choice((
                    EVERYTHING, EVERYTHING, b'{"v":1,"from":1}', None))
                hold = bytes(32), selector
                texts = [(138, "hold 1\nmatter x\nselector %s\nby uid:0\n"
                          % b64(sha256(b"part/1\n", hold[0],
                                       selector or EVERYTHING)))]
                if chance.randrange(4) == 0:
                    texts.append(chance.choice((
                        (145, "below 1\nby uid:0\n"), (137, "old 1\nnew 1\n"
                         "sync no\nerror 1\ntai 0\n"))))
                texts.append((146, conflict(chance, size + len(texts))))
                if chance.randrange(4) == 0:
                    texts.append(chance.choice((
                        (145, "below 1\nby uid:0\n"), (137, "old 1\nnew 1\n"
                         "sync no\nerror 1\ntai 0\n"))))
            elif way == 3:
                keys = [w.vkey for w in forger.witnesses.values()]
                text = re.sub("^.*\n.*\n", "", policy)
                keys = chance.choice((
                    keys, keys[:1], keys * 2, [], [keys[0][:-1] + "A"],
                    [keys[0].replace("one", "two")], [forger.signer.vkey],
                    [keys[0], ""], ["-"], [keys[0].replace("+", "%2B", 1)]))
                text = re.sub("witnesses .*", lambda _: "witnesses " + (
                    ",".join(keys) or "-"), text)
                text = re.sub("quorum .*", "quorum %d" % chance.choice((
                    0, 1, 2, 3, 2**63 - 1)), text)
                text = re.sub("required .*", "required " + chance.choice((
                    "records", "-", "records,", "records,records", "a,b",
                    "-,a", "A", "a" * 33, "vault%2Crecords")), text)
                text = re.sub("after .*", "after " + chance.choice((
                    "0", "-1", "-", "-2", "86400")), text)
                texts = [(134, text)]
            else:
                old = [t for t in forger.leaves if t.split()[2] in (
                    b"141", b"133")]
                text = re.sub("^.*\n.*\n", "", chance.choice(old).decode())
                kind = 141 if text.startswith("what") else 133
                text = re.sub("events .*", "events 0", text)
                if chance.randrange(2):
                    name, form = chance.choice(second.KINDS[kind][1:])
                    text = re.sub("(?m)^%s .*" % name, lambda _: "%s %s" % (
                        name, mutants.value(chance, form, size)), text)
                texts = [(kind, text)]
            when = int(forger.leaves[-1].split()[4])
            leaves = [*forger.leaves, *(
                ("leaf/1 %d %d\nt %d 5 5f0c1e9a 0\n%s" % (
                    at + i, kind, when + 1 + i, text)).encode()
                for i, (kind, text) in enumerate(texts))]

            def change(db):
                if hold:
                    db.execute("INSERT INTO hold (n, seq, salt, selector, "
                               "since) VALUES (1, ?, ?, ?, ?)", (
                                   size, hold[1] and hold[0],
                                   hold[1] and hold[1].decode(),
                                   1 if b"from" in (hold[1] or b"") else None))
            forger.write(leaves, path, change=change)
            return path, forger.signer.vkey
        tally = self.mutate("ends of anchors", make, count=HALF)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def test_a_proof_is_the_end(self):
        """Behind it comes at most the clock, when no other name follows."""
        path, forger = self.folder / "journal.db", self.forger
        size, when = len(forger.leaves), int(forger.leaves[-1].split()[4])
        note = forger.signer.note(10**6, bytes(32)).encode()
        beat = "every 60\nevents 0\nqueue 1\nsync no\nerror 1\ntai 0\nanchor -\n"
        clock = "old %d\nnew %d\nsync no\nerror 1\ntai 0\n" % (
            when - 4, when + 10**6)

        def write(proof, *after):
            texts = [(138, "hold 1\nmatter x\nselector %s\nby uid:0\n"
                      % b64(sha256(b"part/1\n", bytes(32), EVERYTHING))),
                     (146, "witness x\nsize 1000000\nproof %s\nhold 1\n"
                      "note %s\n" % (proof, b64(note) if proof == "yes"
                                     else "-")), *after]
            leaves, at, boot = list(forger.leaves), when, 4
            for kind, text in texts:
                boot += 1
                at += 1 + (kind == 137) * (10**6 + 4)
                leaves.append(("leaf/1 %d %d\nt %d %d 5f0c1e9a 0\n%s" % (
                    len(leaves), kind, at, boot, text)).encode())
            forger.write(leaves, path, change=lambda db: db.execute(
                "INSERT INTO hold (n, seq, salt, selector) VALUES (1, ?, ?, ?)",
                (size, bytes(32), EVERYTHING.decode())))

        claim, proof = "no", "yes"
        for status, *told in (
                (0, claim, (133, beat)), (0, claim, (137, clock), (133, beat)),
                (0, proof), (0, proof, (137, clock)), (1, proof, (133, beat)),
                (1, proof, (137, clock), (133, beat)),
                (1, proof, (145, "below 1\nby uid:0\n"))):
            write(*told)
            for judge in (self.first, self.second):
                found, said = judge(path, key=forger.signer.vkey)
                self.assertEqual(found, status, (told, said))
                if status:
                    self.assertRegex(said, "proof of another history")

    def test_from_elsewhere(self):
        """Checkpoints and keys of witnesses given on the command line."""
        path, forger = self.folder / "journal.db", self.forger
        forger.write(forger.leaves, path)
        hashes = forger.whole(forger.leaves)[1]
        size = len(hashes)
        (self.folder / "other").mkdir(exist_ok=True)
        other = Signer(self.folder / "other", forger.origin)
        strange = Signer(self.folder / "other", "x/journal/00000000")
        keys = [w.vkey for w in forger.witnesses.values()]
        keys += [OwnWitness("witness.example/three").vkey,
                 OwnWitness(NAMES[0], b"twin").vkey]
        note = self.folder / "elsewhere"

        def make(chance):
            words = []
            for _ in range(chance.choice((0, 1, 1, 2))):
                of = chance.choice((1, 9, size - 1, size, size, size + 1))
                by = chance.choice((forger.signer,) * 4 + (other, strange))
                text = by.note(of, tree_root(hashes[:of]) if chance.randrange(
                    4) else chance.randbytes(32)).encode()
                if chance.randrange(3) == 0:
                    text = chance.choice((
                        flip(chance, text), text + text, text[:-1],
                        forger.witnesses[NAMES[0]].line(text, 5) + text,
                        text + forger.witnesses[NAMES[0]].line(text, 5),
                        text + forger.witnesses[NAMES[0]].line(b"x\n\n", 5)))
                file = note.with_name("elsewhere-%d" % len(words))
                file.write_bytes(text)
                words += [Word("--checkpoint"), file]
            for _ in range(chance.choice((0, 1, 2))):
                words += [Word("--witness"), Word(chance.choice((
                    *keys * 3, keys[0] + "x", keys[0][:-1] + "A",
                    forger.signer.vkey, "", keys[0][1:])))]
            return [*words, path], forger.signer.vkey
        tally = self.mutate("elsewhere", make, count=HALF)
        self.assertGreater(tally[1], 0)

    def test_each_option(self):
        """Right and wrong, next to each other."""
        path, forger = self.folder / "journal.db", self.forger
        forger.write(forger.leaves, path)
        hashes = forger.whole(forger.leaves)[1]
        (self.folder / "other").mkdir(exist_ok=True)
        other = Signer(self.folder / "other", "x/journal/00000000")
        key, note = forger.signer.vkey, self.folder / "elsewhere"
        given = [Word("--checkpoint"), note]
        for by, size, root, status in (
                (forger.signer, 9, tree_root(hashes[:9]), 0),
                (forger.signer, 9, bytes(32), 1), (other, 9, bytes(32), 1),
                (forger.signer, len(hashes) + 1, bytes(32), 1)):
            note.write_text(by.note(size, root), "utf-8")
            self.both(status, *given, path, key=key)
        note.write_text(forger.signer.note(9, tree_root(hashes[:9])), "utf-8")
        proof = self.folder / "x.tlog-proof"
        proof.write_text(self.c.run("chancery-export", "prove", "--journal",
                                    path, 2).stdout)
        self.both(0, proof, key=key)
        self.both(1, *given, proof, key=key)
        for text, status in ((forger.witnesses[NAMES[0]].vkey, 0),
                             (OwnWitness("x").vkey, 0), ("x", 2), (key, 2)):
            self.both(status, Word("--witness"), Word(text), path, key=key)
        chain = self.c.run("chancery-export", "keys", "--journal", path
                           ).stdout
        for text, status in ((chain, 0), (chain.replace("leaf ", "leaf A"), 1),
                             ("x", 1)):
            note.write_text(text)
            self.both(status, Word("--keys"), note, proof, key=key)

    def test_one_key_counts_once(self):
        """Whatever names it has; one that no policy names is not judged."""
        path, forger = self.folder / "journal.db", self.forger
        one = forger.witnesses[NAMES[0]]
        twin = OwnWitness.__new__(OwnWitness)
        twin.__dict__.update(one.__dict__, name=NAMES[1], made={})
        twin.id = sha256(NAMES[1].encode(), b"\n\4", one.public)[:4]
        twin.vkey = "%s+%s+%s" % (NAMES[1], twin.id.hex(), b64(
            b"\4" + one.public))
        two = forger.witnesses[NAMES[1]]
        purge = next(t for t in forger.leaves if t.split()[2] == b"131")
        anchor = int(re.search(rb"\nanchor (\d+)", purge)[1])
        try:
            for by, status in ((two, 0), (twin, 1)):
                forger.witnesses[NAMES[1]] = by
                forger.write(forger.leaves, path)
                self.both(status, path, key=forger.signer.vkey)
            self.assertIn("when 1 of 2 witnesses had cosigned", self.first(
                path, key=forger.signer.vkey)[1])
        finally:
            forger.witnesses[NAMES[1]] = two

        def strange(db):    # a third one that no policy names
            by = OwnWitness("witness.example/three")
            note, = db.execute("SELECT note FROM checkpoint WHERE size = ?",
                               (anchor,)).fetchone()
            forger.put_said(db, anchor, by.name, 5, by.line(note, 5))
        forger.write(forger.leaves, path, change=strange)
        self.both(0, path, key=forger.signer.vkey)

    def test_evidence_is_older_than_its_beat(self):
        """A line by nobody known says nothing of what it is of: its row may
        be of any size, but not of one behind the beat that names it."""
        path, forger = self.folder / "journal.db", self.forger
        by = OwnWitness("witness.example/three")
        line = by.line(b"x\n\n", 5)
        beat = max(i for i, t in enumerate(forger.leaves)
                   if t.split()[2] == b"133")
        leaves = list(forger.leaves)
        leaves[beat] = re.sub(rb"anchor \S+", b"anchor " + hashlib.sha256(
            line).hexdigest().encode(), leaves[beat])
        sizes = [n for n in forger.sizes if n <= beat]
        later = [n for n in forger.sizes if n > beat]
        for where, status in ((sizes[:1], 0), (later[:1], 1),
                              (sizes[:1] + later[:1], 0), ([], 1)):
            def change(db, where=where):
                for size in where:
                    forger.put_said(db, size, by.name, 5, line)
            forger.write(leaves, path, change=change)
            self.both(status, path, key=forger.signer.vkey)

    def test_names_of_witnesses(self):
        """Spaces, control characters, ends of strings: in no name, and
        nothing behind the key."""
        path, forger = self.folder / "journal.db", self.forger
        policy = forger.leaves[1].decode()
        for name, end, status in (
                ("witness", "", 0), ("a%20b", "", 1), ("a%07b", "", 1),
                ("%C3%A9", "", 0), ("%FF", "", 1), ("a", "%0A", 1),
                ("a", "%00", 1), ("a", ",", 1), ("a" * 256, "", 1)):
            own = OwnWitness("x")
            raw = urllib.parse.unquote_to_bytes(name)
            vkey = "%s+%s+%s%s" % (name, sha256(
                raw, b"\n\4", own.public)[:4].hex(),
                b64(b"\4" + own.public), end)
            text = re.sub("witnesses .*", lambda _: "witnesses " + vkey,
                          policy)
            text = re.sub("^.*\n.*\n", "leaf/1 %d 134\nt %d 5 5f0c1e9a 0\n" % (
                len(forger.leaves), int(forger.leaves[-1].split()[4]) + 1),
                text)
            forger.write([*forger.leaves, text.encode()], path)
            self.both(status, path, key=forger.signer.vkey)


class Files(Judges):
    """A journal in two files, cosigned and stamped in both: rows of the first
    are copied into the second."""

    @classmethod
    def setUpClass(cls):
        cls.c = c = cls.enterClassContext(Chancery(purge=-1))
        tsa = Stamper(c.folder / "tsa")
        c.helpers.append(tsa)
        one = Witness(c.folder / "one", NAMES[0])
        cls.addClassCleanup(one.end, kill=True)
        one.start()
        c.extra = ("anchors { interval-s = 1 }\n"
                   "journal { segment-records = 512 }\n"
                   'stamp { url = "%s" ca = "%s" interval-s = 1 }\n'
                   'witness one { url = "%s" vkey = "%s" ca = "%s" }\n' % (
                       tsa.url, tsa.ca, one.url, one.vkey, one.ca))
        c.init().add_users("ann")
        hall = c.add_room("Hall")
        c.start()
        opened, = c.journal.wait(lambda j: j.control("open"), "no record 0")
        one.run("add-log", opened["vkey"], opened["next"])
        ann = c.sign_in("ann")
        ann.join(hall)
        later = c.journal.path.with_name("journal-0001.db")
        for i in range(700):
            if ann.post(hall, "Text %d" % i) != 200:
                raise AssertionError("post refused")
            if later.exists():
                break
        files = [c.journal.path, later]
        c.journal.path = later

        def said(journal):
            with journal.open() as db:
                first, = db.execute("SELECT value FROM meta WHERE name = "
                                    "'first'").fetchone()
                newest = [db.execute("SELECT max(size) FROM " + table
                                     ).fetchone()[0]
                          for table in ("cosig", "stamp")]
                return all((size or 0) > int(first) for size in newest)
        c.journal.wait(said, "nothing was said of the second file", 60)
        c.stop()
        cls.folder = c.folder / "mutants"
        cls.folder.mkdir()
        cls.files = []
        for path in files:
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("VACUUM INTO ?", (str(cls.folder / path.name),))
            cls.files.append((path.name, (cls.folder / path.name
                                          ).read_bytes()))

    def put(self):
        for name, data in self.files:
            (self.folder / name).write_bytes(data)
        return [self.folder / name for name, _ in self.files]

    def test_rows(self):
        paths = self.put()
        for judge in (self.first, self.second):
            status, said = judge(*paths)
            self.assertEqual(status, 0, said)

        def make(chance):
            paths = self.put()
            with contextlib.closing(sqlite3.connect(
                    chance.choice(paths))) as db, db:
                unguard(db)
                with contextlib.suppress(sqlite3.Error):
                    mutants.row(chance, db, ("cosig", "stamp"))
            return paths
        self.assertGreater(self.mutate("files", make, count=HALF)[1], 0)

    def test_copies(self):
        """A copy that is not there, or of something that was not said. What
        comes after the roll is in the newer file alone."""
        name = "witness.example/three"
        line = OwnWitness(name).line(b"x\n\n", 5)
        with contextlib.closing(sqlite3.connect(self.put()[1])) as db:
            first, = db.execute("SELECT value FROM meta WHERE name = 'first'"
                                ).fetchone()
        first = int(first)
        for rows, status in ((((0, first),), 1), (((1, first),), 0),
                             (((1, 2),), 1), (((0, first), (1, first)), 0)):
            paths = self.put()
            for file, size in rows:
                with contextlib.closing(sqlite3.connect(paths[file])
                                        ) as db, db:
                    unguard(db)
                    db.execute("INSERT INTO cosig VALUES (?, ?, ?, 5)",
                               (size, name, line))
            for judge in (self.first, self.second):
                found, said = judge(*paths)
                self.assertEqual(found, status, said)


def forged_der(chance, token):
    """Another length or tag early in it, where the structure is."""
    data = bytearray(token)
    at = chance.randrange(160)
    data[at] = chance.choice((0, 0x30, 0x80, 0x81, 0xa0, data[at] ^ 1,
                              data[at] + 1 & 255))
    return bytes(data)


if __name__ == "__main__":
    unittest.main()
