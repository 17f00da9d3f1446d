"""SIP messages, Digest answers and the one thread that moves their bytes.

Hub owns every socket: test threads only queue bytes and wait for results.
"""

import collections
import hashlib
import re
import secrets
import selectors
import socket
import ssl
import threading
import time


class Message:
    """A parsed request or response; `start` is its first line."""

    def __init__(self, start, headers, body):
        self.start = start
        self.headers = headers
        self.body = body
        words = start.split(" ", 2)
        if len(words) < 3:
            raise ValueError("start line: %r" % start)
        self.is_response = words[0] == "SIP/2.0"
        if self.is_response:
            self.status, self.reason = int(words[1]), words[2]
            self.method = self.get("CSeq").split()[1]
        else:
            if words[2] != "SIP/2.0":
                raise ValueError("version: %r" % start)
            self.method, self.uri = words[0], words[1]

    def get(self, name, default=None):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return default

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    @property
    def call_id(self):
        return self.get("Call-ID")

    @property
    def cseq(self):
        return int(self.get("CSeq").split()[0])

    def tag(self, name):
        found = re.search(r";\s*tag=([^;\s]+)", self.get(name, ""))
        return found.group(1) if found else None

    def address(self, name):
        value = self.get(name, "")
        found = re.search(r"<([^>]*)>", value)
        return found.group(1) if found else value.split(";")[0].strip()


def parse(data):
    """(message or None, rest). Strict: what a server sends must be clean."""
    data = data.lstrip(b"\r\n")
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None, data
    lines = data[:end].decode("utf-8").split("\r\n")
    headers = []
    for line in lines[1:]:
        if line[:1] in " \t":
            headers[-1] = (headers[-1][0], headers[-1][1] + " " + line.strip())
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError("header line: %r" % line)
        headers.append((name, value.strip()))
    lengths = [v for k, v in headers if k.lower() == "content-length"]
    if len(lengths) != 1:
        raise ValueError("Content-Length: %r in %r" % (lengths, lines[0]))
    size = int(lengths[0])
    if len(data) < end + 4 + size:
        return None, data
    body = data[end + 4:end + 4 + size]
    return Message(lines[0], headers, body), data[end + 4 + size:]


def build(start, headers, body=b""):
    lines = [start] + ["%s: %s" % pair for pair in headers]
    lines.append("Content-Length: %d" % len(body))
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def challenge(value):
    """Parameters of one Proxy-Authenticate value, or None if not Digest."""
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "digest":
        return None
    pairs = re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))', rest)
    return {name.lower(): quoted or plain for name, quoted, plain in pairs}


HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def digest(params, method, uri, user, password, cnonce=None):
    """The value of the Proxy-Authorization header (RFC 8760, qop=auth)."""
    algorithm = params.get("algorithm", "MD5").upper()

    def h(text):
        return HASHES[algorithm](text.encode()).hexdigest()

    cnonce, nc = cnonce or secrets.token_hex(4), "00000001"
    ha1 = h("%s:%s:%s" % (user, params["realm"], password))
    ha2 = h("%s:%s" % (method, uri))
    response = h(":".join((ha1, params["nonce"], nc, cnonce, "auth", ha2)))
    fields = ['username="%s"' % user, 'realm="%s"' % params["realm"],
              'nonce="%s"' % params["nonce"], 'uri="%s"' % uri,
              "qop=auth", "nc=%s" % nc, 'cnonce="%s"' % cnonce,
              'response="%s"' % response, "algorithm=%s" % algorithm]
    if "opaque" in params:
        fields.append('opaque="%s"' % params["opaque"])
    return "Digest " + ", ".join(fields)


