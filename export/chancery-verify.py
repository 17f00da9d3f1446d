#!/usr/bin/env python3
"""The second verifier of Chancery, for those who read what judges their evidence.

It was written from chancery-journal(5) and chancery-adapter(7), shares no line with
chancery-verify(1), and consists of five files: this one reads a journal, chancery_evidence.py
knows its bytes, chancery_rules.py what control records mean, chancery_segments.py how a journal
lies in several files, and chancery_archive.py archives and proofs. It stops reading a file at the
first thing that does not hold. It needs the commands openssl (signatures) and zstd (tarballs).
Exit status: 0 all holds, 1 something does not hold, 2 usage, 3 the system failed.
"""
import argparse
import contextlib
import itertools
import os
import sqlite3
import sys
from types import SimpleNamespace

import chancery_archive
from chancery_evidence import (Tree, check_part, choose_key, need, next_key, parse_key, parse_leaf,
                               read_note, sha, unbase64)
from chancery_rules import RULES, check_anchors, check_beyond, check_time
from chancery_segments import check_opens, groups, put_together


# ---- TABLES ----

def read_journal(s, given, archives):
    db = put_together(s.files)
    try:
        db.execute("PRAGMA trusted_schema = 0")
        db.execute("BEGIN")     # a live journal is seen as of one moment
        need(db.execute("PRAGMA application_id").fetchone()[0] == 0x43484e43, "application id")
        need(db.execute("PRAGMA user_version").fetchone()[0] == 2, "schema version is not 2")
        walk(s, db)
        if not any(k.key in given for k in s.names[0].keys):        # where trust begins
            choose_key(s, given, s.opened["vkey"])
        others = [key.name for key in given]
        need(not given or all(any(k.key in given for k in name.keys) or name.told
                              and name.key.name not in others for name in s.names[1:]),
             "nobody announced the key of the new name: give it by a further --key")
        check_tree(s, db, archives)
        check_tables(s, db)
        check_anchors(s, db)
    except sqlite3.Error as e:
        # ERROR, CORRUPT, MISMATCH, NOTADB are of the file, all others of the system
        if getattr(e, "sqlite_errorcode", 1) & 255 not in (1, 11, 20, 26):
            raise OSError(str(e)) from e
        raise ValueError(f"the database cannot be read through: {e}") from e
    finally:
        db.close()


def walk(s, db):
    """All records in order, with their payloads."""
    s.tree, s.kinds, s.batches, s.purges, s.opened, found = Tree(), bytearray(), {}, [], {}, 0
    s.policy, s.at, control = {"required": "-", "after": -1}, 0, []
    s.holds, s.newest_hold, s.approvals = [], "-", {}
    s.witnesses, s.anchors, s.named, s.segments, s.sealed = {}, [], {}, [], False
    s.boot, s.offset, s.events = None, None, 0
    for seq, at, kind, data in db.execute("SELECT seq, at, kind, bytes FROM leaf ORDER BY seq"):
        s.seq = seq
        leaf = parse_leaf(data)
        need(leaf.seq == s.tree.size, f"record {s.tree.size} is expected here")
        need((leaf.seq, leaf.at, leaf.kind) == (seq, at, kind), "columns and text differ")
        need(leaf.at > s.at and (not leaf.held or leaf.at == s.at + 1 or not seq), "time")
        need((leaf.kind == 128) == (seq == 0 or s.sealed),
             "open is the first record of a file and no other")
        parts = db.execute("SELECT id, salt, data FROM body WHERE id BETWEEN ? AND ? ORDER BY id",
                           (256 * seq, 256 * seq + 255)).fetchall()
        need(len(parts) in (0, len(leaf.parts)), "payloads are missing")
        for i, (row, salt, part) in enumerate(parts):
            need(row == 256 * seq + i, "payload rows")
            check_part(leaf, i, salt, part)
        if seq == 0:
            s.opened, endless = leaf.fields, {"seq": 2**63}
            s.names = [SimpleNamespace(key=parse_key(s.opened["vkey"]), end=endless,
                                       endless=endless, keys=next_key([], s.opened))]
        check_time(s, leaf)
        RULES.get(leaf.kind, lambda s, fields: None)(s, leaf.fields)
        s.tree.add(leaf.hash)
        s.kinds.append(leaf.kind if parts or kind >= 128 else 0)
        found, s.at = found + len(parts), leaf.at
        control += [seq] if kind >= 128 else []
    s.seq = None
    need(db.execute("SELECT count(*) FROM body").fetchone()[0] == found, "stray payloads")
    indexed = db.execute("SELECT seq FROM leaf WHERE kind >= 128 ORDER BY seq").fetchall()
    need([(seq,) for seq in control] == indexed, "the index of control records lists others")
    for p in s.purges:
        need(not any(0 < kind < 128 for low, high in p["spans"] for kind in s.kinds[low:high + 1]),
             f"purge {p['purge']}: payloads are there")
    need(sum(p["count"] for p in s.purges) == s.kinds.count(0), "payloads missing and not purged")


