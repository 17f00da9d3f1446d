"""The files of one journal, put together as the one that they tell of: chancery-journal(5),
SEGMENTS.
"""
import base64
import os
import sqlite3
import urllib.parse

from chancery_evidence import need, sha

# Of a file that begins with record ?1: what is its own, and so was in no file before.
OWN = {"leaf": "seq >= ?1", "body": "1", "checkpoint": "size > ?1", "cosig": "size > ?1",
       "stamp": "size > ?1",
       "tile": "(level > 0 AND idx >= ?1 >> 8 * (level + 1)) OR (level = 0 AND idx >= ?1 >> 8)"}
# Copies of what is in the files before: here and there the same rows.
COPIES = {"leaf": ("seq < ?1", "seq < ?1 AND kind >= 128 AND kind NOT IN (133, 137)"),
          "tile": ("(level > 0 AND idx < ?1 >> 8 * (level + 1)) OR (level = 0 AND idx < ?1 >> 8)",
                   "(level > 0 AND idx < ?1 >> 8 * (level + 1)) OR "
                   "(level = 0 AND idx >= ?1 >> 16 << 8 AND idx < ?1 >> 8)"),
          "checkpoint": ("size <= ?1", "size = ?1")}
# What only repeats control records: a later file has it all.
DERIVED = ("batch", "ack", "purge_range")


def connect(path):
    live = os.path.exists(path + "-wal")
    with open(path, "rb") as f:
        need(f.read(16) == b"SQLite format 3\0", "not an SQLite database")
    uri = "file:%s?mode=ro" % urllib.parse.quote(os.path.abspath(path))
    db = sqlite3.connect(uri + ("" if live else "&immutable=1"), uri=True, isolation_level=None)
    db.text_factory = bytes
    return db


def place_of(path):
    """Of which journal it is and which of its files; what cannot be read stands alone."""
    try:
        db = connect(path)
        meta = dict(db.execute("SELECT name, value FROM meta"))
        db.close()
        return meta[b"journal"], int(meta[b"segment"])
    except (OSError, ValueError, LookupError, TypeError, sqlite3.Error):
        return path.encode(), 0


def groups(paths):
    """Files of one journal together, in their order; a second copy is of another journal."""
    found = {}
    for path in paths:
        journal, segment = place_of(path)
        copy = 0
        while segment in found.setdefault((journal, copy), {}):
            copy += 1
        found[journal, copy][segment] = path
    return [[files[n] for n in sorted(files)] for files in found.values()]


def check_copies(db, n, first, path):
    """A file against those before it, which are in main already."""
    need(db.execute("SELECT count(*) FROM part.body WHERE id < ?1 << 8",
                    (first,)).fetchone()[0] == 0,
         f"{path}: payloads of records before it")
    for table, (here, before) in COPIES.items() if n else ():
        one = f"SELECT * FROM part.{table} WHERE {here}"
        other = f"SELECT * FROM main.{table} WHERE {before}"
        for a, b in (one, other), (other, one):
            need(not db.execute(f"SELECT 1 FROM ({a} EXCEPT {b})", (first,)).fetchone(),
                 f"{path}: copies in {table} differ")
    for table in DERIVED if n else ():
        lacks = db.execute(f"SELECT 1 FROM (SELECT * FROM main.{table} EXCEPT"
                           f" SELECT * FROM part.{table}) LIMIT 1").fetchone()
        need(not lacks or table == "purge_range", f"{path}: copies in {table} differ")


def put_together(files):
    """A database with the records of all files; copies are compared with the originals."""
    if len(files) == 1 and place_of(files[0])[1] == 0:
        return connect(files[0])
    db, end, meta = sqlite3.connect("", uri=True, isolation_level=None), 0, {}
    db.text_factory = bytes
    for n, path in enumerate(files):
        connect(path).close()
        wal = "" if os.path.exists(path + "-wal") else "&immutable=1"
        uri = "file:%s?mode=ro%s" % (urllib.parse.quote(os.path.abspath(path)), wal)
        db.execute("ATTACH ? AS part", (uri,))
        for pragma, value in ("application_id", 0x43484e43), ("user_version", 2):
            need(db.execute(f"PRAGMA part.{pragma}").fetchone()[0] == value, f"{path}: {pragma}")
            db.execute(f"PRAGMA main.{pragma} = {value}")
        meta = dict(db.execute("SELECT name, value FROM part.meta"))
        (size, root), = db.execute("SELECT size, root FROM part.head").fetchall()
        need(meta[b"segment"] == b"%d" % n, f"segment {n} is missing")
        need(meta[b"first"] == b"%d" % end and (size > end or n),
             f"{path}: does not begin with record {end}")
        if n == 0:
            for sql, in db.execute("SELECT sql FROM part.sqlite_master"
                                   " WHERE type = 'table'").fetchall():
                db.execute(sql.decode())
        check_copies(db, n, end, os.path.basename(path))
        for table, own in OWN.items():
            db.execute(f"INSERT INTO main.{table} SELECT * FROM part.{table} WHERE {own}",
                       (end,) if "?1" in own else ())
        for table in (*DERIVED, "hold", "head", "meta"):
            db.execute(f"DELETE FROM main.{table}")
            db.execute(f"INSERT INTO main.{table} SELECT * FROM part.{table}")
        if n + 1 < len(files):
            (note,), = db.execute("SELECT note FROM part.checkpoint WHERE size = ?",
                                  (size,)).fetchall()
            need(base64.b64encode(root) == note.split(b"\n")[2],
                 f"{path}: its head row is not its checkpoint")
        db.execute("DETACH part")
        end = size
    db.execute("UPDATE meta SET value = '0' WHERE name IN ('segment', 'first')")
    return db


def check_opens(opens, files, sealed, points):
    """Each file begins with an open record that names the checkpoint which ended the one before."""
    need(len(opens) == files or (len(opens) == files - 1 and sealed),
         "an open record without its file, or a file without")
    for f in opens[1:]:
        need(sha(points[f["seq"]]).hex() == f["note"],
             f"the checkpoint before segment {f['segment']} is another")
