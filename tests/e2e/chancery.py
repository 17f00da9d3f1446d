"""A Chancery of its own for each test: fresh folder, daemon, tools, journal.

Nothing here sleeps: the daemon is ready when it says so on stderr, and what
a test waits for is a log line, an answer, a process's end or a journal row.
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import xccos  # noqa: E402
from sip import Hub, family  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("CHANCERY_BUILD", ".build/dev")).resolve()
WRAP = shlex.split(os.environ.get("CHANCERY_WRAP", ""))  # see tests/run
DOMAIN = "example.test"
ROLE_USERS = ('users { server = "#61001" keeper = "#61002" signer = "#61003" '
              'engine = "#61004" adapter = "#61005" '
              'anchor = "#61006" }\n')
KINDS = {0: "checkpoint", 1: "join", 2: "leave", 3: "post", 4: "history",
         5: "delivery", 6: "room", 7: "member", 8: "user", 128: "open",
         129: "batch", 130: "ack", 131: "purge", 132: "incident",
         133: "beat", 134: "policy",
         135: "key", 136: "seal", 137: "clock", 138: "hold", 139: "release",
         140: "recover", 141: "anchor", 142: "late", 143: "drop",
         144: "audit", 145: "approve",
         146: "conflict"}
PORTS_GIVEN = set()


def program(name):
    path = BUILD / name
    if not path.exists():
        raise FileNotFoundError("%s is not built" % path)
    return str(path)


def free_port(kind=socket.SOCK_STREAM, host="127.0.0.1"):
    """A port of the host that nobody uses at the moment.

    Never twice the same, and below those that outgoing connections get: it
    is still free when somebody listens there a moment later.
    """
    while True:
        port = random.randrange(16384, 32768)
        with socket.socket(family(host), kind) as s:
            with contextlib.suppress(OSError):
                if port not in PORTS_GIVEN:
                    s.bind((host, port))
                    PORTS_GIVEN.add(port)
                    return port


def certificate(folder):
    """A self-signed pair for 127.0.0.1: (certificate, key)."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", "/CN=" + DOMAIN, "-addext",
         "subjectAltName=DNS:%s,IP:127.0.0.1" % DOMAIN,
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True, timeout=60)
    return cert, key


class Lines:
    """The lines of a pipe, read as they come; they can be waited for."""

    def __init__(self, pipe, copy=None):
        self.lines, self.ended = [], False
        self.changed = threading.Condition()
        self.thread = threading.Thread(
            target=self.read, args=(pipe, copy), daemon=True)
        self.thread.start()

    def read(self, pipe, copy):
        for raw in pipe:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if copy:
                copy.write(line + "\n")
                copy.flush()
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        pipe.close()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def find(self, pattern, since=0):
        return next((line for line in self.lines[since:]
                     if re.search(pattern, line)), None)

    def wait(self, pattern, timeout=20, since=0):
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                line = self.find(pattern, since)
                if line is not None:
                    return line
                left = end - time.monotonic()
                if self.ended or left <= 0:
                    raise AssertionError("no line like %r; the last ones:\n%s"
                                         % (pattern,
                                            "\n".join(self.lines[-25:])))
                self.changed.wait(left)


def wait_until(condition, what, timeout=20, step=0.05):
    """For states of the outside that send no event (a file, /proc)."""
    end = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("timed out: " + what)
        pause.wait(step)


def progress(what, done, of):
    """Of a sweep that takes long, for who waits at a terminal."""
    if sys.stderr.isatty() and of > 100:
        print("\r%s: %d of %d\33[K" % (what, done, of),
              end="\r" if done == of else "", file=sys.stderr, flush=True)


