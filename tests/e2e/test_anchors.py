"""Checkpoints in other hands: witnesses, a time-stamp authority."""

import base64
import hashlib
import http.server
import re
import shutil
import sqlite3
import ssl
import subprocess
import threading
import unittest

from chancery import ROOT, Chancery, Rsyslog
from witness import SECRET, Key, Witness, authority, openssl

FAST = "anchors { interval-s = 1 }\n"


class Witnesses(unittest.TestCase):
    """2 of 3 witnesses must have cosigned before anything is purged."""

    def start(self, c, names=("one", "two", "three"), quorum=2, more="",
              segment=50000000, purge=0):
        self.witnesses = {}
        for name in names:
            w = Witness(c.folder / name, "witness.example/" + name)
            self.addCleanup(w.end, kill=True)
            self.witnesses[name] = w.start()
        c.extra = ("anchors { quorum = %d interval-s = 1 }\n"
                   "journal { beat-s = 2 segment-records = %d }\n"
                   % (quorum, segment)
                   + more + "".join(
                       'witness %s { url = "%s" vkey = "%s" ca = "%s" }\n'
                       % (name, w.url, w.vkey, w.ca)
                       for name, w in self.witnesses.items()))
        c.adapters = ('adapter records { program = "xml" directory = "%s" '
                      "interval-s = 3600 required = true }\n"
                      % (c.folder / "out"))
        c.purge = purge
        c.init().add_users("ann")
        self.hall = c.add_room("Hall")
        c.start()
        self.introduce(c)
        return c

    def introduce(self, c):
        """Tells the witnesses of the journal, as its open record does."""
        opened, = c.journal.wait(lambda j: j.control("open"), "no record 0")
        for w in self.witnesses.values():
            w.run("add-log", opened["vkey"],
                  *([opened["next"]] if "next" in opened else []))

    def talk(self, c, text):
        ann = c.sign_in("ann")
        ann.join(self.hall)
        self.assertEqual(ann.post(self.hall, text), 200)
        ann.sign_off()
        c.journal.wait(lambda j: j.leaves(kinds=("post", "leave"))[-1][1]
                       == "leave", "no leave")
        c.cli("adapter", "run", "records")

    @staticmethod
    def purged(c, what):
        c.journal.wait(lambda j: not j.posts(), what, 60)

    @staticmethod
    def states(c, name):
        return [r["state"] for r in c.journal.control("anchor")
                if r["name"] == "witness.example/" + name]

    def anchored(self, c):
        """The last purge names a checkpoint that two have cosigned."""
        purge, policy = (c.journal.control(k)[-1]
                         for k in ("purge", "policy"))
        self.assertEqual(policy["quorum"], "2")
        self.assertEqual(policy["witnesses"].split(","),
                         [w.vkey for w in self.witnesses.values()])
        youngest = max(int(p.split(":")[1])
                       for p in purge["acks"].split(","))
        self.assertGreater(int(purge["anchor"]), youngest)
        with c.journal.open() as db:
            lines = dict(db.execute(
                "SELECT name, line FROM cosig WHERE size = ?",
                (int(purge["anchor"]),)))
            note, = db.execute("SELECT note FROM checkpoint WHERE size = ?",
                               (int(purge["anchor"]),)).fetchone()
        self.assertGreaterEqual(len(lines), 2)
        body = bytes(note).decode().split("\n\n")[0] + "\n"
        for w in self.witnesses.values():
            if w.name in lines:
                w.cosigned_at(bytes(lines[w.name]).decode(), body)

    def test_two_of_three(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, "all three are there")
            self.purged(c, "not purged with three witnesses")
            self.anchored(c)
            self.witnesses["three"].end()
            self.talk(c, "one of them is away")
            self.purged(c, "not purged with two witnesses")
            self.anchored(c)
            status = c.cli_json("status")["anchors"]
            self.assertEqual(status["quorum"], 2)
            self.assertEqual(status["anchored"],
                             int(c.journal.control("purge")[-1]["anchor"]))

            port = self.witnesses["two"].port
            self.witnesses["two"].end()
            self.talk(c, "two of them are away")
            for name in ("two", "three"):
                c.journal.wait(
                    lambda j: self.states(c, name) == ["ok", "failed"],
                    "no record that %s failed" % name, 60)
            c.log.wait("anchors: 2 of 3 witnesses fail")
            self.talk(c, "still there")     # the chat goes on
            self.assertEqual(c.journal.posts(),
                             ["two of them are away", "still there"])
            status = c.cli_json("status")
            self.assertTrue(status["anchors"]["alarm"])
            self.assertIn("in enough other hands",
                          status["journal"]["purge_failure"])
            said = c.cli("status").stdout
            self.assertIn("ALARM", said)
            self.assertIn("witness.example/two: failed", said)

            self.witnesses["two"].start(port)
            self.purged(c, "not purged when the witness came back")
            self.anchored(c)
            c.journal.wait(
                lambda j: self.states(c, "two") == ["ok", "failed", "ok"],
                "no record of the return", 60)
            c.log.wait("anchors: enough witnesses answer again")
            self.beats(c)
            c.stop()
            c.verify(c.journal.path, c.folder / "out")
            said = c.verify("--witness", self.witnesses["one"].vkey,
                            c.journal.path).stdout
            self.assertRegex(
                said,
                r"witness witness\.example/one has cosigned \d+ records at 2")
            self.assertRegex(said, r"records \d+-\d+ are of the newest epoch, "
                             r"\d+, and cosigned by witness "
                             r"witness\.example/one: ")
            self.assertEqual(self.second(c, c.journal.path), 0)
            self.changed_evidence(c)

    def beats(self, c):
        """The next beat names the newest cosignature: not made before it."""
        with c.journal.open() as db:
            lines = {hashlib.sha256(line).hexdigest() for line, in
                     db.execute("SELECT line FROM cosig")}
        c.journal.wait(lambda j: j.control("beat")[-1]["anchor"] in lines,
                       "no beat names a cosignature", 60)

    @staticmethod
    def second(c, path):
        """The exit status of the second verifier."""
        return subprocess.run(
            ["python3", str(ROOT / "export/chancery-verify.py"), "--key",
             c.vkey, str(path)], capture_output=True, timeout=120).returncode

    def changed_evidence(self, c):
        """What others said is changed, or lost: the verifier tells."""
        size = int(c.journal.control("purge")[0]["anchor"])
        for sql, said in (
                ("DELETE FROM cosig WHERE size = %d" % size,
                 "witnesses had cosigned"),
                ("UPDATE cosig SET at = at + 1 WHERE size = %d" % size,
                 "name and time of a cosignature"),
                ("UPDATE cosig SET name = 'witness.example/x' WHERE "
                 "size = %d AND name LIKE '%%one'" % size,
                 "name and time of a cosignature"),
                ("UPDATE cosig SET (line, at) = (SELECT o.line, o.at FROM cosig"
                 " o WHERE o.name = cosig.name AND o.size <> cosig.size) "
                 "WHERE name LIKE '%one'", "is wrong"),
                ("DELETE FROM cosig WHERE size = (SELECT min(size) FROM "
                 "cosig)", "this anchor record tells of is not there"),
                ("DELETE FROM cosig", "evidence that this beat names"),
                ("INSERT INTO stamp VALUES(%d, 0, x'3000')" % size,
                 "not of this checkpoint")):
            copy = c.folder / "changed.db"
            shutil.copy(c.journal.path, copy)
            with sqlite3.connect(copy) as db:
                for name, in db.execute("SELECT name FROM sqlite_master "
                                        "WHERE type = 'trigger'").fetchall():
                    db.execute("DROP TRIGGER " + name)
                self.assertGreater(db.execute(sql).rowcount, 0, sql)
            db.close()
            done = c.verify(copy, check=False)
            self.assertEqual(done.returncode, 1, (sql, done.stdout))
            self.assertIn(said, done.stdout, sql)
            self.assertEqual(self.second(c, copy), 1, sql)

    @staticmethod
    def cosigned(c):
        """Size of the newest checkpoint that a witness has cosigned."""
        with c.journal.open() as db:
            return db.execute("SELECT max(size) FROM cosig").fetchone()[0]

    def wait_cosigned(self, c):
        """Until all that is recorded now is cosigned; the size."""
        size = c.journal.size()
        return c.journal.wait(
            lambda _: (self.cosigned(c) or 0) >= size and self.cosigned(c),
            "not cosigned", 60)

    def test_cosignatures_travel_with_the_note(self):
        """To the collector, with a second message once they are there."""
        with Chancery() as c:
            sink = Rsyslog(c.folder / "rsyslog")
            c.helpers.append(sink.start())
            self.start(c, ("one",), quorum=0, more=(
                'adapter siem { program = "syslog" target = '
                '"relp://127.0.0.1:%d" interval-s = 3600 }\n' % sink.port))
            self.talk(c, "a word")

            def carried(_):
                """A note from the collector with the witness's line."""
                for word in map(re.compile(r' checkpoint .* note="([^"]*)"'
                                           ).search, sink.lines()):
                    note = base64.b64decode(word[1]) if word else b""
                    if b"\n\xe2\x80\x94 witness.example/one " in note:
                        return note
                return None

            note = c.journal.wait(carried, "no cosigned note", 60).decode()
            body, lines = note.split("\n\n")
            self.witnesses["one"].cosigned_at(
                lines.splitlines(keepends=True)[1], body + "\n")
            c.stop()
            (c.folder / "note").write_text(note)
            c.verify("--checkpoint", c.folder / "note", c.journal.path)

    def test_witnesses_learn_new_keys(self):
        """By /add-key; one that may not learn them fails and says so."""
        with Chancery() as c:
            self.start(c, ("one", "two"), quorum=1)
            opened, = c.journal.control("open")
            stiff = Witness(c.folder / "stiff", "witness.example/stiff")
            self.addCleanup(stiff.end, kill=True)
            stiff.run("add-log", opened["vkey"])    # without the next key
            stiff.start()
            c.stop()
            c.extra += ('witness stiff { url = "%s" vkey = "%s" ca = "%s" }\n'
                        % (stiff.url, stiff.vkey, stiff.ca))
            c.write_conf()
            c.start()           # begins an epoch
            self.wait_cosigned(c)
            for _ in range(2):
                before = len(c.journal.control("key"))
                c.restart()
                c.journal.wait(lambda j: len(j.control("key")) > before,
                               "no key record")
                self.wait_cosigned(c)
            self.talk(c, "under the newest key")
            self.purged(c, "not purged")
            # Told late of a journal, it learns all keys in one go.
            late = Witness(c.folder / "late", "witness.example/late")
            self.addCleanup(late.end, kill=True)
            late.run("add-log", opened["vkey"], opened["next"])
            late.start()
            c.stop()
            c.extra += ('witness late { url = "%s" vkey = "%s" ca = "%s" }\n'
                        % (late.url, late.vkey, late.ca))
            c.write_conf()
            c.start()
            c.journal.wait(lambda j: self.states(c, "late") == ["ok"],
                           "the late one has cosigned nothing", 60)
            c.journal.wait(lambda j: "failed" in self.states(c, "stiff"),
                           "the stiff one does not fail", 60)
            said, = [s for s in c.cli_json("status")["anchors"]["sources"]
                     if s["name"] == stiff.name]
            self.assertIn("403", said["failure"])
            c.stop()
            c.verify(c.journal.path, c.folder / "out")

    def test_the_next_file_goes_on(self):
        """Witnesses see one log, whatever file its records are in."""
        with Chancery() as c:
            self.start(c, ("one", "two"), quorum=2, segment=512,
                       purge=-1)
            c.cli("key", "rotate")
            ann = c.sign_in("ann")
            ann.join(self.hall)
            later = c.state / "journal" / "journal-0001.db"
            for n in range(700):
                self.assertEqual(ann.post(self.hall, "post %d" % n), 200)
                if later.exists():
                    break
            self.assertTrue(later.exists())
            ann.sign_off()
            c.journal.path = later
            self.wait_cosigned(c)
            c.cli("adapter", "run", "records")
            self.assertEqual(self.states(c, "one"), ["ok"])
            # One that comes now learns a key whose checkpoint is sealed.
            late = Witness(c.folder / "late", "witness.example/late")
            self.addCleanup(late.end, kill=True)
            opened = c.journal.control("open")[0]
            late.run("add-log", opened["vkey"], opened["next"])
            late.start()
            c.stop()
            c.extra += ('witness late { url = "%s" vkey = "%s" ca = "%s" }\n'
                        % (late.url, late.vkey, late.ca))
            c.write_conf()
            c.start()
            c.journal.wait(lambda j: self.states(c, "late"),
                           "the late one has cosigned nothing", 60)
            self.assertEqual(self.states(c, "late"), ["ok"])
            self.assertIsNone(c.log.find("no checkpoint of size"))
            c.stop()
            c.verify(c.state / "journal", c.folder / "out")

    def test_restored_state(self):
        """Journal and signer of yesterday agree; the witness knows better."""
        with Chancery() as c:
            self.start(c, ("one",), quorum=1)
            self.talk(c, "yesterday")
            self.purged(c, "not purged")
            self.wait_cosigned(c)
            c.stop()
            backup = c.folder / "backup"
            subprocess.run(["cp", "-a", c.state, backup], check=True,
                           timeout=30)
            c.start()
            self.talk(c, "today")
            self.purged(c, "not purged")
            size = self.wait_cosigned(c)
            c.stop()
            shutil.rmtree(c.state)
            backup.rename(c.state)
            c.start()
            c.log.wait(r"keeper: error: .* its key signed %d \(record \d+ has "
                       r"the checkpoint, from a witness\): records are "
                       r"missing" % size)
            for _ in range(2):
                status = c.cli_json("status")
                self.assertFalse(status["keeper"]["writable"])
                self.assertIn("records are missing", status["keeper"]["why"])
                self.assertTrue(status["anchors"]["alarm"])
                self.assertEqual(
                    [(k["witness"], k["size"], k["proof"])
                     for k in status["anchors"]["conflicts"]],
                    [("witness.example/one", size, True)])
                self.assertIn("CONFLICT", c.cli("status").stdout)
                before = c.journal.size()
                self.assertNotEqual(c.sign_in("ann").join(self.hall).code,
                                    200)
                self.assertEqual(c.journal.size(), before)
                c.restart()     # what was shown once is not forgotten
            c.stop()
            told = c.cli_json("recover", "--new-incarnation", "--reason",
                              "lost")
            self.assertEqual(told["signed"], size)
            c.start()
            self.assertEqual(c.sign_in("ann").join(self.hall).code, 200)

    def test_a_stolen_key_does_not_help(self):
        """What the thief signs is right, but not what the witness saw."""
        with Chancery() as c:
            self.start(c, ("one",), quorum=1)
            self.talk(c, "the truth")
            size = self.wait_cosigned(c)
            c.stop()
            w = self.witnesses["one"]
            kept = w.run("list").stdout
            with c.journal.open() as db:
                size, = db.execute("SELECT max(size) FROM cosig").fetchone()
            thief = Thief(c.state / "signer" / "key")
            for old, new, status in ((size, size, 422), (size, size + 1, 422),
                                     (0, size + 1, 409),
                                     (size - 1, size - 1, 409)):
                proof = [b"x" * 32] * (4 if 0 < old < new else 0)
                got = w.post("/add-checkpoint", thief.ask(old, new, proof))
                self.assertEqual(got[0], status, got)
                if status == 409:
                    self.assertEqual(got[2], "%d\n" % size)
            self.assertEqual(w.run("list").stdout.split()[:3],
                             kept.split()[:3])


