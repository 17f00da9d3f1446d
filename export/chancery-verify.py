#!/usr/bin/env python3
"""chancery-verify.py [--key VKEY] [--json] FILE...

The second verifier of Chancery: Python's standard library, and the commands
openssl (Ed25519) and zstd. It follows chancery-journal(5), and for archives
chancery-adapter(7), and shares no line with chancery-verify(1). FILE is a
journal, a tarball or an XML archive; VKEY the journal's public key or a file
that holds it. Exit status: 0 all holds, 1 something does not, 2 usage, 3 system.
"""
import base64
import datetime
import functools
import hashlib
import itertools
import json
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
from xml.parsers import expat

NAMES = {1: "join", 2: "leave", 3: "post", 4: "history", 5: "delivery", 6: "room", 7: "member", 8: "user"}
FIELDS = {128: "journal origin vkey software segment note", 129: "adapter batch first last count size root",
          130: "adapter batch first last state location sha256 bytes readback",
          131: "purge first last count leaves acks", 132: "what since until refused late", 133: "",
          134: "required after", 135: "epoch vkey next reason clean",
          136: "segment first count",
          137: "old new sync error tai",
          138: "hold matter selector by",
          139: "hold by",
          140: "old size root origin vkey next reason by",
          141: "what name state size time sha256",
          142: "since until count",
          143: "what since until count",
          144: "first last since result",
          145: "below by"}
KINDS = {**NAMES, 128: "open", 129: "batch", 130: "ack", 131: "purge", 132: "incident", 133: "beat", 134: "policy",
         135: "key", 136: "seal", 137: "clock", 138: "hold", 139: "release", 140: "recover", 141: "anchor", 142: "late", 143: "drop", 144: "audit", 145: "approve"}
NUMERIC = set("batch first last count size bytes purge since until refused late".split())
MAX, NUMBER, OURS = 2**63 - 1, "(0|[1-9][0-9]*)", "urn:chancery:compliance:1 "
HEAD = re.compile(f"leaf/1 {NUMBER} {NUMBER}\nt {NUMBER} {NUMBER} [0-9a-f]{{8}} ([01])\n")
FIELD = re.compile("([a-z0-9]{1,32}) ((?:[A-Za-z0-9._:/+=@,-]|%[0-9A-F]{2})+)")
HASHED, BLOB = re.compile("[0-9a-f]{64}"), re.compile("[A-Za-z0-9+/]{90}[AEIMQUYcgkosw048]=")


class Subject:
    """One file, or journal and archives together: what was found wrong, what limits the verdict."""
    def __init__(self, path, kind):
        self.file, self.type, self.findings, self.notes, self.failure = path, kind, [], [], None

    def check(self, holds, reason, *place):
        if not holds:
            self.findings.append(": ".join([*map(str, place), reason]))
        return holds


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text, size=None):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text or size not in (None, len(data)):
        raise ValueError("base64 malformed")
    return data


def number(text):
    if not re.fullmatch(NUMBER, text) or len(text) > 19 or int(text) > MAX:
        raise ValueError("number malformed")
    return int(text)


def unjson(data, once=None):
    """A JSON text; no member, or none of those named, is given twice in an object."""
    def refuse(word):
        raise ValueError(word + " is no JSON")

    def members(pairs):
        names = [name for name, _ in pairs if once is None or name in once]
        return dict(pairs) if len(set(names)) == len(names) else refuse("a member twice")
    return json.loads(data.decode("utf-8"), object_pairs_hook=members, parse_constant=refuse)


class Tree:
    """RFC 6962, section 2.1: kept as its perfect subtrees, from left to right."""
    def __init__(self):
        self.size, self.nodes = 0, []

    def add(self, node, level=0):
        """Adds the root of 2**level leaves; gives every perfect subtree that is complete now."""
        made, self.size = [], self.size + (1 << level)
        while True:
            made.append((level, (self.size >> level) - 1, node))
            if not self.nodes or self.nodes[-1][0] != level:
                break
            level, node = level + 1, sha(b"\1", self.nodes.pop()[1], node)
        self.nodes.append((level, node))
        return made

    def fill(self, size, hashes):
        """Adds the perfect subtrees that lead to the size."""
        for node in hashes:
            fits = (size - self.size).bit_length() - 1
            if fits < 0:
                raise ValueError("more hashes than the tree's size needs")
            aligned = (self.size & -self.size).bit_length() - 1 if self.size else fits
            self.add(node, min(fits, aligned))
        if self.size != size:
            raise ValueError("fewer hashes than the tree's size needs")

    def root(self):
        root = self.nodes[-1][1] if self.nodes else sha()
        for _, left in reversed(self.nodes[:-1]):
            root = sha(b"\1", left, root)
        return root


