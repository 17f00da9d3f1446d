"""What somebody with the file, and maybe with keys, can do to a journal.

Python's standard library and the openssl command; nothing of Chancery. A
forgery is always of a copy. It is as good as it can be made: triggers are
dropped, and tree, tiles, head and derived columns are put right again, so
that only what the attacker cannot have gives it away.
"""

import base64
import contextlib
import re
import sqlite3

import witness
from witness import DASH, SECRET, b64, openssl, sha256


class Key:
    """An Ed25519 key with a name: the attacker's own, or a stolen one."""

    def __init__(self, name, seed):
        self.name, self.secret = name, SECRET + seed
        self.public = openssl("pkey", "-inform", "DER", "-pubout", "-outform",
                              "DER", input=self.secret)[-32:]
        self.id = sha256(name.encode(), b"\n\1", self.public)[:4]
        self.vkey = "%s+%s+%s" % (name, self.id.hex(), b64(b"\1" + self.public))

    @classmethod
    def stolen(cls, path):
        """From a file of the signer's folder."""
        word = path.read_text().split()[0]
        name, _, blob = word.removeprefix("PRIVATE+KEY+").split("+", 2)
        return cls(name, base64.b64decode(blob, validate=True)[1:])

    sign = witness.Key.sign

    def note(self, size, root):
        body = "%s\n%d\n%s\n" % (self.name, size, b64(root))
        return "%s\n%s%s %s\n" % (body, DASH, self.name, b64(
            self.id + self.sign(body.encode())))


