"""The adapter programs, driven over stdin and stdout as the engine does.

A small journal is composed here with hashlib alone, so that what the
adapters check and keep is judged by a second implementation.
"""

import base64
import hashlib
import json
import os
import pathlib
import selectors
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("CHANCERY_BUILD", ".build/dev")).resolve()
ORIGIN = "example.test/journal/0a1b2c3d"
VKEY = ORIGIN + "+8c5b1bcd+AcJZ4Xs5wWv3aCeoNf5OoQx9sXhWx8wq0cHlQ0Q5o1fO"
ROOM = "ma-chan://example.test/6b1f8c1e-0d57-4c0e-9c55-3f5a2d7b9e10"
ROOM_2 = "ma-chan://example.test/00000000-0000-4000-8000-000000000002"
ANN, BOB = "sip:ann@example.test", "sip:bob@example.test"
START_US = 1763795289123456
KIND_NAMES = {1: "join", 2: "leave", 3: "post", 4: "history", 5: "delivery",
              6: "room", 7: "member", 8: "user", 128: "open", 129: "batch",
              130: "ack"}
STEP_S = 20


def b64(raw):
    return base64.b64encode(raw).decode()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def leaf_hash(leaf):
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def tree_root(hashes):
    """RFC 6962 section 2.1."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(tree_root(hashes[:split]), tree_root(hashes[split:]))


def perfect_subtrees(hashes, first, end):
    out = []
    while first < end:
        width = 1
        while first % (width * 2) == 0 and first + width * 2 <= end:
            width *= 2
        out.append(tree_root(hashes[first:first + width]))
        first += width
    return out


class Journal:
    """Leaves, salts and parts, in the protocol's form."""

    def __init__(self):
        self.events = []
        self.hashes = []

    def add(self, kind, *parts, fields=(), step_us=1000001):
        seq = len(self.events)
        at = START_US + seq * step_us
        leaf = "leaf/1 %d %d\nt %d %d 5eed5eed 0\n" % (seq, kind, at, at // 2)
        out = []
        for i, part in enumerate(parts):
            data = part if isinstance(part, str) else compact(part)
            salt = hashlib.sha256(b"salt %d %d" % (seq, i)).digest()
            commitment = hashlib.sha256(
                b"part/1\n" + salt + data.encode()).digest()
            leaf += "p %d %s\n" % (i, b64(commitment))
            out.append({"salt": b64(salt), "data": data})
        for name, value in fields:
            leaf += "%s %s\n" % (name, value)
        self.events.append({"type": "event", "seq": seq, "kind": kind,
                            "leaf": leaf, "parts": out})
        self.hashes.append(leaf_hash(leaf.encode()))
        return seq

    def envelope(self, kind, user, **more):
        return dict({"v": 1, "type": KIND_NAMES[kind], "id": "5eed5eed-%d"
                     % len(self.events), "room": ROOM,
                     "roomname": "Trading", "user": user,
                     "name": user[4:7].capitalize() + " Berg"}, **more)

    def join(self, user, **more):
        return self.add(1, self.envelope(
            1, user, auth="digest-sha256", device="0a1b2c", via="tls",
            peer="192.0.2.7:50000", **more))

    def post(self, user, text, chat, step_us=1000001, **more):
        return self.add(
            3, self.envelope(3, user, auth="digest-sha256", device="0a1b2c",
                             chat=chat, client="abc@192.0.2.7 %d" % chat,
                             **more),
            {"v": 1, "text": text}, step_us=step_us)

    def sample(self):
        """One of everything; three of the records are not rendered."""
        self.add(128, fields=[
            ("journal", "0a1b2c3d-0000-4000-8000-000000000000"),
            ("origin", ORIGIN), ("vkey", VKEY), ("software", "chancery/0.1")])
        self.add(6, {"v": 1, "type": "room", "id": "5eed5eed-1",
                     "action": "add", "room": ROOM, "roomname": "Trading",
                     "privacy": "closed", "description": "", "by": "uid:0"})
        self.join(ANN)
        self.join(BOB)
        self.post(ANN, "Line one\nline\ttwo & <more> \"q\" ]\\ caf\u00e9 "
                  "\U0001f600\r", 118)
        self.add(4, self.envelope(4, BOB, auth="digest-sha256", device="ff",
                                  query={"last": 25}, first=94, last=118,
                                  count=25))
        self.add(5, {"v": 1, "type": "delivery", "id": "5eed5eed-6",
                     "room": ROOM, "roomname": "Trading", "sets": [
                         {"chats": "118", "to": [BOB + " ff"]}]})
        self.post(BOB, "forbidden \x01\x0b\ufffe end", 7, room=ROOM_2,
                  roomname="Other & <Room>")
        self.add(2, self.envelope(2, BOB, device="ff", reason="lost",
                                  joined=3, late=True, happened=START_US))
        self.add(129, fields=[("adapter", "records"), ("batch", "1")])
        return self

    def batch(self, first, last, number=7, adapter="records", size=None):
        size = size or len(self.events)
        root = b64(tree_root(self.hashes[:size]))
        left = perfect_subtrees(self.hashes, 0, first)
        right = perfect_subtrees(self.hashes, last + 1, size)
        return {"type": "batch", "batch": number,
                "id": "%s/%s/%d" % (ORIGIN, adapter, number), "first": first,
                "last": last, "count": last - first + 1, "size": size,
                "root": root,
                "note": "%s\n%d\n%s\n\n\u2014 %s %s\n" % (
                    ORIGIN, size, root, ORIGIN, b64(b"s" * 68)),
                "left": [b64(h) for h in left],
                "right": [b64(h) for h in right]}


class Adapter:
    """One adapter program, with the engine's end of its pipes."""

    def __init__(self, argv, name="records", protocol=1, env=None,
                 before=None, **config):
        self.name = name
        self.pending = b""
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=env, preexec_fn=before)
        self.send({"type": "hello", "protocol": protocol, "adapter": name,
                   "software": "chancery/0.1", "domain": "example.test",
                   "origin": ORIGIN, "vkey": VKEY, "config": config})

    def send(self, *messages):
        self.send_raw("".join(compact(m) + "\n" for m in messages).encode())

    def send_raw(self, raw):
        try:
            self.process.stdin.write(raw)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def receive(self):
        """The next message that is no keep-alive; None at the end."""
        while True:
            while b"\n" not in self.pending:
                with selectors.DefaultSelector() as s:
                    s.register(self.process.stdout, selectors.EVENT_READ)
                    if not s.select(STEP_S):
                        raise TimeoutError("the adapter says nothing")
                chunk = os.read(self.process.stdout.fileno(), 65536)
                if not chunk:
                    return None
                self.pending += chunk
            line, self.pending = self.pending.split(b"\n", 1)
            message = json.loads(line)
            if message["type"] != "alive":
                return message

    def archive(self, journal, first, last, **more):
        header = journal.batch(first, last, adapter=self.name, **more)
        self.send(header, *journal.events[first:last + 1])
        self.send({"type": "end", "batch": header["batch"]})
        return header, self.receive()

    def read_back(self, header, location):
        self.send({"type": "readback", "batch": header["batch"],
                   "first": header["first"], "last": header["last"],
                   "location": location})
        events = []
        while True:
            message = self.receive()
            if message is None or message["type"] != "event":
                return events, message
            events.append(message)

    def close(self):
        """End of input: exit code and log text."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(STEP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            log = self.process.stderr.read().decode()
            self.process.stdout.close()
            self.process.stderr.close()
        if "Sanitizer" in log or "runtime error" in log:
            raise AssertionError(log)
        return self.process.returncode, log


class AdapterCase(unittest.TestCase):
    PROGRAM = "sample"
    ENVIRONMENT = {}

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="chancery-adapter-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.journal = Journal().sample()

    def start(self, program=None, **config):
        config.setdefault("directory", str(self.folder))
        path = BUILD / "libexec" / (program or self.PROGRAM)
        adapter = Adapter([str(path)],
                          env=dict(os.environ, **self.ENVIRONMENT), **config)
        self.addCleanup(self.stop, adapter)
        return adapter

    @staticmethod
    def stop(adapter):
        if adapter.process.returncode is None:
            adapter.close()

    def ready(self, program=None, **config):
        adapter = self.start(program, **config)
        greeting = adapter.receive()
        self.assertEqual(greeting["type"], "ready", greeting)
        self.assertEqual(greeting["protocol"], 1)
        self.assertEqual(greeting["program"], program or self.PROGRAM)
        adapter.states = greeting["states"]
        adapter.readback = greeting["readback"]
        return adapter

    def run_tool(self, *argv, cwd=None):
        done = subprocess.run(argv, cwd=cwd or self.folder, timeout=60,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done.stdout

    def check_receipt(self, header, receipt, state):
        self.assertEqual(receipt["type"], "receipt", receipt)
        for name in ("batch", "count", "root"):
            self.assertEqual(receipt[name], header[name])
        self.assertEqual(receipt["state"], state)

    def check_file(self, receipt):
        raw = (self.folder / receipt["location"]).read_bytes()
        self.assertEqual(receipt["bytes"], len(raw))
        self.assertEqual(receipt["sha256"], hashlib.sha256(raw).hexdigest())
        return raw

    def names(self):
        return sorted(p.name for p in self.folder.iterdir())
