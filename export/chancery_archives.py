"""A chapter of chancery-verify.py: archives of the adapters, by chancery-adapter(7), THE FILE
ARCHIVES, and with their journal as chancery-verify(1) says under Journal and archives together.
"""
import io, itertools, json, os, pathlib, re, subprocess, sys, tarfile, types
import xml.etree.ElementTree
import chancery_certificates, chancery_renderings
NAMESPACE = "{urn:chancery:compliance:1}"
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
NUMBERS = ["batch", "first", "last", "count", "size"]
HEADER = {*NUMBERS, "version", "origin", "adapter", "id", "root", "left", "right"}
NAMES = dict(enumerate("join leave post history delivery room member user".split(), 1))
TOKENS = ["note", "token", "salt", "selector"]

def options(core, parser):
    parser.epilog = "Archives are files whose names end in .xml or .tar.zst."

def take(core, given):      # archives: with a journal they are judged when that was read
    given.archives = [path for path in given.file if path.endswith((".xml", ".tar.zst"))]
    given.file = [path for path in given.file if path not in given.archives]
    if all(path.endswith(".tlog-proof") for path in given.file):
        if given.archives and not given.key:
            print("archives without their journal need --key", file=sys.stderr)
            sys.exit(2)
        return [(lambda given, path: read_archive(core, given, path) and [], path)
                for path in given.archives]

# ---- XML: the evidence, as messages of the protocol ----
def parse(core, data):      # no comments, instructions, document type or marked sections
    core.need(data.startswith(DECLARATION) and data.count(b"<?") == 1 and b"<!" not in data,
              "not XML as the adapter writes it")
    return xml.etree.ElementTree.fromstring(data)

def from_xml(core, path, data):     # header, events, the rendering and whether it is strict
    root = parse(core, data)
    strict = root.tag == NAMESPACE + "evidence"
    found = [*root.iter(NAMESPACE + "evidence")]
    core.need(len(found) == 1 and (strict or found[0] is root[-1]), "the evidence is not its end")
    h = dict(found[0].attrib)
    core.need({*h} == HEADER | {"software", "vkey", "note"} | (
        {"rendering", "rendering-sha256"} if strict else set()), "attributes of the evidence")
    h.update({name: number(core, h[name]) for name in [*NUMBERS, "version"]})
    h.update({name: h[name].split(" ") if h[name] else [] for name in ("left", "right")})
    chancery_renderings.plain(core, found[0])
    return types.SimpleNamespace(**h), [event(core, e) for e in found[0]], root, strict

def number(core, text):
    core.need(re.fullmatch(core.N, text), f"not a number: {text!r}")
    return int(text)

def event(core, e):         # a record element
    core.need(e.tag == NAMESPACE + "record" and {"seq", "kind", "leaf"} <= {*e.attrib} <= {
        "seq", "kind", "leaf", "name", "purged", *TOKENS} and e.get("purged", "true") == "true"
        and all(p.tag == NAMESPACE + "part" and not len(p) and p.get("number") == str(i) and
                {*p.attrib} == {"number", "salt", "data"} for i, p in enumerate(e)), "a record")
    kind = number(core, e.get("kind"))
    core.need(e.get("name") == NAMES.get(kind, core.KINDS.get(kind, [[None]])[0][0]), "its name")
    return {"seq": number(core, e.get("seq")), "kind": kind, "leaf": e.get("leaf"),
            "purged": "purged" in e.attrib, **{t: e.get(t) for t in TOKENS if t in e.attrib},
            "parts": [(p.get("salt"), core.unbase64(p.get("data"))) for p in e]}

def check_rendering(core, path, h, root, strict, records):
    if strict:
        core.need("/" not in h.rendering, "the rendering is elsewhere")
        path = os.path.join(os.path.dirname(path), h.rendering)
        if not os.path.exists(path): return     # it alone may be moved away
        data = pathlib.Path(path).read_bytes()
        core.need(core.sha(data).hex() == h.__dict__["rendering-sha256"], "another rendering")
        root = parse(core, data)
    chancery_renderings.check(core, root, records, strict)

# ---- TARBALL: the files of the bag, each listed in a manifest ----
def strict_json(core, text):
    def members(pairs):
        core.need(len(dict(pairs)) == len(pairs), "a member twice")
        return dict(pairs)
    return json.loads(text, object_pairs_hook=members)

def unpack(core, data):
    tar = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    files = {}
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as bag:
        for m in bag:
            core.need(m.isreg() and m.name not in files, f"{m.name}: twice, or not a file")
            files[m.name] = bag.extractfile(m).read()
        core.need(not tar[bag.offset:bag.offset + 512].strip(b"\0"), "not the end of a tar file")
    top, = {name.partition("/")[0] for name in files}
    return {name[len(top) + 1:]: content for name, content in files.items()}

