#!/usr/bin/env python3
"""make bench: what Chancery does on this machine, beside its budgets.

Starts a real daemon (release build, TCP, the xml adapter as the archive) for
each scenario, lets tests/bench/load post in a closed loop, and prints one
table: the figure, the budget of the design, and the ratio to what the bare
parts (SQLite inserts, fdatasync, loopback TCP) reached in the same run. The
figures are for reading, not a pass or fail; status 1 means that something
could not be measured or that a post or a delivery went missing.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
os.environ.setdefault("CHANCERY_BUILD", str(ROOT / ".build/release"))
sys.path.insert(0, str(HERE.parent / "e2e"))

import long  # noqa: E402
from chancery import BUILD, DOMAIN, Chancery  # noqa: E402

PASSWORD = "bench"
ROOMS = 100
IDLE = 2000
ADAPTERS = ('adapter records { program = "xml" directory = "out/xml" '
            'interval-s = 5 required = true }\n')
LIMITS = ("connections = 19000 connections-per-address = 19000 "
          "in-flight = 20000")

# title, rooms, members of each, senders of each, more options, and the
# budgets that the design sets for it: posts/s, deliveries/s, p99 in us.
SCENARIOS = (
    ("1 room, 10 members, 1 sender", 1, 10, 1, (), 12000, 120000, None),
    ("the same, 64 posts under way", 1, 10, 1, ("--window", 64),
     None, None, None),
    ("1 room, 100 members, 10 senders", 1, 100, 10, (), 3000, 300000, None),
    ("100 rooms of 10, 1 sender each", 100, 10, 1, (), 7000, 70000, None),
    ("the same at 74 posts/s, a whole pool's rate", 100, 10, 1,
     ("--rate", 74), None, None, 20000),
)


class Table:
    """Figures in the order they were measured."""

    def __init__(self):
        self.rows, self.faults = [], []
        self.load_before = os.getloadavg()[0]

    def title(self, text):
        self.rows.append({"title": text})
        print("# " + text, file=sys.stderr, flush=True)

    def add(self, name, value, unit, budget=None, raw=None, less=False):
        """budget: at least so much (less: at most); raw: (name, value)."""
        self.rows.append({"name": name, "value": value, "unit": unit,
                          "budget": budget, "less": less, "raw": raw})

    def fault(self, text):
        self.faults.append(text)
        print("# FAULT: " + text, file=sys.stderr, flush=True)

    def text(self):
        about = machine()
        lines = ["%d CPUs (%s), Linux %s, load %.2f at the start" % (
            about["cpus"], about["model"], about["kernel"],
            self.load_before), "", "%-44s %12s  %-6s %12s  %7s  %s" % (
            "", "measured", "", "budget", "of it", "beside the bare part")]
        for row in self.rows:
            if "title" in row:
                lines += ["", row["title"]]
                continue
            budget = share = beside = ""
            if row["budget"] is not None:
                budget = ("< " if row["less"] else "") + number(row["budget"])
                share = "%.0f %%" % (100 * row["value"] / row["budget"])
            if row["raw"] and row["raw"][1]:
                beside = "%.2f of %s %s" % (
                    row["value"] / row["raw"][1], number(row["raw"][1]),
                    row["raw"][0])
            lines.append(("  %-42s %12s  %-6s %12s  %7s  %s" % (
                row["name"], number(row["value"]), row["unit"], budget,
                share, beside)).rstrip())
        return "\n".join(lines + [""] + ["FAULT: " + f for f in self.faults])

    def json(self):
        section, found = "", []
        for row in self.rows:
            if "title" in row:
                section = row["title"]
                continue
            found.append({
                "section": section, "name": row["name"],
                "value": row["value"], "unit": row["unit"],
                "budget": row["budget"],
                "budget_is": "at most" if row["less"] else "at least",
                "bare_part": row["raw"][0] if row["raw"] else None,
                "bare_value": row["raw"][1] if row["raw"] else None})
        return json.dumps({"machine": dict(
            machine(), load=self.load_before), "figures": found,
                           "faults": self.faults}, indent=1)


def number(value):
    if value >= 1000:
        return "{:,.0f}".format(value)
    return "%.0f" % value if value >= 100 or value == int(value) else \
        "%.2f" % value


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = [line.partition(":")[2].strip() for line in info.splitlines()
             if line.startswith("model name")]
    return {"cpus": os.cpu_count(), "model": model[0] if model else "",
            "kernel": os.uname().release}


def figures(command, timeout, cwd=None):
    """Runs a program that prints "name value unit" lines: {name: value}."""
    done = subprocess.run([str(word) for word in command], text=True,
                          capture_output=True, timeout=timeout, cwd=cwd)
    if done.returncode != 0:
        raise RuntimeError("%s: exit %d: %s" % (
            command[0], done.returncode, done.stderr.strip()))
    found = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) >= 2 and not line.startswith("#"):
            found[words[0]] = float(words[1])
    return found


def machine_cpu():
    """(busy, all) CPU time of the machine so far, in ticks."""
    line = pathlib.Path("/proc/stat").read_text().split("\n")[0]
    ticks = [int(word) for word in line.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def sync_rate(folder, seconds=0.5):
    """Appends of 4 KiB, each synced, a second: what the disk gives now."""
    path, block, done = folder / "sync", bytes(4096), 0
    with open(path, "wb", buffering=0) as f:
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            f.write(block)
            os.fdatasync(f.fileno())
            done += 1
        took = time.monotonic() - start
    path.unlink()
    return done / took


def own_cpu(pids):
    """CPU time so far of these processes, of us and of what we ran."""
    ticks = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
    for pid in pids:
        stat = pathlib.Path("/proc", str(pid), "stat").read_text()
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    return ticks


def guid(room):
    return "%08x-0000-4000-8000-000000000000" % room


def prepare(folder):
    """A state with users and rooms, journalled, to be copied for each run."""
    chancery = Chancery(adapters=ADAPTERS, purge=-1, limits=LIMITS,
                        folder=folder)
    chancery.init()
    for i in range(IDLE):
        chancery.cli("user", "add", "sip:u%05u@%s" % (i, DOMAIN),
                     "--password-stdin", input=PASSWORD + "\n")
    for room in range(ROOMS):
        chancery.cli("room", "add", "Room %d" % room, "--id", guid(room))
    chancery.start(timeout=120)
    chancery.stop()
    return chancery


class Run:
    """A daemon of its own on a copy of the prepared state."""

    def __init__(self, prepared, folder, adapters=ADAPTERS):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="run-",
                                                    dir=folder))
        os.chmod(self.folder, 0o755)
        subprocess.run(["cp", "-a", str(prepared.state), str(self.folder)],
                       check=True)
        self.chancery = Chancery(adapters=adapters, purge=-1, limits=LIMITS,
                                 folder=self.folder)
        self.chancery.vkey = prepared.vkey
        self.chancery.write_conf()

    def __enter__(self):
        self.chancery.start(timeout=60)
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.chancery.stop()
        else:
            print("".join("# " + line + "\n"
                          for line in self.chancery.log.lines[-20:]),
                  file=sys.stderr, end="")
            self.chancery.kill()

    def load(self, *args):
        """The generator's figures, and the names of the roles among them."""
        roles = dict(parent=self.chancery.daemon.pid,
                     **self.chancery.roles())
        pids = list(roles.values())
        watches = [("server", roles.pop("server"))] + sorted(roles.items())
        command = [BUILD / "tests/bench/load", "--port",
                   self.chancery.ports["tcp"], "--domain", DOMAIN,
                   "--password", PASSWORD, *args]
        for name, pid in watches:
            command += ["--watch", "%s=%d" % (name, pid)]
        before = machine_cpu(), own_cpu(pids)
        found = figures(command, 300)
        busy, total = (b - a for a, b in zip(before[0], machine_cpu()))
        found["others"] = 100 * max(
            busy - (own_cpu(pids) - before[1]), 0) / total
        return found, [name for name, _ in watches]


