"""Hostile bytes against the running daemon, while two users keep talking."""

import contextlib
import pathlib
import random
import secrets
import socket
import ssl
import unittest

from chancery import DOMAIN, ROOT, Chancery, wait_until
from sip import build
from xccos import NS, Lost

GOLDEN = ROOT / "tests/golden/sip"
SEED = 20261122
GUID = "11111111-aaaa-4000-8000-000000000001"
MARK = "HOSTILE"       # in every hostile text: must never reach the journal


def uri(user):
    return "sip:%s@%s" % (user, DOMAIN)


class Hostile(unittest.TestCase):
    def setUp(self):
        self.said, self.room = [], "ma-chan://%s/%s" % (DOMAIN, GUID)

    @contextlib.contextmanager
    def running(self, limits="", transports=("tcp", "udp"), users=()):
        """A daemon with two talking users; checked as a whole at the end."""
        with Chancery(transports=transports, limits=limits) as c:
            c.init().add_users("ann", "bob", "eve", *users)
            c.cli("room", "add", "Hall", "--id", GUID)
            c.start()
            self.c = c
            self.ann, self.bob = c.sign_in("ann"), c.sign_in("bob")
            self.ann.join(self.room)
            self.bob.join(self.room)
            roles = c.roles()
            self.talk("first")
            yield c
            self.talk("last")
            self.assertEqual(c.roles(), roles, "a role died")
            self.assertIsNone(c.log.find("Sanitizer|runtime error"))
            posts = c.journal.posts()
            self.assertEqual(posts, self.said)
            self.assertNotIn(MARK, str(c.journal.leaves()))
            self.assertEqual(self.ann.faults + self.bob.faults, [])
            c.stop()
            c.verify()

    def talk(self, what):
        """The service is alive: a post goes round."""
        text = "%s %d" % (what, len(self.said))
        self.assertEqual(self.ann.post(self.room, text), 200, what)
        self.said.append(text)
        self.bob.wait_post(text)

    # ---- raw bytes ----

    def tcp(self, data, timeout=3):
        """Sends on a fresh connection; what came back until it was over."""
        with socket.create_connection(
                ("127.0.0.1", self.c.ports["tcp"]), timeout) as s:
            with contextlib.suppress(OSError):
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(OSError):
                while True:
                    piece = s.recv(65536)
                    if not piece:
                        break
                    answer += piece
            return answer

    def udp(self, data):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            with contextlib.suppress(OSError):
                s.sendto(data, ("127.0.0.1", self.c.ports["udp"]))

    def eve(self):
        """A signed-in attacker on a connection of her own."""
        return self.c.sign_in("eve")

    def after_sign_in(self, data):
        eve = self.eve()
        eve.send_raw(data)
        try:
            # It may be swallowed as a body, or end the connection.
            eve.command("getinv", "", timeout=1)
        except (Lost, TimeoutError, AssertionError):
            pass
        eve.drop()

    def valid(self, method="INFO", body=None, call="hostile", extra=()):
        """A well-formed request, to be spoilt."""
        if body is None:
            body = ('<xccos ver="1" envid="1" xmlns="%s"><grpchat '
                    'id="grpchat" seqid="1" chanUri="%s" author="%s" '
                    'ts="2026-01-01T00:00:00Z"><chat>%s</chat></grpchat>'
                    "</xccos>" % (NS, self.room, uri("eve"), MARK)).encode()
        return build("%s sip:chat@%s SIP/2.0" % (method, DOMAIN), [
            ("Via", "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK%s" %
             secrets.token_hex(6)),
            ("From", "<%s>;tag=1;epid=00" % uri("eve")),
            ("To", "<sip:chat@%s>" % DOMAIN),
            ("Call-ID", call), ("CSeq", "1 " + method),
            ("Max-Forwards", "70"), ("Contact", "<%s>" % uri("eve")),
            ("Content-Type", "text/plain")] + list(extra), body)

    # ---- tests ----

    def test_torture_messages(self):
        files = sorted(p for p in pathlib.Path(GOLDEN).rglob("*")
                       if p.is_file())
        self.assertGreater(len(files), 30, "no torture messages")
        with self.running():
            for path in files:
                data = path.read_bytes()
                with self.subTest(message=path.name):
                    self.tcp(data)
                    self.udp(data[:65000])
                    self.talk(path.name)
            for path in files:
                with self.subTest(signed_in=path.name):
                    self.after_sign_in(path.read_bytes())
            self.talk("after torture")

    def test_framing(self):
        """Oversize, bad lengths, floods of headers, no end, nonsense."""
        whole = self.valid()
        head, _, body = whole.partition(b"\r\n\r\n")
        attacks = {
            "length too large": head.replace(
                b"Content-Length: ", b"Content-Length: 99") + b"\r\n\r\n",
            "length absurd": head.replace(
                b"Content-Length: ", b"Content-Length: 9" + b"9" * 30) +
            b"\r\n\r\n" + body,
            "length negative": head.replace(
                b"Content-Length: ", b"Content-Length: -") + b"\r\n\r\n",
            "length text": head.replace(
                b"Content-Length: ", b"Content-Length: x") + b"\r\n\r\n",
            "two lengths": head + b"\r\nContent-Length: 3\r\n\r\n" + body,
            "no length": b"\r\n".join(
                ln for ln in head.split(b"\r\n")
                if not ln.startswith(b"Content-Length")) + b"\r\n\r\n" + body,
            "body over the limit": self.valid(body=b"x" * 200000),
            "header over the limit": head + b"\r\nX: " + b"y" * 200000 +
            b"\r\n\r\n",
            "header without end": head + b"\r\nX: " + b"y" * 2000000,
            "many headers": head + b"".join(
                b"\r\nX-%d: y" % i for i in range(5000)) + b"\r\n\r\n",
            "many Via": whole.replace(
                b"\r\nFrom", b"\r\nVia: SIP/2.0/TCP b" * 500 + b"\r\nFrom"),
            "deep folding": head + b"\r\nX: a" + b"\r\n " * 3000 +
            b"\r\n\r\n",
            "blank lines": b"\r\n" * 100000,
            "zeros": b"\0" * 100000,
            "ones": b"\xff" * 100000,
            "line feeds": b"\n" * 100000,
            "colons": b":" * 100000 + b"\r\n\r\n",
            "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" +
            b"\xaa" * 507,
            "response to nothing": b"SIP/2.0 200 OK\r\n" +
            head.split(b"\r\n", 1)[1] + b"\r\n\r\n" + body,
            "NUL in a header": whole.replace(b"tag=1", b"tag=1\0x"),
            "NUL in the start line": whole.replace(b"chat@", b"ch\0t@", 1),
            "bad UTF-8 in a header": whole.replace(b"tag=1", b"tag=\xff\xfe"),
        }
        with self.running(limits="message-bytes = 65536 headers = 64"):
            for name, data in attacks.items():
                with self.subTest(attack=name):
                    answer = self.tcp(data)
                    self.assertNotIn(b"SIP/2.0 200", answer)
                    self.udp(data[:60000])
                    self.after_sign_in(data)
                    self.talk(name)

    def test_truncated_everywhere(self):
        with self.running():
            for method in ("REGISTER", "INVITE", "INFO", "SUBSCRIBE"):
                whole = self.valid(method)
                for cut in range(0, len(whole), 9):
                    self.udp(whole[:cut])
                    if cut % 4 == 0:
                        self.tcp(whole[:cut])
                self.talk("cut " + method)

    def test_mutations(self):
        chance = random.Random(SEED)
        with self.running():
            eve = self.eve()
            for number in range(600):
                data = bytearray(self.valid(chance.choice(
                    ("REGISTER", "INVITE", "INFO", "SUBSCRIBE", "BYE",
                     "ACK", "UPDATE", "CANCEL", "OPTIONS", "NOTIFY"))))
                for _ in range(chance.randrange(1, 8)):
                    at = chance.randrange(len(data))
                    what = chance.randrange(3)
                    if what == 0:
                        data[at] = chance.randrange(256)
                    elif what == 1:
                        del data[at:at + chance.randrange(1, 9)]
                    else:
                        data[at:at] = bytes(
                            chance.choice(b'<>;:"@\r\n \0\xff%=,')
                            for _ in range(chance.randrange(1, 5)))
                self.udp(bytes(data))
                eve.send_raw(bytes(data))
                if eve.lost:
                    eve = self.eve()
                if number % 100 == 99:
                    self.tcp(bytes(data))
                    self.talk("mutation")

    def bodies(self):
        post = ('<xccos ver="1" envid="1" xmlns="%s"><grpchat id="grpchat" '
                'seqid="1" chanUri="%s" author="%s" ts="2026-01-01T00:00:00Z"'
                '><chat>%s</chat></grpchat></xccos>')
        plain = post % (NS, self.room, uri("eve"), MARK)
        lol = "".join('<!ENTITY l%d "%s">' % (i, "&l%d;" % (i - 1) * 10)
                      for i in range(1, 12))
        return {
            "billion laughs": '<!DOCTYPE x [<!ENTITY l0 "%s">%s]>' % (
                MARK, lol) + post % (NS, self.room, uri("eve"), "&l11;"),
            "external entity":
            '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' +
            post % (NS, self.room, uri("eve"), MARK + "&e;"),
            "external subset": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x">' +
            plain,
            "parameter entity": '<!DOCTYPE x [<!ENTITY % p SYSTEM '
            '"file:///etc/passwd">%p;]>' + plain,
            "quadratic": '<!DOCTYPE x [<!ENTITY a "%s">]>' % (
                "a" * 20000) + post % (NS, self.room, uri("eve"),
                                       "&a;" * 5000),
            "deep nesting": '<xccos ver="1" envid="1" xmlns="%s">' % NS +
            "<a>" * 9000,
            "deep and closed": '<xccos ver="1" envid="1" xmlns="%s">' % NS +
            "<a>" * 4000 + "</a>" * 4000 + "</xccos>",
            "many attributes": '<xccos ver="1" %s xmlns="%s"/>' % (
                " ".join('a%d="1"' % i for i in range(5000)), NS),
            "many namespaces": '<xccos ver="1" %s xmlns="%s"/>' % (
                " ".join('xmlns:a%d="u%d"' % (i, i) for i in range(2000)),
                NS),
            "bad UTF-8": plain.encode().replace(
                MARK.encode(), b"\xff\xfe" + MARK.encode()),
            "overlong UTF-8": plain.encode().replace(
                MARK.encode(), b"\xc0\xaf" + MARK.encode()),
            "surrogate": plain.encode().replace(
                MARK.encode(), b"\xed\xa0\x80" + MARK.encode()),
            "NUL": plain.encode().replace(
                MARK.encode(), MARK.encode() + b"\0x"),
            "control character": plain.replace(MARK, MARK + "\x01"),
            "character reference to NUL": plain.replace(MARK, MARK + "&#0;"),
            "UTF-16": plain.encode("utf-16"),
            "UTF-7": '<?xml version="1.0" encoding="UTF-7"?>' + plain,
            "unknown encoding": '<?xml version="1.0" encoding="x"?>' + plain,
            "wrong namespace": plain.replace(NS, "urn:x"),
            "no namespace": plain.replace(' xmlns="%s"' % NS, ""),
            "unclosed": plain[:-9],
            "two roots": plain + plain,
            "trailing text": plain + MARK,
            "empty": "",
            "no XML": MARK,
            "no room": plain.replace(self.room, ""),
            "room of another domain": plain.replace(
                DOMAIN + "/", "other.test/"),
            "room with a quote": plain.replace(
                self.room, self.room + "' OR 1=1 --"),
            "endless room": plain.replace(self.room, "ma-chan://" +
                                          "a" * 30000),
            "not joined": plain,
        }

    def test_bodies(self):
        with self.running():
            for name, body in self.bodies().items():
                with self.subTest(body=name):
                    eve = self.eve()
                    try:
                        final = eve.info(body).wait(20)
                        self.assertNotIn(final.status, (481,))
                        self.assertLess(final.status, 700)
                    except Lost:
                        pass
                    if not eve.lost:
                        eve.drop()
                    self.talk(name)

    def test_truncated_bodies(self):
        with self.running():
            body = self.bodies()["not joined"]
            eve = self.eve()
            eve.join(self.room)
            finals = [eve.info(body[:cut]) for cut in range(0, len(body), 3)]
            for transaction in finals:
                self.assertNotEqual(transaction.wait(30).status, 0)
            self.assertEqual(self.c.journal.posts(), self.said)
            self.assertEqual(self.bob.posts(), self.said)

    def test_odd_commands(self):
        with self.running():
            eve = self.eve()
            eve.join(self.room)
            odd = [("join", ""), ("join", "<chanid/>"),
                   ("join", '<chanid key="0" domain="" value=""/>'),
                   ("join", '<chanid key="0" domain="%s" value="../x"/>' %
                    DOMAIN),
                   ("bjoin", '<chanid key="x" domain="a" value="b"/>' * 500),
                   ("part", ""), ("part", '<chanib uri="x"/>'),
                   ("bccontext", ""), ("bccontext", '<chanib uri="%s"/>' %
                                       self.room),
                   ("bccontext", '<chanib uri="%s"/><bcq><last cnt="-1"/>'
                    "</bcq>" % self.room),
                   ("bccontext", '<chanib uri="%s"/><bcq><last cnt="%s"/>'
                    "</bcq>" % (self.room, "9" * 40)),
                   ("chansrch", ""), ("chansrch", '<qib qtype="x"/>'),
                   ("chansrch", '<qib qtype="BYNAME" criteria="%s" '
                    'extended="false"/>' % ("%" * 9000)),
                   ("getserverinfo", ""), ("getinv", ""),
                   ("getassociations", '<association type="%s"/>' %
                    ("A" * 9000)),
                   ("x" * 3000, ""), ("a&lt;b", "")]
            for name, data in odd:
                with self.subTest(command=name[:40], data=data[:60]):
                    envid, body = eve.envelope(
                        '<cmd id="cmd:%s" seqid="1"><data>%s</data></cmd>' %
                        (name, data))
                    final = eve.info(body, envid=envid).wait()
                    self.assertIn(final.status // 100, (2, 4))
                    self.assertIsNone(eve.lost)
            self.assertEqual(eve.search().code, 200)

    def test_connections(self):
        """More connections than one address may have."""
        limit = 30
        with self.running(limits="connections-per-address = %d" % limit):
            held, refused = [], 0
            for _ in range(limit + 20):
                s = socket.create_connection(
                    ("127.0.0.1", self.c.ports["tcp"]), 5)
                held.append(s)
            for s in held:
                s.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    with contextlib.suppress(ConnectionError):
                        s.recv(100)     # the end, or a refusal
                    refused += 1
            # Ann and Bob have two of the places.
            self.assertEqual(refused, 22)
            self.talk("crowded")
            for s in held:
                s.close()
            wait_until(self.can_sign_in, "places are not given back")

    def can_sign_in(self):
        try:
            eve = self.eve()
        except (Lost, OSError, TimeoutError):
            return False
        eve.drop()
        return True

    def test_unanswered_copies_have_a_bound(self):
        """A reader who stops reading is cut off, not waited for."""
        with self.running(users=("sloth",)):
            sloth = self.c.sign_in("sloth")
            sloth.join(self.room)
            sloth.connection.stop_reading()
            text = "y" * 8000
            for n in range(1500):
                self.assertEqual(self.ann.post(self.room, text), 200)
                self.said.append(text)
            self.talk("not held up")
            gone = self.c.journal.wait(
                lambda j: [e for e in j.events("leave")
                           if e["user"] == uri("sloth")],
                "the reader who does not read stays", timeout=90)
            self.assertEqual(gone[0]["reason"], "lost")

    def test_tls_nonsense(self):
        with self.running(transports=("tcp", "tls", "udp")):
            port = self.c.ports["tls"]
            for data in (b"\x16\x03\x01\xff\xff" + b"x" * 70000,
                         self.valid(), b"\x80\x2e\x01\x00\x02" + b"\0" * 60,
                         b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", b""):
                with socket.create_connection(("127.0.0.1", port), 3) as s:
                    with contextlib.suppress(OSError):
                        s.sendall(data)
                        s.shutdown(socket.SHUT_WR)
                        while s.recv(65536):
                            pass
                self.talk("TLS nonsense")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(socket.create_connection(
                    ("127.0.0.1", port), 3)) as s:
                self.assertIn(s.version(), ("TLSv1.2", "TLSv1.3"))
                with contextlib.suppress(OSError):
                    s.sendall(b"\0" * 100000)
            eve = self.c.sign_in("eve", transport="tls")
            self.assertEqual(eve.search().code, 200)



if __name__ == "__main__":
    unittest.main()
