"""A chapter of chancery-verify.py: archives of the adapters, by chancery-adapter(7)."""
import io, json, os, pathlib, re, subprocess, tarfile, xml.etree.ElementTree
EVIDENCE = "{urn:chancery:compliance:1}evidence"

def options(core, parser):
    parser.epilog = "Archives are files whose names end in .xml or .tar.zst."

def take(core, given):      # archives: with a journal they are judged when that was read
    given.archives = [path for path in given.file if path.endswith((".xml", ".tar.zst"))]
    given.file = [path for path in given.file if path not in given.archives]
    if all(path.endswith(".tlog-proof") for path in given.file):
        return [(lambda given, path: read_archive(core, given, path)[:0], path)
                for path in given.archives]

def journal(core, j, given):
    archived = set()
    for path in given.archives:
        archived.update(of_journal(core, j, given, path))
    core.need(not given.archives or archived >= j.purged, "a purged record is in no archive given")
    return [f"and {path}" for path in given.archives]

def unpack(core, path, data):   # its header, and of each record the leaf and the payloads
    if path.endswith(".xml"):
        e = next(xml.etree.ElementTree.fromstring(data).iter(EVIDENCE))
        h = {**e.attrib, "left": e.get("left").split(), "right": e.get("right").split()}
        return h, [(r.get("leaf"), [(p.get("salt"), core.unbase64(p.get("data"))) for p in r])
                   for r in e]
    tar = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as tar:
        files = {m.name.partition("/")[2]: tar.extractfile(m).read() for m in tar if m.isreg()}
    h = {**json.loads(files["data/proof.json"]), "note": files["data/checkpoint"].decode()}
    return h, [(e["leaf"], [(p["salt"], p["data"].encode()) for p in e["parts"]])
               for e in map(json.loads, files["data/records.jsonl"].splitlines())]

def read_archive(core, given, path, keys=()):   # its records are under its signed checkpoint
    side = re.sub("([.]evidence)?[.]xml$", ".evidence.xml", path)
    data = pathlib.Path(side if os.path.exists(side) else path).read_bytes()
    header, rows = unpack(core, path, data)
    leaves = [core.parse_leaf(leaf.encode()) for leaf, _ in rows]
    for leaf, (_, parts) in zip(leaves, rows):
        core.check_parts(leaf, [(i, core.unbase64(salt), part)
                                for i, (salt, part) in enumerate(parts)])
    core.need([leaf.seq for leaf in leaves] == [*range(leaves[0].seq, leaves[-1].seq + 1)],
              "records are missing")
    core.prove(leaves, header["left"] + header["right"], header["note"].encode(),
               keys or [core.parse_key(key) for key in given.key])
    return data, header, leaves, [parts for _, parts in rows]

def of_journal(core, j, given, path):   # gives the records that it has as they were acknowledged
    data, header, leaves, payloads = read_archive(core, given, path, j.keys)
    core.check_note(j, header["note"].encode())
    adapter, number, held = header["adapter"], int(header["batch"]), [leaf.seq for leaf in leaves]
    batch, ack = (j.of[kind, adapter][number - 1:number] for kind in ("batch", "ack"))
    end = [f.seq for f in j.of["recover"] if f.old == header["origin"]]
    if end and not (ack and ack[0].seq < end[0]): return set()      # that is lost itself
    core.need((batch[0].first, batch[0].last) == (held[0], held[-1]), "no such batch")
    if not ack or ack[0].sha256 == "-": return set()
    core.need((ack[0].sha256, ack[0].bytes) == (core.sha(data).hex(), len(data)),
              "not as acknowledged")
    return {*held} if [len(f.parts) for f in leaves] == [*map(len, payloads)] else set()
