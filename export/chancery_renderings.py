"""What people read in an XML archive, by chancery-adapter(7), XML: made anew from the records."""
import datetime, hashlib, json, re
NAMESPACE = "{urn:chancery:compliance:1}"
TYPES = {1: "JOIN", 2: "PART", 3: "CHAT", 4: "BACKCHAT"}
DETAILS = "auth device via peer reason joined late happened first last count client".split()

def plain(core, element):   # an element as (name, attributes, children): no text but white space
    core.need(not (element.text or "").strip(" \t\r\n") and
              not (element.tail or "").strip(" \t\r\n"), "text in the rendering")
    return element.tag, element.attrib, [plain(core, child) for child in element]

def readable(text):         # as XML can hold it
    return re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", text)

def time(name, leaf):
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=leaf.at)
    fraction = f".{leaf.at % 1000000:06}".rstrip("0").rstrip(".")
    return name, {"since1970": str(leaf.at // 1000), "long": str(leaf.at * 10 + 621355968 * 10**9),
                  "string": f"{at:%Y-%m-%dT%H:%M:%S}{fraction}Z"}, []

def sender(uri, name):
    digest = hashlib.sha256(b"sender/1\n" + uri.encode()).digest()
    shown = uri.removeprefix("sip:")
    return "Sender", {"UserName": readable(name or shown), "email": "", "internal": "true",
                      "id": str(int.from_bytes(digest[:4]) >> 1 or 1), "uri": readable(shown)}, []

def string(said, name):     # "" when it is not there, or not a string
    return said.get(name) if type(said.get(name)) is str else ""

def detail(value):          # as text; what is no string, number or truth is not shown
    if type(value) is str: return readable(value)
    return json.dumps(value) if type(value) is bool or (
        type(value) is int and value >= 0) else None

def message(leaf, said, content, strict):
    number = said.get("chat") if leaf.kind == 3 and detail(said.get("chat")) else 0
    number = number if type(number) is int and (number < 2**31 or not strict) else 0
    shown = {"type": TYPES[leaf.kind], "content": readable(content), "id": str(number)}
    if not strict:
        shown[NAMESPACE + "seq"] = str(leaf.seq)
        shown.update({NAMESPACE + name: detail(said[name]) for name in DETAILS
                      if detail(said.get(name)) is not None})
    return "Message", shown, [sender(string(said, "user"), string(said, "name")),
                              time("DateTimeUTC", leaf)]

def content(leaf, said, parts):
    if leaf.kind == 3: return string(json.loads(parts[1]), "text")
    return json.dumps(said["query"], ensure_ascii=False, separators=(",", ":")) if (
        leaf.kind == 4 and "query" in said) else ""

def rendering(records, strict):     # of (leaf, payloads): rooms in the order of first messages
    rooms = {}
    for leaf, parts in records:
        if leaf.kind in TYPES and parts:
            said = json.loads(parts[0])
            rooms.setdefault(said["room"], []).append(
                (leaf, said, message(leaf, said, content(leaf, said, parts), strict)))
    return [conversation(room, *zip(*told), strict) for room, told in rooms.items()]

def conversation(room, leaves, said, messages, strict):
    channel = {"uri": readable(room), "name": readable(string(said[0], "roomname") or room)}
    return "Conversation", {}, [
        ("Channel", channel if strict else {**channel, "islogged": "true"}, []),
        ("FirstMessage", *messages[0][1:]), ("Messages", {}, [*messages]),
        time("StartTimeUTC", leaves[0]), time("EndTimeUTC", leaves[-1])]

def check(core, root, records, strict):     # nothing more and nothing less, but for the evidence
    name, attributes, children = plain(core, root)
    found = [child for child in children if child[0] != NAMESPACE + "evidence"]
    core.need((name, attributes, found) == ("Conversations", {}, rendering(records, strict)),
              "the rendering is not what the evidence says")
