"""Two verifiers, written apart, judge the same evidence and must agree.

Every mutation is made from a seed; a disagreement prints it. CHANCERY_SEED
and CHANCERY_MUTATIONS (of each family) repeat or widen a run.
"""

import base64
import collections
import contextlib
import io
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest

import mutants
from chancery import Chancery, program, wait_until
from mutants import TABLES, Forger, Signer, edit, flip, leaf_hash, unguard
from second import SECOND, second

SEED = int(os.environ.get("CHANCERY_SEED", "20261122"))
COUNT = int(os.environ.get("CHANCERY_MUTATIONS", "50"))
ADAPTERS = "".join(
    'adapter %s { program = "%s" directory = "out/%s" interval-s = 900 '
    "required = true%s }\n" % row for row in (
        ("records", "xml", "records", ""),
        ("strict", "xml", "strict", " strict = true"),
        ("vault", "tarball", "vault", "")))


class Judges(unittest.TestCase):
    """Both verifiers, and changes that they are asked about."""

    def first(self, *paths, key=None):
        done = self.c.run("chancery-verify", "--key", key or self.c.vkey,
                          *paths, check=False)
        self.assertNotRegex(done.stderr, "Sanitizer|runtime error")
        return done.returncode, done.stdout + done.stderr

    def second(self, *paths, key=None):
        """In this process, as the command's main does it."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = second.main(["--key", key or self.c.vkey,
                                  *map(str, paths)])
        return status, out.getvalue()

    def agree(self, what, *paths, key=None):
        a, b = self.first(*paths, key=key), self.second(*paths, key=key)
        self.tally[a[0]] += 1
        if a[0] == b[0]:
            return
        kept = tempfile.mkdtemp(prefix="chancery-disagree-")
        for path in paths:
            for file in {path, *path.parent.glob("*.xml")} - {
                    p for p in paths if not p.exists()}:
                shutil.copy(file, kept)
        self.disagreements.append("%s: %d and %d, kept in %s\n%s\n%s" % (
            what, a[0], b[0], kept, tail(a[1]), tail(b[1])))

    def mutate(self, family, make, *beside, count=COUNT):
        """make(chance) changes copies and gives their paths, and a key if it
        is another; both judge them."""
        self.tally, self.disagreements = collections.Counter(), []
        for i in range(count):
            seed = "%d/%s/%d" % (SEED, family, i)
            paths, key = make(random.Random(seed)), None
            if isinstance(paths, tuple):
                paths, key = paths
            if not isinstance(paths, list):
                paths = [paths]
            self.agree("seed %s" % seed, *paths, *beside, key=key)
        print("# %s: exit statuses %s" % (family, dict(self.tally)),
              file=sys.stderr)
        self.assertEqual(len(self.disagreements), 0, "\n\n".join(
            self.disagreements[:20]))
        return self.tally


class Verbatim(Forger):
    """Its last record is as it is given, whatever it states."""

    def whole(self, leaves):
        done, hashes = super().whole(leaves[:-1])
        return [*done, leaves[-1]], [*hashes, leaf_hash(leaves[-1])]


class TwoVerifiers(Judges):
    @classmethod
    def setUpClass(cls):
        cls.c = cls.enterClassContext(Chancery(adapters=ADAPTERS, purge=0))
        cls.make(cls.c)
        cls.folder = cls.c.folder / "mutants"
        cls.folder.mkdir()
        cls.source = cls.folder / "source.db"
        with contextlib.closing(sqlite3.connect(cls.c.journal.path)) as db:
            db.execute("VACUUM INTO ?", (str(cls.source),))
        cls.archives = sorted(p for p in (cls.c.folder / "out").rglob("*")
                              if p.is_file())

    @classmethod
    def make(cls, c):
        """Two rounds of talk; the payloads of the first are purged."""
        c.init().add_users("ann", "bob")
        hall = c.add_room("Hall & <Söhne>")
        c.start()
        ann, bob = c.sign_in("ann"), c.sign_in("bob")
        for round_ in range(2):
            ann.join(hall)
            bob.join(hall)
            for i in range(140):
                if ann.post(hall, 'Text <%d> "&\t\u00e9' % i) != 200:
                    raise AssertionError("post refused")
            bob.history(hall, 3)
            newest = c.journal.size() - 1
            for name in ("records", "strict", "vault"):
                c.cli("adapter", "run", name)
            c.journal.wait(lambda j: len({
                a["adapter"] for a in j.control("ack")
                if int(a["last"]) >= newest}) == 3, "archives", 60)
            c.journal.wait(lambda j: len(j.control("purge")) > 0, "purge", 60)
        ann.post(hall, "late")
        c.stop()

    # ---- what is whole ----

    def test_both_hold(self):
        live = self.c.journal.path
        for paths in ([live], [live, *self.archives]):
            for judge in (self.first, self.second):
                status, said = judge(*paths)
                self.assertEqual(status, 0, said)
        said = self.second(live)[1]
        self.assertIn("freshness unknown", said)
        done = subprocess.run(
            [sys.executable, str(SECOND), str(live)],
            capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0)
        self.assertIn("keys given: 0", done.stdout)

    def test_usage_and_system(self):
        live, other = self.c.journal.path, self.c.folder / "none.db"
        for words, status in (([], 2), (["--key"], 2), (["--none", live], 2),
                              (["--key", "a+b+c", live], 2), ([other], 3)):
            words = [str(w) for w in words]
            for command in ([program("chancery-verify")],
                            [sys.executable, str(SECOND)]):
                done = subprocess.run([*command, *words], timeout=60,
                                      capture_output=True, text=True)
                self.assertEqual(done.returncode, status, (words, done))

    def test_another_key(self):
        key = Signer(self.folder, "example.test/journal/00000000").vkey
        self.tally, self.disagreements = collections.Counter(), []
        self.agree("another key", self.source, key=key)
        self.agree("with archives", self.source, *self.archives, key=key)
        self.assertEqual(self.disagreements, [])
        self.assertEqual(set(self.tally), {1})

    def test_the_record_is_named(self):
        path = self.folder / "named.db"
        for i, change in enumerate((
                "UPDATE body SET data = X'78' WHERE id = (SELECT MAX(id) FROM "
                "body WHERE id >> 8 = %d)",
                "UPDATE leaf SET at = at + 1 WHERE seq = %d",
                "UPDATE leaf SET bytes = X'78' WHERE seq = %d")):
            shutil.copy(self.source, path)
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                unguard(db)
                newest, = db.execute(
                    "SELECT MAX(id >> 8) FROM body").fetchone()
                db.execute(change % newest)
            for judge in (self.first, self.second):
                with self.subTest(change=i, judge=judge.__name__):
                    status, said = judge(path)
                    self.assertEqual(status, 1)
                    self.assertRegex(said, r"\brecord %d\b" % newest)

    def test_live_journal(self):
        """With its write-ahead log beside it."""
        folder = self.folder / "live"
        folder.mkdir()
        path = folder / "journal.db"
        shutil.copy(self.source, path)
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            with db:
                db.execute("DROP TRIGGER leaf_delete")
                db.execute("DELETE FROM leaf WHERE seq = 9")
            for judge in (self.first, self.second):
                status, said = judge(path)
                self.assertEqual(status, 1, said)

    def test_unbroken_forgery_holds_under_its_key(self):
        """What the forger makes without a change is whole: the changes are
        what the next family is judged by."""
        forger = Forger(self.source, self.folder)
        path = self.folder / "journal.db"
        forger.write(forger.leaves, path)
        for judge in (self.first, self.second):
            self.assertEqual(judge(path)[0], 1)
            status, said = judge(path, key=forger.signer.vkey)
            self.assertEqual(status, 0, said)

    # ---- mutations ----

    def test_bytes_of_the_database(self):
        data, path = self.source.read_bytes(), self.folder / "journal.db"

        def make(chance):
            path.write_bytes(flip(chance, data))
            return path
        self.assertGreater(self.mutate("bytes", make)[1], 0)

    def test_rows(self):
        path = self.folder / "journal.db"

        def make(chance):
            shutil.copy(self.source, path)
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                unguard(db)
                for _ in range(chance.choice((1, 1, 2))):
                    with contextlib.suppress(sqlite3.Error):
                        mutants.row(chance, db)
            return path
        self.assertGreater(self.mutate("rows", make)[1], COUNT // 2)

    def test_signed_lies(self):
        """Leaves that were changed before everything over them was made."""
        forger = Forger(self.source, self.folder)
        path = self.folder / "journal.db"
        control = [i for i, t in enumerate(forger.leaves)
                   if int(t.split()[2]) >= 128]

        def make(chance):
            leaves = list(forger.leaves)
            for _ in range(chance.choice((1, 1, 2))):
                at = chance.choice(control) if chance.randrange(4) else \
                    chance.randrange(len(leaves))
                leaves[at] = edit(chance, leaves[at].decode("latin-1")
                                  ).encode("latin-1")
            forger.write(leaves, path)
            return path, forger.signer.vkey
        self.assertGreater(self.mutate("lies", make)[1], 0)

    def test_signed_payloads(self):
        """Payloads that were changed before they were committed to."""
        forger = Forger(self.source, self.folder)
        path = self.folder / "journal.db"
        with contextlib.closing(sqlite3.connect(self.source)) as db:
            bodies = db.execute("SELECT id, data FROM body").fetchall()

        def make(chance):
            parts = {}
            for _ in range(chance.choice((1, 1, 2))):
                row, data = chance.choice(bodies)
                parts[divmod(row, 256)] = mutants.json_edit(chance, data)
            forger.write(forger.leaves, path, parts)
            return path, forger.signer.vkey
        tally = self.mutate("payloads", make)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def test_signed_ends(self):
        """A control record more at the end, of any kind, right or wrong."""
        forger = Forger(self.source, self.folder)
        path = self.folder / "journal.db"
        size = len(forger.leaves)
        at = int(forger.leaves[-1].split()[4])
        last = {}
        with contextlib.closing(sqlite3.connect(self.source)) as db:
            events = db.execute(
                "SELECT count(*) FROM leaf WHERE kind < 128 AND seq > (SELECT "
                "max(seq) FROM leaf WHERE kind IN (128, 133))").fetchone()[0]
            for name, n, end in db.execute(
                    "SELECT adapter, n, last FROM batch ORDER BY n"):
                last[name] = (n, end)
            first = db.execute("SELECT max(last) FROM purge_range"
                               ).fetchone()[0] + 1

        def make(chance):
            def near(n):
                return n + chance.choice((0,) * 8 + (-1, 1))
            name = chance.choice(("records", "strict", "vault", "new"))
            n, end = last.get(name, (0, -1))
            until = near(size - 1)
            batch = "adapter %s\nbatch %d\nfirst %d\nlast %d\n" % (
                name, near(n + 1), near(end + 1), until)
            texts = (
                (129, batch + "count %d\nsize %d\nroot x\n" % (
                    near(until - end), near(size))),
                (130, batch + "state %s\nlocation -\nsha256 -\nbytes 0\n"
                 "readback no\n" % chance.choice(("sent", "stored", "x"))),
                (131, "purge %d\nfirst %d\nlast %d\ncount %d\nranges %d\n"
                 "leaves x\nacks records:1\nheld 0\nhold -\napprovals -\n"
                 "anchor -\npolicy %d\n" % (
                     near(2), near(first), near(first), near(0), near(first),
                     near(1))),
                (132, "what storage\nsince %d\nuntil 2\nrefused 0\n"
                 % near(1)),
                (133, chance.choice(("", "every 60\n")) + "events %d\nqueue 1"
                 "\nsync %s\nerror 1\ntai 0\nanchor %s\n" % (
                     near(events), chance.choice(("yes", "no", "x")),
                     chance.choice(("-", "00" * 32, "x")))),
                (137, "old %d\nnew %s\nsync no\nerror 1\ntai 0\n" % (
                    near(at - 4), chance.choice((
                        near(at - 4), near(at - 3), "-0", -5, 250000)))),
                (142, "since %d\nuntil 2\ncount 3\n" % near(1)),
                (143, "what keeper\nsince 1\nuntil %s\ncount 3\n"
                 % chance.choice(("2", "x"))),
                (144, "first %d\nlast %d\nsince 1\nresult %s\n" % (
                    near(0), near(size - 1), chance.choice((
                        "whole", "broken", "x")))),
                (134, "required %s\nafter %s\napprovals %d\nquorum 0\n"
                 "witnesses -\nstamp %s\nclasses -\n" % (
                     chance.choice(("-", "records", "x,y", "%2C")),
                     chance.choice(("-1", "0", "-2", "60")),
                     chance.choice((0, 0, 1, 2, 3)),
                     chance.choice(("no", "yes", "x")))),
                (146, chance.choice(("", "x 1\n", "x 1\nx 1\n", "X 1\n",
                                     "1 1\n" * 64, "1 1\n" * 65))),
                (255, "a b\n"), (9, "p 0 %s\n" % ("A" * 43 + "=")))
            leaves = list(forger.leaves)
            for _ in range(chance.choice((1, 2))):
                kind, text = chance.choice(texts)
                seq = len(leaves)
                leaves.append(("leaf/1 %d %d\nt %d %d 5f0c1e9a %d\n%s" % (
                    seq, kind, at + 1 + seq - size,
                    chance.choice((5, 5, 5, 250007)), chance.randrange(2),
                    text)).encode())
            forger.write(leaves, path)
            return path, forger.signer.vkey
        tally = self.mutate("ends", make)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def test_signed_fields(self):
        """A control record of each kind more at the end, its values drawn by
        the forms that the second verifier demands."""
        forger = Forger(self.source, self.folder)
        path = self.folder / "journal.db"
        size = len(forger.leaves)
        at = int(forger.leaves[-1].split()[4])

        def make(chance):
            kind = chance.choice(list(second.KINDS))
            leaves = [*forger.leaves, (
                "leaf/1 %d %d\nt %d 5 5f0c1e9a 0\n%s" % (
                    size, kind, at + 1, "".join("%s %s\n" % (
                        name, mutants.value(chance, form, size)) for
                        name, form in second.KINDS[kind][1:]))
            ).encode()]
            forger.write(leaves, path)
            return path, forger.signer.vkey
        tally = self.mutate("fields", make)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def test_notes(self):
        """Checkpoints with right signatures over wrong bodies, and with all
        kinds of lines below."""
        forger = Forger(self.source, self.folder)
        path, signer = self.folder / "journal.db", forger.signer
        whole = self.folder / "whole.db"
        forger.write(forger.leaves, whole)
        with contextlib.closing(sqlite3.connect(whole)) as db:
            note = bytes(db.execute("SELECT note FROM head").fetchone()[0])
        body, _, lines = note.decode().partition("\n\n")

        def make(chance):
            text, below = body + "\n", lines
            for _ in range(chance.choice((1, 1, 2))):
                way = chance.randrange(4)
                if way == 0:
                    text = edit(chance, text)
                elif way == 1:
                    below = edit(chance, below)
                else:
                    below = chance.choice((
                        "%s\u2014 other AAAAAAAA\n", "\u2014 a b AAAAAAAA\n%s",
                        "\u2014 other AAAAAAA\n%s", "%s\u2014 " + signer.name
                        + " AAAAAAAAAAAA\n", "%s%s", "%s\n", "%sx",
                        "\u2014 " + signer.name + " "
                        + base64.b64encode(signer.id + bytes(64)).decode()
                        + "\n%s", "\u2014 x+y AAAAAAAA\n%s", "")
                    ).replace("%s", below)
            if text != body + "\n" and chance.randrange(4):
                with contextlib.suppress(UnicodeEncodeError):
                    below = signer.sign(text).partition("\n\n")[2]
            shutil.copy(whole, path)
            made = (text + "\n" + below).encode("utf-8", "surrogateescape")
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                unguard(db)
                if chance.randrange(2):
                    db.execute("UPDATE head SET note = ?", (made,))
                else:
                    size = re.search(r"\n(\d{1,9})\n", text)
                    db.execute("INSERT INTO checkpoint VALUES (?, ?)", (
                        int(size[1]) if size else 1, made))
            return path, signer.vkey
        tally = self.mutate("notes", make)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def test_schema(self):
        """Other tables, columns, types, versions, and none."""
        path = self.folder / "journal.db"
        with contextlib.closing(sqlite3.connect(self.source)) as db:
            objects = db.execute(
                "SELECT type, name FROM sqlite_master WHERE sql NOT NULL"
            ).fetchall()
            columns = [(table, column[1]) for table in TABLES for column in
                       db.execute("PRAGMA table_info(%s)" % table)]

        def change(chance, db):
            what, name = chance.choice(objects)
            table, column = chance.choice(columns)
            db.execute(chance.choice((
                "DROP %s %s" % (what, name),
                "ALTER TABLE %s RENAME COLUMN %s TO other" % (table, column),
                "ALTER TABLE %s RENAME TO other" % table,
                "ALTER TABLE %s ADD COLUMN other ANY" % table,
                "ALTER TABLE %s DROP COLUMN %s" % (table, column),
                "PRAGMA user_version = %d" % chance.choice((0, 1, 2, 3)),
                "PRAGMA application_id = %d" % chance.choice((0, 1)),
                "CREATE TABLE other (a)",
                "CREATE INDEX other ON %s (%s)" % (table, column),
                "UPDATE sqlite_master SET sql = replace(sql, '%s', '%s') "
                "WHERE name = '%s'" % (*chance.choice((
                    ("INTEGER", "TEXT"), ("BLOB", "TEXT"), ("STRICT", ""),
                    ("WITHOUT ROWID", ""), ("TEXT", "BLOB"),
                    ("PRIMARY KEY", ""))), table),
                "CREATE TABLE other AS SELECT * FROM %s" % table)))

        def make(chance):
            shutil.copy(self.source, path)
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                db.execute("PRAGMA writable_schema = 1")
                for _ in range(chance.choice((1, 1, 2))):
                    with contextlib.suppress(sqlite3.Error):
                        change(chance, db)
            return path
        tally = self.mutate("schema", make)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def changed(self, sql):
        path = self.folder / "journal.db"
        shutil.copy(self.source, path)
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            unguard(db)
            self.assertGreater(db.execute(sql).rowcount, 0, sql)
        return path

    def test_found_by_chance(self):
        """What these changes once found the verifiers to differ in."""
        for sql in ("INSERT INTO body SELECT id + (1 << 40), salt, data FROM "
                    "body LIMIT 1",
                    "UPDATE checkpoint SET size = size + 100000",
                    "UPDATE head SET note = x'00'"):
            path = self.changed(sql)
            for judge in (self.first, self.second):
                self.assertEqual(judge(path)[0], 1, sql)

    def test_rules_of_control_records(self):
        """One more at the end, as it must be and not: both say which."""
        wrong = Verbatim(self.source, self.folder)
        right = Forger(self.source, self.folder)
        wrong.signer = right.signer
        size, digest = len(right.leaves), "0" * 64
        head = "leaf/1 %d %%d\nt %d 5 5f0c1e9a 0\n" % (
            size, int(right.leaves[-1].split()[4]) + 1)
        with contextlib.closing(sqlite3.connect(self.source)) as db:
            n, end = db.execute("SELECT n + 1, last + 1 FROM batch WHERE "
                                "adapter = 'vault' ORDER BY n").fetchall()[-1]
        batch = "adapter vault\nbatch %d\nfirst %d\nlast %d\n"
        tail = "count %d\nsize %d\nroot %s=\n" % (size - end, size, "A" * 43)
        path = self.folder / "journal.db"
        cases = [(forger, status, kind, fields) for forger, status, rows in (
            (right, 0, ((129, batch % (n, end, size - 1) + tail),
                        (144, "first 0\nlast %d\nsince 1\nresult whole\n"
                         % (size - 1)),
                        (145, "below %d\nby uid:0\n" % size))),
            (right, 1, ((129, batch % (n + 1, end, size - 1) + tail),
                        (129, batch % (n, end + 1, size - 1) + tail))),
            (wrong, 1, (
                (129, batch % (n, end, size - 1) + tail),
                (130, batch % (n, end, size - 1) + "state sent\nlocation -\n"
                 "sha256 -\nbytes 0\nreadback no\n"),
                (133, "every 60\nevents 999\nqueue 1\nsync yes\nerror 1\n"
                 "tai 0\nanchor -\n"),
                (136, "segment 0\nfirst 0\ncount %d\n" % (size + 1)),
                (138, "hold 2\nmatter x\nselector %s=\nby uid:0\n"
                 % ("A" * 43)),
                (139, "hold 1\nby uid:0\n"),
                (140, "old %s\nsize 0\nroot 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMp"
                 "JWZG3hSuFU=\norigin x\nvkey x\nnext -\nreason signer\n"
                 "by uid:0\n" % right.origin),
                (144, "first 0\nlast %d\nsince 1\nresult whole\n" % size),
                (145, "below %d\nby uid:0\n" % (size + 1)),
                (128, "journal x\norigin %s\nvkey x\nnext %s\nsoftware x\n"
                 "segment 1\nnote %s\n" % (right.origin, digest, digest)))))
            for kind, fields in rows]
        for forger, status, kind, fields in cases:
            forger.write([*right.leaves, (head % kind + fields).encode()],
                         path)
            for judge in (self.first, self.second):
                found, said = judge(path, key=forger.signer.vkey)
                self.assertEqual(found, status, fields + said)

    def test_found_by_trying(self):
        """What the first once passed over, and not the second."""
        forger = Forger(self.source, self.folder)
        path, other = self.folder / "journal.db", b"x/journal/00000000"
        for seq, old, new, sql in (
                (0, rb"\norigin \S+", b"\norigin " + other,
                 "UPDATE meta SET value = '%s' WHERE name = 'origin'"
                 % other.decode()),
                (1, rb"\nrequired \S+", rb"\g<0>,", "SELECT 1")):
            leaves = list(forger.leaves)
            leaves[seq] = re.sub(old, new, leaves[seq])
            self.assertNotEqual(leaves[seq], forger.leaves[seq])
            forger.write(leaves, path)
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                db.execute(sql)
            for judge in (self.first, self.second):
                self.assertEqual(judge(path, key=forger.signer.vkey)[0], 1)

    def test_mutated_proofs(self):
        """As files, and within their extra data."""
        forger = Forger(self.source, self.folder)
        whole, path = self.folder / "whole.db", self.folder / "x.tlog-proof"
        forger.write(forger.leaves, whole)
        with contextlib.closing(sqlite3.connect(whole)) as db:
            held = [row[0] >> 8 for row in db.execute("SELECT id FROM body")]
        texts = []
        for seq in (0, 1, held[0], held[-1], len(forger.leaves) - 1):
            for words in ((), ("--without-text",)):
                texts.append(self.c.run("chancery-export", "prove",
                                        "--journal", whole, *words,
                                        seq).stdout)

        def make(chance):
            lines = chance.choice(texts).split("\n")
            way = chance.randrange(4)
            if way < 2:
                extra = base64.b64decode(lines[1][len("extra "):]).decode()
                if way == 0:
                    extra = edit(chance, extra)
                else:
                    word = chance.choice(re.findall(
                        "(?<= )[A-Za-z0-9+/]{5,}=*", extra))
                    inner = edit(chance, base64.b64decode(word).decode(
                        "latin-1")).encode("latin-1")
                    extra = extra.replace(
                        word, base64.b64encode(inner).decode(), 1)
                lines[1] = "extra " + base64.b64encode(
                    extra.encode("latin-1")).decode()
            text = "\n".join(lines)
            if way > 1:
                text = edit(chance, text)
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
            return path, forger.signer.vkey
        tally = self.mutate("proofs", make)
        self.assertGreater(tally[1], COUNT // 2)


class Segments(Judges):
    """A journal in several files, of which one at a time is changed."""

    @classmethod
    def setUpClass(cls):
        cls.c = c = cls.enterClassContext(Chancery(
            extra="journal { segment-records = 512 }\n", purge=0,
            adapters='adapter vault { program = "tarball" directory = "vault"'
            " interval-s = 900 required = true }\n"))
        c.init().add_users("ann")
        hall = c.add_room("Hall")
        c.start()
        ann = c.sign_in("ann")
        ann.join(hall)
        cls.copies = []
        for folder in ("old", "new"):
            cls.talk(ann, hall, 700)
            if folder == "new":
                c.cli("adapter", "run", "vault")
                wait_until(lambda: c.cli_json("status")["journal"]["purged_to"]
                           > 1300, "purge", 60)
                cls.talk(ann, hall, 100)
            cls.copies.append(cls.copy(c, c.folder / folder))
        c.stop()
        cls.folder = c.folder / "mutants"
        cls.folder.mkdir()

    @staticmethod
    def talk(ann, hall, count):
        for i in range(count):
            if ann.post(hall, "Text %d" % i) != 200:
                raise AssertionError("post refused")

    @staticmethod
    def copy(c, folder):
        folder.mkdir()
        for path in c.journal.path.parent.glob("journal*.db"):
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("VACUUM INTO ?", (str(folder / path.name),))
        return sorted(folder.iterdir(), key=lambda p: (len(p.name), p.name))

    def test_both_hold(self):
        old, new = self.copies
        self.assertGreater(len(new), 2)
        self.assertGreater(len(new), len(old))
        for paths in (old, new, new[::-1]):
            for judge in (self.first, self.second):
                status, said = judge(*paths)
                self.assertEqual(status, 0, said)

    def test_files_in_two_folders(self):
        folders = [self.folder / "one", self.folder / "two"]
        paths = []
        for i, path in enumerate(self.copies[1]):
            folders[i % 2].mkdir(exist_ok=True)
            paths.append(shutil.copy(path, folders[i % 2]))
        for judge in (self.first, self.second):
            status, said = judge(*paths)
            self.assertEqual(status, 0, said)
            status, said = judge(*paths[:1], *paths[2:])
            self.assertEqual(status, 1, said)
        self.assertEqual(self.first(*folders)[0], 0)
        self.assertEqual(self.first(folders[0])[0], 1)

    def test_changed(self):
        old, new = self.copies

        def make(chance):
            for path in new:
                shutil.copy(path, self.folder)
            paths = [self.folder / path.name for path in new]
            path, way = chance.choice(paths), chance.randrange(8)
            if way == 0:
                paths.remove(chance.choice(paths[1:-1]))
            elif way == 1:
                shutil.copy(chance.choice(old), self.folder)
            elif way == 2:
                chance.shuffle(paths)
            elif way < 5:
                path.write_bytes(flip(chance, path.read_bytes()))
            else:
                with contextlib.closing(sqlite3.connect(path)) as db, db:
                    unguard(db)
                    with contextlib.suppress(sqlite3.Error):
                        mutants.row(chance, db)
            return paths
        tally = self.mutate("segments", make)
        self.assertGreater(min(tally[0], tally[1]), 0)


def tail(text):
    return "\n".join([line[:300] for line in text.split("\n")
                      if "finding" in line or "esult" in line
                      or "failure" in line][:5])


if __name__ == "__main__":
    unittest.main()
