#!/usr/bin/env python3
"""The second verifier of Chancery: does what a journal, its archives and proofs say hold?
Written from chancery-journal(5) and chancery-adapter(7), with their names, it shares no line with
chancery-verify(1), and ends at the first thing that does not hold. This file has all that evidence
rests on, and judges alone with --core; the chapters beside it add what repeats or surrounds it.
"""
import argparse, base64, collections, functools, hashlib, importlib, itertools, os, pathlib, re
import sqlite3, subprocess, sys, tempfile, types, urllib.parse
POINTS = collections.defaultdict(list)      # what chapters have under the name of a point
def more(point, *of):   # calls all of it there; it may add lines to what is said
    return [line for add in POINTS[point] for line in add(sys.modules[__name__], *of) or ()]
# ---- LEAF, CONTROL RECORDS: the kinds from 128 on, their fields, the forms of the values ----
CONTROL = """open journal origin vkey next:hex software segment:n note:hex-;
batch adapter:id batch:n first:n last:n count:n size:n root:hash;
ack adapter:id batch:n first:n last:n state:stored location sha256:hex- bytes:n readback:yes;
purge purge:n first:n last:n count:n ranges leaves:hex acks held:n hold:m approvals anchor:m
    policy:n; incident what:storage|server since:n until:n refused:n;
beat every:n events:n queue:n sync:yes error:n tai:n anchor:hex-;
policy required after:a approvals:d quorum:n witnesses stamp:yes classes:hex-;
key epoch:n vkey next:hex reason:start|daily|demand|compromise clean:yes;
seal segment:n first:n count:n; clock old:i new:i sync:yes error:n tai:n;
hold hold:n matter selector:hash by:uid; release hold:n by:uid;
recover old size:n root:hash origin vkey next:hex- reason:lost|signer|fork|compromise by:uid;
anchor what:witness|stamp|syslog name state:ok|failed size:n time:n sha256:hex-;
late since:n until:n count:n;
drop what:overload|keeper|storage|chat|password|unready|large since:n until:n count:n;
audit first:n last:n since:n result:whole|broken; approve below:n by:uid;
conflict witness size:n proof:yes hold:n note"""
N, HASH = "(?:0|[1-9][0-9]{0,18})", "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
VALUE = ("(?:[A-Za-z0-9._:/+=@,-]|%(?!2[B-F]|3[0-9AD]|4[0-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9A])"
         "[0-9A-F]{2})+")      # a byte that may stand for itself does
FORMS = {"": VALUE, "n": N, "m": f"{N}|-", "a": f"{N}|-1", "i": "0|-?[1-9][0-9]{0,18}",
         "id": "[a-z0-9-]{1,32}", "hash": HASH, "hex": "[0-9a-f]{64}", "hex-": "[0-9a-f]{64}|-",
         "yes": "yes|no", "uid": f"uid:{N}", "stored": "sent|accepted|stored", "d": "[012]"}
KINDS = {kind: [word.partition(":")[::2] for word in line.split()]
         for kind, line in enumerate(CONTROL.split(";"), 128)}
PARTS, OTHER = ("".join(f"(?:p {i} ({HASH})\n" for i in range(8)) + ")?" * 7 + ")",
                f"(?:[a-z0-9]{{1,32}} {VALUE}\n){{0,64}}")
HEAD = re.compile(f"leaf/1 ({N}) ({N})\nt ({N}) ({N}) ([0-9a-f]{{8}}) ([01])\n((?s:.{{0,16384}}))")
def need(holds, reason):
    if not holds: raise ValueError(reason)
def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def unbase64(text):
    need(base64.b64encode(base64.b64decode(text)).decode() == text, "base64 malformed")
    return base64.b64decode(text)
READ = {**dict.fromkeys("nmaid", int), "hash": unbase64, "uid": lambda by: int(by[4:])}
unquote = functools.partial(urllib.parse.unquote, errors="surrogateescape")     # all others
def parse_leaf(data):   # a record: numbers, commitments to its parts, fields under their names
    *head, bootid, flag, rest = HEAD.fullmatch(data.decode("ascii")).groups()
    seq, kind, at, boottime = map(int, head)
    (title, _), *fields = KINDS.get(kind, [("", "")])
    lines = "".join(f"{name} ({FORMS.get(form, form)})\n" for name, form in fields) or OTHER
    words = re.fullmatch(PARTS if kind < 128 else lines, rest).groups()
    leaf = types.SimpleNamespace(seq=seq, kind=kind, title=title, at=at, boottime=boottime,
                                 bootid=bootid, behind=flag == "1", hash=sha(b"\0", data))
    leaf.parts = [unbase64(word) for word in words if word] if kind < 128 else []
    for (name, form), word in zip(fields, words):
        setattr(leaf, name, READ.get(form if word != "-" else "", unquote)(word))
    need(0 < kind < 256 and seq < 2**55 and all(
        abs(n) < 2**63 for n in vars(leaf).values() if type(n) is int), "a number is too large")
    need(leaf.title != "audit" or leaf.first <= leaf.last, "audit: ends before it begins")
    return leaf
