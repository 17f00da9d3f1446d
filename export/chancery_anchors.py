"""A chapter of chancery-verify.py: what others than the server said of a journal.

By ANCHORS and CONTROL RECORDS of chancery-journal(5): cosignatures and time-stamps, what records
tell of them (anchor, beat, conflict), and which of them a policy asks for before a purge. And what
came by another way than the files: checkpoints, keys of witnesses and a key chain, see
chancery-verify(1).
"""
import collections, datetime, pathlib, re, subprocess, sys, types
import chancery_certificates

LINE = "\u2014 (%s) ([A-Za-z0-9+/]{102}==)\n"
ADAPTERS = "-|[a-z0-9-]{1,32}(,[a-z0-9-]{1,32})*"
JOURNALS_NOT = (".tlog-proof", ".xml", ".tar.zst")      # and certificates, by how they begin

def options(core, parser):
    def vkey(text): return read_witness(core, text)
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NOTE",
                        help="a file with a checkpoint that came by another way")
    parser.add_argument("--witness", action="append", default=[], metavar="VKEY",
                        type=vkey, help="the key of a witness")
    parser.add_argument("--keys", metavar="CHAIN", help="a key chain, for archives of later epochs")

def take(core, given):
    if given.keys and not given.key:
        print("--keys needs --key", file=sys.stderr)
        sys.exit(2)
    journal = [path for path in given.file if not path.endswith(JOURNALS_NOT)
               and chancery_certificates.begins(path)[:1] not in (b"c", b"{")]
    return [(lambda given, path: read_keys(core, given, path), given.keys)] * bool(given.keys) + [
        (lambda given, path: core.need(False, "a checkpoint without the journal"), path)
        for path in given.checkpoint if not journal]

def read_keys(core, given, path):   # KEY CHAIN: from the known key of its name on
    text = pathlib.Path(path).read_bytes().decode()
    leaf = core.parse_leaf(core.unbase64(re.findall("leaf (.+)\n", text)[0]))
    known, = [key for key in given.key if key == leaf.vkey]
    given.chain = core.read_chain(text, known)
    return [f"{len(given.chain)} keys"]

# ---- ANCHORS: the two kinds of evidence ----
def read_witness(core, text):       # a vkey as ours, with 4 in the place of 1
    found = re.fullmatch(f"({core.NAME})\\+([0-9a-f]{{8}})\\+(\\S+)", text)
    core.need(found, "witness: its vkey")
    name, id, raw = found[1], found[2], core.unbase64(found[3])
    core.need(len(name.encode()) < 256 and len(raw) == 33 and raw[0] == 4 and
              id == core.sha(name.encode(), b"\n", raw)[:4].hex(), "witness: its vkey")
    return types.SimpleNamespace(name=name, id=id, public=raw[1:])

def read_cosignature(core, line):   # name, key id, time, signature
    name, blob = re.fullmatch(LINE % core.NAME, line.decode()).groups()
    blob = core.unbase64(blob)
    return name, blob[:4].hex(), int.from_bytes(blob[4:12]), blob[12:]

def cosigned(core, line, note, witnesses):      # keys of these that made it; a wrong one is none
    name, id, at, signature = read_cosignature(core, line)
    body = b"cosignature/v1\ntime %d\n" % at + note[:note.index(b"\n\n") + 1]
    keys = {key.public for key in witnesses if (key.name, key.id) == (name, id)}
    good = {public for public in keys if core.ed25519(public, body, signature)}
    core.need(good or not keys, f"cosignature of {name}: signature")
    return good

def read_token(core, token):        # RFC 3161: the hash that was stamped, and the second
    def ask(*words):
        return subprocess.run(["openssl", "ts", "-reply", "-token_in", "-in", "/dev/stdin", *words],
                              input=token, capture_output=True, check=True).stdout
    core.need(ask("-token_out") == token, "token: not DER")
    said = ask("-token_out", "-text").decode()
    digest = bytes.fromhex("".join(re.findall("(?m)^    [0-9a-f]{3}0 - (.{47})", said)
                                   ).replace("-", " "))
    at = re.search("(?m)^Time stamp: (.{15})(?:[.][0-9]+)? ([0-9]{4}) GMT$", said).groups()
    at = datetime.datetime.strptime(" ".join([*at, "+0000"]), "%b %d %H:%M:%S %Y %z").timestamp()
    core.need("\nHash Algorithm: sha256\n" in said and at >= 0, "token: another hash, or time")
    return digest, int(at)

