"""What the built-in archives keep, and what the helper refuses."""

import base64
import hashlib
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time
import unittest
from xml.etree import ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from adapter_fixture import (  # noqa: E402
    ANN, BUILD, KIND_NAMES, ORIGIN, ROOM, ROOM_2, ROOT, START_US, STEP_S,
    VKEY, Adapter, AdapterCase, Journal, compact, leaf_hash)

NS = "{urn:chancery:compliance:1}"


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

    def test_what_a_record_names_is_kept_with_it(self):
        a = self.ready(**self.CONFIG)
        named = {"note": "a\n1\nb\n\n\u2014 a \u00e9<&\"\n",
                 "token": "MAA=", "salt": "AAAA", "selector": "e30="}
        self.journal.events[0].update(named)
        header, first = a.archive(self.journal, 0, 5)
        events, end = a.read_back(header, first["location"])
        self.assertEqual(end["type"], "readback-end")
        self.assertEqual(events, self.journal.events[:6])
        raw = (self.folder / first["location"]).read_bytes()
        # of a repeat it may be more: the records are the same
        self.journal.events[0]["note"] += "\u2014 b c\n"
        _, again = a.archive(self.journal, 0, 5)
        self.assertEqual(again, first)
        self.assertEqual((self.folder / first["location"]).read_bytes(), raw)

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
        self.assertRegex(answer["reason"], r"Next: .*chancery-verify .*"
                         r"chancery-adapter\(7\), Other records")
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
        small = (64 << 10, resource.RLIM_INFINITY)

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, small)

        big = Journal()
        for i in range(300):
            big.post(ANN, hashlib.sha256(b"%d" % i).hexdigest() * 9, i)
        a = self.ready(before=limit, **self.CONFIG)
        _, answer = a.archive(big, 0, 299)
        self.assertEqual((answer["type"], answer["batch"]), ("error", 7))
        self.assertIn("File too large", answer["reason"])
        self.assertEqual(self.names(), [])
        resource.prlimit(a.process.pid, resource.RLIMIT_FSIZE,
                         (small[1], small[1]))
        header, receipt = a.archive(big, 0, 299)
        self.check_receipt(header, receipt, "stored")

    def test_death_while_writing_is_mended_by_the_repeat(self):
        big = Journal()
        for i in range(1500):
            big.post(ANN, "post %d" % i, i + 1, step_us=1)
        a = self.ready(**self.CONFIG)
        _, receipt = a.archive(big, 0, 1499)
        whole = {p.name: p.read_bytes() for p in self.folder.iterdir()}
        died_early = 0
        for delay in range(0, 120, 8):
            for path in self.folder.iterdir():
                path.unlink()
            a = self.ready(**self.CONFIG)
            a.send(big.batch(0, 1499), *big.events,
                   {"type": "end", "batch": 7})
            time.sleep(delay / 1000)
            a.process.send_signal(signal.SIGKILL)
            a.close()
            for name in self.names():
                if not name.endswith(".part"):
                    self.assertEqual((self.folder / name).read_bytes(),
                                     whole[name])
            died_early += receipt["location"] not in self.names()
            a = self.ready(**self.CONFIG)
            _, again = a.archive(big, 0, 1499)
            self.assertEqual(again, receipt)
            self.assertEqual(self.names(), sorted(whole))
        self.assertGreater(died_early, 0)

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


