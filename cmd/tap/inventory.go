package main

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"path/filepath"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/cbom"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// inventory is the state of `tap read --output=cbom`. It is empty for other outputs.
type inventory struct {
	seen   *cbom.Inventory
	source cbom.Source
	hashed io.Reader // the current file
	sum    hash.Hash // of the bytes of the current file that were read
}

// collectInventory makes r collect the cryptography of each connection, instead of writing records. It returns the encoder for the
// engine.
func (r *reading) collectInventory() finding.Encoder {
	i := &r.inventory
	i.seen, i.source.Version = cbom.New(), version
	r.compared = func(x finding.Record) {
		_, edge, _ := strings.Cut(x.Key, "|")
		i.seen.Add(edge)
	}
	return i.seen.Note
}

// hashed returns a reader of in that also hashes it, if an inventory is collected.
func (r *reading) hashed(name string, in io.Reader) io.Reader {
	i := &r.inventory
	if i.seen == nil {
		return in
	}
	if name = filepath.Base(name); name == "-" {
		name = "standard input"
	}
	i.source.Names = append(i.source.Names, name)
	i.sum = sha256.New()
	i.hashed = io.TeeReader(in, i.sum)
	return i.hashed
}

// endHash ends the hash of the current file. If only a part of the file was read because of an error, it hashes the rest. A file that cannot
// be read to its end has no hash, and neither has a pipe after an error, because the rest of a pipe may never end.
func (r *reading) endHash(failed bool) {
	i := &r.inventory
	if i.seen == nil {
		return
	}
	sum := ""
	if !failed || !r.streamed {
		if _, err := io.Copy(io.Discard, i.hashed); err == nil { // an error was reported already, or does not concern the packets
			sum = hex.EncodeToString(i.sum.Sum(nil))
		}
	}
	i.source.SHA256 = append(i.source.SHA256, sum)
}

// writeInventory writes the inventory. last is the time of the last packet, in ns since the epoch.
func (r *reading) writeInventory(last int64) error {
	i := &r.inventory
	i.source.Last = last
	return i.seen.Write(r.std.out, i.source)
}
