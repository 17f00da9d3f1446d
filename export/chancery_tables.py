"""A chapter of chancery-verify.py, by chancery-journal(5): the file as a database, what its tables
repeat of the records (TABLES, SEGMENTS), each step of the clock (CLOCK), and payloads as JSON
(PARTS). None of this changes a record; it tells whether those who rely on it are told the truth.
"""
import itertools, json, math, re
# ---- TABLES: names, columns, types ----
TABLES = """meta: name TEXT, value TEXT
leaf: seq INTEGER, at INTEGER, kind INTEGER, bytes BLOB
body: id INTEGER, salt BLOB, data BLOB
tile: level INTEGER, idx INTEGER, data BLOB
head: id INTEGER, size INTEGER, root BLOB, note BLOB
checkpoint: size INTEGER, note BLOB
cosig: size INTEGER, name TEXT, line BLOB, at INTEGER
stamp: size INTEGER, at INTEGER, token BLOB
batch: adapter TEXT, n INTEGER, first INTEGER, last INTEGER, seq INTEGER
ack: adapter TEXT, n INTEGER, state TEXT, seq INTEGER
hold: n INTEGER, seq INTEGER, released INTEGER, salt BLOB, selector TEXT, room TEXT, user TEXT,\
 since INTEGER, until INTEGER
purge_range: first INTEGER, last INTEGER, n INTEGER, seq INTEGER"""

def check_form(core, db):   # what is read is of such tables, and each value is of its type
    core.need(db.execute("PRAGMA application_id").fetchone() == (0x43484e43,), "application id")
    for line in TABLES.split("\n"):
        name, columns = line.split(": ")
        kind = db.execute("SELECT type, strict FROM pragma_table_list WHERE schema = 'main' AND "
                          "name = ?", (name,)).fetchone()
        found = db.execute("SELECT name, type FROM pragma_table_xinfo(?)", (name,)).fetchall()
        other = " OR ".join(f"typeof({column}) NOT IN ('{of.lower()}', 'null')"
                            for column, of in found)
        core.need(kind == ("table", 1) and columns == ", ".join(map(" ".join, found)) and
                  not db.execute(f"SELECT 1 FROM {name} WHERE {other}").fetchone(),
                  f"table {name}: not as the manual has it")

def file(core, j, db, path, first):     # its tables say what the records tell, and nothing more
    def same(table, columns, told, rest=""):
        found = db.execute(f"SELECT {columns} FROM {table} {rest}").fetchall()
        core.need(sorted(found) == sorted(told), f"table {table}: not what the records tell")
    check_form(core, db)
    of, end, opened = j.of, len(j.leaves), j.of["open"][0]
    kept = [f for kind, told in of.items() for f in told
            if f.seq >= first or kind not in ("beat", "clock")]
    batches, acks = ([f for kind, told in of.items() if kind[:1] == (title,) for f in told]
                     for title in ("batch", "ack"))
    ended = {f.hold: f.seq for f in of["release"]}
    same("meta", "name, value", [
        ("journal", opened.journal), ("origin", opened.origin), ("vkey", opened.vkey),
        ("segment", str(len(j.notes) - 1)), ("first", str(first))])
    same("leaf", "seq", [(f.seq,) for f in kept], "WHERE kind >= 128")    # by the index
    same("leaf", "seq, at, kind", [(f.seq, f.at, f.kind) for f in kept if f.seq < first],
         f"WHERE seq < {first}")
    for seq, data in db.execute("SELECT seq, bytes FROM leaf WHERE seq < ?", (first,)):
        core.need(core.sha(b"\0", data) == j.leaves[seq], f"copy of record {seq}")
    same("head", "id, size, root", [(1, end, j.root(end))])
    same("batch", "adapter, n, first, last, seq",
         [(f.adapter, f.batch, f.first, f.last, f.seq) for f in batches])
    same("ack", "adapter, n, state, seq", [(f.adapter, f.batch, f.state, f.seq) for f in acks])
    same("hold", "n, seq, released", [(f.hold, f.seq, ended.get(f.hold)) for f in of["hold"]])
    for f in of["hold"]:
        check_hold(core, f, *db.execute("SELECT salt, selector, room, user, since, until FROM hold "
                                        "WHERE n = ?", (f.hold,)).fetchone())
    check_tiles(core, j, db, first, end)
    if first:
        core.need(db.execute("SELECT min(size) FROM checkpoint").fetchone() == (first,),
                  "checkpoints of the files before")
    j.ranges = [*getattr(j, "ranges", ()),
                (first, end, set(db.execute("SELECT first, last, n, seq FROM purge_range")))]