def check_tree(s, db, archives):
    tiles = [(level // 8, i, s.tree.nodes(level, 256 * i, 256)) for level in range(0, 56, 8)
             for i in range(s.tree.size >> level + 8)]
    rows = db.execute("SELECT level, idx, data FROM tile ORDER BY level, idx")
    need(all(row == tile for row, tile in itertools.zip_longest(rows, tiles)), "tiles differ")
    (id_, size, root, newest), = db.execute("SELECT id, size, root, note FROM head").fetchall()
    need((id_, size, root) == (1, s.tree.size, s.tree.root(s.tree.size)), "head row")
    named = {name.key.name: name for name in s.names}
    outside = [a for a in archives if a.origin in named]
    rows = [(size, note, None) for size, note in db.execute("SELECT size, note FROM checkpoint")]
    check_opens(s.segments, len(s.files), s.sealed, {size: note for size, note, _ in rows})
    rows += [(a.size, a.note, named[a.origin]) for a in outside]
    signed = 0
    for row, note, name in [*rows, (None, newest, None)] if newest else rows:
        at = int(note.split(b"\n")[1])
        end = name.end if name else {}
        forked = end.get("reason") == "fork" and (end["size"], unbase64(end["root"]))
        name = name or next(name for name in s.names if at <= name.end["seq"])
        size, root = read_note(note, name.keys)
        need(row in (None, size), f"checkpoint row {row} holds another size")
        if size > name.end["seq"]:
            check_beyond(name.end, size, root)
            continue
        if (size, root) == forked:      # of another history, as was declared
            continue
        need(s.tree.root(size) == root, f"the records do not give the root signed at size {size}")
        signed = max(signed, size)
    need(signed, "no signed checkpoint agrees with these records")
    closed, late = [row[0] for row in rows], s.names[-1].keys[-1]
    need(all(k.start == k.seq + 1 or k.seq + 1 in closed or k is late and signed < k.start
             for name in s.names for k in name.keys[1:]), "an epoch has no closing checkpoint")
    s.notes.append(f"{s.tree.size} records, signed up to {signed}; later ones may be changed yet")
    s.notes.append("newest checkpoint from outside: size %d; whether later records are missing is "
                   "unknown" % max(a.size for a in outside) if outside else "no checkpoint from "
                   "outside given: freshness unknown; records may be missing at the end")


def check_tables(s, db):
    """The tables that only repeat what control records say."""
    batches = list(itertools.chain(*s.batches.values()))
    said = {
        "name, value FROM meta": [("first", "0")] + [
            (name, str(s.opened[name])) for name in ("journal", "origin", "vkey", "segment")],
        "adapter, n, first, last, seq FROM batch": [
            tuple(b[x] for x in ("adapter", "batch", "first", "last", "seq")) for b in batches],
        "adapter, n, state, seq FROM ack": [
            tuple(b["ack"][x] for x in ("adapter", "batch", "state", "seq"))
            for b in batches if b["ack"]],
        "first, last, n, seq FROM purge_range": [
            (*span, p["purge"], p["seq"]) for p in s.purges for span in p["spans"]],
        "n, seq, released FROM hold": [(h["hold"], h["seq"], h["released"]) for h in s.holds]}
    for sql, want in said.items():
        rows = [tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in row)
                for row in db.execute("SELECT " + sql)]
        need(sorted(rows, key=repr) == sorted(want, key=repr), "control records differ: " + sql)
    for n, salt, selector, *columns in db.execute(
            "SELECT n, salt, selector, room, user, since, until FROM hold"):
        names = zip(("room", "user", "from", "until"), columns)
        text = '{"v":1' + "".join(
            f',"{name}":{value}' if isinstance(value, int) else f',"{name}":"{value.decode()}"'
            for name, value in names if value is not None) + "}"
        lost = salt is selector is None
        need((b'{"v":1}' if lost else selector).lower().decode() == text and (
            lost or len(salt) == 32 and
            sha(b"part/1\n", salt, selector) == unbase64(s.holds[n - 1]["selector"])),
            f"hold {n}: not what its record commits to")