def check_parts(leaf, parts, whole=True):   # it commits to these payloads (number, salt, data)
    need(not whole or [p[0] for p in parts] in ([], [*range(len(leaf.parts))]), "parts are missing")
    need(all(len(salt) == 32 and sha(b"part/1\n", salt, data) == leaf.parts[i]
             for i, salt, data in parts), "commitment")
    more("payloads", leaf, parts)
# ---- TREE: RFC 6962, section 2.1 ----
def root(low, high, leaves, known, first=0, outside=(), way_up=False):
    """Over the records from low to before high, from the hashes of leaves from `first` on, and
    outside of these: of perfect subtrees from left to right, or of those beside the way up."""
    if (low, high) in known: return known[low, high]
    beside = high <= first or low >= first + len(leaves)
    if beside and (way_up or (high - low).bit_count() == 1): return outside.pop(0)
    if high - low == 1: return leaves[low - first]
    half, rest = low + (1 << (high - low - 1).bit_length() - 1), (known, first, outside, way_up)
    right = way_up and first >= half and root(half, high, leaves, *rest)
    node = sha(b"\1", root(low, half, leaves, *rest), right or root(half, high, leaves, *rest))
    if high - low >= 256: known[low, high] = node
    return node
# ---- CHECKPOINT, EPOCHS, RECOVERY: C2SP signed notes, and the keys that sign them ----
NAME, SIGNATURE = "[^\0- +\x7f]{1,255}", f"([A-Za-z0-9+/]{{48}}{HASH})\n"
NOTE = f"(({NAME})\n({N})\n({HASH})\n)\n((?:\u2014 {NAME} .{{8,}}\n){{1,100}})"
def parse_key(text):
    found = re.fullmatch(f"({NAME})\\+([0-9a-f]{{8}})\\+([A-Za-z0-9+/]{{44}})", text)
    name, id, raw = found[1], found[2], base64.b64decode(found[3])
    need(len(name.encode()) < 256 and raw[0] == 1 and
         id == sha(name.encode(), b"\n", raw)[:4].hex(), "key of another kind or id")
    return types.SimpleNamespace(text=text, name=name, id=id, public=raw[1:], start=0)
def next_key(keys, f):  # adds the one that an open, key or recover record tells
    key, old, clean = parse_key(f.vkey), keys[-1] if keys else None, getattr(f, "clean", "no")
    key.seq, key.next, key.epoch = f.seq, f.next, getattr(f, "epoch", 0)
    key.start = f.seq and f.seq + 1 + (clean == "yes")      # the smallest size that it signs
    key.announced = old and old.seq < f.seq and sha(key.public).hex() == old.next
    need(f.title != "key" or (clean == "no") == (f.reason == "compromise") and (key.announced and (
         key.name, key.epoch) == (old.name, old.epoch + 1) if old else key.epoch), "not announced")
    need(f.title != "recover" or key.name == f.origin, "the key is not of the new name")
    return [*keys, key]
def ed25519(public, body, signature):
    der = bytes.fromhex("302a300506032b6570032100") + public
    command = "openssl pkeyutl -verify -pubin -rawin -keyform DER -inkey key -in body -sigfile blob"
    with tempfile.TemporaryDirectory() as folder:
        for name, data in ("key", der), ("body", body), ("blob", signature):
            pathlib.Path(folder, name).write_bytes(data)
        return subprocess.run(command.split(), cwd=folder, capture_output=True).returncode == 0
def read_note(data, keys):  # name, size, root of what the key of its epoch signed, and no other
    body, name, size, root, lines = re.fullmatch(NOTE, data.decode()).groups()
    keys = [k for k in keys if k.name == name]
    key = [k for k in keys if k.start <= int(size)][-1]
    blobs = map(unbase64, re.findall(f"\u2014 {re.escape(name)} {SIGNATURE}", lines))
    signers = [(k.id, ed25519(k.public, body.encode(), blob[4:]))
               for blob in blobs for k in keys if blob[:4].hex() == k.id]
    need({(who, good) for who, good in signers if good or who == key.id} == {(key.id, True)}
         and len(data) <= 16384, f"checkpoint {size}: signatures")
    return name, int(size), unbase64(root)
