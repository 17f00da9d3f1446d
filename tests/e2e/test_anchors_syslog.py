"""Checkpoints in the hands of a collector that syslog goes to."""

import re
import shutil
import sqlite3
import subprocess
import unittest

from chancery import ROOT, Chancery, Rsyslog
from second import SECOND

FAST = "anchors { interval-s = 1 }\n"


def manual_command(page, marker):
    """The lines of a display that follows the marker in a manual page."""
    text = (ROOT / "man" / page).read_text()
    text = text[text.index(marker):]
    lines = re.search(r"^\.Bd [^\n]*\n(.*?)^\.Ed", text, re.S | re.M).group(1)
    return lines.replace("\\e", "\\").replace("\\(aq", "'")


def cut_back(path, size):
    """The journal as it was at a stored checkpoint, its fences dropped."""
    with sqlite3.connect(path) as db:
        for name, in db.execute("SELECT name FROM sqlite_master WHERE "
                                "type = 'trigger'").fetchall():
            db.execute("DROP TRIGGER " + name)
        note, = db.execute("SELECT note FROM checkpoint WHERE size = ?",
                           (size,)).fetchone()
        for table, key in (("leaf", "seq"), ("body", "id >> 8"),
                           ("batch", "seq"), ("ack", "seq"),
                           ("purge_range", "seq")):
            db.execute("DELETE FROM %s WHERE %s >= ?" % (table, key), (size,))
        for table in ("checkpoint", "cosig", "stamp"):
            db.execute("DELETE FROM %s WHERE size > ?" % table, (size,))
        db.execute("DELETE FROM tile WHERE (idx + 1) << (8 * level + 8) > ?",
                   (size,))
        root = bytes(note).decode().split("\n")[2]
        db.create_function("unbase64", 1, __import__("base64").b64decode)
        db.execute("UPDATE head SET size = ?, root = unbase64(?), note = ?",
                   (size, root, note))
    db.close()


class SyslogAnchor(unittest.TestCase):
    def start(self, c, scheme="relp"):
        self.sink = Rsyslog(c.folder / "rsyslog")
        c.helpers.append(self.sink.start())
        c.extra = FAST
        c.adapters = ('adapter siem { program = "syslog" target = '
                      '"%s://127.0.0.1:%d" interval-s = 3600 }\n'
                      % (scheme, self.sink.port))
        c.init().add_users("ann")
        self.hall = c.add_room("Hall")
        return c.start()

    @staticmethod
    def published(journal):
        with journal.open() as db:
            return db.execute("SELECT 1 FROM checkpoint").fetchone()

    def checkpoints(self):
        """The sizes that rsyslogd has written."""
        return [int(m.group(1)) for m in map(
            re.compile(r' chancery - checkpoint \[.* size="(\d+)"').search,
            self.sink.lines()) if m]

    def talk(self, c, texts):
        """Posts, and waits until a checkpoint of all is with rsyslogd."""
        ann = c.sign_in("ann")
        ann.join(self.hall)
        for text in texts:
            self.assertEqual(ann.post(self.hall, text), 200)
        size = c.journal.size()
        c.journal.wait(lambda _: max(self.checkpoints(), default=0) >= size,
                       "rsyslogd has no checkpoint of %d" % size, 60)
        ann.sign_off()

    def test_a_cut_back_journal_is_found(self):
        """One message, one command of the manual, and the cut shows."""
        with Chancery() as c:
            self.start(c)
            c.journal.wait(self.published, "no checkpoint of the start")
            self.talk(c, ["kept", "hidden"])
            c.journal.wait(lambda j: j.control("anchor"), "no anchor record")
            record = c.journal.control("anchor")[0]
            self.assertEqual(
                [record[k] for k in ("what", "name", "state", "time",
                                     "sha256")],
                ["syslog", "siem", "ok", "0", "-"])
            status = c.cli_json("status")["anchors"]
            self.assertFalse(status["alarm"])
            source, = status["sources"]
            self.assertEqual((source["name"], source["state"]),
                             ("siem", "ok"))
            c.stop()
            note = c.folder / "note"
            command = manual_command("chancery-adapter.7", "This gives the newest note")
            subprocess.run(
                ["sh", "-euc", command.replace("$ ", "").replace(
                    "/var/log/chancery", str(self.sink.output))],
                cwd=c.folder, check=True, timeout=30)
            said = note.read_text()
            self.assertIn(c.vkey.split("+")[0] + "\n", said)
            c.verify(c.journal.path, "--checkpoint", note)
            with c.journal.open() as db:
                size, = db.execute("SELECT size FROM checkpoint ORDER BY size"
                                   " LIMIT 1").fetchone()
            cut = c.folder / "cut.db"
            shutil.copy(c.journal.path, cut)
            cut_back(cut, size)
            self.assertIn("freshness unknown", c.verify(cut).stdout)
            done = c.verify(cut, "--checkpoint", note, check=False)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("its end is missing", done.stdout)
            for words, status in ((["--checkpoint", note, c.journal.path], 0),
                                  (["--checkpoint", note, cut], 1),
                                  ([cut], 0)):
                self.assertEqual(subprocess.run(
                    ["python3", str(SECOND), "--key", c.vkey,
                     *map(str, words)], capture_output=True,
                    timeout=60).returncode, status, words)

    def test_a_lost_collector_is_recorded(self):
        """Down: alarm and a record, the chat goes on; back: a record."""
        with Chancery() as c:
            self.start(c)
            self.talk(c, ["one"])
            self.sink.stop()
            ann = c.sign_in("ann")
            ann.join(self.hall)

            def states(j):
                return [r["state"] for r in j.control("anchor")]

            for n in range(2):
                self.assertEqual(ann.post(self.hall, "two %d" % n), 200)
                c.log.wait(r"syslog siem: ")
            c.journal.wait(lambda j: states(j) == ["ok", "failed"],
                           "no record of the failure", 60)
            self.assertTrue(c.cli_json("status")["anchors"]["alarm"])
            self.assertIn("ALARM", c.cli("status").stdout)
            self.sink.start()
            c.journal.wait(lambda j: states(j) == ["ok", "failed", "ok"],
                           "no record of the return", 60)
            self.assertFalse(c.cli_json("status")["anchors"]["alarm"])
            ann.sign_off()
            c.stop()
            c.verify(c.journal.path)

    def test_what_is_only_sent_is_no_anchor(self):
        """TCP tells nobody whether it arrived: sent, but not confirmed."""
        with Chancery() as c:
            self.start(c, "tcp")
            c.log.wait("chanceryd: info: ready")
            status = c.journal.wait(
                lambda _: [s for s in c.cli_json("status")["anchors"][
                    "sources"]], "the adapter takes no checkpoints", 60)
            self.assertEqual([s["state"] for s in status], ["unknown"])
            self.assertEqual(c.journal.control("anchor"), [])


if __name__ == "__main__":
    unittest.main()
