"""Lost, rolled back and cloned states: refused with the next step, then mended."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import unittest

import archives
from chancery import ROOT, Chancery, program, wait_until

FIRST = ["before the copy %d" % i for i in range(8)]
LATER = ["after the copy %d" % i for i in range(8)]


def digest(folder):
    """What is in the databases of a folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.iterdir())
            if p.stat().st_size > 0 and p.suffix != ".db-shm"}


class Case(unittest.TestCase):
    def start(self, c):
        for folder in ("xml", "tar"):
            (c.folder / "out" / folder).mkdir(parents=True)
            if os.geteuid() == 0:
                os.chown(c.folder / "out" / folder, 61005, 61005)
        c.adapters = archives.adapters(c.folder, required=False)
        c.init().add_users("ann", "bob")
        self.hall = c.add_room("Hall", members=("ann", "bob"))
        c.start()

    def talk(self, c, texts, leave=True):
        ann = c.sign_in("ann")
        ann.join(self.hall)
        for text in texts:
            self.assertEqual(ann.post(self.hall, text), 200)
        if leave:
            ann.sign_off()
            n = len(c.journal.events("join"))
            c.journal.wait(lambda j: len(j.events("leave")) >= n, "leave")
        return ann

    def archive(self, c):
        newest = c.journal.events()[-1]["seq"]
        for name in ("records", "vault"):
            c.cli("adapter", "run", name)
            c.journal.wait(
                lambda j: any(a["adapter"] == name and
                              int(a["last"]) >= newest
                              for a in j.control("ack")), name, 60)

    def signed(self, c):
        """The newest checkpoint, kept by somebody outside."""
        def whole(j):
            with j.open() as db:
                size, note = db.execute(
                    "SELECT size, note FROM head").fetchone()
            return note and int(note.split(b"\n")[1]) == size and note

        note = c.journal.wait(whole, "the last records are not signed")
        path = c.folder / ("note-%d" % int(note.split(b"\n")[1]))
        path.write_bytes(note)
        return path

    def copy(self, c, name="copy.db"):
        """A copy as a backup makes it."""
        path = c.folder / name
        with c.journal.open() as db:
            db.execute("VACUUM INTO ?", (str(path),))
        return path

    def put(self, c, path):
        """Puts a copy in the place of the journal; gives the old one."""
        old = c.folder / "newer" / "journal.db"
        old.parent.mkdir()
        st = c.journal.path.stat()
        for suffix in ("", "-wal", "-shm"):
            name = c.journal.path.with_name("journal.db" + suffix)
            if name.exists():
                shutil.move(name, old.with_name("journal.db" + suffix))
        shutil.copy(path, c.journal.path)
        os.chown(c.journal.path, st.st_uid, st.st_gid)
        os.chmod(c.journal.path, st.st_mode & 0o777)
        return old

    def refuses(self, c, reason, step):
        """The daemon runs, records nothing, and says why and what next."""
        size = c.journal.size()
        c.start()
        line = c.log.wait(reason)
        self.assertRegex(line, step)
        status = c.cli_json("status")
        self.assertFalse(status["keeper"]["writable"])
        # In full: the next step comes last.
        self.assertTrue(line.endswith(status["keeper"]["why"]), line)
        self.assertTrue(line.endswith(status["server"]["why"]), line)
        ann = c.sign_in("ann")
        reply = ann.join(self.hall)
        self.assertEqual(reply.code, 500)
        self.assertNotIn(str(c.folder), reply.text)     # not for clients
        self.assertEqual(ann.history(self.hall).code, 500)
        self.assertGreaterEqual(ann.post(self.hall, "must not be said"), 400)
        ann.drop()
        c.stop()
        self.assertEqual(c.journal.size(), size)

    def refuses_live(self, c, ann, swap, reason):
        """The same when the keeper finds it while people chat."""
        seen = len(c.log.lines)
        keeper = c.roles()["keeper"]
        os.kill(c.daemon.pid, signal.SIGSTOP)
        try:
            os.kill(keeper, signal.SIGKILL)
            swap()
        finally:
            os.kill(c.daemon.pid, signal.SIGCONT)
        c.log.wait(reason, since=seen)
        size = c.journal.size()
        post = ann.post_start(self.hall, "must not be said").wait()
        self.assertEqual(post.status, 503)
        self.assertTrue(post.get("Retry-After").isdigit())
        self.assertEqual(c.journal.size(), size)

    def recover(self, c, *args, sources=(), check=True):
        """CompletedProcess of chancery recover, fed with the sources."""
        evidence = None
        command = [program("chancery"), "-f", str(c.conf), "recover", *args]
        if sources:
            evidence = subprocess.Popen(
                [program("chancery-export"), "evidence",
                 *map(str, sources)], stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL)
            command += ["--from", "-"]
        done = subprocess.run(
            command, text=True, capture_output=True, timeout=120,
            stdin=evidence.stdout if evidence else subprocess.DEVNULL)
        if evidence:
            evidence.stdout.close()
            evidence.wait(60)
        if check and done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        return done

    def goes_on(self, c, *texts):
        """Chat goes on, and its history is that of the journal."""
        c.start()
        bob = c.sign_in("bob")
        bob.join(self.hall)
        self.assertEqual(bob.post(self.hall, "it goes on"), 200)
        shown = self.history(bob)
        bob.sign_off()
        self.assertEqual(c.journal.posts()[-1], "it goes on")
        self.assertEqual(shown[-1 - len(texts):], [*texts, "it goes on"])
        return shown

    def history(self, client):
        return [text for _, text, _ in
                client.history(self.hall, 100).messages()]


