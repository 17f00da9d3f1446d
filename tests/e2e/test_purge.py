"""Retention classes, holds, approvals: who keeps what, and what goes."""

import json
import os
import subprocess
import sys
import unittest

from chancery import DOMAIN, ROOT, Chancery, program, wait_until

ADAPTER = ('adapter records { program = "xml" directory = "out" '
           'required = true interval-s = 3600 }\n')
CANARY = "CANARY-%s-7c21"


class Purge(unittest.TestCase):
    def start(self, c, purge="after-s = 0", extra=""):
        c.adapters = ADAPTER
        c.extra = "purge { %s }\n" % purge + extra
        c.init().add_users("ann", "bob")
        self.hall, self.desk = c.add_room("Hall"), c.add_room("Desk")

    def talk(self, c, *texts, who="ann"):
        """The texts in both rooms, all of it recorded."""
        leaves = len(c.journal.leaves(kinds=("leave",)))
        client = c.sign_in(who)
        for room in (self.hall, self.desk):
            client.join(room)
            for text in texts:
                self.assertEqual(client.post(room, CANARY % text), 200)
        client.sign_off()
        c.journal.wait(lambda j: len(j.leaves(kinds=("leave",))) >= leaves + 2,
                       "leaves")

    @staticmethod
    def store(c):
        """Until all users' events are stored by the archive."""
        newest = max(r[0] for r in c.journal.leaves() if r[3])
        c.cli("adapter", "run", "records")
        c.journal.wait(lambda j: any(int(a["last"]) >= newest
                                     for a in j.control("ack")), "ack", 60)

    def texts(self, c, room):
        return [e["text"][7:-5] for e in c.journal.events("post")
                if e["room"] == room]

    def verify(self, c):
        """Both verifiers, with the archives."""
        paths = [c.journal.path, c.folder / "out"]
        c.verify(*paths)
        second = subprocess.run(
            [sys.executable, str(ROOT / "export" / "chancery-verify.py"),
             "--key", c.vkey, str(c.journal.path)],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(second.returncode, 0, second.stdout)

    @staticmethod
    def files_with(c, text):
        """Files of the state that hold the bytes."""
        found = []
        for path in sorted(c.state.rglob("*")):
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(path.name)
        return found

    def test_hold(self):
        """What is held stays, to the byte; after the release it goes."""
        with Chancery() as c:
            self.start(c)
            c.start()
            by_room = c.cli_json("hold", "add", "--matter", "2026/7 Acme",
                                 "--room", self.desk)
            self.assertEqual(by_room["hold"], 1)
            self.talk(c, "one", "two")
            self.store(c)
            c.journal.wait(lambda j: not self.texts(c, self.hall), "hall", 60)
            self.assertEqual(self.texts(c, self.desk), ["one", "two"])
            purge = c.journal.control("purge")[-1]
            self.assertEqual(purge["hold"], str(by_room["seq"]))
            self.assertGreater(int(purge["held"]), 0)
            survey = c.cli_json("purge", "--dry-run")
            self.assertEqual({(g["reason"], g["detail"])
                              for g in survey["stays"]
                              if g["reason"] == "held"}, {("held", "1")})
            self.assertIn("stays, held (1): ", c.cli("purge", "--dry-run").stdout)
            listed, = c.cli_json("hold", "list")
            self.assertEqual((listed["matter"], listed["room"], listed["by"],
                              listed["released"]),
                             ("2026/7 Acme", self.desk,
                              "uid:%d" % os.geteuid(), None))
            # No personal data, and nothing of the room, in the leaf.
            leaf = c.journal.control("hold")[0]
            self.assertEqual(set(leaf), {"hold", "matter", "selector", "by",
                                         "seq"})
            self.verify(c)
            c.cli("hold", "release", "1")
            c.cli("hold", "release", "1", check=False)
            c.journal.wait(lambda j: not j.events("post"), "desk", 60)
            c.stop()
            self.verify(c)

    def test_gone_everywhere(self):
        """Not a byte of purged texts in any file of the state."""
        with Chancery() as c:
            self.start(c)
            c.start()
            bob = c.sign_in("bob")
            self.talk(c, "one", "two")
            wait_until(lambda: len(self.files_with(c, CANARY % "two")) > 1,
                       "chat.db has no copy")
            self.store(c)
            c.journal.wait(lambda j: not j.events("post"), "posts", 60)
            wait_until(lambda: not self.files_with(c, CANARY % "one") and
                       not self.files_with(c, CANARY % "two"),
                       "bytes of purged texts stay")
            bob.join(self.hall)
            self.assertEqual(bob.history(self.hall, 9).messages(), [])
            # The server is not there when the next purge comes to be told.
            self.talk(c, "three")
            self.store(c)
            c.journal.wait(lambda j: not j.events("post"), "posts", 60)
            c.kill()
            c.start()
            wait_until(lambda: not self.files_with(c, CANARY % "three"),
                       "bytes of purged texts stay")
            ann = c.sign_in("ann")
            ann.join(self.hall)
            self.assertEqual(ann.history(self.hall, 9).messages(), [])
            self.assertEqual(ann.post(self.hall, "four"), 200)
            self.assertEqual(c.journal.events("post")[-1]["chat"], 4)
            c.stop()

    def test_race(self):
        """Holds and purges in a loop: what is held when the command
        returns is there, or had gone before."""
        with Chancery() as c:
            self.start(c)
            c.start()
            for i in range(8):
                self.talk(c, "t%d" % i)
                c.cli("adapter", "run", "records")
                room = (self.hall, self.desk)[i % 2]
                hold = c.cli_json("hold", "add", "--matter", "m%d" % i,
                                  "--room", room)
                before = {e["seq"] for e in c.journal.events()
                          if e.get("room") == room}
                c.cli("purge", "run", check=False)
                after = {e["seq"] for e in c.journal.events()
                         if e.get("room") == room}
                self.assertLessEqual(before, after)
                for purge in c.journal.control("purge"):
                    if purge["seq"] > hold["seq"]:
                        self.assertEqual(int(purge["hold"]), hold["seq"])
                        taken = set()
                        for run in purge["ranges"].split(","):
                            first, _, last = run.partition("-")
                            taken |= set(range(int(first),
                                               int(last or first) + 1))
                        self.assertFalse(taken & before)
                c.cli("hold", "release", hold["hold"])
            c.stop()
            self.verify(c)

    def test_certificate(self):
        """What was purged, for somebody who has nothing but the key."""
        with Chancery() as c:
            self.start(c, purge="after-s = 0 approvals = 1")
            c.start()
            c.restart()     # the archives are of another epoch
            c.cli("hold", "add", "--matter", "2026/7", "--room", self.desk)
            self.talk(c, "one", "two")
            self.store(c)
            below = c.journal.events("post")[-1]["seq"] + 1
            c.cli("purge", "approve", "--below", below)
            c.journal.wait(lambda j: not self.texts(c, self.hall), "hall", 60)
            purge = c.journal.control("purge")[0]
            wait_until(lambda: c.cli_json("status")["journal"]["signed"] >
                       purge["seq"], "the purge is not signed")
            paths = {}
            for name, options in (("text", ()), ("json", ("--json",))):
                paths[name] = c.folder / ("certificate." + name)
                c.run("chancery-export", "certificate", "-f", c.conf,
                      *options, "-o", paths[name], 1)
                done = c.verify(paths[name])
                for words in (purge["ranges"], purge["leaves"], "sha256",
                              "2026/7", "approved", "records"):
                    self.assertIn(words, done.stdout)
            self.assertEqual(c.run("chancery-export", "certificate", "-f",
                                   c.conf, 99, check=False).returncode, 1)
            c.run("chancery-export", "certificate", "--journal",
                  c.journal.path.parent, "-o", c.folder / "by-folder", 1)
            c.verify(c.folder / "by-folder")
            self.with_archives(c, paths["json"])
            text = paths["text"].read_text("utf-8")
            self.assertIn("#   ranges %s\n" % purge["ranges"], text)
            pieces = text.split("c2sp.org/tlog-proof@v1\n")
            other = c.folder / "other.text"
            for i in range(1, len(pieces)):     # a record is left out
                other.write_text("c2sp.org/tlog-proof@v1\n".join(
                    pieces[:i] + pieces[i + 1:]), "utf-8")
                done = c.verify(other, check=False)
                self.assertEqual(done.returncode, 1, i)
                self.assertNotRegex(done.stdout, "shown: |removed: ")
            data = paths["text"].read_bytes()
            start = data.index(b"\nextra ") + 9
            for at in range(start, len(data) - 2, 97):
                if chr(data[at]).isalnum():
                    changed = bytearray(data)
                    changed[at] = ord("B" if data[at] == ord("A") else "A")
                    other.write_bytes(changed)
                    self.assertEqual(c.verify(other, check=False).returncode,
                                     1, (at, data[at - 20:at + 20]))
            c.stop()

    def with_archives(self, c, path):
        """A certificate and archives, without the journal."""
        out = c.folder / "out"
        shown = "these archives the copies"
        named, = (r["location"] for r in json.loads(path.read_text())[
            "records"] if r["role"] == "ack")
        self.assertNotIn(shown, c.verify(path).stdout)
        self.assertIn(shown, c.verify(path, out).stdout)
        data = (out / named).read_bytes()
        (out / named).write_bytes(data + b"\n")
        done = c.verify(path, out, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is not the file that was acknowledged", done.stdout)
        self.assertIn("purged, and in none of the archives given",
                      done.stdout)
        (out / named).write_bytes(data)

    def of_nobody(self, c):
        """A slip of the pen, or a person who is gone: who asks is told."""
        words = "the user sip:bbo@%s is not known: the hold is placed" % DOMAIN
        done = c.cli("hold", "add", "--matter", "m", "--user", "bbo")
        self.assertIn("hold 3 placed", done.stdout)
        self.assertIn("chancery: hold: warning: " + words, done.stderr)
        reply = c.cli_json("hold", "add", "--matter", "m", "--user", "bbo")
        self.assertEqual(reply["hold"], 4)
        self.assertIn(words, reply["warning"])
        self.assertEqual(len(c.cli_json("hold", "list")), 4)

    def test_hold_by_user_and_time(self):
        with Chancery() as c:
            self.start(c, purge="after-s = 0")
            c.start()
            c.cli("hold", "add", "--matter", "m", "--user", "bob")
            done = c.cli("hold", "add", "--matter", "m", "--user",
                         "sip:ann@" + DOMAIN, "--until", "2001-01-01")
            self.assertEqual(done.stderr, "")
            self.talk(c, "ann")
            self.talk(c, "bob", who="bob")
            self.store(c)
            c.journal.wait(lambda j: self.texts(c, self.hall) == ["bob"],
                           "hall", 60)
            # What no envelope has would hold nothing, unseen.
            for status, *wrong in (
                    (2, "--from", "yesterday"), (1, "--room", "Desk"),
                    (1, "--room", "ma-chan://other.test/" +
                     self.desk.rpartition("/")[2]),
                    (1, "--user", "sip:ann@other.test"),
                    (1, "--user", "@" + DOMAIN), (1, "--user", "Ann B"),
                    (1, "--from", "2026-02-01", "--until", "2026-01-01")):
                done = c.cli("hold", "add", "--matter", "m", *wrong,
                             check=False)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(wrong[-2].strip("-") + ": ", done.stderr)
            self.assertEqual(len(c.cli_json("hold", "list")), 2)
            self.of_nobody(c)
            self.assertEqual(c.cli("hold", "add", check=False).returncode, 2)
            done = c.cli("hold", "release", "9", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("no hold 9", done.stderr)
            self.verify(c)

    def test_classes(self):
        """A room for ever, posts elsewhere at once, all else for a day."""
        with Chancery() as c:
            self.start(c, purge="after-s = 86400")
            c.extra += (
                'retention desk { rooms = {"%s"} after-s = -1 }\n'
                'retention posts { kinds = {"post"} after-s = 0 }\n' %
                self.desk.rpartition("/")[2])
            c.write_conf()
            c.start()
            self.talk(c, "one", "two")
            self.store(c)
            c.journal.wait(lambda j: not self.texts(c, self.hall), "hall", 60)
            self.assertEqual(self.texts(c, self.desk), ["one", "two"])
            kinds = {e["kind"] for e in c.journal.events()
                     if e.get("room") == self.hall}
            self.assertNotIn("post", kinds)
            self.assertIn("join", kinds)
            stays = {(g["reason"], g["detail"])
                     for g in c.cli_json("purge", "--dry-run")["stays"]}
            self.assertLessEqual({("kept for ever", "desk"),
                                  ("too young", "default")}, stays)
            policy = c.journal.control("policy")[-1]
            self.assertEqual(policy["after"], "0")
            self.assertRegex(policy["classes"], "^[0-9a-f]{64}$")
            c.stop()
            self.verify(c)

    def test_approval(self):
        with Chancery() as c:
            self.start(c, purge="after-s = 0 approvals = 1")
            c.start()
            self.talk(c, "one")
            self.store(c)
            wait_until(lambda: {g["reason"] for g in c.cli_json(
                "purge", "--dry-run")["stays"]} == {"not approved"},
                "the acknowledgement is not signed")
            self.assertEqual(c.cli_json("purge", "run")["purges"], 0)
            self.assertEqual(self.texts(c, self.hall), ["one"])
            below = c.journal.events("post")[-1]["seq"] + 1
            c.cli("purge", "approve", "--below", below)
            c.journal.wait(lambda j: not j.events("post"), "posts", 60)
            purge = c.journal.control("purge")[-1]
            self.assertEqual(purge["approvals"], str(
                c.journal.control("approve")[0]["seq"]))
            self.assertEqual(c.cli("purge", "approve", "--below", 10 ** 9,
                                   check=False).returncode, 1)
            self.assertEqual(c.cli("purge", "approve",
                                   check=False).returncode, 2)
            self.verify(c)


    @unittest.skipUnless(os.geteuid() == 0, "only root acts as others")
    def test_two_persons(self):
        """Officers hold, approve and see; a second one must agree."""
        def as_user(uid, *args):
            return subprocess.run(
                [str(program("chancery")), "-f", str(c.conf), *map(str, args)],
                user=uid, group=uid, extra_groups=[], capture_output=True,
                text=True, timeout=60)
        with Chancery() as c:
            self.start(c, purge="after-s = 0 approvals = 2",
                       extra='officers = {"#61020", "#61021"}\n')
            early = as_user(61020, "status")
            self.assertEqual(early.returncode, 3)
            self.assertIn("chanceryd does not answer", early.stderr)
            c.start()
            self.assertEqual(as_user(61020, "status").returncode, 0)
            self.assertEqual(as_user(61022, "status").returncode, 3)
            refused = as_user(61020, "user", "list")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("not a command for officers, but for root",
                          refused.stderr)
            rooms = as_user(61020, "room", "list")
            self.assertEqual(rooms.returncode, 0, rooms.stderr)
            self.assertIn(self.desk, rooms.stdout)
            held = as_user(61020, "hold", "add", "--matter", "m", "--room",
                           self.desk)
            self.assertEqual(held.returncode, 0, held.stderr)
            self.talk(c, "one")
            self.store(c)
            below = c.journal.events("post")[-1]["seq"] + 1
            for uid in (61020, 61020):
                done = as_user(uid, "purge", "approve", "--below", below)
                self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(c.cli_json("purge", "run")["purges"], 0)
            as_user(61021, "purge", "approve", "--below", below)
            c.journal.wait(lambda j: not self.texts(c, self.hall), "hall", 60)
            self.assertEqual(self.texts(c, self.desk), ["one"])
            again = as_user(61020, "hold", "release", "1")
            self.assertEqual(again.returncode, 1)
            self.assertIn("another person", again.stderr)
            self.assertEqual(as_user(61021, "hold", "release", "1").returncode,
                             0)
            c.journal.wait(lambda j: not j.events("post"), "posts", 60)
            listed, = c.cli_json("hold", "list")
            self.assertEqual((listed["by"], listed["released_by"]),
                             ("uid:61020", "uid:61021"))
            c.stop()
            self.verify(c)


if __name__ == "__main__":
    unittest.main()
