"""Epochs of the signing key: when they change, what a crash leaves behind,
and that both verifiers follow them from the genesis key alone."""

import base64
import hashlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from chancery import ROOT, Chancery, program, wait_until  # noqa: E402


def second(c, *paths):
    return subprocess.run(
        [sys.executable, ROOT / "export" / "chancery-verify.py", "--key",
         c.vkey, *(paths or [c.journal.path])], capture_output=True,
        text=True, timeout=120)


class Keys(unittest.TestCase):
    def both_hold(self, c, *paths):
        """The report of the first."""
        done = c.verify(*paths)
        other = second(c, *paths)
        self.assertEqual(other.returncode, 0, other.stdout + other.stderr)
        return done.stdout

    def chain(self, c):
        """[(epoch, vkey, next, reason, clean)], the genesis first."""
        first = c.journal.control("open")[0]
        found = [("0", first["vkey"], first["next"], None, None)]
        found += [(k["epoch"], k["vkey"], k["next"], k["reason"], k["clean"])
                  for k in c.journal.control("key")]
        for before, key in zip(found, found[1:]):
            self.assertEqual(int(key[0]), int(before[0]) + 1)
            name, _, public = key[1].split("+", 2)
            self.assertEqual(hashlib.sha256(
                base64.b64decode(public)[1:]).hexdigest(), before[2])
        return found

    def proofs_from(self, c, vkeys):
        """Of an early and a late record, for who trusts any one key."""
        path, size = c.folder / "one.tlog-proof", c.journal.size()
        for seq in 1, size - 2:
            lengths = []
            for i, vkey in enumerate(vkeys):
                c.run("chancery-export", "prove", "-f", c.conf, "-o", path,
                      "--from", vkey, seq)
                lengths.append(path.stat().st_size)
                for k, other in enumerate(vkeys):
                    done = c.run("chancery-verify", "--key", other, path,
                                 check=False)
                    self.assertEqual(done.returncode, int(k != i), done.stdout)
                    if k != i:
                        continue
                    self.assertEqual("trust begins there" in done.stdout,
                                     0 < i < len(vkeys) - 1, done.stdout)
            self.assertEqual(lengths, sorted(lengths, reverse=True))
            self.assertEqual(len(set(lengths)), len(lengths))
            done = c.run("chancery-export", "prove", "-f", c.conf, "-o", path,
                         "--from", vkeys[0] + "x", seq, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("is none of the keys", done.stderr)

    def test_each_start_begins_an_epoch(self):
        with Chancery() as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            for life in range(4):
                c.start()
                ann = c.sign_in("ann")
                ann.join(hall)
                self.assertEqual(ann.post(hall, "in life %d" % life), 200)
                c.stop()
                self.both_hold(c)
            found = self.chain(c)
            self.assertEqual([k[3] for k in found],
                             [None, "start", "start", "start"])
            self.assertEqual(found[0][1], c.vkey)
            self.assertEqual(len({k[1] for k in found}), 4)
            self.proofs_from(c, [k[1] for k in found])
            # one secret of the present, one of the next epoch, no other
            self.assertEqual(
                sorted(p.name for p in (c.state / "signer").iterdir()),
                ["closing", "key", "next", "state"])

    def test_on_demand_and_after_a_theft(self):
        with Chancery() as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(hall)
            self.assertEqual(ann.post(hall, "under the first key"), 200)
            told = c.cli_json("key", "rotate")
            self.assertEqual(told["epoch"], 1)
            self.assertEqual(ann.post(hall, "under the second"), 200)
            done = c.cli("key", "rotate", "--compromised")
            self.assertIn("epoch 2 began with record", done.stdout)
            self.assertEqual(ann.post(hall, "under the third"), 200)
            live = c.cli_json("key", "show")
            c.stop()
            self.assertEqual(c.cli_json("key", "show"), live)
            found = self.chain(c)
            self.assertEqual([k[3:] for k in found[1:]],
                             [("demand", "yes"), ("compromise", "no")])
            self.assertEqual((live["epoch"], live["vkey"], live["genesis"],
                              live["next"]),
                             (2, found[2][1], c.vkey, found[2][2]))
            digest = hashlib.sha256(c.vkey.encode()).digest()
            self.assertEqual(live["fingerprint"], " ".join(
                "%05d" % (int.from_bytes(digest[i:i + 5], "big") % 100000)
                for i in range(0, 30, 5)))
            self.assertIn(live["fingerprint"], c.cli("key", "show").stdout)
            report = self.both_hold(c)
            self.assertIn("epoch 1 ended without a closing checkpoint "
                          "(compromise", report)
            # Epoch 0 was closed: its key vouches for all before.
            first, last = map(int, re.search(
                r"records (\d+)-(\d+): epoch 1 ended", report).groups())
            began, ended = [k["seq"] for k in c.journal.control("key")]
            self.assertGreater(first, began)
            self.assertEqual(last, ended)
            self.assertIn("are of the newest epoch, 2: whoever has its key",
                          report)
            # only a running daemon can change it
            done = c.cli("key", "rotate", check=False)
            self.assertEqual(done.returncode, 3)
            self.assertIn("chanceryd is not running", done.stderr)

    def test_killed_while_the_key_changes(self):
        """The key changes every second and on demand, and signer, keeper or
        both are killed in the middle of it."""
        chance = random.Random(int(os.environ.get("CHANCERY_SEED", "1")))
        with Chancery(extra="keys { rotate-s = 1 }\n") as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(hall)
            said = []
            for i in range(12):
                roles = wait_until(
                    lambda: {"signer", "keeper"} <= (r := c.roles()).keys()
                    and r, "both roles")
                asked = subprocess.Popen(
                    [program("chancery"), "-f", str(c.conf), "key", "rotate"]
                    + ["--compromised"] * (i % 4 == 3),
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                threading.Event().wait(chance.random() / 100)
                for role in chance.choice((["signer"], ["keeper"],
                                           ["signer", "keeper"])):
                    os.kill(roles[role], signal.SIGKILL)
                asked.wait(60)
                text = "after kill %d" % i
                wait_until(lambda: ann.post(hall, text) == 200,
                           "recording goes on", 60)
                said.append(text)
            c.stop()
            found = self.chain(c)
            self.assertGreater(len(found), 2)
            posts = c.journal.posts()
            self.assertEqual([t for t in posts if t in said], said)
            report = self.both_hold(c)
            self.assertNotIn("about to begin", report)
            self.assertEqual(
                sorted(p.name for p in (c.state / "signer").iterdir()
                       if p.name not in ("after", "closing")),
                ["key", "next", "state"])

    def test_archives_of_later_epochs(self):
        with Chancery() as c:
            (c.folder / "out").mkdir()
            if os.geteuid() == 0:
                os.chown(c.folder / "out", 61005, 61005)
            c.adapters = ('adapter vault { program = "tarball" directory = '
                          '"out" interval-s = 900 required = true }\n')
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            for life in range(2):
                c.start()
                ann = c.sign_in("ann")
                ann.join(hall)
                self.assertEqual(ann.post(hall, "in life %d" % life), 200)
                c.cli("adapter", "run", "vault")
                c.stop()
            first, *_, last = files = sorted(
                (c.folder / "out").glob("*.tar.zst"))
            self.both_hold(c, c.journal.path, *files)
            c.verify(first)
            done = c.verify(last, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("only the journal or --keys shows that",
                          done.stdout)
            chain = c.folder / "keys.txt"
            c.run("chancery-export", "keys", "-f", c.conf, "-o", chain)
            c.verify("--keys", chain, *files)
            # a chain that was changed, or cut within a block, proves nothing
            lines = chain.read_text().splitlines(keepends=True)
            self.assertEqual(len(lines), 1 + 4 * 2)
            for i, line in enumerate(lines):
                word, _, rest = line.partition(" ")
                wrong = lines[:i] + [
                    word + " " + ("B" if rest[:1] == "A" else "A") + rest[1:]
                    if rest.strip() else "x\n"] + lines[i + 1:]
                for text in (wrong, lines[:i] if i % 4 != 1 else ["x\n"]):
                    chain.write_text("".join(text))
                    done = c.verify("--keys", chain, last, check=False)
                    self.assertEqual(done.returncode, 1, (i, done.stderr))


if __name__ == "__main__":
    unittest.main()
