#!/usr/bin/env python3
"""The second verifier of Chancery, for those who read what judges their evidence.

It was written from chancery-journal(5) and chancery-adapter(7), shares no line with
chancery-verify(1), and consists of three files: this one judges a journal, chancery_evidence.py
knows its bytes, and chancery_archive.py archives. It stops reading a file at the first thing
that does not hold. It needs the commands openssl (signatures) and zstd (tarballs).
Exit status: 0 all holds, 1 something does not hold, 2 usage, 3 the system failed.
"""
import argparse
import contextlib
import itertools
import os
import re
import sqlite3
import sys
from types import SimpleNamespace

import chancery_archive
from chancery_evidence import (Tree, check_anchors, check_part, check_time, choose_key, need,
                               next_key, parse_key, parse_leaf, parse_witness, read_note, sha,
                               take_anchor, take_beat, unbase64)
from chancery_segments import check_opens, groups, put_together


# ---- CONTROL RECORDS: each follows from those before it ----

def on_batch(j, f):
    known = j.batches.setdefault(f["adapter"], [])
    begin = known[-1]["last"] + 1 if known else 0
    need(f["batch"] == len(known) + 1 and f["first"] == begin <= f["last"] < f["size"] <= f["seq"]
         and f["count"] == f["last"] - f["first"] + 1, "batch breaks its rules")
    need(j.tree.root(f["size"]) == unbase64(f["root"]), "batch states another root")
    known.append(dict(f, ack=None))


def on_ack(j, f):
    known, n = j.batches.get(f["adapter"], []), f["batch"]
    need(1 <= n <= len(known) and not known[n - 1]["ack"] and (n == 1 or known[n - 2]["ack"]) and
         all(f[name] == known[n - 1][name] for name in ("first", "last")),
         "acknowledgement of no batch, or out of order, or a second one")
    known[n - 1]["ack"] = f


def on_key(j, f):
    j.names[-1].keys = next_key(j.names[-1].keys, f)


def on_policy(j, f):
    f["keys"] = dict(map(parse_witness, f["witnesses"].split(","))) if f["witnesses"] != "-" else {}
    j.policy, j.witnesses = f, {**j.witnesses, **f["keys"]}


def on_hold(j, f):
    need(f["hold"] == len(j.holds) + 1, "hold: its number")
    j.holds.append(dict(f, released=None))
    j.newest_hold = str(f["seq"])


def on_release(j, f):
    hold, = [h for h in j.holds if h["hold"] == f["hold"] and h["released"] is None]
    need(j.policy.get("approvals") != "2" or hold["by"] != f["by"], "release by the same person")
    hold["released"], j.newest_hold = f["seq"], str(f["seq"])


def on_approve(j, f):
    need(f["below"] <= f["seq"], "approval of what comes after it")
    j.approvals[str(f["seq"])] = f


