"""Storage that is full: nothing unrecorded happens, nobody is thrown out."""

import contextlib
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


@unittest.skipUnless(can_mount(), "mounting a small file system needs root")
class FullStorage(unittest.TestCase):
    def test_full_and_back(self):
        with small_folder() as small, \
                Chancery(state_dir=str(small / "state")) as c:
            c.init().add_users("ann", "bob", "cid")
            hall, annex = c.add_room("Hall"), c.add_room("Annex")
            c.start()
            ann, bob, cid = (c.sign_in(u) for u in ("ann", "bob", "cid"))
            for client in (ann, bob, cid):
                client.join(hall)
            ann.post(hall, "before")
            filler = fill(small)
            accepted = self.until_refused(ann, hall)
            self.refusals(c, ann, bob, hall, annex)
            part = cid.part_start(hall)
            self.still_signed_in(c, ann, bob, hall)
            refused = ["refused %d" % i for i in range(3)]
            for text in refused:
                self.assertEqual(bob.post(hall, text), 503)
            filler.unlink()
            wait_until(lambda: ann.post(hall, "space again") == 200,
                       "no recovery", timeout=60)
            bob.wait_post("space again")
            # Recorded first, then answered and told: late, but true.
            self.assertEqual(cid.reply(part, "part").code, 200)
            ann.wait_event("part", cid.uri, hall)
            self.assertNotIn("space again", cid.posts())
            self.after(c, ann, bob, hall, annex, accepted, refused)
            c.stop()
            c.journal.check()
            c.verify()

    def until_refused(self, ann, hall):
        """Posts until the first 503; the texts that were accepted."""
        accepted = []
        for n in range(8000):
            text = "%d %s" % (n, LONG)
            final = ann.post_start(hall, text).wait()
            if final.status == 503:
                self.assertTrue(final.get("Retry-After", "").isdigit())
                return accepted
            self.assertEqual(final.status, 200)
            accepted.append(text)
        self.fail("storage never became full")

    def refusals(self, c, ann, bob, hall, annex):
        for reply in (bob.join(annex), bob.bjoin([annex]), bob.history(hall)):
            self.assertEqual(reply.code, 500, reply.id)
            self.assertRegex(reply.text, r"[a-z]+ [a-z]+")
            self.assertEqual(reply.rooms(), {})

    def still_signed_in(self, c, ann, bob, hall):
        for client in (ann, bob):
            self.assertIsNone(client.lost)
            self.assertEqual(client.register().status, 200)
            self.assertEqual(client.search().code, 200)
        status = c.cli_json("status")
        self.assertIn("writable", str(status))
        phone = c.sign_in("cid")
        self.assertEqual(phone.join(hall).code, 500)

    def after(self, c, ann, bob, hall, annex, accepted, refused):
        self.assertEqual(bob.join(annex).code, 200)
        self.assertEqual(bob.history(hall, 5).code, 200)
        posts = c.journal.posts()
        self.assertEqual(posts[0], "before")
        self.assertEqual(posts[1:len(accepted) + 1], accepted)
        self.assertFalse(set(refused) & set(posts))
        leave = next(e for e in c.journal.events("leave")
                     if e["user"] == uri("cid"))
        self.assertIs(leave["late"], True)
        self.assertGreater(int(leave["happened"]), 0)

        def storage(journal):
            return [i for i in journal.control("incident")
                    if i["what"] == "storage"]

        # What came late is counted a moment after.
        c.journal.wait(lambda j: sum(
            int(r["count"]) for r in j.control("late")) == 1,
            "no record tells of the late leave")
        incidents = storage(c.journal)
        self.assertGreaterEqual(sum(int(i["refused"]) for i in incidents), 1)
        for incident in incidents:
            self.assertLess(int(incident["since"]), int(incident["until"]))
        got = bob.posts(hall)
        self.assertEqual(got[:len(accepted) + 1], ["before"] + accepted)
        self.assertFalse(set(refused) & set(got))
        self.assertEqual(c.faults(), [])

    def test_start_on_a_full_disk(self):
        """Sign-in works, posts do not, and then they do."""
        with small_folder() as small, \
                Chancery(state_dir=str(small / "state")) as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(hall)
            filler = fill(small)
            self.until_refused(ann, hall)
            c.kill()
            c.start()
            ann = c.sign_in("ann")
            # The log that the start moved into the database may leave room.
            if ann.join(hall).code == 200:
                self.until_refused(ann, hall)
            else:
                self.assertNotEqual(ann.post(hall, "no"), 200)
            filler.unlink()
            wait_until(lambda: ann.join(hall).code == 200,
                       "no recovery", timeout=60)
            wait_until(lambda: ann.post(hall, "yes") == 200,
                       "no posts", timeout=60)
            reasons = [e["reason"] for e in c.journal.events("leave")]
            self.assertEqual(reasons, ["restart"])
            c.stop()
            c.journal.check()
            c.verify()


if __name__ == "__main__":
    unittest.main()
