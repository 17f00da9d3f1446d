"""Archives and purge certificates, judged by both verifiers.

As test_two_verifiers.py; here nothing is left to the first.
"""

import base64
import contextlib
import copy
import hashlib
import json
import re
import shutil
import sqlite3
import unittest

import archive_mutants
import forge
import mutants
from archive_mutants import ArchiveForger
from chancery import Chancery
from mutants import Signer
from test_two_verifiers import ADAPTERS, COUNT, Judges
from witness import Witness

WORDS = 'Text <%d> "&\t\u00e9 \r\n \ufffd\U0001f600'


class Archived(Judges):
    rounds, restarts = 3, True

    @classmethod
    def setUpClass(cls):
        c = cls.c = cls.enterClassContext(Chancery(adapters=ADAPTERS))
        witness = Witness(c.folder / "one", "witness.example/one").start()
        cls.addClassCleanup(witness.end, kill=True)
        c.extra = (
            "anchors { quorum = 1 interval-s = 1 }\njournal { beat-s = 2 }\n"
            'witness one { url = "%s" vkey = "%s" ca = "%s" }\n'
            "purge { after-s = 0 approvals = 1 }\n" % (
                witness.url, witness.vkey, witness.ca))
        cls.make(c, witness)
        cls.folder = c.folder / "mutants"
        cls.folder.mkdir()
        cls.source = cls.folder / "source.db"
        with contextlib.closing(sqlite3.connect(c.journal.path)) as db:
            db.execute("VACUUM INTO ?", (str(cls.source),))
        cls.archives = sorted(
            p for p in (c.folder / "out").rglob("*") if p.is_file()
            and not p.with_suffix(".evidence.xml").exists())
        cls.certificates = []
        for n in range(1, 1 + len(c.journal.control("purge"))):
            for words in ((), ("--json",)):
                path = cls.folder / ("certificate%d%s" % (n, "".join(words)))
                c.run("chancery-export", "certificate", "--journal",
                      cls.source, *words, "-o", path, n)
                cls.certificates.append(path)

    @classmethod
    def make(cls, c, witness):
        """Rounds with holds, approvals, cosignatures and purges."""
        c.init().add_users("ann", "bob")
        hall, desk = c.add_room("Hall & <Söhne>"), c.add_room("Desk")
        c.start()
        opened, = c.journal.wait(lambda j: j.control("open"), "no record 0")
        witness.run("add-log", opened["vkey"], opened["next"])
        c.cli("hold", "add", "--matter", "2026/7", "--room", desk)
        for round_ in range(cls.rounds):
            if round_ and cls.restarts:
                c.restart()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            for room in (hall, desk):
                ann.join(room)
                bob.join(room)
                for i in range(250 if round_ == 2 else 6):   # a whole tile
                    if ann.post(room, WORDS % i) != 200:
                        raise AssertionError("post refused")
                bob.history(room, 3)
            bob.part(hall)
            ann.sign_off()
            bob.sign_off()
            size = c.journal.size()
            for name in ("records", "strict", "vault"):
                c.cli("adapter", "run", name)
            c.journal.wait(lambda j: len({
                a["adapter"] for a in j.control("ack")
                if int(a["last"]) >= size - 1}) == 3, "archives", 60)
            c.cli("purge", "approve", "--below", size)
            c.journal.wait(lambda j: len(j.control("purge")) > round_,
                           "purge", 60)
            if round_ == 1:
                c.cli("hold", "release", "1")
        c.stop()

    def key_of(self, path):
        """That of the archive's own epoch."""
        data = path.read_bytes()
        if path.suffix == ".xml":
            root = archive_mutants.ElementTree.fromstring(data)
            return next(root.iter(archive_mutants.NAMESPACE + "evidence")
                        ).get("vkey")
        return next(d for n, d in archive_mutants.read_bag(data).items()
                    if n.endswith("data/vkey")).decode().strip()

    def both(self, status, *paths, key=None):
        for judge in (self.first, self.second):
            found, said = judge(*paths, key=key)
            self.assertEqual(found, status, said)

    def copied(self, source):
        """In a folder of its own, with the rendering it belongs to."""
        folder = self.folder / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in source.parent.glob(source.name.split(".evidence")[0]
                                       .removesuffix(".xml") + "*"):
            shutil.copy(path, folder)
        return folder / source.name


