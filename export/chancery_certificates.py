"""A chapter of chancery-verify.py: whether records were rightly purged. Certificates of purges by
chancery-journal(5), PURGE CERTIFICATE, with archives as chancery-verify(1) says; and, with journal
and archives, the holds that were in force.
"""
import json, pathlib, re
import chancery_archives
FIRST, PROOF = "chancery-purge-certificate/1", "c2sp.org/tlog-proof@v1\n"

def take(core, given):      # certificates: told by how they begin; they lend archives their keys
    found = [path for path in given.file if not path.endswith((".xml", ".tar.zst", ".tlog-proof"))
             and re.match(rb'chancery-purge-c|\{[ \t\r\n]*"certificate"', begins(path))]
    archives = [path for path in given.file if path.endswith((".xml", ".tar.zst"))]
    given.file = [path for path in given.file if path not in found]
    return [(lambda given, path, *archives: read_certificate(core, given, path, archives),
             path, *archives) for path in found]

def begins(path):           # one that cannot be read is missed when it is read
    try:
        with open(path, "rb") as f: return f.read(64)
    except OSError: return b""

def proofs_of(core, text):
    if text.startswith("{"):
        told = chancery_archives.strict_json(core, text)
        core.need(told["certificate"] == FIRST, "another certificate")
        return told["proofs"]
    head, *proofs = text.split("\n\n" + PROOF)
    core.need(head.split("\n")[0] == FIRST and proofs, "no certificate")
    return [PROOF + proof + "\n" for proof in proofs[:-1]] + [PROOF + proofs[-1]]

def read_certificate(core, given, path, archives):
    text = pathlib.Path(path).read_bytes().decode()
    judged = [core.judge_proof(given, proof) for proof in proofs_of(core, text)]
    purge, by = judged[0][0], {leaf.seq: leaf for leaf, *_ in judged}
    core.need(len({keys[-1].name for _, _, keys, _ in judged}) == 1 and
              not any(parts for _, parts, *_ in judged), "of one name, and without parts")
    core.need(purge.title == "purge" and all(by[leaf.seq].hash == leaf.hash
                                             for leaf, *_ in judged), "not of a purge")
    taken, acks = check_purge(core, purge, by)
    keys = judged[0][2]
    given.chain = [*getattr(given, "chain", []), *keys]
    compare(core, given, archives, purge, taken, acks, keys[-1].name)
    return [f"purge {purge.purge}, record {purge.seq}", f"removed: {purge.count} events of records "
            f"{purge.ranges}, digest {purge.leaves}", *(f"archive: {a.location!r}" for a in acks)]

def check_purge(core, f, by):   # what it names is there, before it, and allows it
    def named(seq, *titles):
        core.need(by[seq].title in titles and seq < f.seq, f"record {seq} is not what is named")
        return by[seq]
    ends = [(int(run.split("-")[0]), int(run.split("-")[-1])) for run in f.ranges.split(",")]
    taken = [n for a, b in ends for n in range(a, b + 1)]
    core.need(all(a <= b < f.first + 10000 for a, b in ends) and f.last < f.seq and
              (f.first, f.last) == (taken[0], taken[-1]) and f.count <= len(taken) and
              all(a[1] + 1 < b[0] for a, b in zip(ends, ends[1:])) and f.ranges == ",".join(
                  f"{a}-{b}" if a < b else str(a) for a, b in ends), "purge: its ranges")
    policy = named(f.policy, "policy")
    core.need(policy.required != "-" and policy.after >= 0, "purge: by no policy")
    acks = [named(int(word.partition(":")[2]), "ack") for word in f.acks.split(",")]
    core.need(f.acks == ",".join(f"{a.adapter}:{a.seq}" for a in acks) and
              policy.required == ",".join(a.adapter for a in acks), "purge: other adapters")
    core.need(all(a.state == "stored" and a.last >= f.last and
                  f.at - a.at >= policy.after * 1000000 for a in acks), "purge: not stored")
    said = [] if f.approvals == "-" else [named(int(n), "approve") for n in f.approvals.split(",")]
    core.need(len({a.by for a in said}) == len(said) == policy.approvals and all(
        a.below > f.last for a in said) and f.approvals == (
            ",".join(str(a.seq) for a in said) or "-"), "purge: not approved")
    core.need(max(a.seq for a in acks) < f.anchor <= f.seq if policy.quorum or policy.stamp == "yes"
              else f.anchor == "-", "purge: anchor")
    if f.hold != "-": named(f.hold, "hold", "release")
    return taken, acks

def compare(core, given, archives, purge, taken, acks, name):   # with archives of the same name
    found = [chancery_archives.read_archive(core, given, path) for path in archives]
    found = [a for a in found if a.h.origin == name]
    for a in found:
        for ack in acks:
            core.need((ack.adapter, ack.batch) != (a.h.adapter, a.h.batch) or
                      (ack.sha256, ack.bytes) == (core.sha(a.data).hex(), len(a.data)),
                      f"{a.path}: not as acknowledged")
    held = {leaf.seq: leaf for a in found if a.whole for leaf in a.leaves}
    core.need(not found or {*taken} <= {*held}, "a purged record is in no archive given")
    core.need(not found or purge.leaves == core.sha(*(held[n].hash for n in taken)).hex() and
              purge.count == sum(held[n].kind < 128 for n in taken), "not what was purged")

# ---- Journal and archives together: no purged event was under a hold in force ----
def file(core, j, db, path, first):     # what each hold keeps, as the table has it
    j.selectors = dict(db.execute("SELECT seq, selector FROM hold"))

def check_held(core, j):    # gives notes: a hold whose selector was lost cannot be compared
    notes = []
    for purge in j.of["purge"]:
        released = {r.hold for r in j.of["release"] if r.seq < purge.seq}
        holds = [h for h in j.of["hold"] if h.seq < purge.seq and h.hold not in released]
        lost = [h for h in holds if j.selectors.get(h.seq) is None]
        notes += [f"hold {h.hold} is lost, and not compared with purge {purge.purge}" for h in lost]
        selectors = [json.loads(j.selectors[h.seq]) for h in holds if h not in lost]
        for run in purge.ranges.split(","):
            for n in range(int(run.split("-")[0]), int(run.split("-")[-1]) + 1):
                leaf, parts = j.archived.get(n, (None, []))
                core.need(not parts or not any(keeps(s, leaf, parts) for s in selectors),
                          f"record {n} was held")
    return notes

def keeps(selector, leaf, parts):   # upper and lower case are the same, in ASCII
    said, room = json.loads(parts[0]), selector.get("room")
    return (selector.get("from", 0) <= leaf.at < selector.get("until", 2**63) and
            (room is None or fold(room) == fold(said.get("room", ""))) and
            ("user" not in selector or any(
                text == fold(selector["user"]) or text.startswith(fold(selector["user"]) + b" ")
                for text in map(fold, strings(said)))))

def fold(text): return text.encode().lower()

def strings(value):         # all within a value
    if type(value) is str: yield value
    elif type(value) in (list, dict):
        for inner in value.values() if type(value) is dict else value: yield from strings(inner)
