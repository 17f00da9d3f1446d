"""The vectors that tests/unit/test_golden.c reads, by the second verifier."""

import base64
import json
import tempfile
import types
import unittest
from pathlib import Path

from chancery import ROOT
from mutants import leaf_hash
from second import second

GOLDEN = ROOT / "tests" / "golden" / "journal"


class Golden(unittest.TestCase):
    def setUp(self):
        self.vectors = json.loads((GOLDEN / "vectors.json").read_text("utf-8"))

    def test_leaves(self):
        for item in self.vectors["leaves"]:
            text = item["text"].encode()
            leaf = second.parse_leaf(text)
            self.assertEqual(text.split()[1:3], [b"%d" % leaf.seq,
                                                 b"%d" % leaf.kind])
            self.assertEqual(leaf.hash.hex(), item["hash"])
        for text in self.vectors["bad_leaves"]:
            with self.assertRaises(Exception, msg=text):
                second.parse_leaf(text.encode())

    def test_commitment(self):
        c = self.vectors["commitment"]
        leaf = second.parse_leaf(
            self.vectors["leaves"][1]["text"].encode())
        salt, data = bytes.fromhex(c["salt"]), c["data"].encode()
        self.assertEqual(base64.b64encode(leaf.parts[1]).decode(),
                         c["commitment"])
        second.check_parts(leaf, [(1, salt, data)], whole=False)
        with self.assertRaises(ValueError):
            second.check_parts(leaf, [(1, salt, data + b" ")], whole=False)

    def test_roots(self):
        t = self.vectors["tree"]
        leaves = [leaf_hash((t["leaf"] % (
            i, t["first_time"] + i, i)).encode())
            for i in range(t["roots"][-1]["size"])]
        for item in t["roots"]:
            self.assertEqual(second.root(0, item["size"], leaves, {
                (0, 0): second.sha()}).hex(), item["root"])

    def test_notes(self):
        key = second.parse_key(self.vectors["vkey"])
        root = bytes.fromhex(self.vectors["tree"]["roots"][-1]["root"])
        for note in self.vectors["notes"]:
            self.assertEqual(second.read_note(note.encode(), [key]),
                             (key.name, 300, root))
        for note in self.vectors["bad_notes"]:
            with self.assertRaises(Exception, msg=note):
                second.read_note(note.encode(), [key])

    def test_chains(self):
        vectors = json.loads((GOLDEN / "chains.json").read_text("utf-8"))
        for item in vectors["chains"]:
            second.read_chain(item["text"], vectors["vkey"])
        self.assertEqual(len(vectors["bad_chains"]), 7)
        for item in vectors["bad_chains"]:
            with self.assertRaises(Exception, msg=item["why"]):
                second.read_chain(item["text"], vectors["vkey"])

    def test_proofs(self):
        for name, least in ("proofs.json", 30), ("later.json", 20):
            self.proofs(json.loads((GOLDEN / name).read_text("utf-8")), least)

    def proofs(self, vectors, least):
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "x"

        def read(text):
            path.write_text(text, "utf-8")
            return second.read_proof(
                types.SimpleNamespace(key=[vectors["vkey"]]), str(path))
        for item in vectors["proofs"]:
            said = read(item["text"])
            self.assertIn("leaf/1 %d " % item["seq"], said[1])
            self.assertEqual(len(said) - 2, len(item["parts"]))
        self.assertGreater(len(vectors["bad_proofs"]), least)
        for item in vectors["bad_proofs"]:
            with self.assertRaises(Exception, msg=item["why"]):
                read(item["text"])


if __name__ == "__main__":
    unittest.main()
