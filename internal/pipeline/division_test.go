package pipeline_test

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// divisible are the conversations of FuzzDivision.
var divisible struct {
	sync.Once
	talks []*capturetest.Conversation
	want  []string // the verdicts if the conversations are not divided
}

// conversations fills divisible: each session of TLS 1.2 and 1.3, mutual or not, alone, before another one, and before plaintext after the two
// hellos of another one.
func conversations(t *testing.T) {
	t.Helper()
	mutual, oneWay := handshakes(t)
	var sessions [][]capturetest.Chunk
	for _, version := range slices.Sorted(maps.Keys(mutual)) {
		sessions = append(sessions, mutual[version], oneWay[version])
	}
	var plaintext []capturetest.Chunk
	for range 20 {
		plaintext = append(plaintext, client(unknownBytes(300)), server(unknownBytes(400)))
	}
	add := func(talks ...[]capturetest.Chunk) {
		talk := joined(talks...)
		divisible.talks = append(divisible.talks, talk)
		divisible.want = append(divisible.want, verdictOf(t, talk))
	}
	for _, first := range append(slices.Clone(sessions), nil) {
		for _, second := range sessions {
			add(first, second)
			add(first, second[:2], plaintext)
		}
	}
}

func verdictOf(t *testing.T, talk *capturetest.Conversation) string {
	t.Helper()
	x := tell(t, records(t, packetsOf(talk, capturetest.Options{}), nil))
	if len(x) != 1 {
		t.Fatalf("%d connections", len(x))
	}
	return x[0].MeshTLS.Verdict
}

// FuzzDivision checks that the verdict does not depend on how handshake messages are divided into records (RFC 8446 section 5.1) and how the
// stream is divided into segments: it is that of the same conversation with the records of its ends, or weaker.
func FuzzDivision(f *testing.F) {
	for form := range byte(40) {
		for _, apart := range []bool{true, false} {
			f.Add(form, apart, bytes.Repeat([]byte{1}, 20), []byte{})
			f.Add(form, apart, []byte{6, 1}, []byte{1, 4, 6, 1, 1, 5, 10, 11})
			for whole := range 10 {
				f.Add(form, apart, append(make([]byte, whole), 1+form%5), []byte{})
			}
		}
	}
	f.Fuzz(func(t *testing.T, form byte, apart bool, records, segments []byte) {
		divisible.Do(func() { conversations(t) })
		at := int(form) % len(divisible.talks)
		talk := inSegments(inRecords(divisible.talks[at], apart, records), segments)
		if got, want := verdictOf(t, talk), divisible.want[at]; got != want && (got != "unknown" || want == "plaintext") {
			t.Errorf("conversation %d: %s, want %s", at, got, want)
		}
	})
}

// inRecords divides the handshake records that are not protected. sizes are those of the records' contents; 0 leaves the rest of a record whole.
// If apart is set, each of these records ends a segment.
func inRecords(talk *capturetest.Conversation, apart bool, sizes []byte) *capturetest.Conversation {
	const changeCipherSpec, handshake, header = 20, 22, 5
	out := &capturetest.Conversation{}
	var sealed [2]bool
	for _, c := range talk.Chunks {
		from := 0
		if c.FromServer {
			from = 1
		}
		var data []byte
		for b := c.Data; len(b) > 0; {
			size := header
			if len(b) > header {
				size += int(b[3])<<8 | int(b[4])
			}
			size = min(size, len(b))
			record := b[:size]
			b = b[size:]
			if record[0] == handshake && len(record) > header && record[header] == 1 {
				sealed = [2]bool{} // a client's hello begins another session
			}
			sealed[from] = sealed[from] || record[0] == changeCipherSpec
			for rest := record[min(header, len(record)):]; record[0] == handshake && !sealed[from] && len(sizes) > 0; {
				n := int(sizes[0])
				if sizes = sizes[1:]; n == 0 || n >= len(rest) {
					break
				}
				data = append(data, record[0], record[1], record[2], 0, byte(n))
				data = append(data, rest[:n]...)
				rest = rest[n:]
				if apart {
					out.Chunks = append(out.Chunks, capturetest.Chunk{FromServer: c.FromServer, Data: data})
					data = nil
				}
				record = append([]byte{record[0], record[1], record[2], byte(len(rest) >> 8), byte(len(rest))}, rest...)
			}
			data = append(data, record...)
		}
		c.Data, c.Read = data, 0
		out.Chunks = append(out.Chunks, c)
	}
	return joined(out.Chunks)
}

// inSegments divides the bytes of a conversation into segments of given sizes; 0 leaves the rest of a message whole.
func inSegments(talk *capturetest.Conversation, sizes []byte) *capturetest.Conversation {
	out := &capturetest.Conversation{}
	for _, c := range talk.Chunks {
		for len(sizes) > 0 {
			n := int(sizes[0])
			if sizes = sizes[1:]; n == 0 || n >= len(c.Data) {
				break
			}
			first := c
			first.Data, c.Data = c.Data[:n], c.Data[n:]
			out.Chunks = append(out.Chunks, first)
		}
		out.Chunks = append(out.Chunks, c)
	}
	return out
}
