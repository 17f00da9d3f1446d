"""Time and silence: beats, a clock that is set, refusals that are told."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

from chancery import ROOT, Chancery

BEATS = "journal { beat-s = 1 }\n"
SHIFT = pathlib.Path(__file__).with_name("clockshift.c")


def beats(journal):
    return journal.control("beat")


def both(test, c):
    """Both verifiers hold; what chancery-verify says in JSON."""
    found = json.loads(c.verify(c.journal.path, "--json").stdout)
    done = subprocess.run(
        [sys.executable, ROOT / "export" / "chancery-verify.py", "--key",
         c.vkey, str(c.journal.path)], capture_output=True, text=True,
        timeout=120)
    test.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    return found["files"][0]


def observed(found):
    return [o["text"] for o in found["observations"]]


@contextlib.contextmanager
def shifted_clock(c):
    """The daemon started within sees a clock that the given call moves."""
    library, told = c.folder / "clockshift.so", c.folder / "clockshift"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library),
                    str(SHIFT)], check=True, timeout=60)

    def shift(seconds):
        with open(told, "r+" if told.exists() else "w") as f:
            f.write("%+09d" % seconds)  # one write, always as long

    shift(0)
    before = dict(os.environ)
    os.environ.update(
        LD_PRELOAD=str(library), CLOCKSHIFT=str(told),
        ASAN_OPTIONS=before.get("ASAN_OPTIONS", "")
        + ":verify_asan_link_order=0")
    try:
        c.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    yield shift


class Beats(unittest.TestCase):
    def test_beats_tell_of_events_and_of_restarts(self):
        with Chancery(extra=BEATS) as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(hall)
            c.journal.wait(lambda j: len(beats(j)) >= 1, "no beat")
            for i in range(5):
                self.assertEqual(ann.post(hall, "post %d" % i), 200)
            count = len(beats(c.journal))
            c.journal.wait(lambda j: len(beats(j)) > count + 1, "no beats")
            # Events that a dead keeper recorded count for the next beat.
            self.assertEqual(ann.post(hall, "last"), 200)
            c.kill()
            c.start()
            count = len(beats(c.journal))
            c.journal.wait(lambda j: len(beats(j)) > count, "no beats")
            c.stop()
            said = beats(c.journal)
            self.assertEqual(sum(int(b["events"]) for b in said), sum(
                seq < said[-1]["seq"] for seq, kind, _, parts in
                c.journal.leaves() if parts))
            for b in said:
                self.assertEqual((b["every"], b["anchor"]), ("1", "-"))
                self.assertIn(b["sync"], ("yes", "no"))
            self.assertGreater(max(int(b["queue"]) for b in said), 0)
            both(self, c)

    def test_silence_is_seen(self):
        with Chancery(extra=BEATS) as c:
            c.init()
            c.start()
            c.journal.wait(lambda j: len(beats(j)) >= 1, "no beat")
            os.kill(c.roles()["keeper"], signal.SIGSTOP)
            try:
                # 2 x 1 s and 5 s more are forgiven.
                with self.assertRaises(subprocess.TimeoutExpired):
                    c.daemon.wait(8)
            finally:
                os.kill(c.roles()["keeper"], signal.SIGCONT)
            count = len(beats(c.journal))
            c.journal.wait(lambda j: len(beats(j)) > count, "no beats")
            c.stop()
            self.assertTrue([t for t in observed(both(self, c)) if
                             "without a beat" in t and
                             "nothing on record explains it" in t])


class Clock(unittest.TestCase):
    def test_a_clock_that_is_set(self):
        """Forward and back; the journal's own time only goes forward."""
        with Chancery() as c, contextlib.ExitStack() as stack:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            shift = stack.enter_context(shifted_clock(c))
            ann = c.sign_in("ann")
            ann.join(hall)
            self.assertEqual(ann.post(hall, "first"), 200)
            self.assertEqual(c.journal.control("clock"), [])
            for seconds in (3600, -3600, 0):
                shift(seconds)
                self.assertEqual(ann.post(hall, str(seconds)), 200)
            c.stop()
            c.journal.check()
            steps = c.journal.control("clock")
            self.assertEqual(len(steps), 3)
            for step, seconds in zip(steps, (3600, -7200, 3600)):
                moved = int(step["new"]) - int(step["old"])
                self.assertLess(abs(moved / 1e6 - seconds), 0.25, step)
            # Each comes just before the post that met the step.
            posts = {e["text"]: e["seq"] for e in c.journal.events("post")}
            self.assertEqual([s["seq"] + 1 for s in steps],
                             [posts[t] for t in ("3600", "-3600", "0")])
            said = " ".join(observed(both(self, c)))
            self.assertRegex(said, r"the clock was set forward by 3[56]\d\d\.")
            self.assertRegex(said, r"the clock was set back by 7[12]\d\d\.")


class Refusals(unittest.TestCase):
    def test_overload_is_on_record(self):
        with Chancery(extra=BEATS, limits="in-flight = 10") as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(hall)
            keeper = c.roles()["keeper"]
            os.kill(keeper, signal.SIGSTOP)
            try:
                posts = [ann.post_start(hall, "post %d" % n)
                         for n in range(40)]
                for post in posts[10:]:
                    self.assertEqual(post.wait().status, 503)
            finally:
                os.kill(keeper, signal.SIGCONT)
            c.journal.wait(lambda j: sum(
                int(d["count"]) for d in j.control("drop")
                if d["what"] == "overload") == 30, "refusals not on record")
            c.stop()
            self.assertIn("events were refused: 30 (overload)",
                          observed(both(self, c)))

    def test_refusals_without_a_keeper_are_on_record(self):
        """The keeper is killed, and does not come back for a while."""
        with Chancery(extra=BEATS) as c:
            c.init().add_users("ann", "bob")
            hall, annex = c.add_room("Hall"), c.add_room("Annex")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            ann.join(hall)
            bob.join(hall)
            # Nobody starts another one.
            os.kill(c.daemon.pid, signal.SIGSTOP)
            os.kill(c.roles()["keeper"], signal.SIGKILL)
            try:
                # The first wait for the keeper, and are refused after 5 s.
                posts = [ann.post_start(hall, "post %d" % n)
                         for n in range(3)]
                for post in posts:
                    self.assertEqual(post.wait(20).status, 503)
                for n in range(4):
                    self.assertEqual(bob.post(hall, "post %d" % n), 503)
                self.assertEqual(bob.join(annex).code, 500)
            finally:
                os.kill(c.daemon.pid, signal.SIGCONT)
            c.journal.wait(lambda j: sum(
                int(d["count"]) for d in j.control("drop")
                if d["what"] == "keeper") == 8, "refusals not on record", 60)
            for drop in c.journal.control("drop"):
                self.assertLessEqual(int(drop["since"]), int(drop["until"]))
            self.assertEqual(c.journal.posts(), [])
            c.kill()    # the signer did not wait for a keeper
            self.assertIn("(keeper)", " ".join(observed(both(self, c))))


if __name__ == "__main__":
    unittest.main()
