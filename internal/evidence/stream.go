package evidence

import (
	"cmp"
	"sort"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/order"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// A stream reduces one direction of a TCP connection. It processes the bytes in the order of the stream, so that bytes that were sent again are
// reduced in the same manner.
type stream struct {
	raw []byte // the frames as they were captured
	out []byte // the frames as they are written; processed bytes are masked in place

	parts    []part // processed parts, in the order of the stream
	line     []int  // indexes of the bytes of an incomplete line in plaintext
	mode     mode
	record   record
	readable bool    // the protected records contain text
	run      textRun // in protected records

	brief *start // if set, a Truncator processes the stream: see addStart
}

// mode is the kind of the next bytes of a stream.
type mode uint8

const (
	atStart  mode = iota // unknown, or plaintext
	atRecord             // the header of a TLS record
	inRecord             // the content of a TLS record
	lost                 // unknown, because bytes are missing
)

// part is a run of consecutive bytes of the stream.
type part struct {
	off   int64 // in the stream
	at, n int   // in stream.raw
}

// reduce masks the payloads of one side's packets.
func (s *stream) reduce(packets []packet, side flow.Side) {
	segments := segmentsOf(packets, side)
	first := *s
	s.walk(segments)
	if s.run.found { // a second pass, in which the content of protected records stays recognizable as text
		*s = first
		s.readable = true
		for _, x := range segments {
			copy(s.out[x.at:x.at+x.n], s.raw[x.at:])
		}
		s.walk(segments)
	}
}

// segmentsOf returns the payloads of one side in the order of the stream; of segments that start with the same byte, the one that was captured first
// comes first.
func segmentsOf(packets []packet, side flow.Side) (out []part) {
	known := false
	var base uint32
	for i := range packets {
		x := &packets[i]
		if x.side != side {
			continue
		}
		if !known {
			known, base = true, x.seq
		}
		if x.data == 0 {
			continue
		}
		seq := x.seq - base
		if x.flags&wire.FlagSYN != 0 {
			seq++
		}
		out = append(out, part{int64(int32(seq)), x.start + x.payload, x.data})
	}
	order.Stable(out, func(a, b part) int { return cmp.Compare(a.off, b.off) })
	return out
}

// walk processes all segments.
func (s *stream) walk(segments []part) {
	s.parts, s.line = nil, nil
	for i, x := range segments {
		next := x.off
		if i > 0 {
			last := &s.parts[len(s.parts)-1]
			next = last.off + int64(last.n)
		}
		if again := min(next-x.off, int64(x.n)); again > 0 {
			s.repeat(part{x.off, x.at, int(again)})
			x = part{x.off + again, x.at + int(again), x.n - int(again)}
		}
		if x.n == 0 {
			continue
		}
		if x.off > next {
			s.gap(x.off - next)
		}
		s.parts = append(s.parts, x)
		s.add(x.at, x.at+x.n)
	}
}

// repeat masks bytes that an earlier part has, too. Bytes that differ from the first copy still differ.
func (s *stream) repeat(x part) {
	i := sort.Search(len(s.parts), func(i int) bool { return s.parts[i].off+int64(s.parts[i].n) > x.off })
	for k := range x.n {
		off := x.off + int64(k)
		for i < len(s.parts) && off >= s.parts[i].off+int64(s.parts[i].n) {
			i++
		}
		to := x.at + k
		if i == len(s.parts) || off < s.parts[i].off {
			s.out[to] = 0
			continue
		}
		from := s.parts[i].at + int(off-s.parts[i].off)
		s.out[to] = s.out[from]
		if s.raw[from] != s.raw[to] {
			s.out[to] ^= 1
		}
	}
}

// gap notes that n bytes are not stored.
func (s *stream) gap(n int64) {
	r := &s.record
	r.message, r.headSize, r.plain = 0, 0, false
	s.line = s.line[:0]
	switch {
	case s.mode == inRecord && n <= int64(r.left):
		if r.left -= int(n); r.left == 0 {
			s.mode = atRecord
			r.size = 0
		}
	default:
		s.mode = lost
	}
	s.run.reset()
}

// add processes the bytes of a segment, raw[at:end].
func (s *stream) add(at, end int) {
	if s.mode == atStart || s.mode == lost {
		at = s.addPlain(at, end)
	}
	for at < end {
		switch {
		case s.mode == inRecord:
			at = s.addContent(at, end)
		case s.record.size == 0 && !startsRecord(s.raw[at:end]):
			s.mode = atStart // plaintext after TLS
			at = s.addPlain(at, end)
		default:
			at = s.addHeader(at, end)
		}
	}
}

// addPlain processes bytes that are not known to be TLS. It returns the index of the bytes where TLS begins, or end. A line that is split
// over segments is masked as a whole.
func (s *stream) addPlain(at, end int) int {
	if s.brief != nil {
		return s.addStart(at, end)
	}
	if startsTLS(s.raw[at:end]) {
		s.startTLS()
		return at
	}
	before := len(s.line)
	for i := at; i < end; i++ {
		s.line = append(s.line, i)
	}
	masked := make([]byte, len(s.line))
	for k, i := range s.line {
		masked[k] = s.raw[i]
	}
	n := maskPlain(masked)
	for k, i := range s.line {
		s.out[i] = masked[k]
	}
	if n == len(s.line) && n < maxBinary && s.raw[end-1] != '\n' {
		return end // the rest of the line may follow
	}
	s.line = s.line[:0]
	if at += max(n-before, 0); at < end && startsTLS(s.raw[at:end]) {
		s.startTLS()
		return at
	}
	return end
}

func (s *stream) startTLS() { s.mode, s.record, s.line = atRecord, record{}, s.line[:0] }
