"""Each write, sync, rename and allocation of a role fails, one at a time.

A daemon talks, archives and purges while the n-th such call of its keeper,
signer or engine fails (tests/fault/fault.c); afterwards it starts again
without faults. What was answered 200 is in the journal once, the verifier
finds nothing that is not declared, and chat goes on.

CHANCERY_FAULTS=all takes every write, sync and rename, and of the allocations
the first, the second and the last by each path: the program's own calls that
lead to it, and the three innermost ones of whatever library wants the memory.
It does not take what differs in the middle of a library alone, nor the third
to the last but one by the same path; CHANCERY_FAULTS=each does, and takes
many hours. CHANCERY_SOME=N takes so many of them in each sweep, by chance
(CHANCERY_SEED); the suite takes a few of `all`. The daemon is the plain
build: a sanitizer has its own allocator.
"""

import collections
import concurrent.futures
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

PLAIN = pathlib.Path(__file__).resolve().parents[2] / ".build" / "dev"
os.environ["CHANCERY_BUILD"] = str(PLAIN)

import archives  # noqa: E402
from chancery import Chancery, progress, wait_until  # noqa: E402
import xccos  # noqa: E402

LIBRARY = PLAIN / "tests" / "fault.so"
FAULTS = os.environ.get("CHANCERY_FAULTS")
SEED = int(os.environ.get("CHANCERY_SEED", random.randrange(1 << 32)))
SOME = int(os.environ.get("CHANCERY_SOME", "0" if FAULTS else "8"))
POSTS = 6
WORKERS = 8 if FAULTS else 2
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ADAPTER = ('adapter records { program = "xml" directory = "out" '
           "interval-s = 900 required = true }\n")
TOLD = (200, 500, 503)
PORT_TAKEN = "address already in use"   # by another's test


class Story:
    """One life with a fault, and the next without."""

    def __init__(self, prepared, role, call, n):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fault-", dir=FAST))
        subprocess.run(["cp", "-a", str(prepared.state), str(self.folder)],
                       check=True, timeout=60)
        # Beside it: the roles write it, as users of their own.
        self.marker = self.folder.with_suffix(".fired")
        self.c = Chancery(adapters=ADAPTER, purge=0, folder=self.folder)
        self.c.vkey = prepared.vkey
        self.c.write_conf()
        self.c.environment = dict(
            os.environ, LD_PRELOAD=str(LIBRARY), CHANCERY_FAULT="%s:%s:%s:%s"
            % (role, call, n, self.marker))
        self.accepted = []

    def post(self, client, room, text):
        status = client.post(room, text)
        if status == 200:
            self.accepted.append(text)
        elif status not in TOLD:
            raise AssertionError("post answered %d" % status)

    def talk(self, room, name):
        """Whatever the fault does to it, a client gets clear answers."""
        ann = self.c.sign_in("ann")
        wait_until(lambda: ann.join(room).code == 200, "join", step=0.2)
        for i in range(POSTS):
            self.post(ann, room, "%s %d" % (name, i))

    def faulty(self, room):
        """Whether the fault came; what it broke must be broken by it."""
        try:
            self.c.start()
            self.talk(room, "fault")
            self.c.cli("adapter", "run", "records", check=False)
            self.c.cli("status", check=False)
            self.c.cli("key", "rotate", check=False)
        except (AssertionError, xccos.Lost, OSError):
            if not self.marker.exists():
                raise
        disconnect(self.c)
        if self.lives() and self.marker.exists():
            self.mended(room)
            disconnect(self.c)
        if self.c.daemon is not None:
            self.end()
        return self.marker.exists()

    def lives(self):
        """It may have come to its end before it was ready."""
        if self.c.daemon is not None and self.c.log.ended:
            self.c.daemon.wait(10)
        return self.c.daemon is not None and self.c.daemon.poll() is None

    def mended(self, room):
        """A daemon that lives on mends itself."""
        ann = self.c.sign_in("ann")
        wait_until(lambda: ann.join(room).code == 200, "join", step=0.2)
        tries = itertools.count()

        def posts():
            text = "mended %d" % next(tries)
            self.post(ann, room, text)
            return text in self.accepted
        wait_until(posts, "a post is taken", step=0.2)

    def end(self):
        self.c.daemon.terminate()
        try:
            self.c.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.c.daemon.kill()
            self.c.daemon.wait(10)
            raise AssertionError("the daemon does not end") from None
        finally:
            self.c.finish()

    def sound(self, room):
        """Without faults: all is there once, it verifies, and goes on."""
        self.c.environment = None
        self.c.start()
        self.talk(room, "after")
        self.c.cli("adapter", "run", "records")
        disconnect(self.c)
        self.c.stop()
        held = collections.Counter(self.posts())
        missing = [t for t in self.accepted if held[t] != 1]
        if missing or max(held.values()) > 1:
            raise AssertionError("acknowledged and not there once: %r of %r" %
                                 (missing, held))
        if sum(t.startswith("after") for t in self.accepted) != POSTS:
            raise AssertionError("chat does not go on")
        self.c.verify(self.c.journal.path, self.folder / "out")

    def posts(self):
        """Texts in the archives and, after them, in the journal."""
        parts = {}
        for archive in archives.files(self.folder / "out", ".xml"):
            parts.update(archives.xml_records(archive))
        texts = archives.texts(parts)
        return texts + [e["text"] for e in self.c.journal.events("post")
                        if e["seq"] not in parts]

    def close(self, keep):
        """Whatever happened: nothing of it runs any more."""
        disconnect(self.c)
        if self.c.daemon is not None:
            self.c.daemon.kill()
            self.c.daemon.wait(10)
            self.c.finish()
        if not keep:
            shutil.rmtree(self.folder)
            self.marker.unlink(missing_ok=True)