class Journal:
    """journal.db read without Chancery's code."""

    def __init__(self, path):
        self.path = path

    @contextlib.contextmanager
    def open(self):
        db = sqlite3.connect("file:%s?mode=ro" % self.path, uri=True,
                             timeout=10)
        try:
            yield db
        finally:
            db.close()

    def size(self):
        with self.open() as db:
            return db.execute("SELECT count(*) FROM leaf").fetchone()[0]

    def leaves(self, since=0, kinds=None):
        """[(seq, kind name, fields, [part objects or None])]"""
        with self.open() as db:
            db.execute("BEGIN")
            rows = db.execute("SELECT seq, kind, bytes FROM leaf "
                              "WHERE seq >= ? ORDER BY seq",
                              (since,)).fetchall()
            bodies = dict(db.execute(
                "SELECT id, data FROM body WHERE id >= ?", (since * 256,)))
        found = []
        for seq, kind, data in rows:
            name = KINDS[kind]
            if kinds and name not in kinds:
                continue
            lines = bytes(data).decode("ascii").split("\n")
            if kind >= 128:
                pairs = (line.partition(" ") for line in lines[2:-1])
                found.append((seq, name, {
                    k: urllib.parse.unquote(v) for k, _, v in pairs}, []))
                continue
            parts = [bodies.get(seq * 256 + i) for i in range(
                sum(line.startswith("p ") for line in lines))]
            found.append((seq, name, {}, [
                json.loads(p) if p is not None else None for p in parts]))
        return found

    def events(self, *kinds, since=0):
        """User events as envelopes with seq, kind and, for posts, text."""
        found = []
        for seq, name, _, parts in self.leaves(since, kinds or None):
            if parts and parts[0] is not None:
                event = dict(parts[0], seq=seq, kind=name)
                if len(parts) > 1 and parts[1] is not None:
                    event["text"] = parts[1].get("text")
                found.append(event)
        return found

    def control(self, kind):
        return [dict(fields, seq=seq)
                for seq, _, fields, _ in self.leaves(0, (kind,))]

    def posts(self):
        return [e["text"] for e in self.events("post")]

    def wait(self, condition, what, timeout=20):
        """Until condition(self) is true; its value."""
        return wait_until(lambda: condition(self), what, timeout)

    def purges_signed(self):
        """A purge is signed a moment after it was made; in the newest file."""
        newest = max(self.path.parent.glob("journal*.db"),
                     key=lambda path: (len(path.name), path.name))
        with Journal(newest).open() as db:
            note, newest = db.execute(
                "SELECT note, (SELECT max(seq) FROM leaf WHERE kind = 131 AND "
                "kind >= 128) FROM head").fetchone()
        return newest is None or newest < int(
            bytes(note or b"\n0\n").split(b"\n")[1])

    def check(self):
        """Recomputes every commitment and the tree; raises on a mismatch."""
        with self.open() as db:
            db.execute("BEGIN")
            leaves = db.execute(
                "SELECT seq, kind, bytes FROM leaf ORDER BY seq").fetchall()
            bodies = {i: (bytes(s), bytes(d)) for i, s, d in
                      db.execute("SELECT id, salt, data FROM body")}
            size, root = db.execute("SELECT size, root FROM head").fetchone()
        last, level = 0, []
        for index, (seq, kind, data) in enumerate(leaves):
            data = bytes(data)
            lines = data.decode("ascii").split("\n")
            if seq != index or lines[0] != "leaf/1 %d %d" % (seq, kind):
                raise AssertionError("leaf %d is %r" % (index, lines[0]))
            at = int(lines[1].split()[1])
            if at <= last:
                raise AssertionError("time of leaf %d" % seq)
            last = at
            commitments = [ln.split() for ln in lines if ln.startswith("p ")]
            for part, (_, number, value) in enumerate(
                    commitments if kind < 128 else []):
                body = bodies.get(seq * 256 + part)
                if int(number) != part or body and value != \
                        base64.b64encode(hashlib.sha256(
                            b"part/1\n" + body[0] + body[1]
                        ).digest()).decode():
                    raise AssertionError("part %d of leaf %d" % (part, seq))
            level.append(hashlib.sha256(b"\0" + data).digest())
        if len(leaves) != size or tree_root(level) != bytes(root):
            raise AssertionError("head: %d leaves, size %d" % (
                len(leaves), size))
        return size


def tree_root(level):
    """RFC 6962 section 2.1 by levels: an odd last node moves up."""
    if not level:
        return hashlib.sha256(b"").digest()
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest()
                 for i in range(0, len(level) - 1, 2)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0]


