"""A chancery-witness of its own, and logs that it can be shown.

Witness: the program with its state, its TLS certificate and its CA.
Log: leaves, RFC 6962 proofs by their recursive definition, keys and notes;
none of it uses Chancery's code, signatures are openssl's.
"""

import base64
import contextlib
import functools
import hashlib
import http.client
import os
import pathlib
import ssl
import struct
import subprocess
import tempfile

from chancery import Lines, program

DASH = "— "
SECRET = bytes.fromhex("302e020100300506032b657004220420")
PUBLIC = bytes.fromhex("302a300506032b6570032100")


def b64(data):
    return base64.b64encode(data).decode()


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def openssl(*args, **kwargs):
    return subprocess.run(["openssl", *map(str, args)], check=True,
                          capture_output=True, timeout=60, **kwargs).stdout


def authority(folder):
    """A CA and a certificate of it for 127.0.0.1: (CA, certificate, key)."""
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    cert, key, ask = (folder / n for n in ("tls.pem", "tls.key", "tls.csr"))
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
          "-nodes"]
    openssl("req", "-x509", *ec, "-days", 30, "-subj", "/CN=Test CA",
            "-keyout", ca_key, "-out", ca)
    openssl("req", *ec, "-subj", "/CN=witness", "-keyout", key, "-out", ask)
    extensions = folder / "tls.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", ask, "-CA", ca, "-CAkey", ca_key,
            "-CAcreateserial", "-days", 30, "-extfile", extensions,
            "-out", cert)
    return ca, cert, key


class Key:
    """An Ed25519 key; openssl signs and checks."""

    def __init__(self, seed):
        self.secret = SECRET + sha256(seed)
        self.public = openssl("pkey", "-inform", "DER", "-pubout", "-outform",
                              "DER", input=self.secret)[-32:]

    def sign(self, message):
        with tempfile.NamedTemporaryFile() as file:
            file.write(message)
            file.flush()
            with tempfile.NamedTemporaryFile() as key:
                key.write(self.secret)
                key.flush()
                return openssl("pkeyutl", "-sign", "-inkey", key.name,
                               "-keyform", "DER", "-rawin", "-in", file.name)


def signed(public, message, signature):
    with contextlib.ExitStack() as stack:
        names = []
        for data in (PUBLIC + public, message, signature):
            file = stack.enter_context(tempfile.NamedTemporaryFile())
            file.write(data)
            file.flush()
            names.append(file.name)
        return subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", names[0],
             "-keyform", "DER", "-rawin", "-in", names[1], "-sigfile",
             names[2]], capture_output=True, timeout=60).returncode == 0


class Log:
    """A log with keys of several epochs; `salt` tells forks apart."""

    def __init__(self, origin, seed=b"log", keys=3):
        self.origin = origin
        self.keys = [Key(seed + bytes([n])) for n in range(keys)]
        self.leaves = []
        self.root_of = functools.lru_cache(maxsize=None)(self.range_root)

    def grow(self, size, salt="a"):
        while len(self.leaves) < size:
            self.leaves.append(b"%d %s\n" % (len(self.leaves),
                                             salt.encode()))
        return self

    def fork(self, at):
        """Another log of the same name and keys, the same up to there."""
        other = Log.__new__(Log)
        other.origin, other.keys = self.origin, self.keys
        other.leaves = self.leaves[:at]
        other.root_of = functools.lru_cache(maxsize=None)(other.range_root)
        return other

    def vkey(self, epoch=0):
        public = self.keys[epoch].public
        return "%s+%s+%s" % (self.origin, self.key_id(epoch).hex(),
                             b64(b"\1" + public))

    def key_id(self, epoch):
        return sha256(self.origin.encode(), b"\n\1",
                      self.keys[epoch].public)[:4]

    def digest(self, epoch):
        return sha256(self.keys[epoch].public).hex()

    def rotate(self, epoch, clean=True):
        """Appends the key record; its number."""
        seq = len(self.leaves)
        self.leaves.append((
            "leaf/1 %d 135\nt %d 5 5f0c1e9a 0\nepoch %d\nvkey %s\nnext %s\n"
            "reason daily\nclean %s\n" % (
                seq, 1000 + seq, epoch, self.vkey(epoch),
                self.digest((epoch + 1) % len(self.keys)),
                "yes" if clean else "no")).encode())
        return seq

    @staticmethod
    def hash(leaf):
        return sha256(b"\0", leaf)

    def range_root(self, first, end):
        if end - first == 1:
            return self.hash(self.leaves[first])
        k = split(end - first)
        return sha256(b"\1", self.root_of(first, first + k),
                      self.root_of(first + k, end))

    def root(self, size):
        return self.root_of(0, size) if size else sha256()

    def consistency(self, old, size):
        """RFC 6962, 2.1.2."""
        def proof(m, first, end, whole):
            if m == end - first:
                return [] if whole else [self.root_of(first, end)]
            k = split(end - first)
            if m <= k:
                return proof(m, first, first + k, whole) + [
                    self.root_of(first + k, end)]
            return proof(m - k, first + k, end, False) + [
                self.root_of(first, first + k)]
        return proof(old, 0, size, True) if 0 < old < size else []

    def compact(self, size):
        found, first = [], 0
        for bit in reversed(range(64)):
            if size >> bit & 1:
                found.append(self.root_of(first, first + (1 << bit)))
                first += 1 << bit
        return found

    def body(self, size):
        return "%s\n%d\n%s\n" % (self.origin, size, b64(self.root(size)))

    def note(self, size, epoch=0):
        body = self.body(size)
        blob = self.key_id(epoch) + self.keys[epoch].sign(body.encode())
        return "%s\n%s%s %s\n" % (body, DASH, self.origin, b64(blob))

    def proof_lines(self, old, size):
        return "old %d\n%s\n" % (old, "".join(
            b64(h) + "\n" for h in self.consistency(old, size)))

    def add_checkpoint(self, old, size, epoch=0):
        return self.proof_lines(old, size) + self.note(size, epoch)

    def add_key(self, old, seq, epoch=0):
        """epoch: that of the key that signs the closing checkpoint."""
        return "%s%s\n%s\n%s" % (
            self.proof_lines(old, seq + 1), self.leaves[seq].decode(),
            "".join(b64(h) + "\n" for h in self.compact(seq)),
            self.note(seq + 1, epoch))