def check_hold(core, f, salt, selector, *columns):  # its text is what was committed to, or lost
    if salt is None and selector is None: return core.need(columns == (None,) * 4, "hold: lost")
    text = "".join(f',"{name}":{quote}{value}{quote}' for name, quote, value in zip(
        ("room", "user", "from", "until"), ('"', '"', "", ""), columns) if value is not None)
    core.need(core.sha(b"part/1\n", salt, selector.encode()) == f.selector and len(salt) == 32 and
              selector.encode().lower().decode() == '{"v":1' + text + "}" and
              '"' not in f"{columns[0]}{columns[1]}", f"hold {f.hold}: its text")

def check_tiles(core, j, db, first, end):   # all full ones, but those that need not be copied
    want = [(0, i) for i in range(first >> 16 << 8, end >> 8)]
    hashes = [j.leaves]     # by level
    while len(hashes[-1]) >= 256:
        width = 256 ** len(hashes)
        hashes.append([core.root(at, at + width, **j.root.keywords)
                       for at in range(0, end - width + 1, width)])
        want += [(len(hashes) - 1, i) for i in range(len(hashes[-1]) >> 8)]
    for level, i, data in db.execute("SELECT level, idx, data FROM tile ORDER BY level, idx"):
        core.need(want[:1] == [(level, i)] and
                  data == b"".join(hashes[level][256 * i:256 * i + 256]), f"tile {level}/{i}")
        del want[0]
    core.need(not want, "tiles are missing")

def journal(core, j, given):    # the rows of a purge are in its own file and in that of its records
    for first, end, found in j.ranges:
        told, late = set(), set()
        for f in j.of["purge"]:
            for run in f.ranges.split(","):
                a, b = int(run.split("-")[0]), int(run.split("-")[-1])
                if f.seq < end or first <= a < end: told.add((a, b, f.purge, f.seq))
                if f.seq >= end and a in j.undone: late.add((a, b, f.purge, f.seq))
        core.need(found in (told, told - late), "table purge_range: not what the records tell")

# ---- CLOCK: each step of it is told by a clock record ----
def record(core, j, f, parts):
    if f.title in ("open", "seal"): return
    bootid, known = getattr(j, "clock", ("", 0))
    offset, anew = f.at - f.boottime, bootid != f.bootid    # after a start nothing is known
    if f.title == "clock":
        core.need(f.behind or f.new == offset, "clock record is not of its time")
        core.need(f.old == (f.new if anew else known) and (anew or abs(f.new - f.old) > 250000),
                  "clock record of no step")
        offset = f.new
    elif f.behind:
        core.need(not anew, "clock record is missing")
        offset = known
    else: core.need(anew or abs(offset - known) <= 250000, "the clock was set")
    j.clock = f.bootid, offset
# ---- PARTS: a payload is one compact JSON object of its kind ----
KINDS = " join leave post history delivery room member user".split(" ")
ID = re.compile("[0-9a-f]{8}-(0|[1-9][0-9]{0,18})")
STRING, ESCAPE, MARK = re.compile('"[^"]*"'), re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)"), "\ud800"
def refuse(number): raise ValueError(f"{number[:40]} is no number of 64 bits")
def integer(text):
    return int(text) if len(text) <= 20 and -2**63 <= int(text) < 2**63 else refuse(text)
def fraction(text): return text if math.isfinite(float(text)) else refuse(text)
JSON = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=refuse,
                        parse_int=integer, parse_float=fraction).raw_decode

def check_payload(core, f, i, data):
    text = data.decode()
    members, end = JSON(text)
    if "\\" in text:   # each escape becomes a mark, which no UTF-8 has: see where they stand
        json.dumps(members, ensure_ascii=False).encode()    # refuses half of a surrogate pair
        text = ESCAPE.sub(MARK, text)
        members, end = JSON(text)
        core.need(not re.search(f'"[^"]*{MARK}[^"]*":', text), "escape in the name of a member")
    bare, said = STRING.sub("", text), dict(members)
    if bare.count("{") + bare.count("[") > 32:
        depth = itertools.accumulate((c in "{[") - (c in "}]") for c in bare)
        core.need(max(depth) <= 32, "nested too deep")
    if len(said) < len(members):
        names = [name for name, _ in members]
        core.need(not any(names.count(name) > 1 for name in ("v", "type", "id", "client")), "twice")
    core.need(type(members) is tuple and end == len(text) and bare.split() == [bare] and
              all(type(said.get(name, "")) is str for name in ("type", "id", "client")) and (
              i > (f.kind == 3) or said["v"] == 1 and said["v"] is not True) and (
              i or int(ID.fullmatch(said["id"])[1]) < 2**63 and said["type"] == (
                  KINDS[f.kind] if f.kind < len(KINDS) else said["type"])),
              f"part {i}: not one compact JSON object of its kind")

def payloads(core, leaf, parts):    # of a journal, an archive or a proof
    for i, _, data in parts: check_payload(core, leaf, i, data)
