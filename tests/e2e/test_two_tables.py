"""Two verifiers on what a journal's files repeat, on the clock and on payloads.

As test_two_verifiers, which has the changes at random of whole journals;
here are those of copies, holds, types and tiles of a journal in several
files, and each rule with a case in which it holds and one in which not.
"""

import base64
import contextlib
import hashlib
import random
import re
import shutil
import sqlite3
import unittest

import mutants
from chancery import Chancery, wait_until
from forge import Tree
from mutants import Forger, unguard
from test_two_verifiers import COUNT, SEED, Judges

TABLES = ("meta", "leaf", "tile", "head", "checkpoint", "batch", "ack",
          "hold", "hold", "hold", "purge_range")


def retype(chance, path):
    """One value as another type, in columns that are as they should be."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        table = chance.choice((*mutants.TABLES, "hold"))
        column = chance.choice([
            row[1] for row in db.execute("PRAGMA table_info(%s)" % table)])
        sql, = db.execute("SELECT sql FROM sqlite_master WHERE name = ?",
                          (table,)).fetchone()
        with db:
            unguard(db)
        put_schema(db, table, re.sub(
            r"( %s) (INTEGER(?! PRIMARY)|TEXT|BLOB)" % column, r"\1 ANY",
            sql))
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT count(*) FROM %s" % table).fetchone()[0]
        new = chance.choice(("CAST(%s AS TEXT)", "CAST(%s AS BLOB)", "%s + 0",
                             "%s + 0.0", "NULL", "''", "x''", "0.5"))
        db.execute("PRAGMA ignore_check_constraints = 1")
        with contextlib.suppress(sqlite3.Error), db:
            db.execute("UPDATE %s SET %s = %s WHERE %s IN (SELECT %s FROM %s "
                       "LIMIT 1 OFFSET %d)" % (
                           table, column, new.replace("%s", column), column,
                           column, table, chance.randrange(max(rows, 1))))
        put_schema(db, table, sql)


def put_schema(db, table, sql):
    with db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?",
                   (sql, table))


class Files(Judges):
    """A journal in three files, with holds, a purge and archives."""

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
        c.cli("hold", "add", "--matter", "one", "--room", hall)
        cls.talk(ann, hall, 450)
        c.cli("hold", "release", "1")
        c.cli("hold", "add", "--matter", "two", "--user", "sip:Carl@Example.test",
              "--from", "2026-01-01T00:00:00Z")
        cls.talk(ann, hall, 350)
        c.cli("adapter", "run", "vault")
        wait_until(lambda: c.cli_json("status")["journal"]["purged_to"]
                   > 600, "purge", 60)
        c.cli("hold", "add", "--matter", "three", "--room", hall, "--until",
              "2026-01-01T00:00:00Z")
        cls.talk(ann, hall, 350)
        c.stop()
        cls.folder = c.folder / "mutants"
        cls.folder.mkdir()
        cls.whole = []
        for path in sorted(c.journal.path.parent.glob("journal*.db"),
                           key=lambda path: (len(path.name), path.name)):
            cls.whole.append(c.folder / path.name)
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("VACUUM INTO ?", (str(cls.whole[-1]),))

    @staticmethod
    def talk(ann, hall, count):
        for i in range(count):
            if ann.post(hall, "Text %d" % i) != 200:
                raise AssertionError("post refused")

    def copies(self):
        return [shutil.copy(path, self.folder) and self.folder / path.name
                for path in self.whole]

    def test_both_hold(self):
        self.assertGreaterEqual(len(self.whole), 3)
        for judge in (self.first, self.second):
            status, said = judge(*self.whole)
            self.assertEqual(status, 0, said)

    def test_rows(self):
        def make(chance):
            paths = self.copies()
            for _ in range(chance.choice((1, 1, 2))):
                with contextlib.closing(sqlite3.connect(
                        chance.choice(paths))) as db, db:
                    unguard(db)
                    with contextlib.suppress(sqlite3.Error):
                        mutants.row(chance, db, TABLES)
            return paths
        self.assertGreater(self.mutate("copies", make)[1], COUNT // 2)

    def test_types(self):
        def make(chance):
            paths = self.copies()
            retype(chance, chance.choice(paths))
            return paths
        tally = self.mutate("types", make)
        self.assertGreater(min(tally[0], tally[1]), 0)

    def test_sealed_holds(self):
        """A full file tells of the holds as they were when it was sealed."""
        for sql in ("DELETE FROM hold WHERE n = 1",
                    "UPDATE hold SET released = NULL WHERE n = 1",
                    "UPDATE hold SET released = 1 WHERE n = 2",
                    "UPDATE hold SET user = 'x' WHERE n = 2",
                    "UPDATE hold SET salt = NULL WHERE n = 2",
                    "INSERT INTO hold (n, seq) VALUES (3, 400)"):
            paths = self.copies()
            with contextlib.closing(sqlite3.connect(paths[0])) as db, db:
                unguard(db)
                self.assertEqual(db.execute(sql).rowcount, 1)
            for judge in (self.first, self.second):
                status, said = judge(*paths)
                self.assertEqual(status, 1, (sql, said))


class Rules(Judges):
    """Of one file: what is right, and beside it what is not."""

    @classmethod
    def setUpClass(cls):
        cls.c = c = cls.enterClassContext(Chancery())
        c.init().add_users("ann")
        hall = c.add_room("Hall")
        c.start()
        ann = c.sign_in("ann")
        ann.join(hall)
        if ann.post(hall, "Text") != 200:
            raise AssertionError("post refused")
        c.stop()
        cls.folder = c.folder / "mutants"
        cls.folder.mkdir()
        cls.source = cls.folder / "source.db"
        with contextlib.closing(sqlite3.connect(c.journal.path)) as db:
            db.execute("VACUUM INTO ?", (str(cls.source),))
        cls.forger = Forger(cls.source, cls.folder)
        cls.path = cls.folder / "journal.db"

    def judged(self, status, what):
        for judge in (self.first, self.second):
            found, said = judge(self.path, key=self.forger.signer.vkey)
            self.assertEqual(found, status, (what, said))

    def with_records(self, *records):
        """(kind, step of time, step of offset, bootid, flag, fields)"""
        words = self.forger.leaves[-1].split()
        at, offset = int(words[4]), int(words[4]) - int(words[5])
        own, leaves = words[6].decode(), list(self.forger.leaves)
        for kind, later, step, bootid, flag, fields in records:
            at, offset = at + later, offset + step
            leaves.append(("leaf/1 %d %d\nt %d %d %s %d\n%s" % (
                len(leaves), kind, at, at - offset, bootid or own, flag,
                fields % {"old": offset - step, "new": offset})).encode())
        self.forger.write(leaves, self.path)

    def test_form(self):
        right = ("CREATE TABLE other (a)", "DROP INDEX leaf_control",
                 "CREATE INDEX other ON leaf (at)",
                 "CREATE VIEW other AS SELECT * FROM leaf")
        wrong = ("PRAGMA application_id = 1", "PRAGMA user_version = 3",
                 "ALTER TABLE ack RENAME COLUMN n TO m",
                 "ALTER TABLE body ADD COLUMN other ANY", "DROP TABLE stamp",
                 "ALTER TABLE ack RENAME TO a; CREATE VIEW ack AS SELECT * "
                 "FROM a",
                 "DROP INDEX leaf_control; CREATE INDEX leaf_control ON leaf "
                 "(kind, seq) WHERE kind >= 140; PRAGMA writable_schema = 1; "
                 "UPDATE sqlite_master SET sql = replace(sql, '140', '128')",
                 "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = "
                 "replace(sql, 'STRICT', '') WHERE name = 'hold'",
                 "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = "
                 "replace(sql, 'INTEGER NOT', 'ANY NOT') WHERE name = 'leaf'",
                 "INSERT INTO meta VALUES ('other', '')",
                 "UPDATE head SET note = NULL, size = size + 1")
        for status, cases in ((0, right), (1, wrong)):
            for sql in cases:
                self.forger.write(self.forger.leaves, self.path)
                with contextlib.closing(sqlite3.connect(self.path)) as db:
                    db.executescript(sql)
                self.judged(status, sql)

    def test_clock(self):
        """Each step of it is told, and nothing else is."""
        late, two = "since 1\nuntil 2\ncount 3\n", "aaaaaaaa"
        set_ = "old %(old)d\nnew %(new)d\nsync no\nerror 1\ntai 0\n"
        same = set_.replace("old)", "new)")
        for status, *records in (
                (0, (142, 9, 250000, "", 0, late)),
                (1, (142, 9, 250001, "", 0, late)),
                (0, (142, 9, -250000, "", 0, late)),
                (1, (142, 9, -250001, "", 0, late)),
                (0, (142, 1, -10**6, "", 1, late)),
                (1, (142, 2, -10**6, "", 1, late)),
                (0, (137, 9, 250001, "", 0, set_),
                 (142, 9, 250000, "", 0, late)),
                (1, (137, 9, 250001, "", 0, set_),
                 (142, 9, -250001, "", 0, late)),
                (1, (137, 9, 250000, "", 0, set_)),
                (1, (137, 9, 250001, "", 0, same)),
                (0, (137, 1, -250001, "", 1, set_),
                 (142, 1, 0, "", 1, late), (142, 9, 9, "", 0, late)),
                (1, (137, 1, -250001, "", 1, set_),
                 (142, 9, 250001, "", 0, late)),
                (0, (142, 9, 10**9, two, 0, late),
                 (142, 9, 250000, two, 0, late)),
                (1, (142, 9, 10**9, two, 0, late),
                 (142, 9, 250001, two, 0, late)),
                (0, (142, 9, 10**9, two, 0, late),
                 (142, 9, 10**9, "", 0, late)),
                (1, (142, 1, 10**9, two, 1, late)),
                (0, (137, 1, 10**9, two, 1, same),
                 (142, 1, 0, two, 1, late)),
                (1, (137, 1, 10**9, two, 1, set_))):
            self.with_records(*records)
            self.judged(status, records)

    def test_words(self):
        """What was refused, and what stopped the recording."""
        for kind, words, rest in (
                (132, "storage server", "since 1\nuntil 2\nrefused 3\n"),
                (143, "overload keeper storage chat password unready large",
                 "since 1\nuntil 2\ncount 3\n")):
            for status, of in ((0, words.split()), (1, ("-", "Storage"))):
                for word in of:
                    self.with_records((kind, 9, 0, "", 0, "what %s\n%s" % (
                        word, rest)))
                    self.judged(status, word)

    def test_payloads(self):
        """JSON, compact, of the kind; members that nobody judges."""
        with contextlib.closing(sqlite3.connect(self.source)) as db:
            seq, data = db.execute(
                "SELECT seq, data FROM leaf JOIN body ON id = 256 * seq "
                "WHERE kind = 3").fetchone()
        whole, one = data.decode(), '{"v":1'
        self.assertTrue(whole.startswith(one + ',"type":"post","id":"'))
        number = re.search('"id":"([^"]+)', whole)[1]
        right = (*(one + ',"x":' + value for value in (
            "-0", "1E+05", "0e999", "1e-999", "1.7976931348623158e308",
            str(2**63 - 1), str(-2**63), '"\\u00e9\\ud83D\\uDE00\\u0000\\/"',
            '"\\\\ud800"', "null", "{}",
            "[" * 31 + "]" * 31, '{"id":1,"v":2,"v":3}', '1,"x":2')),
            '{"x":1,"v":1', one + ',"room":5')
        wrong = (*(one + ',"x":' + value for value in (
            "9" * 5000, str(2**63), str(-2**63 - 1), "1e999", "-1e309",
            "1.7976931348623159e308", "9" * 400 + ".0", '"\\ud800"',
            '"\\uDE00\\ud83d"', '"\\ud83d\\ud83d\\ude00"', '"\\ud83d \\ude00"',
            "01", "1.", ".5", "-", "NaN", "-Infinity", "True", '"\t"', '"\\x"',
            '"\\u00g0"', "[1,]", "[ ]", "1 ", "[" * 32 + "]" * 32,
            '{"\\u0069d":1}', '"\udcff"')),
            '{"v":1.0', '{"v":true', '{"v":"1"', '{"v":2', '{"w":1',
            one + ',"v":1', one + ',"client":1', one + ',"type":"post"',
            "\ufeff" + one, " " + one)
        cases = [(status, whole.replace(one, case, 1))
                 for status, of in ((0, right), (1, wrong)) for case in of]
        for status, old, new in (
                (1, '"post"', '"join"'), (1, '"post"', '"p\\u006fst"'),
                (1, '"type":"post",', ""), (1, number, "x"),
                (1, number, "0000000A-1"), (1, number, "00000000-01"),
                (0, number, "00000000-%d" % (2**63 - 1)),
                (1, number, "00000000-%d" % 2**63)):
            cases.append((status, whole.replace(old, new, 1)))
        cases += [(1, text) for text in (
            "", "[]", "null", "{}", whole + "\n", whole + whole,
            whole[:-1] + ",}", whole.replace(":", ": ", 1))]
        for status, text in cases:
            self.payload(status, seq, 0, text)
        for status, text in ((0, '{"v":1}'), (0, '{"v":1,"text":5}'),
                             (1, '{"text":"a"}'), (1, '{"v":2,"text":"a"}'),
                             (1, '{"v":1,"type":5}'), (1, '["v"]')):
            self.payload(status, seq, 1, text)

    def payload(self, status, seq, part, text):
        self.forger.write(self.forger.leaves, self.path, {
            (seq, part): text.encode("utf-8", "surrogateescape")})
        self.judged(status, text[:200])

    def test_holds(self):
        """What one selects is what its record commits to, or was lost."""
        wide, none = '{"v":1}', (None,) * 4
        room = '{"v":1,"room":"Q","from":5}'
        for status, text, stored, released, salt, columns in (
                (0, wide, wide, None, b"s" * 32, none),
                (0, room, room, None, b"s" * 32, ("q", None, 5, None)),
                (0, wide, None, None, None, none),
                (1, wide, None, None, None, ("q", None, None, None)),
                (1, wide, None, None, b"s" * 32, none),
                (1, wide, wide, None, None, none),
                (1, wide, wide, None, b"s" * 31, none),
                (1, wide, room, None, b"s" * 32, ("q", None, 5, None)),
                (1, wide, wide, 0, b"s" * 32, none),
                (1, wide, wide, 1, b"s" * 32, none),
                (1, room, room, None, b"s" * 32, none),
                (1, room, room, None, b"s" * 32, ("Q", None, 5, None)),
                (1, room, room, None, b"s" * 32, ("q", None, 6, None)),
                (1, room, room, None, b"s" * 32, ("q", None, None, 5)),
                *((1, odd, odd, None, b"s" * 32, columns)
                  for odd, columns in (
                      ('{"v": 1}', none), ('{"v":2}', none),
                      ('{"v":1,"from":5,"room":"q"}', ("q", None, 5, None)),
                      ('{"v":1,"room":"\\"q"}', ('"q', None, None, None)),
                      ('{"v":1,"room":"\\u0071"}',
                       ("q", None, None, None))))):
            digest = hashlib.sha256(b"part/1\n" + (salt or b"s" * 32)
                                    + text.encode()).digest()
            self.with_records((138, 9, 0, "", 0, "hold 1\nmatter x\n"
                               "selector %s\nby uid:0\n"
                               % base64.b64encode(digest).decode()))
            with contextlib.closing(sqlite3.connect(self.path)) as db, db:
                unguard(db)
                db.execute("INSERT INTO hold SELECT 1, max(seq), ?, ?, ?, "
                           "?, ?, ?, ? FROM leaf",
                           (released, salt, stored, *columns))
            self.judged(status, (text, stored, released, salt, columns))

    def test_tall(self):
        """Tiles of two levels, and which of them a second file repeats."""
        size = 257 * 256
        leaves, files = [], [self.path, self.folder / "journal-0001.db"]
        opening = self.forger.whole(self.forger.leaves[:1])[0][0]
        at, boottime = map(int, opening.split()[4:6])
        for seq in range(size):
            leaves.append(b"leaf/1 %d %d\nt %d %d 5f0c1e9a 0\n%s" % (
                seq, *((136, at + seq, boottime + seq, b"segment 0\nfirst 0\n"
                        b"count %d\n" % size) if seq == size - 1 else (
                       142, at + seq, boottime + seq,
                       b"since 1\nuntil 2\ncount 3\n"))))
        leaves[0] = opening
        sealed = self.forger.signer.note(
            size, Tree(leaves).root()).encode()
        fields = re.sub(rb"segment 0\nnote -", b"segment 1\nnote %s"
                        % hashlib.sha256(sealed).hexdigest().encode(),
                        opening.split(b"\n", 2)[2])
        leaves.append(b"leaf/1 %d 128\nt %d %d 5f0c1e9a 0\n%s" % (
            size, at + size, boottime + size, fields))
        tree = Tree(leaves)
        self.assertIn((1, 0), tree.tiles())
        for number, path in enumerate(files):
            first, end = number * size, (size, size + 1)[number]
            shutil.copy(self.source, path)
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                unguard(db)
                for table in ("leaf", "body", "tile", "checkpoint"):
                    db.execute("DELETE FROM %s" % table)
                db.executemany(
                    "INSERT INTO leaf VALUES (?, ?, ?, ?)", (
                        (seq, at + seq, int(leaves[seq].split()[2]),
                         leaves[seq]) for seq in range(end)))
                db.executemany(
                    "INSERT INTO tile VALUES (?, ?, ?)", (
                        (*of, data) for of, data in tree.tiles().items()
                        if number == 0 or of in ((1, 0), (0, 256))))
                db.execute("INSERT INTO checkpoint VALUES (?, ?)",
                           (size, sealed))
                root = tree.root(end)
                db.execute("UPDATE head SET size = ?, root = ?, note = ?", (
                    end, root, self.forger.signer.note(end, root).encode()))
                db.executemany(
                    "UPDATE meta SET value = ? WHERE name = ?", (
                        (self.forger.signer.vkey, "vkey"),
                        (str(number), "segment"), (str(first), "first")))
        whole = [path.read_bytes() for path in files]
        for status, number, sql in (
                (0, 0, "SELECT 1"),
                (1, 0, "DELETE FROM tile WHERE level = 1"),
                (1, 1, "DELETE FROM tile WHERE level = 1"),
                (1, 1, "DELETE FROM tile WHERE level = 0"),
                (1, 1, "DELETE FROM leaf WHERE seq = 100"),
                (1, 1, "INSERT INTO tile SELECT 0, 255, data FROM tile "
                 "WHERE level = 0")):
            for path, data in zip(files, whole):
                path.write_bytes(data)
            with contextlib.closing(sqlite3.connect(files[number])) as db, db:
                db.execute(sql)
            for judge in (self.first, self.second):
                found, said = judge(*files, key=self.forger.signer.vkey)
                self.assertEqual(found, status, (sql, said))


if __name__ == "__main__":
    unittest.main()
