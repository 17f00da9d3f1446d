"""The threat table of chancery-threats(7): what is tried on a live system.

The daemon, adapters and witnesses are real; see test_threats.py.
"""

import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import unittest

from chancery import ROOT, Chancery, wait_until
from threats import cell, disconnect, keep_checkpoint, note_size


def leaves(chancery):
    with chancery.journal.open() as db:
        return [bytes(r[0]) for r in db.execute(
            "SELECT bytes FROM leaf ORDER BY seq")]


class NetworkUser(unittest.TestCase):
    who = "Network user"

    @classmethod
    def setUpClass(cls):
        c = cls.c = cls.enterClassContext(Chancery())
        c.init().add_users("ann", "bob")
        cls.room = c.add_room("Hall")
        c.start()
        cls.ann = c.sign_in("ann")
        cls.ann.join(cls.room)

    def attempt(self, *commands):
        """Commands that no server of ours has; all before is as it was."""
        before = leaves(self.c)
        self.assertEqual(self.ann.post(self.room, "said"), 200)
        for name, data in commands:
            self.assertNotEqual(self.ann.command(name, data).code, 200)
        self.assertEqual(leaves(self.c)[:len(before)], before)
        self.assertEqual(self.c.journal.posts()[-1], "said")

    @cell(who, "alter past", "prevented")
    def test_alter(self):
        self.attempt(
            ("editmsg", '<chanib uri="%s" msgid="1"/>' % self.room),
            ("modmsg", '<msg id="1">never said</msg>'))

    @cell(who, "delete past", "prevented")
    def test_delete(self):
        self.attempt(
            ("delmsg", '<chanib uri="%s" msgid="1"/>' % self.room),
            ("chdel", '<chanib uri="%s"/>' % self.room),
            ("purge", '<chanib uri="%s"/>' % self.room))

    @cell(who, "reorder or insert", "prevented")
    def test_replay(self):
        before = len(self.c.journal.posts())
        first = self.ann.post_start(self.room, "once")
        self.assertEqual(first.wait().status, 200)
        again = self.ann.transact(first.request, self.ann.dialog)
        self.assertEqual(again.wait().status, 500)
        self.assertEqual(self.c.journal.posts()[before:], ["once"])

    @cell(who, "truncate tail", "prevented")
    @cell(who, "fork", "prevented")
    def test_no_way_to_the_journal(self):
        """The role at the network has no descriptor of the journal and, as
        a user of its own, no right to open it."""
        pid = self.c.roles()["server"]
        held = [os.readlink(p) for p in pathlib.Path(
            "/proc/%d/fd" % pid).iterdir()]
        self.assertTrue(any("chat.db" in name for name in held), held)
        self.assertFalse([n for n in held if "journal" in n or
                          "signer" in n])
        if os.geteuid() == 0:
            for name in ("journal/journal.db", "signer/key"):
                tried = subprocess.run(
                    ["cat", self.c.state / name], user=61001,
                    group=61001, capture_output=True, timeout=30)
                self.assertIn(b"Permission denied", tried.stderr)

    @cell(who, "backdate", "prevented")
    def test_backdate(self):
        begin = time.time()
        _, body = self.ann.envelope(
            '<grpchat id="grpchat" seqid="1" chanUri="%s" author="%s" '
            'ts="1999-12-31T23:59:59Z"><chat>old</chat></grpchat>' % (
                self.room, self.ann.uri))
        self.assertEqual(self.ann.info(body).wait().status, 200)
        post = self.c.journal.events("post")[-1]
        self.assertEqual(post["text"], "old")
        leaf = leaves(self.c)[post["seq"]]
        at = int(re.search(rb"\nt (\d+) ", leaf)[1]) / 1e6
        self.assertTrue(begin - 1 <= at <= time.time() + 1)
        with self.c.journal.open() as db:
            self.assertNotIn(b"1999", b"".join(bytes(d) for d, in db.execute(
                "SELECT data FROM body WHERE id >> 8 = ?", (post["seq"],))))


class Flood(unittest.TestCase):
    @cell("Network user", "suppress", "detected")
    def test_flood(self):
        """More than may be in flight: each is answered, the refused are
        counted in the journal, and what was accepted is there."""
        with Chancery(limits="in-flight = 4",
                      extra="journal { beat-s = 1 }\n") as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(room)
            sent = [ann.post_start(room, "post %d" % n) for n in range(400)]
            answers = [t.wait(60).status for t in sent]
            self.assertEqual(set(answers) - {200, 503}, set())
            self.assertIn(503, answers)
            self.assertEqual(c.journal.posts(), [
                "post %d" % n for n, a in enumerate(answers) if a == 200])
            c.journal.wait(lambda j: sum(
                int(d["count"]) for d in j.control("drop")) >=
                answers.count(503), "drop records", 30)