# ---- PROOF, KEY CHAIN ----
PROOF = f"c2sp[.]org/tlog-proof@v1\nextra (.+)\nindex ({N})\n((?:{HASH}\n){{0,64}})\n((?s:.*))"
EXTRA = f"record/1\nleaf (.+)\n((?:part [0-7] {HASH} .+\n)*)(?:keys (.+)\n)?"
BLOCK = f"leaf (.+)\nleft((?: {HASH})*)\nright((?: {HASH})*)\nnote (.+)\n"
def prove(leaves, hashes, note, keys, way_up=False):    # that they are under its signed root
    (_, size, signed), outside = read_note(note, keys), [*map(unbase64, hashes)]
    need(leaves[-1].seq < size and signed == root(0, size, [
        leaf.hash for leaf in leaves], {}, leaves[0].seq, outside, way_up) and not outside, "root")
    return size
def read_chain(text, known, keys=()):   # from a known key on, each proved by the one before it
    need(re.fullmatch(f"chancery/keys/1\n(?:{BLOCK})+", text), "key chain malformed")
    for data, left, right, note in re.findall(BLOCK, text):
        leaf = parse_leaf(unbase64(data))
        clean, before, keys = keys and leaf.clean == "yes", keys, next_key(keys, leaf)
        size = prove([leaf], (left + right).split(), unbase64(note), before if clean else keys)
        need(keys[0].text == known and (not clean or size == leaf.seq + 1), "key chain")
    return keys
def judge_proof(given, text):   # one record, what it discloses, and all from it to the key
    extra, index, hashes, note = re.fullmatch(PROOF, text).groups()
    data, parts, chain = re.fullmatch(EXTRA, unbase64(extra).decode()).groups()
    known = [key for key in given.key if key.startswith(note.split("\n")[0] + "+")]
    need(len(known) == 1, "a proof shows nothing without its journal's public key: --key")
    keys = read_chain(unbase64(chain).decode(), *known) if chain else [parse_key(*known)]
    leaf, words = parse_leaf(unbase64(data)), [line.split(" ") for line in parts.split("\n")[:-1]]
    parts = [(int(i), unbase64(salt), unbase64(part)) for _, i, salt, part in words]
    need(leaf.seq == int(index) and sorted({p[0] for p in parts}) == [p[0] for p in parts], "place")
    prove([leaf], hashes.split(), note.encode(), keys, way_up=True)
    check_parts(leaf, parts, whole=False)
    more("proof", given, leaf, parts)
    return leaf, parts, keys, unbase64(data)
def read_proof(given, path):
    leaf, parts, _, data = judge_proof(given, open(path, "rb").read().decode())
    return [leaf.hash.hex(), repr(data), *(repr(part.decode()) for _, _, part in parts)]
# ---- a journal: CONTROL RECORDS, REMOVING PAYLOADS; j.of has those before, by kind ----
def expect(f, **fields):    # a record says this, and nothing else, in these of its fields
    for name, value in fields.items():
        need(getattr(f, name) == value, f"{f.title}: {name} is not {value}")
def check_control(j, f):
    of, adapter, opened = j.of, getattr(f, "adapter", ""), (j.of["open"] or [f])[-1]
    if f.title in ("key", "recover") or f.seq == 0: j.keys = next_key(j.keys, f)
    batches, name = of["batch", adapter], j.keys[-1].name
    match f.title:
        case "open":
            note, = {sha(notes[f.seq]).hex() for notes in j.notes[-2:]} if f.seq else {"-"}
            expect(f, segment=len(of["open"]), journal=opened.journal, origin=name, note=note)
        case "seal":
            expect(f, segment=opened.segment, first=opened.seq, count=f.seq + 1 - opened.seq)
            need((f.seq + 1) % 256 == 0, "seal: its place")
        case "recover":
            *names, _ = [key.name for key in j.keys]
            need(f.old == names[-1] and name not in names and (f.reason != "lost" or f.size > f.seq)
                 and re.fullmatch(re.escape(f.old[:-8]) + "[0-9a-f]{8}", name), "recover")
            if f.reason != "fork" and f.size <= f.seq: expect(f, root=j.root(f.size))
        case "batch":
            first = batches[-1].last + 1 if batches else 0
            expect(f, batch=len(batches) + 1, first=first, count=f.last + 1 - first)
            need(first <= f.last < f.size <= f.seq and f.root == j.root(f.size), "batch: its tree")
        case "ack":
            asked = batches[len(of["ack", adapter])]    # the oldest that is not answered yet
            expect(f, batch=asked.batch, first=asked.first, last=asked.last)
        case "purge": check_purge(j, f)
        case "hold": expect(f, hold=len(of["hold"]) + 1)
        case "release":
            held, = [h for h in of["hold"] if h.hold == f.hold]
            need(f.hold not in [r.hold for r in of["release"]] and (
                f.by != held.by or 2 not in [p.approvals for p in of["policy"][-1:]]), "release")
        case "approve": need(f.below <= f.seq, "approve: of later records")
        case "audit": need(f.last < f.seq, "audit: of later records")
        case "beat": expect(f, events=sum(j.user[max(r.seq for r in [opened, *of["beat"][-1:]]):]))
    of[(f.title, adapter) if adapter else f.title].append(f)