class TwoArchives(Archived):
    def test_both_hold(self):
        for path in self.archives:
            self.both(0, path, key=self.key_of(path))
        self.both(0, self.source, *self.archives)

    def change_documents(self, sources):
        """XML, and renderings beside it."""
        def make(chance):
            source = chance.choice(sources)
            path = self.copied(source)
            beside = sorted(path.parent.iterdir())
            changed = chance.choice(beside)
            changed.write_bytes(archive_mutants.document(
                chance, changed.read_bytes()))
            if chance.randrange(8) == 0:
                changed.unlink()
                if changed == path:
                    path = chance.choice(beside)
            return path, source
        return make

    def change_bags(self, sources):
        def make(chance):
            source = chance.choice(sources)
            path = self.copied(source)
            path.write_bytes(archive_mutants.bag(chance, path.read_bytes()))
            return path, source
        return make

    def alone(self, family, suffix, change):
        """Archives without the journal, which knows their digests."""
        sources = [p for p in self.archives if p.suffix == suffix]
        keys, change = {p: self.key_of(p) for p in sources}, change(sources)

        def make(chance):
            path, source = change(chance)
            return [path], keys[source]
        tally = self.mutate(family, make)
        self.assertGreater(tally[1], COUNT // 4)

    def test_found_by_trying(self):
        """What the first once took for whole, or for broken."""
        source = next(p for p in self.archives if "strict" in str(p))
        path, key = self.copied(source), self.key_of(source)
        rendering = path.with_name(path.name.replace(".evidence", ""))
        rendering.unlink()
        self.both(0, path, key=key)
        forger = ArchiveForger(
            next(p for p in self.archives if "records-00000001" in p.name),
            Signer(self.folder, self.c.vkey.split("+")[0]))
        path = self.copied(forger.source)
        for old, new, status in (
                ("required records,", "required records,", 0),
                ("approvals 1", "approvals 3", 1), ("stamp no", "stamp x", 1),
                ("quorum 1", "quorum 01", 1), ("after 0", "after -0", 1),
                ("after 0", "after -1", 0), ("classes -", "classes x", 1)):
            events = copy.deepcopy(forger.events)
            policy, = [e for e in events if int(e["kind"]) == 134]
            self.assertIn(old, policy["leaf"])
            policy["leaf"] = policy["leaf"].replace(old, new)
            forger.write(path, events)
            self.both(status, path, key=forger.signer.vkey)
        source = next(p for p in self.archives if "vault" in str(p))
        path, files = self.copied(source), archive_mutants.read_bag(
            source.read_bytes())
        top = min(files).partition("/")[0]
        for name, status in (("bagit.txt", 0), ("bag-info.txtx", 1)):
            files.setdefault("%s/%s" % (top, name), b"")
            mutants.remake_manifests(files)
            path.write_bytes(archive_mutants.write_bag(files))
            self.both(status, path, key=self.key_of(source))
        path = self.folder / "compact"
        path.write_text(json.dumps(json.loads(
            self.certificates[1].read_text("utf-8"))), "utf-8")
        self.both(0, path)

    def test_documents(self):
        self.alone("documents", ".xml", self.change_documents)

    def test_bags(self):
        self.alone("bags", ".zst", self.change_bags)

    def test_with_journal(self):
        """And with the other archives."""
        ways = [self.change_documents([p for p in self.archives
                                       if p.suffix == ".xml"]),
                self.change_bags([p for p in self.archives
                                  if p.suffix == ".zst"])]

        def make(chance):
            path, source = chance.choice(ways)(chance)
            return [self.source, path,
                    *(p for p in self.archives if p != source)]
        tally = self.mutate("archives", make, count=COUNT // 3)
        self.assertGreater(tally[1], COUNT // 6)

    def test_missing_archives(self):
        """Some of them: is all that was purged in those that are given?"""
        def make(chance):
            return [self.source, *chance.sample(
                self.archives, chance.randrange(len(self.archives)))]
        tally = self.mutate("missing", make, count=COUNT // 4)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def test_signed_archives(self):
        """Records that were changed before they were archived."""
        sources = [p for p in self.archives if "00000001" in p.name]
        signer = Signer(self.folder, self.c.vkey.split("+")[0])
        forgers = [ArchiveForger(p, signer) for p in sources]
        for forger in forgers:
            path = self.copied(forger.source)
            forger.write(path, copy.deepcopy(forger.events))
            self.both(0, path, key=signer.vkey)

        def make(chance):
            forger = chance.choice(forgers)
            path = self.copied(forger.source)
            events = copy.deepcopy(forger.events)
            for _ in range(chance.choice((1, 1, 2))):
                archive_mutants.event_change(chance, events)
            forger.write(path, events)
            return [path], signer.vkey
        tally = self.mutate("signed archives", make)
        self.assertGreater(min(tally[0], tally[1]), 0)

    # ---- certificates ----

    def test_certificates_hold(self):
        for path in self.certificates:
            self.both(0, path)
            self.both(0, path, *self.archives)

    def test_certificates(self):
        sources = [p.read_text("utf-8") for p in self.certificates]
        path = self.folder / "copy.certificate"

        def make(chance):
            path.write_bytes(archive_mutants.certificate(
                chance, chance.choice(sources)).encode(
                    "utf-8", "surrogateescape"))
            return [path, *chance.sample(self.archives, chance.choice((
                0, 0, 1, len(self.archives))))]
        tally = self.mutate("certificates", make)
        self.assertGreater(tally[1], COUNT // 4)



class OneKey(Archived):
    """A journal of one epoch, which the tests can sign anew."""
    rounds, restarts = 2, False

    def test_signed_certificates(self):
        """Records that were changed before they were proved."""
        forger = mutants.Forger(self.source, self.folder)
        forged, path = self.folder / "forged.db", self.folder / "forged.cert"
        kinds = [int(t.split()[2]) for t in forger.leaves]
        named = [i for i, kind in enumerate(kinds)
                 if kind in (130, 131, 134, 138, 139, 145)]

        def make(chance):
            leaves = list(forger.leaves)
            for _ in range(chance.choice((1, 1, 2))):
                at = chance.choice(named)
                leaves[at] = mutants.edit(chance, leaves[at].decode(
                    "latin-1")).encode("latin-1")
            forger.write(leaves, forged)
            path.unlink(missing_ok=True)
            for words in chance.sample(((), ("--json",)), 2):
                self.c.run("chancery-export", "certificate", "--journal",
                           forged, *words, "-o", path, chance.choice(
                               (1, 2, 3)), check=False)
                if path.exists():
                    break
            else:
                shutil.copy(self.certificates[0], path)
            return [path], forger.signer.vkey
        tally = self.mutate("signed certificates", make)
        self.assertGreater(min(tally[0], tally[1]), 0)


class Held(Judges):
    """Archives show what the holds kept when records were purged."""

    def test_selectors(self):
        with Chancery(adapters='adapter records { program = "xml" directory = '
                      '"out" interval-s = 900 required = true }\n',
                      extra="purge { after-s = 0 approvals = 1 }\n") as c:
            self.c = c
            self.make(c)
            out = sorted((c.folder / "out").iterdir())
            for selector, status in self.selectors(c):
                path = self.forged(c, selector)
                for judge in (self.first, self.second):
                    self.assertEqual(judge(path)[0], 0, selector)
                    found, said = judge(path, *out)
                    self.assertEqual(found, status, (selector, said))

    def make(self, c):
        c.init().add_users("ann", "bob")
        self.hall, desk = c.add_room("Hall"), c.add_room("Desk")
        c.start()
        ann = c.sign_in("ann")
        for room in (self.hall, desk):
            ann.join(room)
            self.assertEqual(ann.post(room, "a word"), 200)
        size = c.journal.size()
        c.cli("adapter", "run", "records")
        c.journal.wait(lambda j: j.control("ack"), "archive", 60)
        c.cli("hold", "add", "--matter", "m", "--room", desk)
        c.cli("purge", "approve", "--below", size)
        c.journal.wait(lambda j: j.control("purge"), "purge", 60)
        c.stop()

    def selectors(self, c):
        """What the hold may have said, and whether the purge was wrong."""
        ann = "sip:ann@example.test"
        return (({"room": self.hall.upper()}, 1), ({}, 1), (None, 0),
                ({"room": self.hall + "x"}, 0), ({"user": ann.upper()}, 1),
                ({"user": ann[:-1]}, 0), ({"room": self.hall,
                                           "user": "sip:bob@example.test"}, 0),
                ({"room": self.hall, "until": 1}, 0),
                ({"room": self.hall, "from": 1}, 1))

    def forged(self, c, selector):
        """The journal with another hold, under its own key."""
        forger = mutants.Forger(c.journal.path, c.folder)
        forger.signer = forge.Key.stolen(c.state / "signer" / "key")
        seq, = [i for i, t in enumerate(forger.leaves) if b" 138\n" in t]
        salt, text = bytes(32), None
        leaves, path = list(forger.leaves), c.folder / "journal.db"
        if selector is not None:
            text = json.dumps({"v": 1, **selector}, separators=(",", ":"))
            digest = base64.b64encode(hashlib.sha256(
                b"part/1\n" + salt + text.encode()).digest())
            leaves[seq] = re.sub(rb"\nselector \S+", lambda _: (
                b"\nselector " + digest), leaves[seq])
        forger.write(leaves, path)
        told = selector or {}
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            mutants.unguard(db)
            db.execute("UPDATE hold SET salt = ?, selector = ?, room = ?, "
                       "user = ?, since = ?, until = ?", (
                           text and salt, text, *(
                               n in told and told[n].lower() or None
                               for n in ("room", "user")),
                           told.get("from"), told.get("until")))
        return path


if __name__ == "__main__":
    unittest.main()