class Tree:
    """RFC 6962, all levels of perfect nodes kept."""

    def __init__(self, leaves):
        self.size = len(leaves)
        level = [sha256(b"\0", leaf) for leaf in leaves]
        self.levels = [level]
        while len(level) > 1:
            level = [sha256(b"\1", level[i], level[i + 1])
                     for i in range(0, len(level) - 1, 2)]
            self.levels.append(level)

    def root(self, size=None):
        size = self.size if size is None else size
        if size == 0:
            return sha256()
        nodes, at = [], 0
        for height in reversed(range(len(self.levels))):
            if size - at >= 1 << height:
                nodes.append(self.levels[height][at >> height])
                at += 1 << height
        root = nodes.pop()
        while nodes:
            root = sha256(b"\1", nodes.pop(), root)
        return root

    def tiles(self):
        """{(level, index): 8192 bytes}, the full ones."""
        found = {}
        for level in range(0, (len(self.levels) + 7) // 8):
            hashes = self.levels[level * 8] if level * 8 < len(
                self.levels) else []
            for index in range(len(hashes) // 256):
                found[level, index] = b"".join(
                    hashes[256 * index:256 * index + 256])
        return found


class Forgery:
    """A journal file in memory; write() makes it look right again."""

    def __init__(self, path):
        self.path = path
        with contextlib.closing(sqlite3.connect(path)) as db:
            self.leaves = [bytes(r[0]) for r in db.execute(
                "SELECT bytes FROM leaf ORDER BY seq")]
            self.bodies = {i: (bytes(s), bytes(d)) for i, s, d in db.execute(
                "SELECT id, salt, data FROM body")}
            self.checkpoints = {n: bytes(t).decode() for n, t in db.execute(
                "SELECT size, note FROM checkpoint")}
            self.ranges = []
            self.note, = db.execute("SELECT note FROM head").fetchone()
            self.note = bytes(self.note).decode()

    def kind(self, seq):
        return int(self.leaves[seq].split(b" ", 3)[2].split(b"\n")[0])

    def find_all(self, kind):
        return [seq for seq in range(len(self.leaves))
                if self.kind(seq) == kind]

    def find(self, kind, place=0):
        return self.find_all(kind)[place]

    def say(self, seq, part, data):
        """Another payload, and the leaf commits to it."""
        salt, _ = self.bodies[256 * seq + part]
        self.bodies[256 * seq + part] = salt, data
        self.edit(seq, rb"\np %d [^\n]*" % part, b"\np %d %s" % (
            part, b64(
                sha256(b"part/1\n", salt, data)).encode()))

    def deny(self, seq):
        """The leaf commits to something else from now on."""
        self.edit(seq, rb"\np 1 [^\n]*", b"\np 1 %s" % b64(
            sha256(b"something else")).encode())

    def edit(self, seq, pattern, text):
        changed = re.sub(pattern, lambda _: text, self.leaves[seq], count=1)
        if changed == self.leaves[seq]:
            raise AssertionError("leaf %d has no %r" % (seq, pattern))
        self.leaves[seq] = changed

    def renumber(self):
        """Leaves and payloads get the numbers of their places."""
        bodies = {}
        for seq, leaf in enumerate(self.leaves):
            old = int(leaf.split(b" ", 2)[1])
            for part in range(8):
                if 256 * old + part in self.bodies:
                    bodies[256 * seq + part] = self.bodies[256 * old + part]
            self.leaves[seq] = re.sub(rb"^leaf/1 \d+", b"leaf/1 %d" % seq,
                                      leaf)
        self.bodies = bodies

    def times(self):
        return [int(re.search(rb"\nt (\d+) ", leaf)[1])
                for leaf in self.leaves]

    def set_time(self, seq, at):
        """The clock and the time since the start move together."""
        old, boot = map(int, re.search(rb"\nt (\d+) (\d+) ",
                                       self.leaves[seq]).groups())
        self.edit(seq, rb"\nt \d+ \d+ ",
                  b"\nt %d %d " % (at, boot - old + at))

    def remove(self, seq):
        """As if it had never been; all after it moves up."""
        del self.leaves[seq]
        for part in range(8):
            self.bodies.pop(256 * seq + part, None)
        self.renumber()
        self.checkpoints = {n: t for n, t in self.checkpoints.items()
                            if n <= len(self.leaves)}

    def swap(self, a, b):
        """Two records, each at the time of the other."""
        times = self.times()
        self.leaves[a], self.leaves[b] = self.leaves[b], self.leaves[a]
        self.renumber()
        self.set_time(a, times[a])
        self.set_time(b, times[b])

    def hasten(self, seq):
        """All records after it came as early as they could have."""
        start = self.times()[seq]
        for later in range(seq + 1, len(self.leaves)):
            self.set_time(later, start + later - seq)

    def sign(self, key, sizes=None, newest=True):
        """New notes over the forged tree by a key that the attacker has."""
        tree = Tree(self.leaves)
        for size in list(self.checkpoints if sizes is None else sizes):
            if size <= tree.size:
                self.checkpoints[size] = key.note(size, tree.root(size))
        if newest:
            self.note = key.note(tree.size, tree.root())

    def cut(self, size):
        """All after a checkpoint is gone, as if it had never been."""
        self.leaves = self.leaves[:size]
        self.note = self.checkpoints[size]
        self.checkpoints = {n: t for n, t in self.checkpoints.items()
                            if n <= size}
        self.bodies = {i: b for i, b in self.bodies.items()
                       if i >> 8 < size}

    def append(self, kind, fields):
        """A control record at the end."""
        at, boot = re.search(rb"\nt (\d+) (\d+ \w+)", self.leaves[-1]
                             ).groups()
        self.leaves.append(b"leaf/1 %d %d\nt %d %s 0\n%s" % (
            len(self.leaves), kind, int(at) + 1, boot, "".join(
                "%s %s\n" % pair for pair in fields).encode()))
        return len(self.leaves) - 1

    def fields(self, seq):
        return dict(line.split(" ", 1) for line in
                    self.leaves[seq].decode().splitlines()[2:])

    def acks(self, adapters, first, last):
        """The youngest acknowledgement by each, as far as there is one."""
        youngest = dict(adapters)
        for seq in self.find_all(130):
            ack = self.fields(seq)
            if ack["adapter"] in youngest and int(ack["last"]) >= first \
                    and int(ack["first"]) <= last:
                youngest[ack["adapter"]] = seq
        return ",".join("%s:%s" % pair for pair in youngest.items())

    def purge(self, first, last):
        """A purge record and the removal, by the form of the newest one."""
        old = self.fields(self.find(131, -1))
        taken = range(first, last + 1)
        digest = sha256(*(sha256(b"\0", self.leaves[s]) for s in taken)).hex()
        old.update(purge=int(old["purge"]) + 1, first=first, last=last,
                   count=sum(256 * s in self.bodies for s in taken),
                   ranges="%d-%d" % (first, last) if last > first else first,
                   leaves=digest, acks=self.acks(
                       (pair.split(":") for pair in old["acks"].split(",")),
                       first, last))
        seq = self.append(131, old.items())
        self.ranges.append((first, last, old["purge"], seq))
        for part in range(8):
            for s in taken:
                self.bodies.pop(256 * s + part, None)

    def rotate(self, now, announced, then):
        """A key record, closed by the key of now; the next one signs."""
        epoch = int(re.search(rb"\nepoch (\d+)",
                              self.leaves[self.find(135, -1)])[1])
        self.append(135, (
            ("epoch", epoch + 1), ("vkey", announced.vkey),
            ("next", sha256(then.public).hex()), ("reason", "daily"),
            ("clean", "yes")))
        size = len(self.leaves)
        self.note = self.checkpoints[size] = now.note(
            size, Tree(self.leaves).root())

    def write(self):
        tree = Tree(self.leaves)
        with contextlib.closing(sqlite3.connect(
                self.path, isolation_level=None)) as db:
            unguard(db)
            db.execute("BEGIN")
            for table in ("leaf", "body", "tile", "checkpoint"):
                db.execute("DELETE FROM " + table)
            for seq, leaf in enumerate(self.leaves):
                head = re.match(rb"leaf/1 \d+ (\d+)\nt (\d+) ", leaf)
                db.execute("INSERT INTO leaf VALUES (?, ?, ?, ?)", (
                    seq, int(head[2]), int(head[1]), leaf))
            db.executemany("INSERT INTO body VALUES (?, ?, ?)", (
                (i, s, d) for i, (s, d) in sorted(self.bodies.items())))
            db.executemany("INSERT INTO tile VALUES (?, ?, ?)", (
                (level, index, data) for (level, index), data in sorted(
                    tree.tiles().items())))
            db.executemany("INSERT INTO checkpoint VALUES (?, ?)", (
                (n, t.encode()) for n, t in sorted(self.checkpoints.items())))
            db.execute("UPDATE head SET size = ?, root = ?, note = ?", (
                tree.size, tree.root(), self.note.encode()))
            db.executemany("INSERT INTO purge_range(first, last, n, seq) "
                           "VALUES (?, ?, ?, ?)", self.ranges)
            for table in ("batch", "ack", "purge_range"):
                db.execute("DELETE FROM %s WHERE seq >= ?" % table,
                           (tree.size,))
            db.execute("COMMIT")


def unguard(db):
    """Without triggers and checks: what somebody at the file could do."""
    for (name,) in db.execute("SELECT name FROM sqlite_master "
                              "WHERE type = 'trigger'").fetchall():
        db.execute("DROP TRIGGER %s" % name)
    db.execute("PRAGMA ignore_check_constraints = 1")
    db.execute("PRAGMA foreign_keys = 0")
