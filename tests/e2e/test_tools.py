"""The tests' own tools: what they rely on is checked first."""

import hashlib
import unittest

from chancery import tree_root
from sip import build, challenge, digest, parse

ANSWER = (b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a\r\nvia: SIP/2.0/TCP b\r\n"
          b"From: <sip:ann@d>;tag=1;epid=2\r\nTo: <sip:ann@d>; tag=s0\r\n"
          b"Call-ID: c\r\nCSeq: 7 REGISTER\r\nSubject: a\r\n  b\r\n"
          b"Content-Length: 4\r\n\r\nbody")


class Parser(unittest.TestCase):
    def test_fields_of_a_response(self):
        message, rest = parse(b"\r\n\r\n" + ANSWER + b"SIP")
        self.assertEqual(rest, b"SIP")
        self.assertEqual((message.status, message.reason), (200, "OK"))
        self.assertEqual((message.cseq, message.method), (7, "REGISTER"))
        self.assertEqual(message.all("VIA"),
                         ["SIP/2.0/TCP a", "SIP/2.0/TCP b"])
        self.assertEqual(message.tag("To"), "s0")
        self.assertEqual(message.address("From"), "sip:ann@d")
        self.assertEqual(message.get("Subject"), "a b")
        self.assertEqual(message.body, b"body")

    def test_waits_at_every_cut(self):
        for cut in range(len(ANSWER)):
            message, rest = parse(ANSWER[:cut])
            self.assertIsNone(message)
            message, rest = parse(rest + ANSWER[cut:])
            self.assertEqual(message.body, b"body")

    def test_refuses_what_a_client_could_not_read(self):
        for bad in (ANSWER.replace(b"Content-Length: 4\r\n", b""),
                    ANSWER.replace(b"Call-ID:", b"Call-ID"),
                    ANSWER.replace(b"Call-ID:", b"Call-ID :"),
                    ANSWER.replace(b" OK", b""),
                    ANSWER.replace(b"Via: ", b"Content-Length: 4\r\nVia: ")):
            with self.assertRaises(ValueError):
                parse(bad)

    def test_builds_what_it_parses(self):
        data = build("INFO sip:a@d SIP/2.0", [("CSeq", "2 INFO")], b"xy")
        message, rest = parse(data)
        self.assertEqual((message.method, message.uri), ("INFO", "sip:a@d"))
        self.assertEqual((message.cseq, message.body, rest), (2, b"xy", b""))


class Digest(unittest.TestCase):
    """Check values computed by hand with md5sum and sha256sum."""

    FIELDS = {"realm": "chat.example", "nonce": "8f2a1c"}

    def response(self, uri, **more):
        value = digest(dict(self.FIELDS, **more), "REGISTER", uri,
                       "ann@chat.example", "s3cret", cnonce="1a2b3c4d")
        return challenge(value)["response"]

    def test_md5(self):
        self.assertEqual(self.response("(null)"),
                         "b45dfdd93b8a3eee09d18038806b57de")
        self.assertEqual(self.response("sip:chat.example"),
                         "abfd5f528c605433652284895a2163de")

    def test_sha256(self):
        value = self.response("sip:chat.example", algorithm="SHA-256")
        self.assertEqual(len(value), 64)
        self.assertNotEqual(value, self.response(
            "(null)", algorithm="SHA-256"))

    def test_challenge(self):
        found = challenge('Digest realm="a, b", nonce="n", algorithm=MD5, '
                          'stale=true, qop="auth"')
        self.assertEqual(found["realm"], "a, b")
        self.assertEqual((found["stale"], found["qop"]), ("true", "auth"))
        self.assertIsNone(challenge('NTLM realm="x"'))


class Tree(unittest.TestCase):
    def test_root_follows_the_recursive_definition(self):
        def root(leaves):
            if len(leaves) == 1:
                return leaves[0]
            k = 1
            while k * 2 < len(leaves):
                k *= 2
            return hashlib.sha256(
                b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()

        leaves = [hashlib.sha256(b"\0%d" % i).digest() for i in range(70)]
        for size in range(1, 71):
            self.assertEqual(tree_root(leaves[:size]), root(leaves[:size]))
        self.assertEqual(tree_root([]), hashlib.sha256(b"").digest())
