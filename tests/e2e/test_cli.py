"""chancery(8), chanceryd -n and the other programs as an operator uses them."""

import json
import os
import re
import stat
import subprocess
import sys
import unittest

from chancery import (DOMAIN, ROLE_USERS, ROOT, Chancery, free_port,
                      program)
from second import SECOND


def members(value):
    """The names of all members in a JSON value, however deep."""
    if isinstance(value, list):
        return set().union(*map(members, value))
    if isinstance(value, dict):
        return set(value).union(*map(members, value.values()))
    return set()


def uri(user):
    return "sip:%s@%s" % (user, DOMAIN)


class Commands(unittest.TestCase):
    def test_before_the_daemon_runs(self):
        with Chancery() as c:
            c.init()
            self.administration(c)
            c.start()
            self.in_the_journal(c)

    def test_while_it_runs(self):
        with Chancery() as c:
            c.init().start()
            self.administration(c)
            self.in_the_journal(c)
            # What was made is there at once.
            ann = c.sign_in("ann")
            self.assertEqual(ann.join(c.room("Closed")).code, 200)

    def administration(self, c):
        c.cli("user", "add", uri("ann"), "--name", "Ann Ä. <x>",
              "--password-stdin", input="ann-secret\n")
        done = c.cli_json("user", "add", uri("bob"))
        self.assertIsInstance(done, dict)
        self.assertIn("bob", c.cli("user", "list").stdout)
        users = {u["uri"]: u for u in c.cli_json("user", "list")}
        self.assertEqual(set(users), {uri("ann"), uri("bob")})
        self.assertEqual(users[uri("ann")]["name"], "Ann Ä. <x>")
        guid = "11111111-aaaa-4000-8000-000000000001"
        c.cli("room", "add", "Open")
        c.cli("room", "add", "Closed", "--id", guid, "--privacy", "closed",
              "--description", "Only some")
        c.cli("room", "add", "Secret", "--privacy", "secret")
        c.cli("room", "member", "add", "Closed", uri("ann"), uri("bob"))
        self.assertIn("Closed", c.cli("room", "list").stdout)
        rooms = {r["name"]: r for r in c.cli_json("room", "list")}
        self.assertEqual({n: r["privacy"] for n, r in rooms.items()}, {
            "Open": "open", "Closed": "closed", "Secret": "secret"})
        self.assertEqual(rooms["Closed"]["uri"],
                         "ma-chan://%s/%s" % (DOMAIN, guid))
        self.assertEqual(rooms["Closed"]["description"], "Only some")
        self.assertEqual(rooms["Closed"]["members"], 2)
        self.refused(c)

    def refused(self, c):
        """Exit 1 or 2, a reason on stderr, nothing changed."""
        before = c.cli("user", "list").stdout + c.cli("room", "list").stdout
        for arguments, word in (
                (("user", "add", uri("ann")), "ann"),
                (("user", "add", "sip:ann@elsewhere.test"), "elsewhere"),
                (("user", "add", "not a uri"), ""),
                (("room", "add", "Open"), "Open"),
                (("room", "add", "X", "--privacy", "odd"), "secret"),
                (("room", "add", "Y", "--id", "not-a-guid"), ""),
                (("room", "member", "add", "Nowhere", uri("ann")), "Nowhere"),
                (("room", "member", "add", "Open", uri("nobody")), "nobody"),
                (("user",), ""), (("user", "fly"), ""), (("fly",), ""),
                ((), ""), (("adapter", "run", "nothing"), "nothing")):
            with self.subTest(arguments=arguments):
                done = c.cli(*arguments, check=False)
                self.assertIn(done.returncode, (1, 2, 3))
                self.assertTrue(done.stderr.strip())
                self.assertIn(word, done.stderr)
        after = c.cli("user", "list").stdout + c.cli("room", "list").stdout
        self.assertEqual(before, after)

    def in_the_journal(self, c):
        self.assertEqual(
            [(e["action"], e["user"]) for e in c.journal.events("user")
             if e["action"] == "add"],
            [("add", uri("ann")), ("add", uri("bob"))])
        self.assertEqual([e["roomname"] for e in c.journal.events("room")],
                         ["Open", "Closed", "Secret"])
        self.assertEqual([e["user"] for e in c.journal.events("member")],
                         [uri("ann"), uri("bob")])
        by = {e["by"] for e in c.journal.events("user", "room", "member")}
        self.assertEqual(by, {"uid:%d" % os.getuid()})
        self.assertNotIn("ann-secret", str(c.journal.leaves()))

    def test_status_and_adapters(self):
        with Chancery(adapters='adapter notes { program = "sample" '
                      'directory = "out" required = false }\n') as c:
            c.init()
            self.assertNotEqual(c.cli("status", check=False).returncode, 0)
            c.start()
            text = c.cli("status").stdout
            self.assertRegex(text, r"(?m)^\trequests +\d+$")
            self.assertNotIn("0 of 0 records", text)
            self.assertNotRegex(text, "[{}]")
            self.assertIsInstance(c.cli_json("status"), dict)
            adapters = c.cli_json("adapter", "list")
            self.assertEqual([a["name"] for a in adapters], ["notes"])
            self.assertIn("notes", c.cli("adapter", "list").stdout)
            c.cli("adapter", "run", "notes")
            acks = c.journal.wait(lambda j: j.control("ack"), "no ack")
            self.assertEqual(acks[0]["adapter"], "notes")
            json.loads(c.cli("adapter", "run", "notes", "--json").stdout)

    def test_json_is_in_the_manual(self):
        """Every member of every result has its word in chancery(8)."""
        page = (ROOT / "man/chancery.8").read_text()
        words = set(re.findall(r"[a-z0-9_]+", page))
        with Chancery(adapters='adapter notes { program = "sample" '
                      'directory = "out" }\n') as c:
            c.write_conf()
            made = c.cli_json("init")
            self.assertEqual(set(made), {"state", "origin", "vkey"})
            offline = c.cli_json("user", "add", uri("ann"))
            self.assertEqual(offline, {"uri": uri("ann"), "recorded": False})
            c.start()
            online = c.cli_json("user", "add", uri("bob"))
            self.assertEqual(online, {"uri": uri("bob"), "recorded": True})
            results = [made, c.cli_json("room", "add", "Hall"),
                       c.cli_json("room", "member", "add", "Hall",
                                  uri("ann"), uri("bob"))]
            self.assertIs(results[1]["recorded"], True)
            self.assertEqual(results[2], {
                "room": "Hall", "added": [uri("ann"), uri("bob")]})
            for command in (("adapter", "run", "notes"), ("user", "list"),
                            ("room", "list"), ("adapter", "list"),
                            ("status",)):
                results.append(c.cli_json(*command))
            self.assertTrue(results[3]["batches"])
            self.assertEqual(members(results) - words, set())

    def test_one_at_a_time(self):
        """The lock: no second daemon, no second writer."""
        with Chancery() as c:
            c.init().start()
            second = c.run("chanceryd", "-f", c.conf, check=False)
            self.assertNotEqual(second.returncode, 0)
            self.assertTrue(second.stderr.strip())
            self.assertEqual(c.cli("user", "list").returncode, 0)

    def test_init(self):
        with Chancery() as c:
            c.init()
            again = c.cli("init", check=False)
            self.assertNotEqual(again.returncode, 0)
            self.assertTrue(again.stderr.strip())
            # Record 0 tells the next key, and comes with the first start.
            self.assertIsNone(c.cli_json("key", "show")["next"])
            self.assertIn("not announced yet", c.cli("key", "show").stdout)
            for command, words in (
                    ([program("chancery-verify")], "no open record"),
                    ([sys.executable, str(SECOND)], "no record")):
                done = subprocess.run(
                    [*command, "--key", c.vkey, str(c.journal.path)],
                    capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(words, done.stdout)
            for path in ("journal", "signer", "chat"):
                mode = os.stat(c.state / path).st_mode
                self.assertEqual(stat.S_IMODE(mode) & 0o007, 0, path)
            c.start()
            c.journal.wait(lambda j: j.control("open"), "no open record")
            self.assertEqual(c.cli_json("key", "show")["next"],
                             c.journal.control("open")[0]["next"])
            c.stop()
            c.journal.check()
            c.verify()

    def test_without_state(self):
        with Chancery() as c:
            c.write_conf()
            for name in ("chanceryd", "chancery-export", "chancery-verify"):
                arguments = ["-f", c.conf] if name != "chancery-verify" \
                    else [c.journal.path]
                if name == "chancery-export":
                    arguments += ["--format", "jsonl"]
                done = c.run(name, *arguments, check=False)
                self.assertIn(done.returncode, (1, 2, 3), name)
                self.assertTrue(done.stderr.strip() or done.stdout.strip())


class Configuration(unittest.TestCase):
    GOOD = 'domain = "example.test"\nstate-dir = "state"\n' \
        'listen tcp { address = "127.0.0.1" port = 5060 }\n'

    def check(self, text, name="chancery.conf"):
        with Chancery() as c:
            c.conf.write_text(text)
            return subprocess.run(
                [program("chanceryd"), "-n", "-f", str(c.conf)],
                capture_output=True, text=True, timeout=30)

    def test_in_force(self):
        done = self.check(self.GOOD + ROLE_USERS)
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("example.test", "5060", "after-s", "state-dir"):
            self.assertIn(word, done.stdout)
        again = self.check(done.stdout)
        self.assertEqual((again.returncode, again.stderr), (0, ""))
        self.assertIn("5060", again.stdout)

    def test_errors_name_file_line_and_reason(self):
        required = 'adapter siem { program = "syslog" target = ' \
            '"%s" required = true }\n'
        cases = [
            ("domain = 5\nbogus-key = 1\n", 2, "bogus-key"),
            (self.GOOD + "listen udp { port = 70000 }\n", 4, "70000"),
            (self.GOOD + "listen tcp { port = 5062 }\n", 4, "tcp"),
            (self.GOOD + 'adapter x { program = "xml" }\n', 4, "directory"),
            (self.GOOD + required % "udp://127.0.0.1:514", 4, "RELP"),
            (self.GOOD + required % "tcp://127.0.0.1:514", 4, "acknowledg"),
            (self.GOOD + required % "tls://127.0.0.1:514", 4, "acknowledg"),
            (self.GOOD + "purge { after-s = -2 }\n", 4, "after-s"),
            (self.GOOD + "purge { after-s = soon }\n", 4, "after-s"),
            (self.GOOD + 'adapter a { program = "xml" directory = "x" '
             "colour = 1 }\n", 4, "colour"),
            (self.GOOD + 'listen tls { address = "127.0.0.1" port = 5061 }\n',
             4, "certificate"),
            (self.GOOD + "listen {\n", 0, ""),
            ('state-dir = "state"\n', None, "domain is missing"),
            ('domain = "Not A Domain"\n', 1, "domain"),
            (self.GOOD + "limits { connections = 0 }\n", 4, "connections"),
        ]
        for text, line, word in cases:
            with self.subTest(text=text[-60:]):
                done = self.check(text)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn(word, done.stderr)
                place = r"chancery\.conf:%s: " % (line or r"\d+") \
                    if line is not None else r"chancery\.conf: "
                self.assertRegex(done.stderr, place)

    def test_missing_file(self):
        done = subprocess.run([program("chanceryd"), "-n", "-f", "/no/such"],
                              capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 2)
        self.assertIn("/no/such", done.stderr)

    def test_certificate_that_is_not_there(self):
        with Chancery() as c:
            c.extra = 'listen tls { address = "127.0.0.1" port = %d ' \
                'certificate = "none.pem" key = "none.key" }\n' % free_port()
            c.init()
            done = c.run("chanceryd", "-f", c.conf, check=False, timeout=60)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr,
                             r"chancery\.conf:\d+: .*/none\.pem: No such")

    def test_port_in_use(self):
        with Chancery() as c, Chancery() as d:
            c.init().start()
            d.ports = dict(c.ports)
            d.init()
            done = d.run("chanceryd", "-f", d.conf, check=False, timeout=60)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(str(c.ports["tcp"]), done.stderr)

    def test_usage(self):
        with Chancery() as c:
            c.write_conf()
            conf, db = ("-f", c.conf), ("--journal", c.folder)
            for said, name, *words in (
                    ("--no-such", "chancery", "--no-such"),
                    ("--no-such", "chancery-export", "--no-such"),
                    ("--no-such", "chancery-verify", "--no-such"),
                    ("--no-such", "chancery-witness", "--no-such"),
                    ("'-'", "chanceryd", "--no-such"),
                    ("frob: no such command", "chancery", *conf, "frob"),
                    ("key: no such command", "chancery", *conf, "key"),
                    ("hold release: an argument is missing", "chancery",
                     *conf, "hold", "release"),
                    ("room member: an argument is missing", "chancery", *conf,
                     "room", "member", "add", "Hall"),
                    ("status: too many arguments", "chancery", *conf,
                     "status", "now"),
                    ("key show: an option does not belong here", "chancery",
                     *conf, "key", "show", "--matter", "x"),
                    ("frob: no such command", "chancery-export", "frob"),
                    ("--format is missing", "chancery-export", *db),
                    ("either -f or --journal", "chancery-export", *db, *conf,
                     "--format", "csv"),
                    ("a path is missing", "chancery-verify"),
                    ("--keys needs --key", "chancery-verify", "--keys", "x",
                     "y"),
                    ("--state is missing", "chancery-witness", "list"),
                    ("a command is missing", "chancery-witness", "--state",
                     c.folder),
                    ("no such command", "chancery-witness", "--state",
                     c.folder, "frob"),
                    ("ADDRESS:PORT", "chancery-witness", "--state", c.folder,
                     "--listen", "nowhere", "--cert", "c", "--key", "k",
                     "serve"),
                    ("serve needs", "chancery-witness", "--state", c.folder,
                     "serve")):
                done = c.run(name, *words, check=False)
                self.assertEqual(done.returncode, 2, (name, words))
                first = done.stderr.splitlines()[0]
                self.assertIn(said, first)
                if "needs --key," not in first:
                    self.assertIn("usage: " + name, done.stderr)
            done = c.run("chancery", *conf, "hold", "release", check=False)
            self.assertNotIn("room add", done.stderr)
            for said, *words in (
                    ("none: neither a key nor a file", "--key",
                     c.folder / "none", "x"), ("a+b: ", "--key", "a+b", "x")):
                done = c.run("chancery-verify", *words, check=False)
                self.assertEqual(done.returncode, 2)
                self.assertIn(said, done.stderr)

    def test_nothing_to_verify(self):
        with Chancery() as c:
            empty = c.folder / "empty"
            empty.mkdir()
            done = c.verify(empty, check=False)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("no journal and no archive", done.stderr)
            done = c.verify(empty / "none", check=False)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("none", done.stderr)
            for path, status, member in ((empty, 1, "findings"),
                                         (empty / "none", 3, "failure")):
                report = json.loads(c.verify(path, "--json",
                                             check=False).stdout)
                self.assertEqual(report["status"], status)
                file, = report["files"]
                self.assertEqual(file["file"], str(path))
                self.assertTrue(file[member])


