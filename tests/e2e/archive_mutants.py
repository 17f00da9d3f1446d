"""Changes of archives, made from a seed: of their XML, of their bags, and of
their records with all over them made anew under a key of the test's own.
"""

import base64
import copy
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree

from chancery import tree_root
from mutants import edit, entries, flip, json_edit, leaf_hash, remake_manifests
from second import second

sys.path.insert(0, str(second.__file__).rpartition("/")[0])
import chancery_renderings as renderings  # noqa: E402

NAMESPACE = "{urn:chancery:compliance:1}"
HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'
ElementTree.register_namespace("c", NAMESPACE[1:-1])


def b64(data):
    return base64.b64encode(data).decode()


def serialised(root):
    """As the adapter quotes: what XML would read as a space is a number."""
    text = ElementTree.tostring(root, "unicode")
    return HEAD + text.encode("utf-8", "surrogatepass") + b"\n"


def word(chance, text):
    """Another value of an attribute."""
    return chance.choice((
        "", "0", "1", "-1", "true", "false", text + " ", " " + text,
        text + "x", text[:-1], text.upper(), text.swapcase(), "0" + text,
        "+" + text, text + ".0", "\u00e9", text.replace("0", "1"),
        "9223372036854775808", text.replace("T", "t"), "x" * 300,
        re.sub(r"\d+", lambda n: str(int(n[0]) + 1), text, count=1)))


def attribute(chance, element, names):
    name = chance.choice(names)
    way = chance.randrange(6)
    if way == 0 and element.attrib:
        element.attrib.pop(chance.choice(list(element.attrib)))
    elif way == 1:
        element.set(name, word(chance, "1"))
    elif element.attrib:
        name = chance.choice(list(element.attrib))
        element.set(name, word(chance, element.get(name)))


def element(chance, root):
    """One thing in the tree of a document."""
    parents = [e for e in root.iter() if len(e)]
    if not parents:
        return
    parent = chance.choice(parents[:40] + parents[-40:])
    at = chance.randrange(len(parent))
    way = chance.randrange(9)
    names = sorted({n for e in root.iter() for n in e.attrib}) + [
        "xml:space", "other", NAMESPACE + "other", "{urn:x}other"]
    names = [n for n in names if n != "xml:space"]
    if way == 0:
        parent.remove(parent[at])
    elif way == 1:
        parent.insert(at, copy.deepcopy(parent[at]))
    elif way == 2:
        other = chance.randrange(len(parent))
        parent[at], parent[other] = parent[other], parent[at]
    elif way == 3:
        parent[at].text = chance.choice(("x", " ", "\n\t", "\u00a0", None))
    elif way == 4:
        parent[at].tail = chance.choice(("x", " ", "\u2003", None))
    elif way == 5:
        parent[at].tag = chance.choice((
            "Message", "FirstMessage", NAMESPACE + "record", "other",
            NAMESPACE + "Message", parent[at].tag.lower()))
    else:
        attribute(chance, parent[at], names)


def document(chance, data):
    """The bytes of a document with one or two things changed."""
    way = chance.randrange(12)
    if way == 0:
        return flip(chance, data)
    if way == 1:
        return edit(chance, data.decode()).encode()
    if way == 2:
        at = chance.choice([m.end() for m in re.finditer(b">", data)])
        return data[:at] + chance.choice((
            b"<!-- x -->", b"<?x y?>", b"<![CDATA[]]>", b"<![CDATA[ ]]>",
            b"&#32;", b"&#x20;", b"&amp;", b"x", b"<x/>", b"\t", b"\0",
            b"\xc2\xa0", b"\xff", b"&none;")) + data[at:]
    if way == 3:
        return data.replace(*chance.choice((
            (HEAD, b""), (HEAD, b"\xef\xbb\xbf" + HEAD),
            (b'encoding="UTF-8"', b'encoding="utf-8"'),
            (b'encoding="UTF-8"', b'encoding="ISO-8859-1"'),
            (b"?>\n", b"?>"), (b"?>\n", b"?>\r\n"),
            (b'"1.0"', b'"1.1"'), (HEAD, HEAD + b"<!DOCTYPE Conversations>"),
            (b"?>", b' standalone="yes"?>'), (b"\n", b"\r\n"),
            (b" <", b"\t<"), (b"urn:chancery:compliance:1", b"urn:x"),
            (b"c:", b"d:"), (b'"', b"'"), (b"&#9;", b"\t"), (b"&#10;", b"\n"),
            (b"&lt;", b"&#60;"), (b"&quot;", b'"'), (b"&amp;", b"&"),
            (b"\xc3", b"&#195;"), (b"xmlns:xsi", b"xmlns:xsj"),
            (b" xmlns:c=", b' xmlns:e="urn:e" xmlns:c='),
            (b"/>", b" />"), (b"=", b" = "))))
    if way == 4:
        return data + chance.choice((b"\n", b" ", b"x", b"<x/>", b"\0",
                                     b"<!-- -->", b"<?x?>"))
    root = ElementTree.fromstring(data)
    for _ in range(chance.choice((1, 1, 2))):
        element(chance, root)
    return serialised(root)


