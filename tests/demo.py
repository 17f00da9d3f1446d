#!/usr/bin/env python3
"""The main job of Chancery, end to end, on this machine.

usage: demo.py [--serve] [--keep]

Makes a state in a fresh folder, starts chanceryd with three adapters and a
real rsyslogd, lets SIP clients sign in, join, talk, read history and leave,
cuts a batch, shows the purge, exports a transcript, verifies journal and
archives, and flips one byte in a copy. Ends with a table of what held; the
exit status is 0 only if all of it did. --serve: only starts everything and
keeps it running until Ctrl-C, for a client of your own.
"""

import pathlib
import shutil
import signal
import socket
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))
sys.dont_write_bytecode = True

import archives  # noqa: E402
import sipe  # noqa: E402
from chancery import BUILD, DOMAIN, Chancery, Rsyslog  # noqa: E402

ROOM = "Trading floor"
SECRET = "Our price is 101.35, keep it to yourself"
USERS = ("join", "leave", "post", "history", "delivery", "room", "member",
         "user")
ADAPTERS = ("records", "vault", "siem")
ROWS = (
    "clients signed in with Digest and joined",
    "every post came back to its author and reached the other",
    "history showed what was said before",
    "two unmodified SIPE plugins did the same",
    "a user who is no member was refused, and told why",
    "each act was in the journal",
    "three archives have acknowledged the batch as stored",
    "the acknowledged texts are gone from the journal's files",
    "the archives hold them, tar and sha256sum agree",
    "the real rsyslogd has written every record",
    "a transcript was exported from the journal",
    "journal alone verifies",
    "journal and archives verify together",
    "the verifier names the flipped byte's place (journal)",
    "the verifier names the flipped byte's place (archive)",
)