class Chancery:
    """A configured Chancery in a folder of its own.

    with Chancery(...) as c: the daemon runs; the folder goes away with
    success and stays, its name printed, with failure.
    """

    def __init__(self, transports=("tcp",), adapters="", purge=None,
                 limits="", extra="", state_dir="state", folder=None,
                 host="127.0.0.1"):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(
            prefix="chancery-e2e-"))
        os.chmod(self.folder, 0o755)
        self.conf = self.folder / "chancery.conf"
        self.state = self.folder / state_dir
        self.transports = transports
        self.adapters, self.purge = adapters, purge
        self.limits, self.extra = limits, extra
        self.state_dir = state_dir
        self.host = host
        self.ports = {t: free_port(
            socket.SOCK_DGRAM if t == "udp" else socket.SOCK_STREAM, host)
            for t in transports}
        if "tls" in transports:
            certificate(self.folder)
        self.daemon, self.log = None, None
        self.hub, self.clients, self.helpers = None, [], []
        self.environment = None  # of the daemon; None: ours
        self.keep = bool(os.environ.get("CHANCERY_KEEP"))
        self.vkey = None
        self.lives = 0
        self.journal = Journal(self.state / "journal" / "journal.db")

    # ---- configuration ----

    def configuration(self):
        lines = ['domain = "%s"\n' % DOMAIN,
                 'state-dir = "%s"\n' % self.state_dir,
                 'libexec = "%s"\n' % (BUILD / "libexec")]
        if os.geteuid() == 0:
            lines.append(ROLE_USERS)
        for transport in self.transports:
            lines.append('listen %s { address = "%s" port = %d%s }\n' % (
                transport, self.host, self.ports[transport],
                ' certificate = "cert.pem" key = "key.pem"'
                if transport == "tls" else ""))
        lines.append(self.adapters)
        if self.purge is not None:
            lines.append("purge { after-s = %d }\n" % self.purge)
        if self.limits:
            lines.append("limits { %s }\n" % self.limits)
        lines.append(self.extra)
        return "".join(lines)

    def write_conf(self):
        self.conf.write_text(self.configuration())

    # ---- programs ----

    def run(self, name, *args, check=True, text=True, **kwargs):
        """Runs one of our programs to its end; CompletedProcess."""
        wrap = WRAP if name != "chanceryd" else []
        kwargs.setdefault("timeout", 600 if wrap else 120)
        done = subprocess.run([*wrap, program(name), *map(str, args)],
                              text=text, capture_output=True, **kwargs)
        if check and done.returncode != 0:
            raise AssertionError("%s %s: exit %d\n%s%s" % (
                name, " ".join(map(str, args)), done.returncode,
                done.stdout, done.stderr))
        return done

    def cli(self, *args, **kwargs):
        return self.run("chancery", "-f", self.conf, *args, **kwargs)

    def cli_json(self, *args, **kwargs):
        return json.loads(self.cli(*args, "--json", **kwargs).stdout)

    def export(self, *args, **kwargs):
        return self.run("chancery-export", "-f", self.conf, *args, **kwargs)

    def verify(self, *paths, **kwargs):
        if self.daemon is not None and self.daemon.poll() is None:
            self.journal.wait(Journal.purges_signed, "a purge is not signed")
        key = ["--key", self.vkey] if self.vkey else []
        return self.run("chancery-verify", *key, *(
            paths or [self.journal.path]), **kwargs)

    # ---- life ----

    def init(self):
        self.write_conf()
        out = self.cli("init").stdout
        found = re.search(r"\S+/journal/[0-9a-f]{8}\+[0-9a-f]{8}\+\S+", out)
        if not found:
            raise AssertionError("init prints no verifier key: %r" % out)
        self.vkey = found.group(0)
        return self

    def add_users(self, *names):
        for name in names:
            self.cli("user", "add", "sip:%s@%s" % (name, DOMAIN), "--name",
                     name.capitalize(), "--password-stdin",
                     input=name + "-secret\n")

    def add_room(self, name, privacy="open", members=(), description=""):
        """Gives the room's ma-chan URI."""
        args = ["room", "add", name, "--privacy", privacy]
        if description:
            args += ["--description", description]
        self.cli(*args)
        if members:
            self.cli("room", "member", "add", name,
                     *("sip:%s@%s" % (m, DOMAIN) for m in members))
        return self.room(name)

    def room(self, name):
        rooms = self.cli_json("room", "list")
        return next(r["uri"] for r in rooms if r["name"] == name)

    def start(self, timeout=30, until="chanceryd: info: ready"):
        self.lives += 1
        self.log_file = open(self.folder / "chanceryd.log", "a")
        self.daemon = subprocess.Popen(
            [program("chanceryd"), "-f", str(self.conf)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=self.environment)
        self.log = Lines(self.daemon.stderr, self.log_file)
        self.log.wait("^(%s)" % until, timeout)
        return self

    def stop(self, timeout=30, allowed=None):
        """Ends it in good order; its exit status must be 0. allowed: lines of
        the log that would be faults in other tests."""
        if self.daemon is None:
            return
        if self.daemon.poll() is None:
            self.daemon.terminate()
        try:
            status = self.daemon.wait(timeout)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait(10)
            raise AssertionError("chanceryd does not end on SIGTERM")
        self.finish()
        if status != 0:
            raise AssertionError("chanceryd ended with %d" % status)
        found = [line for line in self.log.lines if re.search(
            r"Sanitizer|runtime error:|"
            r"^chanceryd: \w+: (?!adapter:)\S+ ended with status [1-9]|"
            r"^engine: (warning|error): .*readonly database|"
            r"has no payload that could be read", line) and not (
                allowed and re.search(allowed, line))]
        if found:
            raise AssertionError("in the log: " + found[0])

    def kill(self):
        """kill -9 of the parent; the roles must follow by themselves."""
        roles = list(self.roles().values())
        self.daemon.kill()
        self.daemon.wait(10)
        for pid in roles:
            wait_until(lambda: not alive(pid), "role %d outlives" % pid)
        self.finish()

    def finish(self):
        self.log.thread.join(10)
        self.log_file.close()
        self.daemon = None

    def restart(self):
        self.stop()
        return self.start()

    def roles(self):
        """{role: pid} of the daemon's children; adapters as adapter:PROGRAM."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError, IndexError):
                stat = pathlib.Path("/proc", entry, "stat").read_text()
                fields = stat.rpartition(")")[2].split()
                if int(fields[1]) != self.daemon.pid or fields[0] == "Z":
                    continue
                words = pathlib.Path("/proc", entry, "cmdline").read_bytes(
                    ).split(b"\0")
                if b"-R" in words:
                    role = words[words.index(b"-R") + 1].decode()
                else:
                    role = "adapter:" + os.path.basename(words[0].decode())
                found[role] = int(entry)
        return found

    # ---- clients ----

    def client(self, user, **kwargs):
        """A client that is not connected yet."""
        if self.hub is None:
            self.hub = Hub()
        transport = kwargs.setdefault("transport", self.transports[0])
        client = xccos.Client(self.hub, user, DOMAIN,
                              (self.host, self.ports[transport]), **kwargs)
        self.clients.append(client)
        return client

    def sign_in(self, user, **kwargs):
        lookup = kwargs.pop("lookup", False)
        return self.client(user, **kwargs).sign_in(lookup=lookup)

    def faults(self):
        return [fault for client in self.clients for fault in client.faults]

    # ---- with ----

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.hub is not None:
                self.hub.stop()
            for helper in reversed(self.helpers):
                helper.stop()
            if self.daemon is not None and kind is None:
                self.stop()
        except BaseException:
            self.keep = True
            raise
        finally:
            if self.daemon is not None:
                self.daemon.kill()
                self.daemon.wait(10)
                self.finish()
            if kind is not None or self.keep:
                print("# kept: %s" % self.folder, file=sys.stderr)
            else:
                shutil.rmtree(self.folder)


def alive(pid):
    try:
        stat = pathlib.Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Rsyslog:
    """A real rsyslogd with imrelp, writing what it takes to one file."""

    def __init__(self, folder, port=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.port = port or free_port()
        self.output = self.folder / "messages"
        self.process = None

    def configuration(self):
        return """global(workDirectory="{0}" maxMessageSize="64k")
module(load="imrelp")
template(name="whole" type="string" string="%rawmsg%\\n")
input(type="imrelp" port="{1}" address="127.0.0.1" ruleset="all")
ruleset(name="all") {{
  action(type="omfile" file="{2}" template="whole" sync="on")
}}
""".format(self.folder, self.port, self.output)

    def start(self):
        conf = self.folder / "rsyslog.conf"
        conf.write_text(self.configuration())
        path = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
        self.process = subprocess.Popen(
            [path, "-n", "-f", str(conf), "-i", str(self.folder / "pid")],
            stdin=subprocess.DEVNULL,
            stdout=open(self.folder / "stdout", "w"),
            stderr=subprocess.STDOUT)
        wait_until(self.listening, "rsyslogd does not listen")
        return self

    def listening(self):
        if self.process.poll() is not None:
            raise AssertionError("rsyslogd ended: " + (
                self.folder / "stdout").read_text())
        with contextlib.suppress(OSError), socket.create_connection(
                ("127.0.0.1", self.port), 1):
            return True
        return False

    def lines(self):
        if not self.output.exists():
            return []
        return self.output.read_text("utf-8").splitlines()

    def seqs(self, wanted=()):
        """Sequence numbers as they came, once the wanted ones are there.

        rsyslogd acknowledges what it has taken into its queue; the file
        follows a moment later.
        """
        def found():
            return [int(m.group(1)) for m in map(
                re.compile(r'\bseq="(\d+)"').search, self.lines()) if m]

        wait_until(lambda: set(wanted) <= set(found()),
                   "rsyslogd's file lacks records", 30)
        return found()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
