"""The syslog adapter against a real rsyslogd, and against false ones."""

import base64
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from adapter_fixture import (  # noqa: E402
    ANN, ORIGIN, ROOM, STEP_S, AdapterCase, Journal)

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
    # the sanitizer must see through the library to name it
    ENVIRONMENT = {
        "ASAN_OPTIONS": "fast_unwind_on_malloc=0",
        "LSAN_OPTIONS": "print_suppressions=0:suppressions=%s"
                        % pathlib.Path(__file__).with_name("librelp.supp")}

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