class Demo:
    def __init__(self, chancery):
        self.c = chancery
        self.results = {}

    def held(self, row, ok, detail=""):
        self.results[ROWS[row]] = bool(ok)
        print("   %-4s %s%s" % ("yes" if ok else "NO", ROWS[row],
                                ": " + detail if detail else ""))

    @staticmethod
    def title(text):
        print("\n== " + text, flush=True)

    def prepare(self, ports=None):
        c = self.c
        self.title("A Chancery in %s" % c.folder)
        self.sink = Rsyslog(c.folder / "rsyslog")
        c.helpers.append(self.sink.start())
        c.adapters = archives.adapters(c.folder, self.sink.port)
        c.purge = 0
        c.ports.update(ports or {})
        c.init()
        print(c.conf.read_text().rstrip())
        print("verifier key: " + c.vkey)
        c.add_users("ann", "bob", "cid", "dee", "eve")
        self.floor = c.add_room(ROOM, description="Equities")
        self.board = c.add_room("Board", "closed",
                                ["ann"], "Members only")
        c.start()
        for role, pid in sorted(c.roles().items()):
            print("   %-16s pid %d" % (role, pid))
        # What the set-up left is archived first; the next batch is ours.
        self.cut()

    def cut(self):
        """A batch for each adapter, now; the acknowledgements of it."""
        newest = self.c.journal.leaves(kinds=USERS)[-1][0]
        for name in ADAPTERS:
            self.c.cli("adapter", "run", name)

        def stored(journal):
            return {a["adapter"]: a for a in journal.control("ack")
                    if a["state"] == "stored" and int(a["last"]) >= newest}

        self.c.journal.wait(lambda j: set(stored(j)) == set(ADAPTERS),
                            "not all archives have stored the batch", 60)
        return stored(self.c.journal)

    # ---- talk ----

    def clients_talk(self):
        c = self.c
        self.title("Two SIP/XCCOS clients, one over TCP and one over TLS")
        ann = c.sign_in("ann", transport="tcp", lookup=True)
        bob = c.sign_in("bob", transport="tls", algorithm="MD5")
        joined = [k.join(self.floor).code for k in (ann, bob)]
        self.held(0, joined == [200, 200], "SHA-256 over TCP, MD5 over TLS")
        lines = [(ann, "Good morning"), (bob, "Morning. What is the price?"),
                 (ann, SECRET), (bob, "Noted & <understood>")]
        for who, text in lines:
            if who.post(self.floor, text) != 200:
                raise AssertionError("a post was refused")
            for k in (ann, bob):
                k.wait_post(text)
            print("   %s: %s" % (who.user, text))
        texts = [text for _, text in lines]
        self.held(1, ann.posts() == texts and bob.posts() == texts)
        cid = c.sign_in("cid")
        cid.join(self.floor)
        history = [m[1] for m in cid.history(self.floor).messages()]
        self.held(2, history == texts, "%d messages" % len(history))
        refusal = bob.join(self.board)
        self.held(4, refusal.code == 403, '%d "%s"' % (
            refusal.code, refusal.text))
        bob.part(self.floor)
        ann.wait_event("part", bob.uri, self.floor)
        for k in (ann, bob, cid):
            k.sign_off()
        if c.faults():
            raise AssertionError("\n".join(c.faults()))
        self.texts = texts

    def plugins_talk(self):
        self.title("Two SIPE plugins (Pidgin's) under libpurple")
        if not sipe.available():
            self.held(3, False, "pidgin-sipe or the driver is not there")
            return
        print("   " + sipe.SHIM)
        dee, eve = (sipe.Sipe(self.c.folder, user,
                              ("127.0.0.1", self.c.ports[transport]),
                              transport)
                    for user, transport in (("dee", "tcp"), ("eve", "tls")))
        for plugin in (dee, eve):
            self.c.helpers.append(plugin)
            plugin.login()
            plugin.debug.wait("'rpl:getinv'")
        found = dee.rooms()
        for plugin in (dee, eve):
            plugin.join(found[ROOM]["uri"], ROOM)
        dee.expect("message", room=ROOM, text=self.texts[0])
        for speaker, listener, text in (
                (dee, eve, "Pidgin calling"), (eve, dee, "Loud and clear")):
            speaker.say(ROOM, text)
            listener.expect("message", room=ROOM, who=speaker.uri, text=text)
            speaker.expect("message", room=ROOM, who=speaker.uri, text=text)
            print("   %s: %s" % (speaker.user, text))
            self.texts.append(text)
        eve.part(ROOM)
        dee.expect("exit", room=ROOM, who=eve.uri)
        for plugin in (dee, eve):
            plugin.logout()
        self.held(3, True)

    def journal_has_it(self):
        self.title("The journal")
        journal = self.c.journal
        journal.wait(lambda j: len(j.events("leave")) ==
                     len(j.events("join")), "leaves")
        kinds = {}
        for _, kind, _, _ in journal.leaves():
            kinds[kind] = kinds.get(kind, 0) + 1
        for kind, count in sorted(kinds.items()):
            print("   %-10s %d" % (kind, count))
        self.held(5, journal.posts() == self.texts and
                  kinds["history"] >= 1 and kinds["delivery"] >= 1)

    # ---- archives ----

    def archive(self):
        c = self.c
        self.title("Export for people, before anything is purged")
        transcript = c.folder / "transcript.txt"
        done = c.export("--format", "text", "--room", ROOM, "-o", transcript)
        text = transcript.read_text("utf-8")
        print("\n".join("   " + line for line in text.splitlines()[:40]))
        print("   " + done.stderr.strip())
        self.held(10, all(t in text for t in (self.texts[0], SECRET)))
        self.title("A batch for each adapter, now")
        for name, ack in sorted(self.cut().items()):
            print("   %-8s records %s-%s in %s, read back: %s" % (
                name, ack["first"], ack["last"], ack["location"],
                ack["readback"]))
        self.held(6, True)

    def purge(self):
        c = self.c
        self.title("The purge")
        c.journal.wait(lambda j: not j.posts(), "texts stay", 60)
        for record in c.journal.control("purge"):
            print("   record %d: purge of %s-%s, %s bodies, acknowledged by "
                  "%s" % (record["seq"], record["first"], record["last"],
                          record["count"], record["acks"]))
        left = [path.name for path in c.journal.path.parent.iterdir()
                if path.is_file() and SECRET.encode() in path.read_bytes()]
        self.held(7, not left, "searched in every file" if not left
                  else "still in %s" % left)

    def archives_hold(self):
        c = self.c
        self.title("What the archives hold")
        records = {}
        for path in archives.files(c.folder / "out/xml", ".xml"):
            records.update(archives.xml_records(path))
            print("   " + str(path.relative_to(c.folder)))
        unpacked = b""
        for n, path in enumerate(archives.files(c.folder / "out/tar",
                                                ".tar.zst")):
            print("   " + str(path.relative_to(c.folder)))
            bag = archives.unpack(path, c.folder / ("bag%d" % n))
            unpacked += b"".join(p.read_bytes() for p in bag.rglob("*")
                                 if p.is_file())
        self.held(8, archives.texts(records) == self.texts and
                  SECRET.encode() in unpacked)
        seqs = set(self.sink.seqs(records))
        lines = self.sink.lines()
        print("   " + next(line for line in lines if SECRET in line)[:150])
        self.held(9, set(records) <= seqs, "%d lines" % len(lines))

    # ---- audit ----

    def audit(self):
        c = self.c
        self.title("The auditor, with the daemon stopped")
        c.stop()
        paths = [c.journal.path, c.folder / "out/xml", c.folder / "out/tar"]
        alone = c.verify(paths[0], check=False)
        self.held(11, alone.returncode == 0)
        whole = c.verify(*paths, check=False)
        print("\n".join("   " + ln for ln in whole.stdout.splitlines()
                        if ln[:1].strip() or "note:" in ln or "FAIL" in ln))
        self.held(12, whole.returncode == 0)
        copy = c.folder / "altered-journal.db"
        shutil.copy(paths[0], copy)
        self.flip(13, copy, b"leaf/1 7 ")
        archive = next(p for p in archives.files(paths[1], ".xml")
                       if 7 in archives.xml_records(p))
        copy = c.folder / ("altered-" + archive.name)
        shutil.copy(archive, copy)
        self.flip(14, copy, b' seq="7" kind="')

    def flip(self, row, path, pattern):
        data = bytearray(path.read_bytes())
        at = data.index(pattern) + len(pattern)
        data[at] ^= 1
        path.write_bytes(data)
        done = self.c.verify(path, check=False)
        said = [ln for ln in (done.stdout + done.stderr).splitlines()
                if path.name in ln or " 7" in ln]
        print("   byte %d of %s flipped; exit %d" % (
            at, path.name, done.returncode))
        print("\n".join("      " + ln for ln in said[:4]))
        self.held(row, done.returncode == 1 and said)

    def table(self, seconds):
        self.title("What held")
        for row in ROWS:
            verdict = {True: "yes", False: "NO", None: "not reached"}[
                self.results.get(row)]
            print("   %-60s %s" % (row, verdict))
        held = sum(map(bool, self.results.values()))
        print("\n%d of %d held, %.0f s" % (held, len(ROWS), seconds))
        return held == len(ROWS)


