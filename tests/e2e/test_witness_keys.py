"""A journal that changes its keys, and a witness that follows by itself."""

import unittest

from chancery import Chancery
from witness import Witness


class Followed(unittest.TestCase):
    """The engine teaches the witness what it missed, key by key."""

    def start(self, c):
        self.w = Witness(c.folder / "witness").start()
        c.helpers.append(self)
        c.extra = ('anchors { interval-s = 1 quorum = 1 }\n'
                   'witness one { url = "%s" vkey = "%s" ca = "%s" }\n' % (
                       self.w.url, self.w.vkey, self.w.ca))
        c.init().add_users("ann")
        self.hall = c.add_room("Hall")
        c.start()
        opened, = c.journal.wait(lambda j: j.control("open"), "no record 0")
        self.w.run("add-log", opened["vkey"], opened["next"])

    def stop(self):
        """At the end of the Chancery, whatever happened."""
        self.w.end(kill=True)

    def talk(self, c, text):
        ann = c.sign_in("ann")
        ann.join(self.hall)
        self.assertEqual(ann.post(self.hall, text), 200)
        ann.sign_off()

    def cosigned(self, c):
        """{size: line} of the witness, and the newest checkpoint's size."""
        with c.journal.open() as db:
            lines = {size: bytes(line).decode() for size, line in db.execute(
                "SELECT size, line FROM cosig")}
            newest, = db.execute(
                "SELECT max(size) FROM checkpoint").fetchone()
        return lines, newest

    def wait_cosigned(self, c):
        """Until it has cosigned what follows the newest key record."""
        keys = c.journal.control("key")
        after = keys[-1]["seq"] + 1 if keys else 0
        return c.journal.wait(
            lambda _: next((s for s in self.cosigned(c)[0] if s > after),
                           None), "not cosigned", 60)

    def test_keys_that_it_missed(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, "seen at once")
            self.wait_cosigned(c)
            port = self.w.port
            self.assertEqual(self.w.end(), 0)
            for life in range(3):
                c.restart()
                self.talk(c, "life %d" % life)
            keys = c.journal.control("key")
            self.assertGreaterEqual(len(keys), 3)
            self.w.start(port)
            self.wait_cosigned(c)
            lines, _ = self.cosigned(c)
            # Each epoch's last checkpoint, taught and cosigned on the way.
            with c.journal.open() as db:
                notes = {size: bytes(note).decode() for size, note in
                         db.execute("SELECT size, note FROM checkpoint")}
            for key in keys:
                size = key["seq"] + 1
                self.assertIn(size, lines)
                self.w.cosigned_at(lines[size],
                                   notes[size].split("\n\n")[0] + "\n")
            # With the witness there, another change is followed at once.
            c.restart()
            self.talk(c, "and on")
            self.wait_cosigned(c)
            self.assertGreater(len(c.journal.control("key")), len(keys))
            self.assertEqual(self.w.run("conflicts").stdout, "")
            c.stop()
            c.verify()
