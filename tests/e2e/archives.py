"""Reads what the adapters wrote, with the standard tools' eyes."""

import base64
import json
import pathlib
import subprocess
import xml.etree.ElementTree as ElementTree

EVIDENCE = "{urn:chancery:compliance:1}"


def adapters(folder, relp_port=None, interval=900, required=True):
    """Configuration text of the three built-in adapters."""
    flag = "true" if required else "false"
    text = ('adapter records { program = "xml" directory = "out/xml" '
            'interval-s = %d required = %s }\n'
            'adapter vault { program = "tarball" directory = "out/tar" '
            'interval-s = %d required = %s }\n' % (
                interval, flag, interval, flag))
    if relp_port:
        text += ('adapter siem { program = "syslog" target = '
                 '"relp://127.0.0.1:%d" interval-s = %d required = %s }\n' % (
                     relp_port, interval, flag))
    return text


def files(folder, suffix):
    """Finished archives in the order of their names."""
    return sorted(p for p in pathlib.Path(folder).iterdir()
                  if p.name.endswith(suffix) and not p.name.startswith("."))


def unpack(archive, folder):
    """Plain tar and sha256sum -c must do; gives the bag's folder."""
    folder.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)],
                   check=True, capture_output=True, timeout=60)
    top = [p for p in folder.iterdir()]
    bag = top[0] if len(top) == 1 else folder
    for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        subprocess.run(["sha256sum", "--strict", "-c", manifest], cwd=bag,
                       check=True, capture_output=True, timeout=60)
    return bag


def xml_records(path):
    """{seq: (leaf text, [part bytes])} of one XML archive."""
    found = {}
    for record in ElementTree.parse(path).iter(EVIDENCE + "record"):
        parts = [base64.b64decode(p.get("data"))
                 for p in record.findall(EVIDENCE + "part")]
        found[int(record.get("seq"))] = (record.get("leaf"), parts)
    return found


def texts(parts_of):
    """Texts of the posts in {seq: (leaf, parts)}, in order."""
    found = []
    for seq in sorted(parts_of):
        leaf, parts = parts_of[seq]
        if leaf.split("\n")[0].split()[2] == "3":
            found.append(json.loads(parts[1])["text"])
    return found
