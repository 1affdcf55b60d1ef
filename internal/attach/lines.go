package attach

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Record is a record with the line that contains it.
type Record struct {
	record.Record
	Line []byte // the JSON object as the tap wrote it, without a line feed; must not be changed
}

// parseLine parses a line of a container log, without its line feed. It returns nil if the line is not a record. A container log
// has the container's standard output and its standard error, where the tap logs.
func parseLine(line []byte) *Record {
	if !bytes.HasPrefix(line, []byte(`{`)) {
		return nil
	}
	r := &Record{Line: bytes.Clone(line)}
	if json.Unmarshal(line, &r.Record) != nil || r.Event.Dataset == "" || r.Meshtls.Schema == 0 {
		return nil
	}
	return r
}

// A cursor is a position in a container log. It recognizes lines that are read again after a stream broke, and records that are
// missing.
type cursor struct {
	at        time.Time // of the latest line
	same      int       // number of lines with this time
	skip      int       // number of lines with this time that were read before
	again     bool      // lines are being read again
	sequences map[string]uint64
}

// resume prepares for a stream that begins again.
func (c *cursor) resume() { c.skip, c.same, c.again = max(c.skip, c.same), 0, !c.at.IsZero() }

// next splits the timestamp off a line. It returns false if the line was read before.
func (c *cursor) next(line []byte) (text []byte, fresh bool) {
	stamp, text, found := bytes.Cut(line, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	switch {
	case !found || err != nil: // not possible: the kubelet stamps each line
		return line, true
	case at.Before(c.at): // read before, or else the node's clock was set back
		return text, !c.again
	case at.After(c.at):
		c.at, c.same, c.skip, c.again = at, 1, 0, false
		return text, true
	}
	c.same++
	c.again = c.again && c.same <= c.skip
	return text, !c.again
}

// maxKey bounds the name of a run and a dataset, in bytes. A tap's are much shorter.
const maxKey = 256

// maxSequences bounds the runs and datasets of which a cursor knows the latest record. A log has one run, unless its container restarts.
const maxSequences = 64

// lost returns how many records of the same run and dataset are missing before r. Before the first record none is.
func (c *cursor) lost(r *Record) uint64 {
	if c.sequences == nil {
		c.sequences = map[string]uint64{}
	}
	key := r.Meshtls.Run + "\x00" + r.Event.Dataset
	last, n := c.sequences[key], r.Event.Sequence
	if n <= last || len(key) > maxKey {
		return 0
	}
	if last == 0 && len(c.sequences) >= maxSequences {
		clear(c.sequences)
	}
	c.sequences[key] = n
	if last == 0 {
		return 0
	}
	return n - last - 1
}
