"""Clients that keep posting whatever happens, and know what became of it."""

import threading

from chancery import wait_until
from xccos import Lost


class Poster(threading.Thread):
    """One client that posts, one message at a time, and comes back.

    outcomes: text to final status, 0 when the connection broke first.
    """

    def __init__(self, chancery, user, room):
        super().__init__(daemon=True, name=user)
        self.chancery, self.user, self.room = chancery, user, room
        self.client, self.stopping = None, threading.Event()
        self.outcomes, self.accepted, self.number = {}, 0, 0
        self.trouble = None

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    if self.client is None:
                        self.enter()
                    self.post()
                except (Lost, OSError, TimeoutError, AssertionError) as error:
                    self.leave(error)
        except BaseException as error:  # told by finish()
            self.trouble = error
            raise

    def enter(self):
        self.client = self.chancery.client(self.user)
        self.client.sign_in(lookup=False)
        self.enter_room()

    def enter_room(self):
        reply = self.client.join(self.room)
        if reply.code != 200:
            raise AssertionError("join: %d %s" % (reply.code, reply.text))

    def leave(self, error):
        self.why = error
        client, self.client = self.client, None
        if client is not None and client.connection is not None:
            client.drop()
        self.stopping.wait(0.05)

    def post(self):
        self.number += 1
        text = "%s-%d" % (self.user, self.number)
        self.outcomes[text] = 0
        status = self.client.post_start(self.room, text).wait(60).status
        self.outcomes[text] = status
        if status == 200:
            self.accepted += 1
        elif status == 403:
            self.enter_room()
        else:
            self.stopping.wait(0.05)

    def finish(self):
        self.stopping.set()
        self.join(90)
        if self.is_alive():
            raise AssertionError("%s hangs" % self.user)
        if self.trouble is not None:
            raise self.trouble


class Load:
    def __init__(self, chancery, users, rooms):
        self.posters = [Poster(chancery, user, rooms[i % len(rooms)])
                        for i, user in enumerate(users)]

    def start(self):
        for poster in self.posters:
            poster.start()
        self.progress(1)
        return self

    def progress(self, count, timeout=60):
        """Every poster gets `count` more posts accepted."""
        goals = [(p, p.accepted + count) for p in self.posters]
        wait_until(
            lambda: all(p.accepted >= goal for p, goal in goals),
            "posts are no longer accepted", timeout, step=0.01)

    def finish(self):
        for poster in self.posters:
            poster.stopping.set()
        for poster in self.posters:
            poster.finish()

    def outcomes(self):
        return {text: status for poster in self.posters
                for text, status in poster.outcomes.items()}
