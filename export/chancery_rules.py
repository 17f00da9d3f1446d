"""What control records say, from chancery-journal(5): each follows from those before it. A rule
gets the journal as read so far and the record's fields; whatever breaks it raises.
"""
import itertools
import re
from types import SimpleNamespace

from chancery_evidence import NAME, NOTE, ed25519, need, next_key, parse_key, sha, unbase64


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
    j.names.append(SimpleNamespace(key=key, end=old.endless, endless=old.endless,
                                   told=sha(key.public).hex() == old.keys[-1].next,
                                   keys=next_key([], f)))


def check_time(j, leaf):
    """The clock moves, against boot time, by more than 250 ms only in a record that tells of it;
    a beat counts the events since the last."""
    known, j.boot, f = j.offset if leaf.boot == j.boot else None, leaf.boot, leaf.fields
    if leaf.kind == 137:
        need(leaf.held or f["new"] == leaf.offset, "clock record is not of its own time")
        need(f["old"] == f["new"] if known is None else
             f["old"] == known and abs(f["new"] - known) > 250000, "clock record breaks its rules")
        j.offset = f["new"]
    elif leaf.held or leaf.kind in (128, 136):
        j.offset = known
    else:
        need(known is None or abs(leaf.offset - known) <= 250000, "the clock was set unsaid")
        j.offset = leaf.offset
    need(leaf.kind != 133 or f["events"] == j.events, "beat counts other events since the last")
    need(leaf.kind != 144 or f["first"] <= f["last"] < leaf.seq, "audit of what was not there")
    j.events = 0 if leaf.kind in (128, 133) else j.events + (leaf.kind < 128)


def check_beyond(end, size, root):
    """A checkpoint of a former name may be of records that were declared lost, and of no more."""
    need(size <= end["size"] and (size < end["size"] or root == unbase64(end["root"])),
         f"more, or something else, was signed as {end['old']} than was declared")


# ---- ANCHORS ----

def parse_witness(text):
    """Name, key id and public key of a witness (cosignature/v1)."""
    found = re.fullmatch(f"({NAME})\\+([0-9a-f]{{8}})\\+(B[A-P][A-Za-z0-9+/]{{42}})", text)
    need(found, "key of a witness malformed")
    public = unbase64(found[3], 33)
    need(sha(found[1].encode(), b"\n", public)[:4].hex() == found[2], "witness: key id")
    return (found[1], bytes.fromhex(found[2])), public[1:]


def read_cosignature(line, note, keys):
    """Name, key id, time, and whether a known key made it; a wrong one raises."""
    found = re.fullmatch(f"\u2014 ({NAME}) ([A-Za-z0-9+/=]{{104}})\n", line.decode("utf-8"))
    need(found, "cosignature line malformed")
    blob, body = unbase64(found[2], 76), NOTE.fullmatch(note.decode("utf-8"))[1].encode()
    at, key = int.from_bytes(blob[4:12], "big"), keys.get((found[1], blob[:4]))
    need(not key or ed25519(key, b"cosignature/v1\ntime %d\n" % at + body, blob[12:]),
         f"the cosignature of {found[1]} is wrong")
    return found[1], blob[:4], at, bool(key)


def take_anchor(j, f):
    stored = f["state"] == "ok" and f["what"] != "syslog"
    need(f["size"] <= f["seq"] and stored == (f["sha256"] != "-"), "anchor record")
    j.anchors += [f] if stored else []


def take_beat(j, f):
    if f["anchor"] != "-":
        j.named.setdefault(f["anchor"], f["seq"])


def check_anchors(s, db):
    """Cosignatures and time-stamps; what anchor records and purges tell of is there."""
    notes, there, signed = dict(db.execute("SELECT size, note FROM checkpoint")), set(), set()
    for size, name, line, at in db.execute("SELECT size, name, line, at FROM cosig"):
        need(size in notes, "cosignature of no checkpoint")
        who, key, when, known = read_cosignature(line, notes[size], s.witnesses)
        need((name.decode("utf-8", "replace"), at) == (who, when), "cosig row and line differ")
        there.add(("witness", size, who, at, sha(line).hex()))
        signed |= {(size, (who, key))} if known else set()
    for size, at, token in db.execute("SELECT size, at, token FROM stamp"):
        need(size in notes and token[:1] == b"0" and sha(notes[size]) in token, "time-stamp")
        there.add(("stamp", size, at, sha(token).hex()))
    for f in s.anchors:
        name = (f["name"],) if f["what"] == "witness" else ()
        need((f["what"], f["size"], *name, f["time"], f["sha256"]) in there, "anchor: not there")
    known = {row[-1]: row[1] for row in there}
    need(all(known.get(sha256, seq + 1) <= seq for sha256, seq in s.named.items()),
         "beat names evidence that is not there")
    for p in s.purges:
        rule, size = p["rule"], p["anchor"]
        need(size == "-" or sum((int(size), key) in signed for key in rule["keys"]) >=
             rule["quorum"], "purge before enough witnesses had cosigned")
        need(rule["stamp"] == "no" or any(row[:2] == ("stamp", int(size)) for row in there),
             "purge without a time-stamp")


def on_open(j, f):
    need(f["segment"] == len(j.segments) and (f["note"] == "-") == (f["seq"] == 0) and
         (f["journal"], f["origin"]) == (j.opened["journal"], j.names[-1].key.name),
         "open: not of this place")
    j.sealed = False
    j.segments.append(f)


def on_seal(j, f):
    need((f["segment"], f["first"]) == (len(j.segments) - 1, j.segments[-1]["seq"])
         and f["count"] == f["seq"] + 1 - f["first"] and (f["seq"] + 1) % 256 == 0,
         "seal: not of this file")
    j.sealed = True


RULES = {128: on_open, 136: on_seal, 129: on_batch, 130: on_ack, 131: on_purge, 134: on_policy,
         138: on_hold, 139: on_release, 140: on_recover, 141: take_anchor, 133: take_beat,
         135: on_key, 145: on_approve}