class HelperTest(AdapterCase):
    """The engine may be wrong or dead; the helper says so and goes on."""

    PROGRAM = "sample"

    def refused(self, words, *messages, adapter=None):
        a = adapter or self.ready()
        a.send(*messages)
        answer = a.receive()
        self.assertEqual(answer["type"], "error", answer)
        self.assertRegex(answer["reason"], words)
        self.assertEqual(self.names(), [])
        return a, answer

    def still_works(self, a):
        header, receipt = a.archive(self.journal, 1, 8)
        self.check_receipt(header, receipt, "stored")
        self.assertEqual([json.loads(line) for line in
                          self.check_file(receipt).splitlines()],
                         self.journal.events[1:9])
        self.assertEqual(a.close()[0], 0)

    def spoil_batch(self, words, change):
        """A batch of the events 1 to 8 that `change` may alter."""
        header = self.journal.batch(1, 8)
        messages = [header] + json.loads(json.dumps(
            self.journal.events[1:9])) + [{"type": "end", "batch": 7}]
        changed = change(messages)
        if isinstance(changed, list):
            messages = changed
        a, answer = self.refused(words, *messages)
        self.assertEqual(answer["batch"], 7)
        self.still_works(a)
        for path in self.folder.iterdir():
            path.unlink()

    def test_sample_keeps_every_event(self):
        a = self.ready()
        self.assertFalse(a.readback)
        self.still_works(a)

    def test_every_batch_position_leads_to_the_root(self):
        """left and right in all shapes: with hashes, without, ragged."""
        small = Journal()
        for i in range(12):
            small.add(133, fields=[("n", i)])
        a = self.ready()
        for size in range(1, 13):
            for first in range(size):
                for last in range(first, size):
                    header, receipt = a.archive(small, first, last,
                                                size=size)
                    self.check_receipt(header, receipt, "stored")

    def test_event_is_missing(self):
        self.spoil_batch("event 4 came where 3 was due",
                         lambda m: m[:3] + m[4:])

    def test_event_is_repeated(self):
        self.spoil_batch("event 3 came where 4 was due",
                         lambda m: m[:4] + m[3:])

    def test_batch_ends_early(self):
        self.spoil_batch("ended before event 8", lambda m: m[:-2] + m[-1:])

    def test_batch_ends_late(self):
        extra = self.journal.events[9]
        self.spoil_batch("event 9 came where 9 was due",
                         lambda m: m[:-1] + [extra] + m[-1:])

    def test_end_of_another_batch(self):
        self.spoil_batch("end of batch 8 within batch 7",
                         lambda m: m[-1].update(batch=8))

    def test_data_differs_from_its_commitment(self):
        def change(m):
            part = m[5]["parts"][0]
            part["data"] = part["data"].replace("bob", "eve")
        self.spoil_batch("do not open the leaf's commitments", change)

    def test_salt_differs(self):
        self.spoil_batch("commitments",
                         lambda m: m[3]["parts"][0].update(
                             salt=m[4]["parts"][0]["salt"]))

    def test_part_is_missing(self):
        self.spoil_batch("fewer than the leaf names",
                         lambda m: m[4]["parts"].pop())

    def test_part_is_too_much(self):
        self.spoil_batch("commitments", lambda m: m[3]["parts"].append(
            m[3]["parts"][0]))

    def test_leaf_is_of_another_event(self):
        self.spoil_batch("not the event's own", lambda m: m[3].update(
            leaf=m[4]["leaf"]))

    def test_leaf_was_changed_in_the_journal(self):
        self.spoil_batch("do not lead to the batch's root",
                         lambda m: m[3].update(leaf=m[3]["leaf"].replace(
                             "5eed5eed 0", "5eed5eed 1")))

    def test_root_differs(self):
        self.spoil_batch("do not lead to the batch's root",
                         lambda m: m[0].update(root=m[0]["right"][0]))

    def test_proof_is_too_short_or_too_long(self):
        for name, words in (("left", "left"), ("right", "root")):
            self.spoil_batch(words, lambda m: m[0][name].pop())
            self.spoil_batch(words, lambda m: m[0][name].append(
                m[0]["root"]))

    def test_header_contradicts_itself(self):
        for change in ({"count": 9}, {"last": 0}, {"size": 8},
                       {"first": -1}, {"root": "AAAA"}, {"left": "x"},
                       {"left": ["x"]}, {"note": None}):
            self.spoil_batch(".", lambda m: m[0].update(change))

    def test_line_within_a_batch_is_no_json(self):
        a = self.ready()
        a.send(self.journal.batch(1, 8), self.journal.events[1])
        a.send_raw(b'{"type":"event","seq":2,\xff\n')
        a.send(*self.journal.events[3:9], {"type": "end", "batch": 7})
        answer = a.receive()
        self.assertEqual((answer["type"], answer["batch"]), ("error", 7))
        self.still_works(a)

    def test_unknown_messages_and_fields_are_ignored(self):
        a = self.ready()
        header = dict(self.journal.batch(1, 2), later="field")
        a.send({"type": "later"}, header, self.journal.events[1],
               {"type": "later"}, dict(self.journal.events[2], later=1),
               {"type": "end", "batch": 7})
        self.check_receipt(header, a.receive(), "stored")

    def test_messages_out_of_turn_end_the_adapter(self):
        header = self.journal.batch(1, 8)
        for messages in ([{"type": "end", "batch": 7}],
                         [self.journal.events[1]],
                         [header, header],
                         [header, {"type": "readback", "batch": 7,
                                   "first": 1, "last": 8, "location": "x"}]):
            a, _ = self.refused("out of turn", *messages)
            self.assertEqual(a.close()[0], 2)

    def test_read_back_that_was_not_offered(self):
        a, _ = self.refused("not offered", {
            "type": "readback", "batch": 7, "first": 1, "last": 8,
            "location": "x"})
        self.still_works(a)

    def test_line_without_end_is_bounded(self):
        a = self.ready()
        a.send_raw(b"x" * (17 << 20))
        answer = a.receive()
        self.assertEqual(answer["type"], "error")
        self.assertIn("longer than 16777216", answer["reason"])
        self.assertEqual(a.close()[0], 2)

    def test_handshake_must_fit(self):
        a = self.start(protocol=2)
        answer = a.receive()
        self.assertEqual(answer["type"], "error")
        self.assertIn("protocol 2", answer["reason"])
        self.assertEqual(a.close()[0], 2)
        a = self.start(directory=None)
        self.assertEqual(a.receive()["type"], "error")
        self.assertEqual(a.close()[0], 2)
        a = self.start(directory=7)
        self.assertEqual(a.receive()["type"], "error")
        self.assertEqual(a.close()[0], 2)

    def test_handshake_comes_first(self):
        path = str(BUILD / "libexec" / "sample")
        for raw, status in ((b"", 0), (b"{}\n", 2), (b"[]\n", 2),
                            (b'{"type":"end","batch":1}\n', 2),
                            (b"{", 0)):
            done = subprocess.run([path], input=raw, timeout=STEP_S,
                                  capture_output=True)
            self.assertEqual(done.returncode, status, raw)
            if status:
                self.assertEqual(json.loads(done.stdout)["type"], "error")

    def test_slow_batch_is_kept_alive(self):
        path = str(BUILD / "libexec" / "sample")
        lines = [{"type": "hello", "protocol": 1, "adapter": "records",
                  "software": "x", "domain": "x", "origin": ORIGIN,
                  "vkey": VKEY, "config": {"directory": str(self.folder)}},
                 self.journal.batch(1, 8)] + self.journal.events[1:9]
        with subprocess.Popen([path], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process:
            for line in lines:
                process.stdin.write(compact(line).encode() + b"\n")
                process.stdin.flush()
                time.sleep(0.8)
            process.stdin.close()
            said = [json.loads(line)["type"] for line in process.stdout]
        self.assertEqual(said[0], "ready")
        self.assertEqual(set(said[1:]), {"alive"})
        self.assertGreaterEqual(len(said), 2)


class ManualTest(AdapterCase):
    """The adapter that the manual shows is run as it stands there."""

    def setUp(self):
        super().setUp()
        text = (ROOT / "man" / "chancery-adapter.7").read_text()
        code = text.split('.\\" sample: begin\n.Bd -literal\n')[1].split(
            '.Ed\n.\\" sample: end\n')[0]
        self.assertNotIn("\\", code)  # nothing that mdoc would alter
        self.assertNotRegex(code, r"(?m)^[.']")
        self.sample = self.folder / "sample.py"
        self.sample.write_text(code)
        self.sample.chmod(0o755)
        self.archive = self.folder / "archive"
        self.archive.mkdir()

    def run_sample(self, **config):
        a = Adapter([str(self.sample)], **config)
        self.addCleanup(self.stop, a)
        return a

    def test_sample_archives_and_reads_back(self):
        a = self.run_sample(directory=str(self.archive))
        self.assertEqual(a.receive(), {
            "type": "ready", "protocol": 1, "program": "sample.py",
            "states": ["stored"], "readback": True})
        for _ in range(2):
            header, receipt = a.archive(self.journal, 1, 8)
            self.check_receipt(header, receipt, "stored")
            self.assertEqual([p.name for p in self.archive.iterdir()],
                             ["00000007.jsonl"])
            events, end = a.read_back(header, receipt["location"])
            self.assertEqual(events, self.journal.events[1:9])
            self.assertEqual(end["sha256"], receipt["sha256"])
        self.assertEqual(a.close(), (0, ""))

    def test_sample_reports_what_it_cannot_do(self):
        a = self.run_sample()
        self.assertEqual(a.receive()["type"], "error")
        self.assertEqual(a.close()[0], 2)
        a = self.run_sample(directory=str(self.archive))
        a.receive()
        self.archive.rmdir()
        _, answer = a.archive(self.journal, 1, 8)
        self.assertEqual((answer["type"], answer["batch"]), ("error", 7))


if __name__ == "__main__":
    unittest.main()
