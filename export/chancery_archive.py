"""Archives and proofs for chancery-verify.py, from chancery-adapter(7) and chancery-journal(5): the
evidence in an XML archive or a tarball, what a journal says of it, and proofs of single records.
The readable part of an XML archive is not judged here, chancery-verify(1) compares it with the
evidence. Tarballs need the command zstd.
"""
import datetime
import hashlib
import io
import os
import re
import subprocess
import tarfile
from xml.etree import ElementTree

from chancery_evidence import (HASH, KINDS, NUMBER, check_part, choose_key, epoch, need, next_key,
                               number, parse_key, parse_leaf, range_root, read_note, sha, unbase64,
                               unjson)

OURS, DECLARATION = "{urn:chancery:compliance:1}", b'<?xml version="1.0" encoding="UTF-8"?>\n'
NAMED = {"note", "token", "salt", "selector"}  # outside of the tree: chancery-verify(1) judges it
NUMBERS = "version batch first last count size".split()


def read_archive(s, given):
    with open(s.file, "rb") as f:
        data = f.read()
    s.sha256, s.bytes, s.whole = hashlib.sha256(data).hexdigest(), len(data), True
    (read_xml if s.kind == ".xml" else read_tarball)(s, data, given)


def trusted(keys, given):
    """One of a name's keys was given, or its first was announced under a name that is trusted."""
    return bool(keys) and (not given or any(k.key in given for k in keys) or
                           trusted(getattr(keys[0], "before", []), given))


def check_records(s, h, vkey, given, records):
    """h: the batch's header; records: (seq, kind, leaf, purged, [(salt, data)]) in order.
    Gives the leaf hashes."""
    first, last, size, hashes, at = h["first"], h["last"], h["size"], [], 0
    need(h["id"] == f"{h['origin']}/{h['adapter']}/{h['batch']}", "the batch id is another")
    need(h["version"] == 1 and first <= last < size and h["count"] == last - first + 1,
         "version, range, count and size do not fit")
    keys = s.later.get(h["origin"], [])
    if trusted(keys, given):
        need(epoch(keys, size) == parse_key(vkey), "names another key than that of its epoch")
    else:
        keys = choose_key(s, given, vkey)
    root = read_note(h["note"].encode(), keys)
    need(root == (size, unbase64(h["root"])) and h["note"].startswith(h["origin"] + "\n"),
         "the checkpoint is not the one stated")
    for seq, kind, text, purged, parts in records:
        s.seq, leaf = first + len(hashes), parse_leaf(text.encode())
        need(leaf.seq == seq == s.seq and leaf.kind == kind and leaf.at > at, "number, kind, time")
        need(len(parts) == (0 if purged else len(leaf.parts)) and (leaf.parts or not purged),
             "payloads are missing")
        for i, (salt, part) in enumerate(parts):
            check_part(leaf, i, salt, part)
        hashes, at, s.whole = [*hashes, leaf.hash], leaf.at, s.whole and not purged
    s.seq = None
    outside = [unbase64(word) for word in [*h["left"], *h["right"]]]
    need(len(hashes) == h["count"] and len(h["left"]) == first.bit_count(), "records are missing")
    need(range_root(0, size, first, hashes, outside) == root[1] and not outside,
         "the leaves and the hashes around them do not give the signed root")
    s.h, s.origin, s.note, s.size = h, h["origin"], h["note"].encode(), size
    s.notes.append(f"batch {h['adapter']} {h['batch']}, records {first}-{last}, checkpoint {size}")
    return hashes


# ---- XML ----

def read_xml(s, data, given):
    need(data.startswith(DECLARATION) and b"<!" not in data and b"<?" not in data[5:],
         "declarations, comments and instructions have no place in an archive")
    root = ElementTree.fromstring(data)
    strict = root.tag == OURS + "evidence"
    evidence = root if strict else root[-1]
    need(evidence.tag == OURS + "evidence" and (strict or root.tag == "Conversations"),
         "no evidence in this file: a rendering alone proves nothing")
    need(not any((e.text or "").strip(" \t\r\n") or (e.tail or "").strip(" \t\r\n")
                 for e in root.iter()), "text has no place in an archive")
    h, known = dict(evidence.attrib), ("software origin vkey adapter id root note left right "
                                       "version batch first last count size").split()
    rendering, hashed = h.pop("rendering", None), h.pop("rendering-sha256", None)
    need(sorted(h) == sorted(known) and strict == (rendering is not None), "evidence: attributes")
    h.update({name: number(h[name]) for name in NUMBERS})
    h.update({name: h[name].split(" ") if h[name] else [] for name in ("left", "right")})
    records = []
    for record in evidence:
        a, kind, parts = record.attrib, number(record.get("kind")), []
        need(record.tag == OURS + "record" and a.get("purged", "true") == "true"
             and set(a) - {"purged", "name", *NAMED} == {"seq", "kind", "leaf"}
             and a.get("name") == KINDS.get(kind, a.get("name")), "record: attributes")
        for i, part in enumerate(record):
            need(part.tag == OURS + "part" and not len(part) and part.get("number") == str(i)
                 and set(part.attrib) == {"number", "salt", "data"}, "part: attributes")
            parts.append((unbase64(part.get("salt")), unbase64(part.get("data"), None)))
        records.append((number(a["seq"]), kind, a["leaf"], "purged" in a, parts))
    check_records(s, h, h["vkey"], given, records)
    if strict:
        need(rendering and rendering[0] != "." and "/" not in rendering, "rendering: its name")
        path = os.path.join(os.path.dirname(s.file), rendering)
        need(os.path.exists(path), "the rendering is not there")
        with open(path, "rb") as f:
            need(hashlib.sha256(f.read()).hexdigest() == hashed, "the rendering is another file")
    s.notes.append("the readable rendering is not judged by this program")