def check_purge(j, f):      # what the policy of that moment asked for was there
    policy, newest = j.of["policy"][-1], []
    ends = [(int(run.split("-")[0]), int(run.split("-")[-1])) for run in f.ranges.split(",")]
    need(all(f.first <= a <= b <= f.last < min(f.seq, f.first + 10000) for a, b in ends), "purge")
    taken = [n for a, b in ends for n in range(a, b + 1)]
    need(taken == sorted({*taken} - j.purged) and len({*taken} - {n + 1 for n in taken}) ==
         len(ends) and not any(f.first < o.seq <= f.last for o in j.of["open"]), "purge: ranges")
    for name in policy.required.split(","):
        acks = [a for a in j.of["ack", name] if a.first <= f.last and a.last >= f.first]
        need(acks[-1].last >= f.last and all(a.state == "stored" for a in acks) and
             0 <= policy.after * 1000000 <= f.at - acks[-1].at, f"purge: not stored by {name}")
        newest.append(acks[-1])
    said = [a for a in j.of["approve"] if str(a.seq) in f.approvals.split(",") and f.last < a.below]
    need(len(said) == len({a.by for a in said}) == policy.approvals, "purge: too few approvals")
    need(max(a.seq for a in newest) < f.anchor <= f.seq if policy.quorum or policy.stamp == "yes"
         else f.anchor == "-", "purge: anchor")
    expect(f, purge=len(j.of["purge"]) + 1, first=taken[0], last=taken[-1], policy=policy.seq,
           count=sum(j.user[n] for n in taken), leaves=sha(*(j.leaves[n] for n in taken)).hex(),
           ranges=",".join(f"{a}-{b}" if a < b else str(a) for a, b in ends),
           acks=",".join(f"{a.adapter}:{a.seq}" for a in newest),
           held=f.held if len(j.of["hold"]) > len(j.of["release"]) else 0,
           hold=max([h.seq for h in j.of["hold"][-1:] + j.of["release"][-1:]], default="-"),
           approvals=",".join(str(a.seq) for a in said) or "-")
    j.purged.update(taken)
    j.undone = {n for n in taken if n < j.of["open"][-1].seq}   # the newest maybe, in other files
def read_file(j, path, first):      # its own records, which go on after those of the file before
    open(path, "rb").close()
    uri, alone = urllib.parse.quote(os.path.abspath(path)), 1 - os.path.exists(path + "-wal")
    db = sqlite3.connect(f"file:{uri}?mode=ro&immutable={alone}", uri=True, isolation_level=None)
    db.execute("BEGIN")     # a live journal is seen as of one moment
    need(db.execute("PRAGMA user_version").fetchone() == (2,), "not version 2 of the database")
    j.notes.append(dict(db.execute("SELECT size, note FROM checkpoint UNION ALL "
                                   "SELECT 'head', note FROM head WHERE note NOT NULL")))
    rows = db.execute("SELECT seq, at, kind, bytes, id & 255, salt, data FROM leaf LEFT JOIN body "
        "ON id BETWEEN seq << 8 AND seq << 8 | 255 WHERE seq >= ? ORDER BY seq, id", (first,))
    for row, group in itertools.groupby(rows, lambda row: row[:4]):
        try:
            f, parts = parse_leaf(row[3]), [part[4:] for part in group if part[4] is not None]
            need(row[:3] == (f.seq, f.at, f.kind) and f.seq == len(j.leaves) and (
                f.title == "open") == (f.seq == first) == (j.last.title == "seal"), "place")
            need(f.at > j.last.at and (not f.behind or f.at == j.last.at + 1 or f.seq == 0), "time")
            check_parts(f, parts)
            more("record", j, f, parts)
            if f.kind > 127: check_control(j, f)
            j.leaves.append(f.hash)
            j.user.append(f.kind < 128)
            j.missing.update([f.seq] if f.parts and not parts else [])
            j.last = f
        except (ValueError, LookupError, AttributeError, TypeError) as e:
            raise ValueError(f"record {row[0]}: {e}")
    need(len(j.leaves) > first, "no record")
    stray = "SELECT id FROM body WHERE id < ? OR id >= ?"
    need(not db.execute(stray, (first << 8, len(j.leaves) << 8)).fetchone(), "payload of no record")
    more("file", j, db, path, first)
