"""chancery-export evidence: exact records out of journals and archives."""

import json
import os
import pathlib
import shutil
import sqlite3
import unittest

import archives
from chancery import Chancery

TEXTS = ["evidence %d \u00e9\u4e16 \"quoted\" \\ <&>" % i for i in range(6)]


def lines(text):
    """The event lines by their numbers, and the checkpoints' sizes."""
    events, sizes = {}, []
    for line in text.splitlines():
        m = json.loads(line)
        if m["type"] == "checkpoint":
            sizes.append(m["size"])
        else:
            assert m["type"] == "event" and m["seq"] not in events, line
            events[m["seq"]] = m
    return events, sizes


class Evidence(unittest.TestCase):
    def start(self, c):
        for folder in ("xml", "tar"):
            (c.folder / "out" / folder).mkdir(parents=True)
            if os.geteuid() == 0:
                os.chown(c.folder / "out" / folder, 61005, 61005)
        c.adapters = archives.adapters(c.folder)
        c.init().add_users("ann")
        self.hall = c.add_room("Hall")
        c.start()
        self.ann = c.sign_in("ann")
        self.ann.join(self.hall)

    def batch(self, c, texts, names=("records", "vault")):
        for text in texts:
            self.assertEqual(self.ann.post(self.hall, text), 200)
        newest = c.journal.size() - 1
        for name in names:
            c.cli("adapter", "run", name)
            c.journal.wait(
                lambda j: any(a["adapter"] == name and
                              int(a["last"]) >= newest
                              for a in j.control("ack")), name, 60)

    def evidence(self, c, *paths, check=True):
        done = c.run("chancery-export", "evidence", *paths, check=False)
        if check and done.returncode != 0:
            raise AssertionError(done.stderr)
        return done

    def test_every_source_gives_the_same_bytes(self):
        with Chancery() as c:
            self.start(c)
            self.batch(c, TEXTS[:2])
            self.batch(c, TEXTS[2:4], ("vault",))
            self.batch(c, TEXTS[4:])
            xml, tar = c.folder / "out" / "xml", c.folder / "out" / "tar"
            live, sizes = lines(self.evidence(c, c.journal.path).stdout)
            self.assertEqual(sorted(live), list(range(len(live))))
            self.assertIn(TEXTS[5], [json.loads(e["parts"][1]["data"])["text"]
                                     for e in live.values() if e["kind"] == 3])
            self.assertEqual(sizes, sorted(set(sizes)))
            self.assertTrue(sizes)
            c.stop()
            whole = []
            for sources in ([xml], [tar], [tar, xml],
                            [tar, xml, c.journal.path]):
                done = self.evidence(c, *sources)
                found, sizes = lines(done.stdout)
                self.assertEqual(list(found), list(range(len(found))))
                self.assertTrue(sizes)
                for seq, event in found.items():
                    if seq in live:
                        self.assertEqual(event, live[seq])
                whole.append(len(found))
            self.assertEqual(whole[2], max(whole[:2]))
            self.assertEqual(whole[3], c.journal.size())
            # in a file, with the files in any order, a folder among them
            names = archives.files(xml, ".xml")[::-1] + [tar]
            self.evidence(c, "-o", c.folder / "lines", *names)
            self.assertEqual((c.folder / "lines").read_text(),
                             self.evidence(c, xml, tar).stdout)

    def test_gaps_and_bad_records_are_named(self):
        with Chancery() as c:
            self.start(c)
            self.batch(c, TEXTS[:2], ("vault",))
            self.batch(c, TEXTS[2:4], ("vault",))
            self.batch(c, TEXTS[4:], ("vault",))
            c.stop()
            first, *middle, last = archives.files(
                c.folder / "out" / "tar", ".tar.zst")
            acks = [a for a in c.journal.control("ack")
                    if a["adapter"] == "vault"]
            gap = (int(acks[1]["first"]), int(acks[-2]["last"]))
            done = self.evidence(c, last, first, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("records %d-%d are in none of the files" % gap,
                          done.stderr)
            found, _ = lines(done.stdout)
            self.assertNotIn(gap[0], list(found))
            self.assertIn(gap[1] + 1, list(found))

            copy = c.folder / "journal-copy.db"
            shutil.copy(c.journal.path, copy)
            db = sqlite3.connect(copy)
            post = c.journal.events("post")[1]["seq"]
            db.execute("DROP TRIGGER body_update")
            db.execute("UPDATE body SET data = CAST(replace(data, 'evidence',"
                       " 'evidenca') AS BLOB) WHERE id = ?", (post * 256 + 1,))
            db.commit()
            db.close()
            done = self.evidence(c, copy, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("%s: record %d: a part is not what the leaf commits "
                          "to" % (copy, post), done.stderr)
            self.assertNotIn(post, list(lines(done.stdout)[0]))
            # the archive has it
            done = self.evidence(c, copy, c.folder / "out" / "tar",
                                 check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(post, list(lines(done.stdout)[0]))

            raw = middle[0].read_bytes()
            middle[0].write_bytes(raw[:len(raw) // 2])
            done = self.evidence(c, first, *middle, last, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("%s: " % middle[0], done.stderr)
            self.assertIn(gap[1] + 1, list(lines(done.stdout)[0]))

    def test_no_evidence(self):
        with Chancery() as c:
            junk = pathlib.Path(c.folder / "junk.xml")
            junk.write_text('<?xml version="1.0"?>\n<Conversations/>\n')
            done = self.evidence(c, junk, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("there is no evidence in it", done.stderr)
            done = self.evidence(c, c.folder / "none", check=False)
            self.assertEqual(done.returncode, 3)
            self.assertEqual(self.evidence(c, check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main()
