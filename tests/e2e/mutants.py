"""Changes of evidence, made from a seed: of bytes, of texts, of rows, and of
leaves with everything over them made anew under a key of the test's own.
"""

import base64
import contextlib
import hashlib
import io
import re
import shutil
import sqlite3
import subprocess
import tarfile

from chancery import tree_root

TABLES = ("meta", "leaf", "body", "tile", "head", "checkpoint", "batch",
          "ack", "purge_range")


def flip(chance, data):
    """One to three changes of a bit, a byte or a run of bytes."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at, way = chance.randrange(len(data)), chance.randrange(4)
        if way < 2:
            data[at] ^= 1 << chance.randrange(8)
        elif way == 2:
            data[at] = chance.choice(b"09azAZ =/+.-\n\0\xff")
        else:
            n = chance.choice((1, 2, 16))
            data[at:at + n] = chance.randbytes(len(data[at:at + n]))
    return bytes(data)


def edit(chance, text):
    """As an editor would: digits, words and lines change, come and go."""
    lines = text.split("\n")
    at, way = chance.randrange(len(lines)), chance.randrange(8)
    words = lines[at].split(" ")
    word = chance.randrange(len(words))
    if way == 0:
        lines.insert(at, lines[at])
    elif way == 1:
        del lines[at]
    elif way == 2:
        lines[at] += chance.choice((" ", "\r", " 0", "%", "%41", "%0A"))
    elif way == 3:
        words[word] = chance.choice((
            "0", "1", "00", "-", "-1", "9223372036854775807", "8",
            "9223372036854775808", "18446744073709551616", "stored", "sent",
            "yes", "", "x" * 33, "%C3%A9", "%20", "records", "vault,strict",
            "7", "255", "256", "146", "leaf/2", "a" * 17000))
        lines[at] = " ".join(words)
    elif way == 4 and re.search(r"\d", lines[at]):
        found = chance.choice(list(re.finditer(r"\d+", lines[at])))
        number = int(found[0]) + chance.choice((-1, 1, 10, 1000000))
        lines[at] = "%s%d%s" % (lines[at][:found.start()], number,
                                lines[at][found.end():])
    elif way == 5:
        other = chance.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        return flip(chance, text.encode()).decode("latin-1")
    return "\n".join(lines)


class Signer:
    """A key of the test's own, by the openssl command."""

    def __init__(self, folder, name):
        self.key, self.name = folder / "own.pem", name
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out",
                        str(self.key)], check=True, timeout=30)
        der = subprocess.run(
            ["openssl", "pkey", "-in", str(self.key), "-pubout", "-outform",
             "DER"], check=True, capture_output=True, timeout=30).stdout
        public = b"\1" + der[-32:]
        self.id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
        self.vkey = "%s+%s+%s" % (name, self.id.hex(),
                                  base64.b64encode(public).decode())

    def note(self, size, root):
        return self.sign("%s\n%d\n%s\n" % (
            self.name, size, base64.b64encode(root).decode()))

    def sign(self, body):
        path = self.key.with_name("body")
        path.write_text(body, "utf-8")
        blob = self.id + subprocess.run(
            ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(self.key),
             "-in", str(path)], check=True, capture_output=True,
            timeout=30).stdout
        return "%s\n\u2014 %s %s\n" % (
            body, self.name, base64.b64encode(blob).decode())


def leaf_hash(text):
    return hashlib.sha256(b"\0" + text).digest()


def unguard(db):
    """Without triggers and checks: what somebody at the file could do."""
    triggers = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        db.execute("DROP TRIGGER %s" % name)
    db.execute("PRAGMA ignore_check_constraints = 1")