# ---- TARBALL: a BagIt bag (RFC 8493) ----

def read_tarball(s, data, given):
    done = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True)
    need(done.returncode == 0, "zstd cannot read it through")
    files, folders = {}, set()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for entry in tar:
            folder, _, name = entry.name.partition("/")
            need(entry.isreg() and name and name not in files and
                 not {"..", ""} & set(name.split("/")), f"not a file of a bag: {entry.name}")
            files[name] = tar.extractfile(entry).read()
            folders.add(folder)
    need(len(folders) == 1, "not one folder")
    manifests = ["manifest-sha256.txt", "tagmanifest-sha256.txt"]
    for manifest, tags in zip(manifests, (False, True)):
        lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}" for name in files
                 if name.startswith("data/") != tags and name != manifests[1]]
        need(sorted(files[manifest].decode().split("\n")) == ["", *sorted(lines)],
             f"{manifest} does not list the files that are there")
    h = unjson(files["data/proof.json"])
    payload = [len(content) for name, content in files.items() if name.startswith("data/")]
    info = files["bag-info.txt"].decode().split("\n")[1:-1]
    need(files["bagit.txt"] == b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
         and f"Payload-Oxum: {sum(payload)}.{len(payload)}" in info
         and f"External-Identifier: {h['id']}" in info, "bagit.txt or bag-info.txt")
    need(all(type(h[name]) is int and 0 <= h[name] < 2**63 for name in NUMBERS), "proof.json")
    *lines, rest = files["data/records.jsonl"].split(b"\n")
    events = [unjson(line) for line in lines]
    need(not rest and all(e["type"] == "event" for e in events), "records.jsonl: not records")
    hashes = check_records(s, {**h, "note": files["data/checkpoint"].decode()},
                           files["data/vkey"].decode(), given, [
        (e["seq"], e["kind"], e["leaf"], e.get("purged") is True,
         [(unbase64(part["salt"]), part["data"].encode()) for part in e["parts"]]) for e in events])
    tiles = {}
    for index in range(-(-h["first"] // 256), h["last"] // 256 + 1):
        tile = hashes[index * 256 - h["first"]:][:256]
        path, above = f"{index % 1000:03}", index // 1000
        while above:
            path, above = f"x{above % 1000:03}/{path}", above // 1000
        tiles[f"data/tile/0/{path}" + (f".p/{len(tile)}" if len(tile) < 256 else "")] = tile
    need({name for name in files if name.startswith("data/tile/")} == set(tiles) and all(
        files[name] == b"".join(tile) for name, tile in tiles.items()), "tiles of other leaves")


# ---- chancery-journal(5), PROOF: a C2SP tlog-proof of one record ----

PROOF = re.compile(f"c2sp[.]org/tlog-proof@v1\nextra (.+)\nindex ({NUMBER})\n"
                   f"((?:{HASH}\n){{0,64}})\n(.*)", re.DOTALL)
EXTRA = re.compile(f"record/1\nleaf (.+)\n((?:part [0-7] {HASH} .+\n)*)(?:keys (.+)\n)?")


def check_proof(data, key):
    """Gives leaf, {number: data of the part} and the size of the checkpoint."""
    found = PROOF.fullmatch(data.decode("utf-8"))
    need(found, "not a tlog-proof with a record")
    extra = EXTRA.fullmatch(unbase64(found[1], None).decode("ascii"))
    need(extra, "the extra data are not those of a record")
    index, path, note = number(found[2]), found[3].split("\n")[:-1], found[4].encode()
    need(key is not None, "no key given: a proof shows nothing without the journal's public key")
    keys = read_chain(unbase64(extra[3], None).decode("ascii"), key) if extra[3] else key
    size, root = read_note(note, keys)
    leaf, parts = parse_leaf(unbase64(extra[1], None)), {}
    need(leaf.seq == index < size, "the leaf is of another record")
    need(path_root(index, size, leaf.hash, [unbase64(word) for word in path]) == root,
         "the leaf and the hashes do not give the signed root")
    for line in extra[2].split("\n")[:-1]:
        _, i, salt, part = line.split(" ")
        need(int(i) > max(parts, default=-1) and int(i) < len(leaf.parts), "parts out of order")
        parts[int(i)] = unbase64(part, None)
        check_part(leaf, int(i), unbase64(salt), parts[int(i)])
    return leaf, parts, size


def read_chain(text, genesis):
    """KEY CHAIN: the keys of all epochs, each proved by the one before it."""
    head, *lines = text.split("\n")
    need(head == "chancery/keys/1" and lines.pop() == "" and lines and len(lines) % 4 == 0,
         "key chain malformed")
    keys = []
    for block in zip(*[iter(lines)] * 4):
        words = [line.split(" ") for line in block]
        need([w[0] for w in words] == ["leaf", "left", "right", "note"] and
             len(words[0]) == len(words[3]) == 2, "key chain: a line is malformed")
        leaf, note = parse_leaf(unbase64(words[0][1], None)), unbase64(words[3][1], None)
        need(leaf.kind == 135 if keys else leaf.kind == 140 or (leaf.kind, leaf.seq) == (128, 0),
             "key chain: not a record that tells a key")
        later = next_key(keys, leaf.fields)
        need(later[0].key == genesis, "key chain: of another key")
        clean = keys and leaf.fields["clean"] == "yes"
        size, root = read_note(note, keys[-1].key if clean else later[-1].key)
        outside = [unbase64(word) for word in words[1][1:] + words[2][1:]]
        need(leaf.seq < size and len(words[1]) - 1 == leaf.seq.bit_count() and
             range_root(0, size, leaf.seq, [leaf.hash], outside) == root and not outside,
             "key chain: the hashes do not lead to the checkpoint")
        need(not clean or size == leaf.seq + 1, "key chain: not the closing checkpoint")
        need(not keys or leaf.seq + 1 >= keys[-1].start, "key chain: records out of order")
        keys = later
    return keys


def path_root(index, size, root, path):
    """RFC 9162, section 2.1.3.2: from the leaf's hash up, beside each hash of the path."""
    last = size - 1
    for beside in path:
        need(last > 0, "the proof has too many hashes")
        left = index & 1 or index == last
        root = sha(b"\1", beside, root) if left else sha(b"\1", root, beside)
        while left and index and not index & 1:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1
    need(last == 0, "the proof has too few hashes")
    return root


def read_proof(s, given):
    with open(s.file, "rb") as f:
        data = f.read()
    named = [key for key in given if f"\n\n{key.name}\n".encode() in data]
    leaf, parts, size = check_proof(data, *(named or given or [None])[:1])
    envelope = unjson(parts.get(0, b"{}"), ())
    text = unjson(parts[1], ()).get("text") if 1 in parts else "not in this proof"
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=leaf.at)
    s.notes += [f"record: {leaf.seq}, {KINDS.get(leaf.kind, leaf.kind)}",
                f"hash: {leaf.hash.hex()}",
                f"time: {at.isoformat()}Z by the journal's clock, checkpoint of {size} records"]
    s.notes += [f"{name}: {envelope[name]}" for name in ("room", "user") if name in envelope]
    s.notes += [f"text: {text}"] if len(leaf.parts) > 1 else []


# ---- a journal and its archives ----

def together(j, archives):
    """Each archive is the file that was acknowledged; each purged record is in one that holds."""
    good = set()
    for a in archives:
        end = next((n.end for n in j.names if n.key.name == a.origin), None)
        if end is None:
            continue
        known = j.batches.get(a.h["adapter"], [])
        b = known[a.h["batch"] - 1] if 1 <= a.h["batch"] <= len(known) else {}
        if end["seq"] < j.tree.size and not (b and b["ack"] and b["ack"]["seq"] < end["seq"]):
            j.notes.append(f"{a.file}: that it was acknowledged is among the records lost")
            continue
        need((b.get("first"), b.get("last")) == (a.h["first"], a.h["last"]),
             f"{a.file}: the journal has no such batch")
        if not b["ack"] or b["ack"]["sha256"] == "-":
            j.notes.append(f"{a.file}: not acknowledged, or without SHA-256")
            continue
        need((b["ack"]["sha256"], b["ack"]["bytes"]) == (a.sha256, a.bytes),
             f"{a.file}: not the file that was acknowledged")
        good.update(range(b["first"], b["last"] + 1) if a.whole and not a.finding else ())
    purged = {seq for p in j.purges for low, high in p["spans"] for seq in range(low, high + 1)}
    need(purged <= good, f"record {min(purged - good, default=0)}: purged, and in no archive given")