class Leaf:
    def __init__(self, data):
        text = data.decode("ascii")
        head = HEAD.match(text)
        if not head or not text.endswith("\n"):
            raise ValueError("the first two lines, or the end")
        self.seq, self.kind, self.at, _, self.held = map(number, head.groups())
        rest, self.parts, self.fields = text[head.end():], [], {}
        if not 0 < self.kind < 256 or self.seq > MAX // 256:
            raise ValueError("kind or number out of bounds")
        lines = rest.split("\n")[:-1]
        if self.kind < 128:
            for i, line in enumerate(lines):
                if not line.startswith(f"p {i} "):
                    raise ValueError(f"line {3 + i}")
                self.parts.append(unbase64(line[len(f"p {i} "):], 32))
            if not 1 <= len(lines) <= 8:
                raise ValueError("one to eight parts")
            return
        for i, line in enumerate(lines):
            field = FIELD.fullmatch(line)
            if not field or any(FIELD.fullmatch("x " + chr(int(x, 16))) for x in re.findall("%(..)", line)):
                raise ValueError(f"line {3 + i}")
            self.fields[field[1]] = urllib.parse.unquote(field[2], errors="surrogateescape")
        if len(rest) > 16384 or len(lines) > 64 or (
                self.kind in FIELDS and [line.split(" ")[0] for line in lines] != FIELDS[self.kind].split()):
            raise ValueError("the fields are not those of the kind")

    def values(self):
        """The fields of a control record with its numbers as numbers; their form is checked."""
        f = {k: number(v) if k in NUMERIC and self.kind in FIELDS else v for k, v in self.fields.items()}
        if self.kind == 134 and f["after"] != "-1":
            f["after"] = number(f["after"])
        if self.kind == 129:
            f["root"] = unbase64(f["root"], 32)
        bad = (self.kind in (129, 130) and not re.fullmatch("[a-z0-9-]{1,32}", f["adapter"]) or
               self.kind == 131 and not HASHED.fullmatch(f["leaves"]) or
               self.kind == 130 and (f["state"] not in ("sent", "accepted", "stored") or f["readback"] not in ("yes", "no")
                                     or f["sha256"] != "-" and not HASHED.fullmatch(f["sha256"])))
        if bad:
            raise ValueError("a value is not of its field")
        return dict(f, seq=self.seq, at=self.at)


class Key:
    """A vkey: name, id and public key."""
    def __init__(self, text):
        found = re.fullmatch("([^+]+)\\+([0-9a-f]{8})\\+(.{44})\n?", text)
        self.name, public = found[1], unbase64(found[3], 33)
        if public[0] != 1 or not name_valid(self.name) or (
                sha(self.name.encode(), b"\n", public)[:4].hex() != found[2]):
            raise ValueError("not an Ed25519 key, or its id is another")
        self.id, self.public = bytes.fromhex(found[2]), public[1:]


@functools.lru_cache
def ed25519(public, body, signature):
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("key", bytes.fromhex("302a300506032b6570032100") + public), ("body", body), ("signature", signature)):
            with open(os.path.join(folder, name), "wb") as f:
                f.write(data)
        done = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-keyform", "DER", "-inkey", "key",
                               "-in", "body", "-sigfile", "signature"], cwd=folder, capture_output=True)
    return done.returncode == 0


def name_valid(name):
    return bool(name) and len(name.encode()) <= 255 and not re.search("[\0- +\x7f]", name)


def read_note(data, key):
    """Size and root of a checkpoint; ValueError when it is malformed or the key did not sign it."""
    body, blank, rest = data.partition(b"\n\n")
    body, lines = body + b"\n", rest.decode("utf-8").split("\n")
    origin, size, root, end = body.decode("utf-8").split("\n")
    size, root = number(size), unbase64(root, 32)
    if len(data) > 16384 or not blank or end or lines.pop() or not 0 < len(lines) <= 100 or not name_valid(origin):
        raise ValueError("not a checkpoint")
    lines = [re.fullmatch("\u2014 ([^ ]+) (.{8,})", line) for line in lines]
    if not all(line and name_valid(line[1]) for line in lines):
        raise ValueError("a signature line is malformed")
    if key is None or key.name != origin:
        raise ValueError("there is no key of its origin")
    own = [base64.b64decode(m[2]) for m in lines if m[1] == key.name and BLOB.fullmatch(m[2])]   # others: of another kind
    own = [blob[4:] for blob in own if blob[:4] == key.id]
    if not own or not all(ed25519(key.public, body, signature) for signature in own):
        raise ValueError("the key did not sign it")
    return size, root


