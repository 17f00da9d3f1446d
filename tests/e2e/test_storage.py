"""Storage that is full: nothing unrecorded happens, nobody is thrown out."""

import contextlib
import itertools
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

from chancery import DOMAIN, Chancery, wait_until

SIZE = 12 << 20
LONG = "x" * 4000


def uri(user):
    return "sip:%s@%s" % (user, DOMAIN)


def can_mount():
    """Tried, for root may lack the right to it, and others may have it."""
    with tempfile.TemporaryDirectory(prefix="chancery-mount-") as path:
        if subprocess.run(["mount", "-t", "tmpfs", "chancery-test", path],
                          capture_output=True).returncode != 0:
            return False
        subprocess.run(["umount", path], check=True, timeout=30)
    return True


@contextlib.contextmanager
def small_folder():
    """A file system of SIZE bytes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="chancery-small-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=%d" % SIZE,
                    "chancery-test", str(path)], check=True, timeout=30)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, timeout=30)
        path.rmdir()


def fill(path):
    """Takes all free space; gives the file that has it."""
    name = path / "filler"
    with open(name, "ab", buffering=0) as f:
        for size in (1 << 16, 1 << 12, 1 << 9, 1):
            with contextlib.suppress(OSError):
                while f.write(b"\0" * size) == size:
                    pass
    return name


class SlowStorage(unittest.TestCase):
    """The keeper is stopped in its tracks, as by a disk that hangs."""

    def test_what_is_under_way_waits_and_the_rest_is_refused(self):
        with Chancery(limits="in-flight = 10") as c:
            c.init().add_users("ann", "bob")
            hall = c.add_room("Hall")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            ann.join(hall)
            bob.join(hall)
            keeper = c.roles()["keeper"]
            os.kill(keeper, signal.SIGSTOP)
            try:
                posts = [ann.post_start(hall, "post %d" % n)
                         for n in range(40)]
                for post in posts[10:]:
                    final = post.wait()
                    self.assertEqual(final.status, 503)
                    self.assertTrue(final.get("Retry-After").isdigit())
                self.assertEqual(bob.register().status, 200)
                self.assertEqual([p.status for p in posts[:10]], [0] * 10)
                self.assertEqual(bob.posts() + ann.posts(), [])
            finally:
                os.kill(keeper, signal.SIGCONT)
            for post in posts[:10]:
                self.assertEqual(post.wait().status, 200)
            texts = ["post %d" % n for n in range(10)]
            bob.wait_post(texts[-1])
            self.assertEqual(bob.posts(), texts)
            self.assertEqual(c.journal.posts(), texts)
            self.assertEqual(ann.post(hall, "and on"), 200)
            self.assertEqual(c.faults(), [])


def stopped(pid):
    """Whether a process that was sent SIGSTOP has come to its stop."""
    stat = pathlib.Path("/proc", str(pid), "stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


class Answers:
    """What clients were told, to be held against the record afterwards."""

    def __init__(self, test):
        self.test = test
        self.posted, self.unposted = [], []
        self.joined, self.read, self.refused = 0, 0, 0

    def post(self, client, room, text):
        final = client.post_start(room, text).wait()
        if final.status == 200:
            self.posted.append(text)
            return True
        self.test.assertEqual(final.status, 503)
        self.test.assertTrue(final.get("Retry-After", "").isdigit())
        self.unposted.append(text)
        self.refused += 1
        return False

    def command(self, reply):
        if reply.code == 200:
            return True
        self.test.assertEqual(reply.code, 500, reply.id)
        self.test.assertRegex(reply.text, r"[a-z]+ [a-z]+")
        self.test.assertEqual(reply.rooms(), {})
        self.test.assertEqual(reply.messages(), [])
        self.refused += 1
        return False

    def join(self, client, room):
        """Not for one who is in the room: that needs no record."""
        joined = self.command(client.join(room))
        self.joined += joined
        return joined

    def bjoin(self, client, room):
        joined = self.command(client.bjoin([room]))
        self.joined += joined
        return joined

    def history(self, client, room):
        read = self.command(client.history(room, 5))
        self.read += read
        return read


@unittest.skipUnless(can_mount(), "mounting a small file system needs root")
class FullStorage(unittest.TestCase):
    """
    Storage that refuses a long record may take a short one a moment later,
    and a recovery makes room of the log. So what is refused is left to the
    product but for one moment that is held still; that answers and record
    agree must be true always.
    """

    def test_full_and_back(self):
        with small_folder() as small, \
                Chancery(state_dir=str(small / "state")) as c:
            c.init().add_users("ann", "bob", "cid", "dan")
            hall, annex = c.add_room("Hall"), c.add_room("Annex")
            c.start()
            told = Answers(self)
            ann, bob, cid = (c.sign_in(u) for u in ("ann", "bob", "cid"))
            for client in (ann, bob, cid):
                self.assertTrue(told.join(client, hall))
            told.post(ann, hall, "before")
            filler = fill(small)
            with self.held_still(c, told, ann, hall):
                part = self.all_refused(c, told, (ann, bob, cid), hall, annex)
            self.still_full(told, small, ann, bob, hall, annex)
            filler.unlink()
            again = ("again %d" % n for n in itertools.count())
            wait_until(lambda: told.post(ann, hall, next(again)),
                       "no recovery", timeout=60)
            # Recorded first, then answered and told: late, but true.
            self.assertEqual(cid.reply(part, "part").code, 200)
            ann.wait_event("part", cid.uri, hall)
            if not told.joined_annex:
                self.assertTrue(told.join(bob, annex))
            self.assertTrue(told.history(bob, hall))
            self.as_told(c, told, (ann, bob), hall)
            self.assertNotIn(told.posted[-1], cid.posts())
            c.stop()
            self.all_counted(c, told)
            c.journal.check()
            c.verify()

    def until_refused(self, told, client, room):
        for n in range(8000):
            if not told.post(client, room, "%d %s" % (n, LONG)):
                return
        self.fail("storage never became full")

    @contextlib.contextmanager
    def held_still(self, c, told, client, room):
        """
        The keeper stands, and the server has heard last that nothing is
        recorded: so it stays.
        """
        keeper = c.roles()["keeper"]
        for _ in range(50):
            self.until_refused(told, client, room)
            os.kill(keeper, signal.SIGSTOP)
            try:
                wait_until(lambda: stopped(keeper), "the keeper runs on")
                # By the second answer the server has read what was sent.
                for _ in range(2):
                    server = c.cli_json("status")["server"]
                if not server["writable"]:
                    self.assertRegex(server["why"], r"[a-z]+ [a-z]+")
                    yield
                    return
            finally:
                os.kill(keeper, signal.SIGCONT)
        self.fail("the journal is never closed")

    def all_refused(self, c, told, clients, hall, annex):
        """Nobody is thrown out; gives the part that waits."""
        ann, bob, cid = clients
        self.assertFalse(told.join(bob, annex))
        self.assertFalse(told.bjoin(bob, annex))
        self.assertFalse(told.history(bob, hall))
        self.assertFalse(told.post(bob, hall, "refused"))
        part = cid.part_start(hall)
        for client in clients:
            self.assertIsNone(client.lost)
            self.assertEqual(client.register().status, 200)
            self.assertEqual(client.search().code, 200)
        self.assertFalse(told.join(c.sign_in("dan"), hall))
        return part

    def still_full(self, told, small, ann, bob, hall, annex):
        """Of the rest, too, the room that recoveries make is taken."""
        told.joined_annex = False
        for n in range(10):
            with contextlib.suppress(OSError):
                fill(small)
            told.post(bob, hall, "full %d" % n)
            told.post(ann, hall, "full %d %s" % (n, LONG))
            told.history(bob, hall)
            if not told.joined_annex:
                told.joined_annex = told.join(bob, annex)

    def as_told(self, c, told, clients, hall):
        """All that was granted is on record, in order, and nothing else."""
        posts = c.journal.posts()
        self.assertEqual(posts, told.posted)
        self.assertEqual(len(c.journal.events("join")), told.joined)
        self.assertEqual(len(c.journal.events("history")), told.read)
        for client in clients:
            client.wait_post(posts[-1])
            self.assertEqual(client.posts(hall), posts)
        self.assertEqual(
            [text for _, text, _ in clients[0].history(hall, 5).messages()],
            posts[-5:])
        leaves = c.journal.events("leave")
        self.assertEqual([e["user"] for e in leaves], [uri("cid")])
        self.assertIs(leaves[0]["late"], True)
        self.assertGreater(int(leaves[0]["happened"]), 0)

        self.assertEqual(c.faults(), [])

    def all_counted(self, c, told):
        """What was refused waits for the next beat, or for the end."""
        def count(kind, field):
            return sum(int(r[field]) for r in c.journal.control(kind))

        self.assertEqual(count("late", "count"), 1)
        self.assertGreaterEqual(
            count("incident", "refused") + count("drop", "count"),
            told.refused)
        for drop in c.journal.control("drop"):
            self.assertIn(drop["what"], ("storage", "chat", "keeper"))
        # None of the journal when the chat store was full before it.
        for incident in c.journal.control("incident"):
            self.assertEqual(incident["what"], "storage")
            self.assertLess(int(incident["since"]), int(incident["until"]))

    def test_start_on_a_full_disk(self):
        """Sign-in works, what is granted is on record, and it goes on."""
        with small_folder() as small, \
                Chancery(state_dir=str(small / "state")) as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            told = Answers(self)
            ann = c.sign_in("ann")
            self.assertTrue(told.join(ann, hall))
            filler = fill(small)
            self.until_refused(told, ann, hall)
            c.kill()
            c.start()
            ann = c.sign_in("ann")
            # The log that the start moved into the database may leave room.
            if told.join(ann, hall):
                self.until_refused(told, ann, hall)
            else:
                final = ann.post_start(hall, "not joined").wait()
                self.assertEqual(final.status, 403)
                filler.unlink()
                wait_until(lambda: told.join(ann, hall), "no recovery",
                           timeout=60)
            filler.unlink(missing_ok=True)
            again = ("again %d" % n for n in itertools.count())
            wait_until(lambda: told.post(ann, hall, next(again)),
                       "no posts", timeout=60)
            self.assertEqual(c.journal.posts(), told.posted)
            self.assertEqual(len(c.journal.events("join")), told.joined)
            reasons = [e["reason"] for e in c.journal.events("leave")]
            self.assertEqual(reasons, ["restart"])
            c.stop()
            c.journal.check()
            c.verify()


if __name__ == "__main__":
    unittest.main()