class Forger:
    """Rewrites a journal from changed leaves, tree and notes in order."""

    def __init__(self, source, folder):
        self.source, self.folder = source, folder
        with contextlib.closing(sqlite3.connect(source)) as db:
            self.leaves = [bytes(r[0]) for r in db.execute(
                "SELECT bytes FROM leaf ORDER BY seq")]
        self.origin = re.search(rb"\norigin (\S+)", self.leaves[0])[1].decode()
        self.signer = Signer(folder, self.origin)

    def whole(self, leaves):
        """Puts the key, and the roots and digests that control records
        state, right again."""
        hashes, done = [], []
        for seq, text in enumerate(leaves):
            def root(found):
                size = int(found[1])
                value = tree_root(hashes[:size])
                return b"\nsize %d\nroot %s" % (size, base64.b64encode(value))

            def digest(found):
                taken = []
                for run in found[2].split(b","):
                    first, _, last = run.partition(b"-")
                    taken += hashes[int(first):int(last or first) + 1]
                return found[1] + hashlib.sha256(
                    b"".join(taken)).hexdigest().encode()
            if seq == 0:
                text = re.sub(rb"\nvkey [^\n]*", lambda _: b"\nvkey "
                              + self.signer.vkey.encode(), text)
            text = re.sub(rb"\nsize (\d{1,9})\nroot [^\n]*", root, text)
            text = re.sub(rb"(\nranges ([0-9]{1,9}(?:[-,][0-9]{1,9})*)"
                          rb"\nleaves )[^\n]*", digest, text)
            text = self.repair(text, hashes)
            done.append(text)
            hashes.append(leaf_hash(text))
        return done, hashes

    def repair(self, text, hashes):
        """What else a leaf after these states; for heirs."""
        return text

    def write(self, leaves, path, parts=()):
        """parts: {(seq, part): data}; their leaves commit to them anew."""
        leaves = list(leaves)
        with contextlib.closing(sqlite3.connect(self.source)) as db:
            for (seq, part), data in dict(parts).items():
                salt, = db.execute("SELECT salt FROM body WHERE id = ?",
                                   (256 * seq + part,)).fetchone()
                leaves[seq] = re.sub(
                    rb"\np %d [^\n]*" % part, lambda _: b"\np %d %s" % (
                        part, base64.b64encode(hashlib.sha256(
                            b"part/1\n" + salt + data).digest())),
                    leaves[seq])
        leaves, hashes = self.whole(leaves)
        shutil.copy(self.source, path)
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            unguard(db)
            for seq, text in enumerate(leaves):
                if seq >= len(self.leaves):
                    self.add(db, seq)
                if text != ([*self.leaves, b""])[min(seq, len(self.leaves))]:
                    self.put(db, seq, text)
            for (seq, part), data in dict(parts).items():
                db.execute("UPDATE body SET data = ? WHERE id = ?",
                           (data, 256 * seq + part))
            db.execute("UPDATE meta SET value = ? WHERE name = 'vkey'",
                       (self.signer.vkey,))
            db.execute("DELETE FROM checkpoint")
            for index in range(len(leaves) // 256):
                db.execute("UPDATE tile SET data = ? WHERE level = 0 AND "
                           "idx = ?", (b"".join(
                               hashes[256 * index:256 * index + 256]), index))
            root = tree_root(hashes)
            db.execute("UPDATE head SET size = ?, root = ?, note = ?", (
                len(leaves), root,
                self.signer.note(len(leaves), root).encode()))

    @staticmethod
    def add(db, seq):
        """Rows of a new leaf, which put() fills."""
        db.execute("INSERT INTO leaf VALUES (?, 0, 0, x'')", (seq,))
        db.execute("INSERT INTO batch VALUES ('', ?, ?, 0, ?)",
                   (-seq, -seq, seq))
        db.execute("INSERT INTO ack VALUES ('', ?, '', ?)", (-seq, seq))
        db.execute("INSERT INTO purge_range VALUES (?, 0, ?, ?)",
                   (-seq, -seq, seq))

    @staticmethod
    def put(db, seq, text):
        """The leaf, and what the tables repeat of it."""
        db.execute("UPDATE leaf SET bytes = ? WHERE seq = ?", (text, seq))
        head = re.match(rb"leaf/1 \d+ (\d{1,3})\nt (\d{1,18}) ", text)
        if head:
            db.execute("UPDATE leaf SET kind = ?, at = ? WHERE seq = ?",
                       (int(head[1]), int(head[2]), seq))
        fields = dict(re.findall(r"^(\w+) (\S+)$", text.decode("latin-1"),
                                 re.M))
        for table, names in (("batch", ("adapter", "batch", "first", "last")),
                             ("ack", ("adapter", "batch", "state")),
                             ("purge_range", ("first", "last", "purge"))):
            for name in names:
                column = {"batch": "n", "purge": "n"}.get(name, name)
                if name in fields:
                    with contextlib.suppress(sqlite3.Error):
                        db.execute("UPDATE %s SET %s = ? WHERE seq = ?" % (
                            table, column), (fields[name], seq))
            kind = {"batch": 129, "ack": 130, "purge_range": 131}[table]
            if head and int(head[1]) != kind:
                db.execute("DELETE FROM %s WHERE seq = ?" % table, (seq,))


def row(chance, db, tables=TABLES):
    """One row of one table goes, comes twice, or changes in a column."""
    table = chance.choice(tables)
    rows = db.execute("SELECT * FROM %s" % table)
    names = [d[0] for d in rows.description]
    rows = rows.fetchall()
    if not rows:
        return
    row = list(chance.choice(rows))
    where = " AND ".join("%s IS ?" % n for n in names)
    way, column = chance.randrange(6), chance.randrange(len(names))
    if way == 0:
        db.execute("DELETE FROM %s WHERE %s" % (table, where), row)
        return
    old, value = list(row), row[column]
    if isinstance(value, int):
        value += chance.choice((-1, 1, 256, -10**6, 2**40))
    elif value is None:
        value = b"x"
    elif isinstance(value, str):
        value = flip(chance, value.encode()).decode("latin-1")
    else:
        value = chance.choice((
            flip(chance, value), value[:-1], value + b"\0",
            edit(chance, value.decode("latin-1")).encode("latin-1")))
    row[column] = value
    if way == 1:
        db.execute("INSERT INTO %s VALUES (%s)" % (
            table, ",".join("?" * len(row))), row)
    else:
        db.execute("UPDATE %s SET %s = ? WHERE %s" % (
            table, names[column], where), [value, *old])


def json_edit(chance, data):
    """Another spelling of the same, more of it, or none of JSON."""
    text = data.decode()
    token = chance.choice(list(re.finditer(
        r'"(?:[^"\\]|\\.)*"|\d+|[{}:,]', text)))
    new = chance.choice((
        "1", "-0", "01", "1.0", "1e5", "1E+05", "1.", ".5", "-", "NaN",
        "Infinity", "9" * 40, "true", "null", "True", '""', '"\\u0000"',
        '"\\ud800"', '"\\u00"', '"\\x"', '"\t"', '"\\t"', '"\ufffe"', "{}",
        "[]", "[1,2]", "[1,]", '{"a":1}', '{"a":1,"a":2}',
        "[" * 30 + "]" * 30,
        "[" * 31 + "]" * 31, "[" * 31 + "0" + "]" * 31,
        "[" * 32 + "]" * 32, " ", token[0] + " ", token[0] + token[0],
        token[0] + ',"type":"x"', token[0] + ',"x":1', ""))
    text = text[:token.start()] + new + text[token.end():]
    if chance.randrange(8) == 0:
        return flip(chance, data)
    return text.encode("utf-8", "surrogatepass")


def entries(chance, data):
    """Changes a file of the bag, and its manifests with it or not."""
    data = subprocess.run(["zstd", "-dcq"], input=data, check=True,
                          capture_output=True, timeout=30).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar}
    names = sorted(n for n in files if "manifest" not in n)
    name = chance.choice(names)
    way = chance.randrange(5)
    if way == 0:
        del files[name]
    elif way == 1:
        files[name + "x"] = files[name]
    else:
        files[name] = edit(chance, files[name].decode("latin-1")
                           ).encode("latin-1")
    if chance.randrange(4):
        remake_manifests(files)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w",
                      format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return subprocess.run(["zstd", "-cq"], input=out.getvalue(),
                          check=True, capture_output=True,
                          timeout=30).stdout