def read_keys(s, later):
    """The keys of all epochs, for the archives; the journal itself is judged afterwards."""
    db, keys = put_together(s.files), []
    for data, in db.execute("SELECT bytes FROM leaf WHERE seq = 0 OR kind IN (135, 140) ORDER BY"
                            " seq"):
        leaf = parse_leaf(data)
        old, keys = keys, next_key(keys if leaf.kind == 135 else [], leaf.fields)
        if leaf.kind == 140 and sha(keys[0].key.public).hex() == old[-1].next:
            keys[0].before = old        # announced it, under another name
        later[keys[0].key.name] = keys
    db.close()


def judge(s, verify, *more):
    """What does not hold goes into s.finding, why the system failed into s.failure."""
    try:
        verify(s, *more)
    except (OSError, MemoryError) as e:
        s.failure = str(e)
    except Exception as e:      # what Python trips over is not as the manual describes it
        s.finding = ("" if s.seq is None else f"record {s.seq}: ") + (str(e) or repr(e))


def vkey(text):
    try:
        if os.path.exists(text):
            with open(text) as f:
                text = f.read(4096)
    except OSError as e:
        raise ValueError(text) from e
    return parse_key(text)


def kind_of(path):
    """What its name says, or else its first bytes."""
    for end in (".db", ".xml", ".tar.zst", ".tlog-proof"):
        if path.endswith(end):
            return end
    with contextlib.suppress(OSError), open(path, "rb") as f:
        return ".tlog-proof" if f.read(22) == b"c2sp.org/tlog-proof@v1" else ".db"
    return ".db"


def shown(text):
    """Control characters from the evidence as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def main(words):
    parser = argparse.ArgumentParser(description="Tell what of journals and archives holds.")
    parser.add_argument("--key", type=vkey, action="append", default=[],
                        help="the public key, or a file that holds it; once for each name")
    parser.add_argument("file", nargs="+", help="a journal, tarball, XML archive or proof")
    given, subjects, later = parser.parse_args(words), [], {}
    for path in sorted(set(given.file)):
        side = path.removesuffix(".xml") + ".evidence.xml"
        path = side if path.endswith(".xml") and os.path.exists(side) else path
        subjects.append(SimpleNamespace(file=path, files=[path], kind=kind_of(path), seq=None,
                                        origin=None, finding=None, failure=None, notes=[],
                                        later=later))
    together = groups([s.file for s in subjects if s.kind == ".db"])
    for s in subjects:
        s.files = next((files for files in together if files[0] == s.file), s.files)
    subjects = [s for s in subjects
                if s.kind != ".db" or s.file == s.files[0] and s.files in together]
    archives = [s for s in subjects if s.kind in (".xml", ".tar.zst")]
    for s in subjects:
        with contextlib.suppress(Exception):    # read_journal() tells
            if s.kind == ".db":
                read_keys(s, later)
    for s in archives:
        judge(s, chancery_archive.read_archive, given.key)
    for s in subjects:
        if s.kind == ".tlog-proof":
            judge(s, chancery_archive.read_proof, given.key)
        elif s.kind == ".db":
            judge(s, read_journal, given.key, archives)
            if archives and not s.finding and not s.failure:
                judge(s, chancery_archive.together, archives)
    for s in subjects:
        verdict = "FAILS" if s.finding else "system failed" if s.failure else "holds"
        print(f"{shown(s.file)}: {verdict}")
        for word, lines in ("finding", [s.finding]), ("failure", [s.failure]), ("note", s.notes):
            for line in filter(None, lines):
                print(f"  {word}: {shown(line)}")
    status = 1 if any(s.finding for s in subjects) else 3 if any(s.failure for s in subjects) else 0
    print("result:", {0: "holds", 1: "does not hold", 3: "unknown: the system failed"}[status])
    return status


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)
    sys.exit(main(sys.argv[1:]))
