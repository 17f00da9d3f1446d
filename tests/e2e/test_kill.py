"""kill -9 of every role, again and again, under load.

CHANCERY_ROUNDS (50) and CHANCERY_SEED change the run; both are printed.
"""

import collections
import os
import random
import signal
import sys
import unittest

import archives
from chancery import Chancery, Rsyslog, alive, wait_until
from load import Load

ROUNDS = int(os.environ.get("CHANCERY_ROUNDS", "50"))
SEED = int(os.environ.get("CHANCERY_SEED", "20261122"))
ROLES = ("server", "keeper", "signer", "engine", "adapter:xml",
         "adapter:tarball", "adapter:syslog")
USERS = ["u%d" % i for i in range(6)]


def say(text):
    print("# " + text, file=sys.stderr, flush=True)


class Kill(unittest.TestCase):
    def test_kill_each_role_at_random(self):
        say("seed %d, %d rounds" % (SEED, ROUNDS))
        with Chancery() as c:
            sink = Rsyslog(c.folder / "rsyslog")
            c.helpers.append(sink.start())
            c.adapters = archives.adapters(c.folder, sink.port, interval=1)
            c.purge = -1
            c.init().add_users(*USERS)
            rooms = [c.add_room("Room %d" % i) for i in range(2)]
            c.start()
            load = Load(c, USERS, rooms).start()
            killed = self.rounds(c, load, random.Random(SEED))
            say("killed: %s" % dict(killed))
            load.finish()
            if killed["server"]:    # what it had refused nobody can tell
                c.journal.wait(self.unknown, "no record of a lost server")
            for name in ("records", "vault", "siem"):
                c.cli("adapter", "run", name)
            self.check_posts(c, load)
            self.check_archives(c, sink)
            self.assertEqual(c.faults(), [])
            c.stop()
            self.check_offline(c)

    @staticmethod
    def unknown(journal):
        """Times of which the refusals of a server are not known."""
        return [i for i in journal.control("incident")
                if i["what"] == "server"]

    def rounds(self, c, load, chance):
        killed = collections.Counter()
        for number in range(ROUNDS):
            role = chance.choice(ROLES)
            # The moment of the kill is the experiment.
            load.posters[0].stopping.wait(chance.uniform(0, 0.2))
            old = wait_until(lambda: c.roles().get(role),
                             "%s does not run" % role)
            say("round %d: kill -9 %s (%d)" % (number + 1, role, old))
            os.kill(old, signal.SIGKILL)
            killed[role] += 1
            wait_until(lambda: not alive(old), "%d stays" % old)
            wait_until(lambda: c.roles().get(role, old) != old,
                       "%s is not started again" % role)
            load.progress(2)
        return killed

    def check_posts(self, c, load):
        outcomes = load.outcomes()
        recorded = collections.Counter(c.journal.posts())
        statuses = collections.Counter(outcomes.values())
        say("posts by status: %s; journal: %d" % (
            dict(statuses), sum(recorded.values())))
        self.assertGreaterEqual(statuses[200], ROUNDS * len(USERS))
        self.assertLessEqual(set(statuses), {200, 503, 403, 0})
        self.assertEqual([t for t, n in recorded.items() if n != 1], [])
        missing = [t for t, s in outcomes.items()
                   if s == 200 and not recorded[t]]
        self.assertEqual(missing, [])
        refused = [t for t, s in outcomes.items()
                   if s in (503, 403) and recorded[t]]
        self.assertEqual(refused, [])
        self.assertEqual(set(recorded) - set(outcomes), set())

    def check_archives(self, c, sink):
        """All up to the last post, each batch once, repeats told apart."""
        last = c.journal.events("post")[-1]["seq"]
        for name in ("records", "vault", "siem"):
            c.journal.wait(
                lambda j: self.stored_to(j, name) >= last,
                "%s has not stored everything" % name, timeout=60)
        records = {}
        for path in archives.files(c.folder / "out/xml", ".xml"):
            batch = archives.xml_records(path)
            self.assertFalse(set(records) & set(batch), path)
            records.update(batch)
        self.assertEqual(set(range(last + 1)) - set(records), set())
        self.assertTrue(archives.texts(records) == c.journal.posts(),
                        "the archives' texts are not the journal's")
        batches = [b for b in c.journal.control("ack")
                   if b["adapter"] == "vault" and b["state"] == "stored"]
        self.assertEqual(
            len({b["batch"] for b in batches}),
            len(archives.files(c.folder / "out/tar", ".tar.zst")))
        seqs = sink.seqs(range(last + 1))
        say("syslog: %d lines, %d events" % (len(seqs), len(set(seqs))))

    @staticmethod
    def stored_to(journal, adapter):
        """The highest sequence number up to which all is stored."""
        done = -1
        for ack in journal.control("ack"):
            if ack["adapter"] == adapter and ack["state"] == "stored" and \
                    int(ack["first"]) <= done + 1:
                done = max(done, int(ack["last"]))
        return done

    def check_offline(self, c):
        c.journal.check()
        c.verify(c.journal.path, c.folder / "out/xml", c.folder / "out/tar")
        # What was stored may go now; then all must hold as before.
        c.purge = 0
        c.write_conf()
        before = self.unknown(c.journal)
        c.start()
        c.journal.wait(lambda j: j.control("purge"), "no purge", 60)
        c.stop()
        self.assertEqual(self.unknown(c.journal), before)
        c.journal.check()
        c.verify(c.journal.path, c.folder / "out/xml", c.folder / "out/tar")

    def test_kill_the_parent(self):
        with Chancery() as c:
            c.init().add_users(*USERS)
            rooms = [c.add_room("Room %d" % i) for i in range(2)]
            c.start()
            load = Load(c, USERS, rooms).start()
            for _ in range(3):
                c.kill()
                c.start()
                load.progress(3)
            load.finish()
            self.check_posts_after_parent(c, load)
            c.stop()
            c.journal.check()
            c.verify()

    def check_posts_after_parent(self, c, load):
        recorded = collections.Counter(c.journal.posts())
        self.assertEqual([t for t, n in recorded.items() if n != 1], [])
        self.assertEqual([t for t, s in load.outcomes().items()
                          if s == 200 and not recorded[t]], [])
        joins = {j["seq"] for j in c.journal.events("join")}
        left = [e["joined"] for e in c.journal.events("leave")]
        self.assertEqual(len(left), len(set(left)))
        self.assertEqual(set(left) - joins, set())
        self.assertEqual(c.faults(), [])


if __name__ == "__main__":
    unittest.main()
