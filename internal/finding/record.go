package finding

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// The datasets, event.dataset.
const (
	DatasetFinding = "meshtls.finding" // something is wrong
	DatasetPosture = "meshtls.posture" // the state of one edge
	DatasetTap     = "meshtls.tap"     // the tap's own state
	DatasetFlow    = "meshtls.flow"    // one connection
)

// SchemaVersion is meshtls.schema. A field once published only gains siblings: the
// number changes when that is broken.
const SchemaVersion = 1

// ecsVersion is the version of the Elastic Common Schema that the names are from.
const ecsVersion = "9.5.0-dev"

// Record is one published record.
type Record struct {
	Dataset string // one of the Dataset constants
	Rule    string // rule.id, of a finding
	ID      string // event.id: the same for the same record however often it is sent
	Key     string // the same for all records of one tap and edge, or of one kind of the tap's own state
	Time    int64  // @timestamp, ns since the epoch
	Value   []byte // one JSON object without a line break; belongs to the receiver, but see Config.Reuse
}

// header is what every record begins with.
type header struct {
	dataset  string
	kind     string   // event.kind
	category string   // event.category
	types    []string // event.type
	action   string   // event.action
	reason   string   // event.reason
	message  string
	time     int64 // @timestamp
	start    int64 // event.start and event.end, where span is set
	end      int64
	span     bool
	rule     *rule // findings only
	severity int   // with rule
	edge     string
	kept     string // what Record.Key has where there is no edge: records that replace each other have the same

	// What event.id is the hash of, besides dataset, tap and run.
	subject []byte // edge or connection
	window  int64  // start of the window
	nth     uint64 // record of that subject in that window
}

// head starts a record in e.enc; finish ends and emits it. Between them the caller
// writes what is special to its kind.
func (e *Engine) head(h *header) {
	enc := &e.enc
	e.id = e.eventID(h)
	enc.reset()
	enc.time("@timestamp", h.time)
	enc.str("message", h.message)
	enc.open("ecs")
	enc.str("version", ecsVersion)
	enc.close()
	enc.open("event")
	enc.str("id", e.id)
	enc.str("kind", h.kind)
	enc.list("category", []string{h.category})
	enc.list("type", h.types)
	enc.str("dataset", h.dataset)
	enc.str("action", h.action)
	enc.str("reason", h.reason)
	if h.rule != nil {
		enc.int("severity", int64(h.severity))
	}
	if h.span {
		enc.time("start", h.start)
		enc.time("end", h.end)
		enc.int("duration", max(0, h.end-h.start))
	}
	enc.time("created", e.created())
	e.sequences[h.dataset]++
	enc.uint("sequence", e.sequences[h.dataset])
	enc.close()
	if h.rule != nil {
		h.rule.encode(enc)
	}
}

// created is the time for event.created.
func (e *Engine) created() int64 {
	if e.cfg.Now != nil {
		return e.cfg.Now().UnixNano()
	}
	return e.now
}

// finish writes who the tap is, ends the record and emits it.
func (e *Engine) finish(h *header, iface string) {
	enc := &e.enc
	enc.open("observer")
	enc.str("type", "sensor")
	enc.str("product", "meshtls-tap")
	enc.str("version", e.cfg.Identity.Version)
	enc.open("ingress")
	enc.open("interface")
	enc.str("name", iface)
	enc.close()
	enc.close()
	enc.close()
	enc.buf = append(enc.buf, e.identity...)
	enc.end()
	key := e.cfg.Tap
	if of := cmp.Or(h.edge, h.kept); of != "" {
		key = e.cfg.Tap + "|" + of
	}
	rule := ""
	if h.rule != nil {
		rule = h.rule.id
	}
	value := enc.buf
	if !e.cfg.Reuse {
		value = append([]byte(nil), value...)
	}
	e.cfg.Emit(Record{Dataset: h.dataset, Rule: rule, ID: e.id, Key: key, Time: h.time, Value: value})
}

// eventID hashes what makes a record itself: who says it, of what, and when. Sent again
// it is the same; from two taps it differs.
func (e *Engine) eventID(h *header) string {
	b := e.scratch[:0]
	b = append(b, h.dataset...)
	b = append(append(b, 0), e.cfg.Tap...)
	b = append(append(b, 0), e.cfg.Identity.Run...)
	b = append(b, 0)
	if h.rule != nil {
		b = append(b, h.rule.id...)
	}
	b = append(append(b, 0), h.subject...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(h.window))
	b = binary.BigEndian.AppendUint64(b, h.nth)
	e.scratch = b
	return digest(b)
}

// digest is the first 128 bits of a SHA-256 in hex: enough that no two records of a
// fleet meet.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	var out [32]byte
	hex.Encode(out[:], sum[:16])
	return string(out[:])
}

// digestOf hashes parts that are kept apart.
func digestOf(parts ...string) string { return digest([]byte(strings.Join(parts, "\x00"))) }
