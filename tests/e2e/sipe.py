"""Two hands for tests/sipe: starts the driver, gives commands, awaits events."""

import itertools
import json
import os
import subprocess
import time

from chancery import BUILD, DOMAIN, Lines, program

PLUGIN = "/usr/lib/purple-2/libsipe.so"
#: Said wherever results of this driver are shown.
SHIM = ("SIPE plugin file unmodified; the driver clears the SAX2 magic number "
        "that Debian 12's libxml2 trips over")


def available():
    return os.path.exists(PLUGIN) and (BUILD / "tests/sipe-driver").exists()


class Sipe:
    """One account in one libpurple process."""

    lives = itertools.count(1)

    def __init__(self, folder, user, address, transport="tcp",
                 password=None):
        self.user, self.uri = user, "sip:%s@%s" % (user, DOMAIN)
        self.folder = folder / ("purple-%s-%d" % (user, next(self.lives)))
        self.folder.mkdir()
        self.log = open(self.folder / "debug.log", "w")
        environment = dict(os.environ, HOME=str(self.folder))
        environment.pop("http_proxy", None)
        self.process = subprocess.Popen(
            [program("tests/sipe-driver"), "-d", str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment)
        self.lines = Lines(self.process.stdout)
        self.debug = Lines(self.process.stderr, self.log)
        self.address, self.transport = address, transport
        self.password = password or user + "-secret"

    def events(self, since=0):
        return [json.loads(line) for line in self.lines.lines[since:]]

    def mark(self):
        """A position; expect(since=...) looks only at what comes after."""
        return len(self.lines.lines)

    def command(self, cmd, **fields):
        line = json.dumps(dict(fields, cmd=cmd)) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def expect(self, event, since=0, timeout=30, **fields):
        """The first event of that name with those fields."""
        end = time.monotonic() + timeout
        at = since
        with self.lines.changed:
            while True:
                while at < len(self.lines.lines):
                    found = json.loads(self.lines.lines[at])
                    at += 1
                    if found["event"] == event and all(
                            found.get(k) == v for k, v in fields.items()):
                        return found
                left = end - time.monotonic()
                if left <= 0 or self.lines.ended:
                    raise AssertionError("%s: no %s %s; events:\n%s" % (
                        self.user, event, fields,
                        "\n".join(self.lines.lines[since:])))
                self.lines.changed.wait(left)

    def login(self):
        self.command("login", user="%s@%s" % (self.user, DOMAIN),
                     password=self.password, transport=self.transport,
                     server="%s:%d" % self.address)
        self.expect("signed-on")
        return self

    def rooms(self):
        since = self.mark()
        self.command("rooms")
        self.expect("rooms-end", since)
        return {e["name"]: e for e in self.events(since)
                if e["event"] == "room"}

    def join(self, uri, title):
        since = self.mark()
        self.command("join", uri=uri)
        self.expect("joined", since, room=title)

    def say(self, title, text):
        self.command("say", room=title, text=text)

    def part(self, title):
        """Until SIPE has seen the rpl: only then may it join again."""
        since = len(self.debug.lines)
        self.command("part", room=title)
        self.debug.wait("leaving room '%s'" % title, since=since)

    def logout(self):
        since = self.mark()
        self.command("logout")
        self.expect("signed-off", since)

    def stop(self):
        """Ends the program; its exit status."""
        if self.process.poll() is None:
            try:
                self.command("quit")
                self.process.stdin.close()
                self.process.wait(20)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait(10)
        self.lines.thread.join(10)
        self.debug.thread.join(10)
        self.log.close()
        return self.process.returncode
