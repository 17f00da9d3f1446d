#!/usr/bin/env python3
"""The second verifier of Chancery: does what a journal, its archives and proofs say hold?
Written from chancery-journal(5) and chancery-adapter(7), with their names, it shares no line with
chancery-verify(1). What does not hold raises an exception, which ends the reading of that file.
Only chancery-verify(1) judges: what repeats other things (tables made from control records, tiles,
copies in later files, the head row); how batches are numbered, cut and answered, holds released,
files sealed; clock, beat, audit and anchor records, cosignatures and time-stamps; whether payloads
are JSON of their kind; how archives, which need their journal here, are made, and what people read.
"""
import argparse, base64, collections, functools, hashlib, io, itertools, json, os, pathlib, re
import sqlite3, subprocess, sys, tarfile, tempfile, urllib.parse
from types import SimpleNamespace
from xml.etree import ElementTree

# ---- LEAF, CONTROL RECORDS: the kinds from 128 on, their fields, the forms of the values ----
CONTROL = """open journal origin vkey next:hex software segment:n note:hex-;
batch adapter:id batch:n first:n last:n count:n size:n root:hash;
ack adapter:id batch:n first:n last:n state:stored location sha256:hex- bytes:n readback:yes;
purge purge:n first:n last:n count:n ranges leaves:hex acks held:n hold:m approvals anchor:m
    policy:n; incident what since:n until:n refused:n;
beat every:n events:n queue:n sync:yes error:n tai:n anchor:hex-;
policy required after:m approvals:d quorum:n witnesses stamp:yes classes:hex-;
key epoch:n vkey next:hex reason:start|daily|demand|compromise clean:yes;
seal segment:n first:n count:n; clock old:i new:i sync:yes error:n tai:n;
hold hold:n matter selector:hash by; release hold:n by;
recover old size:n root:hash origin vkey next:hex- reason:lost|signer|fork|compromise by:uid;
anchor what:witness|stamp|syslog name state:ok|failed size:n time:n sha256:hex-;
late since:n until:n count:n; drop what since:n until:n count:n; audit first:n last:n since:n
    result:whole|broken; approve below:n by; conflict witness size:n proof:yes hold:n note"""
N, HASH = "(?:0|[1-9][0-9]{0,18})", "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
VALUE = ("(?:[A-Za-z0-9._:/+=@,-]|%(?!2[B-F]|3[0-9AD]|4[0-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9A])"
         "[0-9A-F]{2})+")      # a byte that may stand for itself does
FORMS = {"": VALUE, "n": N, "m": f"{N}|-1?", "i": "0|-?[1-9][0-9]{0,18}", "id": "[a-z0-9-]{1,32}",
         "hash": HASH, "hex": "[0-9a-f]{64}", "hex-": "[0-9a-f]{64}|-", "yes": "yes|no",
         "uid": f"uid:{N}", "stored": "sent|accepted|stored", "d": "[012]"}
KINDS = {kind: [word.partition(":")[::2] for word in line.split()]
         for kind, line in enumerate(CONTROL.split(";"), 128)}
LINES = {kind: "".join(f"{name} ({FORMS.get(form, form)})\n" for name, form in fields)
         for kind, (_, *fields) in KINDS.items()}
PARTS, OTHER = ("".join(f"(?:p {i} ({HASH})\n" for i in range(8)) + ")?" * 7 + ")",
                f"(?:[a-z0-9]{{1,32}} {VALUE}\n){{0,64}}")
HEAD = re.compile(f"leaf/1 ({N}) ({N})\nt ({N}) ({N}) [0-9a-f]{{8}} ([01])\n((?s:.{{0,16384}}))")
def need(holds, reason):
    if not holds:
        raise ValueError(reason)
def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()
def unbase64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 malformed")
    return data

def parse_leaf(data):
    """A record: its numbers, the commitments to its parts, and its fields under their names."""
    *head, flag, rest = HEAD.fullmatch(data.decode("ascii")).groups()
    seq, kind, at, boottime = map(int, head)
    leaf = SimpleNamespace(seq=seq, kind=kind, at=at, behind=flag == "1", hash=sha(b"\0", data))
    words = re.fullmatch(PARTS if kind < 128 else LINES.get(kind, OTHER), rest).groups()
    need(0 < kind < 256 and seq < 2**55 and max(at, boottime) < 2**63, "leaf malformed")
    leaf.parts = [unbase64(word) for word in words if word] if kind < 128 else []
    for (name, form), word in zip(KINDS.get(kind, [""])[1:], words):
        numeric = form in {*"dimn"} and word != "-"
        need(not numeric or abs(int(word)) < 2**63, "number too large")
        setattr(leaf, name, int(word) if numeric else urllib.parse.unquote(word, errors="replace"))
    return leaf
