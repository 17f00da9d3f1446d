"""Two of Debian's unmodified SIPE plugins, headless under libpurple.

The plugin file is the distribution's. The driver interposes one libxml2
function, see tests/sipe/shim.c.
"""

import unittest

from chancery import DOMAIN, Chancery
from sipe import SHIM, Sipe, available


def uri(user):
    return "sip:%s@%s" % (user, DOMAIN)


@unittest.skipUnless(available(), "pidgin-sipe or the driver is missing")
class TwoPlugins(unittest.TestCase):
    def start(self, c, user, transport):
        sipe = Sipe(c.folder, user, ("127.0.0.1", c.ports[transport]),
                    transport)
        c.helpers.append(sipe)
        return sipe.login()

    def ready(self, sipe):
        """Group chat is up once the reply to getinv is there."""
        sipe.debug.wait("'rpl:getinv'")
        return sipe

    def test_over_tcp(self):
        self.visit("tcp")

    def test_over_tls(self):
        self.visit("tls")

    def visit(self, transport):
        print("# " + SHIM)
        with Chancery(transports=(transport,)) as c:
            c.init().add_users("ann", "bob")
            hall = c.add_room("Hall", description="Entrance")
            board = c.add_room("Board", "closed", ["ann"])
            c.start()
            ann = self.ready(self.start(c, "ann", transport))
            found = ann.rooms()
            self.assertEqual(
                {n: r["uri"] for n, r in found.items()},
                {"Hall": hall, "Board": board})
            self.assertEqual(found["Hall"]["description"], "Entrance")
            ann.join(hall, "Hall")
            ann.say("Hall", "anyone here?")
            ann.expect("message", room="Hall", who=uri("ann"),
                       text="anyone here?")
            bob = self.ready(self.start(c, "bob", transport))
            bob.join(hall, "Hall")
            # History is shown with the join.
            bob.expect("message", room="Hall", who=uri("ann"),
                       text="anyone here?")
            ann.expect("enter", room="Hall", who=uri("bob"))
            bob.expect("enter", room="Hall", who=uri("ann"))
            self.talk(ann, bob)
            self.refusals(c, ann, bob, board)
            self.leave(c, ann, bob, hall)
            for sipe in (ann, bob):
                self.assertEqual(sipe.stop(), 0)
            self.check_journal(c, hall, transport)

    def talk(self, ann, bob):
        for speaker, listener in ((ann, bob), (bob, ann)):
            for text in ("hello from " + speaker.user, "a <b> & 'c' \"d\"",
                         "ünïcödé 漢字"):
                since = speaker.mark(), listener.mark()
                speaker.say("Hall", text)
                listener.expect("message", since[1], room="Hall",
                                who=speaker.uri, text=text)
                speaker.expect("message", since[0], room="Hall",
                               who=speaker.uri, text=text)

    def refusals(self, c, ann, bob, board):
        """The user sees why."""
        since = bob.mark()
        bob.command("join", uri=board)
        error = bob.expect("error", since)
        self.assertIn("Error joining chat room", error["text"])
        self.assertRegex(error["text"].split("\n")[1], r"[a-z]+ [a-z]+")
        since = bob.mark()
        bob.say("Hall", "x" * 20000)
        error = bob.expect("room-error", since, room="Hall")
        self.assertIn("not delivered", error["text"])
        since = bob.mark()
        bob.say("Hall", "shorter then")
        bob.expect("message", since, room="Hall", text="shorter then")

    def leave(self, c, ann, bob, hall):
        since = ann.mark()
        bob.part("Hall")
        ann.expect("exit", since, room="Hall", who=uri("bob"))
        since = ann.mark()
        bob.join(hall, "Hall")
        ann.expect("enter", since, room="Hall", who=uri("bob"))
        since = ann.mark()
        bob.logout()
        ann.expect("exit", since, room="Hall", who=uri("bob"))
        ann.logout()

    def check_journal(self, c, hall, transport):
        c.journal.wait(lambda j: len(j.events("leave")) == 3, "three leaves")
        joins, posts = c.journal.events("join"), c.journal.events("post")
        self.assertEqual([(e["user"], e["room"]) for e in joins],
                         [(uri(u), hall) for u in ("ann", "bob", "bob")])
        self.assertEqual({(e["via"], e["auth"]) for e in joins},
                         {(transport, "digest-md5")})
        texts = [(p["user"][4:7], p["text"]) for p in posts]
        expected = [("ann", "anyone here?")]
        for user in ("ann", "bob"):
            expected += [(user, "hello from " + user),
                         (user, "a <b> & 'c' \"d\""), (user, "ünïcödé 漢字")]
        self.assertEqual(texts, expected + [("bob", "shorter then")])
        reasons = [(e["user"][4:7], e["reason"])
                   for e in c.journal.events("leave")]
        self.assertEqual([user for user, _ in reasons],
                         ["bob", "bob", "ann"])
        self.assertEqual(reasons[0][1], "part")
        # SIPE writes its BYE with Nagle's delay on, and closes at once: with
        # bytes unread, the kernel drops what it held back and sends a reset.
        # Such a BYE never comes here.
        self.assertLessEqual({reason for _, reason in reasons[1:]},
                             {"bye", "lost"})
        reads = [e["user"][4:7] for e in c.journal.events("history")]
        self.assertEqual(reads, ["ann", "bob", "bob"])
        c.stop()
        c.journal.check()
        c.verify()

    def test_joins_waiting_are_sent_as_one_batch(self):
        with Chancery() as c:
            c.init().add_users("ann")
            rooms = [c.add_room("Room %d" % i) for i in range(3)]
            c.start()
            ann = Sipe(c.folder, "ann", ("127.0.0.1", c.ports["tcp"]))
            c.helpers.append(ann)
            ann.command("login", user="ann@" + DOMAIN, password="ann-secret",
                        transport="tcp", server="127.0.0.1:%d" %
                        c.ports["tcp"])
            ann.expect("signed-on")
            for room in rooms:
                ann.command("join", uri=room)
            for i in range(3):
                ann.expect("joined", room="Room %d" % i)
            self.assertEqual(len(c.journal.events("join")), 3)

    def test_wrong_password_is_told(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            ann = Sipe(c.folder, "ann", ("127.0.0.1", c.ports["tcp"]),
                       password="guess")
            c.helpers.append(ann)
            ann.command("login", user="ann@" + DOMAIN, password="guess",
                        transport="tcp", server="127.0.0.1:%d" %
                        c.ports["tcp"])
            ann.expect("connection-error")

    def test_a_restart_of_the_daemon(self):
        """SIPE is told, signs in again and is not joined behind its back."""
        with Chancery() as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            ann = self.ready(self.start(c, "ann", "tcp"))
            ann.join(hall, "Hall")
            ann.say("Hall", "before")
            ann.expect("message", text="before")
            c.kill()
            ann.expect("connection-error")
            c.start()
            again = Sipe(c.folder, "ann", ("127.0.0.1", c.ports["tcp"]))
            c.helpers.append(again)
            again.login()
            self.ready(again)
            again.join(hall, "Hall")
            again.expect("message", text="before")
            reasons = [e["reason"] for e in c.journal.events("leave")]
            self.assertEqual(reasons, ["restart"])


if __name__ == "__main__":
    unittest.main()