class Lossless(Case):
    def test_a_copy_is_completed_from_archives_and_the_newer_file(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            copy = self.copy(c)
            held = sqlite3.connect(copy).execute(
                "SELECT size FROM head").fetchone()[0]
            self.talk(c, LATER[:4])
            self.archive(c)
            self.talk(c, LATER[4:])
            outside = self.signed(c)
            c.stop()
            signed = c.journal.size()
            newer = self.put(c, copy)
            self.refuses(
                c, r"journal\.db holds %d records, but the signer signed %d: "
                r"records are missing" % (held, signed),
                r"chancery recover --from")
            tar = c.folder / "out" / "tar"

            # the archives alone do not reach the end: nothing is changed
            before = digest(c.journal.path.parent)
            done = self.recover(c, sources=[tar], check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, r"record \d+ is in none of the "
                             r"sources; %d records were signed\. Nothing was "
                             r"changed\. Next: " % signed)
            self.assertEqual(digest(c.journal.path.parent), before)

            done = self.recover(c, "--json", sources=[tar, newer])
            self.assertEqual(json.loads(done.stdout), {
                "recovered": signed - held, "size": signed,
                "signed": signed, "unclosed": 0})
            c.journal.check()
            self.assertEqual(c.journal.posts(), FIRST + LATER)
            self.goes_on(c, *FIRST[-2:], *LATER)
            self.archive(c)
            c.stop()
            done = c.verify("--checkpoint", outside, c.journal.path, tar,
                            c.folder / "out" / "xml")
            self.assertIn("holds", done.stdout)

    def test_a_copy_put_back_under_a_running_server(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            copy = self.copy(c)
            ann = self.talk(c, LATER, leave=False)
            self.signed(c)
            self.refuses_live(c, ann, lambda: self.put(c, copy),
                              "but the signer signed")
            done = self.recover(c, sources=[copy], check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, r"state/lock: chanceryd uses this "
                             r"state, .*Next: stop it first")
            ann.drop()
            c.stop()
            self.recover(c, sources=[c.folder / "newer" / "journal.db"])
            self.goes_on(c, *LATER)
            c.stop()
            self.assertIn("holds", c.verify().stdout)

    def test_a_journal_made_of_its_archives(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            self.archive(c)
            c.stop()
            signed = c.journal.size()
            files = sorted(c.journal.path.parent.iterdir())
            st = c.journal.path.stat()
            aside = c.folder / "newer"
            aside.mkdir()
            for path in files:
                shutil.move(path, aside)
            # damaged, but all of it can still be read
            db = sqlite3.connect(aside / "journal.db")
            db.execute("DROP TRIGGER head_update")
            db.execute("UPDATE head SET root = zeroblob(32)")
            db.commit()
            db.close()
            shutil.copy(aside / "journal.db", c.journal.path)
            done = self.recover(c, sources=[aside], check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, "altered or damaged.*Next: move "
                             "the file aside")
            c.journal.path.unlink()
            self.recover(c, sources=[aside, c.folder / "out"])
            self.assertEqual(c.journal.check(), signed)
            now = c.journal.path.stat()
            self.assertEqual((now.st_uid, now.st_gid, now.st_mode),
                             (st.st_uid, st.st_gid, st.st_mode))
            self.goes_on(c, *FIRST)
            c.stop()
            self.assertIn("holds", c.verify().stdout)

    def test_a_second_daemon_is_refused(self):
        with Chancery() as c:
            self.start(c)
            done = c.run("chanceryd", "-f", c.conf, check=False)
            self.assertEqual(done.returncode, 3)
            self.assertRegex(done.stderr, "state/lock: another chanceryd or "
                             "chancery uses this state")
            self.talk(c, FIRST)


class Incarnation(Case):
    def second(self, c, keys, files):
        """Status and words of the verifier in Python."""
        words = [word for key in keys for word in ("--key", key)]
        done = subprocess.run(
            [sys.executable, str(ROOT / "export" / "chancery-verify.py"),
             *words, *map(str, files)], text=True, capture_output=True,
            timeout=120)
        return done.returncode, done.stdout + done.stderr

    def applied(self, c, size):
        """Waits until the chat store has so many records of the journal."""
        uri = "file:%s?mode=ro" % (c.state / "chat" / "chat.db")

        def has():
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                found, = db.execute("SELECT applied FROM position").fetchone()
            return found >= size
        wait_until(has, "the chat store stays behind")

    def cut(self, c, ann):
        """kill -9, and half of the WAL is gone; gives what was signed."""
        wal = c.journal.path.with_name("journal.db-wal")
        self.signed(c)
        self.applied(c, c.journal.events()[-1]["seq"] + 1)
        ann.drop()
        c.kill()
        size = wal.stat().st_size
        self.assertGreater(size, 0)
        os.truncate(wal, size // 2)
        state = (c.state / "signer" / "state").read_text().split("\n")
        return int(state[1])

    def test_the_chat_store_has_more(self):
        """Journal and signer agree: both were put back, but not chat.db."""
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            self.signed(c)
            c.stop()
            copy, signer = self.copy(c), c.state / "signer"
            shutil.copytree(signer, c.folder / "signer")
            held = c.journal.size()
            c.start()
            self.talk(c, LATER)
            c.stop()
            self.put(c, copy)
            for path in signer.iterdir():
                old = c.folder / "signer" / path.name
                if old.exists():
                    path.write_bytes(old.read_bytes())
                else:
                    path.unlink()
            self.refuses(c, r"journal\.db holds %d records, but the chat store "
                         r"has those up to \d+: records are missing" % held,
                         "--from, or .* --new-incarnation --reason signer")
            told = json.loads(self.recover(
                c, "--json", "--new-incarnation", "--reason",
                "signer").stdout)
            self.assertEqual((told["size"], told["messages"]),
                             (held, len(LATER)))
            self.assertEqual(self.goes_on(c), [*FIRST, "it goes on"])
            c.stop()
            c.journal.check()

    def test_a_cut_log_is_declared(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            self.archive(c)
            ann = self.talk(c, LATER, leave=False)
            outside = self.signed(c)
            signed = self.cut(c, ann)
            held = c.journal.size()
            self.assertLess(held, signed)
            self.refuses(c, r"holds %d records, but the signer signed %d"
                         % (held, signed), "chancery recover")
            for status, *wrong in (
                    (1, "--reason", "fork"), (1, "--reason", "signer"),
                    (2, "--reason", "other"), (2,), (2, "--from", "-")):
                done = self.recover(c, "--new-incarnation", *wrong,
                                    check=False)
                self.assertEqual(done.returncode, status, done.stderr)
            tar = c.folder / "out" / "tar"
            told = json.loads(self.recover(
                c, "--json", "--new-incarnation", "--reason", "lost",
                sources=[tar]).stdout)
            held += told["recovered"]
            self.assertEqual((told["size"], told["signed"], told["lost"]),
                             (held, signed, signed - held))
            kept = [t for t in FIRST + LATER if t in c.journal.posts()]
            self.assertEqual(told["messages"], 16 - len(kept))
            record = c.journal.control("recover")[0]
            self.assertEqual(
                {k: record[k] for k in ("seq", "old", "size", "origin",
                                        "vkey", "reason", "by")},
                {"seq": held, "old": told["old"], "size": str(signed),
                 "origin": told["origin"], "vkey": told["vkey"],
                 "reason": "lost", "by": "uid:%d" % os.getuid()})
            self.assertTrue(pathlib.Path(told["kept"], "state").exists())
            shown = self.goes_on(c)
            self.assertEqual(shown, [*kept, "it goes on"])
            self.archive(c)
            c.stop()
            c.journal.check()
            gap = "records %d-%d are lost" % (held, signed - 1)
            everything = ["--checkpoint", outside, c.journal.path, tar,
                          c.folder / "out" / "xml"]

            # the key of the new name was announced under the old one
            done = c.verify(*everything)
            self.assertIn("gap, declared by record %d (reason lost" % held,
                          done.stdout)
            self.assertIn(gap, done.stdout)
            self.assertIn("%s: covers records %d-%d of %s, which record %d "
                          "declares lost" % (
                              outside, held,
                              int(outside.name.split("-")[1]) - 1,
                              told["old"], held), done.stdout)
            files = [c.journal.path, *archives.files(tar, ".tar.zst"),
                     *archives.files(c.folder / "out" / "xml", ".xml")]
            for keys in ([c.vkey], [c.vkey, told["vkey"]], []):
                for more in [], ["--checkpoint", outside]:
                    status, said = self.second(c, keys, [*more, *files])
                    self.assertEqual(status, 0, said)
                    self.assertIn("gap, declared", said)
            # without any key, too, it tells of the gap
            c.vkey = None
            self.assertIn(gap, c.verify().stdout)

    def test_a_removed_log_comes_back_as_far_as_it_was_archived(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            c.restart()
            ann = self.talk(c, LATER, leave=False)
            self.signed(c)
            self.archive(c)
            self.signed(c)
            ann.drop()
            c.kill()
            for suffix in ("-wal", "-shm"):
                os.unlink(str(c.journal.path) + suffix)
            held = c.journal.size()
            self.assertEqual(c.journal.posts(), FIRST)
            self.refuses(c, "records are missing", "chancery recover")
            told = json.loads(self.recover(
                c, "--json", "--new-incarnation", "--reason", "lost",
                sources=[c.folder / "out" / "tar",
                         c.folder / "out" / "xml"]).stdout)
            self.assertEqual(told["size"], held + told["recovered"])
            self.assertGreater(told["lost"], 0)
            self.assertEqual(c.journal.posts(), FIRST + LATER)
            self.goes_on(c, *LATER)
            self.archive(c)
            c.stop()
            done = c.verify("--key", told["vkey"], c.journal.path,
                            c.folder / "out")
            self.assertIn("%d-%d are lost" % (told["size"],
                                              told["signed"] - 1),
                          done.stdout)

    def test_what_lost_records_made_is_recorded_again(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            copy = self.copy(c)
            c.add_users("carl")
            annex = c.add_room("Annex", "closed", ("carl",))
            self.talk(c, LATER)
            c.stop()
            self.put(c, copy)
            told = json.loads(self.recover(
                c, "--json", "--new-incarnation", "--reason",
                "lost").stdout)
            self.assertEqual((told["recovered"], told["messages"],
                              told["again"]), (0, len(LATER), 3))
            self.goes_on(c, *FIRST)
            new = c.journal.events(since=told["size"])
            by = "uid:%d" % os.getuid()
            self.assertEqual(
                [(e["kind"], e.get("user"), e.get("room"), e["by"])
                 for e in new if e["kind"] in ("user", "room", "member")],
                [("user", "sip:carl@example.test", None, by),
                 ("room", None, annex, by),
                 ("member", "sip:carl@example.test", annex, by)])
            carl = c.sign_in("carl")
            self.assertEqual(carl.join(annex).code, 200)
            self.assertEqual(carl.post(annex, "still a member"), 200)

    def test_a_fork_is_declared(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            c.stop()
            subprocess.run(["cp", "-a", c.state, c.folder / "clone"],
                           check=True, timeout=60)
            c.start()
            self.talk(c, ["the original says this"])
            outside = self.signed(c)
            c.stop()
            # the clone says something else, and more of it
            os.rename(c.state, c.folder / "original")
            os.rename(c.folder / "clone", c.state)
            c.start()
            more = ["the clone says that %d" % i for i in range(20)]
            self.talk(c, more)
            c.stop()
            shutil.rmtree(c.state / "signer")
            os.rename(c.folder / "original" / "signer", c.state / "signer")
            self.refuses(c, "one history was replaced by another .fork.",
                         "--reason fork")
            done = self.recover(c, sources=[c.journal.path], check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, "(does not give the root that was "
                             "signed|of another history).*--reason fork")
            for wrong in ("lost", "fork"):
                done = self.recover(
                    c, "--new-incarnation", "--reason", wrong,
                    sources=[c.folder / "original" / "journal"]
                    if wrong == "fork" else (), check=False)
                self.assertEqual(done.returncode, 1, done.stderr)
            told = json.loads(self.recover(
                c, "--json", "--new-incarnation", "--reason",
                "fork").stdout)
            self.assertEqual(told["lost"], 0)
            self.goes_on(c, *more)
            c.stop()
            c.vkey = told["vkey"], c.vkey
            keys = ["--key", c.vkey[0], "--key", c.vkey[1]]
            c.vkey = None
            self.assertIn("other records were signed as " + told["old"],
                          c.verify(*keys, c.journal.path).stdout)
            # who holds what the other history signed finds it declared
            done = c.verify(*keys, "--checkpoint", outside, c.journal.path)
            self.assertIn("of another history, as record", done.stdout)

    def test_an_interrupted_change_of_names_goes_on(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            c.stop()
            old = c.vkey.split("+")[0]
            blocked = c.state / ("signer.old-" + old[-8:]) / "x"
            blocked.mkdir(parents=True)
            size = c.journal.size()
            done = self.recover(c, "--new-incarnation", "--reason",
                                "compromise", check=False)
            self.assertEqual(done.returncode, 3)
            self.assertIn("call this command again", done.stderr)
            self.assertEqual(c.journal.size(), size + 1)
            self.refuses(c, "another key|belongs to the key|the signer has",
                         "together")
            shutil.rmtree(blocked.parent)
            told = json.loads(self.recover(
                c, "--json", "--new-incarnation", "--reason",
                "compromise").stdout)
            self.assertEqual(told["old"], old)
            self.assertEqual(len(c.journal.control("recover")), 1)
            self.assertTrue((blocked.parent / "state").exists())
            self.goes_on(c, *FIRST)
            c.stop()
            done = c.verify(check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("nobody announced the key of the new name",
                          done.stdout)
            status, said = self.second(c, [c.vkey], [c.journal.path])
            self.assertEqual(status, 1)
            self.assertIn("none was given for a new name", said)
            done = c.verify("--key", told["vkey"], c.journal.path)
            self.assertIn("no record is known to be lost", done.stdout)
            status, said = self.second(c, [c.vkey, told["vkey"]],
                                       [c.journal.path])
            self.assertEqual(status, 0, said)

    def test_a_journal_of_two_names_is_made_anew(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            self.archive(c)
            c.stop()
            told = json.loads(self.recover(
                c, "--json", "--new-incarnation", "--reason",
                "compromise").stdout)
            c.start()
            self.talk(c, LATER)
            self.archive(c)
            c.stop()
            size = c.journal.size()
            aside = c.folder / "aside"
            aside.mkdir()
            for path in sorted(c.journal.path.parent.iterdir()):
                shutil.move(path, aside)
            again = json.loads(self.recover(
                c, "--json", sources=[aside, c.folder / "out"]).stdout)
            self.assertEqual((again["recovered"], again["unclosed"]),
                             (size, 0))
            self.goes_on(c, *LATER)
            c.stop()
            done = c.verify("--key", told["vkey"], c.journal.path,
                            c.folder / "out" / "tar")
            self.assertIn("no record is known to be lost", done.stdout)


class Signer(Case):
    def test_a_missing_state_is_made_of_a_checkpoint(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            old = self.signed(c)
            self.talk(c, LATER)
            newest = self.signed(c)
            c.stop()
            state = c.state / "signer" / "state"
            st = state.stat()
            before = state.read_text()
            done = self.recover(c, "--signer-state", old, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("it is there", done.stderr)
            state.unlink()
            self.refuses(c, r"signer/state: No such file", "chancery recover "
                         "--signer-state NOTE")
            done = self.recover(c, sources=[c.journal.path], check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("Next: put it back", done.stderr)
            forged = c.folder / "forged"
            text = newest.read_text()
            forged.write_text(text.replace("\u2014 ", "\u2014 x"))
            done = self.recover(c, "--signer-state", forged, check=False)
            self.assertEqual(done.returncode, 1)
            # the journal has a newer one than the old checkpoint
            self.recover(c, "--signer-state", old)
            self.assertEqual(state.read_text(), before)
            self.assertEqual((state.stat().st_uid, state.stat().st_mode),
                             (st.st_uid, st.st_mode))
            self.goes_on(c, *LATER)
            c.stop()
            self.assertIn("holds", c.verify(
                "--checkpoint", newest, c.journal.path).stdout)

    def test_a_lost_signer_is_replaced(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            outside = self.signed(c)
            c.stop()
            shutil.rmtree(c.state / "signer")
            (c.state / "signer").mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(c.state / "signer", 61003, 61003)
            self.refuses(c, "signer/key: No such file", "--reason signer")
            done = self.recover(c, "--signer-state", outside, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--reason signer", done.stderr)
            told = json.loads(self.recover(
                c, "--json", "--new-incarnation", "--reason", "signer",
                "--checkpoint", outside).stdout)
            self.assertEqual(told["lost"], 0)
            self.goes_on(c, *FIRST)
            c.stop()
            done = c.verify("--key", told["vkey"], "--checkpoint", outside,
                            c.journal.path)
            self.assertIn("no record is known to be lost", done.stdout)

    def test_a_state_of_another_machine_is_refused(self):
        with Chancery() as c:
            self.start(c)
            self.talk(c, FIRST)
            c.stop()
            done = self.recover(c, "--moved", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("it is of this machine", done.stderr)
            # as it looks when the folder was copied from elsewhere
            state = c.state / "signer" / "state"
            here = state.read_text()
            lines = here.split("\n")
            self.assertRegex(lines[3], "^machine ([0-9a-f]{64}|-)$")
            lines[3] = "machine " + hashlib.sha256(b"another").hexdigest()
            state.write_text("\n".join(lines))
            self.refuses(c, "the signer's folder is of another machine",
                         "chancery recover --moved")
            told = json.loads(self.recover(c, "--json", "--moved").stdout)
            self.assertEqual(told, {"signed": int(lines[1])})
            self.assertEqual(state.read_text(), here)
            self.goes_on(c, *FIRST)
            c.stop()
            self.assertIn("holds", c.verify().stdout)


if __name__ == "__main__":
    unittest.main()
