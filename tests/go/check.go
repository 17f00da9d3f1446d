// Checks what Chancery signs and proves with Go's own packages for
// transparency logs, which share nothing with it: sumdb/note and sumdb/tlog.
//
// The command "evidence" reads JSON from standard input and says that all of it
// holds, or the first thing that does not. "sizes N" prints for each size up to
// N the root, and SHA-256 over all its proofs, as prover.c does.
//
// Built without modules (GO111MODULE=off), from Debian's packages.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// What a run of the daemon left. Notes are named by their place in the list.
type evidence struct {
	VKeys   []string // of the journal, one for each epoch
	Witness string   // a cosigner's vkey, or ""
	Notes   []struct {
		Text     string
		Cosigned bool // the witness's line is in it
	}
	Records []struct {
		Note  int
		Index int64
		Leaf  []byte
		Proof [][]byte
	}
	Trees []struct {
		Old, New int
		Proof    [][]byte
	}
	Tiles string // folder; of the last note's tree
}

// Cosignatures (C2SP cosignature/v1) as note.Open wants to check them.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }
func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	head := fmt.Sprintf("cosignature/v1\ntime %d\n",
		binary.BigEndian.Uint64(sig))
	return ed25519.Verify(c.key, append([]byte(head), msg...), sig[8:])
}

func newCosigner(vkey string) (*cosigner, error) {
	part := strings.SplitN(vkey, "+", 3)
	if len(part) != 3 {
		return nil, errors.New("witness: malformed key")
	}
	key, err := base64.StdEncoding.DecodeString(part[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, errors.New("witness: no key of a cosigner")
	}
	sum := sha256.Sum256(append([]byte(part[0]+"\n"), key...))
	id := binary.BigEndian.Uint32(sum[:4])
	if part[1] != fmt.Sprintf("%08x", id) {
		return nil, errors.New("witness: key id is not the key's")
	}
	return &cosigner{part[0], id, key[1:]}, nil
}

func hashes(in [][]byte) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(in))
	for i, h := range in {
		if len(h) != tlog.HashSize {
			return nil, errors.New("a hash is not 32 bytes long")
		}
		copy(out[i][:], h)
	}
	return out, nil
}

// The three lines of a checkpoint; tlog.ParseTree knows one origin only.
func parseTree(text string) (tlog.Tree, error) {
	var tree tlog.Tree
	line := strings.Split(text, "\n")
	if len(line) != 4 || line[3] != "" {
		return tree, errors.New("a checkpoint has three lines")
	}
	n, err := strconv.ParseInt(line[1], 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != line[1] {
		return tree, errors.New("malformed size")
	}
	tree.N = n
	tree.Hash, err = tlog.ParseHash(line[2])
	return tree, err
}

func openNotes(e *evidence) ([]tlog.Tree, error) {
	var log []note.Verifier
	for _, text := range e.VKeys {
		v, err := note.NewVerifier(text)
		if err != nil {
			return nil, err
		}
		log = append(log, v)
	}
	all := log
	if e.Witness != "" {
		w, err := newCosigner(e.Witness)
		if err != nil {
			return nil, err
		}
		all = append(all[:len(all):len(all)], w)
	}
	var trees []tlog.Tree
	for i, in := range e.Notes {
		// Who knows the journal's keys alone, and who the witness, too.
		alone, err := note.Open([]byte(in.Text), note.VerifierList(log...))
		if err != nil {
			return nil, fmt.Errorf("note %d: %v", i, err)
		}
		both, err := note.Open([]byte(in.Text), note.VerifierList(all...))
		if err != nil {
			return nil, fmt.Errorf("note %d: %v", i, err)
		}
		if in.Cosigned && (len(alone.UnverifiedSigs) == 0 ||
			len(both.Sigs) != len(alone.Sigs)+1) {
			return nil, fmt.Errorf("note %d: no cosignature", i)
		}
		tree, err := parseTree(both.Text)
		if err != nil {
			return nil, fmt.Errorf("note %d: %v", i, err)
		}
		trees = append(trees, tree)
	}
	return trees, nil
}

// Full and partial tiles, as files.
type folder struct{ path string }

func (f folder) Height() int { return 8 }
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range tiles {
		data, err := os.ReadFile(filepath.Join(f.path, t.Path()))
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func equal(a, b []tlog.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func check(e *evidence) error {
	trees, err := openNotes(e)
	if err != nil {
		return err
	}
	last := len(trees) - 1
	if last < 0 {
		return errors.New("no notes")
	}
	tiles := tlog.TileHashReader(trees[last], folder{e.Tiles})
	for i, r := range e.Records {
		proof, err := hashes(r.Proof)
		if err != nil {
			return err
		}
		tree := trees[r.Note]
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, r.Index,
			tlog.RecordHash(r.Leaf)); err != nil {
			return fmt.Errorf("record %d: %v", i, err)
		}
		own, err := tlog.ProveRecord(tree.N, r.Index, tiles)
		if err != nil {
			return fmt.Errorf("record %d, tiles: %v", i, err)
		}
		if !equal(proof, own) {
			return fmt.Errorf("record %d: the tiles give another proof", i)
		}
	}
	for i, t := range e.Trees {
		proof, err := hashes(t.Proof)
		if err != nil {
			return err
		}
		old, new := trees[t.Old], trees[t.New]
		if err := tlog.CheckTree(proof, new.N, new.Hash, old.N,
			old.Hash); err != nil {
			return fmt.Errorf("tree %d: %v", i, err)
		}
		own, err := tlog.ProveTree(new.N, old.N, tiles)
		if err != nil {
			return fmt.Errorf("tree %d, tiles: %v", i, err)
		}
		if !equal(proof, own) {
			return fmt.Errorf("tree %d: the tiles give another proof", i)
		}
	}
	fmt.Printf("%d notes, %d records, %d trees\n", len(e.Notes),
		len(e.Records), len(e.Trees))
	return nil
}

func sizes(most int64) error {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, n := range at {
			out[i] = stored[n]
		}
		return out, nil
	})
	var out bytes.Buffer
	for n := int64(1); n <= most; n++ {
		record := make([]byte, 4)
		binary.BigEndian.PutUint32(record, uint32(n-1))
		more, err := tlog.StoredHashes(n-1, record, reader)
		if err != nil {
			return err
		}
		stored = append(stored, more...)
		root, err := tlog.TreeHash(n, reader)
		if err != nil {
			return err
		}
		all := sha256.New()
		for i := int64(0); i < n; i++ {
			proof, err := tlog.ProveRecord(n, i, reader)
			if err != nil {
				return err
			}
			for _, h := range proof {
				all.Write(h[:])
			}
		}
		for old := int64(1); old < n; old++ {
			proof, err := tlog.ProveTree(n, old, reader)
			if err != nil {
				return err
			}
			for _, h := range proof {
				all.Write(h[:])
			}
		}
		fmt.Fprintf(&out, "%s %s\n", root,
			base64.StdEncoding.EncodeToString(all.Sum(nil)))
	}
	_, err := os.Stdout.Write(out.Bytes())
	return err
}

func main() {
	err := errors.New("usage: check evidence | check sizes N")
	if len(os.Args) == 2 && os.Args[1] == "evidence" {
		var e evidence
		in := json.NewDecoder(os.Stdin)
		in.DisallowUnknownFields()
		if err = in.Decode(&e); err == nil {
			err = check(&e)
		}
	} else if len(os.Args) == 3 && os.Args[1] == "sizes" {
		var n int64
		if n, err = strconv.ParseInt(os.Args[2], 10, 32); err == nil {
			err = sizes(n)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}
