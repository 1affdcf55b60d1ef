package finding

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Values of event.dataset.
const (
	DatasetFinding = record.DatasetFinding
	DatasetPosture = record.DatasetPosture
	DatasetTap     = record.DatasetTap
	DatasetFlow    = record.DatasetFlow
)

// Values of event.category.
var (
	ofNetwork = []string{"network"}
	ofTap     = []string{"process"}
)

// Record is one published record, encoded, with the data that delivery needs.
type Record struct {
	Dataset string // one of the Dataset constants
	Rule    string // rule.id; empty if it is not a finding
	ID      string // event.id: the same each time that the record is sent
	Key     string // the same for all records of one tap and edge, or of one kind of the tap's own state
	Time    int64  // @timestamp, ns since the epoch
	Value   []byte // one JSON object without a line break; owned by the receiver, but see Config.Reuse
}

// header holds the members that every record has.
type header struct {
	dataset  string
	kind     string   // event.kind
	category []string // event.category
	types    []string // event.type
	action   string   // event.action
	reason   string   // event.reason
	message  string
	time     int64 // @timestamp
	start    int64 // event.start and event.end
	end      int64
	rule     *rule // findings only
	severity int   // set with rule
	edge     string
	stateKey string // for Record.Key without an edge: the same for records that replace each other

	// The input of the hash for event.id, in addition to dataset, tap and run.
	subject []byte // edge or connection
	window  int64  // start of the subject's window
	nth     uint64 // number of the record in that window
}

// startRecord starts a record in e.record. The caller then sets the members of its kind of record, and
// emitRecord completes the record.
func (e *Engine) startRecord(h *header) *record.Record {
	e.id = e.eventID(h)
	e.sequences[h.dataset]++
	e.record, e.tls = e.blank, record.TLS{} // a panic may have left a record unfinished
	r := &e.record
	r.Timestamp, r.Message = record.Time(h.time), h.message
	r.Event = record.Event{
		ID: e.id, Kind: h.kind, Category: h.category, Type: h.types, Dataset: h.dataset, Action: h.action, Reason: h.reason,
		Start: record.Time(h.start), End: record.Time(h.end), Duration: max(0, h.end-h.start),
		Created: record.Time(e.created()), Sequence: e.sequences[h.dataset],
	}
	if h.rule != nil {
		classify(r, h.rule, int64(h.severity))
		e.setObserver(&r.Observer)
	}
	return r
}

// created returns the time for event.created.
func (e *Engine) created() int64 {
	if e.cfg.Now != nil {
		return e.cfg.Now().UnixNano()
	}
	return e.now
}

// emitRecord sets the interface, encodes the record and emits it. e.record is blank afterwards.
func (e *Engine) emitRecord(h *header, iface string) {
	e.record.Observer.Ingress.Interface.Name = iface
	e.encoded = e.cfg.Encode(e.encoded[:0], &e.record)
	e.record, e.tls = e.blank, record.TLS{}
	rule := ""
	if h.rule != nil {
		rule = h.rule.id
	}
	value := e.encoded
	if !e.cfg.Reuse || e.delaying {
		value = append([]byte(nil), value...)
	}
	e.emit(Record{Dataset: h.dataset, Rule: rule, ID: e.id, Key: e.recordKey(h), Time: h.time, Value: value})
}

// recordKey returns Record.Key for a record.
func (e *Engine) recordKey(h *header) string {
	if of := cmp.Or(h.edge, h.stateKey); of != "" {
		return e.cfg.Tap + "|" + of
	}
	return e.cfg.Tap
}

// eventID returns a hash of the source, the subject and the time of a record. A record that is sent
// again has the same ID. Records of two taps, and of two captures, have different IDs.
func (e *Engine) eventID(h *header) string {
	b := e.scratch[:0]
	b = append(b, h.dataset...)
	b = append(append(b, 0), e.cfg.Tap...)
	b = append(append(b, 0), e.cfg.Identity.Run...)
	b = append(append(b, e.capture...), 0)
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

// digest returns the first 128 bits of the SHA-256 of b in hexadecimal. They are enough to be
// unique in a fleet.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	var out [32]byte
	hex.Encode(out[:], sum[:16])
	return string(out[:])
}

// digestOf hashes parts, separated by zero bytes.
func digestOf(parts ...string) string { return digest([]byte(strings.Join(parts, "\x00"))) }
