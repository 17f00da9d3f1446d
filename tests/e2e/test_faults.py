"""Each write, sync, rename and allocation of a role fails, one at a time.

A daemon talks, archives and purges while the n-th such call of its keeper,
signer or engine fails (tests/fault/fault.c); then it starts again on the same
state, and another one fails. After a chain of such lives comes one without
faults: what was answered 200 is there once, the verifier finds nothing that
is not declared, and chat goes on. A life's journal is the longer the later it
comes in its chain, so that the same n is not the same call in each of them;
all n are taken all the same, and a journal survives many faults.

CHANCERY_FAULTS=all takes every n; CHANCERY_SOME=N takes so many in each sweep,
by chance (CHANCERY_SEED), as the suite does. CHANCERY_CHAIN=1 takes each in a
state of its own, to look into a failure. The daemon is the plain build: a
sanitizer has its own allocator.
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
CHAIN = int(os.environ.get("CHANCERY_CHAIN", "16" if FAULTS else "4"))
POSTS = 6
WORKERS = 8 if FAULTS else 2
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ADAPTER = ('adapter records { program = "xml" directory = "out" '
           "interval-s = 900 required = true }\n")
TOLD = (200, 500, 503)
PORT_TAKEN = "address already in use"   # by another's test


class Story:
    """Lives with a fault each, and the last without."""

    def __init__(self, prepared, role, call):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fault-", dir=FAST))
        subprocess.run(["cp", "-a", str(prepared.state), str(self.folder)],
                       check=True, timeout=60)
        # Beside it: the roles write it, as users of their own.
        self.marker = self.folder.with_suffix(".fired")
        self.c = Chancery(adapters=ADAPTER, purge=0, folder=self.folder)
        self.c.vkey = prepared.vkey
        self.c.write_conf()
        self.role, self.call = role, call
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

    def faulty(self, room, n):
        """Whether the fault came; what it broke must be broken by it."""
        self.marker.unlink(missing_ok=True)
        self.c.environment = dict(
            os.environ, LD_PRELOAD=str(LIBRARY), CHANCERY_FAULT="%s:%s:%d:%s"
            % (self.role, self.call, n, self.marker))
        try:
            self.c.start()
            self.talk(room, "fault %d" % n)
            self.c.cli("adapter", "run", "records", check=False)
            self.c.cli("status", check=False)
            self.c.cli("key", "rotate", check=False)
        except (AssertionError, xccos.Lost, OSError):
            if not self.marker.exists():
                raise
        disconnect(self.c)
        if self.lives() and self.marker.exists():
            self.mended(room, n)
            disconnect(self.c)
        if self.c.daemon is not None:
            self.end()
        return self.marker.exists()

    def lives(self):
        """It may have come to its end before it was ready."""
        if self.c.daemon is not None and self.c.log.ended:
            self.c.daemon.wait(10)
        return self.c.daemon is not None and self.c.daemon.poll() is None

    def mended(self, room, n):
        """A daemon that lives on mends itself."""
        ann = self.c.sign_in("ann")
        wait_until(lambda: ann.join(room).code == 200, "join", step=0.2)
        tries = itertools.count()

        def posts():
            text = "mended %d %d" % (n, next(tries))
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

    def run_chain(self, role, call, numbers):
        """The numbers whose call did not come."""
        try:
            return self.live(role, call, numbers)
        except AssertionError as e:
            if PORT_TAKEN not in str(e):
                raise
            return self.live(role, call, numbers)

    def live(self, role, call, numbers):
        story, kept, absent, n = Story(self.prepared, role, call), True, [], 0
        try:
            for n in numbers:
                if not story.faulty(self.room, n):
                    absent.append(n)
            n = "at the end"
            story.sound(self.room)
            kept = False
        except Exception as e:
            kept = PORT_TAKEN not in str(e)
            raise AssertionError("%s %s %s of %s (%s): %s" % (
                role, call, n, numbers, story.folder, e)) from e
        finally:
            story.close(kept)
        return absent

    def count(self, role, call):
        """How many such calls a life has."""
        story = Story(self.prepared, role, call)
        try:
            if not story.faulty(self.room, 0):
                return 0
            return sum(map(int, story.marker.read_text().split()))
        finally:
            story.close(False)

    def sweep(self, role, call):
        # Not each life has as many.
        total = max(self.count(role, call) for _ in range(3))
        self.assertGreater(total, 0)
        numbers = range(1, total + 1)
        if SOME:
            chance = random.Random("%d %s %s" % (SEED, role, call))
            numbers = chance.sample(numbers, min(SOME, total))
        begin, failures = time.monotonic(), []
        chains = -(-len(numbers) // CHAIN)
        # Faults of different moments follow each other.
        absent = self.run_chains(role, call, [
            list(numbers[i::chains]) for i in range(chains)], failures)
        # Early in a chain, or for want of time: once more, alone.
        absent = self.run_chains(role, call, [[n] for n in absent], failures)
        print("# %s: %d of %d calls of %s failed, one at a time, in %.0f s" % (
            role, len(numbers) - len(absent), total, call,
            time.monotonic() - begin), file=sys.stderr, flush=True)
        self.assertEqual(failures, [])
        # The last ones need not come again in each life.
        self.assertLessEqual(len(absent), max(2, len(numbers) // 20))

    def run_chains(self, role, call, chains, failures):
        absent = []
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            lives = [pool.submit(self.run_chain, role, call, numbers)
                     for numbers in chains]
            for i, life in enumerate(concurrent.futures.as_completed(lives)):
                progress("%s %s" % (role, call), i + 1, len(lives))
                try:
                    absent += life.result()
                except AssertionError as e:
                    print("# %s" % e, file=sys.stderr, flush=True)
                    failures.append(str(e))
        return absent

    def test_the_engine_writes_no_file(self):
        for call in ("write", "sync", "rename"):
            self.assertEqual(self.count("engine", call), 0)


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