def tiles(leaves):          # those that begin among the leaves, by their names
    first, end = leaves[0].seq, leaves[-1].seq + 1
    for n in range(-(-first // 256), -(-end // 256)):
        inside = leaves[256 * n - first:256 * (n + 1) - first]
        *high, low = re.findall("...", f"{n:0{-(-len(str(n)) // 3) * 3}}")     # x001/234
        name = "/".join([*("x" + part for part in high), low])
        yield ("data/tile/0/" + name + (f".p/{len(inside)}" if len(inside) < 256 else ""),
               b"".join(leaf.hash for leaf in inside))

def check_bag(core, files, h, leaves):
    data = {n: content for n, content in files.items() if n.startswith("data/")}
    tags = {n: content for n, content in files.items() if n not in data}
    core.need({*tags} == {"bagit.txt", "bag-info.txt", "manifest-sha256.txt",
                          "tagmanifest-sha256.txt"}, "other files")
    for manifest, listed in ("manifest-sha256.txt", data), ("tagmanifest-sha256.txt", tags):
        lines = re.findall("(?m)^([0-9a-f]{64})  (.+)\n", tags.pop(manifest).decode())
        core.need("".join(f"{a}  {b}\n" for a, b in lines).encode() == files[manifest] and sorted(
            lines) == sorted((core.sha(listed[n]).hex(), n) for n in listed), manifest)
        if manifest[0] == "m": tags[manifest] = files[manifest]
    core.need({*data} - {n for n, _ in tiles(leaves)} == {
        "data/records.jsonl", "data/proof.json", "data/checkpoint", "data/vkey"}, "other files")
    core.need(all(data[name] == content for name, content in tiles(leaves)), "tiles")
    info = files["bag-info.txt"].decode()
    oxum = f"\nPayload-Oxum: {sum(map(len, data.values()))}.{len(data)}\n"
    core.need(files["bagit.txt"] == b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
              and oxum in info and f"\nExternal-Identifier: {h.id}\n" in info,
              "bagit.txt or bag-info.txt")

def from_bag(core, data):
    files = unpack(core, data)
    h = strict_json(core, files["data/proof.json"])
    core.need({*h} == HEADER, "members of proof.json")
    h.update(note=files["data/checkpoint"].decode(), vkey=files["data/vkey"].decode())
    *lines, end = files["data/records.jsonl"].decode().split("\n")
    core.need(end == "" and all(type(h[n]) is int for n in [*NUMBERS, "version"]), "form")
    return files, types.SimpleNamespace(**{**h, "vkey": h["vkey"].removesuffix("\n")}), [
        line_event(core, strict_json(core, line)) for line in lines]

def line_event(core, e):    # a line of records.jsonl
    core.need({"type", "seq", "kind", "leaf", "parts"} <= {*e} <= {
        "type", "seq", "kind", "leaf", "parts", "purged", *TOKENS} and e["type"] == "event" and
        e.get("purged", True) is True and type(e["seq"]) is type(e["kind"]) is int
        and all({*p} == {"salt", "data"} for p in e["parts"]), "a line")
    return {**e, "purged": "purged" in e,
            "parts": [(p["salt"], p["data"].encode()) for p in e["parts"]]}

# ---- both ----
def read_archive(core, given, path, keys=()):   # its records are under its signed checkpoint
    side = re.sub("([.]evidence)?[.]xml$", ".evidence.xml", path)
    path = side if os.path.exists(side) else path
    data = pathlib.Path(path).read_bytes()
    if path.endswith(".xml"): h, events, *shown = from_xml(core, path, data)
    else: files, h, events = from_bag(core, data)
    whole, keys = bool(keys), keys or known(core, given)
    records = [read_record(core, given, e) for e in events]
    leaves = [leaf for leaf, _ in records]
    check_header(core, h, leaves, keys)
    core.need(all(a < b for a, b in itertools.pairwise([0, *(leaf.at for leaf in leaves)])), "time")
    for leaf, e in zip(leaves, events): check_named(core, leaf, e, keys, whole)
    if path.endswith(".xml"): check_rendering(core, path, h, *shown, records)
    else: check_bag(core, files, h, leaves)
    return types.SimpleNamespace(
        path=path, data=data, h=h, records=records, leaves=leaves,
        whole=not any(e["purged"] for e in events))     # nothing was purged before

def known(core, given):     # keys of epochs, without the journal
    chain = getattr(given, "chain", [])     # of --keys, and of certificates
    return [k for k in map(core.parse_key, given.key) if k.text not in {c.text for c in chain}
            ] + sorted(chain, key=lambda key: key.start)

def read_record(core, given, e):        # leaf and payloads, which are those that it commits to
    try:
        leaf = core.parse_leaf(e["leaf"].encode())
        parts = [(i, core.unbase64(salt), part) for i, (salt, part) in enumerate(e["parts"])]
        core.check_parts(leaf, parts)
        core.more("proof", given, leaf, parts)
        core.need((leaf.seq, leaf.kind) == (e["seq"], e["kind"]), "number or kind of another leaf")
        core.need(e["purged"] == (bool(leaf.parts) and not parts), "purged or not")
        return leaf, [data for _, _, data in parts]
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"record {e['seq']}: {error}")

def check_header(core, h, leaves, keys):
    core.need((h.first, h.last) == (leaves[0].seq, leaves[-1].seq) and h.version == 1 and
              [leaf.seq for leaf in leaves] == [*range(h.first, h.last + 1)], "records are missing")
    core.need(h.count == len(leaves) and h.batch > 0 and h.id == f"{h.origin}/{h.adapter}/{h.batch}"
              and re.fullmatch(core.FORMS["id"], h.adapter), "the header")
    size = core.prove(leaves, h.left + h.right, h.note.encode(), keys)
    name, _, root = core.read_note(h.note.encode(), keys)
    signer = [key for key in keys if key.name == name and key.start <= size][-1]
    core.need((h.size, core.unbase64(h.root), h.origin, h.vkey) == (size, root, name, signer.text),
              "the header is not the checkpoint's")

# ---- Named evidence: what a record names, and nothing in the tree holds ----
def check_named(core, leaf, e, keys, whole):
    named, title, form = {t for t in TOKENS if t in e}, leaf.title, "another's"
    if title == "hold":
        core.need(named in (set(), {"salt", "selector"}), form)
        if named:
            salt, selector = core.unbase64(e["salt"]), core.unbase64(e["selector"])
            core.need(len(salt) == 32 and core.sha(b"part/1\n", salt, selector) == leaf.selector,
                      f"record {leaf.seq}: not the selector of its hold")
        return
    stamp = title == "anchor" and leaf.what == "stamp"
    core.need(named <= {"note"} | ({"token"} if stamp else set()), form)
    if "token" in named: core.need(core.sha(core.unbase64(e["token"])).hex() == leaf.sha256, form)
    if "note" not in named: return
    name, size, own, lines = note_of(core, e["note"])
    digests = [core.sha(line.encode()).hex() for line in lines]
    match title:
        case "open": holds = size == leaf.seq and core.sha(own.encode()).hex() == leaf.note
        case "key": holds = size == leaf.seq + 1
        case "purge": holds = str(size) == str(leaf.anchor)
        case "beat": holds = leaf.anchor in digests
        case "anchor": holds = size == leaf.size and leaf.what in ("witness", "stamp") and (
            leaf.what == "stamp" or leaf.state != "ok" or leaf.sha256 in digests)
        case _: holds = False
    core.need(holds, f"record {leaf.seq}: not the note that it names")
    ids = {core.unbase64(line.split(" ")[2].rstrip("\n"))[:4].hex() for line in own_lines(own)}
    if whole or ids & {key.id for key in keys}: core.read_note(own.encode(), keys)

def own_lines(note):
    return note.partition("\n\n")[2].splitlines(keepends=True)

def note_of(core, text):    # name, size, the note as it was stored, the lines of witnesses
    body, name, size, _, lines = re.fullmatch(core.NOTE, text).groups()
    lines = re.findall(".*\n", lines)
    own = [line for line in lines if line.startswith(f"\u2014 {name} ")]
    return name, int(size), body + "\n" + "".join(own), [n for n in lines if n not in own]

# ---- Journal and archives together ----
def journal(core, j, given):
    j.archived = {}
    for path in given.archives:
        j.archived.update(of_journal(core, j, given, path))
    core.need(not given.archives or j.purged <= {*j.archived},
              "a purged record is in no archive given")
    return [*(f"and {path}" for path in given.archives), *chancery_certificates.check_held(core, j)]

def of_journal(core, j, given, path):   # gives the records that it has as they were acknowledged
    a = read_archive(core, given, path, j.keys)
    core.check_note(j, a.h.note.encode())
    batch, ack = (j.of[kind, a.h.adapter][a.h.batch - 1:a.h.batch] for kind in ("batch", "ack"))
    end = [f.seq for f in j.of["recover"] if f.old == a.h.origin]
    if end and not (ack and ack[0].seq < end[0]): return {}      # that is lost itself
    core.need((batch[0].first, batch[0].last) == (a.h.first, a.h.last), "no such batch")
    if not ack or ack[0].sha256 == "-": return {}
    core.need((ack[0].sha256, ack[0].bytes) == (core.sha(a.data).hex(), len(a.data)),
              "not as acknowledged")
    return {leaf.seq: (leaf, parts) for leaf, parts in a.records} if a.whole else {}