def disconnect(c):
    if c.hub is not None:
        c.hub.stop()
        c.hub = None


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print("# seed %d" % SEED, file=sys.stderr)
        c = cls.prepared = cls.enterClassContext(
            Chancery(adapters=ADAPTER, purge=0))
        c.init().add_users("ann")
        cls.room = c.add_room("Hall")
        c.start()
        c.stop()

    def run_one(self, role, call, n):
        """False when no such call came any more."""
        try:
            return self.live(role, call, n)
        except AssertionError as e:
            if PORT_TAKEN not in str(e):
                raise
            return self.live(role, call, n)

    def live(self, role, call, n):
        story, kept = Story(self.prepared, role, call, n), True
        try:
            came = story.faulty(self.room)
            if came:
                story.sound(self.room)
            kept = False
        except Exception as e:
            kept = PORT_TAKEN not in str(e)
            raise AssertionError("%s %s %s (%s): %s" % (
                role, call, n, story.folder, e)) from e
        finally:
            story.close(kept)
        return came

    def count(self, role, call):
        """How many such calls a story has, by path."""
        story = Story(self.prepared, role, call, 0)
        counted = collections.Counter()
        try:
            if story.faulty(self.room):
                for line in story.marker.read_text().splitlines():
                    path, n = line.split()
                    counted[path] += int(n)
        finally:
            story.close(False)
        return counted

    def sweep(self, role, call):
        counted = self.count(role, call)
        total = sum(counted.values())
        self.assertGreater(total, 0)
        if call == "alloc" and FAULTS != "each":
            wanted = ["%d@%s" % (n, path) for path in sorted(counted)
                      for n in sorted({1, min(2, counted[path]),
                                       counted[path]})]
        else:
            wanted = [str(n) for n in range(1, total + 1)]
        if SOME:
            chance = random.Random("%d %s %s" % (SEED, role, call))
            wanted = chance.sample(wanted, min(SOME, len(wanted)))
        came, failures, begin = 0, [], time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            lives = [pool.submit(self.run_one, role, call, n) for n in wanted]
            for i, life in enumerate(concurrent.futures.as_completed(lives)):
                progress("%s %s" % (role, call), i + 1, len(lives))
                try:
                    came += life.result()
                except AssertionError as e:
                    print("# %s" % e, file=sys.stderr, flush=True)
                    failures.append(str(e))
        print("# %s: %d of %d calls of %s (%d paths) failed, one at a time, in "
              "%.0f s" % (role, came, total, call, len(counted),
                          time.monotonic() - begin), file=sys.stderr)
        self.assertEqual(failures, [])
        # The last ones need not come again in each life.
        self.assertGreaterEqual(came, len(wanted) // 2)

    def test_the_engine_writes_no_file(self):
        for call in ("write", "sync", "rename"):
            self.assertEqual(self.count("engine", call), {})


def add(role, call):
    def test(self):
        self.sweep(role, call)
    setattr(Faults, "test_%s_%s" % (role, call), test)


for row in (("keeper", "write"), ("keeper", "sync"), ("keeper", "alloc"),
            ("signer", "write"), ("signer", "sync"), ("signer", "rename"),
            ("signer", "alloc"), ("engine", "alloc")):
    add(*row)

if __name__ == "__main__":
    unittest.main()
