"""What happens by itself when time passes. The waits run side by side."""

import socket
import ssl
import threading
import time
import unittest

from chancery import DOMAIN, Chancery


def uri(user):
    return "sip:%s@%s" % (user, DOMAIN)


class Timers(unittest.TestCase):
    """limits: a message in 3 s, silence 70 s, session 90 s, sign-in 60 s."""

    def test_all(self):
        with Chancery(transports=("tcp", "tls"),
                      limits="message-s = 3 session-s = 90 register-s = 60 "
                      "idle-s = 70") as c:
            c.init().add_users("ann", "bob", "cid", "dee")
            room = c.add_room("Hall")
            c.start()
            self.c = c
            annex = c.add_room("Annex")
            bob = c.sign_in("bob")
            bob.join(room)
            bob.join(annex)
            watches = [self.drip, self.drip_tls, self.half_handshake,
                       self.silent_stranger]
            threads = [Watch(w) for w in watches]
            ann = c.sign_in("ann")       # stops registering
            ann.join(room)
            # Registers, but lets the chat lapse; nothing is to be answered.
            cid = c.sign_in("cid")
            cid.join(annex)
            self.assertEqual(cid.dialog.expires, 90)
            started = time.monotonic()
            pause = threading.Event()
            while time.monotonic() < started + 130 and not (
                    self.reason("ann") and self.late_update(cid, started)):
                ann.send_raw(b"\r\n\r\n")      # there, but not signing in
                for client in (bob, cid):
                    self.assertEqual(client.register().status, 200)
                self.assertEqual(bob.request(
                    "UPDATE", None, [], dialog=bob.dialog).status, 200)
                pause.wait(5)
            self.assertEqual(self.reason("ann"), "expired")
            bob.wait_event("part", uri("ann"), room)
            self.session_lapsed(c, annex, bob, cid)
            for thread in threads:
                thread.finish(self)
            self.assertEqual(bob.post(room, "still here"), 200)
            bob.wait_post("still here")
            self.assertEqual(bob.faults, [])

    def reason(self, user):
        found = [e["reason"] for e in self.c.journal.events("leave")
                 if e["user"] == uri(user)]
        return found[0] if found else None

    @staticmethod
    def late_update(cid, started):
        return time.monotonic() > started + 95

    def session_lapsed(self, c, room, bob, cid):
        """481 to the next request, no BYE, and still a member."""
        self.assertFalse(cid.dialog.ended, "the server sent BYE")
        final = cid.request("UPDATE", None, [], dialog=cid.dialog)
        self.assertEqual(final.status, 481)
        self.assertIsNone(self.reason("cid"))
        self.assertEqual(cid.open_chat(lookup=False).status, 200)
        self.assertEqual(bob.post(room, "welcome back"), 200)
        cid.wait_post("welcome back")
        self.assertEqual(cid.faults, [])

    def connect(self, transport):
        return socket.create_connection(
            ("127.0.0.1", self.c.ports[transport]), 5)

    @staticmethod
    def until_closed(s, limit):
        """Seconds until the server closes; None after limit."""
        start = time.monotonic()
        s.settimeout(limit)
        try:
            while s.recv(4096):
                pass
        except TimeoutError:
            return None
        except OSError:
            pass
        return time.monotonic() - start

    def drip(self):
        """A message that never ends, a byte now and then."""
        return self.dripping(self.connect("tcp"))

    def drip_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return self.dripping(context.wrap_socket(self.connect("tls")))

    @staticmethod
    def dripping(s):
        data = b"REGISTER sip:x SIP/2.0\r\n" + b"X: " + b"y" * 1000
        start, pause = time.monotonic(), threading.Event()
        s.settimeout(0.2)
        for byte in data:
            try:
                s.sendall(bytes([byte]))
                if s.recv(4096) == b"":
                    return time.monotonic() - start
            except TimeoutError:
                pass
            except OSError:
                return time.monotonic() - start
            if time.monotonic() > start + 30:
                return None
            pause.wait(0.05)
        return None

    def half_handshake(self):
        s = self.connect("tls")
        s.sendall(b"\x16\x03\x01\x02")
        return self.until_closed(s, 60)

    def silent_stranger(self):
        return self.until_closed(self.connect("tcp"), 100)


class Watch(threading.Thread):
    LIMITS = {"drip": 15, "drip_tls": 15, "half_handshake": 60,
              "silent_stranger": 90}

    def __init__(self, function):
        super().__init__(daemon=True, name=function.__name__)
        self.function, self.result, self.error = function, None, None
        self.start()

    def run(self):
        try:
            self.result = self.function()
        except OSError as error:
            self.error = error

    def finish(self, test):
        self.join(120)
        with test.subTest(watch=self.name):
            test.assertIsNone(self.error)
            test.assertIsNotNone(self.result, "was never cut off")
            test.assertLess(self.result, self.LIMITS[self.name])


if __name__ == "__main__":
    unittest.main()
