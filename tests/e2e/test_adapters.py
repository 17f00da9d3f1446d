"""The built-in adapters, driven over stdin and stdout as the engine does.

A small journal is composed here with hashlib alone, so that what the
adapters check and keep is judged by a second implementation.
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from xml.etree import ElementTree

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
NS = "{urn:chancery:compliance:1}"
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

    def __init__(self, argv, name="records", protocol=1, **config):
        self.name = name
        self.pending = b""
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
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
        return self.process.returncode, log


class AdapterCase(unittest.TestCase):
    PROGRAM = "sample"

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="chancery-adapter-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.journal = Journal().sample()

    def start(self, program=None, **config):
        config.setdefault("directory", str(self.folder))
        path = BUILD / "libexec" / (program or self.PROGRAM)
        adapter = Adapter([str(path)], **config)
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


class ArchiveTests:
    """What every adapter that keeps one file a batch has to do."""

    SUFFIX = None
    CONFIG = {}

    def test_batch_is_stored_and_read_back_exactly(self):
        a = self.ready(**self.CONFIG)
        self.assertEqual(a.states, ["stored"])
        self.assertTrue(a.readback)
        header, receipt = a.archive(self.journal, 1, 8)
        self.check_receipt(header, receipt, "stored")
        self.check_file(receipt)
        self.assertEqual(receipt["location"], "20251122T070810.123457Z-"
                         "0a1b2c3d-records-00000007" + self.SUFFIX)
        events, end = a.read_back(header, receipt["location"])
        self.assertEqual(events, self.journal.events[1:9])
        self.assertEqual(end, {"type": "readback-end", "batch": 7,
                               "sha256": receipt["sha256"]})
        self.assertEqual(a.close()[0], 0)

    def test_repeated_batch_keeps_the_file(self):
        a = self.ready(**self.CONFIG)
        header, first = a.archive(self.journal, 0, 5)
        before = self.names()
        inode = (self.folder / first["location"]).stat().st_ino
        self.journal.join(ANN)  # the note of the repeat is newer
        header, again = a.archive(self.journal, 0, 5)
        self.assertEqual(first, dict(again, root=first["root"]))
        self.assertNotEqual(first["root"], again["root"])
        self.assertEqual(self.names(), before)
        self.assertEqual((self.folder / again["location"]).stat().st_ino,
                         inode)

    def test_same_batch_gives_the_same_bytes(self):
        raw = []
        for _ in range(2):
            a = self.ready(**self.CONFIG)
            _, receipt = a.archive(self.journal, 0, 8)
            raw.append(self.check_file(receipt))
            for path in self.folder.iterdir():
                path.unlink()
            time.sleep(1.1)  # no clock may show in the bytes
        self.assertEqual(raw[0], raw[1])

    def test_other_evidence_is_never_overwritten(self):
        a = self.ready(**self.CONFIG)
        _, receipt = a.archive(self.journal, 0, 8)
        path = self.folder / receipt["location"]
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0x20
        path.write_bytes(raw)
        header, answer = a.archive(self.journal, 0, 8)
        self.assertEqual((answer["type"], answer["batch"]), ("error", 7))
        self.assertIn("does not hold this batch", answer["reason"])
        self.assertEqual(path.read_bytes(), bytes(raw))

    def test_damaged_archive_is_not_read_back(self):
        a = self.ready(**self.CONFIG)
        header, receipt = a.archive(self.journal, 0, 8)
        path = self.folder / receipt["location"]
        whole = path.read_bytes()
        for cut in (0, 1, len(whole) // 2, len(whole) - 20):
            path.write_bytes(whole[:cut])
            events, end = a.read_back(header, receipt["location"])
            self.assertEqual((end["type"], end["batch"]), ("error", 7), cut)
            self.assertEqual(events, self.journal.events[:len(events)])
        path.write_bytes(whole)
        events, end = a.read_back(header, receipt["location"])
        self.assertEqual(end["type"], "readback-end")
        self.assertEqual(events, self.journal.events[:9])

    def test_read_back_stays_in_its_directory(self):
        a = self.ready(**self.CONFIG)
        header, receipt = a.archive(self.journal, 0, 8)
        for location in ("../x", "/etc/passwd", ".", "", "missing"):
            events, end = a.read_back(header, location)
            self.assertEqual(events, [])
            self.assertEqual(end["type"], "error", location)
        os.symlink(receipt["location"], self.folder / "link")
        self.assertEqual(a.read_back(header, "link")[1]["type"], "error")

    def test_death_at_any_byte_leaves_no_file(self):
        header = self.journal.batch(0, 8)
        raw = "".join(compact(m) + "\n" for m in
                      [header] + self.journal.events[:9]).encode()
        for cut in range(0, len(raw), len(raw) // 12):
            a = self.ready(**self.CONFIG)
            a.send_raw(raw[:cut])
            a.process.send_signal(signal.SIGKILL)
            a.close()
            self.assertEqual(self.names(), [])
        a = self.ready(**self.CONFIG)
        _, receipt = a.archive(self.journal, 0, 8)
        self.check_receipt(header, receipt, "stored")

    def test_purged_events_keep_their_leaves(self):
        for seq in (3, 4):
            self.journal.events[seq]["parts"] = []
            self.journal.events[seq]["purged"] = True
        a = self.ready(**self.CONFIG)
        header, receipt = a.archive(self.journal, 0, 8)
        self.check_receipt(header, receipt, "stored")
        events, _ = a.read_back(header, receipt["location"])
        self.assertEqual(events, self.journal.events[:9])

    def test_no_room_is_an_error_that_repeats_can_mend(self):
        a = self.ready(**self.CONFIG)
        if os.geteuid() != 0:
            self.skipTest("a full file system needs root")
        self.run_tool("mount", "-t", "tmpfs", "-o", "size=64k", "none",
                      str(self.folder))
        try:
            big = Journal()
            for i in range(300):
                big.post(ANN, hashlib.sha256(b"%d" % i).hexdigest() * 9, i)
            _, answer = a.archive(big, 0, 299)
            self.assertEqual(answer["type"], "error")
            self.assertIn("No space left", answer["reason"])
            self.assertEqual(self.names(), [])
            _, receipt = a.archive(self.journal, 0, 8)
            self.assertEqual(receipt["type"], "receipt", receipt)
        finally:
            a.close()
            self.run_tool("umount", str(self.folder), cwd="/")

    def test_directory_must_be_there(self):
        for config in ({"directory": "relative"},
                       {"directory": str(self.folder / "none")},
                       {"directory": None}):
            a = self.start(**dict(self.CONFIG, **config))
            self.assertEqual(a.receive()["type"], "error")
            self.assertEqual(a.close()[0], 2)


def all_text(element):
    return "".join(element.itertext()).strip()


class XmlTests(ArchiveTests):
    PROGRAM = "xml"

    def validate(self, schema, name, holds=True):
        done = subprocess.run(
            ["xmllint", "--nonet", "--noout", "--schema",
             str(ROOT / "adapters" / schema), name],
            cwd=self.folder, timeout=60, capture_output=True, text=True)
        self.assertEqual(done.returncode == 0, holds, done.stderr)
        return done.stderr

    def rendering(self, receipt):
        return re.sub(r"(\.evidence)?\.xml$", ".xml", receipt["location"])

    def check_evidence(self, evidence, header):
        self.assertEqual(evidence.tag, NS + "evidence")
        self.assertEqual(all_text(evidence), "")
        got = evidence.attrib
        for name in ("batch", "id", "first", "last", "count", "size", "root",
                     "note"):
            self.assertEqual(got[name], str(header[name]), name)
        for name in ("left", "right"):
            self.assertEqual(got[name].split(), header[name])
        self.assertEqual((got["origin"], got["vkey"], got["adapter"]),
                         (ORIGIN, VKEY, "records"))
        records = [{
            "type": "event", "seq": int(r.get("seq")),
            "kind": int(r.get("kind")), "leaf": r.get("leaf"),
            "parts": [{"salt": p.get("salt"),
                       "data": base64.b64decode(p.get("data")).decode()}
                      for p in r]} for r in evidence]
        self.assertEqual(
            records, self.journal.events[header["first"]:header["last"] + 1])
        for r in evidence:
            self.assertEqual(r.get("name"), KIND_NAMES[int(r.get("kind"))])

    def check_rendering(self, root, strict):
        self.assertEqual(root.tag, "Conversations")
        self.assertEqual(all_text(root), "")
        rooms = root.findall("Conversation")
        self.assertEqual([r.find("Channel").get("uri") for r in rooms],
                         [ROOM, ROOM_2])
        self.assertEqual([r.find("Channel").get("name") for r in rooms],
                         ["Trading", "Other & <Room>"])
        self.assertEqual([r.find("Channel").get("islogged") for r in rooms],
                         [None if strict else "true"] * 2)
        for room in rooms:
            self.assertEqual([e.tag for e in room],
                             ["Channel", "FirstMessage", "Messages",
                              "StartTimeUTC", "EndTimeUTC"])
            first, messages = room.find("FirstMessage"), room.find("Messages")
            self.assertEqual(first.attrib, messages[0].attrib)
            self.assertEqual([e.attrib for e in first],
                             [e.attrib for e in messages[0]])
            self.assertEqual(room.find("StartTimeUTC").attrib,
                             messages[0].find("DateTimeUTC").attrib)
            self.assertEqual(room.find("EndTimeUTC").attrib,
                             messages[-1].find("DateTimeUTC").attrib)
        shown = [(m.get("type"), m.get("content"), m.get("id"),
                  m.find("Sender").get("uri"))
                 for r in rooms for m in r.find("Messages")]
        self.assertEqual(shown, [
            ("JOIN", "", "0", "ann@example.test"),
            ("JOIN", "", "0", "bob@example.test"),
            ("CHAT", "Line one\nline\ttwo & <more> \"q\" ]\\ caf\u00e9 "
             "\U0001f600\r", "118", "ann@example.test"),
            ("BACKCHAT", '{"last":25}', "0", "bob@example.test"),
            ("PART", "", "0", "bob@example.test"),
            ("CHAT", "forbidden \ufffd\ufffd\ufffd end", "7",
             "bob@example.test")])

    def check_sender(self, message):
        """The number is derived from the URI alone, as documented."""
        sender = message.find("Sender").attrib
        digest = hashlib.sha256(b"sender/1\nsip:ann@example.test").digest()
        self.assertEqual(sender, {
            "UserName": "Ann Berg", "uri": "ann@example.test", "email": "",
            "internal": "true",
            "id": str(int.from_bytes(digest[:4], "big") >> 1)})

    def check_time(self, message):
        # 2025-11-22T07:08:11.123458Z, two seconds and two microseconds on
        us = START_US + 2 * 1000001
        self.assertEqual(message.find("DateTimeUTC").attrib, {
            "since1970": str(us // 1000),
            "string": "2025-11-22T07:08:11.123458Z",
            "long": str(us * 10 + 621355968000000000)})


class XmlTest(XmlTests, AdapterCase):
    SUFFIX = ".xml"

    def archive(self):
        a = self.ready()
        header, receipt = a.archive(self.journal, 1, 9)
        self.check_receipt(header, receipt, "stored")
        root = ElementTree.parse(self.folder / receipt["location"]).getroot()
        return header, receipt, root

    def test_rendering_and_evidence(self):
        header, receipt, root = self.archive()
        self.check_rendering(root, strict=False)
        self.check_evidence(root[-1], header)
        messages = root[0].find("Messages")
        self.check_sender(messages[0])
        self.check_time(messages[0])
        details = [{k[len(NS):]: v for k, v in m.attrib.items()
                    if k.startswith(NS)} for m in messages]
        self.assertEqual(details[3], {
            "seq": "5", "auth": "digest-sha256", "device": "ff",
            "first": "94", "last": "118", "count": "25"})
        self.assertEqual(details[4], {
            "seq": "8", "device": "ff", "reason": "lost", "joined": "3",
            "late": "true", "happened": str(START_US)})
        self.assertEqual(self.names(), [receipt["location"]])

    def test_schema_accepts_ours(self):
        _, receipt, _ = self.archive()
        self.validate("chancery-compliance.xsd", receipt["location"])
        # the additions are the only thing that the published rules refuse
        why = self.validate("persistent-chat-legacy.xsd",
                            receipt["location"], holds=False)
        for line in why.splitlines():
            self.assertRegex(line, "urn:chancery:compliance:1|islogged|"
                             "fails to validate")

    def test_schema_refuses_damage(self):
        _, receipt, _ = self.archive()
        path = self.folder / receipt["location"]
        whole = path.read_text()
        for old, new in (('type="CHAT"', 'type="CHATS"'),
                         (' internal="true"', ""),
                         ("<c:record", "<c:recort"),
                         ('salt="', 'salt="AAAA'),
                         (' c:seq="2"', "")):
            path.write_text(whole.replace(old, new, 1).replace(
                "</c:record", "</c:recort" if "recort" in new
                else "</c:record", 1))
            self.validate("chancery-compliance.xsd", receipt["location"],
                          holds=False)

    def test_whole_seconds_have_no_fraction(self):
        self.journal = Journal()
        for us in (0, 500000, 123450):
            event = self.journal.post(ANN, "x", 1)
            leaf = self.journal.events[event]["leaf"].split(" ")
            leaf[3] = str(1763795289 * 1000000 + us)
            self.journal.events[event]["leaf"] = " ".join(leaf)
            self.journal.hashes[event] = leaf_hash(
                self.journal.events[event]["leaf"].encode())
        a = self.ready()
        _, receipt = a.archive(self.journal, 0, 2)
        root = ElementTree.parse(self.folder / receipt["location"]).getroot()
        self.assertEqual(
            [m.find("DateTimeUTC").get("string")
             for m in root[0].find("Messages")],
            ["2025-11-22T07:08:09Z", "2025-11-22T07:08:09.5Z",
             "2025-11-22T07:08:09.12345Z"])

    def test_batch_without_chat_is_evidence_only(self):
        a = self.ready()
        header, receipt = a.archive(self.journal, 0, 1)
        root = ElementTree.parse(self.folder / receipt["location"]).getroot()
        self.assertEqual([e.tag for e in root], [NS + "evidence"])
        self.check_evidence(root[0], header)
        self.validate("chancery-compliance.xsd", receipt["location"])

    def test_unreadable_envelope_is_refused(self):
        for part in ("not json", "[]", '{"room":"r"}', '{"user":"u"}'):
            self.journal = Journal()
            self.journal.add(1, part)
            a = self.ready()
            _, answer = a.archive(self.journal, 0, 0)
            self.assertEqual((answer["type"], answer["batch"]), ("error", 7))
            self.assertIn("event 0", answer["reason"])
            self.assertEqual(self.names(), [])

    def test_document_type_is_not_read(self):
        header, receipt, _ = self.archive()
        path = self.folder / receipt["location"]
        path.write_text(path.read_text().replace(
            "<Conversations", '<!DOCTYPE x [<!ENTITY a "b">]>\n'
            "<Conversations", 1))
        a = self.ready()
        events, end = a.read_back(header, receipt["location"])
        self.assertEqual((events, end["type"]), ([], "error"))
        self.assertIn("document type", end["reason"])


class XmlStrictTest(XmlTests, AdapterCase):
    SUFFIX = ".evidence.xml"
    CONFIG = {"strict": True}

    def test_rendering_keeps_to_the_published_rules(self):
        a = self.ready(strict=True)
        header, receipt = a.archive(self.journal, 1, 9)
        rendering = self.rendering(receipt)
        self.assertEqual(self.names(), sorted([rendering,
                                               receipt["location"]]))
        self.validate("persistent-chat-legacy.xsd", rendering)
        raw = (self.folder / rendering).read_bytes()
        self.assertNotIn(b"chancery", raw)
        root = ElementTree.fromstring(raw)
        self.check_rendering(root, strict=True)
        self.check_sender(root[0].find("Messages")[0])
        self.check_time(root[0].find("Messages")[0])
        evidence = ElementTree.parse(
            self.folder / receipt["location"]).getroot()
        self.check_evidence(evidence, header)
        self.validate("chancery-evidence.xsd", receipt["location"])
        self.assertEqual(evidence.get("rendering"), rendering)
        self.assertEqual(evidence.get("rendering-sha256"),
                         hashlib.sha256(raw).hexdigest())

    def test_number_that_does_not_fit_is_left_out(self):
        self.journal = Journal()
        for chat in (2147483647, 2147483648):
            self.journal.post(ANN, "x", chat)
        for strict, second in ((True, "0"), (False, "2147483648")):
            a = self.ready(strict=strict, name="n%d" % strict)
            _, receipt = a.archive(self.journal, 0, 1)
            root = ElementTree.parse(
                self.folder / self.rendering(receipt)).getroot()
            self.assertEqual([m.get("id") for m in root[0].find("Messages")],
                             ["2147483647", second])

    def test_crash_between_the_files_is_mended(self):
        a = self.ready(strict=True)
        _, receipt = a.archive(self.journal, 1, 9)
        rendering = self.folder / self.rendering(receipt)
        whole = rendering.read_bytes()
        (self.folder / receipt["location"]).unlink()
        rendering.write_bytes(whole[:100])
        _, again = a.archive(self.journal, 1, 9)
        self.assertEqual(again, receipt)
        self.assertEqual(rendering.read_bytes(), whole)


class TarballTest(ArchiveTests, AdapterCase):
    PROGRAM = "tarball"
    SUFFIX = ".tar.zst"

    def unpack(self, receipt):
        self.run_tool("tar", "--zstd", "-xf", receipt["location"])
        bag = self.folder / receipt["location"][:-len(self.SUFFIX)]
        self.assertTrue(bag.is_dir())
        return bag

    def test_bag_is_checked_by_plain_tools(self):
        a = self.ready()
        header, receipt = a.archive(self.journal, 1, 8)
        bag = self.unpack(receipt)
        for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
            self.run_tool("sha256sum", "--strict", "-c", manifest, cwd=bag)
        payload = sorted(str(p.relative_to(bag)) for p in
                         (bag / "data").rglob("*") if p.is_file())
        listed = [line.split("  ", 1)[1] for line in
                  (bag / "manifest-sha256.txt").read_text().splitlines()]
        self.assertEqual(listed, payload)
        tags = [line.split("  ", 1)[1] for line in
                (bag / "tagmanifest-sha256.txt").read_text().splitlines()]
        self.assertEqual(tags, ["bag-info.txt", "bagit.txt",
                                "manifest-sha256.txt"])
        self.assertEqual((bag / "bagit.txt").read_text(),
                         "BagIt-Version: 1.0\n"
                         "Tag-File-Character-Encoding: UTF-8\n")
        info = dict(line.split(": ", 1) for line in
                    (bag / "bag-info.txt").read_text().splitlines())
        self.assertEqual(info["Payload-Oxum"], "%d.%d" % (
            sum((bag / p).stat().st_size for p in payload), len(payload)))
        self.assertEqual(info["External-Identifier"], header["id"])
        self.assertEqual(info["Bagging-Date"], "2025-11-22")

    def test_bag_holds_the_exact_evidence(self):
        a = self.ready()
        header, receipt = a.archive(self.journal, 1, 8)
        data = self.unpack(receipt) / "data"
        lines = (data / "records.jsonl").read_text().splitlines()
        self.assertEqual(lines, [compact(e) for e in
                                 self.journal.events[1:9]])
        self.assertEqual((data / "checkpoint").read_text(), header["note"])
        self.assertEqual((data / "vkey").read_text(), VKEY + "\n")
        proof = json.loads((data / "proof.json").read_text())
        self.assertEqual(proof.pop("version"), 1)
        self.assertEqual(proof.pop("origin"), ORIGIN)
        self.assertEqual(proof.pop("adapter"), "records")
        self.assertEqual(proof, {k: v for k, v in header.items()
                                 if k not in ("type", "note")})
        self.assertFalse((data / "tile").exists())  # tile 0 began before

    def test_tiles_have_the_public_layout(self):
        big = Journal()
        for i in range(800):
            big.post(ANN, "post %d" % i, i + 1, step_us=1)
        a = self.ready()
        _, receipt = a.archive(big, 100, 799)
        tiles = self.unpack(receipt) / "data" / "tile"
        found = {str(p.relative_to(tiles)): p.read_bytes()
                 for p in tiles.rglob("*") if p.is_file()}
        self.assertEqual(found, {
            "0/001": b"".join(big.hashes[256:512]),
            "0/002": b"".join(big.hashes[512:768]),
            "0/003.p/32": b"".join(big.hashes[768:800])})

    def test_archive_shows_no_owner_and_no_clock(self):
        a = self.ready()
        _, receipt = a.archive(self.journal, 1, 8)
        listing = self.run_tool("tar", "--zstd", "--utc", "--full-time",
                                "--numeric-owner", "-tvf",
                                receipt["location"]).splitlines()
        self.assertEqual(listing, sorted(listing, key=lambda l: l.split()[-1]))
        for line in listing:
            self.assertRegex(line, r"^-rw-r--r-- 0/0 +\d+ "
                             r"2025-11-22 07:08:17 ")


SD_ELEMENT = re.compile(r'\[([^ \]]+)((?: [^ =]+="(?:[^"\\\]]|\\.)*")*)\]')
SD_PARAM = re.compile(r' ([^ =]+)="((?:[^"\\\]]|\\.)*)"')


class Message:
    """One RFC 5424 message."""

    def __init__(self, line):
        self.line = line
        fields = line.split(" ", 6)
        (self.head, self.time, self.host, self.app, self.process,
         self.id, rest) = fields
        self.sd = {}
        while rest.startswith("["):
            m = SD_ELEMENT.match(rest)
            self.sd[m.group(1)] = {
                k: re.sub(r'\\(["\\\]])', r"\1", v)
                for k, v in SD_PARAM.findall(m.group(2))}
            rest = rest[m.end():]
        self.text = rest[1:]

    @property
    def evidence(self):
        return self.sd["chancery@32473"]


def rebuild(messages):
    """The events (by seq) that the messages' pieces hold, as they came."""
    pieces = {}
    for m in messages:
        sd = m.evidence
        if "seq" in sd:
            pieces.setdefault(int(sd["seq"]), {})[int(sd["piece"])] = sd
    events = {}
    for seq, found in pieces.items():
        if len(found) != int(found[min(found)]["pieces"]):
            continue  # a repeat of the batch brings the rest
        text = {}
        for n in sorted(found):
            for name, value in found[n].items():
                if re.fullmatch(r"leaf|(salt|data)\d+", name):
                    text[name] = text.get(name, "") + value
        parts = []
        while "salt%d" % len(parts) in text:
            parts.append({"salt": text["salt%d" % len(parts)],
                          "data": base64.b64decode(
                              text["data%d" % len(parts)]).decode()})
        events[seq] = {"type": "event", "seq": seq,
                       "kind": int(found[1]["kind"]),
                       "leaf": text["leaf"].replace("|", "\n"),
                       "parts": parts}
    return events


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what):
    end = time.monotonic() + STEP_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("timed out: " + what)
        time.sleep(0.02)


