"""What the daemon signs and proves, checked by Go's sumdb/note and tlog."""

import base64
import copy
import json
import os
import pathlib
import random
import shutil
import subprocess
import unittest

import archives
from chancery import BUILD, ROOT, Chancery, program, tree_root
from witness import DASH, Log, Witness

POSTS = 600
PACKAGES = pathlib.Path("/usr/share/gocode")
NEEDED = PACKAGES / "src/golang.org/x/mod/sumdb/tlog"


def b64(data):
    return base64.b64encode(data).decode()


def raw(text):
    return base64.b64decode(text, validate=True)


class Prover:
    """Our own code's proofs over the records of a journal."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [program("tests/go/prover"), "journal", str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, what, first, size):
        self.process.stdin.write("%s %d %d\n" % (what, first, size))
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(30)


@unittest.skipUnless(shutil.which("go") and NEEDED.is_dir(),
                     "needs golang-go and golang-golang-x-mod-dev")
class Go(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = BUILD / "go"
        cls.check = str(folder / "check")
        folder.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, GO111MODULE="off", GOFLAGS="",
                           GOPATH=str(PACKAGES), CGO_ENABLED="0",
                           GOCACHE=str(folder / "cache"))
        done = subprocess.run(
            ["go", "build", "-o", cls.check, str(ROOT / "tests/go/check.go")],
            env=environment, capture_output=True, text=True, timeout=200)
        if done.returncode != 0:
            raise AssertionError(done.stderr)

    def test_every_tree_of_up_to_1000_records(self):
        """All roots and each proof of each size, ours and theirs."""
        ours = subprocess.Popen(
            [program("tests/go/prover"), "sizes", "1000"],
            stdout=subprocess.PIPE, text=True)
        theirs = subprocess.run([self.check, "sizes", "1000"], check=True,
                                capture_output=True, text=True, timeout=200)
        output = ours.communicate(timeout=200)[0]
        self.assertEqual(ours.returncode, 0)
        lines = theirs.stdout.split("\n")
        self.assertEqual(len(lines), 1001)
        for size, pair in enumerate(zip(output.split("\n"), lines), 1):
            self.assertEqual(*pair, "size %d" % size)

    def test_a_journal_and_its_witness(self):
        with Chancery() as c:
            c.adapters = archives.adapters(c.folder)
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            self.talk(c, room)
            c.restart()
            self.talk(c, room)
            c.stop()
            evidence = self.evidence(c)
            done = self.judge(evidence)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout, "%d notes, %d records, %d trees\n" % (
                len(evidence["Notes"]), len(evidence["Records"]),
                len(evidence["Trees"])))
            self.assertGreaterEqual(len(evidence["Notes"]), 5)
            self.assertGreaterEqual(len(evidence["Records"]), 50)
            self.refusals(evidence)

    @staticmethod
    def talk(c, room):
        """Posts with checkpoints between: each batch makes some."""
        ann = c.sign_in("ann")
        ann.join(room)
        for part in range(2):
            sent = [ann.post_start(room, "post %d" % n)
                    for n in range(POSTS // 4)]
            for post in sent:
                if post.wait(60).status != 200:
                    raise AssertionError("a post was refused")
            before = len(c.journal.control("ack"))
            c.cli("adapter", "run", "vault")
            c.journal.wait(
                lambda j: len(j.control("ack")) > before, "no batch", 60)
        ann.sign_off()

    def judge(self, evidence):
        return subprocess.run([self.check, "evidence"], text=True,
                              input=json.dumps(evidence),
                              capture_output=True, timeout=60)

    def evidence(self, c):
        with c.journal.open() as db:
            notes = [bytes(n).decode() for n, in db.execute(
                "SELECT note FROM checkpoint WHERE size > 0 ORDER BY size")]
            newest = bytes(db.execute("SELECT note FROM head").fetchone()[0])
            if newest.decode() != notes[-1]:
                notes.append(newest.decode())
            leaves = [bytes(b) for b, in db.execute(
                "SELECT bytes FROM leaf ORDER BY seq")]
            keys = c.journal.control("key")
            tiles = self.write_tiles(c, db, int(notes[-1].split("\n")[1]))
        prove = Prover(c.journal.path)
        sizes = [int(n.split("\n")[1]) for n in notes]
        found = {
            "VKeys": [c.vkey] + [k["vkey"] for k in keys],
            "Notes": [{"Text": n, "Cosigned": False} for n in notes],
            "Records": [], "Trees": [], "Tiles": str(tiles)}
        dice = random.Random(5)
        for note, size in enumerate(sizes):
            # The tiles are the last tree's: smaller ones lie within.
            for index in {0, size - 1, *(dice.randrange(size)
                                         for _ in range(20))}:
                found["Records"].append({
                    "Note": note, "Index": index, "Leaf": b64(leaves[index]),
                    "Proof": prove("leaf", index, size)})
            found["Trees"] += [
                {"Old": old, "New": note,
                 "Proof": prove("tree", sizes[old], size)}
                for old in range(note)]
        for seq in dice.sample(range(sizes[-1]), 8):
            found["Records"].append(self.exported(
                c, seq, notes[-1], len(notes) - 1))
        self.cosign(c, found, leaves, sizes, prove)
        self.assertEqual(prove.close(), 0)
        return found

    def exported(self, c, seq, note, number):
        """The tlog-proof that an auditor is given, taken apart."""
        text = c.run("chancery-export", "prove", "-f", c.conf, seq).stdout
        head, _, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        self.assertEqual((lines[0], lines[2]), (
            "c2sp.org/tlog-proof@v1", "index %d" % seq))
        self.assertEqual(checkpoint, note)
        extra = raw(lines[1].partition(" ")[2]).decode().split("\n")
        self.assertEqual(extra[0], "record/1")
        return {"Note": number, "Index": seq, "Proof": lines[3:],
                "Leaf": extra[1].partition(" ")[2]}

    @staticmethod
    def write_tiles(c, db, size):
        """Rows of the journal as files; what no row holds yet, from leaves."""
        folder = c.folder / "tiles"
        rows = {(level, index): bytes(data) for level, index, data in
                db.execute("SELECT level, idx, data FROM tile")}
        if (0, 1) not in rows:
            raise AssertionError("too few records for two tiles")
        for level in (0, 1):
            width = size >> 8 * level
            for index in range(width // 256 + (width % 256 > 0)):
                count = min(256, width - 256 * index)
                name = "tile/8/%d/%03d" % (level, index)
                data = rows.get((level, index))
                if data is None or count < 256:
                    name += ".p/%d" % count
                    data = Go.partial(db, rows, level, index, count)
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return folder

    @staticmethod
    def partial(db, rows, level, index, count):
        if level > 0:
            tiles = (rows[level - 1, index * 256 + n] for n in range(count))
            return b"".join(tree_root([t[i:i + 32] for i in range(
                0, len(t), 32)]) for t in tiles)
        return b"".join(
            Log.hash(bytes(b)) for b, in db.execute(
                "SELECT bytes FROM leaf WHERE seq >= ? ORDER BY seq LIMIT ?",
                (index * 256, count)))

    def cosign(self, c, found, leaves, sizes, prove):
        """A real witness sees the checkpoints and follows the keys."""
        w = Witness(c.folder / "witness")
        opened = c.journal.control("open")[0]
        w.run("add-log", c.vkey, *(
            [opened["next"]] if "next" in opened else []))
        w.start()
        keys = {k["seq"] + 1: k["seq"] for k in c.journal.control("key")}
        old, taught = 0, 0
        try:
            for note, size in zip(found["Notes"], sizes):
                head = "old %d\n%s\n" % (old, "".join(
                    h + "\n" for h in (prove("tree", old, size)
                                       if old else [])))
                if size in keys:
                    seq = keys[size]
                    taught += 1
                    answer = w.post("/add-key", "%s%s\n%s\n%s" % (
                        head, leaves[seq].decode(), "".join(
                            h + "\n" for h in prove("range", 0, seq)),
                        note["Text"]))
                else:
                    answer = w.post("/add-checkpoint", head + note["Text"])
                self.assertEqual(answer[0], 200, (size, answer))
                note["Text"] += answer[2]
                note["Cosigned"], old = True, size
            self.assertEqual(taught, len(keys))
        finally:
            self.assertEqual(w.end(), 0)
        found["Witness"] = w.vkey

    def refusals(self, evidence):
        """Each change alone, and what Go says of it."""
        def last(e, name):
            return e[name][-1]

        def leaf(e):
            r = last(e, "Records")
            r["Leaf"] = b64(bytes([raw(r["Leaf"])[0] ^ 1]) +
                            raw(r["Leaf"])[1:])

        def index(e):
            last(e, "Records")["Index"] -= 1

        def proof(e):
            r = last(e, "Records")
            r["Proof"][0] = b64(bytes(32))

        def short(e):
            last(e, "Records")["Proof"].pop()

        def tree(e):
            last(e, "Trees")["Proof"][-1] = b64(bytes(32))

        def older(e):
            last(e, "Trees")["Old"] -= 1

        def size(e):
            lines = last(e, "Notes")["Text"].split("\n")
            lines[1] = str(int(lines[1]) + 1)
            last(e, "Notes")["Text"] = "\n".join(lines)

        def root(e):
            lines = last(e, "Notes")["Text"].split("\n")
            lines[2] = b64(bytes(32))
            last(e, "Notes")["Text"] = "\n".join(lines)

        def signature(e):
            self.spoil(last(e, "Notes"), 0, 40)

        def cosignature(e):
            self.spoil(last(e, "Notes"), 1, 40)

        def time(e):
            self.spoil(last(e, "Notes"), 1, 11)

        def other_key(e):
            e["VKeys"] = [Log("example.test/journal/0a1b2c3d").vkey()]

        def other_witness(e):
            e["Witness"] = e["VKeys"][0]

        def tiles(e):
            shutil.copytree(e["Tiles"], e["Tiles"] + ".bad")
            e["Tiles"] += ".bad"
            path = next(pathlib.Path(e["Tiles"], "tile/8/0").glob("000"))
            data = bytearray(path.read_bytes())
            data[77] ^= 1
            path.write_bytes(data)

        for change, words in (
                (leaf, "record"), (index, "record"), (proof, "record"),
                (short, "record"), (tree, "tree"), (older, "tree"),
                (size, "invalid signature"), (root, "invalid signature"),
                (signature, "invalid signature"),
                (cosignature, "invalid signature"),
                (time, "invalid signature"), (other_key, "no verifiable"),
                (other_witness, "no key of a cosigner"),
                (tiles, "tiles")):
            with self.subTest(change.__name__):
                changed = copy.deepcopy(evidence)
                change(changed)
                done = self.judge(changed)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(words, done.stderr)

    @staticmethod
    def spoil(note, which, at):
        """A bit of a byte in the blob of a signature line."""
        body, _, rest = note["Text"].partition("\n\n")
        lines = rest.split("\n")
        start, _, blob = lines[which].rpartition(" ")
        data = bytearray(raw(blob))
        data[at] ^= 1
        lines[which] = "%s %s" % (start, b64(data))
        if not start.startswith(DASH):
            raise AssertionError("not a signature line: " + start)
        note["Text"] = body + "\n\n" + "\n".join(lines)
