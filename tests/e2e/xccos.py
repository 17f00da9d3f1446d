"""A SIP/XCCOS client for the tests, as plain as a client can be.

It signs in (Digest by 407), opens a chat dialog the way SIPE does or the
way Lync does, and speaks XCCOS. Whatever the server does that a client could
not live with is written into `faults`; a test ends with them empty.
"""

import collections
import itertools
import random
import re
import secrets
import threading
import time
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape, quoteattr

from sip import Connection, Message, build, challenge, digest

NS = "urn:parlano:xml:ns:xccos"
Q = "{%s}" % NS
TIMEOUT = 20

Event = collections.namedtuple("Event", "kind room user text ts number")


class Lost(Exception):
    """The connection went away while an answer was awaited."""


class Transaction:
    """A request under way; `final` is its Message once answered."""

    def __init__(self, client, request, dialog=None, envid=None):
        self.client, self.dialog, self.envid = client, dialog, envid
        self.final, self.lost, self.challenged = None, False, False
        self.provisional = []
        self.sent_at, self.done_at = time.monotonic(), None
        self.done = threading.Event()
        self.set_request(request)

    def set_request(self, request):
        self.request = request
        self.key = (request.call_id, request.cseq, request.method)
        self.data = build(request.start, request.headers, request.body)
        self.next_send, self.interval = time.monotonic() + 0.5, 0.5

    def finish(self, message):
        self.final, self.lost = message, message is None
        self.client.tell("final", self)
        self.done_at = time.monotonic()
        self.done.set()

    def wait(self, timeout=TIMEOUT):
        if not self.done.wait(timeout):
            raise TimeoutError("%s: no answer to %s" %
                               (self.client.user, self.key))
        if self.lost:
            raise Lost("%s: %s" % (self.client.user, self.client.lost))
        return self.final

    @property
    def status(self):
        """The final status; 0 while under way or when lost."""
        return self.final.status if self.final else 0


class Reply:
    """An rpl: code, text and its data element."""

    def __init__(self, rpl):
        resp = rpl.find(Q + "resp")
        self.id = rpl.get("id")
        self.code = int(resp.get("code"))
        self.text = resp.text or ""
        self.data = rpl.find(Q + "data")
        self.element = rpl

    def rooms(self):
        """{uri: chanib} of the data."""
        return {c.get("uri"): c for c in self.data.findall(Q + "chanib")}

    def people(self, room):
        """{user uri: permission key} of a joined room."""
        names = {u.get("id"): u.get("uri")
                 for u in self.data.findall(Q + "uib")}
        found = {}
        for aib in self.rooms()[room].findall(Q + "aib"):
            for number in filter(None, aib.get("value").split(",")):
                if names[number] in found:
                    raise AssertionError("%s is listed twice" % names[number])
                found[names[number]] = aib.get("key")
        return found

    def messages(self):
        """History as [(author, text, ts)], in the order given."""
        return [(m.get("author"), m.findtext(Q + "chat"), m.get("ts"))
                for m in self.data.iter(Q + "msg")]


class Dialog:
    def __init__(self, remote):
        self.call_id = secrets.token_hex(10)
        self.tag = secrets.token_hex(5)
        self.remote, self.remote_tag = remote, None
        self.target = remote
        self.cseq, self.remote_cseq = 0, 0
        self.open, self.ended = False, False
        self.expires = 0