def check_parts(leaf, parts):   # these payloads (number, salt, data) are what it commits to
    need(all(len(salt) == 32 and sha(b"part/1\n", salt, data) == leaf.parts[i]
             for i, salt, data in parts), f"record {leaf.seq}: commitment")

# ---- TREE: RFC 6962, section 2.1 ----
def root(low, high, leaves, known, first=0, outside=(), way_up=False):
    """Over the records from low to before high, from the hashes of leaves from `first` on, and
    outside of these: of perfect subtrees from left to right, or of those beside the way up."""
    if (low, high) in known:
        return known[low, high]
    beside = high <= first or low >= first + len(leaves)
    if beside and (way_up or (high - low).bit_count() == 1):
        return outside.pop(0)
    if high - low == 1:
        return leaves[low - first]
    half, rest = low + (1 << (high - low - 1).bit_length() - 1), (known, first, outside, way_up)
    right = way_up and first >= half and root(half, high, leaves, *rest)
    node = sha(b"\1", root(low, half, leaves, *rest), right or root(half, high, leaves, *rest))
    if high - low >= 256:
        known[low, high] = node
    return node

# ---- CHECKPOINT, EPOCHS, RECOVERY: C2SP signed notes, and the keys that sign them ----
NAME, SIGNATURE = "[^\0- +\x7f]{1,255}", "[A-Za-z0-9+/]{90}[AEIMQUYcgkosw048]="
DER = bytes.fromhex("302a300506032b6570032100")     # before the 32 bytes of a public key
NOTE = f"(({NAME})\n({N})\n({HASH})\n)\n((?:\u2014 {NAME} .{{8,}}\n){{1,100}})"
def parse_key(text):
    found = re.fullmatch(f"({NAME})\\+([0-9a-f]{{8}})\\+(A[Q-Za-f][A-Za-z0-9+/]{{42}})", text)
    need(found and len(found[1].encode()) < 256 and found[2] == sha(
        found[1].encode(), b"\n", unbase64(found[3]))[:4].hex(), "key malformed, or of another id")
    return SimpleNamespace(text=text, name=found[1], id=found[2], raw=unbase64(found[3]), start=0)
def next_key(keys, f):
    """Adds the key that an open, key or recover record tells; it signs sizes from `start` on."""
    key, old, clean = parse_key(f.vkey), keys[-1] if keys else None, getattr(f, "clean", "no")
    key.seq, key.next, key.epoch = f.seq, f.next, getattr(f, "epoch", 0)
    key.start = f.seq and f.seq + 1 + (clean == "yes")
    key.announced = old and sha(key.raw[1:]).hex() == old.next
    need(f.kind != 135 or key.announced and key.name == old.name and key.epoch == old.epoch + 1
         and (clean == "no") == (f.reason == "compromise"), "the key is not the one announced")
    need(f.kind != 140 or key.name == f.origin and key.name not in [k.name for k in keys]
         and (not keys or f.old == old.name), "recover: names")
    return [*keys, key]
@functools.cache
def ed25519(public, body, signature):
    command = "openssl pkeyutl -verify -pubin -rawin -keyform DER -inkey key -in body -sigfile blob"
    with tempfile.TemporaryDirectory() as folder:
        for name, data in ("key", DER + public), ("body", body), ("blob", signature):
            pathlib.Path(folder, name).write_bytes(data)
        return subprocess.run(command.split(), cwd=folder, capture_output=True).returncode == 0
