"""A witness that tells of another history: claimed, or proved."""

import base64
import contextlib
import http.server
import io
import pathlib
import ssl
import threading
import unittest

import test_anchors
from chancery import Chancery
from second import second
from witness import SECRET, Key, Log, Witness, openssl


class Liar:
    """Answers 409 with a size of its choice, and shows nothing."""

    def __init__(self, folder):
        self.made = Witness(folder, "witness.example/liar")
        self.ca, self.vkey = self.made.ca, self.made.vkey
        self.size = 10 ** 6
        self.look = 404
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def send(self, status, kind, text):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send(409, "text/x.tlog.size", b"%d\n" % outer.size)

            def do_GET(self):
                self.send(outer.look, "text/plain", b"none\n")

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.made.cert, self.made.key)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True)
        self.url = "https://127.0.0.1:%d/" % self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def conf(self):
        return ('witness liar { url = "%s" vkey = "%s" ca = "%s" }\n'
                % (self.url, self.vkey, self.ca))

    def stop(self):
        self.server.shutdown()
        self.thread.join(20)
        self.server.server_close()


class Thief(Log):
    """Who has the journal and the key that signs it, and goes on alone."""

    def __init__(self, c):
        self.origin = c.vkey.split("+")[0]
        with c.journal.open() as db:
            self.leaves = [bytes(row[0]) for row in db.execute(
                "SELECT bytes FROM leaf ORDER BY seq")]
        secret = (c.state / "signer" / "key").read_text().split("\n")[0]
        key = Key(b"")
        key.secret = SECRET + base64.b64decode(secret.split("+", 4)[4])[1:]
        key.public = openssl("pkey", "-inform", "DER", "-pubout", "-outform",
                             "DER", input=key.secret)[-32:]
        self.keys = [key]
        self.root_of = self.range_root


class Conflicts(unittest.TestCase):
    start = test_anchors.Witnesses.start
    introduce = test_anchors.Witnesses.introduce
    talk = test_anchors.Witnesses.talk
    purged = staticmethod(test_anchors.Witnesses.purged)
    wait_cosigned = test_anchors.Witnesses.wait_cosigned
    cosigned = staticmethod(test_anchors.Witnesses.cosigned)
    second = staticmethod(test_anchors.Witnesses.second)

    def told(self, c):
        return [(k["witness"], k["size"], k["proof"])
                for k in c.cli_json("status")["anchors"]["conflicts"]]

    def test_a_lie_stops_purges_until_an_officer_decides(self):
        with Chancery() as c:
            folder = pathlib.Path(c.folder / "liar")
            liar = Liar(folder)
            c.helpers.append(liar)
            liar.look = 503
            self.start(c, ("one",), quorum=1, more=liar.conf)
            name = "witness.example/liar"
            c.log.wait("its checkpoint cannot be had: HTTP status 503")
            self.assertEqual(c.journal.control("conflict"), [])
            liar.look = 404
            c.log.wait("keeper: error: witness %s claims that there is "
                       "another history" % name)
            record, = c.journal.control("conflict")
            self.assertEqual(
                (record["witness"], record["size"], record["proof"],
                 record["note"]), (name, "1000000", "no", "-"))
            self.talk(c, "it goes on")
            self.wait_cosigned(c)
            c.restart()     # nothing is forgotten
            self.talk(c, "and on")
            self.wait_cosigned(c)
            self.assertEqual(self.told(c), [(name, 10 ** 6, False)])
            status = c.cli_json("status")
            self.assertTrue(status["keeper"]["writable"])
            self.assertTrue(status["anchors"]["alarm"])
            self.assertIn("claims another history", c.cli("status").stdout)
            self.assertIn("stays, held (%s):" % record["hold"],
                          c.cli("purge", "--dry-run").stdout)
            self.assertEqual(c.journal.posts(), ["it goes on", "and on"])
            c.cli("hold", "release", record["hold"])
            self.purged(c, "not purged after the release")
            self.assertEqual(self.told(c), [])
            self.assertEqual(len(c.journal.control("conflict")), 1)
            liar.size += 1
            c.journal.wait(lambda j: len(j.control("conflict")) == 2,
                           "another claim is not recorded", 60)
            c.stop()
            said = c.verify(c.journal.path, c.folder / "out").stdout
            self.assertIn("claimed another history of this journal, of "
                          "1000000 records", said)
            self.assertEqual(self.second(c, c.journal.path), 0)

    def test_our_signature_of_another_history_stops_all(self):
        """Whatever a thief got cosigned is shown by the witness."""
        with Chancery() as c:
            self.start(c, ("one",), quorum=1)
            self.talk(c, "the truth")
            self.purged(c, "not purged")
            self.wait_cosigned(c)
            c.stop()
            thief = Thief(c)
            one = self.witnesses["one"]
            size = one.size(thief)
            end = len(thief.leaves) + 1
            thief.grow(end, "a lie")
            self.assertEqual(one.post("/add-checkpoint",
                                      thief.add_checkpoint(size, end))[0], 200)
            c.start()
            c.log.wait(r"signed another history of %d records \(fork" % end)
            record = c.journal.control("conflict")[-1]
            self.assertEqual((record["size"], record["proof"]),
                             (str(end), "yes"))
            note = base64.b64decode(record["note"]).decode()
            self.assertTrue(note.startswith(thief.note(end)))
            self.assertFalse(c.cli_json("status")["keeper"]["writable"])
            c.restart()
            c.log.wait(r"keeper: error: .* another history of %d" % end)
            self.assertEqual(self.told(c),
                             [("witness.example/one", end, True)])
            c.stop()
            self.assertIn("proved another history of this journal, of %d "
                          "records" % end, c.verify(c.journal.path).stdout)
            self.assertEqual(self.second(c, c.journal.path), 0)
            self.assertGreater(int(one.run("list").stdout.split()[-1]), 0)
            told = c.cli_json("recover", "--new-incarnation", "--reason",
                              "fork")
            self.assertEqual(told["signed"], end)
            recover = c.journal.control("recover")[-1]
            self.assertEqual((recover["size"], recover["reason"]),
                             (str(end), "fork"))
            old, c.vkey = c.vkey, None
            c.start()
            ann = c.sign_in("ann")
            self.assertEqual(ann.join(self.hall).code, 200)
            self.assertEqual(ann.post(self.hall, "under a new name"), 200)
            # Nobody is asked about the old name: that is settled. Under
            # the new one the witness learns the keys from there on.
            c.log.wait("HTTP status 404: unknown log " + told["origin"])
            one.run("add-log", told["vkey"], recover["next"])
            c.log.wait("witness.example/one: confirmed the checkpoint")
            # Purging waits for the decision of a person all the same.
            self.assertEqual(len(self.told(c)), 1)
            ann.sign_off()
            c.stop()
            keys = ["--key", old, "--key", told["vkey"]]
            c.verify(*keys, c.journal.path)
            with contextlib.redirect_stdout(io.StringIO()) as said:
                status = second.main([*keys, str(c.journal.path)])
            self.assertEqual(status, 0, said.getvalue())


if __name__ == "__main__":
    unittest.main()