def check_note(j, note):    # is of these records, or of such as were declared lost under its name
    name, size, signed = read_note(note, j.keys)
    lost = [f for f in j.of["recover"] if f.old == name]
    declared = [f.reason for f in lost if (f.size, f.root) == (size, signed)]
    if lost and size > lost[0].seq: need(size < lost[0].size or declared, "not as was declared")
    elif declared != ["fork"]:
        need(size <= len(j.leaves) and j.root(size) == signed, f"root {size}")
        j.signed = max(j.signed, size)
    return size
def read_journal(given, *files):
    j = types.SimpleNamespace(
        leaves=[], user=[], keys=[], notes=[], signed=0, purged=set(), missing=set(), undone=set(),
        of=collections.defaultdict(list), last=types.SimpleNamespace(title="seal", at=0))
    j.root = functools.partial(root, 0, leaves=j.leaves, known={(0, 0): sha()})
    for path in files: read_file(j, path, len(j.leaves))
    need({n for n in j.purged if j.user[n]} - j.undone <= j.missing <= j.purged, "payloads")
    for size, note in [row for notes in j.notes for row in notes.items()]:
        need(size in ("head", check_note(j, note)), f"row of checkpoint {size}")
    lines = more("journal", j, given)
    for key in j.keys:
        need(key.epoch == 0 or any(key.seq + 1 in n for n in j.notes)
             or key is j.keys[-1] and j.signed < key.start, "an epoch was not closed")
        told = {text for text in given.key if text.startswith(key.name + "+")}
        need(not given.key or told & {k.text for k in j.keys} or key.announced and not told,
             f"{key.text}: not the one given, or none was given for a new name")
    need(all(f.seq < j.signed for f in j.of["open"][:1] + j.of["purge"] + j.of["recover"]), "tail")
    return [f"{len(j.leaves)} records, signed up to {j.signed}, freshness unknown, keys given: "
            f"{len(given.key)}", *(f"gap, declared by record {f.seq}" for f in j.of["recover"]),
            *lines]
def vkey(text): return parse_key(open(text).read().strip() if os.path.exists(text) else text).text
def main(words):
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Exit status: 0 all holds, "
                                     "1 something does not, 2 wrong usage, 3 system failed")
    parser.add_argument("--key", action="append", default=[], type=vkey, help="once for each name")
    parser.add_argument("--core", action="store_true", help="this file alone: journals and proofs")
    parser.add_argument("file", nargs="+", help="files of one journal, archives of it, proofs")
    sys.dont_write_bytecode = True
    POINTS.clear()
    for chapter in [] if "--core" in words else map(importlib.import_module, [
            "chancery_anchors", "chancery_certificates", "chancery_archives", "chancery_tables"]):
        for point, add in vars(chapter).items(): POINTS[point].append(add)
    more("options", parser)
    todo = more("take", given := parser.parse_args(words))  # what a chapter takes out of file
    todo += [(read_proof, path) for path in given.file if path.endswith(".tlog-proof")]
    journal = {path for path in given.file if not path.endswith(".tlog-proof")}
    if journal: todo += [(read_journal, *sorted(journal, key=lambda path: (
        len(name := os.path.basename(path)), name)))]
    try:
        for judge, *paths in todo: print("holds:", *paths, *judge(given, *paths), sep="\n  ")
        return 0
    except Exception as e:      # what Python trips over is not as the manuals describe it
        code = getattr(e, "sqlite_errorcode", 1) & 255  # ERROR, CORRUPT, TOOBIG, MISMATCH, NOTADB
        if isinstance(e, (OSError, MemoryError)) or code not in (1, 11, 18, 20, 26):
            return print("system failed:", *paths, f"failure: {e}", sep="\n  ") or 3
        return print("FAILS:", *paths, f"finding: {e!r}", sep="\n  ") or 1
if __name__ == "__main__":
    os.environ["OPENSSL_CONF"] = os.devnull     # openssl as it is by itself
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try: sys.exit(main(sys.argv[1:]))
    except OSError as e: os._exit(print(e, file=sys.stderr) or 3)   # nobody reads it to its end
