"""Rooms, joins, talk, history, leaving; and all of it in the journal."""

import unittest

from chancery import DOMAIN, Chancery
from xccos import Dialog, Q

UNKNOWN = "ma-chan://%s/99999999-aaaa-4000-8000-000000000009" % DOMAIN


def uri(user):
    return "sip:%s@%s" % (user, DOMAIN)


class Chat(unittest.TestCase):
    def test_conversation(self):
        """Join, notices, talk both ways, echo, history, part."""
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall", description="Entrance")
            c.start()
            ann, bob = c.sign_in("ann", lookup=True), c.sign_in("bob")
            reply = ann.join(room)
            self.assertEqual((reply.code, reply.text), (200, "SUCCESS_OK"))
            chanib = reply.rooms()[room]
            self.assertEqual(chanib.get("name"), "Hall")
            self.assertEqual(chanib.get("description"), "Entrance")
            self.assertEqual(set(reply.people(room)), {uri("ann")})
            reply = bob.join(room)
            self.assertEqual(set(reply.people(room)),
                             {uri("ann"), uri("bob")})
            ann.wait_event("join", uri("bob"), room)
            texts = ["good <morning> & all", "line one\r\nline two",
                     "naïve 漢字 🙂 ]]>", " spaces  kept ", "'\"\t"]
            for text in texts:
                self.assertEqual(ann.post(room, text), 200)
            self.assertEqual(bob.post(room, "reply"), 200)
            for client in (ann, bob):
                client.wait_post("reply")
                self.assertEqual(client.posts(room), texts + ["reply"])
            self.assertEqual(c.journal.posts(), texts + ["reply"])
            reply = ann.history(room, 3)
            self.assertEqual(
                [m[:2] for m in reply.messages()],
                [(uri("ann"), texts[3]), (uri("ann"), texts[4]),
                 (uri("bob"), "reply")])
            reply = bob.part(room)
            self.assertEqual((reply.code, list(reply.rooms())),
                             (200, [room]))
            ann.wait_event("part", uri("bob"), room)
            self.assertEqual(bob.post(room, "from outside"), 403)
            self.assertEqual(ann.post(room, "alone"), 200)
            ann.wait_post("alone")
            self.assertNotIn("alone", bob.posts())
            # Nobody is told of himself.
            self.assertFalse([e for e in ann.events
                              if e.kind != "post" and e.user == uri("ann")])
            ann.sign_off()
            self.check_journal(c, room)
            self.assertEqual(c.faults(), [])

    def check_journal(self, c, room):
        c.journal.wait(lambda j: len(j.events("leave")) == 2, "two leaves")
        joins = {e["user"]: e for e in c.journal.events("join")}
        leaves = {e["user"]: e for e in c.journal.events("leave")}
        self.assertEqual(leaves[uri("bob")]["reason"], "part")
        self.assertEqual(leaves[uri("ann")]["reason"], "bye")
        for user, leave in leaves.items():
            self.assertEqual(leave["joined"], joins[user]["seq"])
            self.assertEqual((leave["room"], leave["roomname"]),
                             (room, "Hall"))
        posts = c.journal.events("post")
        self.assertEqual([p["chat"] for p in posts],
                         list(range(1, len(posts) + 1)))
        history = c.journal.events("history")
        self.assertEqual(len(history), 1)
        self.assertEqual(
            (history[0]["user"], history[0]["query"], history[0]["first"],
             history[0]["last"], history[0]["count"]),
            (uri("ann"), {"last": 3}, posts[3]["chat"], posts[5]["chat"], 3))
        c.journal.wait(self.delivered, "deliveries of all posts")
        c.stop()
        self.assertGreater(c.journal.check(), 0)
        c.verify()

    @staticmethod
    def delivered(journal):
        """Posts 1-6 reached both, post 7 Ann alone."""
        got = set()
        for event in journal.events("delivery"):
            for part in event["sets"]:
                for piece in part["chats"].split(","):
                    first, _, last = piece.partition("-")
                    for n in range(int(first), int(last or first) + 1):
                        got |= {(n, to.split()[0]) for to in part["to"]}
        want = {(n, uri(u)) for n in range(1, 7) for u in ("ann", "bob")}
        return got == want | {(7, uri("ann"))}

    def test_open_closed_secret(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            rooms = {p: c.add_room(p.capitalize(), p, ["ann"])
                     for p in ("open", "closed", "secret")}
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            self.assertEqual(set(ann.search().rooms()), set(rooms.values()))
            self.assertEqual(set(bob.search().rooms()),
                             {rooms["open"], rooms["closed"]})
            for room in rooms.values():
                self.assertEqual(ann.join(room).code, 200)
            self.assertEqual(bob.join(rooms["open"]).code, 200)
            closed, secret = (bob.join(rooms[p])
                              for p in ("closed", "secret"))
            unknown = bob.join(UNKNOWN)
            self.assertEqual(closed.code, 403)
            # A secret room looks like none.
            self.assertEqual((secret.code, secret.text),
                             (unknown.code, unknown.text))
            self.assertEqual(unknown.code, 404)
            for reply in (closed, unknown):
                self.assertRegex(reply.text, r"[a-z]+ [a-z]+")
            for privacy in ("closed", "secret"):
                self.assertEqual(bob.post(rooms[privacy], "in"), 403)
                self.assertNotEqual(bob.history(rooms[privacy]).code, 200)
            self.assertEqual(c.journal.posts(), [])
            self.assertEqual(c.journal.events("history"), [])
            self.assertEqual(
                {e["room"] for e in c.journal.events("join")
                 if e["user"] == uri("bob")}, {rooms["open"]})
            c.cli("room", "member", "add", "Secret", uri("bob"))
            self.assertEqual(bob.join(rooms["secret"]).code, 200)
            self.assertEqual(c.faults(), [])

    def test_bjoin_with_failures(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            rooms = [c.add_room("Room %d" % i) for i in range(4)]
            closed = c.add_room("Closed", "closed")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            bob.bjoin(rooms)
            reply = ann.bjoin([rooms[0], closed, rooms[2], UNKNOWN])
            self.assertEqual(reply.code, 200)
            self.assertEqual(set(reply.rooms()), {rooms[0], rooms[2]})
            failed = {(f.get("key"), f.get("domain"), f.get("value"))
                      for f in reply.data.findall(Q + "fib")}
            self.assertEqual(failed, {
                ("OPERATION_FAILED", DOMAIN, r.rpartition("/")[2])
                for r in (closed, UNKNOWN)})
            for room in (rooms[0], rooms[2]):
                bob.wait_event("join", uri("ann"), room)
                self.assertEqual(set(reply.people(room)),
                                 {uri("ann"), uri("bob")})
            ann.post(rooms[2], "here")
            bob.wait_post("here")
            self.assertEqual(len(c.journal.events("join")), 6)
            self.assertEqual(c.faults(), [])

    def test_search(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.add_room("Alpha", description="first & foremost")
            c.add_room("Beta")
            c.add_room("alphabet")
            c.start()
            ann = c.sign_in("ann")

            def names(text):
                return [r.get("name") for r in
                        ann.search(text).rooms().values()]

            self.assertEqual(sorted(names("")), ["Alpha", "Beta",
                                                 "alphabet"])
            self.assertEqual(sorted(names("alpha")), ["Alpha", "alphabet"])
            self.assertEqual(names("nothing of the kind"), [])
            self.assertEqual(names("%"), [])
            self.assertEqual(names("_"), [])
            self.assertEqual(names("' OR 1=1 --"), [])

    def test_every_command_gets_a_reply(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            ann = c.sign_in("ann")
            reply = ann.command("requri", "")
            self.assertRegex(reply.data.find(Q + "uib").get("uri"), "^sip:")
            reply = ann.command("getserverinfo",
                                '<sib domain="%s" infoType="123"/>' % DOMAIN)
            sib = reply.data.find(Q + "sib")
            self.assertEqual((reply.code, sib.get("infoType")), (200, "123"))
            for name in ("serverTime", "searchLimit", "messageSizeLimit"):
                self.assertTrue(sib.get(name), name)
            for kind in ("MEMBER", "MANAGER"):
                reply = ann.command(
                    "getassociations", '<association domain="%s" type="%s" '
                    'maxResults="50"/>' % (DOMAIN, kind))
                self.assertEqual(reply.code, 200)
            reply = ann.command(
                "getinv", '<inv inviteId="1" domain="%s"/>' % DOMAIN)
            self.assertEqual(reply.code, 200)
            for name in ("getfutok", "nodespermcreatechild", "whatever"):
                reply = ann.command(name, "")
                self.assertNotEqual(reply.code, 200)
                self.assertTrue(reply.text)
            self.assertEqual(c.faults(), [])

    def test_associations_list_a_members_rooms(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            mine = c.add_room("Mine", "secret", ["ann"])
            c.add_room("Other", "closed", ["bob"])
            c.start()
            reply = c.sign_in("ann").command(
                "getassociations", '<association domain="%s" type="MEMBER" '
                'maxResults="50"/>' % DOMAIN)
            self.assertEqual(set(reply.rooms()), {mine})

    def test_refused_posts(self):
        with Chancery(limits="text-bytes = 100") as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            self.assertEqual(ann.post(room, "not joined"), 403)
            ann.join(room)
            bob.join(room)
            self.assertEqual(ann.post(UNKNOWN, "no such room"), 403)
            self.assertEqual(ann.post(room, "x" * 100), 200)
            for text in ("", "x" * 101, "é" * 51):
                status = ann.post(room, text)
                self.assertTrue(400 <= status < 500, (text, status))
                self.assertNotEqual(status, 481)
            self.assertEqual(ann.post(room, "last"), 200)
            bob.wait_post("last")
            self.assertEqual(bob.posts(), ["x" * 100, "last"])
            self.assertEqual(c.journal.posts(), ["x" * 100, "last"])
            self.assertEqual(c.faults(), [])

    def test_one_order_for_all(self):
        with Chancery() as c:
            users = ["u%d" % i for i in range(6)]
            c.init().add_users(*users)
            room = c.add_room("Hall")
            c.start()
            clients = [c.sign_in(u) for u in users]
            for client in clients:
                client.join(room)
            sent = []
            for n in range(30):
                for client in clients:
                    sent.append(client.post_start(
                        room, "%s %d" % (client.user, n)))
            self.assertEqual({t.wait().status for t in sent}, {200})
            order = c.journal.posts()
            self.assertEqual(len(order), 180)
            for client in clients:
                client.wait(lambda: len(client.posts()) >= 180, "all posts")
                self.assertEqual(client.posts(), order)
                own = [t for t in order if t.startswith(client.user + " ")]
                self.assertEqual(own, ["%s %d" % (client.user, n)
                                       for n in range(30)])
            self.assertEqual(c.faults(), [])

    def test_nothing_is_seen_before_it_is_recorded(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            early = []

            def recorded(kind, user, text=None):
                return any(e["user"] == user and e.get("text") == text
                           for e in c.journal.events(kind))

            def watch(what, item):
                if what == "event" and item.kind == "post":
                    seen = recorded("post", item.user, item.text)
                elif what == "event":
                    kind = {"join": "join", "part": "leave"}[item.kind]
                    seen = recorded(kind, item.user)
                elif what == "reply" and item.id != "rpl:bccontext":
                    kind = {"rpl:join": "join", "rpl:part": "leave"}[item.id]
                    seen = recorded(kind, uri("ann"))
                elif what == "reply":
                    seen = recorded("history", uri("ann"))
                else:
                    return
                if not seen:
                    early.append((what, item))

            ann.watch = bob.watch = watch
            bob.watch = None
            bob.join(room)
            bob.watch = watch
            ann.join(room)
            self.watch_finals(c, ann, early)
            for n in range(40):
                self.assertEqual(ann.post(room, "post %d" % n), 200)
            ann.history(room)
            bob.wait_post("post 39")
            ann.part(room)
            bob.wait_event("part", uri("ann"), room)
            self.assertEqual(early, [])

    def watch_finals(self, c, client, early):
        """The 200 to the n-th post: n posts are in the journal by then."""
        inner, count = client.watch, [0]

        def watch(what, item):
            if what == "final" and b"<grpchat" in item.data:
                count[0] += 1
                if len(c.journal.posts()) < count[0]:
                    early.append(("final", count[0]))
            else:
                inner(what, item)

        client.watch = watch

    def test_membership_survives_a_new_dialog(self):
        """After a 481 SIPE invites again and thinks it is still joined."""
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            ann.join(room)
            bob.join(room)
            old = ann.dialog
            # A dialog that the server never had stands for a forgotten one.
            ann.dialog = Dialog(old.remote)
            ann.dialog.remote_tag = "gone"
            final = ann.request("UPDATE", None, [], dialog=ann.dialog)
            self.assertEqual(final.status, 481)
            self.assertEqual(ann.open_chat(lookup=False).status, 200)
            self.assertNotEqual(ann.dialog.call_id, old.call_id)
            self.assertEqual(bob.post(room, "are you there?"), 200)
            ann.wait_post("are you there?")
            self.assertEqual(ann.post(room, "yes"), 200)
            bob.wait_post("yes")
            self.assertEqual(c.journal.events("leave"), [])
            self.assertEqual(len(c.journal.events("join")), 2)

    def test_update_refreshes(self):
        with Chancery() as c:
            c.init().add_users("ann")
            c.start()
            ann = c.sign_in("ann")
            final = ann.request("UPDATE", None, [], dialog=ann.dialog)
            self.assertEqual(final.status, 200)

    def test_bye_leaves_all_rooms(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            rooms = [c.add_room("Room %d" % i) for i in range(3)]
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            ann.bjoin(rooms)
            bob.bjoin(rooms)
            self.assertEqual(ann.bye().status, 200)
            for room in rooms:
                bob.wait_event("part", uri("ann"), room)
            leaves = c.journal.events("leave")
            self.assertEqual([e["reason"] for e in leaves], ["bye"] * 3)
            self.assertEqual(bob.post(rooms[0], "gone?"), 200)
            bob.wait_post("gone?")
            self.assertEqual(c.faults(), [])

    def test_sign_off_without_bye(self):
        with Chancery() as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(room)
            self.assertEqual(ann.register(expires=0).status, 200)
            c.journal.wait(lambda j: j.events("leave"), "a leave")
            self.assertEqual(c.journal.events("leave")[0]["reason"],
                             "signoff")

    def test_lost_connection_leaves(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            ann.join(room)
            bob.join(room)
            ann.drop()
            bob.wait_event("part", uri("ann"), room, timeout=60)
            leave = c.journal.events("leave")[0]
            self.assertEqual((leave["user"], leave["reason"]),
                             (uri("ann"), "lost"))

    def test_reconnect_storm(self):
        """A member comes and goes; nobody sees anything twice or not."""
        with Chancery() as c:
            c.init().add_users("ann", "bob", "cid")
            room = c.add_room("Hall")
            c.start()
            ann, cid = c.sign_in("ann"), c.sign_in("cid")
            ann.join(room)
            cid.join(room)
            sent = []
            for n in range(30):
                bob = c.sign_in("bob", epid="0b0b0b0b0b0b")
                bob.join(room)
                first = "before %d" % n
                self.assertEqual(ann.post(room, first), 200)
                bob.wait_post(first)
                sent += [first, "after %d" % n]
                bob.drop()
                self.assertEqual(ann.post(room, sent[-1]), 200)
            for client in (ann, cid):
                client.wait_post(sent[-1])
                self.assertEqual(client.posts(), sent)
            self.assertEqual(c.journal.posts(), sent)
            c.journal.wait(lambda j: len(
                [e for e in j.events("leave") if e["user"] == uri("bob")]
            ) == 30, "30 leaves of Bob", timeout=60)
            joins = [e["seq"] for e in c.journal.events("join")
                     if e["user"] == uri("bob")]
            self.assertEqual(len(joins), 30)
            self.assertEqual(
                sorted(e["joined"] for e in c.journal.events("leave")),
                joins)
            self.assertEqual(c.faults(), [])

    def test_retransmission_is_one_post(self):
        """UDP: the same INFO again gets the same answer, not a new post."""
        with Chancery(transports=("udp",)) as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(room)
            for n in range(20):
                post = ann.post_start(room, "post %d" % n)
                for _ in range(3):
                    ann.send_raw(post.data)
                self.assertEqual(post.wait().status, 200)
                ann.send_raw(post.data)
            ann.wait_post("post 19")
            self.assertEqual(ann.search().code, 200)
            texts = ["post %d" % n for n in range(20)]
            self.assertEqual(c.journal.posts(), texts)
            self.assertEqual(ann.posts(), texts)

    def test_repetition_over_tcp_is_refused(self):
        """Nobody repeats on TCP: an INFO of a CSeq that was there is one
        replayed, with the answer of RFC 3261 section 12.2.2."""
        with Chancery() as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(room)
            first = ann.post_start(room, "once")
            self.assertEqual(first.wait().status, 200)
            # Under the same key, so that the second answer is told apart.
            again = ann.transact(first.request, ann.dialog)
            self.assertEqual(again.wait().status, 500)
            self.assertEqual(ann.post(room, "twice"), 200)
            earlier = ann.transact(first.request, ann.dialog)
            self.assertEqual(earlier.wait().status, 500)
            self.assertEqual(c.journal.posts(), ["once", "twice"])

    def test_client_that_never_answers(self):
        """Its copy is recorded as not delivered; others are served."""
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall")
            c.start()
            ann, bob = c.sign_in("ann"), c.sign_in("bob")
            ann.join(room)
            bob.join(room)
            bob.answer_info = 400
            for n in range(5):
                self.assertEqual(ann.post(room, "post %d" % n), 200)
            ann.wait_post("post 4")

            def refused(journal):
                return [f for e in journal.events("delivery")
                        for f in e.get("failed", [])
                        if any(t.startswith(uri("bob")) for t in f["to"])
                        and f["why"] == "refused"]

            c.journal.wait(refused, "refused deliveries")

    def test_restart_writes_the_missing_leaves(self):
        with Chancery() as c:
            c.init().add_users("ann", "bob")
            room = c.add_room("Hall")
            c.start()
            for user in ("ann", "bob"):
                c.sign_in(user).join(room)
            c.clients[0].post(room, "before the fall")
            c.kill()
            c.start()
            leaves = c.journal.events("leave")
            joins = c.journal.events("join")
            self.assertEqual(
                {(e["user"], e["reason"], e["joined"]) for e in leaves},
                {(j["user"], "restart", j["seq"]) for j in joins})
            self.assertEqual(len(leaves), 2)
            ann = c.sign_in("ann")
            self.assertEqual(ann.post(room, "still in?"), 403)
            self.assertEqual(set(ann.join(room).people(room)), {uri("ann")})
            self.assertEqual([m[1] for m in ann.history(room).messages()],
                             ["before the fall"])
            self.assertEqual(ann.post(room, "after"), 200)
            self.assertEqual([p["chat"] for p in c.journal.events("post")],
                             [1, 2])
            c.stop()
            c.journal.check()
            c.verify()

    def test_orderly_restart(self):
        with Chancery() as c:
            c.init().add_users("ann")
            room = c.add_room("Hall")
            c.start()
            c.sign_in("ann").join(room)
            c.restart()
            self.assertEqual(
                [e["reason"] for e in c.journal.events("leave")],
                ["restart"])
            c.restart()
            self.assertEqual(len(c.journal.events("leave")), 1)


if __name__ == "__main__":
    unittest.main()
