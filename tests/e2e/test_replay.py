"""A journal that is lost and comes back, with what its records name."""

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import unittest

import archives
from chancery import ROOT, Chancery, Journal, wait_until
from test_anchors import Authority
from witness import Witness

SECOND = ROOT / "export" / "chancery-verify.py"
NAMED = {"note", "token", "salt", "selector"}
TRACES = ("batch", "ack", "purge", "anchor", "beat", "key")
TABLES = {
    "meta": "name", "leaf": "seq", "body": "id", "tile": "level, idx",
    "batch": "adapter, n", "ack": "adapter, n", "purge_range": "first",
    "hold": "n", "checkpoint": "size", "cosig": "size, name",
    "stamp": "size"}


def rows(path, table):
    db = sqlite3.connect("file:%s?mode=ro" % path, uri=True)
    try:
        return db.execute("SELECT * FROM %s ORDER BY %s"
                          % (table, TABLES[table])).fetchall()
    finally:
        db.close()


class Replay(unittest.TestCase):
    def start(self, c):
        for folder in ("xml", "tar"):
            (c.folder / "out" / folder).mkdir(parents=True)
            if os.geteuid() == 0:
                os.chown(c.folder / "out" / folder, 61005, 61005)
        tsa = Authority(c.folder / "tsa")
        c.helpers.append(tsa)
        self.witnesses = []
        for name in ("one", "two"):
            w = Witness(c.folder / name, "witness.example/" + name)
            self.addCleanup(w.end, kill=True)
            self.witnesses.append(w.start())
        c.extra = (
            "anchors { quorum = 2 interval-s = 1 }\n"
            "journal { beat-s = 2 segment-records = 512 }\n"
            'stamp { url = "%s" ca = "%s" required = true }\n'
            % (tsa.url, tsa.ca) + "".join(
                'witness %s { url = "%s" vkey = "%s" ca = "%s" }\n'
                % (w.name.rsplit("/", 1)[1], w.url, w.vkey, w.ca)
                for w in self.witnesses))
        c.adapters = archives.adapters(c.folder)
        c.purge = 0
        c.init().add_users("ann")
        self.hall, self.desk = c.add_room("Hall"), c.add_room("Desk")
        c.start()
        opened, = c.journal.wait(lambda j: j.control("open"), "no record 0")
        for w in self.witnesses:
            w.run("add-log", opened["vkey"], opened["next"])

    def talk(self, c, count):
        """That many posts in each room."""
        ann = c.sign_in("ann")
        for room in (self.hall, self.desk):
            ann.join(room)
            for n in range(count):
                self.assertEqual(ann.post(room, "post %d" % n), 200)
        before = self.count(c, "leave")
        ann.sign_off()
        wait_until(lambda: self.count(c, "leave") == before + 2, "leaves")
        self.archive(c)

    @staticmethod
    def newest(c):
        return max(c.state.glob("journal/journal*.db"),
                   key=lambda path: (len(path.name), path.name))

    def control(self, c, kind):
        c.journal.path = self.newest(c)
        return c.journal.control(kind)

    def archive(self, c):
        """Until both archives have all that makes a batch."""
        newest = max(seq for j in self.files(c) for seq, kind, _, _ in
                     j.leaves() if kind not in TRACES)
        for name in ("records", "vault"):
            c.cli("adapter", "run", name)
            wait_until(lambda: any(
                a["adapter"] == name and int(a["last"]) >= newest
                for a in self.control(c, "ack")), name, 60)

    @staticmethod
    def files(c):
        return [Journal(path) for path in
                sorted(c.state.glob("journal/journal*.db"))]

    def count(self, c, kind):
        return sum(len(j.leaves(0, (kind,))) for j in self.files(c))

    def posts(self, c, room):
        return [e for j in self.files(c) for e in j.events("post")
                if e["room"] == room]

    def cosigned(self, c):
        """Until both witnesses have seen all that is recorded now."""
        size, = self.all(c, "SELECT size FROM head")[0]
        wait_until(lambda: len(self.all(
            c, "SELECT name FROM cosig WHERE size >= %d GROUP BY name"
            % size)) == 2, "not cosigned", 60)

    def all(self, c, sql):
        with Journal(self.newest(c)).open() as db:
            return db.execute(sql).fetchall()

    def story(self, c):
        """Epochs, a hold, purges by anchors, a second and a third file."""
        self.hold = c.cli_json("hold", "add", "--matter", "2026/9", "--room",
                               self.desk, "--user", "sip:ann@example.test")
        self.talk(c, 3)
        wait_until(lambda: not self.posts(c, self.hall), "not purged", 60)
        c.cli("key", "rotate")
        self.ended_hold(c)
        self.talk(c, 260)
        wait_until(lambda: self.newest(c).name == "journal-0001.db", "roll",
                   60)
        c.restart()
        self.cosigned(c)
        self.talk(c, 3)
        # what the second file records removes payloads of the first
        wait_until(lambda: not self.posts(c, self.hall), "not purged", 60)
        self.archive(c)
        c.journal.wait(
            lambda j: len([a for a in self.control(c, "anchor")
                           if a["what"] == "witness"]) >= 2, "no anchors", 60)
        self.beat_of_a_cosignature(c)
        self.talk(c, 1)

    def beat_of_a_cosignature(self, c):
        """A beat names what came last, which may be a time-stamp; what is
        cosigned and lets nothing be purged is not stamped."""
        for _ in range(10):
            before = len(self.control(c, "beat"))
            wait_until(lambda: len(self.control(c, "beat")) > before, "beat",
                       60)
            lines = {hashlib.sha256(line).hexdigest() for line, in
                     self.all(c, "SELECT line FROM cosig")}
            if self.control(c, "beat")[-1]["anchor"] in lines:
                return
            self.ended_hold(c)
            self.cosigned(c)
        self.fail("no beat names a cosignature")

    def ended_hold(self, c):
        hold = c.cli_json("hold", "add", "--matter", "2026/10", "--room",
                          self.hall, "--until", "2020-01-01T00:00:00Z")
        c.cli("hold", "release", hold["hold"])

    def lines(self, c, *paths):
        done = c.run("chancery-export", "evidence", *paths, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def recover(self, c, lines, *how, check=True):
        path = c.folder / "evidence.jsonl"
        path.write_text("".join(json.dumps(m) + "\n" for m in lines))
        return c.run("chancery", "-f", c.conf, "recover", "--json", *how,
                     "--from", path, check=check)

    def compare(self, c, aside, lines):
        """Every row; of what is beside the tree, all that a record names."""
        carried = {m["size"] for m in lines if m["type"] == "checkpoint"}
        notes = [m["note"] for m in lines if m["type"] == "event" and
                 "note" in m]
        found = set(), set()
        files = sorted(p.name for p in aside.glob("journal*.db"))
        self.assertEqual(files, sorted(
            p.name for p in c.state.glob("journal/journal*.db")))
        for name in files:
            was, now = aside / name, c.state / "journal" / name
            self.assertEqual((was.stat().st_uid, was.stat().st_gid,
                              was.stat().st_mode),
                             (now.stat().st_uid, now.stat().st_gid,
                              now.stat().st_mode))
            for table in TABLES:
                old, new = rows(was, table), rows(now, table)
                if table == "checkpoint":
                    self.assertLessEqual(
                        {size for size, _ in set(new) - set(old)}, carried)
                    found[0].update(size for size, _ in new)
                elif table == "cosig":
                    self.assertLessEqual(set(new), set(old))
                    found[1].update(bytes(row[2]).decode() for row in new)
                else:
                    self.assertEqual(new, old, (name, table))
        for note in notes:
            body, _, signatures = note.partition("\n\n")
            self.assertIn(int(body.split("\n")[1]), found[0])
            own, *others = signatures.splitlines(keepends=True)
            self.assertTrue(own and found[1].issuperset(others))
        self.assertGreater(len(found[1]), 4)

    def verify(self, c):
        words = [w for x in self.witnesses
                 for w in ("--witness", x.vkey)]
        done = c.verify(*words, c.state / "journal", c.folder / "out")
        self.assertIn("has cosigned", done.stdout)
        second = subprocess.run(
            [sys.executable, str(SECOND), "--key", c.vkey,
             *map(str, sorted(c.state.glob("journal/journal*.db"))),
             *map(str, archives.files(c.folder / "out" / "tar", ".zst"))],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(second.returncode, 0, second.stdout)

    def tampered(self, c, lines):
        """What does not fit its record is refused, and the record named."""
        def with_(kind, named, **fields):
            return next(
                m for m in lines if m.get("kind") == kind and named in m and
                all("\n%s %s\n" % f in m["leaf"] for f in fields.items()))

        def change(m, what, value):
            return [dict(n, **{what: value}) if n is m else n for n in lines]

        def other(m, what):
            raw = bytearray(base64.b64decode(m[what]))
            raw[-1] ^= 1
            return change(m, what, base64.b64encode(raw).decode())

        hold, key = with_(138, "selector"), with_(135, "note")
        stamp = with_(141, "token", what="stamp")
        anchor = with_(141, "note", what="witness")
        beat = with_(133, "note")
        body, _, signatures = beat["note"].partition("\n\n")
        own, one, two = signatures.splitlines(keepends=True)
        wrong = one[:-8] + ("A" if one[-8] != "A" else "B") + one[-7:]
        for m, changed, said in (
                (hold, other(hold, "selector"), "words of the hold"),
                (hold, other(hold, "salt"), "words of the hold"),
                (stamp, other(stamp, "token"), "another time-stamp"),
                (stamp, change(stamp, "note", key["note"]),
                 "another checkpoint|ahead of the records"),
                (key, change(key, "note", anchor["note"]),
                 "another checkpoint"),
                (anchor, change(anchor, "note",
                                anchor["note"].rpartition("\u2014")[0]
                                .rpartition("\u2014")[0]),
                 "another cosignature"),
                (beat, change(beat, "note", "".join(
                    (body, "\n\n", own, wrong, one, two))),
                 "the cosignature of witness.example/one is wrong"),
                (beat, change(beat, "note", body + "\n\n" + own),
                 "another cosignature"),
                (beat, change(beat, "note", beat["note"].replace(
                    own, own[:-5] + "AAA=\n")), "the checkpoint: ")):
            self.assertTrue(changed != lines, said)
            done = self.recover(c, changed, check=False)
            self.assertEqual(done.returncode, 1, said)
            self.assertRegex(done.stderr, r"record %d: .*(%s).*Nothing was "
                             "changed" % (m["seq"], said))
            self.assertEqual(list(c.state.glob("journal/journal*")), [])

    def test_all_of_it(self):
        with Chancery() as c:
            self.start(c)
            self.story(c)
            self.archive(c)
            c.stop()
            aside = c.folder / "aside"
            (c.state / "journal").rename(aside)
            (c.state / "journal").mkdir()
            shutil.copystat(aside, c.state / "journal")
            os.chown(c.state / "journal", aside.stat().st_uid,
                     aside.stat().st_gid)
            for archive in ("xml", "tar"):
                self.assertEqual(
                    {name for m in self.lines(c, c.folder / "out" / archive)
                     for name in NAMED if name in m}, NAMED)
            # The archives, and of a copy nothing but the records after them.
            lines = self.lines(c, c.folder / "out")
            end = max(m["seq"] for m in lines if m["type"] == "event")
            lines += [m for m in self.lines(c, aside / "journal.db")
                      if m["type"] == "event" and m["seq"] > end]
            self.tampered(c, lines)
            # of a try that was killed
            for name in ("journal.db.new", "journal.db.new-0001.new"):
                (c.state / "journal" / name).write_text("half")
            told = json.loads(self.recover(c, lines).stdout)
            self.assertEqual([p.name for p in (c.state / "journal").iterdir()
                              if ".new" in p.name], [])
            self.assertEqual(told["unclosed"], 0)
            self.compare(c, aside, lines)
            # The checkpoint over its last purges was in no archive.
            c.start()
            c.stop()
            self.verify(c)
            # It goes on as before: holds hold, and anchors let purge.
            c.start()
            self.assertEqual(
                [h["room"] for h in c.cli_json("hold", "list")
                 if h["released"] is None], [self.desk])
            desk = len(self.posts(c, self.desk))
            self.talk(c, 2)
            wait_until(lambda: not self.posts(c, self.hall), "not purged", 60)
            self.assertEqual(len(self.posts(c, self.desk)), desk + 2)
            c.cli("hold", "release", "1")
            wait_until(lambda: not self.posts(c, self.desk), "not purged", 60)
            c.stop()
            self.verify(c)
            self.rests(c, aside, lines)

    def rests(self, c, aside, lines):
        """What is left of a journal is no part of the one made anew."""
        folder = c.state / "journal"
        shutil.rmtree(folder)
        folder.mkdir()
        for name, said in (("journal-0001.db", "a later file of the journal"),
                           ("journal.db-wal", "without its database")):
            (folder / name).write_text("of another journal")
            done = self.recover(c, lines, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, said + ".*Next: move (that|it) aside")
            self.assertEqual([p.name for p in folder.iterdir()], [name])
            (folder / name).unlink()
        # a sealed file that is there is not gone on with
        shutil.copy(aside / "journal.db", folder)
        done = self.recover(c, lines, check=False)
        self.assertRegex(done.stderr, "record 512 belongs into another file.*"
                         "move those of the journal aside")
        done = c.run("chancery", "-f", c.conf, "recover", "--new-incarnation",
                     "--reason", "lost", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "newest file is sealed.*move the "
                         "journal's files aside, and give them")
        # the new name begins in the place of the seal record
        shutil.rmtree(folder)
        folder.mkdir()
        first = [m for m in lines if m.get("seq", m.get("size", 0) - 1) < 512]
        end = self.lines(c, aside / "journal.db")
        first.append(next(m for m in end if m.get("size") == 512))
        told = json.loads(self.recover(
            c, first, "--new-incarnation", "--reason", "lost").stdout)
        self.assertEqual(told["size"], 511)
        done = c.verify("--key", told["vkey"], folder, check=False)
        # until it starts nobody has signed that
        self.assertIn("covers this recover record", done.stdout)
        self.assertIn("(1 finding)", done.stdout)
        self.assertIn("gap, declared by record 511 (reason lost", done.stdout)


if __name__ == "__main__":
    unittest.main()
