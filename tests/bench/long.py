"""What a long journal costs: start, a post, verification, purge, disk.

Two journals of the same state, one short and one long, filled through the
gate by bench_fill; a post is measured on both in turn, so that the ratio is
of one run. Only the acknowledgements are made up: there is no archive of
ten million posts behind them.
"""

import os
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import time

SHORT, MIDDLE = 10_000, 100_000
ADAPTER = ('adapter records { program = "xml" directory = "out/xml" '
           'interval-s = 2592000 required = true }\n')
ROUNDS = 3
PURGE_TIMEOUT = 900


def fill(run, figures, build, events, room, user):
    """Fills the journal; the chat store is told that it has seen it all."""
    found = figures([build / "tests/bench/bench_fill",
                     run.chancery.journal.path, events, room, user,
                     "records"], 1800)
    with sqlite3.connect(run.chancery.state / "chat/chat.db") as db:
        db.execute("UPDATE position SET applied = ?",
                   (run.chancery.journal.size(),))
    db.close()
    return found


def first_answer(run):
    """Seconds from the start of the program until records are taken."""
    begin = time.monotonic()
    run.chancery.start(timeout=120)
    while not run.chancery.cli_json("status")["keeper"]["writable"]:
        if time.monotonic() - begin > 120:
            raise RuntimeError("the keeper takes no records")
    return time.monotonic() - begin


def post_cost(run, seconds):
    found, roles = run.load("--rooms", 1, "--members", 10, "--senders", 1,
                            "--window", 64, "--seconds", seconds)
    return {"rate": found["post_rate"], "keeper": found["keeper.cpu"] /
            found["posts"], "all": sum(found[r + ".cpu"] for r in roles) /
            found["posts"]}


def flat(table, short, long_, events, seconds):
    costs = {"short": [], "long": []}
    for _ in range(ROUNDS):
        costs["short"].append(post_cost(short, seconds))
        costs["long"].append(post_cost(long_, seconds))

    def middle(which, what):
        return statistics.median(c[what] for c in costs[which])

    table.title("a post with {:,} and with {:,} events in the journal".format(
        SHORT, events))
    for what, name, unit in (("rate", "posts", "1/s"),
                             ("keeper", "CPU per post, keeper", "us"),
                             ("all", "CPU per post, all roles", "us")):
        table.add(name + ", short journal", middle("short", what), unit)
        table.add(name + ", long journal", middle("long", what), unit,
                  raw=("the short one", middle("short", what)))


def read_time(path):
    """Seconds to read a file from its beginning to its end."""
    buffer = bytearray(1 << 20)
    begin = time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.monotonic() - begin


def verify_rates(table, command, path, events, rounds):
    """Events per second of verification, and of reading the file before it.

    The system may have given the file's memory away since it was written, or
    since the last look (DAMON does after seconds). Reading brings back what
    fits, and tells what that costs by itself.
    """
    verified, read = [], []
    for _ in range(rounds):
        read.append(events / read_time(path))
        begin = time.monotonic()
        done = subprocess.run([*map(str, command), str(path)], text=True,
                              capture_output=True, timeout=1800)
        verified.append(events / (time.monotonic() - begin))
        if done.returncode != 0:
            table.fault("%s: exit %d: %s" % (
                command[0], done.returncode,
                (done.stdout + done.stderr)[-500:]))
    return statistics.median(verified), statistics.median(read)


def verifiers(table, build, middle, long_, events):
    root = pathlib.Path(__file__).resolve().parents[2]
    key = ["--key", long_.chancery.vkey]
    path, other = long_.chancery.journal.path, middle.chancery.journal.path
    first = [build / "chancery-verify", *key]
    second = [sys.executable, root / "export/chancery-verify.py", *key]
    table.title("both verifiers, with payloads")
    c, read = verify_rates(table, first, path, events, 3)
    table.add("chancery-verify, {:,} events".format(events), c, "1/s", 500000,
              raw=("reading the file", read))
    c, read = verify_rates(table, first, other, MIDDLE, 5)
    table.add("chancery-verify, {:,} events".format(MIDDLE), c, "1/s",
              raw=("reading the file", read))
    python, read = verify_rates(table, second, other, MIDDLE, 1)
    core, read = verify_rates(table, [*second, "--core"], other, MIDDLE, 1)
    table.add("chancery-verify.py, {:,} events".format(MIDDLE), python, "1/s",
              raw=("chancery-verify", c))
    table.add("the same with --core", core, "1/s", raw=("with all", python))


def purge(table, long_, events, cut):
    chancery = long_.chancery
    chancery.purge = 0
    chancery.write_conf()
    begin = time.monotonic()
    chancery.start(timeout=120)
    while chancery.cli_json("status")["journal"]["purged_to"] < cut:
        if time.monotonic() - begin > PURGE_TIMEOUT:
            table.fault("purge: not done after %d s" % PURGE_TIMEOUT)
            break
        time.sleep(0.5)
    took = time.monotonic() - begin
    chancery.stop()
    table.title("purge of {:,} events".format(events))
    table.add("events purged", events / took, "1/s")
    kept = chancery.folder / "kept.db"
    with sqlite3.connect(chancery.journal.path) as db:
        db.execute("VACUUM INTO ?", (str(kept),))
    db.close()
    # Posts of the scenario above have no acknowledgement and are still whole.
    db = sqlite3.connect(kept, isolation_level=None)
    db.execute("DROP TRIGGER body_delete")
    db.execute("DELETE FROM body")
    db.execute("VACUUM")
    count, leaves = db.execute(
        "SELECT count(*), sum(length(bytes)) FROM leaf").fetchone()
    tiles = db.execute("SELECT count(*) * 8192 FROM tile").fetchone()[0]
    db.close()
    table.add("kept for ever per record", os.path.getsize(kept) / count, "B")
    table.add("of it, hashes of the tree", tiles / count, "B")
    table.add("of it, leaf texts", leaves / count, "B")
    kept.unlink()


def measure(table, new_run, figures, build, room, user, events, seconds):
    """new_run(adapters): a Run on a fresh copy of the prepared state."""
    short, middle, long_ = (new_run(ADAPTER) for _ in range(3))
    fill(short, figures, build, SHORT, room, user)
    fill(middle, figures, build, MIDDLE, room, user)
    found = fill(long_, figures, build, events, room, user)
    table.title("filling the journal with {:,} events".format(events))
    table.add("first tenth", found["first_tenth"], "1/s")
    table.add("last tenth", found["last_tenth"], "1/s",
              raw=("the first", found["first_tenth"]))
    verifiers(table, build, middle, long_, events)
    table.title("from the start of the program until records are taken")
    table.add("{:,} events".format(SHORT), first_answer(short), "s")
    table.add("{:,} events".format(events), first_answer(long_), "s", 2,
              less=True)
    flat(table, short, long_, events, seconds)
    short.chancery.stop()
    long_.chancery.stop()
    purge(table, long_, events, found["cut"])