def read_note(data, keys):
    """Name, size and root of a checkpoint that the key of its epoch signed, and no other key."""
    body, name, size, root, lines = re.fullmatch(NOTE, data.decode()).groups()
    keys = [k for k in keys if k.name == name]
    key = [k for k in keys if k.start <= int(size)][-1]
    blobs = map(unbase64, re.findall(f"\u2014 {re.escape(name)} ({SIGNATURE})\n", lines))
    signers = [(k.id, ed25519(k.raw[1:], body.encode(), blob[4:]))
               for blob in blobs for k in keys if blob[:4].hex() == k.id]
    need((key.id, True) in signers and (key.id, False) not in signers and len(data) <= 16384 and
         all(who == key.id for who, good in signers if good), f"checkpoint {size}: signatures")
    return name, int(size), unbase64(root)

# ---- PROOF, KEY CHAIN ----
PROOF = f"c2sp[.]org/tlog-proof@v1\nextra (.+)\nindex ({N})\n((?:{HASH}\n){{0,64}})\n((?s:.*))"
EXTRA = f"record/1\nleaf (.+)\n((?:part [0-7] {HASH} .+\n)*)(?:keys (.+)\n)?"
BLOCK = f"leaf (.+)\nleft((?: {HASH})*)\nright((?: {HASH})*)\nnote (.+)\n"
def prove(leaf, hashes, way_up, note, keys):
    """The leaf and the hashes around it give the signed root of the checkpoint of a size."""
    (_, size, signed), outside = read_note(note, keys), [*map(unbase64, hashes.split())]
    need(leaf.seq < size and root(0, size, [leaf.hash], {}, leaf.seq, outside, way_up) == signed
         and not outside, "not under the signed root")
    return size
def read_chain(text, genesis, keys=()):
    """The keys of all epochs up to one, each proved by the one before it."""
    need(re.fullmatch(f"chancery/keys/1\n(?:{BLOCK})+", text), "key chain malformed")
    for data, left, right, note in re.findall(BLOCK, text):
        leaf = parse_leaf(unbase64(data))
        clean, before, keys = keys and leaf.clean == "yes", keys, next_key(keys, leaf)
        size = prove(leaf, left + right, False, unbase64(note), before if clean else keys)
        need(keys[0].text == genesis and (not clean or size == leaf.seq + 1), "key chain")
    return keys
def read_proof(given, path):
    """One record, the payloads that it discloses, and all that leads from it to the key."""
    extra, index, hashes, note = re.fullmatch(PROOF, open(path, "rb").read().decode()).groups()
    data, parts, chain = re.fullmatch(EXTRA, unbase64(extra).decode()).groups()
    genesis, = [key for key in given if key.startswith(note.split("\n")[0] + "+")]
    keys = read_chain(unbase64(chain).decode(), genesis) if chain else [parse_key(genesis)]
    leaf, words = parse_leaf(unbase64(data)), [line.split(" ") for line in parts.split("\n")[:-1]]
    parts = [(int(i), unbase64(salt), unbase64(part)) for _, i, salt, part in words]
    need(leaf.seq == int(index) and sorted({p[0] for p in parts}) == [p[0] for p in parts], "order")
    prove(leaf, hashes, True, note.encode(), keys)
    check_parts(leaf, parts)
    return [leaf.hash.hex(), repr(unbase64(data)), *(repr(part.decode()) for _, _, part in parts)]

# ---- a journal: TABLES, SEGMENTS, CONTROL RECORDS, REMOVING PAYLOADS ----
def connect(path):
    open(path, "rb").close()
    uri = f"file:{urllib.parse.quote(os.path.abspath(path))}?mode=ro"
    uri += "" if os.path.exists(path + "-wal") else "&immutable=1"
    db = sqlite3.connect(uri, uri=True, isolation_level=None)
    db.text_factory = bytes
    db.execute("BEGIN")     # a live journal is seen as of one moment
    need(db.execute("PRAGMA user_version").fetchone() == (2,), "not version 2 of the database")
    return db