def pidgin(c):
    """How a person gets in."""
    print("""
== Your own Pidgin
   make demo-server keeps a Chancery running; then in Pidgin with the
   package pidgin-sipe: protocol "Office Communicator", user name
   ann@%s, password ann-secret; Advanced: server 127.0.0.1:%d,
   connection type TCP (or 127.0.0.1:%d, SSL/TLS). Tools > Room List, or
   Buddies > Join a Chat.
   Debian 12: its libxml2 never calls the plugin's XML callbacks, so group
   chat stays dark whatever the server does. Start Pidgin with the same
   workaround that the tests use:
     gcc -shared -fPIC -D_GNU_SOURCE $(pkg-config --cflags libxml-2.0) \\
         -o sipe-shim.so tests/sipe/shim.c -ldl
     LD_PRELOAD=$PWD/sipe-shim.so pidgin""" % (
        DOMAIN, c.ports.get("tcp", 5060), c.ports.get("tls", 5061)))


def free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def serve():
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    usual = {"tcp": 5060, "tls": 5061}
    with Chancery(transports=("tcp", "tls")) as c:
        demo = Demo(c)
        demo.prepare({t: p for t, p in usual.items() if free(p)})
        pidgin(c)
        print("""
   users: ann, bob, cid, dee, eve (password: the name and -secret)
   %s -f %s status
   Ctrl-C ends it and removes the folder.""" % (BUILD / "chancery", c.conf),
              flush=True)
        stop.wait()
    return 0


def main():
    if set(sys.argv[1:]) - {"--serve", "--keep"}:
        print(__doc__, file=sys.stderr)
        return 2
    if "--serve" in sys.argv:
        return serve()
    start = time.monotonic()
    with Chancery(transports=("tcp", "tls")) as c:
        c.keep = "--keep" in sys.argv
        demo = Demo(c)
        try:
            demo.prepare()
            demo.clients_talk()
            demo.plugins_talk()
            demo.journal_has_it()
            demo.archive()
            demo.purge()
            demo.archives_hold()
            demo.audit()
        except (AssertionError, OSError, TimeoutError, StopIteration,
                ValueError, KeyError) as error:
            print("\nfailed: %s: %s" % (type(error).__name__, error))
            c.keep = True
        all_held = demo.table(time.monotonic() - start)
        c.keep |= not all_held
    pidgin(c)
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main())