def split(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


class Witness:
    """The program; add logs, then start."""

    def __init__(self, folder, name="witness.example/w1"):
        self.folder, self.name = pathlib.Path(folder), name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "state"
        self.ca, self.cert, self.key = authority(self.folder)
        self.process = self.log = self.port = None
        self.vkey = self.run("init", name).stdout.strip()
        self.public = base64.b64decode(self.vkey.split("+", 2)[2])[1:]
        self.id = sha256(name.encode(), b"\n\4", self.public)[:4]

    def run(self, *args, check=True):
        return subprocess.run(
            [program("chancery-witness"), "--state", str(self.state),
             *map(str, args)], check=check, capture_output=True, text=True,
            timeout=60)

    def start(self, port=0):
        self.process = subprocess.Popen(
            [program("chancery-witness"), "--state", str(self.state),
             "--listen", "127.0.0.1:%d" % port, "--cert", str(self.cert),
             "--key", str(self.key), "serve"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.log = Lines(self.process.stderr)
        line = self.log.wait(r"info: \S+ serves https://127\.0\.0\.1:\d+$")
        self.port = int(line.rsplit(":", 1)[1])
        return self

    @property
    def url(self):
        return "https://127.0.0.1:%d/" % self.port

    def end(self, kill=False):
        """The exit status, or the negative number of the signal."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.kill() if kill else self.process.terminate()
        status = self.process.wait(20)
        self.log.thread.join(10)
        self.process = None
        found = self.log.find(r"Sanitizer|runtime error:")
        if found:
            raise AssertionError("in the log: " + found)
        return status

    def connection(self, timeout=20):
        context = ssl.create_default_context(cafile=str(self.ca))
        return http.client.HTTPSConnection("127.0.0.1", self.port,
                                           timeout=timeout, context=context)

    def request(self, method, path, body=None, connection=None):
        """(status, content type, text of the body)."""
        c = connection or self.connection()
        try:
            c.request(method, path, body if body is None else body.encode())
            answer = c.getresponse()
            return (answer.status, answer.getheader("Content-Type"),
                    answer.read().decode())
        finally:
            if connection is None:
                c.close()

    def post(self, path, body, connection=None):
        return self.request("POST", path, body, connection)

    def size(self, log):
        """Asks as a client that knows nothing."""
        status, kind, text = self.post("/add-checkpoint",
                                       log.add_checkpoint(0, 1))
        if (status, kind) != (409, "text/x.tlog.size"):
            raise AssertionError("%d %s %r" % (status, kind, text))
        return int(text)

    def cosigned_at(self, line, body):
        """The time of a cosignature line, which must be right."""
        start = DASH + self.name + " "
        if not line.startswith(start) or not line.endswith("\n"):
            raise AssertionError("not a line of %s: %r" % (self.name, line))
        blob = base64.b64decode(line[len(start):-1], validate=True)
        at, = struct.unpack(">Q", blob[4:12])
        message = "cosignature/v1\ntime %d\n%s" % (at, body)
        if blob[:4] != self.id or len(blob) != 76 or not signed(
                self.public, message.encode(), blob[12:]):
            raise AssertionError("wrong cosignature: %r" % line)
        return at


@contextlib.contextmanager
def serving(*logs, rotating=True):
    """A witness that serves and knows these logs."""
    with tempfile.TemporaryDirectory(prefix="chancery-witness-") as folder:
        os.chmod(folder, 0o755)
        witness = Witness(folder)
        for log in logs:
            witness.run("add-log", log.vkey(),
                        *([log.digest(1)] if rotating else []))
        witness.start()
        try:
            yield witness
            if witness.process is not None and witness.end() != 0:
                raise AssertionError("the witness does not end well")
        finally:
            witness.end(kill=True)