# ---- TABLES, SEGMENTS ----
def file(core, j, db, path, first): # rows are of a checkpoint there; earlier ones were copied
    said, before = {}, vars(j).setdefault("said", {})
    for size, name, line, at in db.execute("SELECT size, name, line, at FROM cosig"):
        found = read_cosignature(core, line)
        core.need((found[0], found[2]) == (name, at), f"cosignature of {size}: name or time")
        said[size, name] = line, at
    for size, at, token in db.execute("SELECT size, at, token FROM stamp"):
        digest = core.sha(j.notes[-1].get(size, b""))
        core.need(read_token(core, token) == (digest, at), f"time-stamp of {size}")
        said[size, None] = token, at
    everything = {n for n, in db.execute(
        "SELECT n FROM hold WHERE coalesce(selector, '{\"v\":1}') = '{\"v\":1}'")}
    core.need({f.hold for f in j.of["conflict"]} <= everything, "conflict: its hold")
    core.need(all(first <= size and size in j.notes[-1] for size, _ in said), "no such checkpoint")
    core.need(all(said.get(of) == row for of, row in before.items() if of[0] == first),
              "not as it was copied")     # more may have come for that checkpoint since
    before.update(said)

# ---- CONTROL RECORDS ----
def record(core, j, f, parts):
    for told in j.of["conflict"][-1:]:  # behind a proof comes a new name, maybe the clock first
        core.need(told.proof == "no" or f.title == "recover" or j.of["recover"][-1:] and
                  j.of["recover"][-1].seq > told.seq or (f.title, f.seq) == ("clock", told.seq + 1),
                  "after a proof of another history")
    if f.title == "policy":
        core.need(re.fullmatch(ADAPTERS, f.required), "policy: malformed")
        f.keys = [] if f.witnesses == "-" else [
            read_witness(core, key) for key in f.witnesses.split(",")]
    elif f.title == "anchor":
        core.need(f.size <= f.seq and (f.state == "ok" or f.time == 0) and (f.sha256 == "-") ==
                  (f.state == "failed" or f.what == "syslog"), "anchor: malformed")
    elif f.title == "conflict":
        check_conflict(core, j, f)

def check_conflict(core, j, f):     # the hold just before it, and whether it is proof
    hold = j.of["hold"][-1]     # there may be a clock record between
    core.need(hold.hold == f.hold and hold.seq == f.seq - 1 - (j.last.title == "clock"),
              "conflict: its hold")
    proof, note = False, b"" if f.note == "-" else core.unbase64(f.note)
    if note:
        core.need(len(note) <= 8192, "conflict: a long note")
        body, name, size, root, lines = re.fullmatch(core.NOTE, note.decode()).groups()
        core.need((name, int(size)) == (j.keys[-1].name, f.size), "conflict: not of its note")
        had = hold.seq
        another = int(size) > had or j.root(int(size)) != core.unbase64(root)
        proof = another and any(signed(core, key, body, lines) for key in believed(j))
    core.need((f.proof == "yes") == proof, "conflict: what is proved")

def believed(j):    # the keys under the present name that were not declared stolen
    keys = [key for key in j.keys if key.name == j.keys[-1].name]
    stolen = {f.epoch - 1 for f in j.of["key"] if f.clean == "no" and f.seq >= keys[0].seq}
    return [key for key in keys if key.epoch not in stolen]

def signed(core, key, body, lines): # by this key, in each line that is of it
    blobs = map(core.unbase64, re.findall(f"\u2014 {re.escape(key.name)} {core.SIGNATURE}", lines))
    return {core.ed25519(key.public, body.encode(), blob[4:])
            for blob in blobs if blob[:4].hex() == key.id} == {True}

# ---- the journal as a whole ----
def journal(core, j, given):
    notes = {size: note for file in j.notes for size, note in file.items()}
    witnesses = [*given.witness, *(key for f in j.of["policy"] for key in f.keys)]
    who = collections.defaultdict(set)      # has cosigned the checkpoint of that size
    evidence = collections.defaultdict(set)
    for (size, name), (said, at) in j.said.items():
        evidence[core.sha(said).hex()].add((size, name, at))
        if name is not None: who[size] |= cosigned(core, said, notes[size], witnesses)
    for f in j.of["anchor"]:
        if f.sha256 != "-":
            name = f.name if f.what == "witness" else None
            core.need((f.size, name, f.time) in evidence[f.sha256], f"anchor {f.seq}: evidence")
    for f in j.of["beat"]:
        core.need(f.anchor == "-" or any(size <= f.seq for size, *_ in evidence[f.anchor]),
                  f"beat {f.seq}: evidence")
    for f in j.of["purge"]:
        policy, = [p for p in j.of["policy"] if p.seq == f.policy]
        if f.anchor != "-":
            core.need(len(who[f.anchor] & {key.public for key in policy.keys}) >= policy.quorum,
                      f"purge {f.seq}: too few witnesses had cosigned")
            core.need(f.anchor in notes and (policy.stamp == "no" or (f.anchor, None) in j.said),
                      f"purge {f.seq}: its checkpoint without a time-stamp")
    return [outside(core, j, path) for path in given.checkpoint] + [
        newest(core, j, key, who, notes) for key in given.witness]

def outside(core, j, path):         # a checkpoint that came by another way is of these records
    size = core.check_note(j, pathlib.Path(path).read_bytes())
    return f"and {path}: {size} records, so old they are at least" if size else f"and {path}"

def newest(core, j, key, who, notes):
    size = max((size for size in who if key.public in who[size]), default=0)
    return f"witness {key.name} has cosigned {size} records"