class Authority:
    """openssl ts behind HTTPS; what it answers can be made wrong."""

    EXTENSIONS = ("extendedKeyUsage=critical,timeStamping\n"
                  "keyUsage=critical,digitalSignature\n")

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.ca, cert, key = authority(folder)
        (folder / "ext").write_text(self.EXTENSIONS)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj",
                "/CN=Test TSA", "-keyout", folder / "tsa.key", "-out",
                folder / "tsa.csr")
        openssl("x509", "-req", "-in", folder / "tsa.csr", "-CA", self.ca,
                "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", 30,
                "-extfile", folder / "ext", "-out", folder / "tsa.pem")
        (folder / "serial").write_text("01\n")
        (folder / "conf").write_text(
            "[one]\nserial = {0}/serial\n"
            "signer_cert = {0}/tsa.pem\nsigner_key = {0}/tsa.key\n"
            "certs = {0}/ca.pem\nsigner_digest = sha256\n"
            "default_policy = 1.2.3.4.1\ndigests = sha256\n"
            "ess_cert_id_alg = sha256\n".format(folder))
        self.wrong, self.asked = None, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = outer.answer(
                    self.headers["Content-Type"], body)
                self.send_response(status)
                self.send_header("Content-Type",
                                 "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True)
        self.url = "https://127.0.0.1:%d/tsa" % self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stamp(self, query):
        (self.folder / "query").write_bytes(query)
        return openssl("ts", "-reply", "-config", self.folder / "conf",
                       "-section", "one", "-queryfile",
                       self.folder / "query")

    def answer(self, kind, query):
        self.asked += 1
        if kind != "application/timestamp-query":
            return 415, b""
        if self.wrong == "other bytes":
            other = self.folder / "other"
            other.write_bytes(b"something else")
            return 200, self.stamp(openssl(
                "ts", "-query", "-data", other, "-sha256", "-cert"))
        if self.wrong == "not ASN.1":
            return 200, b"\x30\x82\xff\xff nothing of the kind"
        if self.wrong == "more behind it":
            return 200, self.stamp(query) + b"\0"
        if self.wrong == "500":
            return 500, b"no"
        return 200, self.stamp(query)

    def stop(self):
        self.server.shutdown()
        self.thread.join(20)
        self.server.server_close()


class Stamps(unittest.TestCase):
    """A time-stamp of RFC 3161 must be there before anything is purged."""

    talk, purged = Witnesses.talk, staticmethod(Witnesses.purged)

    def test_no_purge_without_a_token(self):
        with Chancery() as c:
            tsa = Authority(c.folder / "tsa")
            c.helpers.append(tsa)
            c.extra = FAST + ('stamp { url = "%s" ca = "%s" required = true }'
                              "\n" % (tsa.url, tsa.ca))
            c.adapters = ('adapter records { program = "xml" directory = "%s"'
                          " interval-s = 3600 required = true }\n"
                          % (c.folder / "out"))
            c.purge = 0
            c.init().add_users("ann")
            self.hall = c.add_room("Hall")
            tsa.wrong = "500"
            c.start()
            self.talk(c, "not yet")
            for tsa.wrong, said in (
                    ("other bytes", "its answer does not hold"),
                    ("not ASN.1", "no time-stamp answer"),
                    ("more behind it", "more behind its answer")):
                before, lines = tsa.asked, len(c.log.lines)
                c.log.wait("stamp .*" + said, 60, lines)
                self.assertGreater(tsa.asked, before)
            c.journal.wait(lambda j: j.control("anchor"), "no record")
            self.assertEqual(c.journal.control("anchor")[0]["state"],
                             "failed")
            self.assertEqual(c.journal.posts(), ["not yet"])
            self.assertIn("time-stamp",
                          c.cli_json("status")["journal"]["purge_failure"])
            acked = [seq for seq, *_ in c.journal.leaves(kinds=("ack",))][-1]
            stamp = self.named(c, "a time-stamp of a checkpoint that covers "
                               "record %d, the newest acknowledgement" % acked)
            self.assertEqual((stamp["state"], stamp["size"], stamp["time"],
                              stamp["ago_s"]), ("failed", 0, None, None))
            self.assertIn("needs a time-stamp; reached for 0 records\n",
                          c.cli("status").stdout)
            tsa.wrong = None
            self.purged(c, "not purged with a token")
            self.talk(c, "once more")
            self.purged(c, "not purged with another token")
            stamp = self.named(c, "")
            self.assertEqual(stamp["state"], "ok")
            self.assertLess(stamp["ago_s"], 120)
            self.assertRegex(c.cli("status").stdout, (
                r"\tstamp         %s \(required\): ok, %d records at %s "
                r"\(\d+ s ago\)\n") % (
                    re.escape(stamp["name"]), stamp["size"], stamp["time"]))
            c.stop()
            tsa.wrong = "500"
            c.start()       # what was stamped then is still told
            again = self.named(c)
            self.assertNotEqual(again["state"], "ok")
            self.assertEqual([again[k] for k in ("size", "time")],
                             [stamp[k] for k in ("size", "time")])
            c.stop()
            self.records(c)
            c.verify(c.journal.path, c.folder / "out")
            self.assertEqual(Witnesses.second(c, c.journal.path), 0)
            self.tokens(c, tsa)

    def named(self, c, missing=None):
        """What the status says of the authority, and what a purge lacks."""
        anchors = c.cli_json("status")["anchors"]
        if missing is not None:
            self.assertEqual(anchors["missing"], missing)
        stamp, = [s for s in anchors["sources"] if s["what"] == "stamp"]
        self.assertTrue(stamp["required"])
        return stamp

    def test_a_token_before_the_quorum(self):
        """What was stamped while the witness was away is stamped again."""
        with Chancery() as c:
            tsa = Authority(c.folder / "tsa")
            c.helpers.append(tsa)
            witness = Witness(c.folder / "one", "witness.example/one")
            self.addCleanup(witness.end, kill=True)
            port = witness.start().port
            c.extra = (
                "anchors { quorum = 1 interval-s = 1 }\n"
                'stamp { url = "%s" ca = "%s" required = true }\n'
                'witness one { url = "%s" vkey = "%s" ca = "%s" }\n'
                % (tsa.url, tsa.ca, witness.url, witness.vkey, witness.ca))
            c.adapters = ('adapter records { program = "xml" directory = "%s"'
                          " interval-s = 3600 required = true }\n"
                          % (c.folder / "out"))
            c.purge = 0
            c.init().add_users("ann")
            self.hall = c.add_room("Hall")
            witness.end()
            tsa.wrong = "500"
            c.start()
            self.talk(c, "stamped alone")
            acked = c.journal.wait(
                lambda j: [seq for seq, kind, *_ in j.leaves(kinds=("ack",))],
                "no ack")[-1]
            tsa.wrong = None

            def stamped(journal):
                with journal.open() as db:
                    return db.execute("SELECT 1 FROM stamp WHERE size > ?",
                                      (acked,)).fetchone()
            c.journal.wait(stamped, "not stamped", 30)
            self.assertEqual(c.journal.posts(), ["stamped alone"])
            self.named(c, "1 witness and a time-stamp of a checkpoint that "
                       "covers record %d, the newest acknowledgement" % acked)
            witness.start(port)
            opened, = c.journal.control("open")
            witness.run("add-log", opened["vkey"], opened["next"])
            self.purged(c, "not purged though both have confirmed")
            c.stop()
            c.verify(c.journal.path, c.folder / "out")

    def records(self, c):
        stamps = [r for r in c.journal.control("anchor")
                  if r["state"] == "ok"]
        with c.journal.open() as db:
            rows = {str(size): (str(at), hashlib.sha256(token).hexdigest())
                    for size, at, token in db.execute("SELECT * FROM stamp")}
        self.assertEqual({r["size"]: (r["time"], r["sha256"])
                          for r in stamps}, rows)
        self.assertGreaterEqual(len(rows), 2)
        for purge in c.journal.control("purge"):
            self.assertIn(purge["anchor"], rows)
        self.assertEqual(c.journal.control("policy")[-1]["stamp"], "yes")

    def tokens(self, c, tsa):
        """What is exported convinces openssl, and only when unchanged."""
        folder = c.folder / "anchors"
        c.run("chancery-export", "anchors", "--journal", c.journal.path,
              folder)
        tokens = sorted(folder.glob("*.tst"))
        self.assertGreaterEqual(len(tokens), 2)

        def check(note, token):
            return subprocess.run(
                ["openssl", "ts", "-verify", "-in", token, "-token_in",
                 "-data", note, "-CAfile", tsa.ca], capture_output=True,
                timeout=60).returncode

        for token in tokens:
            note = token.with_suffix(".note")
            self.assertEqual(check(note, token), 0)
            c.verify("--checkpoint", note, c.journal.path)
            changed = note.with_suffix(".changed")
            changed.write_bytes(note.read_bytes().replace(b"=\n", b"= \n", 1))
            self.assertNotEqual(check(changed, token), 0)
        self.assertNotEqual(check(tokens[0].with_suffix(".note"),
                                  tokens[1]), 0)


class Thief:
    """Who has the secret key and makes checkpoints of another history."""

    def __init__(self, path):
        text = path.read_text().split("\n")[0]
        _, _, self.name, self.id, secret = text.split("+", 4)
        self.key = Key(b"")
        self.key.secret = SECRET + base64.b64decode(secret)[1:]

    def ask(self, old, size, proof):
        body = "%s\n%d\n%s\n" % (self.name, size, base64.b64encode(
            hashlib.sha256(b"counterfeit %d" % size).digest()).decode())
        blob = bytes.fromhex(self.id) + self.key.sign(body.encode())
        return "old %d\n%s\n%s\n— %s %s\n" % (
            old, "".join(base64.b64encode(h).decode() + "\n" for h in proof),
            body, self.name, base64.b64encode(blob).decode())


if __name__ == "__main__":
    unittest.main()
