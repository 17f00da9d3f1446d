"""Who signs in, how, and who does not."""

import os
import re
import secrets
import socket
import stat
import unittest

from chancery import DOMAIN, Chancery, wait_until
from sip import challenge, digest


class SignIn(unittest.TestCase):
    def test_each_transport_and_digest(self):
        with Chancery(transports=("tcp", "tls", "udp")) as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            for transport in ("tcp", "tls", "udp"):
                for algorithm in ("MD5", "SHA-256"):
                    with self.subTest(transport=transport,
                                      algorithm=algorithm):
                        self.one_visit(c, room, transport, algorithm)
            self.assertEqual(c.faults(), [])

    def one_visit(self, c, room, transport, algorithm):
        ann = c.sign_in("ann", transport=transport, algorithm=algorithm)
        self.assertEqual(ann.join(room).code, 200)
        self.assertEqual(ann.post(room, "by " + transport), 200)
        ann.wait_post("by " + transport)
        ann.sign_off()
        join = c.journal.events("join")[-1]
        self.assertEqual(join["user"], "sip:ann@" + DOMAIN)
        self.assertEqual(join["name"], "Ann")
        self.assertEqual(join["auth"], "digest-" + {
            "MD5": "md5", "SHA-256": "sha256"}[algorithm])
        self.assertEqual(join["via"], transport)
        self.assertEqual(join["device"], ann.epid)
        self.assertRegex(join["peer"], r"^127\.0\.0\.1:\d+$")
        c.journal.wait(
            lambda j: [e for e in j.events("leave", since=join["seq"])
                       if e["joined"] == join["seq"]],
            "no leave after sign-off")

    def test_over_ipv6(self):
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError as error:
            self.skipTest("no ::1 on this machine: %s" % error)
        with Chancery(transports=("tcp", "udp"), host="::1") as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann", transport="tcp")
            bob = c.sign_in("bob", transport="udp")
            for client in (ann, bob):
                self.assertEqual(client.join(room).code, 200)
                self.assertEqual(client.post(room, "by " + client.user), 200)
            for client, first in (ann, 0), (bob, 1):
                client.wait_post("by bob")
                said = ["by ann", "by bob"]
                self.assertEqual(client.posts(room), said[first:])
                self.assertEqual(
                    [m[1] for m in client.history(room).messages()], said)
            status = c.cli_json("status")["server"]
            self.assertEqual((status["sip"]["sessions"],
                              status["sip"]["connections"],
                              status["joined"]), (2, 1, 2))
            self.assertEqual(
                [(e["user"], e["via"], e["peer"])
                 for e in c.journal.events("join")],
                [(client.uri, client.transport,
                  "[::1]:%d" % client.connection.local[1])
                 for client in (ann, bob)])
            self.assertEqual(c.faults(), [])

    def test_what_sipe_needs_in_the_answer(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            ann = c.client("ann").connect()
            final = ann.register()
            self.assertEqual(final.status, 200)
            self.assertGreater(int(final.get("Expires")), 30)
            self.assertIn("msrtc-event-categories", final.all("Supported"))
            self.assertIn("vnd-microsoft-provisioning-v2",
                          final.get("Allow-Events").split(","))
            self.assertNotIn(" ", final.get("Allow-Events"))
            body = ann.subscribe()
            self.assertIn('"EnablePersistentChat">true<', body)
            self.assertRegex(ann.chat_uri, r"^sip:\S+@" + DOMAIN + "$")
            before = len(ann.notifies)
            self.assertEqual(ann.unsubscribe().status, 200)
            self.assertEqual(ann.invite().status, 200)
            self.assertEqual(len(ann.notifies), before)

    def test_both_digests_are_offered(self):
        """SIPE reads the first challenge only, and knows only MD5."""
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            for supported, order in (("msrtc-event-categories",
                                      ["MD5", "SHA-256"]),
                                     ("gruu", ["SHA-256", "MD5"])):
                ann = c.client("ann").connect()
                final = ann.request(
                    "REGISTER", "sip:" + DOMAIN,
                    [("Contact", ann.contact()), ("Supported", supported)],
                    to=ann.uri, from_tag="1", call_id=secrets.token_hex(8))
                self.assertEqual(final.status, 407)
                offers = [challenge(v) for v in
                          final.all("Proxy-Authenticate")]
                self.assertEqual([o["algorithm"] for o in offers], order)
                for offer in offers:
                    self.assertEqual((offer["realm"], offer["qop"]),
                                     (DOMAIN, "auth"))
                    self.assertNotIn("stale", offer)

    def test_quirk_uri_null(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            ann = c.client("ann", algorithm="MD5").connect()
            ann.digest_uri = "(null)"
            self.assertEqual(ann.register().status, 200)

    def test_refused(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            c.cli("user", "add", "sip:mute@" + DOMAIN)
            c.start()
            cases = [("wrong password", "ann", "guess"),
                     ("unknown user", "nobody", "nobody-secret"),
                     ("no password set", "mute", ""),
                     ("empty password", "ann", "")]
            for what, user, password in cases:
                for algorithm in ("MD5", "SHA-256"):
                    with self.subTest(what=what, algorithm=algorithm):
                        client = c.client(user, password=password,
                                          algorithm=algorithm).connect()
                        self.assertEqual(client.register().status, 403)
                        self.assertEqual(len(client.nonces), 1)
            self.assertEqual(c.sign_in("bob").faults, [])

    def test_guesses_are_slowed_and_on_record(self):
        with Chancery(extra="journal { beat-s = 1 }\n") as c:
            c.init().add_users("ann", "bob")
            c.start()
            statuses = []
            for n in range(7):
                guesser = c.client("ann", password="guess %d" % n).connect()
                final = guesser.register()
                statuses.append(final.status)
            self.assertEqual(statuses, [403] * 5 + [503] * 2)
            self.assertIn(final.get("Retry-After"), ("1", "2"))
            self.assertEqual(c.sign_in("bob").faults, [])
            elsewhere = c.client("ann", source="127.0.0.2").connect()
            self.assertEqual(elsewhere.register().status, 200)
            told = c.journal.wait(
                lambda j: [d for d in j.control("drop")
                           if d["what"] == "password"], "no drop record")
            c.journal.wait(
                lambda j: sum(int(d["count"]) for d in j.control("drop"))
                == 7, "not all are counted: %r" % told)
            status = c.cli_json("status")["server"]["sip"]
            self.assertEqual((status["wrong_passwords"],
                              status["guesses_slowed"]), (5, 2))
            # Once the pause is over the right one is taken.
            wait_until(lambda: c.client("ann").connect().register().status
                       == 200, "ann is locked out", step=0.3)

    def test_credentials_for_another_request(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            ann = c.client("ann").connect()
            ann.digest_uri = "sip:bob@" + DOMAIN
            self.assertEqual(ann.register().status, 400)

    def test_credentials_of_another_user(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            c.start()
            bob = c.client("bob").connect()
            bob.uri = "sip:ann@" + DOMAIN     # From and To; login stays bob
            self.assertEqual(bob.register().status, 403)

    def test_stale_nonce_is_challenged_again(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            for algorithm in ("MD5", "SHA-256"):
                ann = c.client("ann", algorithm=algorithm).connect()
                uri = "sip:" + DOMAIN
                answer = digest(
                    {"realm": DOMAIN, "nonce": secrets.token_hex(16),
                     "algorithm": algorithm}, "REGISTER", uri, ann.login,
                    ann.password)
                final = ann.request(
                    "REGISTER", uri, [("Contact", ann.contact()),
                                      ("Proxy-Authorization", answer)],
                    to=ann.uri, from_tag="1", call_id=secrets.token_hex(8))
                self.assertEqual(final.status, 407)
                for offer in final.all("Proxy-Authenticate"):
                    self.assertRegex(offer, "stale=true")
                self.assertEqual(ann.register().status, 200)

    def test_overheard_answer_signs_nobody_in(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            ann = c.client("ann").connect()
            self.assertEqual(ann.register().status, 200)
            eve = c.client("ann").connect()
            final = eve.request(
                "REGISTER", "sip:" + DOMAIN,
                [("Contact", eve.contact()),
                 ("Proxy-Authorization", ann.authorization)],
                to=ann.uri, from_tag="1", call_id="eve")
            self.assertEqual(final.status, 407)

    def test_identity_is_bound_to_the_connection(self):
        with Chancery(transports=("tcp", "udp")) as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall")
            c.start()
            for transport in ("tcp", "udp"):
                with self.subTest(transport=transport):
                    self.bound(c, room, transport)

    def bound(self, c, room, transport):
        ann = c.client("ann", transport=transport).connect()
        self.assertEqual(ann.register().status, 200)
        for method in ("INVITE", "SUBSCRIBE"):
            final = ann.request(
                method, "sip:bob@" + DOMAIN, [
                    ("Contact", ann.contact()),
                    ("Event", "vnd-microsoft-provisioning-v2")],
                to="sip:bob@" + DOMAIN, from_uri="sip:bob@" + DOMAIN,
                from_tag="1", call_id=secrets.token_hex(8))
            self.assertEqual(final.status, 403, method)
        stranger = c.client("bob", transport=transport,
                            password="guess").connect()
        final = stranger.invite("sip:chat@" + DOMAIN)
        self.assertIn(final.status, (401, 403, 407))
        ann.subscribe()
        ann.open_chat()
        ann.join(room)
        ann.post(room, "truly mine", author="sip:bob@" + DOMAIN)
        self.assertEqual(ann.wait_post("truly mine").user, ann.uri)
        self.assertEqual(c.journal.events("post")[-1]["user"], ann.uri)
        ann.sign_off()

    def test_register_again(self):
        with Chancery() as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(room)
            for _ in range(3):
                self.assertEqual(ann.register().status, 200)
                self.assertEqual(ann.post(room, "still here"), 200)
            self.assertEqual(len(c.journal.events("join")), 1)
            self.assertEqual(len(c.journal.events("leave")), 0)

    def test_keep_alive(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            ann = c.sign_in("ann")
            for _ in range(5):
                ann.send_raw(b"\r\n\r\n")
            self.assertEqual(ann.search().code, 200)

    def test_several_endpoints_of_one_user(self):
        with Chancery() as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            desk, phone = c.sign_in("ann"), c.sign_in("ann")
            desk.join(room)
            phone.join(room)
            self.assertEqual(desk.post(room, "both get it"), 200)
            desk.wait_post("both get it")
            phone.wait_post("both get it")
            phone.sign_off()
            self.assertEqual(desk.post(room, "one left"), 200)
            desk.wait_post("one left")
            devices = {e["device"] for e in c.journal.events("join")}
            self.assertEqual(devices, {desk.epid, phone.epid})

    def test_passwords_are_nowhere_in_clear(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            c.sign_in("ann")
            c.stop()
            secret = re.compile(b"ann-secret")
            for folder, _, names in os.walk(c.folder):
                for name in names:
                    path = os.path.join(folder, name)
                    if stat.S_ISREG(os.stat(path).st_mode):
                        with open(path, "rb") as f:
                            self.assertIsNone(secret.search(f.read()), path)
            mode = os.stat(c.state / "chat/chat.db").st_mode
            self.assertEqual(stat.S_IMODE(mode) & 0o077, 0)
            mode = os.stat(c.state / "signer/key").st_mode
            self.assertEqual(stat.S_IMODE(mode) & 0o077, 0)


if __name__ == "__main__":
    unittest.main()
