"""From the post to the archives, the purge and the auditor's desk."""

import json
import random
import re
import shutil
import subprocess
import unittest

import archives
from chancery import DOMAIN, Chancery, Rsyslog

CANARIES = ["CANARY-%02d-%s" % (i, "kw9x" * 5) for i in range(12)]
USER_KINDS = ("join", "leave", "post", "history", "delivery", "user", "room")
NAMES = ("records", "vault", "siem")


def uri(user):
    return "sip:%s@%s" % (user, DOMAIN)


def flip(path, pattern):
    """Flips one bit of the file, behind pattern."""
    data = bytearray(path.read_bytes())
    data[data.index(pattern) + len(pattern)] ^= 1
    path.write_bytes(data)


class Pipeline(unittest.TestCase):
    def start(self, c, purge=0):
        self.sink = Rsyslog(c.folder / "rsyslog")
        c.helpers.append(self.sink.start())
        c.adapters = archives.adapters(c.folder, self.sink.port)
        c.purge = purge
        c.init().add_users("ann", "bob")
        self.hall = c.add_room("Hall")
        c.start()
        self.run_adapters(c)    # the set-up; the next batch is the test's

    def talk(self, c, texts=CANARIES):
        ann, bob = c.sign_in("ann"), c.sign_in("bob")
        ann.join(self.hall)
        bob.join(self.hall)
        for text in texts:
            self.assertEqual(ann.post(self.hall, text), 200)
        bob.wait_post(texts[-1])
        ann.sign_off()
        bob.sign_off()
        c.journal.wait(lambda j: len(j.events("leave")) >= 2, "leaves")

    @staticmethod
    def run_adapters(c, names=NAMES):
        """A batch for each now; returns when all users' events are stored."""
        newest = c.journal.leaves(kinds=USER_KINDS)[-1][0]
        for name in names:
            c.cli("adapter", "run", name)
        for name in names:
            c.journal.wait(
                lambda j: any(a["adapter"] == name and a["state"] == "stored"
                              and int(a["last"]) >= newest
                              for a in j.control("ack")),
                "%s stored nothing" % name, 60)

    def test_archived_purged_verified(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c)
            before = c.journal.size()
            self.payloads = c.journal.events()
            payloads = {e["seq"]: e for e in self.payloads
                        if e["kind"] == "post"}
            self.run_adapters(c)
            c.journal.wait(lambda j: not j.events(), "bodies stay", 60)
            self.purge_record(c, c.journal.control("purge"), before)
            self.read_archives(c, payloads)
            c.stop()
            self.nothing_left(c)
            c.journal.check()
            self.verify_all(c)
            self.flipped(c)

    def purge_record(self, c, purges, before):
        # The records before carry no payload.
        first = min(e["seq"] for e in self.payloads)
        self.assertLessEqual(int(purges[0]["first"]), first)
        stored = {a["seq"]: a for a in c.journal.control("ack")}
        for purge in purges:
            named = dict(p.split(":") for p in purge["acks"].split(","))
            self.assertEqual(set(named), set(NAMES))
            for name, seq in named.items():
                ack = stored[int(seq)]
                self.assertEqual((ack["adapter"], ack["state"]),
                                 (name, "stored"))
                self.assertGreaterEqual(int(ack["last"]),
                                        int(purge["last"]))
                self.assertLess(int(seq), purge["seq"])
        self.assertGreaterEqual(max(int(p["last"]) for p in purges),
                                before - 1)
        for ack in stored.values():
            if ack["adapter"] != "siem":
                self.assertEqual(ack["readback"], "yes")
                self.assertRegex(ack["sha256"], "^[0-9a-f]{64}$")

    def read_archives(self, c, payloads):
        """Every text is in every archive, in order."""
        records = {}
        for path in archives.files(c.folder / "out/xml", ".xml"):
            subprocess.run(["xmllint", "--nonet", "--noout", str(path)],
                           check=True, timeout=30)
            records.update(archives.xml_records(path))
        self.assertEqual(archives.texts(records), CANARIES)
        for seq in payloads:
            self.assertIn(payloads[seq]["client"],
                          records[seq][1][0].decode())
        tars = archives.files(c.folder / "out/tar", ".tar.zst")
        text = b""
        for number, path in enumerate(tars):
            bag = archives.unpack(path, c.folder / ("bag%d" % number))
            text += b"".join(p.read_bytes() for p in sorted(
                bag.rglob("*")) if p.is_file())
        for canary in CANARIES:
            self.assertIn(canary.encode(), text)
        seqs = self.sink.seqs(payloads)
        lines = self.sink.lines()
        self.assertEqual(seqs, sorted(seqs))
        found = [m for line in lines for m in re.findall(
            r"CANARY-\d\d-\w+", line)]
        self.assertEqual(list(dict.fromkeys(found)), CANARIES)

    def nothing_left(self, c):
        """Not a byte of the purged text in the journal's files."""
        for path in c.journal.path.parent.iterdir():
            if path.is_file():
                data = path.read_bytes()
                for canary in CANARIES:
                    self.assertNotIn(canary.encode(), data, path)

    def verify_all(self, c):
        archive_paths = [c.folder / "out/xml", c.folder / "out/tar"]
        c.verify(c.journal.path)
        c.verify(*archive_paths)
        c.verify(c.journal.path, *archive_paths)
        done = c.verify("--json", c.journal.path, *archive_paths)
        self.assertTrue(json.loads(done.stdout))

    def flipped(self, c):
        """One bit anywhere: exit 1, and the verifier names the place."""
        chance, folder = random.Random(7), c.folder / "flipped"
        folder.mkdir()
        for kind in ("xml", "tar"):
            for path in archives.files(c.folder / "out" / kind, ""):
                copy = folder / path.name
                for _ in range(12):
                    data = bytearray(path.read_bytes())
                    at = chance.randrange(len(data))
                    data[at] ^= 1 << chance.randrange(8)
                    copy.write_bytes(data)
                    done = c.verify(c.journal.path, copy, check=False)
                    said = done.stdout + done.stderr
                    self.assertEqual(done.returncode, 1, (path, at, said))
                    self.assertIn(copy.name, said)
        for pattern in (b"leaf/1 3 ", b"/journal/"):
            copy = c.folder / "flipped.db"
            shutil.copy(c.journal.path, copy)
            flip(copy, pattern)
            done = c.verify(copy, check=False)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("flipped.db", done.stdout + done.stderr)
        other = "example.test/journal/00000000+00000000+" + "A" * 44
        done = c.run("chancery-verify", "--key", other, c.journal.path,
                     check=False)
        self.assertIn(done.returncode, (1, 2))

    def test_a_missing_archive_holds_the_purge(self):
        """The required SIEM is down: bodies stay; it comes back: they go."""
        with Chancery() as c:
            self.start(c)
            self.sink.stop()
            self.talk(c)
            self.run_adapters(c, ("records", "vault"))
            c.cli("adapter", "run", "siem", check=False)
            self.assertEqual(c.journal.posts(), CANARIES)
            first = c.journal.events("post")[0]["seq"]
            for purge in c.journal.control("purge"):
                self.assertLess(int(purge["last"]), first)
            adapters = {a["name"]: a for a in c.cli_json("adapter", "list")}
            self.assertEqual(set(adapters), set(NAMES))
            self.sink.start()
            self.run_adapters(c, ("siem",))
            c.journal.wait(lambda j: not j.posts(), "bodies stay", 60)
            seqs = self.sink.seqs(range(first))
            self.assertEqual(sorted(set(seqs)),
                             list(range(max(seqs) + 1)))

    def test_never_purged_when_told_so(self):
        with Chancery() as c:
            self.start(c, purge=-1)
            self.talk(c)
            self.run_adapters(c)
            self.run_adapters(c)        # nothing new: nothing to do
            self.assertEqual(c.journal.control("purge"), [])
            self.assertEqual(c.journal.posts(), CANARIES)
            c.stop()
            c.verify(c.journal.path, c.folder / "out/xml",
                     c.folder / "out/tar")

    def test_history_ends_with_the_purge(self):
        """What the journal has purged is not shown to clients either."""
        with Chancery() as c:
            self.start(c)
            self.talk(c)
            self.run_adapters(c)
            c.journal.wait(lambda j: not j.posts(), "bodies stay", 60)
            c.restart()
            ann = c.sign_in("ann")
            ann.join(self.hall)
            self.assertEqual(ann.history(self.hall, 25).messages(), [])
            self.assertEqual(ann.post(self.hall, "later"), 200)
            chats = [e["chat"] for e in c.journal.events("post")]
            self.assertEqual(chats, [len(CANARIES) + 1])

    def test_bad_adapters_harm_nobody(self):
        """One hangs, one lies, one dies: chat and the good one go on."""
        with Chancery() as c:
            scripts = {name: self.script(c, name)
                       for name in ("hang", "lie", "die")}
            c.adapters = archives.adapters(c.folder) + "".join(
                'adapter %s { program = "%s" interval-s = 1 timeout-s = 2 '
                "required = false }\n" % pair for pair in scripts.items())
            c.purge = 0
            c.init().add_users("ann", "bob")
            self.hall = c.add_room("Hall")
            c.start()
            for name in scripts:
                c.cli("adapter", "run", name, check=False)
            self.talk(c)
            self.run_adapters(c, ("records", "vault"))
            c.journal.wait(lambda j: j.control("purge"), "no purge", 60)
            for ack in c.journal.control("ack"):
                self.assertIn(ack["adapter"], ("records", "vault"))
            c.stop()
            c.verify(c.journal.path, c.folder / "out/xml")

    @staticmethod
    def script(c, name):
        path = c.folder / (name + ".py")
        path.write_text(BAD_ADAPTER % name)
        path.chmod(0o755)
        return path


BAD_ADAPTER = '''#!/usr/bin/env python3
import json, sys
kind = %r
count = 0
for line in sys.stdin:
    said = json.loads(line)
    if said["type"] == "hello":
        print(json.dumps({"type": "ready", "protocol": 1, "program": kind,
                          "states": ["stored"], "readback": False}),
              flush=True)
    elif said["type"] == "batch":
        batch = said
    elif said["type"] == "event":
        count += 1
        if kind == "die" and count == 3:
            sys.exit(1)
    elif said["type"] == "end" and kind == "lie":
        print(json.dumps({"type": "receipt", "batch": batch["batch"],
                          "count": batch["count"] + 1,
                          "root": "A" * 43 + "=", "state": "stored",
                          "location": "nowhere", "sha256": "0" * 64,
                          "bytes": 1}), flush=True)
'''


if __name__ == "__main__":
    unittest.main()
