"""The engine reads the journal through, and says what is not as it was."""

import re
import sqlite3
import unittest

from chancery import Chancery

BEATS = "journal { beat-s = 1 }\n"


def audits(journal, result):
    return [a for a in journal.control("audit") if a["result"] == result]


def fill(c, count=300):
    """A journal of more than a tile, with payloads."""
    c.init().add_users("ann")
    hall = c.add_room("Hall")
    c.start()
    ann = c.sign_in("ann")
    ann.join(hall)
    for i in range(count):
        if ann.post(hall, "post %d" % i) != 200:
            raise AssertionError("post refused")
    return ann, hall


def flip(c, pattern, offset):
    """Changes one byte in the database of the running daemon.

    The pattern must be in the file itself: beats move the WAL into it.
    """
    path = c.journal.path
    c.journal.wait(lambda j: pattern in path.read_bytes(),
                   "not in the database yet")
    with open(path, "r+b") as f:
        at = path.read_bytes().index(pattern) + len(pattern) + offset
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))
    # SQLite looks at its pages anew after the next commit.
    beats = len(c.journal.control("beat"))
    c.journal.wait(lambda j: len(j.control("beat")) > beats, "no beat")


class Audit(unittest.TestCase):
    def test_a_whole_journal_is_reported_whole(self):
        with Chancery(extra=BEATS + "audit { period-s = 0 }\n") as c:
            fill(c)
            status = c.cli_json("status")["audit"]
            self.assertEqual((status["whole"], status["finding"],
                              status["period_s"]), (None, "", 0))
            size = c.journal.size()
            self.assertRegex(c.cli("audit", "run").stdout,
                             r"^The journal is whole as far as it goes: "
                             r"\d+ records\.\n$")
            c.journal.wait(lambda j: audits(j, "whole"), "no audit record")
            audit = audits(c.journal, "whole")[0]
            self.assertEqual(audit["first"], "0")
            self.assertGreaterEqual(int(audit["last"]), size - 1)
            self.assertLess(int(audit["last"]), audit["seq"])
            self.assertIsNotNone(c.cli_json("status")["audit"]["whole"])
            self.assertIn("whole at ", c.cli("status").stdout)
            # It is remembered over a restart.
            c.restart()
            self.assertIsNotNone(c.cli_json("status")["audit"]["whole"])
            c.stop()
            c.verify()

    def test_the_background_reads_all_in_its_period(self):
        with Chancery(extra=BEATS + "audit { period-s = 2 }\n") as c:
            fill(c)
            c.journal.wait(lambda j: len(audits(j, "whole")) >= 2,
                           "no audits", 40)
            self.assertEqual(audits(c.journal, "broken"), [])
            c.stop()
            c.verify()

    def test_all_files_of_a_journal_are_read(self):
        extra = "journal { beat-s = 1 segment-records = 512 }\n"
        with Chancery(extra=extra) as c:
            fill(c, 1100)
            c.journal.wait(lambda j: (
                j.path.parent / "journal-0002.db").exists(), "no third file")
            done = c.cli("audit", "run").stdout
            self.assertGreater(int(re.search(r"goes: (\d+) ", done)[1]), 1100)
            c.stop()
            c.verify(c.journal.path.parent)

    def test_purged_payloads_are_no_finding(self):
        adapter = 'adapter records { program = "xml" directory = "out" ' \
                  'interval-s = 1 required = true }\n'
        with Chancery(extra=BEATS, adapters=adapter, purge=0) as c:
            fill(c, 20)
            c.journal.wait(lambda j: j.control("purge"), "no purge", 60)
            self.assertIn("is whole", c.cli("audit", "run").stdout)

    def broken(self, pattern, offset, words):
        """The engine says it in log, status and journal, and on demand."""
        with Chancery(extra=BEATS + "audit { period-s = 2 }\n") as c:
            fill(c)
            flip(c, pattern, offset)
            c.log.wait("engine: error: AUDIT: the journal is not as it was "
                       "recorded: " + words, 40)
            c.journal.wait(lambda j: any(
                a["first"] == a["last"] for a in audits(j, "broken")),
                "the place is not on record")
            c.journal.wait(lambda j: any(
                a["first"] == "0" for a in audits(j, "broken")),
                "the round is not on record")
            status = c.cli_json("status")["audit"]
            self.assertRegex(status["finding"], words)
            self.assertGreater(status["broken"], 0)
            self.assertRegex(c.cli("status").stdout, "BROKEN +" + words)
            done = c.cli("audit", "run", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout, "^The journal is NOT")
            c.kill()    # a keeper that reads the damage again may refuse
            verified = c.verify(check=False)
            self.assertEqual(verified.returncode, 1)
            self.assertTrue(re.search("an audit found records", verified.stdout),
                            verified.stdout)

    def test_a_head_that_was_changed(self):
        """Of records that there never were the keeper records nothing."""
        extra = "journal { beat-s = 3600 }\naudit { period-s = 0 }\n"
        with Chancery(extra=extra) as c:
            c.init()
            c.start()

            def at_rest(_):
                told = c.cli_json("status")["journal"]
                return told["signed"] == told["size"]
            c.journal.wait(at_rest, "the head is not signed")
            db = sqlite3.connect(c.journal.path)
            with db:
                db.execute("DROP TRIGGER head_update")
                db.execute("UPDATE head SET size = size + 600")
            db.close()
            self.assertEqual(c.cli("audit", "run", check=False).returncode, 1)
            c.journal.wait(lambda j: audits(j, "broken"),
                           "the finding is not on record")
            for a in audits(c.journal, "broken"):
                self.assertLess(int(a["last"]), a["seq"])

    def test_a_changed_leaf(self):
        self.broken(b"leaf/1 20 3\nt ", 60,
                    "record 20: the leaf is not the one that its tile holds|"
                    "record 20, part 0: payload and salt are not")

    def test_a_changed_payload(self):
        self.broken(b'"text":"post 7', 0,
                    r"record \d+, part 1: payload and salt are not what the "
                    "leaf commits to")


if __name__ == "__main__":
    unittest.main()
