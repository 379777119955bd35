// Judges an audit log with the packages of Go's checksum database, which know nothing of waxseal.
//
//	log-judge LOG VKEY                    checkpoint, tiles, entries, and a proof of each record
//	log-judge LOG VKEY consistency OLD    the same, and that it continues the checkpoint in the file OLD
//	log-judge proof VKEY FILE             a c2sp.org/tlog-proof@v1 with its record as the extra data
//	log-judge tree VKEY OLD NEW FILE      that NEW continues OLD, by the hashes in FILE, one in base64 on each line
//
// Prints what it accepts, or exits with 1 and says why not.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage")
	}
	verifier, err := note.NewVerifier(args[1])
	if err != nil {
		return err
	}
	switch {
	case args[0] == "proof" && len(args) == 3:
		return judgeProof(verifier, args[2])
	case args[0] == "tree" && len(args) == 5:
		return judgeTree(verifier, args[2], args[3], args[4])
	case len(args) == 2:
		return judgeLog(verifier, args[0], "")
	case len(args) == 4 && args[2] == "consistency":
		return judgeLog(verifier, args[0], args[3])
	}
	return errors.New("usage")
}

func checkpoint(verifier note.Verifier, text []byte) (tlog.Tree, error) {
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("the note is no checkpoint of this origin")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, errors.New("the size is no number")
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

func checkpointFile(verifier note.Verifier, path string) (tlog.Tree, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	return checkpoint(verifier, text)
}

// tiles reads the layout of c2sp.org/tlog-tiles, which has no height in its paths.
type tiles struct{ folder string }

func (tiles) Height() int                     { return 8 }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.folder, path))
		if err != nil && tile.W < 256 {
			full := tile
			full.W = 256
			path = strings.Replace(full.Path(), "tile/8/", "tile/", 1)
			data, err = os.ReadFile(filepath.Join(t.folder, path))
			if err == nil && len(data) == 8192 {
				data = data[:tile.W*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

func (t tiles) entries(size int64, bundle int64) ([][]byte, error) {
	tile := tlog.Tile{H: 8, L: 0, N: bundle, W: 256}
	if size-bundle*256 < 256 {
		tile.W = int(size - bundle*256)
	}
	path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(t.folder, path))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s is cut off", path)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if len(entries) != tile.W {
		return nil, fmt.Errorf("%s has %d entries, not %d", path, len(entries), tile.W)
	}
	return entries, nil
}

func judgeLog(verifier note.Verifier, folder, old string) error {
	tree, err := checkpointFile(verifier, filepath.Join(folder, "checkpoint"))
	if err != nil {
		return err
	}
	log := tiles{folder}
	// It verifies each tile against the root.
	hashes := tlog.TileHashReader(tree, log)
	for bundle := int64(0); bundle*256 < tree.N; bundle++ {
		entries, err := log.entries(tree.N, bundle)
		if err != nil {
			return err
		}
		for at, entry := range entries {
			index := bundle*256 + int64(at)
			stored, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			if err != nil {
				return err
			}
			if stored[0] != tlog.RecordHash(entry) {
				return fmt.Errorf("record %d is not the one in the tree", index)
			}
			proof, err := tlog.ProveRecord(tree.N, index, hashes)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
				return err
			}
		}
	}
	if tree.N > 0 {
		root, err := tlog.TreeHash(tree.N, hashes)
		if err != nil || root != tree.Hash {
			return fmt.Errorf("the root is not that of the tiles: %v", err)
		}
	}
	if old != "" {
		older, err := checkpointFile(verifier, old)
		if err != nil {
			return err
		}
		if older.N > tree.N {
			return fmt.Errorf("the log has %d records, and had %d", tree.N, older.N)
		}
		proof, err := tlog.ProveTree(tree.N, older.N, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash); err != nil {
			return err
		}
	}
	fmt.Printf("accepted %d records\n", tree.N)
	return nil
}

func judgeProof(verifier note.Verifier, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	front, signed, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(front, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("this is no tlog-proof")
	}
	record, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	tree, err := checkpoint(verifier, []byte(signed))
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(record)); err != nil {
		return err
	}
	fmt.Printf("accepted record %d: %s\n", index, record)
	return nil
}

func judgeTree(verifier note.Verifier, old, new, hashes string) error {
	older, err := checkpointFile(verifier, old)
	if err != nil {
		return err
	}
	newer, err := checkpointFile(verifier, new)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(hashes)
	if err != nil {
		return err
	}
	var proof tlog.TreeProof
	for _, line := range strings.Fields(string(text)) {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	if err := tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash); err != nil {
		return err
	}
	fmt.Printf("accepted %d after %d\n", newer.N, older.N)
	return nil
}