class Export(unittest.TestCase):
    """chancery-export: formats, selection, counts, exit codes."""

    def test_formats_and_selection(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            hall, annex = c.add_room("Hall"), c.add_room("Annex")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            for room in (hall, annex):
                ann.join(room)
                bob.join(room)
            ann.post(hall, 'comma, "quote"\r\nand line')
            bob.post(hall, "=cmd|x")
            ann.post(annex, "<b>&amp;")
            ann.sign_off()
            bob.sign_off()
            c.journal.wait(lambda j: len(j.events("leave")) == 4, "leaves")
            self.formats(c)
            self.selection(c, hall)

    def formats(self, c):
        lines = c.export("--format", "jsonl").stdout.splitlines()
        records = [json.loads(line) for line in lines]
        seqs = [r["seq"] for r in records]
        self.assertEqual(seqs, sorted(seqs))
        for name in ("csv", "text", "xml"):
            out = c.folder / ("out." + name)
            done = c.export("--format", name, "-o", out)
            self.assertEqual(done.stdout, "")
            self.assertRegex(done.stderr, r"\d")
            self.assertIn("comma", out.read_text("utf-8"))
        import csv
        rows = list(csv.reader(open(c.folder / "out.csv", newline="")))
        self.assertEqual({len(r) for r in rows}, {len(rows[0])})
        self.assertTrue(any('comma, "quote"\r\nand line' in cell or
                            'comma, "quote"\nand line' in cell
                            for row in rows for cell in row))
        subprocess.run(["xmllint", "--noout", str(c.folder / "out.xml")],
                       check=True, timeout=30)

    def selection(self, c, hall):
        def posts(*options):
            out = c.export("--format", "jsonl", "--type", "post",
                           *options).stdout
            return len(out.splitlines())

        self.assertEqual(posts(), 3)
        self.assertEqual(posts("--room", "Hall"), 2)
        self.assertEqual(posts("--room", hall), 2)
        self.assertEqual(posts("--user", uri("bob")), 1)
        self.assertEqual(posts("--since", "2020-01-01T00:00:00Z"), 3)
        nothing = c.export("--format", "jsonl", "--user", uri("nobody"),
                           check=False)
        self.assertEqual((nothing.returncode, nothing.stdout), (1, ""))
        nothing = c.export("--format", "jsonl", "--until",
                           "2020-01-01T00:00:00Z", check=False)
        self.assertEqual(nothing.returncode, 1)
        for wrong in (("--format", "odd"), ("--since", "yesterday-ish"),
                      ("--type", "odd"), ()):
            done = c.export(*wrong, check=False)
            self.assertEqual(done.returncode, 2, wrong)
            self.assertTrue(done.stderr.strip())
        c.conf.write_text("colour = 1\n")
        done = c.export("--format", "csv", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(":1: ", done.stderr)


if __name__ == "__main__":
    unittest.main()