def read_bag(data):
    data = subprocess.run(["zstd", "-dcq"], input=data, check=True,
                          capture_output=True, timeout=30).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def compressed(data):
    return subprocess.run(["zstd", "-cq"], input=data, check=True,
                          capture_output=True, timeout=30).stdout


def write_bag(files, form=tarfile.PAX_FORMAT, more=(), end=b""):
    """more: entries that are no plain files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry, content in more:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return compressed(out.getvalue() + end)


def entry(name, kind=tarfile.REGTYPE, link=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def bag(chance, data):
    """What a tar file can hold besides; files, lines and members."""
    files = read_bag(data)
    top = min(files).split("/")[0] + "/"
    way = chance.randrange(13)
    if way > 10:
        return flip(chance, data)
    if way > 9:
        return entries(chance, data)
    if way == 0:
        name = chance.choice(list(files))
        kind = chance.choice((tarfile.DIRTYPE, tarfile.SYMTYPE,
                              tarfile.LNKTYPE, tarfile.FIFOTYPE))
        return write_bag(files, more=[(entry(chance.choice((
            top + "x", top[:-1], name, top + "data", "other")), kind, name),
            b"")])
    if way == 1:
        name = chance.choice(list(files))
        return write_bag(files, more=[(entry(name), chance.choice((
            files[name], b"")))])
    if way == 2:
        return write_bag(files, end=chance.choice((
            b"\0", b"x", b"\0" * 1024, b"x" * 512, b"\0" * 512 + b"x" * 512)))
    if way == 3:
        return chance.choice((
            data + compressed(b""), data + compressed(b"x"), data + b"x",
            data + b"\x50\x2a\x4d\x18\x04\0\0\0abcd", data + b"\0" * 8))
    if way == 4:
        return write_bag(files, chance.choice((
            tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT)))
    if way == 5:
        new = chance.choice(("other/", "", "a/b/", "./" + top, "/" + top,
                             "../"))
        return write_bag({n.replace(top, new, 1): d
                          for n, d in files.items()})
    if way == 6:
        names = list(files)
        chance.shuffle(names)
        return write_bag({n: files[n] for n in names})
    names = [n for n in files if "manifest" not in n] if way < 9 else \
        [n for n in files if "manifest" in n]
    name = chance.choice(names)
    if name.endswith((".json", ".jsonl")) and chance.randrange(2):
        lines = files[name].split(b"\n")
        at = chance.randrange(max(1, len(lines) - 1))
        lines[at] = json_edit(chance, lines[at])
        files[name] = b"\n".join(lines)
    elif chance.randrange(2):
        files[name] = edit(chance, files[name].decode("latin-1")
                           ).encode("latin-1")
    else:
        files[name] = chance.choice((
            files[name] + b"\n", files[name][:-1], b"", files[name] + b"\0",
            files[name].replace(b"\n", b"\r\n"), b" " + files[name],
            files[name].replace(b"  ", b" *", 1),
            files[name].upper(), files[name].replace(b":", b": ", 1)))
    if way < 9:
        remake_manifests(files)
    return write_bag(files)


class ArchiveForger:
    """The first archive of an adapter, with records that were changed."""

    def __init__(self, source, signer):
        self.source, self.signer = source, signer
        self.data = source.read_bytes()
        self.xml = source.suffix == ".xml"
        if self.xml:
            self.root = ElementTree.fromstring(self.data)
            e = next(self.root.iter(NAMESPACE + "evidence"))
            self.strict = e is self.root
            self.events = [{
                **r.attrib, "parts": [
                    (p.get("salt"), base64.b64decode(p.get("data")))
                    for p in r]} for r in e]
        else:
            self.files = read_bag(self.data)
            self.top = min(self.files).split("/")[0] + "/"
            self.events = [{**r, "parts": [
                (p["salt"], p["data"].encode()) for p in r["parts"]]}
                for r in map(json.loads, self.files[
                    self.top + "data/records.jsonl"].splitlines())]

    def write(self, path, events):
        """Leaves commit to the parts, checkpoint and header to the leaves."""
        texts = []
        for e in events:
            for i, (salt, data) in enumerate(e["parts"]):
                digest = hashlib.sha256(
                    b"part/1\n" + base64.b64decode(salt) + data).digest()
                e["leaf"] = re.sub(r"\np %d [^\n]*" % i, lambda _: (
                    "\np %d %s" % (i, b64(digest))), e["leaf"])
            texts.append(e["leaf"].encode())
        root = tree_root([leaf_hash(text) for text in texts])
        note = self.signer.note(len(texts), root)
        self.header = {"root": b64(root), "size": len(texts),
                       "last": len(texts) - 1, "count": len(texts),
                       "left": [], "right": []}
        if self.xml:
            self.write_xml(path, events, note)
        else:
            self.write_bag(path, events, note)

    def write_xml(self, path, events, note):
        root = copy.deepcopy(self.root)
        e = next(root.iter(NAMESPACE + "evidence"))
        e.attrib.update({k: "".join(v) if type(v) is list else str(v)
                         for k, v in self.header.items()})
        e.set("note", note)
        e.set("vkey", self.signer.vkey)
        for r in list(e):
            e.remove(r)
        for event in events:
            parts = event["parts"]
            r = ElementTree.SubElement(e, NAMESPACE + "record", {
                k: v for k, v in event.items() if k != "parts"})
            for i, (salt, data) in enumerate(parts):
                ElementTree.SubElement(r, NAMESPACE + "part", {
                    "number": str(i), "salt": salt, "data": b64(data)})
        shown = self.rendering(events)
        if self.strict:
            top = ElementTree.Element("Conversations")
            top.extend(shown)
            data = serialised(top)
            path.with_name(e.get("rendering")).write_bytes(data)
            e.set("rendering-sha256", hashlib.sha256(data).hexdigest())
        else:
            for old in root.findall("Conversation"):
                root.remove(old)
            for i, new in enumerate(shown):
                root.insert(i, new)
        path.write_bytes(serialised(root))

    def rendering(self, events):
        """As the second would have it; nothing where it sees none."""
        rows = []
        try:
            for event in events:
                rows.append((second.parse_leaf(event["leaf"].encode()),
                             [part for _, part in event["parts"]]))
            return [built(c) for c in renderings.rendering(
                rows, self.strict)]
        except Exception:
            return []

    def write_bag(self, path, events, note):
        files = dict(self.files)
        top = self.top
        h = {**json.loads(files[top + "data/proof.json"]), **self.header}
        files[top + "data/proof.json"] = json.dumps(
            h, separators=(",", ":")).encode()
        files[top + "data/checkpoint"] = note.encode()
        files[top + "data/vkey"] = self.signer.vkey.encode()
        files[top + "data/records.jsonl"] = "".join(json.dumps(
            {**e, "parts": [{"salt": salt, "data": data.decode(
                "utf-8", "surrogateescape")} for salt, data in e["parts"]]},
            separators=(",", ":"), ensure_ascii=False) + "\n"
            for e in events).encode("utf-8", "surrogateescape")
        for name in [n for n in files if "/tile/0/" in n]:
            del files[name]
        hashes = [leaf_hash(e["leaf"].encode()) for e in events]
        for n in range(0, len(hashes), 256):
            tile = hashes[n:n + 256]
            files[top + "data/tile/0/%03d" % (n // 256) + (
                ".p/%d" % len(tile) if len(tile) < 256 else "")] = b"".join(
                tile)
        remake_manifests(files)
        path.write_bytes(write_bag(files))


def built(node):
    name, attributes, children = node
    made = ElementTree.Element(name, attributes)
    made.extend([built(child) for child in children])
    return made


def said(chance, data):
    """An object that says something else, in the same form."""
    try:
        members = json.loads(data)
        name = chance.choice(list(members))
    except (ValueError, IndexError, TypeError):     # it was changed before
        return data + b" "
    name = chance.choice((name, name, "room", "user", "name", "reason",
                          "late", "chat", "roomname", "text", "query"))
    way = chance.randrange(4)
    if way == 0:
        members.pop(name, None)
    else:
        members[name] = chance.choice((
            "", "x", "sip:", "sip:sip:x@y", "SIP:x", "\x07\ufffe\uffff\t\r\n",
            "<&>\"'", "\0", "\x7f\x85\u2028", 0, 1, -1, 2**31 - 1, 2**31,
            2**63 - 1, True, False, None, [], {}, "\U0001f600",
            {"a": "\u00e9/\x7f", "b": [1]}, members.get(name)))
    return json.dumps(members, separators=(",", ":"), ensure_ascii=(
        chance.randrange(4) == 0)).encode()


def event_change(chance, events):
    """One record, its payload or what stands beside it."""
    e = chance.choice(events)
    way = chance.randrange(8)
    if way < 4:
        users = [e for e in events if e["parts"]]
        if users:
            e = chance.choice(users)
            i = chance.randrange(len(e["parts"]))
            salt, data = e["parts"][i]
            e["parts"][i] = salt, (said if way else json_edit)(chance, data)
        return
    if way == 4:
        head, at, rest = e["leaf"].split("\n", 2)
        e["leaf"] = edit(chance, e["leaf"]) if chance.randrange(2) else \
            "\n".join((head, edit(chance, at), rest))
        return
    named = [e for e in events if {"note", "token", "selector"} & {*e}]
    if not named:
        return
    e = chance.choice(named)
    if way == 5:
        other = chance.choice(events)
        for name in ("note", "token", "salt", "selector"):
            if name in e and chance.randrange(2):
                other[name] = e.pop(name)
    elif way == 6:
        e.pop(chance.choice([n for n in (
            "note", "token", "salt", "selector") if n in e]))
    else:
        name = chance.choice([n for n in (
            "note", "token", "salt", "selector") if n in e])
        e[name] = edit(chance, e[name])


PROOF = "c2sp.org/tlog-proof@v1\n"


def certificate(chance, text):
    """Proofs go, come twice, change places; another form around them."""
    way = chance.randrange(8)
    if way == 0:
        return flip(chance, text.encode()).decode("utf-8", "surrogateescape")
    if way == 1:
        return edit(chance, text)
    if text.startswith("{"):
        told = json.loads(text)
        proofs = told["proofs"]
    else:
        head, *proofs = text.split("\n\n" + PROOF)
        proofs = [PROOF + p + "\n" for p in proofs]
        proofs[-1] = proofs[-1][:-1]
    at, other = (chance.randrange(len(proofs)) for _ in range(2))
    if way == 2:
        del proofs[at]
    elif way == 3:
        proofs.insert(other, proofs[at])
    elif way == 4:
        proofs[at], proofs[other] = proofs[other], proofs[at]
    elif way == 5:
        proofs[at] = edit(chance, proofs[at])
    elif way == 6:
        first, extra, rest = proofs[at].split("\n", 2)
        inner = base64.b64decode(extra[len("extra "):]).decode()
        proofs[at] = "\n".join((first, "extra " + b64(edit(
            chance, inner).encode()), rest))
    if text.startswith("{"):
        if way == 7:
            attribute_of = chance.choice(("certificate", "records", "proofs",
                                          "x"))
            told[attribute_of] = chance.choice((
                "", None, [], {}, 1, "chancery-purge-certificate/2",
                [None], [""], proofs[0]))
        return chance.choice(("", "", "", " ")) + json.dumps(
            told, indent=chance.choice((None, 1)))
    if way == 7:
        head = chance.choice((
            head + "\n", head + "\nx", "chancery-purge-certificate/1",
            "chancery-purge-certificate/1\n", "chancery-purge-certificate/2",
            head + " ", "\n" + head, head.replace("\n", "\r\n")))
    return head + "\n\n" + "\n".join(proofs)