class Collector:
    """A real rsyslogd with one input, writing raw messages to a file."""

    def __init__(self, folder, kind, tls=None):
        self.folder, self.kind = folder, kind
        self.output = folder / "messages"
        self.port = free_port(socket.SOCK_DGRAM if kind == "udp" else
                              socket.SOCK_STREAM)
        self.process = None
        module, action = {"relp": ("imrelp", ""), "tcp": ("imtcp", ""),
                          "udp": ("imudp", "")}[kind]
        setting = ""
        if tls and kind == "relp":
            setting = ('tls="on" tls.cacert="%s" tls.mycert="%s" '
                       'tls.myprivkey="%s" tls.authmode="name" '
                       'tls.permittedpeer=["client.example.test"]' % tls)
        elif tls:
            action = ('StreamDriver.Name="gtls" StreamDriver.Mode="1" '
                      'StreamDriver.AuthMode="anon"')
        conf = ['global(workDirectory="%s" maxMessageSize="8k"' % folder]
        if tls and kind == "tcp":
            conf[0] += (' defaultNetstreamDriverCAFile="%s" '
                        'defaultNetstreamDriverCertFile="%s" '
                        'defaultNetstreamDriverKeyFile="%s"' % tls)
        conf[0] += ")"
        conf += ['module(load="%s" %s)' % (module, action),
                 'template(name="raw" type="string" string="%rawmsg%\\n")',
                 'input(type="%s" address="127.0.0.1" port="%d" %s)'
                 % (module, self.port, setting),
                 'action(type="omfile" file="%s" template="raw")'
                 % self.output]
        self.conf = folder / "rsyslog.conf"
        self.conf.write_text("\n".join(conf) + "\n")
        folder.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)

    def start(self):
        rights = (["setpriv", "--reuid=65534", "--regid=65534",
                   "--clear-groups"] if os.geteuid() == 0 else [])
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            rights + ["rsyslogd", "-n", "-f", str(self.conf), "-i",
                      str(self.folder / "pid")],
            stdout=self.log, stderr=self.log)
        wait_for(self.listening, "rsyslogd does not listen: "
                 + (self.folder / "log").read_text())
        return self

    def listening(self):
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "log").read_text())
        table = "udp" if self.kind == "udp" else "tcp"
        want = "0100007F:%04X" % self.port
        lines = pathlib.Path("/proc/net/" + table).read_text().splitlines()
        return any(want == line.split()[1] and
                   line.split()[3] in ("0A", "07") for line in lines)

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(STEP_S)
            self.log.close()
            self.process = None

    def messages(self):
        if not self.output.exists():
            return []
        return [Message(line) for line in
                self.output.read_text().split("\n")[:-1]]


