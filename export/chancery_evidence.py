"""What evidence is made of, from chancery-journal(5) in its order: records, payloads, the tree,
signed checkpoints. Ed25519 is left to the command openssl. Whatever does not hold raises.
"""
import base64
import functools
import hashlib
import itertools
import json
import os
import re
import subprocess
import tempfile
import urllib.parse
from types import SimpleNamespace

USER = "- join leave post history delivery room member user".split()
CONTROL = {     # name of the kind; its fields, each with the form of its value
    128: "open journal origin vkey next=hex software segment=n note=hex-",
    129: "batch adapter=name batch=n first=n last=n count=n size=n root=hash",
    130: "ack adapter=name batch=n first=n last=n state=sent|accepted|stored location sha256=hex-"
         " bytes=n readback=yes|no",
    131: "purge purge=n first=n last=n count=n ranges leaves=hex acks held=n hold=n|- approvals"
         " anchor=n|- policy=n",
    132: "incident what since=n until=n refused=n",
    133: "beat every=n events=n queue=n sync=yes|no error=n tai=n anchor=hex-",
    134: "policy required after=n- approvals=0|1|2 quorum=n witnesses stamp=yes|no classes=hex-",
    135: "key epoch=n vkey next=hex reason=start|daily|demand|compromise clean=yes|no",
    136: "seal segment=n first=n count=n",
    137: "clock old=i new=i sync=yes|no error=n tai=n",
    138: "hold hold=n matter selector=hash by",
    139: "release hold=n by",
    140: "recover old size=n root=hash origin vkey next=hex- reason=lost|signer|fork|compromise"
         " by=uid:(?:0|[1-9][0-9]{0,18})",
    141: "anchor what=witness|stamp|syslog name state=ok|failed size=n time=n sha256=hex-",
    142: "late since=n until=n count=n",
    143: "drop what since=n until=n count=n",
    144: "audit first=n last=n since=n result=whole|broken",
    145: "approve below=n by",
    146: "conflict witness size=n proof=yes|no hold=n note"}
NUMBER, NAME = "(?:0|[1-9][0-9]{0,18})", "[^\0- +\x7f]{1,255}"
PLAIN, HASH = "[A-Za-z0-9._:/+=@,-]", "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
VALUE = f"(?:{PLAIN}|%[0-9A-F]{{2}})+"
FORMS = {"": VALUE, "n": NUMBER, "n-": f"{NUMBER}|-1", "n|-": f"{NUMBER}|-", "hash": HASH,
         "i": "0|-?[1-9][0-9]{0,18}", "name": "[a-z0-9-]{1,32}", "hex": "[0-9a-f]{64}",
         "hex-": "[0-9a-f]{64}|-"}
FIELDS = {kind: [word.partition("=")[::2] for word in text.split()[1:]]
          for kind, text in CONTROL.items()}
HEAD = re.compile(f"leaf/1 ({NUMBER}) ({NUMBER})\nt ({NUMBER}) ({NUMBER}) ([0-9a-f]{{8}}) ([01])\n")
PARTS = re.compile("".join(f"(?:p {i} ({HASH})\n" for i in range(8)) + ")?" * 7 + ")")
UNKNOWN = re.compile(f"(?:[a-z0-9]{{1,32}} {VALUE}\n){{0,64}}")
KINDS = {**dict(enumerate(USER)), **{kind: text.split()[0] for kind, text in CONTROL.items()}}
KNOWN = {kind: re.compile("".join(f"{name} ({FORMS.get(form, form)})\n" for name, form in fields))
         for kind, fields in FIELDS.items()}
NOTE = re.compile(f"(({NAME})\n({NUMBER})\n({HASH})\n)\n((?:\u2014 {NAME} .{{8,}}\n){{1,100}})")
VKEY = re.compile(f"({NAME})\\+([0-9a-f]{{8}})\\+(A[Q-Za-f][A-Za-z0-9+/]{{42}})\n?")
NO_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{} \t\r\n"]+')     # of a JSON text