class Silence(unittest.TestCase):
    """The writer is stopped for a while by whoever may."""

    @cell("Database administrator", "suppress", "detected")
    def test_beats_stop(self):
        with Chancery(extra="journal { beat-s = 1 }\n") as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(room)
            c.journal.wait(lambda j: len(j.control("beat")) >= 2, "beats")
            keeper = c.roles()["keeper"]
            os.kill(keeper, signal.SIGSTOP)
            beats = len(c.journal.control("beat"))
            said = ann.post_start(room, "unheard")
            silent = threading.Event()
            silent.wait(9)  # the silence is what is tested
            self.assertEqual(len(c.journal.control("beat")), beats)
            os.kill(keeper, signal.SIGCONT)
            self.assertIn(said.wait(30).status, (200, 503))
            c.journal.wait(lambda j: len(j.control("beat")) > beats, "beats")
            c.stop()
            self.assertRegex(c.verify().stdout,
                             r"observation: .* s without a beat .*nothing on record")

    @cell("Root with the current key", "suppress", "undetected")
    def test_what_never_came(self):
        """A server that loses one request on purpose: nothing shows it, and
        the manual says so."""
        self.tell_nothing("Whoever is root on the machine")

    @cell("Operator in collusion", "suppress", "undetected")
    def test_a_channel_beside(self):
        self.tell_nothing("or runs it, can keep an")

    def tell_nothing(self, admitted):
        with Chancery() as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(room)
            self.assertEqual(ann.post(room, "before"), 200)
            # It arrives at the machine, and no further.
            server = c.roles()["server"]
            os.kill(server, signal.SIGSTOP)
            ann.post_start(room, "suppressed")
            os.kill(server, signal.SIGKILL)
            wait_until(lambda: c.roles().get("server", server) != server,
                       "the server is started again")
            c.stop()
            self.assertEqual(c.journal.posts(), ["before"])
            done = c.verify()
            self.assertIn("freshness unknown", done.stdout)
        page = (ROOT / "man" / "chancery.7").read_text()
        self.assertIn(admitted, page)


class Backup(unittest.TestCase):
    @cell("Holder of a backup", "run a copy elsewhere", "prevented")
    def test_another_machine(self):
        """The state says where it was used last; here it is elsewhere."""
        with Chancery() as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            c.stop()
            state = c.state / "signer" / "state"
            text = re.sub(r"machine \S+", "machine " + "5a" * 32,
                          state.read_text())
            self.assertIn("5a5a", text)
            state.write_text(text)
            c.start()
            c.log.wait(r"signer: error: .*another machine")
            size = c.journal.size()
            self.assertNotEqual(c.sign_in("ann").join(room).code, 200)
            self.assertEqual(c.journal.size(), size)


class RoomManager(unittest.TestCase):
    who = "Room manager"

    @classmethod
    def setUpClass(cls):
        c = cls.c = cls.enterClassContext(Chancery(
            adapters='adapter records { program = "xml" directory = "out" '
            "interval-s = 900 required = true }\n"))
        c.init().add_users("ann")
        cls.room = c.add_room("Hall")
        c.start()
        ann = c.sign_in("ann")
        ann.join(cls.room)
        if ann.post(cls.room, "said") != 200:
            raise AssertionError("post refused")
        ann.sign_off()
        disconnect(c)

    @cell(who, "alter past", "prevented")
    def test_alter(self):
        before = leaves(self.c)
        self.c.cli("room", "member", "add", "Hall", "sip:ann@example.test")
        self.assertEqual(leaves(self.c)[:len(before)], before)
        self.assertEqual(self.c.journal.events("member")[-1]["action"], "add")

    @cell(who, "delete past", "prevented")
    def test_delete(self):
        """Nothing was handed over and nothing is due: no purge by hand."""
        self.c.cli("purge", "run", check=False)
        self.assertEqual(self.c.journal.posts(), ["said"])
        self.assertEqual(self.c.journal.control("purge"), [])

    @cell(who, "reorder or insert", "prevented")
    @cell(who, "truncate tail", "prevented")
    @cell(who, "fork", "prevented")
    @cell(who, "backdate", "prevented")
    def test_only_more(self):
        """Whatever he does becomes records after all others, of now, in the
        one history that the signer signs."""
        begin, before = time.time(), leaves(self.c)
        note = keep_checkpoint(self.c)
        for command in (("room", "add", "Other"),
                        ("room", "member", "add", "Other",
                         "sip:ann@example.test"),
                        ("user", "add", "sip:eve@example.test"),
                        ("hold", "add", "--matter", "m"),
                        ("hold", "release", "1"),
                        ("key", "rotate"), ("purge", "run")):
            self.c.cli(*command, check=False)
        after = leaves(self.c)
        self.assertEqual(after[:len(before)], before)
        self.assertGreaterEqual(len(after) - len(before), 6)
        for leaf in after[len(before):]:
            at = int(re.search(rb"\nt (\d+) ", leaf)[1]) / 1e6
            self.assertTrue(begin - 1 <= at <= time.time() + 1)
        self.c.journal.wait(lambda j: note_size(j) == j.size(), "signature")
        self.c.verify("--checkpoint", note, self.c.journal.path)

    @cell(who, "change the rules", "detected")
    def test_rules(self):
        """A shorter retention is a record before it has any effect."""
        before = self.c.journal.control("policy")[-1]
        self.c.purge = 3600
        self.c.write_conf()
        self.c.restart()
        after = self.c.journal.control("policy")[-1]
        self.assertEqual((before["after"], after["after"]), ("-1", "3600"))
        self.assertGreater(after["seq"], before["seq"])

    @cell(who, "suppress", "undetected")
    def test_suppress(self):
        """Two people who talk elsewhere leave nothing here to be found."""
        done = self.c.verify()
        self.assertIn("freshness unknown", done.stdout)
        self.assertIn("That everything which happened was recorded",
                      (ROOT / "man" / "chancery.7").read_text())


if __name__ == "__main__":
    unittest.main()