def choose_key(s, given, stated):
    """The key that signatures are judged by; the one that the file states must be the same."""
    try:
        own = Key(stated)
        s.check(given is None or (own.name, own.public) == (given.name, given.public), "names another key than the one given")
    except (ValueError, TypeError):
        own = None
        s.check(False, "states no key, or a malformed one")
    if given is None:
        s.notes.append("key not given: a key taken from the file itself proves nothing about who signed")
    return given or own


def check_part(s, leaf, i, salt, data):
    """Commitment and form of a part; the object, or None."""
    if not s.check(len(salt) == 32 and sha(b"part/1\n", salt, data) == leaf.parts[i],
                   "payload and salt are not what the leaf commits to", leaf.seq, f"part {i}"):
        return None
    try:
        o, bare = unjson(data, ("type", "id", "client")), re.sub(r'"(?:[^"\\]|\\.)*"', '""', data.decode())
        depth = max(itertools.accumulate((c in "{[") - (c in "]}") for c in bare))
        form = isinstance(o, dict) and not re.search("[ \t\r\n]", bare) and depth <= 32
        if i == 0:
            form = form and type(o.get("v")) is int and o["v"] == 1 and o.get("type") == NAMES.get(leaf.kind, o.get("type"))
            form = form and all(isinstance(o.get(name, ""), str) for name in ("type", "id", "client"))
    except (ValueError, RecursionError):
        form = False
    return o if s.check(form, "payload is not one compact JSON object of its kind", leaf.seq, f"part {i}") else None