def need(holds, reason):
    if not holds:
        raise ValueError(reason)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def number(text):
    need(re.fullmatch(NUMBER, text) and int(text) < 2**63, f"no number: {text[:40]}")
    return int(text)


def unbase64(text, size=32):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text and size in (None, len(data)), "base64 malformed")
    return data


def unjson(text, once=None):
    """No member, or none of those named, may be given twice in an object."""
    def members(pairs):
        names = [name for name, _ in pairs if once is None or name in once]
        need(len(set(names)) == len(names), "a member is given twice")
        return dict(pairs)
    return json.loads(text, object_pairs_hook=members, parse_constant=lambda word: need(0, word))


# ---- chancery-journal(5): LEAF, CONTROL RECORDS, PARTS ----

def parse_leaf(data):
    text = data.decode("ascii")
    head = HEAD.match(text)
    need(head, "leaf: its first two lines")
    leaf, rest = SimpleNamespace(hash=sha(b"\0", data)), text[head.end():]
    leaf.seq, leaf.kind, leaf.at, boot, leaf.held = map(number, head.group(1, 2, 3, 4, 6))
    leaf.boot, leaf.offset = head[5], leaf.at - boot
    form = PARTS if leaf.kind < 128 else KNOWN.get(leaf.kind, UNKNOWN)
    found = form.fullmatch(rest)
    need(0 < leaf.kind < 256 and leaf.seq < 2**55 and len(rest) <= 16384, "leaf: out of bounds")
    need(found and not any(re.match(PLAIN, chr(int(code, 16))) for code in
                           re.findall("%(..)", rest)), "leaf: the lines are not those of its kind")
    leaf.parts = [unbase64(word) for word in found.groups() if word] if leaf.kind < 128 else []
    leaf.fields = {"seq": leaf.seq, "at": leaf.at}
    for (name, form), value in zip(FIELDS.get(leaf.kind, ()), found.groups()):
        leaf.fields[name] = -1 if form == "n-" and value == "-1" else number(value) if (
            form in ("n", "n-")) else -number(value[1:]) if form == "i" and value[0] == "-" else (
            number(value)) if form == "i" else urllib.parse.unquote(value, errors="replace")
    return leaf


def check_part(leaf, i, salt, data):
    """The commitment, and the form: one compact JSON object, nested at most 32 deep."""
    need(len(salt) == 32 and i < len(leaf.parts) and sha(b"part/1\n", salt, data) == leaf.parts[i],
         "payload and salt are not what the leaf commits to")
    text = data.decode("utf-8")
    o, brackets = unjson(text, ("type", "id", "client")), NO_BRACKET.sub("", text)
    depth = max(itertools.accumulate(1 if c in "{[" else -1 for c in brackets))
    form = isinstance(o, dict) and not set(brackets) & set(" \t\r\n") and depth <= 32
    need(form and (i > 0 or type(o["v"]) is int and o["v"] == 1 and (
        leaf.kind >= len(USER) or o.get("type") == USER[leaf.kind]) and all(
            isinstance(o.get(name, ""), str) for name in ("type", "id", "client"))),
         "payload is not one compact JSON object of its kind")


# ---- TREE: RFC 6962, section 2.1 ----

class Tree:
    """All perfect subtrees: levels[n] holds the roots of those over 2**n records each."""
    def __init__(self):
        self.levels, self.size = [bytearray() for _ in range(56)], 0

    def add(self, node):
        self.size += 1
        for nodes in self.levels:
            nodes += node
            if len(nodes) % 64:
                break
            node = sha(b"\1", nodes[-64:])

    def nodes(self, level, first, count):
        return bytes(self.levels[level][32 * first:32 * (first + count)])

    def root(self, size):
        """Of the first records: the perfect subtrees that they make, folded from the right."""
        need(size <= self.size, f"there are no {size} records")
        root = b""
        for level in range(56):
            if size >> level & 1:
                left = self.nodes(level, (size >> level) - 1, 1)
                root = sha(b"\1", left, root) if root else left
        return root or sha()