def read_file(j, db):
    """The own records of a file, which go on where those of the file before ended."""
    first = len(j.leaves)
    rows = db.execute("SELECT seq, at, kind, bytes, id & 255, salt, data FROM leaf LEFT JOIN body "
        "ON id BETWEEN seq << 8 AND seq << 8 | 255 WHERE seq >= ? ORDER BY seq, id", (first,))
    for row, group in itertools.groupby(rows, lambda row: row[:4]):
        leaf, parts = parse_leaf(row[3]), [part[4:] for part in group if part[4] is not None]
        need(row[:3] == (leaf.seq, leaf.at, leaf.kind) and leaf.seq == len(j.leaves)
             and (leaf.kind == 128) == (leaf.seq == first), f"record {row[0]}: its place")
        need(leaf.at > j.at and (not leaf.behind or leaf.at == j.at + 1 or leaf.seq == 0), "time")
        need([p[0] for p in parts] in ([], [*range(len(leaf.parts))]), "payloads are missing")
        check_parts(leaf, parts)
        j.leaves.append(leaf.hash)
        j.user.append(leaf.kind < 128)
        j.missing.update([leaf.seq] if leaf.parts and not parts else [])
        j.of[KINDS.get(leaf.kind, [[""]])[0][0]] += [leaf] if leaf.kind in KINDS else []
        j.at = leaf.at
    j.points.update(db.execute("SELECT note, 'head' FROM head WHERE note NOT NULL"))
    j.points.update(db.execute("SELECT note, size FROM checkpoint"))
    stray = "SELECT id FROM body WHERE id < ? OR id >= ?"
    need(not db.execute(stray, (first << 8, len(j.leaves) << 8)).fetchone(), "payload of no record")

def check_purge(j, f):
    """What the policy of that moment asked for was there; gives the records that it takes."""
    policy = [p for p in j.of["policy"] if p.seq < f.seq][-1]
    held = max((h.seq for h in j.of["hold"] + j.of["release"] if h.seq < f.seq), default="-")
    ends = [(int(run.split("-")[0]), int(run.split("-")[-1])) for run in f.ranges.split(",")]
    need((f.policy, f.hold) == (policy.seq, held) and f.first <= f.last < f.seq and
         f.last - f.first < 10000 and all(f.first <= a <= b <= f.last for a, b in ends), "purge")
    taken = [n for low, high in ends for n in range(low, high + 1)]
    need((f.first, f.last) == (taken[0], taken[-1]) and taken == sorted({*taken} - j.purged) and
         f.count == sum(j.user[n] for n in taken) and
         f.leaves == sha(*(j.leaves[n] for n in taken)).hex(), "purge: count or leaves")
    said = [a for a in j.of["approve"] if a.seq < f.seq and str(a.seq) in f.approvals.split(",")]
    need(f.approvals == (",".join(str(a.seq) for a in said) or "-") and policy.approvals == len(
        said) == len({a.by for a in said}) and all(f.last < a.below for a in said), "approvals")
    newest = []
    for name in policy.required.split(","):
        acks = [a for a in j.of["ack"] if a.adapter == name and a.seq < f.seq
                and a.first <= f.last and a.last >= f.first]
        need(all(any(a.first <= n <= a.last for a in acks) for n in taken) and all(
            a.state == "stored" and 0 <= policy.after * 1000000 <= f.at - a.at for a in acks), name)
        newest.append(acks[-1])
    need(f.acks == ",".join(f"{a.adapter}:{a.seq}" for a in newest) and (
        max(a.seq for a in newest) < f.anchor <= f.seq if policy.quorum or policy.stamp == "yes"
        else f.anchor == "-"), "acks or anchor")
    j.purged.update(taken)
    return taken
def check_note(j, note):
    """A checkpoint is of these records, or of such as were declared lost under its name."""
    name, size, signed = read_note(note, j.keys)
    end = next((f for f in j.of["recover"] if f.old == name), None)
    declared = end and (size, signed) == (end.size, unbase64(end.root))
    if end and size > end.seq:
        need(size < end.size or declared, "more, or something else, was signed than was declared")
    elif not (declared and end.reason == "fork"):
        need(size <= len(j.leaves) and root(0, size, j.leaves, j.known) == signed, f"root {size}")
        j.signed = max(j.signed, size)
    return size