class Hub(threading.Thread):
    """All sockets of a test on one thread."""

    def __init__(self):
        super().__init__(daemon=True, name="hub")
        self.selector = selectors.DefaultSelector()
        self.waker, self.wakee = socket.socketpair()
        self.waker.setblocking(False)
        self.wakee.setblocking(False)
        self.selector.register(self.wakee, selectors.EVENT_READ, None)
        self.jobs = collections.deque()
        self.timers = []
        self.stopping = False
        self.start()

    def do(self, job):
        self.jobs.append(job)
        try:
            self.waker.send(b"x")
        except BlockingIOError:
            pass

    def every(self, seconds, job):
        """job() again and again until it returns False."""
        self.do(lambda: self.timers.append(
            [time.monotonic() + seconds, seconds, job]))

    def run(self):
        while True:
            self.run_jobs()
            if self.stopping:
                break
            wait = self.run_timers()
            for key, mask in self.selector.select(wait):
                if key.data is None:
                    try:
                        self.wakee.recv(4096)
                    except BlockingIOError:
                        pass
                else:
                    key.data.ready(mask)
        for key in list(self.selector.get_map().values()):
            if key.data is not None:
                key.data.close()

    def run_jobs(self):
        while self.jobs:
            self.jobs.popleft()()

    def run_timers(self):
        now = time.monotonic()
        for timer in self.timers[:]:
            if timer[0] <= now:
                timer[0] = now + timer[1]
                if timer[2]() is False:
                    self.timers.remove(timer)
        if not self.timers:
            return None
        return max(0, min(t[0] for t in self.timers) - time.monotonic())

    def stop(self):
        self.do(lambda: setattr(self, "stopping", True))
        self.join(10)
        if self.is_alive():
            raise AssertionError("the hub does not stop")


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Connection:
    """One TCP, TLS or UDP socket of a Hub.

    on_message(Message) and on_lost(reason) are called on the Hub's thread.
    """

    def __init__(self, hub, transport, address, on_message, on_lost,
                 timeout=10, source=None):
        self.hub, self.transport, self.address = hub, transport, address
        self.on_message, self.on_lost = on_message, on_lost
        self.data, self.out = b"", bytearray()
        self.mask, self.closed = 0, False
        self.received = 0
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        raw = socket.socket(family(address[0]), kind)
        raw.settimeout(timeout)
        if source is not None:
            raw.bind((source, 0))
        raw.connect(address)
        if transport == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            raw = context.wrap_socket(raw)
        if transport != "udp":
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setblocking(False)
        self.socket = raw
        self.local = raw.getsockname()
        hub.do(lambda: self.watch(selectors.EVENT_READ))

    def local_host(self):
        """As a URI has it."""
        host = self.local[0]
        return "[%s]" % host if ":" in host else host

    def watch(self, mask):
        if self.closed or mask == self.mask:
            return
        if self.mask:
            self.hub.selector.modify(self.socket, mask, self)
        else:
            self.hub.selector.register(self.socket, mask, self)
        self.mask = mask

    def send(self, data):
        """From any thread. UDP: one call, one datagram."""
        self.hub.do(lambda: self.push(data))

    def stop_reading(self):
        """The socket stays open, its receive buffer fills."""
        def stop():
            self.hub.selector.unregister(self.socket)
            self.mask = 0

        self.hub.do(stop)

    def push(self, data):
        if self.closed:
            return
        if self.transport == "udp":
            try:
                self.socket.send(data)
            except OSError:
                pass  # the retransmission or the time-out will tell
            return
        self.out += data
        self.flush()

    def flush(self):
        try:
            while self.out:
                sent = self.socket.send(self.out)
                del self.out[:sent]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            self.lose(str(error))
            return
        self.watch(selectors.EVENT_READ |
                   (selectors.EVENT_WRITE if self.out else 0))

    def ready(self, mask):
        if mask & selectors.EVENT_WRITE:
            self.flush()
        if mask & selectors.EVENT_READ and not self.closed:
            self.read()

    def read(self):
        while not self.closed:
            try:
                piece = self.socket.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError,
                    ssl.SSLWantWriteError):
                return
            except ConnectionRefusedError:
                if self.transport == "udp":
                    return  # ICMP; the server may be between two lives
                self.lose("refused")
                return
            except OSError as error:
                self.lose(str(error))
                return
            if self.transport == "udp":
                self.data = piece
            elif not piece:
                self.lose("closed by the server")
                return
            else:
                self.data += piece
            self.received += len(piece)
            self.consume()

    def consume(self):
        while not self.closed:
            try:
                message, self.data = parse(self.data)
                if message is None:
                    return
                self.on_message(message)
            except (ValueError, IndexError, AttributeError) as error:
                self.lose("unreadable message: %s" % error)
                return

    def lose(self, reason):
        if not self.closed:
            self.close()
            self.on_lost(reason)

    def close(self):
        """On the Hub's thread."""
        if self.closed:
            return
        self.closed = True
        if self.mask:
            self.hub.selector.unregister(self.socket)
        try:
            self.socket.close()
        except OSError:
            pass