def range_root(low, high, first, hashes, outside):
    """Root over the records low to high (RFC 6962): `hashes` are those from record `first` on,
    `outside` the perfect subtrees before and after them from left to right, which it uses up."""
    beside = high <= first or low >= first + len(hashes)
    if beside and (high - low).bit_count() == 1:
        return outside.pop(0)
    if high - low == 1:
        return hashes[low - first]
    half = low + (1 << (high - low - 1).bit_length() - 1)
    return sha(b"\1", range_root(low, half, first, hashes, outside),
               range_root(half, high, first, hashes, outside))


# ---- CHECKPOINT: C2SP signed notes ----

def parse_key(text):
    found = VKEY.fullmatch(text)
    need(found and len(found[1].encode()) < 256, "key malformed")
    name, public = found[1], unbase64(found[3], 33)
    need(sha(name.encode(), b"\n", public)[:4].hex() == found[2], "key: its id is another")
    return SimpleNamespace(name=name, id=found[2], public=public[1:])


def epoch(keys, size):
    """The key that signs checkpoints of this size, of the keys of all epochs of a name."""
    return [k for k in keys if k.start <= size][-1].key


def next_key(keys, f):
    """Adds the key that a record tells: the one that the record before it announced."""
    key, clean = parse_key(f["vkey"]), f.get("clean") != "no"
    need(f.get("epoch", 0) == len(keys), "not the key of the next epoch")
    need(not keys or key.name == keys[0].key.name and sha(key.public).hex() == keys[-1].next,
         "the key is not the one announced before")
    need(not keys or clean != (f["reason"] == "compromise"), "clean does not fit the reason")
    start = f["seq"] + 1 + clean if keys else f["seq"] and f["seq"] + 1
    return [*keys, SimpleNamespace(key=key, next=f["next"], seq=f["seq"], start=start)]


def choose_key(s, given, stated):
    """The key that signatures are judged by; the one that the file states must be the same."""
    own = parse_key(stated)
    need(not given or own in given, "names another key than the one given")
    if not given:
        s.notes.append("key not given: one taken from the file proves nothing about who signed")
    return own


@functools.cache
def ed25519(public, body, signature):
    with tempfile.TemporaryDirectory() as folder:
        key = bytes.fromhex("302a300506032b6570032100") + public
        for name, data in (("key", key), ("body", body), ("signature", signature)):
            with open(os.path.join(folder, name), "wb") as f:
                f.write(data)
        words = "openssl pkeyutl -verify -pubin -rawin -keyform DER -inkey key -in body -sigfile"
        done = subprocess.run([*words.split(), "signature"], cwd=folder, capture_output=True)
    return done.returncode == 0


def read_note(data, keys):
    """Size and root of a checkpoint that the key of its epoch signed, and none of the others;
    lines of other keys are ignored."""
    found, own = NOTE.fullmatch(data.decode("utf-8")), False
    need(found and len(data) <= 16384, "checkpoint malformed")
    keys = keys if isinstance(keys, list) else [SimpleNamespace(key=keys, start=0)]
    key = epoch(keys, number(found[3]))
    need(found[2] == key.name, "checkpoint of another name")
    for name, word in re.findall("\u2014 ([^ ]+) (.*)\n", found[5]):
        need(len(name.encode()) < 256, "checkpoint: a name is too long")
        if name == key.name and re.fullmatch("[A-Za-z0-9+/]{90}[AEIMQUYcgkosw048]=", word):
            blob = unbase64(word, 68)
            if blob[:4].hex() == key.id:
                own = ed25519(key.public, found[1].encode(), blob[4:])
                need(own, f"checkpoint of size {found[3]}: signature is wrong")
            need(not any(k.key.id == blob[:4].hex() != key.id and ed25519(
                k.key.public, found[1].encode(), blob[4:]) for k in keys), "signed in two epochs")
    need(own, f"checkpoint of size {found[3]}: not signed by the key")
    return number(found[3]), unbase64(found[4])