def read_archive(j, path):
    """Its records are those of the journal, or declared lost; it is what was acknowledged."""
    data = pathlib.Path(path).read_bytes()
    if path.endswith(".xml"):
        h = next(ElementTree.fromstring(data).iter("{urn:chancery:compliance:1}evidence"))
        note, records = h.get("note"), [(r.get("leaf"), [(p.get("salt"), unbase64(p.get("data")))
                                                         for p in r]) for r in h]
    else:
        tar = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(tar)) as tar:
            files = {m.name.partition("/")[2]: tar.extractfile(m).read() for m in tar if m.isreg()}
        h, note = json.loads(files["data/proof.json"]), files["data/checkpoint"].decode()
        records = [(e["leaf"], [(p["salt"], p["data"].encode()) for p in e["parts"]])
                   for e in map(json.loads, files["data/records.jsonl"].splitlines())]
    records = [(parse_leaf(leaf.encode()), parts) for leaf, parts in records]
    first, last = records[0][0].seq, records[-1][0].seq
    lost = min([f.seq for f in j.of["recover"] if note.startswith(f.old + "\n")], default=last + 1)
    for leaf, parts in records:
        check_parts(leaf, [(i, unbase64(salt), part) for i, (salt, part) in enumerate(parts)])
        need(leaf.seq >= lost or leaf.hash == j.leaves[leaf.seq], "not a record of the journal")
    check_note(j, note.encode())
    said = {getattr(f, "sha256", "-") for f in j.of["batch"] + j.of["ack"]
            if last < lost and (f.adapter, f.first, f.last) == (h.get("adapter"), first, last)}
    need(said <= {"-", sha(data).hex()} and (said or j.of["recover"]), "not as acknowledged")
    return {r.seq for r, parts in records if r.seq < lost and len(parts) == len(r.parts)}
def read_journal(given, files, archives):
    j = SimpleNamespace(leaves=[], known={}, user=[], missing=set(), purged=set(), at=0,
                        points={}, of=collections.defaultdict(list), keys=[], signed=0)
    for path in files:
        read_file(j, connect(path))
    for f in sorted(j.of["open"][:1] + j.of["key"] + j.of["recover"], key=lambda f: f.seq):
        j.keys = next_key(j.keys, f)
    last = [(f.seq, check_purge(j, f)) for f in j.of["purge"]][-1:]  # maybe not done in other files
    undone = {n for seq, taken in last for n in taken if any(n < o.seq < seq for o in j.of["open"])}
    need({n for n in j.purged if j.user[n]} - undone <= j.missing <= j.purged, "payloads")
    need(j.points, "no journal, or no checkpoint in it")
    need(all(n in (b"head", check_note(j, note)) for note, n in j.points.items()), "checkpoint row")
    for key in j.keys:
        need(key.epoch == 0 or key.start == key.seq + 1 or key.seq + 1 in j.points.values()
             or key is j.keys[-1] and j.signed < key.start, "an epoch was not closed")
        told = [k for k in j.keys if k.name == key.name and k.text in given] or key.announced and (
            key.name not in [text.split("+")[0] for text in given])
        need(told or not given, "the key is not the one given, or none was given for a new name")
    archived = set().union(*(read_archive(j, path) for path in archives))
    need(not archives or archived >= j.purged, "a purged record is in no archive given")
    return [f"{len(j.leaves)} records, signed up to {j.signed}, freshness unknown, keys given: "
            f"{len(given)}", *(f"gap, declared by record {f.seq}" for f in j.of["recover"])]
# ---- the command ----
def main(words):
    parser = argparse.ArgumentParser(description="Exit status: 0 all holds, 1 not, 3 system failed")
    parser.add_argument("--key", action="append", default=[], help="once for each name",
        type=lambda key: parse_key(open(key).read().strip() if os.path.exists(key) else key).text)
    parser.add_argument("file", nargs="+", help="files of one journal, archives of it, proofs")
    given, status = parser.parse_args(words), 0
    sides = {path: re.sub("([.]evidence)?[.]xml$", ".evidence.xml", path) for path in given.file}
    files = {side if os.path.exists(side) else path for path, side in sides.items()}
    proofs = sorted(path for path in files if path.endswith(".tlog-proof"))
    archives = sorted(path for path in files if path.endswith((".xml", ".tar.zst")))
    journal = sorted(files - {*proofs, *archives}, key=lambda path: (len(path), path))
    todo = [(read_proof, path) for path in proofs]
    todo += [(read_journal, journal, archives)] if journal or archives else []
    for judge, *paths in todo:
        try:
            verdict, notes = "holds", judge(given.key, *paths)
        except (OSError, MemoryError) as e:
            verdict, notes, status = "system failed", [f"failure: {e}"], status or 3
        except Exception as e:      # what Python trips over is not as the manuals describe it
            verdict, notes, status = "FAILS", [f"finding: {e!r}"], 1
        print(f"{verdict}:", *paths, *notes, sep="\n  ")
    return status
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