class Client:
    """One endpoint. `user` is the local part; epid tells endpoints apart."""

    counter = itertools.count(1)

    def __init__(self, hub, user, domain, address, password=None,
                 transport="tcp", algorithm="SHA-256", epid=None,
                 branches=True, source=None):
        self.hub, self.user, self.domain = hub, user, domain
        self.uri = "sip:%s@%s" % (user, domain)
        self.login = "%s@%s" % (user, domain)
        self.password = password if password is not None else user + "-secret"
        self.address, self.transport = address, transport
        self.source = source        # address to connect from
        self.algorithm, self.branches = algorithm, branches
        self.epid = epid or "%012x" % random.getrandbits(48)
        self.digest_uri = None      # None: the request's own URI
        self.answer_info = 200      # None: leave the server's INFO unanswered
        self.envid = random.getrandbits(31)
        self.events, self.faults = [], []
        self.replies, self.notifies, self.received = {}, [], []
        self.keep_received = False
        self.watch = None   # watch(kind, item): final, reply, event
        self.changed = threading.Condition()
        self.transactions, self.answers = {}, collections.OrderedDict()
        self.dialog, self.dead_calls = None, set()
        self.lost, self.connection = None, None
        self.nonces = []
        self.params = None      # UDP: of the last challenge
        self.authorization = None
        self.register_call = secrets.token_hex(10)
        self.register_cseq = 0
        self.chat_uri = None
        self.subscription = None

    # ---- bytes ----

    def connect(self):
        self.lost = None
        self.connection = Connection(
            self.hub, self.transport, self.address, self.on_message,
            self.on_lost, source=self.source)
        if self.transport == "udp":
            self.hub.every(0.25, self.retransmit)
        return self

    def drop(self):
        """Closes the socket without a word, as a crash does."""
        connection, done = self.connection, threading.Event()

        def close():
            connection.close()
            self.on_lost("dropped by the test")
            done.set()

        self.hub.do(close)
        done.wait(TIMEOUT)

    def send_raw(self, data):
        self.connection.send(data)

    def on_lost(self, reason):
        with self.changed:
            self.lost = reason
            pending = list(self.transactions.values())
            self.transactions.clear()
            self.changed.notify_all()
        for transaction in pending:
            transaction.finish(None)

    def retransmit(self):
        now = time.monotonic()
        for transaction in list(self.transactions.values()):
            if transaction.next_send <= now:
                transaction.interval = min(transaction.interval * 2, 4)
                transaction.next_send = now + transaction.interval
                self.connection.push(transaction.data)
        return not self.connection.closed

    # ---- requests ----

    def via(self, branch):
        host, port = self.connection.local_host(), self.connection.local[1]
        value = "SIP/2.0/%s %s:%d" % (self.transport, host, port)
        return value + (";branch=z9hG4bK" + branch if branch else "")

    def contact(self):
        host, port = self.connection.local_host(), self.connection.local[1]
        return "<sip:%s:%d;maddr=%s;transport=%s>;proxy=replace" % (
            self.login, port, host, self.transport)

    def start(self, method, uri, headers, body=b"", dialog=None, envid=None,
              to=None, to_tag=None, from_uri=None, from_tag=None,
              call_id=None, cseq=1):
        """Sends a request; gives its Transaction (None for ACK)."""
        if dialog:
            from_tag, call_id, to = dialog.tag, dialog.call_id, dialog.remote
            to_tag, uri = dialog.remote_tag, uri or dialog.target
            if method != "ACK":
                dialog.cseq += 1
            cseq = dialog.cseq if method != "ACK" else 1
        branch = secrets.token_hex(8)
        if dialog and not self.branches:
            branch = ""
        fields = [
            ("Via", self.via(branch)),
            ("From", "<%s>;tag=%s;epid=%s" % (
                from_uri or self.uri, from_tag, self.epid)),
            ("To", "<%s>" % to + (";tag=" + to_tag if to_tag else "")),
            ("Max-Forwards", "70"),
            ("CSeq", "%d %s" % (cseq, method)),
            ("Call-ID", call_id),
        ] + list(headers)
        if self.params and method != "REGISTER":
            fields.append(("Proxy-Authorization", self.credentials(
                method, uri)))
        request = Message("%s %s SIP/2.0" % (method, uri), fields, body)
        if method == "ACK":
            self.connection.send(build(request.start, fields, body))
            return None
        return self.transact(request, dialog, envid)

    def transact(self, request, dialog=None, envid=None):
        transaction = Transaction(self, request, dialog, envid)
        with self.changed:
            if self.lost:
                raise Lost("%s: %s" % (self.user, self.lost))
            self.transactions[transaction.key] = transaction
        self.connection.send(transaction.data)
        return transaction

    def credentials(self, method, uri):
        return digest(self.params, method, uri, self.login, self.password)

    def challenged(self, transaction, final):
        """UDP: no connection vouches for us, so each request may be asked.

        The request again with the next CSeq, as a part of the same
        Transaction. On the Hub's thread.
        """
        request, dialog = transaction.request, transaction.dialog
        self.params = self.pick_challenge(final)
        cseq = request.cseq + 1
        if dialog:
            dialog.cseq = max(dialog.cseq + 1, cseq)
            cseq = dialog.cseq
        changed = {"Via": self.via(secrets.token_hex(8)),
                   "CSeq": "%d %s" % (cseq, request.method)}
        fields = [(n, changed.get(n, v)) for n, v in request.headers
                  if n != "Proxy-Authorization"]
        fields.append(("Proxy-Authorization", self.credentials(
            request.method, request.uri)))
        transaction.set_request(Message(request.start, fields, request.body))
        transaction.challenged = True
        with self.changed:
            self.transactions[transaction.key] = transaction
        self.connection.push(transaction.data)

    def acknowledge(self, request, final):
        """ACK of a refused INVITE: of the same transaction."""
        fields = [(n, request.get(n)) for n in
                  ("Via", "From", "Max-Forwards", "Call-ID")]
        fields += [("To", final.get("To")),
                   ("CSeq", "%d ACK" % request.cseq)]
        self.connection.push(build("ACK %s SIP/2.0" % request.uri, fields))

    def request(self, *args, timeout=TIMEOUT, **kwargs):
        return self.start(*args, **kwargs).wait(timeout)

    # ---- what the server sends ----

    def on_message(self, message):
        if self.keep_received:
            self.received.append(message)
        if message.is_response:
            self.on_response(message)
        else:
            self.on_request(message)

    def on_response(self, message):
        key = (message.call_id, message.cseq, message.method)
        with self.changed:
            transaction = self.transactions.get(key)
            if transaction is None:
                if self.transport != "udp":
                    self.fault("answer to nothing: %s %s" % (
                        message.start, key))
                return
            if message.status < 200:
                transaction.provisional.append(message)
                return
            del self.transactions[key]
        if message.method == "INVITE" and message.status >= 300:
            self.acknowledge(transaction.request, message)
        if message.status == 407 and self.transport == "udp" and \
                message.method != "REGISTER" and not transaction.challenged:
            self.challenged(transaction, message)
            return
        transaction.finish(message)
        with self.changed:
            self.changed.notify_all()

    def on_request(self, message):
        if message.method in ("ACK", "BENOTIFY"):
            if message.method == "BENOTIFY":
                self.note(self.notifies, message)
            return
        key = (message.call_id, message.cseq, message.method)
        if key in self.answers:
            if self.transport != "udp":
                self.fault("repeated request %s" % (key,))
            if self.answers[key]:
                self.connection.push(self.answers[key])
            return
        handler = {"INFO": self.on_info, "BYE": self.on_bye,
                   "NOTIFY": self.on_notify}.get(message.method)
        status = handler(message) if handler else 405
        data = self.answer(message, status) if status else b""
        self.answers[key] = data
        while len(self.answers) > 256:
            self.answers.popitem(last=False)
        if data:
            self.connection.push(data)

    def answer(self, message, status):
        headers = [("Via", v) for v in message.all("Via")]
        headers += [(n, message.get(n)) for n in
                    ("From", "To", "Call-ID", "CSeq")]
        headers += [("Record-Route", v) for v in message.all("Record-Route")]
        headers.append(("Contact", self.contact()))
        return build("SIP/2.0 %d %s" % (
            status, "OK" if status == 200 else "No"), headers)

    def on_notify(self, message):
        self.note(self.notifies, message)
        return 200

    def on_bye(self, message):
        dialog = self.dialog
        if not dialog or message.call_id != dialog.call_id:
            return 481
        with self.changed:
            dialog.open, dialog.ended = False, True
            self.dead_calls.add(dialog.call_id)
            self.changed.notify_all()
        return 200

    def on_info(self, message):
        dialog = self.dialog
        if not dialog or message.call_id != dialog.call_id or dialog.ended:
            self.fault("INFO outside the dialog: %r" % message.body[:200])
            return 487
        if message.address("From").lower() != dialog.remote.lower():
            self.fault("INFO from %s" % message.get("From"))
        if message.tag("To") != dialog.tag or \
                message.tag("From") != dialog.remote_tag:
            self.fault("INFO with other tags: %s / %s" % (
                message.get("From"), message.get("To")))
        if dialog.remote_cseq and message.cseq != dialog.remote_cseq + 1:
            self.fault("INFO CSeq %d after %d" % (
                message.cseq, dialog.remote_cseq))
        dialog.remote_cseq = message.cseq
        if message.get("Content-Type") != "text/plain":
            self.fault("INFO type %s" % message.get("Content-Type"))
        try:
            self.on_xccos(ElementTree.fromstring(message.body))
        except (ElementTree.ParseError, AttributeError, TypeError,
                ValueError) as error:
            self.fault("body %r: %s" % (message.body[:300], error))
        return self.answer_info

    def on_xccos(self, root):
        if root.tag != Q + "xccos" or root.get("ver") != "1" or \
                not (root.get("envid") or "").isdigit():
            self.fault("envelope %s %s" % (root.tag, root.attrib))
        for child in root:
            name = child.tag.replace(Q, "")
            if name == "rpl":
                self.on_rpl(child)
            elif name == "ntc":
                self.on_ntc(child)
            elif name == "grpchat":
                self.on_grpchat(child)
            else:
                self.fault("element %s" % child.tag)
        if len(root.findall(Q + "grpchat")) > 1:
            self.fault("several grpchat in one envelope")

    def on_rpl(self, rpl):
        command = rpl.find(Q + "commandid")
        if [c.tag for c in rpl] != [Q + "commandid", Q + "resp", Q + "data"]:
            self.fault("rpl children %s" % [c.tag for c in rpl])
        envid = command.get("envid")
        if any(t.envid == envid for t in list(self.transactions.values())):
            self.fault("%s before the 200 to its INFO" % rpl.get("id"))
        reply = Reply(rpl)
        self.tell("reply", reply)
        for chanib in rpl.iter(Q + "chanib"):
            if rpl.get("id") in ("rpl:chansrch", "rpl:join", "rpl:bjoin") \
                    and not chanib.get("name"):
                self.fault("chanib without a name")
        with self.changed:
            if envid in self.replies:
                self.fault("second rpl to %s" % envid)
            self.replies[envid] = reply
            self.changed.notify_all()

    def on_ntc(self, ntc):
        kind = ntc.get("id")
        for uib in ntc.iter(Q + "uib"):
            if kind in ("ntc:join", "ntc:bjoin"):
                for aib in uib.findall(Q + "aib"):
                    room = "ma-chan://%s/%s" % (
                        aib.get("domain"), aib.get("value"))
                    self.event("join", room, uib.get("uri"))
        for chanib in ntc.iter(Q + "chanib"):
            for uib in chanib.findall(Q + "uib"):
                self.event("part", chanib.get("uri"), uib.get("uri"))

    def on_grpchat(self, grpchat):
        text, ts = grpchat.findtext(Q + "chat"), grpchat.get("ts") or ""
        if not text:
            self.fault("empty chat")
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z",
                            ts):
            self.fault("ts %r" % ts)
        self.event("post", grpchat.get("chanUri"), grpchat.get("author"),
                   text, ts, grpchat.get("chatId"))

    def event(self, kind, room, user, text=None, ts=None, number=None):
        event = Event(kind, room, user, text, ts, number)
        self.tell("event", event)
        self.note(self.events, event)

    def note(self, collection, item):
        with self.changed:
            collection.append(item)
            self.changed.notify_all()

    def tell(self, kind, item):
        """On the Hub's thread, the moment it arrives."""
        if self.watch is not None:
            self.watch(kind, item)

    def fault(self, text):
        self.faults.append("%s: %s" % (self.user, text))

    def wait(self, condition, what, timeout=TIMEOUT):
        """Until condition() is true; its value."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                value = condition()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    value = condition()
                    if value:
                        return value
                    raise TimeoutError("%s: %s" % (self.user, what))

    # ---- sign-in ----

    def register(self, expires=None, headers=(), **kwargs):
        """REGISTER, answering challenges until the nonce is good."""
        self.register_cseq += 1
        uri = "sip:" + self.domain
        host, port = self.connection.local_host(), self.connection.local[1]
        fields = [
            ("Contact", "<sip:%s:%d;transport=%s>;proxy=replace;"
             "+sip.instance=\"<urn:uuid:00000000-0000-5000-8000-%s>\"" % (
                 host, port, self.transport, self.epid)),
            ("Supported", "gruu-10, adhoclist, msrtc-event-categories"),
            ("Event", "registration"),
            ("ms-keep-alive", "UAC;hop-hop=yes"),
        ] + list(headers)
        if expires is not None:
            fields.append(("Expires", str(expires)))
        tag = secrets.token_hex(5)
        answer = None
        for _ in range(4):
            extra = [("Proxy-Authorization", answer)] if answer else []
            final = self.request(
                "REGISTER", uri, fields + extra, to=self.uri, from_tag=tag,
                call_id=self.register_call, cseq=self.register_cseq, **kwargs)
            if final.status != 407:
                return final
            params = self.pick_challenge(final)
            self.nonces.append(params["nonce"])
            if self.transport == "udp":
                self.params = params
            answer = digest(params, "REGISTER", self.digest_uri or uri,
                            self.login, self.password)
            self.authorization = answer
            self.register_cseq += 1
        return final

    def pick_challenge(self, final):
        found = [challenge(v) for v in final.all("Proxy-Authenticate")]
        for params in filter(None, found):
            if params.get("algorithm", "MD5").upper() == self.algorithm:
                return params
        raise AssertionError("no %s challenge in %r" % (
            self.algorithm, final.all("Proxy-Authenticate")))

    def subscribe(self):
        """Provisioning; returns its body as text."""
        call_id, tag = secrets.token_hex(10), secrets.token_hex(5)
        before = len(self.notifies)
        kind = "application/vnd-microsoft-roaming-provisioning-v2+xml"
        body = (b'<provisioningGroupList xmlns="http://schemas.microsoft.com/'
                b'2006/09/sip/provisioninggrouplist"><provisioningGroup '
                b'name="persistentChatConfiguration"/>'
                b'</provisioningGroupList>')
        final = self.request(
            "SUBSCRIBE", self.uri, [
                ("Event", "vnd-microsoft-provisioning-v2"),
                ("Accept", kind),
                ("Supported", "ms-benotify"),
                ("Proxy-Require", "ms-benotify"),
                ("Supported", "ms-piggyback-first-notify"),
                ("Expires", "0"), ("Contact", self.contact()),
                ("Content-Type", kind)], body,
            to=self.uri, from_tag=tag, call_id=call_id)
        if final.status != 200:
            raise AssertionError("SUBSCRIBE: " + final.start)
        self.subscription = (call_id, tag, final.tag("To"))
        if final.get("ms-piggyback-cseq"):
            message = final
        else:
            message = self.wait(lambda: self.notifies[before:],
                                "no provisioning notification")[0]
        if message.get("Event") != "vnd-microsoft-provisioning-v2":
            self.fault("notification Event %s" % message.get("Event"))
        text = message.body.decode()
        found = re.search(
            r'name="DefaultPersistentChatPoolUri">([^<]+)<', text)
        self.chat_uri = found.group(1) if found else \
            "sip:ocschat@" + self.domain
        return text

    def invite(self, uri=None):
        """A new chat dialog; returns the final response."""
        dialog = Dialog(uri or self.chat_uri or "sip:ocschat@" + self.domain)
        self.dialog = dialog
        host = self.connection.local[0]
        where = "IN IP%d %s" % (6 if ":" in host else 4, host)
        body = ("v=0\r\no=- 0 0 %s\r\ns=session\r\nc=%s\r\n"
                "t=0 0\r\nm=message 5060 sip null\r\n"
                "a=accept-types:text/plain\r\n" % (where, where)).encode()
        final = self.request(
            "INVITE", dialog.remote,
            [("Supported", "ms-sender"), ("Contact", self.contact()),
             ("Content-Type", "application/sdp")], body, dialog=dialog)
        if final.status != 200:
            return final
        dialog.remote_tag = final.tag("To")
        dialog.target = final.address("Contact") or dialog.remote
        expires = final.get("Session-Expires", "0").split(";")[0]
        dialog.expires = int(expires)
        if not dialog.remote_tag or not dialog.expires:
            self.fault("INVITE 200 without To tag or Session-Expires")
        dialog.open = True
        self.start("ACK", None, [], dialog=dialog)
        return final

    def open_chat(self, lookup=True):
        """INVITE, and with lookup: requri, BYE and a second INVITE."""
        final = self.invite()
        if final.status == 200 and lookup:
            reply = self.command("requri", "")
            uri = reply.data.find(Q + "uib").get("uri")
            self.bye()
            final = self.invite(uri)
        return final

    def sign_in(self, lookup=True):
        self.connect()
        final = self.register()
        if final.status != 200:
            raise AssertionError("REGISTER: " + final.start)
        self.subscribe()
        final = self.open_chat(lookup)
        if final.status != 200:
            raise AssertionError("INVITE: " + final.start)
        return self

    def bye(self):
        dialog = self.dialog
        dialog.open = False
        transaction = self.start("BYE", None, [], dialog=dialog)
        dialog.ended = True
        self.dead_calls.add(dialog.call_id)
        return transaction.wait()

    def unsubscribe(self):
        call_id, tag, to_tag = self.subscription
        transaction = self.start(
            "SUBSCRIBE", self.uri, [
                ("Event", "vnd-microsoft-provisioning-v2"),
                ("Expires", "0"), ("Contact", self.contact())],
            to=self.uri, to_tag=to_tag, from_tag=tag, call_id=call_id,
            cseq=2)
        return transaction.wait()

    def sign_off(self):
        """BYE, REGISTER with Expires 0, close; what SIPE does."""
        if self.dialog and self.dialog.open:
            self.bye()
        final = self.register(expires=0)
        self.drop()
        return final

    # ---- XCCOS ----

    def info(self, body, **kwargs):
        """Sends an INFO with this body; gives its Transaction."""
        if isinstance(body, str):
            body = body.encode()
        return self.start("INFO", None, [("Content-Type", "text/plain")],
                          body, dialog=self.dialog, **kwargs)

    def envelope(self, inner):
        self.envid += 1
        return str(self.envid), '<xccos ver="1" envid="%d" xmlns="%s">%s' \
            "</xccos>" % (self.envid, NS, inner)

    def command_start(self, name, data, timeout=TIMEOUT):
        """Sends a cmd, sees its INFO answered 200; gives the envid."""
        envid, body = self.envelope(
            '<cmd id="cmd:%s" seqid="1"><data>%s</data></cmd>' % (name, data))
        final = self.info(body, envid=envid).wait(timeout)
        if final.status != 200:
            raise AssertionError("cmd:%s: %s" % (name, final.start))
        return envid

    def reply(self, envid, name, timeout=TIMEOUT):
        """The Reply to that command."""
        self.wait(lambda: envid in self.replies or self.lost,
                  "no rpl:%s" % name, timeout)
        if envid not in self.replies:
            raise Lost("%s: %s" % (self.user, self.lost))
        reply = self.replies[envid]
        if reply.id != "rpl:" + name:
            self.fault("%s to cmd:%s" % (reply.id, name))
        return reply

    def command(self, name, data, timeout=TIMEOUT):
        return self.reply(self.command_start(name, data, timeout), name,
                          timeout)

    def chanid(self, key, room):
        domain, _, guid = room.replace("ma-chan://", "").partition("/")
        return '<chanid key="%d" domain="%s" value="%s"/>' % (
            key, domain, guid)

    def join(self, room):
        return self.command("join", self.chanid(0, room))

    def bjoin(self, rooms):
        return self.command("bjoin", "".join(
            self.chanid(i, r) for i, r in enumerate(rooms)))

    def part_start(self, room):
        return self.command_start("part", '<chanib uri="%s"/>' % room)

    def part(self, room):
        return self.reply(self.part_start(room), "part")

    def search(self, text="", extended="false"):
        return self.command(
            "chansrch", '<qib qtype="BYNAME" criteria=%s extended="%s"/>' % (
                quoteattr(text), extended))

    def history(self, room, count=25):
        return self.command(
            "bccontext", '<chanib uri="%s"/><bcq><last cnt="%d"/></bcq>' % (
                room, count))

    def post_start(self, room, text, author=None):
        """Sends a post; gives its Transaction."""
        inner = escape(text, {"\r": "&#13;", "\n": "&#10;"})
        ts = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        _, body = self.envelope(
            '<grpchat id="grpchat" seqid="1" chanUri="%s" author="%s" '
            'ts="%s"><chat>%s</chat></grpchat>' % (
                room, author or self.uri, ts, inner))
        return self.info(body)

    def post(self, room, text, **kwargs):
        """Posts; gives the final status."""
        return self.post_start(room, text, **kwargs).wait().status

    def posts(self, room=None):
        """Texts received, in order."""
        with self.changed:
            return [e.text for e in self.events if e.kind == "post" and
                    (room is None or e.room == room)]

    def wait_post(self, text, timeout=TIMEOUT):
        return self.wait(lambda: next(
            (e for e in self.events if e.kind == "post" and e.text == text),
            None), "post %r did not come" % text, timeout)

    def wait_event(self, kind, user, room, count=1, timeout=TIMEOUT):
        self.wait(lambda: sum(
            e[:3] == (kind, room, user) for e in self.events) >= count,
            "%s of %s did not come" % (kind, user), timeout)