def value(chance, form, size):
    """A value of a control record's field that is likely, or is not, of the
    form."""
    if "|" in form and chance.randrange(6):
        return chance.choice(form.split("|") + ["1"])
    numbers = ("0", "1", "2", "3", "255", str(size - 1), str(size))
    likely = {"n": numbers, "m": (*numbers, "-", "-1"), "i": (*numbers, "-5"),
              "hash": (base64.b64encode(chance.randbytes(32)).decode(),),
              "hex": (chance.randbytes(32).hex(),), "yes": ("yes", "no"),
              "hex-": (chance.randbytes(32).hex(), "-"), "uid": ("uid:0",),
              "stored": ("sent", "accepted", "stored"), "d": ("0", "1", "2"),
              "id": ("records", "vault", "new")}.get(
        form, ("x", "-", "uid:0", "storage", "%20", "1", "records"))
    if chance.randrange(6):
        return chance.choice(likely)
    return chance.choice((
        "-", "-1", "00", "9223372036854775807", "9223372036854775808", "x",
        "yes", "no", "-0", "--1", "1-2", "1,2", "uid:1", "A" * 43 + "=",
        "A" * 42 + "B=", "f" * 64, "F" * 64, "f" * 63, "%41", "%C3%A9"))


def remake_manifests(files):
    top = min(files).split("/")[0] + "/"
    inner = {n[len(top):]: d for n, d in files.items() if "manifest" not in n}
    data = {n: d for n, d in inner.items() if n.startswith("data/")}
    info = inner.get("bag-info.txt", b"")
    info = re.sub(rb"Payload-Oxum: .*", b"Payload-Oxum: %d.%d" % (
        sum(map(len, data.values())), len(data)), info)
    if "bag-info.txt" in inner:
        inner["bag-info.txt"] = files[top + "bag-info.txt"] = info

    def lines(of):
        return "".join("%s  %s\n" % (hashlib.sha256(d).hexdigest(), n)
                       for n, d in sorted(of.items())).encode()
    tags = {n: d for n, d in inner.items() if n not in data}
    tags["manifest-sha256.txt"] = lines(data)
    files[top + "manifest-sha256.txt"] = tags["manifest-sha256.txt"]
    files[top + "tagmanifest-sha256.txt"] = lines(tags)