def bare(table, folder):
    """What the parts reach alone; the denominators of the rest."""
    found = figures([BUILD / "tests/bench/bench_keeper"], 200, cwd=folder)
    found.update(figures([BUILD / "tests/bench/bench_loopback"], 60))
    table.title("bare parts")
    table.add("fdatasync of 4 KiB", found["fdatasync_4k"], "1/s")
    for n in (1, 100, 1000):
        table.add("SQLite insert, %d a commit" % n,
                  found["sqlite_insert_%d" % n], "1/s")
    for n in (10, 100):
        table.add("loopback TCP, %d connections, out and back" % n,
                  found["loopback_%d" % n], "1/s")
    table.title("keeper alone: events appended, no role around it")
    for n, budget in ((1, None), (100, 80000), (1000, 80000)):
        table.add("%d a commit" % n, found["keeper_append_%d" % n], "1/s",
                  budget, raw=("SQLite", found["sqlite_insert_%d" % n]))
    return found


def scenario(table, prepared, folder, raw, row, seconds):
    title, rooms, members, senders, more = row[:5]
    posts_budget, deliveries_budget, p99_budget = row[5:]
    with Run(prepared, folder) as run:
        syncs = sync_rate(folder)
        found, roles = run.load("--rooms", rooms, "--members", members,
                                "--senders", senders, "--seconds", seconds,
                                *more)
        syncs = (syncs + sync_rate(folder)) / 2
        posts, deliveries = found["posts"], found["deliveries"]
        table.title(title)
        table.add("posts", found["post_rate"], "1/s", posts_budget,
                  raw=("fdatasync before and after", syncs))
        table.add("deliveries", found["delivery_rate"], "1/s",
                  deliveries_budget,
                  raw=("loopback", raw["loopback_%d" % members]))
        table.add("post to 200, p50", found["latency_p50"], "us")
        table.add("post to 200, p99", found["latency_p99"], "us", p99_budget,
                  less=True)
        cpu = {role: found[role + ".cpu"] for role in roles}
        full = "--rate" not in more
        table.add("CPU per delivery, all roles",
                  sum(cpu.values()) / deliveries, "us",
                  10 if full else None, less=True)
        table.add("CPU per post, all roles", sum(cpu.values()) / posts, "us")
        for role in roles:
            table.add("CPU per post, " + role, cpu[role] / posts, "us")
        table.add("written per post, server and keeper",
                  (found["server.written"] + found["keeper.written"]) / posts,
                  "B", 1536 if full else None, less=True)
        table.add("one CPU: share of the load generator",
                  found["load_cpu"], "%")
        table.add("all CPUs: share of programs not ours",
                  found["others"], "%")
        for name in ("undelivered", "unanswered", "refused"):
            if found[name]:
                table.fault("%s: %d %s" % (title, found[name], name))
        return run.chancery, run.chancery.journal.size()


