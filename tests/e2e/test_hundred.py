"""A hundred clients at once: nothing lost, nothing twice, one order."""

import concurrent.futures
import json
import unittest

from chancery import Chancery

CLIENTS = 100
ROOMS = 5
POSTS = 10      # of each client


class Hundred(unittest.TestCase):
    def test_hundred_clients(self):
        with Chancery() as c:
            users = ["u%03d" % i for i in range(CLIENTS)]
            c.init().add_users(*users)
            rooms = [c.add_room("Room %d" % i) for i in range(ROOMS)]
            everybody = c.add_room("Everybody")
            c.start()
            clients = self.sign_in(c, users)
            for number, client in enumerate(clients):
                client.rooms = [rooms[number % ROOMS], everybody]
            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                replies = list(pool.map(
                    lambda k: k.bjoin(k.rooms), clients))
            self.assertEqual({r.code for r in replies}, {200})
            self.talk(c, clients, rooms, everybody)
            self.assertEqual(c.faults(), [])
            c.journal.wait(lambda j: self.deliveries(j) == self.expected(),
                           "a delivery record of every copy", timeout=60)
            self.exported(c)
            c.stop()
            c.journal.check()
            c.verify()

    def exported(self, c):
        """What the export says is what the journal holds, while it runs."""
        out = c.export("--format", "jsonl", "--type", "post").stdout
        self.assertEqual(len(out.splitlines()), CLIENTS * POSTS)
        self.assertEqual([json.loads(line)["seq"] for line in
                          out.splitlines()],
                         [e["seq"] for e in c.journal.events("post")])

    @staticmethod
    def sign_in(c, users):
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            return list(pool.map(c.sign_in, users))

    def talk(self, c, clients, rooms, everybody):
        under_way = []
        for n in range(POSTS):
            for client in clients:
                room = client.rooms[n % 2]
                under_way.append(client.post_start(
                    room, "%s says %d" % (client.user, n)))
        statuses = [t.wait(120).status for t in under_way]
        self.assertEqual(set(statuses), {200})
        order = {room: [] for room in rooms + [everybody]}
        for event in c.journal.events("post"):
            order[event["room"]].append(event["text"])
        self.assertEqual(sum(map(len, order.values())), CLIENTS * POSTS)
        for client in clients:
            for room in client.rooms:
                client.wait(
                    lambda: len(client.posts(room)) >= len(order[room]),
                    "posts of " + room, timeout=120)
                self.assertEqual(client.posts(room), order[room])

    @staticmethod
    def deliveries(journal):
        """Number of (message, endpoint) pairs in the delivery records."""
        total = 0
        for event in journal.events("delivery"):
            for part in event["sets"]:
                for piece in part["chats"].split(","):
                    first, _, last = piece.partition("-")
                    count = int(last or first) - int(first) + 1
                    total += count * len(part["to"])
        return total

    @staticmethod
    def expected():
        half = CLIENTS * POSTS // 2
        return half * (CLIENTS // ROOMS) + half * CLIENTS


if __name__ == "__main__":
    unittest.main()
