"""chancery-witness over real TLS: what it signs, refuses and remembers."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import random
import socket
import ssl
import subprocess
import threading
import time
import unittest

from chancery import program, wait_until
from witness import DASH, Log, Witness, serving

ORIGIN = "example.test/journal/0a1b2c3d"


def kilobytes(n):
    return "x" * (n * 1024)


class Protocol(unittest.TestCase):
    def test_cosigns_what_only_adds(self):
        log = Log(ORIGIN).grow(300)
        with serving(log) as w:
            c, old = w.connection(), 0
            for size in (0, 1, 2, 255, 256, 257, 300, 300):
                before = int(time.time())
                status, kind, line = w.post(
                    "/add-checkpoint", log.add_checkpoint(old, size), c)
                self.assertEqual(status, 200, line)
                at = w.cosigned_at(line, log.body(size))
                self.assertTrue(before <= at <= time.time())
                old = size
            # One connection for all of it.
            self.assertIsNotNone(c.sock)
            path = "/%s/checkpoint" % hashlib.sha256(
                ORIGIN.encode()).hexdigest()
            status, kind, text = w.request("GET", path, None, c)
            self.assertEqual((status, text), (200, log.note(300) + line))
            c.close()
            self.assertRegex(
                w.run("list").stdout,
                r"^%s 300 \S{44} \d{4}-\d\d-\d\dT\S+Z 0\n$" % ORIGIN)

    def test_refusals_and_their_reasons(self):
        log = Log(ORIGIN).grow(90)
        fork, other = log.fork(40).grow(120, "b"), Log("other.test/log")
        other.grow(9)
        with serving(log) as w:
            def expect(status, body, path="/add-checkpoint", said=None):
                got = w.post(path, body)
                self.assertEqual(got[0], status, got)
                if said:
                    w.log.wait(r"127\.0\.0\.1:\d+ %s .*%d, .*%s" % (
                        path, status, said))
                return got

            expect(404, other.add_checkpoint(0, 5), said="unknown log other")
            expect(403, log.add_checkpoint(0, 5, 1), said="no signature")
            expect(400, "old 6\n\n" + log.note(5), said="more than")
            expect(400, "old 06\n\n" + log.note(9), said="old size")
            expect(400, "", said="old size")
            expect(422, "old 0\nAA%s=\n\n%s" % ("A" * 41, log.note(5)),
                   said="no proof")
            self.assertEqual(expect(409, log.add_checkpoint(3, 5))[1:],
                             ("text/x.tlog.size", "0\n"))
            expect(200, log.add_checkpoint(0, 50))
            self.assertEqual(expect(409, log.add_checkpoint(0, 60))[1:],
                             ("text/x.tlog.size", "50\n"))
            # Back to what was, and to what never was.
            expect(409, log.add_checkpoint(20, 30))
            expect(422, fork.add_checkpoint(50, 120), said="no proof")
            expect(422, fork.add_checkpoint(50, 50), said="fork")
            expect(422, "old 50\n\n" + log.note(60), said="no proof")
            self.assertEqual(w.size(log), 50)
            expect(200, log.add_checkpoint(50, 60))
            # The evidence: both checkpoints, signed by the log.
            self.assertEqual(w.run("conflicts").stdout,
                             "%s\n%s\n" % (log.note(50), fork.note(50)))
            self.assertTrue(w.run("list").stdout.endswith(" 1\n"))

    def test_paths_methods_and_lengths(self):
        log = Log(ORIGIN).grow(9)
        with serving(log) as w:
            digest = hashlib.sha256(ORIGIN.encode()).hexdigest()
            for path in ("/", "/add", "/add-checkpoint/", "/x/checkpoint",
                         "/%s" % digest, "/%s/checkpoint" % digest):
                self.assertEqual(w.request("GET", path)[0], 404, path)
            for method, path, allowed in (
                    ("GET", "/add-checkpoint", "POST"),
                    ("PUT", "/add-key", "POST"),
                    ("POST", "/%s/checkpoint" % digest, "GET")):
                c = w.connection()
                c.request(method, path)
                answer = c.getresponse()
                self.assertEqual((answer.status, answer.getheader("Allow")),
                                 (405, allowed))
                c.close()
            body = log.add_checkpoint(0, 5)
            self.assertEqual(
                w.post("/add-checkpoint", kilobytes(64))[0], 400)
            self.assertEqual(
                w.post("/add-checkpoint", kilobytes(64) + "x")[0], 413)
            # In pieces of a byte, without a length.
            c = w.connection()
            c.request("POST", "/add-checkpoint",
                      iter([b.to_bytes(1, "big") for b in body.encode()]),
                      encode_chunked=True,
                      headers={"Transfer-Encoding": "chunked"})
            self.assertEqual(c.getresponse().status, 200)
            c.close()

    def test_follows_the_keys_of_a_journal(self):
        log = Log(ORIGIN).grow(100)
        self.assertEqual(log.rotate(1), 100)
        log.grow(150)
        self.assertEqual(log.rotate(2, clean=False), 150)
        log.grow(200)
        with serving(log) as w:
            def post(path, body):
                return w.post(path, body)[0]

            self.assertEqual(
                post("/add-checkpoint", log.add_checkpoint(0, 60)), 200)
            self.assertEqual(
                post("/add-checkpoint", log.add_checkpoint(60, 200, 2)), 403)
            # The walk of the manual, as a client does it.
            for seq, signer in ((100, 0), (150, 2)):
                body = log.add_key(w.size(log), seq, signer)
                status, _, line = w.post("/add-key", body)
                self.assertEqual(status, 200, line)
                w.cosigned_at(line, log.body(seq + 1))
                # The answer was lost: once more.
                self.assertEqual(post("/add-key", body), 409)
                self.assertEqual(
                    post("/add-key", log.add_key(seq + 1, seq, signer)), 200)
                self.assertEqual(post("/add-checkpoint", log.add_checkpoint(
                    seq + 1, seq + 2, signer if signer == 0 else 1)), 403)
                if seq == 100:
                    w.end()
                    w.start()
            self.assertEqual(
                post("/add-checkpoint", log.add_checkpoint(151, 200, 2)), 200)
            self.assertEqual(w.size(log), 200)

    def test_believes_no_key_that_was_not_announced(self):
        log = Log(ORIGIN).grow(100)
        thief = log.fork(80).grow(100, "thief")
        # The thief has the key of now, and would like his own to follow.
        thief.keys = log.keys[:1] + [Log(ORIGIN, b"thief").keys[1]] * 2
        thief.rotate(1)
        log.rotate(1)
        log.grow(120)
        with serving(log) as w:
            self.assertEqual(
                w.post("/add-key", thief.add_key(0, 100))[0], 403)
            # The announced key with the thief's after it, in another tree.
            thief = log.fork(80).grow(100, "thief")
            thief.rotate(1)
            self.assertEqual(
                w.post("/add-checkpoint", log.add_checkpoint(0, 90))[0], 200)
            self.assertEqual(
                w.post("/add-key", thief.add_key(90, 100))[0], 422)
            self.assertEqual(
                w.post("/add-key", log.add_key(90, 100))[0], 200)
        # A log that was added with one key has that key for ever.
        with serving(log, rotating=False) as w:
            self.assertEqual(w.post("/add-key", log.add_key(0, 100))[0], 403)
            self.assertEqual(
                w.post("/add-checkpoint", log.add_checkpoint(0, 101))[0], 200)


class State(unittest.TestCase):
    def test_a_restart_forgets_nothing(self):
        log = Log(ORIGIN).grow(90)
        fork = log.fork(10).grow(90, "b")
        with serving(log) as w:
            self.assertEqual(
                w.post("/add-checkpoint", log.add_checkpoint(0, 50))[0], 200)
            for kill in (False, True):
                self.assertEqual(w.end(kill), -9 if kill else 0)
                w.start()
                self.assertEqual(w.size(log), 50)
                for old in (0, 10, 50):
                    self.assertIn(w.post(
                        "/add-checkpoint",
                        fork.add_checkpoint(old, 90))[0], (409, 422))
            self.assertEqual(
                w.post("/add-checkpoint", log.add_checkpoint(50, 90))[0], 200)

    def test_killed_at_any_moment_it_signs_one_history(self):
        """A log each round; two histories, and a death while it signs one."""
        seed = random.randrange(1 << 30)
        print("# seed %d" % seed)
        dice = random.Random(seed)
        logs = [Log("round%d.test/log" % n, keys=2).grow(9)
                for n in range(25)]
        answered = 0
        first = Log("first.test/log", keys=2).grow(5)
        with serving(first, *logs) as w:
            body, c = first.add_checkpoint(0, 5), w.connection()
            c.connect()
            start = time.monotonic()
            w.post("/add-checkpoint", body, c)
            about = time.monotonic() - start
            c.close()
            for log in logs:
                fork = log.fork(1).grow(9, "b")
                bodies = [(log.add_checkpoint(0, 5), log),
                          (fork.add_checkpoint(0, 5), fork)]
                dice.shuffle(bodies)
                line = self.ask_and_kill(w, bodies[0][0],
                                         dice.uniform(0, about / 2))
                answered += line is not None
                w.start()
                status, _, other = w.post("/add-checkpoint", bodies[1][0])
                if line is not None:
                    w.cosigned_at(line, bodies[0][1].body(5))
                    self.assertEqual((status, other), (409, "5\n"))
                # Whichever it was: from here on there is no other.
                kept = bodies[1][1] if status == 200 else bodies[0][1]
                lost = bodies[0][1] if status == 200 else bodies[1][1]
                self.assertEqual(w.post("/add-checkpoint",
                                        lost.add_checkpoint(5, 9))[0], 422)
                self.assertEqual(w.post("/add-checkpoint",
                                        kept.add_checkpoint(5, 9))[0], 200)
        print("# %d of %d were answered before the death" % (
            answered, len(logs)))

    @staticmethod
    def ask_and_kill(w, body, after):
        """The line, when the answer was faster than the death."""
        c = w.connection()
        c.connect()
        c.request("POST", "/add-checkpoint", body.encode())
        timer = threading.Timer(after, w.process.kill)
        timer.start()
        line = None
        try:
            answer = c.getresponse()
            if answer.status == 200:
                line = answer.read().decode()
        except (OSError, http.client.HTTPException):
            line = None
        timer.join()
        c.close()
        w.end(kill=True)
        return line if line and line.endswith("\n") else None

    def test_of_two_at_once_one_wins(self):
        log = Log(ORIGIN).grow(100)
        fork = log.fork(20).grow(100, "b")
        with serving(log) as w:
            second = Witness.__new__(Witness)
            second.__dict__.update(w.__dict__)
            second.start()
            try:
                self.race(w, second, log, fork)
            finally:
                self.assertEqual(second.end(), 0)

    def race(self, first, second, log, fork):
        """Sixteen clients at two processes of one state, round by round."""
        old, won = 0, []
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for step in range(10, 100, 10):
                asked = [(side, size) for side in (log, fork)
                         for size in range(step, step + 8)]
                bodies = [side.add_checkpoint(old, size)
                          for side, size in asked]
                gate = threading.Barrier(len(asked))

                def ask(n):
                    c = (first, second)[n % 2].connection()
                    c.connect()
                    gate.wait(30)
                    answer = first.post("/add-checkpoint", bodies[n], c)
                    c.close()
                    return answer

                answers = list(pool.map(ask, range(len(asked))))
                good = [n for n, a in enumerate(answers) if a[0] == 200]
                self.assertEqual(len(good), 1, answers)
                # On a slow disk a loser may not even have got the lock.
                self.assertTrue(all(
                    a[0] in (409, 422) or a[0] == 500 and "locked" in a[2]
                    for n, a in enumerate(answers) if n != good[0]), answers)
                side, old = asked[good[0]]
                first.cosigned_at(answers[good[0]][2], side.body(old))
                if old > 20:
                    won.append(side)
        self.assertEqual(len(set(map(id, won))), 1)


class Program(unittest.TestCase):
    def test_commands_and_their_exit_status(self):
        log = Log(ORIGIN)
        with serving(log) as w:
            for args, status in (
                    (("list",), 0), (("conflicts",), 0),
                    (("add-log", log.vkey()), 1),
                    (("add-log", Log("b.test/log").vkey()), 0),
                    (("add-log", log.vkey() + "x"), 2),
                    (("add-log", Log("c.test/log").vkey(), "12"), 2),
                    (("add-log",), 2), (("list", "x"), 2), (("serve",), 2),
                    (("no-such",), 2), ((), 2), (("--help",), 0),
                    (("vkey", "x"), 2), (("init", "other.example/w"), 3)):
                done = w.run(*args, check=False)
                self.assertEqual(done.returncode, status, (args, done))
                if status:
                    self.assertTrue(done.stderr)
            self.assertEqual(w.run("vkey").stdout, w.vkey + "\n")
            # Known from now on, without a restart.
            added = Log("b.test/log").grow(5)
            self.assertEqual(w.post(
                "/add-checkpoint", added.add_checkpoint(0, 5))[0], 200)
            for file in w.state.iterdir():
                self.assertEqual(file.stat().st_mode & 0o777, 0o600, file)
            self.assertEqual(w.state.stat().st_mode & 0o777, 0o700)
            self.check_name(w.folder / "other")
            self.check_start(w)

    def check_name(self, state):
        """A slip of the pen leaves nothing behind that is in the way."""
        for name, status in (("two words", 2), ("a+b", 2), ("", 2),
                             ("other.example/w", 0)):
            done = subprocess.run(
                [program("chancery-witness"), "--state", state, "init", name],
                capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, status, done)
            self.assertEqual(state.exists(), status == 0)

    def check_start(self, w):
        """What keeps it from serving, it says."""
        for change, words, status in (
                ({"--listen": "127.0.0.1:%d" % w.port}, "in use", 3),
                ({"--listen": "nothing"}, "ADDRESS:PORT", 2),
                ({"--listen": "nothing:"}, "address:port", 3),
                ({"--cert": "/nowhere"}, "/nowhere", 3),
                ({"--key": str(w.cert)}, "certificate and key", 3),
                ({"--state": str(w.folder)},
                 "chancery-witness --state %s init NAME" % w.folder, 3)):
            options = {"--state": str(w.state), "--listen": "127.0.0.1:0",
                       "--cert": str(w.cert), "--key": str(w.key), **change}
            done = subprocess.run(
                [program("chancery-witness"),
                 *(x for pair in options.items() for x in pair), "serve"],
                capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, status, done)
            self.assertIn(words, done.stderr)

    def test_strangers_do_no_harm(self):
        log = Log(ORIGIN).grow(9)
        with serving(log) as w:
            silent = []
            for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" * 99,
                          b"", bytes(range(256))):
                s = socket.create_connection(("127.0.0.1", w.port), 20)
                s.sendall(noise)
                silent.append(s)
            # Without the CA, a client does not believe it.
            with self.assertRaises(ssl.SSLCertVerificationError):
                http.client.HTTPSConnection(
                    "127.0.0.1", w.port, timeout=20,
                    context=ssl.create_default_context()).request("GET", "/")
            half = w.connection()
            half.connect()
            half.sock.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: a\r\n"
                              b"Content-Length: 500\r\n\r\nold 0\n")
            self.assertEqual(
                w.post("/add-checkpoint", log.add_checkpoint(0, 5))[0], 200)
            # Too many from here: those beyond are turned away, none waits.
            while len(silent) < 40:
                silent.append(
                    socket.create_connection(("127.0.0.1", w.port), 20))
            for s in silent:
                s.close()
            half.close()

            def served():
                try:
                    return w.size(log) == 5
                except OSError:
                    return False
            wait_until(served, "it serves again")

    def test_silence_and_floods_end(self):
        """Nobody holds a connection by saying nothing, or too much."""
        log = Log(ORIGIN).grow(9)
        with serving(log) as w:
            plain = socket.create_connection(("127.0.0.1", w.port), 30)
            half = w.connection(30)
            half.connect()
            half.sock.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: a\r\n"
                              b"Content-Length: 500\r\n\r\nold 0\n")
            flood = w.connection(30)
            with self.assertRaises((OSError, http.client.HTTPException)):
                flood.request("POST", "/add-checkpoint", kilobytes(4096))
                answer = flood.getresponse()
                self.fail("%d after 4 MiB" % answer.status)
            flood.close()
            for s in (plain, half.sock):
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    while s.recv(99):   # TLS may say good-bye
                        pass
                s.close()
            self.assertEqual(
                w.post("/add-checkpoint", log.add_checkpoint(0, 5))[0], 200)

    def test_old_tls_is_refused(self):
        with serving(Log(ORIGIN)) as w:
            for version, good in (("-tls1_1", False), ("-tls1_2", True),
                                  ("-tls1_3", True)):
                done = subprocess.run(
                    ["openssl", "s_client", "-connect",
                     "127.0.0.1:%d" % w.port, "-CAfile", str(w.ca),
                     "-verify_return_error", "-cipher", "ALL:@SECLEVEL=0",
                     version], input=b"", capture_output=True, timeout=60)
                self.assertEqual(done.returncode == 0, good,
                                 (version, done.stdout[-300:], done.stderr))


class Tools(unittest.TestCase):
    def test_our_own_proofs(self):
        """The log of these tests, against the definition of a root."""
        log = Log(ORIGIN).grow(70)
        for size in range(1, 71):
            rest = log.compact(size)
            root = rest.pop()
            while rest:
                root = hashlib.sha256(b"\1" + rest.pop() + root).digest()
            self.assertEqual(root, log.root(size))
        self.assertEqual(log.consistency(8, 8), [])
        self.assertEqual(log.consistency(4, 7), [log.root_of(4, 7)])
        self.assertTrue(log.note(3).split("\n")[4].startswith(DASH))