def idle(table, prepared, folder):
    with Run(prepared, folder) as run:
        found, _ = run.load("--idle", IDLE, "--rooms", ROOMS)
        table.title("%d members, idle, in %d rooms" % (IDLE, ROOMS))
        table.add("memory of the server role per member",
                  found["rss_per_member"], "KiB", 4, less=True)
        table.add("memory of the server role before",
                  found["rss_before"], "KiB")
        table.add("sign-in and join", found["sign_ins"], "1/s", 10)


def verify(table, chancery, events):
    """Full verification of a journal nobody writes, payloads included."""
    times = []
    for _ in range(3):
        start = time.monotonic()
        done = chancery.verify(check=False, timeout=200)
        times.append(time.monotonic() - start)
        if done.returncode != 0:
            table.fault("chancery-verify: exit %d: %s" % (
                done.returncode, (done.stdout + done.stderr)[-500:]))
            return
    table.title("verification of the longest of these journals, with payloads")
    table.add("events in it", events, "")
    table.add("events verified", events / statistics.median(times), "1/s",
              500000)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "export/chancery-verify.py"), "--key",
         chancery.vkey, str(chancery.journal.path)],
        capture_output=True, text=True, timeout=1800)
    taken = time.monotonic() - start
    if done.returncode != 0:
        table.fault("chancery-verify.py: exit %d: %s" % (
            done.returncode, (done.stdout + done.stderr)[-500:]))
        return
    table.add("the same by the second verifier", events / taken, "1/s")
    table.add("of its rate the first one's is",
              taken / statistics.median(times), "times")


def measure(table, folder, quick, seconds, events):
    prepared = prepare(quick)
    raw = bare(table, folder)
    longest = (None, 0)
    for row in SCENARIOS:
        done = scenario(table, prepared, folder, raw, row, seconds)
        longest = max(longest, done, key=lambda pair: pair[1])
    idle(table, prepared, folder)
    verify(table, longest[0], longest[1])
    if events:
        long_journal(table, folder, quick, events)


def long_journal(table, folder, quick, events):
    """The section of long.py; its journals begin without any batch."""
    bare_state = Chancery(purge=-1, limits=LIMITS, folder=new_folder(quick))
    bare_state.init()
    for i in range(10):
        bare_state.cli("user", "add", "sip:u%05u@%s" % (i, DOMAIN),
                       "--password-stdin", input=PASSWORD + "\n")
    for room in (0, ROOMS - 1):
        bare_state.cli("room", "add", "Room %d" % room, "--id", guid(room))
    bare_state.start(timeout=120)
    bare_state.stop()

    def new_run(adapters):
        return Run(bare_state, folder, adapters)

    long.measure(table, new_run, figures, BUILD, "ma-chan://%s/%s" % (
        DOMAIN, guid(ROOMS - 1)), "sip:u00000@" + DOMAIN, events, 5)


def new_folder(parent):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chancery-bench-",
                                           dir=parent))
    os.chmod(folder, 0o755)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true",
                        help="print JSON instead of the table")
    parser.add_argument("--seconds", type=int, default=10,
                        help="measured time of each scenario")
    parser.add_argument("--events", type=int, default=10_000_000,
                        help="length of the long journal; 0: without it")
    parser.add_argument("--only-long", action="store_true",
                        help="measure the long journal alone")
    parser.add_argument("--folder", type=pathlib.Path,
                        help="where the state is kept (default: a new "
                        "temporary folder); its disk is what is measured")
    args = parser.parse_args()
    folder = new_folder(args.folder)
    # What is only copied from needs no disk: thousands of syncs less.
    quick = new_folder("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    table = Table()
    try:
        if args.only_long:
            long_journal(table, folder, quick, args.events)
        else:
            measure(table, folder, quick, args.seconds, args.events)
    except (RuntimeError, AssertionError, OSError, KeyError,
            subprocess.SubprocessError) as e:
        table.fault("%s: %s" % (type(e).__name__, e))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(quick, ignore_errors=True)
    print(table.json() if args.json else table.text())
    return 1 if table.faults else 0


if __name__ == "__main__":
    sys.exit(main())