class SyslogTest(AdapterCase):
    PROGRAM = "syslog"

    def collector(self, kind, **more):
        folder = self.folder / ("rsyslog-" + kind)
        folder.mkdir()
        self.folder.chmod(0o755)
        c = Collector(folder, kind, **more).start()
        self.addCleanup(c.stop)
        return c

    def check_messages(self, messages, header, limit=8192):
        for m in messages:
            self.assertLessEqual(len(m.line.encode()), limit)
            self.assertEqual((m.head, m.host, m.app, m.process),
                             ("<110>1", "example.test", "chancery", "-"))
            self.assertEqual(m.evidence["origin"], ORIGIN)
            self.assertEqual(m.evidence["adapter"], "records")
            self.assertEqual(m.evidence["batch"], "7")
        self.assertEqual(messages[0].id, "batch")
        self.assertEqual(messages[-1].id, "end")
        opened = {}
        for m in messages:
            if m.id == "batch":
                for name in ("note", "left", "right"):
                    opened[name] = (opened.get(name, "") +
                                    m.evidence.get(name, ""))
        self.assertEqual(base64.b64decode(opened["note"]).decode(),
                         header["note"])
        self.assertEqual(opened["left"], ",".join(header["left"]))
        self.assertEqual(opened["right"], ",".join(header["right"]))
        for name in ("first", "last", "count", "size", "root"):
            self.assertEqual(messages[0].evidence[name], str(header[name]))

    def send_sample(self, collector, scheme, state, limit=8192, **config):
        a = self.ready(target="%s://127.0.0.1:%d" % (scheme, collector.port),
                       **config)
        self.assertEqual(a.states, [state])
        self.assertFalse(a.readback)
        header, receipt = a.archive(self.journal, 1, 8)
        self.check_receipt(header, receipt, state)
        closings = 2 if scheme.startswith("relp") else 1
        wait_for(lambda: [m.id for m in collector.messages()].count("end")
                 == closings, "the end message")
        messages = collector.messages()
        self.check_messages(messages, header, limit)
        seqs = [(int(m.evidence["seq"]), int(m.evidence["piece"]))
                for m in messages if "seq" in m.evidence]
        self.assertEqual(seqs, sorted(set(seqs)))
        events = rebuild(messages)
        self.assertEqual([events[n] for n in sorted(events)],
                         self.journal.events[1:9])
        return messages

    def test_relp_is_stored(self):
        c = self.collector("relp")
        messages = self.send_sample(c, "relp", "stored")
        names = [m.id for m in messages if m.evidence["piece"] == "1"]
        self.assertEqual(names, ["batch", "room", "join", "join", "post",
                                 "history", "delivery", "post", "leave",
                                 "end", "end"])
        post = next(m for m in messages if m.id == "post")
        self.assertEqual(post.time, "2025-11-22T07:08:13.123460Z")
        self.assertEqual(post.sd["chanceryEvent@32473"]["user"], ANN)
        self.assertEqual(post.sd["chanceryEvent@32473"]["chat"], "118")
        self.assertEqual(post.text, "Line one line two & <more> \"q\" ]\\ "
                         "caf\u00e9 \U0001f600 ")
        history = next(m for m in messages if m.id == "history")
        self.assertEqual(history.sd["chanceryEvent@32473"]["query"],
                         '{"last":25}')

    def test_tcp_is_only_sent(self):
        self.send_sample(self.collector("tcp"), "tcp", "sent")

    def test_udp_is_only_sent_in_short_messages(self):
        self.send_sample(self.collector("udp"), "udp", "sent", limit=2048)

    def test_long_events_come_in_pieces(self):
        texts = ["x" * n for n in (5000, 6000, 8192, 60000)]
        texts.append("".join(chr(0x100 + i % 900) for i in range(30000)))
        long = Journal()
        for i, text in enumerate(texts):
            long.post(ANN, text, i + 1)
        long.add(5, {"v": 1, "type": "delivery", "room": ROOM, "sets": [
            {"chats": "1-%d" % i, "to": [ANN + " %d" % n for n in range(400)]}
            for i in range(5)]})
        c = self.collector("relp")
        a = self.ready(target="relp://127.0.0.1:%d" % c.port)
        header, receipt = a.archive(long, 0, len(long.events) - 1)
        self.check_receipt(header, receipt, "stored")
        wait_for(lambda: c.messages()[-1].id == "end", "the end message")
        messages = c.messages()
        self.check_messages(messages, header)
        self.assertGreater(len(messages), 30)
        self.assertEqual(rebuild(messages), dict(enumerate(long.events)))

    def test_collector_dies_within_a_batch(self):
        big = Journal()
        for i in range(400):
            big.post(ANN, "post %d" % i, i + 1)
        for kind in ("relp", "tcp"):
            with self.subTest(kind):
                self.die_within(big, kind)

    def die_within(self, big, kind):
        c = self.collector(kind)
        a = self.ready(target="%s://127.0.0.1:%d" % (kind, c.port))
        header = big.batch(0, 399)
        a.send(header, *big.events[:200])
        wait_for(lambda: any(m.evidence.get("seq") for m in c.messages()) or
                 kind == "tcp", "the first events")
        c.stop(signal.SIGKILL)
        a.send(*big.events[200:], {"type": "end", "batch": 7})
        answer = a.receive()
        self.assertEqual((answer["type"], answer["batch"]), ("error", 7))
        _, answer = a.archive(big, 0, 399)  # still down
        self.assertEqual(answer["type"], "error")
        before = c.messages()
        c.start()
        header, receipt = a.archive(big, 0, 399)
        self.check_receipt(header, receipt,
                           "stored" if kind == "relp" else "sent")
        wait_for(lambda: c.messages()[-1].id == "end", "the end message")
        messages = c.messages()
        self.assertEqual(rebuild(messages), dict(enumerate(big.events)))
        if kind == "relp":
            self.assertGreater(len(before), 1)  # so there are repeats
        by_piece = {}
        for m in messages:
            if "seq" in m.evidence:
                key = (m.evidence["seq"], m.evidence["piece"])
                self.assertEqual(by_piece.setdefault(key, m.line), m.line)

    def test_stored_needs_every_acknowledgement(self):
        """A collector that answers all but the last event."""
        for then_closes in (False, True):
            with self.subTest(then_closes=then_closes):
                self.leave_last_unanswered(then_closes)

    def leave_last_unanswered(self, then_closes):
        with socket.create_server(("127.0.0.1", 0)) as server:
            a = self.ready(target="relp://127.0.0.1:%d"
                           % server.getsockname()[1])
            header = self.journal.batch(1, 2)
            a.send(header, *self.journal.events[1:3],
                   {"type": "end", "batch": 7})
            link, _ = server.accept()
            with link, link.makefile("rb") as reader:
                answered = 0
                while answered < 3:  # open, batch, event 1
                    number, command, length = self.relp_frame(reader)
                    link.sendall(self.relp_answer(number, command))
                    answered += 1
                self.relp_frame(reader)  # event 2 stays without answer
                if then_closes:
                    link.shutdown(socket.SHUT_WR)
                answer = a.receive()
        self.assertEqual((answer["type"], answer["batch"]), ("error", 7))

    def test_refusal_by_the_collector_is_no_receipt(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            a = self.ready(target="relp://127.0.0.1:%d"
                           % server.getsockname()[1])
            a.send(self.journal.batch(1, 1), self.journal.events[1],
                   {"type": "end", "batch": 7})
            link, _ = server.accept()
            with link, link.makefile("rb") as reader:
                for _ in range(2):
                    number, command, _ = self.relp_frame(reader)
                    link.sendall(self.relp_answer(number, command))
                number, _, _ = self.relp_frame(reader)
                link.sendall(b"%s rsp 13 500 disk full\n" % number)
                answer = a.receive()
        self.assertEqual((answer["type"], answer["batch"]), ("error", 7))

    @staticmethod
    def relp_frame(reader):
        header = b""
        while header.count(b" ") < 3 and not header.endswith(b"\n"):
            byte = reader.read(1)
            if not byte:
                raise EOFError(header)
            header += byte
        number, command, length = header.split()[:3]
        if int(length):
            reader.read(int(length) + 1)
        return number, command, int(length)

    @staticmethod
    def relp_answer(number, command):
        body = b"200 OK"
        if command == b"open":
            body += b"\nrelp_version=0\nrelp_software=x\ncommands=syslog"
        return b"%s rsp %d %s\n" % (number, len(body), body)

    def test_nobody_listens(self):
        for scheme in ("relp", "tcp"):
            port = free_port(socket.SOCK_STREAM)
            a = self.ready(target="%s://127.0.0.1:%d" % (scheme, port))
            _, answer = a.archive(self.journal, 1, 8)
            self.assertEqual((answer["type"], answer["batch"]), ("error", 7))
            self.assertEqual(a.close()[0], 0)

    def test_target_must_be_understood(self):
        for target in (None, "", "relp", "relp://", "relp://h", "relp://h:0",
                       "relp://h:65536", "relp://:1", "http://h:1",
                       "relp://a:b:1", "tls://h:1", "relp+tls://h:1"):
            a = self.start(target=target)
            self.assertEqual(a.receive()["type"], "error", target)
            self.assertEqual(a.close()[0], 2, target)

    def authority(self):
        """A CA and certificates of localhost, a client, and another CA."""
        made = {}
        for ca in ("ca", "other"):
            made[ca] = self.folder / (ca + ".pem")
            self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
                         "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                         "30", "-subj", "/CN=" + ca, "-keyout",
                         str(self.folder / (ca + ".key")), "-out",
                         str(made[ca]))
        for name in ("localhost", "client.example.test"):
            stem = self.folder / name
            self.openssl("req", "-newkey", "ec", "-pkeyopt",
                         "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                         "/CN=" + name, "-addext",
                         "subjectAltName=DNS:" + name, "-keyout",
                         "%s.key" % stem, "-out", "%s.csr" % stem)
            self.openssl("x509", "-req", "-in", "%s.csr" % stem, "-CA",
                         str(made["ca"]), "-CAkey",
                         str(self.folder / "ca.key"), "-CAcreateserial",
                         "-days", "30", "-copy_extensions", "copy", "-out",
                         "%s.pem" % stem)
            os.chmod("%s.key" % stem, 0o644)
            made[name] = ("%s.pem" % stem, "%s.key" % stem)
        return made

    def openssl(self, *argv):
        self.run_tool("openssl", *argv)

    def check_tls(self, kind, scheme, state):
        made = self.authority()
        c = self.collector(kind, tls=(made["ca"],) + made["localhost"])
        certificate, key = made["client.example.test"]
        own = {"certificate": certificate, "key": key}
        self.send_sample(c, scheme, state, ca=str(made["ca"]),
                         peer="localhost", **own)
        count = len(c.messages())
        target = "%s://127.0.0.1:%d" % (scheme, c.port)
        for config in ({"ca": str(made["other"]), "peer": "localhost"},
                       {"ca": str(made["ca"]), "peer": "elsewhere.test"},
                       {"ca": str(made["ca"])},  # the peer is the host
                       {"ca": str(self.folder / "missing"),
                        "peer": "localhost"}):
            a = self.ready(target=target, **dict(own, **config))
            _, answer = a.archive(self.journal, 1, 8)
            self.assertEqual((answer["type"], answer["batch"]), ("error", 7),
                             config)
        self.assertEqual(len(c.messages()), count)

    def test_tls_checks_the_collector(self):
        self.check_tls("tcp", "tls", "sent")

    def test_relp_over_tls_checks_the_collector(self):
        self.check_tls("relp", "relp+tls", "stored")


if __name__ == "__main__":
    unittest.main()