class Journal(Subject):
    def __init__(self, path):
        super().__init__(path, "journal")
        self.origin, self.roots, self.batches, self.purges, self.policies = None, {}, {}, [], []

    def verify(self, given, archives):
        live = os.path.exists(self.file + "-wal")
        uri = "file:" + urllib.parse.quote(os.path.abspath(self.file)) + ("?mode=ro" if live else "?mode=ro&immutable=1")
        with open(self.file, "rb") as f:
            if not self.check(f.read(16) == b"SQLite format 3\0", "not an SQLite database"):
                return
        db = sqlite3.connect(uri, uri=True, isolation_level=None)
        db.text_factory = bytes
        try:
            db.execute("PRAGMA trusted_schema = 0")
            db.execute("BEGIN")     # a live journal is seen as of one moment
            self.read(db, given, archives)
        except (sqlite3.Error, UnicodeDecodeError) as e:    # Python decodes SQLite's own messages
            if getattr(e, "sqlite_errorcode", 1) & 255 not in (1, 11, 20, 26):  # ERROR, CORRUPT, MISMATCH, NOTADB
                raise OSError(str(e)) from e
            self.check(False, f"the database cannot be read through: {e}")
        except (ValueError, LookupError, TypeError, OverflowError) as e:
            self.check(False, f"a value is of another type than its column: {e!r}")
        finally:
            db.close()

    def read(self, db, given, archives):
        self.check(db.execute("PRAGMA application_id").fetchone()[0] == 0x43484e43, "application id is another")
        self.check(db.execute("PRAGMA user_version").fetchone()[0] == 2, "schema version is not 2")
        listed, first = [], {}
        for seq, data in db.execute("SELECT seq, bytes FROM leaf WHERE kind >= 128 ORDER BY seq"):
            listed.append(seq)
            try:
                leaf = Leaf(octets(data))
                values = leaf.values()
            except ValueError as e:
                self.check(False, f"control record malformed: {e}", seq)
                continue
            first = values if leaf.kind == 128 and seq == 0 else first
            self.check((leaf.kind == 128) == (seq == 0), "open is the first record and no other", seq)
            if leaf.kind in (129, 130, 131, 134):
                {129: self.batch, 130: self.ack, 131: self.purge, 134: self.policies.append}[leaf.kind](values)
        self.origin = first.get("origin")
        key = choose_key(self, given, first.get("vkey"))
        covered, tree = self.stated(db, key, archives), Tree()
        self.walk(db, tree, listed)
        signed = max([size for size in covered if size <= tree.size and self.roots.get(size) == covered[size]], default=0)
        self.check(signed or not tree.size, "no signed checkpoint agrees with these records")
        self.tables(db, first)
        self.notes.append(f"{tree.size} records, signed up to {signed}")
        if signed < tree.size:
            self.notes.append(f"unsigned tail: records {signed}-{tree.size - 1} are not covered by a signed checkpoint")

    def batch(self, f):
        known = self.batches.setdefault(f["adapter"], [])
        self.check(f["batch"] == len(known) + 1 and f["first"] == (known[-1]["last"] + 1 if known else 0) <= f["last"]
                   < f["size"] <= f["seq"] and f["count"] == f["last"] - f["first"] + 1, "batch breaks its rules", f["seq"])
        known.append(dict(f, ack=None))

    def ack(self, f):
        known, n = self.batches.get(f["adapter"], []), f["batch"]
        if self.check(1 <= n <= len(known) and known[n - 1]["ack"] is None and (n == 1 or known[n - 2]["ack"]) and
                      (f["first"], f["last"]) == (known[n - 1]["first"], known[n - 1]["last"]),
                      "acknowledgement of no batch, or out of order, or a second one", f["seq"]):
            known[n - 1]["ack"] = f

    def purge(self, f):
        policy, acks = self.policies[-1] if self.policies else {"required": "-", "after": "-1"}, []
        self.check(f["purge"] == len(self.purges) + 1 and f["first"] <= f["last"] < f["seq"] and
                   f["last"] - f["first"] < 10000, "purge number or range breaks its rules", f["seq"])
        self.check(all(f["last"] < p["first"] or p["last"] < f["first"] for p in self.purges),
                   "purge overlaps another", f["seq"])
        self.check(policy["required"] != "-" and policy["after"] != "-1", "purge against the policy", f["seq"])
        for name in policy["required"].split(","):
            over = [b for b in self.batches.get(name, []) if b["first"] <= f["last"] and f["first"] <= b["last"]]
            stored = over and over[-1]["last"] >= f["last"] and all(b["ack"] and b["ack"]["state"] == "stored" for b in over)
            if self.check(stored, f"purge of what {name} had not stored", f["seq"]):
                acks.append(f"{name}:{over[-1]['ack']['seq']}")
                self.check(policy["after"] == "-1" or f["at"] >= over[-1]["ack"]["at"] + policy["after"] * 1000000,
                           "purge before its time", f["seq"])
        self.check(f["acks"] == ",".join(acks), "purge names other acknowledgements", f["seq"])
        self.purges.append(dict(f, hash=hashlib.sha256(), events=0))

    def stated(self, db, key, archives):
        """Gathers what is said of roots: {size: [(root, who)]}; gives the signed ones."""
        self.points, signed = {}, {}
        notes = [(size, note, "checkpoint") for size, note in db.execute("SELECT size, note FROM checkpoint ORDER BY size")]
        heads = db.execute("SELECT id, size, root, note FROM head").fetchall()
        if self.check(len(heads) == 1 and heads[0][0] == 1 and isinstance(heads[0][1], int), "not one head row"):
            self.points.setdefault(heads[0][1], []).append((octets(heads[0][2]), "head row"))
            notes += [(None, heads[0][3], "newest note")] if octets(heads[0][3]) else []
        notes += [(None, a.note, a.file) for a in archives if a.origin == self.origin and a.note]
        for row, note, who in notes:
            try:
                size, root = read_note(octets(note), key)
                self.check(row in (None, size), f"{who} of size {row} holds a note of size {size}")
                self.points.setdefault(size, []).append((root, who))
                signed[size] = root
            except ValueError as e:
                self.check(False, f"{who} (size {row}): {e}")
        for b in itertools.chain(*self.batches.values()):
            self.points.setdefault(b["size"], []).append((b["root"], f"batch record {b['seq']}"))
        outside = [a for a in archives if a.origin == self.origin and a.note]
        self.notes.append("newest checkpoint from outside: size %d; whether records after it are missing is unknown" % max(
            a.size for a in outside) if outside else "no checkpoint from outside given: consistent at best, freshness "
            "unknown; records may be missing at the end")
        return signed

    def walk(self, db, tree, listed):
        """All leaves in order, with their tiles, roots, payloads and purges."""
        bodies = db.execute("SELECT id, salt, data FROM body ORDER BY id")
        body, last, control, tiles, self.roots[0] = bodies.fetchone(), 0, [], {}, tree.root()
        purges = sorted(self.purges, key=lambda p: p["first"])
        for seq, at, kind, data in db.execute("SELECT seq, at, kind, bytes FROM leaf ORDER BY seq"):
            if not self.check(seq == tree.size, f"record {tree.size} is expected here", seq):
                return
            hashed = sha(b"\0", octets(data))
            for level, index, node in tree.add(hashed):
                if level % 8 == 0:
                    tiles.setdefault(level // 8, []).append(node)
                    if len(tiles[level // 8]) == 256:
                        row = db.execute("SELECT data FROM tile WHERE level = ? AND idx = ?", (level // 8, index // 256)).fetchone()
                        self.check(row and octets(row[0]) == b"".join(tiles.pop(level // 8)),
                                   f"tile {level // 8}/{index // 256} is missing or another")
            if tree.size in self.points:
                self.roots[tree.size] = tree.root()
            try:
                leaf = Leaf(octets(data))
            except ValueError as e:
                self.check(False, f"leaf text malformed: {e}", seq)
                continue
            control += [seq] if leaf.kind >= 128 else []
            self.check((leaf.seq, leaf.at, leaf.kind) == (seq, at, kind), "columns and text differ", seq)
            self.check(leaf.at > last and (not leaf.held or leaf.at == last + 1 or not seq), "time", seq)
            self.check(seq or leaf.kind == 128, "the first record is not an open record")
            if leaf.kind not in KINDS and not any("kinds" in n for n in self.notes):
                self.notes.append("there are records of kinds unknown to this version: only their form was checked")
            last, found = leaf.at, {}
            while body and body[0] < 256 * (seq + 1):
                self.check(0 <= body[0] - 256 * seq < len(leaf.parts), f"stray payload row {body[0]}")
                found[body[0] - 256 * seq] = body[1:]
                body = bodies.fetchone()
            while purges and purges[0]["last"] < seq:
                purges.pop(0)
            purged = bool(purges) and purges[0]["first"] <= seq
            if purged:
                purges[0]["hash"].update(hashed)
                purges[0]["events"] += kind < 128
            self.check(not found if purged else len(found) == len(leaf.parts),
                       "payload is there although purged" if purged else "payload is missing and not purged", seq)
            for i, (salt, part) in found.items():
                if 0 <= i < len(leaf.parts):
                    check_part(self, leaf, i, octets(salt), octets(part))
        self.check(not body and not bodies.fetchone(), "stray payloads after the last record")
        self.check(control == listed, "the index of control records lists others than the leaves are")
        for p in self.purges:
            self.check((p["hash"].hexdigest(), p["events"]) == (p["leaves"], p["count"]), "purge digest or count", p["seq"])
        for size, said in self.points.items():
            for root, who in said:
                self.check(self.roots.get(size) == root, f"the records do not give the root that {who} states at size {size}")
        count = sum(tree.size >> 8 * level for level in range(1, 9))
        self.check(db.execute("SELECT count(*) FROM tile").fetchone()[0] == count, "stray tiles, or tiles are missing")
        self.check([size for size, said in self.points.items() for _, who in said if who == "head row"] == [tree.size],
                   "the head row is not the end of the records")

    def tables(self, db, first):
        """The tables that only repeat what control records say."""
        batches = list(itertools.chain(*self.batches.values()))
        acks = [b["ack"] for b in batches if b["ack"]]
        for sql, said in (
                ("name, value FROM meta", [(k, first.get(k)) for k in ("journal", "origin", "vkey", "segment")] + [("first", "0")]),
                ("adapter, n, first, last, seq FROM batch", [(b["adapter"], b["batch"], b["first"], b["last"], b["seq"]) for b in batches]),
                ("adapter, n, state, seq FROM ack", [(a["adapter"], a["batch"], a["state"], a["seq"]) for a in acks]),
                ("first, last, n, seq FROM purge_range", [(p["first"], p["last"], p["purge"], p["seq"]) for p in self.purges])):
            rows = [tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in row)
                    for row in db.execute("SELECT " + sql)]
            self.check(sorted(rows, key=repr) == sorted(said, key=repr), "table is not what the control records say: " + sql)


def octets(value):
    return value if isinstance(value, bytes) else b""


class Archive(Subject):
    """A batch: its header h, its records, and the proof from their leaves to the signed root."""
    origin = note = None
    whole = True

    def records(self, h, note, vkey, given, records):
        """records: (seq, kind, leaf, purged, [(salt, data)]); gives the hashes of the leaves and what can be rendered."""
        self.h, key, render, hashes = h, choose_key(self, given, vkey), [], []
        first, last, self.size = h["first"], h["last"], h["size"]
        self.check(h["id"] == "%s/%s/%d" % (h["origin"], h["adapter"], h["batch"]), "the batch id is another")
        self.check(first <= last < self.size and h["count"] == last - first + 1, "range, count and size do not fit")
        size, root = read_note(note, key)
        self.check((note.split(b"\n")[0].decode(), size, h["root"]) == (
            h["origin"], self.size, base64.b64encode(root).decode()), "the checkpoint is not the one stated")
        self.origin, self.note, tree, at = h["origin"], note, Tree(), 0
        tree.fill(first, [unbase64(x, 32) for x in h["left"]])
        for seq, kind, text, purged, parts in records:
            self.check(seq == tree.size, f"record {tree.size} is expected here", seq)
            hashes += [sha(b"\0", text.encode())]
            tree.add(hashes[-1])
            leaf = Leaf(text.encode())
            self.check((leaf.seq, leaf.kind) == (seq, kind) and leaf.at > at, "number, kind or time", seq)
            self.check(len(parts) == (0 if purged else len(leaf.parts)) and (leaf.parts or not purged), "payloads missing", seq)
            at, self.whole = leaf.at, self.whole and not purged
            objects = [check_part(self, leaf, i, *part) for i, part in enumerate(parts) if i < len(leaf.parts)]
            render += [(leaf, objects)] if 1 <= kind <= 4 and objects and None not in objects else []
        if self.check(tree.size == last + 1, "records are missing at the end"):
            tree.fill(self.size, [unbase64(x, 32) for x in h["right"]])
            self.check(tree.root() == root, "the leaves and the hashes around them do not give the signed root")
        self.notes.append("batch %s %d, records %d-%d, checkpoint %d" % (h["adapter"], h["batch"], first, last, self.size))
        return hashes, render

    def verify(self, given):
        with open(self.file, "rb") as f:
            data = f.read()
        self.sha256, self.bytes = hashlib.sha256(data).hexdigest(), len(data)
        try:
            if self.type == "tarball":
                self.tarball(given)
            else:
                self.xml(data, given)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
                tarfile.TarError, expat.ExpatError) as e:
            self.check(False, f"malformed: {e!r}")

    def tarball(self, given):
        """A BagIt bag (RFC 8493): manifests, header, records, tiles."""
        files, folders = {}, set()
        with tempfile.TemporaryFile() as plain:
            done = subprocess.run(["zstd", "-dcq", self.file], stdout=plain, stderr=subprocess.DEVNULL)
            self.check(done.returncode == 0, "zstd cannot read it through")
            plain.seek(0)
            with tarfile.open(fileobj=plain) as tar:
                for entry in tar:
                    folder, _, name = entry.name.partition("/")
                    folders.add(folder)
                    self.check(entry.isreg() and name and name not in files and not {"..", ""} & set(name.split("/")),
                               f"no plain file of the bag, or one that is there twice: {entry.name}")
                    files[name] = tar.extractfile(entry).read() if entry.isreg() else b""
        self.check(len(folders) == 1, "not one folder")
        tags = {name for name in files if not name.startswith("data/")} - {"tagmanifest-sha256.txt"}
        for manifest, names in (("manifest-sha256.txt", set(files) - tags - {"tagmanifest-sha256.txt"}),
                                ("tagmanifest-sha256.txt", tags)):
            lines = sorted(f"{hashlib.sha256(files[name]).hexdigest()}  {name}" for name in names)
            self.check(sorted(files[manifest].decode().split("\n")) == ["", *lines], f"{manifest} does not list the files that are there")
        self.check(files["bagit.txt"] == b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n", "bagit.txt")
        h, payload = unjson(files["data/proof.json"]), [len(data) for name, data in files.items() if name.startswith("data/")]
        for line in ("Payload-Oxum: %d.%d" % (sum(payload), len(payload)), "External-Identifier: " + h["id"]):
            self.check(line in files["bag-info.txt"].decode().split("\n")[1:-1], "bag-info.txt: " + line)
        self.check(all(type(h[x]) is int and 0 <= h[x] <= MAX for x in ("version", "batch", "first", "last", "count", "size"))
                   and h["version"] == 1, "data/proof.json: a number")
        *lines, rest = files["data/records.jsonl"].split(b"\n")
        events = [unjson(line) for line in lines]
        self.check(not rest and all(e["type"] == "event" for e in events), "data/records.jsonl: not records")
        hashes, _ = self.records(h, files["data/checkpoint"], files["data/vkey"].decode(), given, [
            (e["seq"], e["kind"], e["leaf"], e.get("purged") is True, [
                (unbase64(p["salt"]), p["data"].encode()) for p in e["parts"]]) for e in events])
        tiles = {}
        for index in range(-(-h["first"] // 256), h["last"] // 256 + 1):
            at, path = index * 256 - h["first"], "%03d" % (index % 1000)
            tile, left = hashes[at:at + 256], index // 1000
            while left:
                path, left = "x%03d/%s" % (left % 1000, path), left // 1000
            tiles["data/tile/0/" + path + ("" if len(tile) == 256 else ".p/%d" % len(tile))] = b"".join(tile)
        self.check({k: v for k, v in files.items() if k.startswith("data/tile/")} == tiles, "tiles are not those of the leaves")

    def xml(self, data, given):
        """The evidence, and the rendering made again from it; a side-car names and hashes its rendering."""
        root = parse_xml(data)
        name, a, children = root if root[0] == OURS + "evidence" else root[2].pop()
        if name != OURS + "evidence":
            raise ValueError("there is no evidence in this file: a rendering alone proves nothing")
        strict, beside = root[0] == OURS + "evidence", {"rendering", "rendering-sha256"}
        known = set("version software origin vkey adapter batch id first last count size root note left right".split())
        self.check(set(a) == (known | beside if strict else known) and a["version"] == "1", "evidence: attributes")
        h = {k: number(v) if k in ("batch", "first", "last", "count", "size") else v for k, v in a.items()}
        h.update(left=h["left"].split(" ") if h["left"] else [], right=h["right"].split(" ") if h["right"] else [])
        records = []
        for name, r, parts in children:
            self.check(name == OURS + "record" and set(r) - {"purged", "name"} == {"seq", "kind", "leaf"} and r.get("purged", "true")
                       == "true" and r.get("name") == KINDS.get(int(r["kind"]), r.get("name")), "record element", r["seq"])
            self.check(all(p[0] == OURS + "part" and set(p[1]) == {"number", "salt", "data"} and p[1]["number"] == str(i)
                           and not p[2] for i, p in enumerate(parts)), "part elements", r["seq"])
            records.append((number(r["seq"]), number(r["kind"]), r["leaf"], "purged" in r, [
                (unbase64(p["salt"]), unbase64(p["data"])) for _, p, _ in parts]))
        _, render = self.records(h, a["note"].encode(), a["vkey"], given, records)
        if strict:
            if not a["rendering"] or a["rendering"][0] == "." or "/" in a["rendering"]:
                raise ValueError("the rendering is not named")
            try:
                with open(os.path.join(os.path.dirname(self.file), a["rendering"]), "rb") as f:
                    data = f.read()
            except FileNotFoundError as e:
                raise ValueError("the rendering is not there") from e
            self.check(hashlib.sha256(data).hexdigest() == a["rendering-sha256"], "the rendering is another file")
            root = parse_xml(data)
        self.check(root == ("Conversations", {}, rendering(render, strict)), "the rendering is not what the evidence says")


def parse_xml(data):
    """(name, attributes, children) of the root; anything but elements and layout is refused."""
    def refuse(*what):
        raise ValueError("text, comments, instructions and document types have no place in an archive")

    def start(name, attributes):
        stack.append((name, attributes, []))
        stack[-2][2].append(stack[-1])
    if not data.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n'):
        raise ValueError("does not begin with the declaration of an archive")
    stack, parser = [("", {}, [])], expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, lambda name: stack.pop()
    parser.CharacterDataHandler = lambda text: text.strip(" \t\r\n") and refuse()
    for other in ("Comment", "ProcessingInstruction", "StartDoctypeDecl", "StartCdataSection"):
        setattr(parser, other + "Handler", refuse)
    parser.Parse(data, True)
    return stack[0][2][0]


def rendering(records, strict):
    """What the readable part must be: one conversation a room, its first message twice."""
    def shown(text):
        return re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", text)

    def word(value):
        return shown(value) if isinstance(value, str) else str(value).lower()
    rooms = {}
    for leaf, (o, *content) in records:
        user, chat = o.get("user", ""), o["chat"] if leaf.kind == 3 else 0
        at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=leaf.at)
        time = {"since1970": str(leaf.at // 1000), "string": at.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z",
                "long": str(leaf.at * 10 + 621355968000000000)}
        message = {"type": ["JOIN", "PART", "CHAT", "BACKCHAT"][leaf.kind - 1], "id": str(0 if strict and chat > 2**31 - 1 else chat),
                   "content": shown(content[0]["text"]) if leaf.kind == 3 else "" if leaf.kind < 3 else
                   json.dumps(o["query"], separators=(",", ":"), ensure_ascii=False)}
        if not strict:
            message.update({OURS + k: word(v) for k, v in dict(o, seq=leaf.seq).items() if k in (
                "seq auth device via peer reason joined late happened first last count client".split())})
        uri = user[4:] if user.startswith("sip:") else user
        sender = {"UserName": shown(o.get("name") or uri), "email": "", "internal": "true", "uri": shown(uri), "id": str(
            int.from_bytes(sha(b"sender/1\n", user.encode())[:4], "big") >> 1 or 1)}
        channel = {"uri": shown(o["room"]), "name": shown(o.get("roomname") or o["room"]), **({} if strict else {"islogged": "true"})}
        rooms.setdefault(o["room"], (channel, []))[1].append((message, [("Sender", sender, []), ("DateTimeUTC", time, [])]))
    return [("Conversation", {}, [
        ("Channel", channel, []), ("FirstMessage", *said[0]), ("Messages", {}, [("Message", *m) for m in said]),
        ("StartTimeUTC", said[0][1][1][1], []), ("EndTimeUTC", said[-1][1][1][1], [])]) for channel, said in rooms.values()]


def together(journal, archives):
    """Each archive is the file that was acknowledged; each purged event is in one that holds."""
    s, good = Subject(str(journal.origin), "journal and archives together"), []
    for a in archives:
        if a.origin != journal.origin:
            s.notes.append(f"{a.file}: not of this journal")
            continue
        known = journal.batches.get(a.h["adapter"], [])
        b = known[a.h["batch"] - 1] if 1 <= a.h["batch"] <= len(known) else {}
        if not s.check((b.get("first"), b.get("last")) == (a.h["first"], a.h["last"]), "the journal has no such batch", a.file):
            continue
        if not b["ack"] or b["ack"]["sha256"] == "-":
            s.notes.append(f"{a.file}: not acknowledged in the journal, or without SHA-256")
        elif s.check((b["ack"]["sha256"], b["ack"]["bytes"]) == (a.sha256, a.bytes), "not the file that was acknowledged", a.file):
            good += [(b["first"], b["last"])] if not a.findings and a.whole else []
    for p in journal.purges:
        at = p["first"]
        for first, last in sorted(good):
            at = max(at, last + 1) if first <= at else at
        s.check(at > p["last"], f"purged, and in none of the archives given (to record {p['last']})", at)
    return s


def main(words):
    options = {"key": None, "json": False}
    while words and words[0].startswith("-"):
        word, _, value = words.pop(0).partition("=")
        if word == "--json":
            options["json"] = True
        elif word == "--key" and (value or words):
            options["key"] = value or words.pop(0)
        else:
            words = []
    if not words:
        print(__doc__, file=sys.stderr)
        return 2
    key = None
    if options["key"]:
        try:
            text = options["key"]
            if os.path.exists(text):
                with open(text) as f:
                    text = f.read(4096)
            key = Key(text)
        except (ValueError, TypeError, OSError) as e:
            print(f"chancery-verify.py: --key: {e}", file=sys.stderr)
            return 2
    subjects, ends = [], {".db": "journal", ".tar.zst": "tarball", ".xml": "XML archive"}
    for path in sorted(set(words)):
        side = path[:-4] + ".evidence.xml"
        path = side if path.endswith(".xml") and os.path.exists(side) else path
        kind = next((ends[e] for e in ends if path.endswith(e)), "journal")
        subjects.append(Journal(path) if kind == "journal" else Archive(path, kind))
    archives = [s for s in subjects if isinstance(s, Archive)]
    journals = [s for s in subjects if isinstance(s, Journal)]
    for s in archives + journals:
        try:
            s.verify(key, *([archives] if s in journals else []))
        except (OSError, MemoryError) as e:
            s.failure = str(e)
    subjects += [together(j, archives) for j in journals if archives and not j.failure]
    found, failed = any(s.findings for s in subjects), any(s.failure for s in subjects)
    status = 1 if found else 3 if failed else 0
    verdict = ["holds", "does not hold", "", "unknown: the system failed"][status]
    if options["json"]:
        print(json.dumps({"program": "chancery-verify.py", "verdict": verdict, "status": status, "files": [
            {k: getattr(s, k) for k in ("file", "type", "findings", "notes", "failure")} for s in subjects]}))
        return status
    for s in subjects:
        print(f"{s.file}: {s.type}: " + ("FAILS" if s.findings else "system failed: " + s.failure if s.failure else "holds"))
        for what, lines in (("finding", s.findings[:1000]), ("note", s.notes)):
            for line in lines:
                print(f"  {what}: {line}".encode("ascii", "backslashreplace").decode())
    print("result:", verdict)
    return status


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)
    sys.exit(main(sys.argv[1:]))