def runs(numbers):
    """Ascending numbers as in 3-9,12,20-31."""
    pieces = [[n for _, n in run] for _, run in itertools.groupby(
        enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in pieces)


def on_purge(j, f):
    first, last, acks = f["first"], f["last"], []
    f["spans"] = [[*map(int, run.split("-"))] * 2 for run in f["ranges"].split(",")]
    f["spans"] = [(span[0], span[-1]) for span in f["spans"]]
    need(f["purge"] == len(j.purges) + 1 and first <= last < f["seq"] and last - first < 10000
         and all(first <= low <= high <= last for low, high in f["spans"]), "purge: its ranges")
    taken = [seq for low, high in f["spans"] for seq in range(low, high + 1)]
    need((taken[0], taken[-1], runs(taken)) == (first, last, f["ranges"]), "purge: its ranges")
    need(all(high < c or d < low for p in j.purges for c, d in p["spans"]
             for low, high in f["spans"]), "purge overlaps another")
    need(f["policy"] == j.policy.get("seq"), "purge names another policy")
    need(f["hold"] == j.newest_hold, "purge names another hold")
    names = f["approvals"].split(",") if f["approvals"] != "-" else []
    need(len(names) == int(j.policy["approvals"]) == len({j.approvals[n]["by"] for n in names})
         and names == sorted(names, key=int), "purge: its approvals")
    need(all(j.approvals[n]["below"] > last for n in names), "purge: approved is less")
    need(j.policy["required"] != "-" and j.policy["after"] >= 0, "purge against the policy")
    for name in j.policy["required"].split(","):
        over = [b for b in j.batches.get(name, []) if b["first"] <= last and first <= b["last"]]
        need(over and over[-1]["last"] >= last and all(
            b["ack"] and b["ack"]["state"] == "stored" for b in over), f"purge: {name} has it not")
        need(f["at"] >= over[-1]["ack"]["at"] + j.policy["after"] * 1000000, "purge: too early")
        acks.append(f"{name}:{over[-1]['ack']['seq']}")
    need(f["acks"] == ",".join(acks), "purge names other acknowledgements")
    youngest, demanded = max(int(a.split(":")[1]) for a in acks), j.policy["stamp"] == "yes"
    need(youngest < int(f["anchor"]) <= f["seq"] if j.policy["quorum"] or demanded else
         f["anchor"] == "-", "purge: its anchor")
    f["rule"] = j.policy
    need(f["count"] == sum(j.kinds[seq] < 128 for seq in taken) and f["leaves"] == sha(
        *(j.tree.nodes(0, seq, 1) for seq in taken)).hex(), "purge: count or digest of leaves")
    j.purges.append(f)


def on_recover(j, f):
    """One name of the journal ends, another begins; signed records may be lost between."""
    old, key = j.names[-1], parse_key(f["vkey"])
    need(f["old"] == old.key.name and f["origin"] == key.name
         and key.name not in [name.key.name for name in j.names]
         and re.fullmatch(re.escape(old.key.name[:-8]) + "[0-9a-f]{8}", key.name),
         "recover: its names")
    lost, told = f["size"] - f["seq"], f"(reason {f['reason']}, {f['by']})"
    need(f["reason"] != "lost" or lost > 0, "recover: nothing is lost")
    need(f["reason"] == "fork" or lost > 0 or j.tree.root(f["size"]) == unbase64(f["root"]),
         "recover states another root")
    j.notes.append(f"gap, declared {told}: of {f['size']} records signed as {f['old']}, {lost} are"
                   f" lost; it goes on as {key.name}" if lost > 0 else
                   f"new name, declared {told}: {f['old']} goes on as {key.name}")
    old.end = f
    j.names.append(SimpleNamespace(key=key, next=f["next"], end=old.endless,
                                   endless=old.endless, told=sha(key.public).hex() == old.next,
                                   keys=next_key([], f)))

def on_open(j, f):
    need(f["segment"] == len(j.segments) and (f["note"] == "-") == (f["seq"] == 0) and
         (f["journal"], f["origin"]) == (j.opened["journal"], j.names[-1].key.name), "open: not of this place")
    j.sealed = False
    j.segments.append(f)


def on_seal(j, f):
    need((f["segment"], f["first"]) == (len(j.segments) - 1, j.segments[-1]["seq"])
         and f["count"] == f["seq"] + 1 - f["first"] and (f["seq"] + 1) % 256 == 0, "seal: not of this file")
    j.sealed = True


RULES = {128: on_open, 136: on_seal, 129: on_batch, 130: on_ack, 131: on_purge, 134: on_policy, 138: on_hold,
         139: on_release, 140: on_recover, 141: take_anchor, 133: take_beat, 135: on_key,
         145: on_approve}


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
        need(not given or all(name.key in given or name.told and name.key.name not in others
                              for name in s.names[1:]),
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
        need((leaf.kind == 128) == (seq == 0 or s.sealed), "open is the first record of a file and no other")
        parts = db.execute("SELECT id, salt, data FROM body WHERE id BETWEEN ? AND ? ORDER BY id",
                           (256 * seq, 256 * seq + 255)).fetchall()
        need(len(parts) in (0, len(leaf.parts)), "payloads are missing")
        for i, (row, salt, part) in enumerate(parts):
            need(row == 256 * seq + i, "payload rows")
            check_part(leaf, i, salt, part)
        if seq == 0:
            s.opened, endless = leaf.fields, {"seq": 2**63}
            s.names = [SimpleNamespace(key=parse_key(s.opened["vkey"]), next="-", end=endless,
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


def check_beyond(end, size, root):
    """A checkpoint of a former name may be of records that were declared lost, and of no more."""
    need(size <= end["size"] and (size < end["size"] or root == unbase64(end["root"])),
         f"more, or something else, was signed as {end['old']} than was declared")


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
        need((b'{"v":1}' if lost else selector).lower().decode() == text and (lost or len(salt) == 32
             and sha(b"part/1\n", salt, selector) == unbase64(s.holds[n - 1]["selector"])),
             f"hold {n}: not what its record commits to")


def read_keys(s, later):
    """The keys of all epochs, for the archives; the journal itself is judged afterwards."""
    db, keys = put_together(s.files), []
    for data, in db.execute("SELECT bytes FROM leaf WHERE seq = 0 OR kind IN (135, 140) ORDER BY"
                            " seq"):
        leaf = parse_leaf(data)
        keys = next_key(keys if leaf.kind == 135 else [], leaf.fields)
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
        subjects.append(SimpleNamespace(file=path, files=[path], kind=kind_of(path), seq=None, origin=None,
                                        finding=None, failure=None, notes=[], later=later))
    together = groups([s.file for s in subjects if s.kind == ".db"])
    for s in subjects:
        s.files = next((files for files in together if files[0] == s.file), s.files)
    subjects = [s for s in subjects if s.kind != ".db" or s.file == s.files[0] and s.files in together]
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
