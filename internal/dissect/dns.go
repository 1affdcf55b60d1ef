package dissect

import (
	"encoding/binary"
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/names"
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// Answer is an address that DNS returned for a name. An answer counts only if its question was seen in the same connection.
type Answer struct {
	Asker Side
	Name  string // the name in the question, a valid host name
	Addr  netip.Addr
	TTL   uint32 // in seconds; the minimum over the address and the aliases (CNAME) that led to it
}

const (
	// maxQuestions bounds the questions of a connection that wait for an answer. A new question replaces the oldest.
	maxQuestions = 8
	// maxAnswers bounds the addresses that wait for a call of Answers. maxRecords bounds the records of a message that are read.
	maxAnswers = 32
	maxRecords = 64
	// maxDNS bounds the size of a message that is reassembled over TCP, in bytes. Longer messages are skipped unless they are in one
	// segment.
	maxDNS = 4 << 10
	// maxPointers bounds the compression pointers that are followed in one name (RFC 1035 section 4.1.4).
	maxPointers = 16

	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	classIN   = 1

	dnsHeader = 12
)

// dns matches the answers of a connection with its questions. It continues after Finish, because the verdict can settle after the question
// and before the answer.
type dns struct {
	asked   [maxQuestions]question
	next    int // index in asked for the next question
	sides   [2]dnsStream
	answers []Answer
	spoke   [2]bool // the side sent a message of DNS
	alien   bool    // a message is of another protocol, or may be
}

// question waits for its answer. name is empty if the entry is unused.
type question struct {
	side Side
	id   uint16
	typ  uint16
	name string
}

// dnsStream is one direction over TCP. It consists of messages, each after its length (RFC 7766 section 8).
type dnsStream struct {
	buf  []byte // the length and an incomplete message, or nil
	skip int    // remaining bytes of a message that is skipped
	lost bool   // message boundaries are unknown
}

// Answers returns the answers since the last call. The caller owns them.
func (s *plainLayer) Answers() []Answer {
	if s.dns == nil || len(s.dns.answers) == 0 {
		return nil
	}
	a := s.dns.answers
	s.dns.answers = nil
	return a
}

// resolve processes a message, which may be truncated.
func (d *dns) resolve(side Side, b []byte) {
	if dnsLike(b) {
		d.spoke[side] = true
	} else {
		d.alien = true
	}
	if len(b) < dnsHeader || b[2]&0x78 != 0 || binary.BigEndian.Uint16(b[4:]) != 1 {
		return // only standard queries with one question and their responses are used
	}
	id := binary.BigEndian.Uint16(b)
	var text [names.MaxHostname + 1]byte
	n, at, ok := dnsName(b, dnsHeader, &text)
	if !ok || at+4 > len(b) || binary.BigEndian.Uint16(b[at+2:]) != classIN {
		return
	}
	typ := binary.BigEndian.Uint16(b[at:])
	if typ != typeA && typ != typeAAAA {
		return
	}
	if b[2]&0x80 == 0 {
		d.addQuestion(question{side, id, typ, ""}, text[:n])
		return
	}
	for i := range d.asked {
		if q := &d.asked[i]; q.name != "" && q.side == side.Other() && q.id == id && q.typ == typ && q.name == string(text[:n]) {
			if b[3]&0x0f == 0 {
				d.readAnswers(q, b, at+4, &text, n)
			}
			*q = question{} // a second answer is ignored
			return
		}
	}
}

// dnsLike reports whether a complete message is a DNS message. A response with only a header and an error counts (RFC 1035 section 4.1.1).
func dnsLike(b []byte) bool {
	return protocols.DNSMessage(b, len(b)) == protocols.Yes || len(b) == dnsHeader && b[2]&0x80 != 0 && b[3]&0x0f != 0
}

// addQuestion stores a question if name is a valid host name. A repeated question is stored once.
func (d *dns) addQuestion(q question, name []byte) {
	if host, ok := names.Hostname(string(name)); !ok || host != string(name) {
		return
	}
	for i := range d.asked {
		if o := &d.asked[i]; o.side == q.side && o.id == q.id && o.typ == q.typ && o.name == string(name) {
			return
		}
	}
	q.name = string(name)
	d.asked[d.next] = q
	d.next = (d.next + 1) % maxQuestions
}

// readAnswers reads the answers to q from b[at:]. The first n bytes of owner are the name that is looked for; an alias replaces it. One
// pass is enough, as for resolvers: an alias comes before the records of its target.
func (d *dns) readAnswers(q *question, b []byte, at int, owner *[names.MaxHostname + 1]byte, n int) {
	least := ^uint32(0)
	for range min(int(binary.BigEndian.Uint16(b[6:])), maxRecords) {
		var text [names.MaxHostname + 1]byte
		size, next, ok := dnsName(b, at, &text)
		if !ok || next+10 > len(b) {
			return
		}
		typ, class := binary.BigEndian.Uint16(b[next:]), binary.BigEndian.Uint16(b[next+2:])
		ttl, length := binary.BigEndian.Uint32(b[next+4:]), int(binary.BigEndian.Uint16(b[next+8:]))
		data := next + 10
		if at = data + length; at > len(b) {
			return
		}
		if class != classIN || string(text[:size]) != string(owner[:n]) {
			continue
		}
		if ttl>>31 != 0 {
			ttl = 0 // RFC 2181 section 8
		}
		switch {
		case typ == typeCNAME:
			if n, next, ok = dnsName(b, data, owner); !ok || next != at {
				return
			}
			least = min(least, ttl)
		case typ == q.typ && (typ == typeA && length == 4 || typ == typeAAAA && length == 16) && len(d.answers) < maxAnswers:
			addr, _ := netip.AddrFromSlice(b[data:at])
			d.answers = append(d.answers, Answer{q.side, q.name, addr.Unmap(), min(least, ttl)})
		}
	}
}

// dnsName reads the name at b[at] into text, in lower case and without a trailing dot. n is the length of the text, and next the offset
// right after the name in b. A compression pointer must point backwards.
func dnsName(b []byte, at int, text *[names.MaxHostname + 1]byte) (n, next int, ok bool) {
	begin, pointers := at, 0
	for at < len(b) {
		size := int(b[at])
		switch {
		case size == 0:
			if next == 0 {
				next = at + 1
			}
			return max(n-1, 0), next, true
		case size >= 0xc0:
			if at+1 >= len(b) {
				return 0, 0, false
			}
			if next == 0 {
				next = at + 2
			}
			to := size&0x3f<<8 | int(b[at+1])
			if pointers++; to >= begin || pointers > maxPointers {
				return 0, 0, false
			}
			at, begin = to, to
		case size > 63 || at+1+size > len(b) || n+size >= len(text):
			return 0, 0, false
		default:
			for _, c := range b[at+1 : at+1+size] {
				if c == '.' {
					c = 0 // a label that contains a dot makes the name invalid
				}
				if 'A' <= c && c <= 'Z' {
					c += 'a' - 'A'
				}
				text[n] = c
				n++
			}
			text[n] = '.'
			n++
			at += 1 + size
		}
	}

	return 0, 0, false
}

// data processes the next bytes of a direction over TCP.
func (d *dns) data(side Side, data []byte) {
	t := &d.sides[side]
	for len(data) > 0 && !t.lost {
		switch size := messageSize(data); {
		case t.skip > 0:
			n := min(t.skip, len(data))
			t.skip, data = t.skip-n, data[n:]
		case len(t.buf) == 0 && size >= 2 && size <= len(data):
			d.resolve(side, data[2:size])
			data = data[size:]
		default:
			data = d.reassemble(side, data)
		}
	}
}

// reassemble appends data to an incomplete message, and returns the bytes after the part that it used.
func (d *dns) reassemble(side Side, data []byte) (rest []byte) {
	t := &d.sides[side]
	n := min(len(data), max(messageSize(t.buf), 2)-len(t.buf))
	t.buf = append(t.buf, data[:n]...)
	switch size := messageSize(t.buf); {
	case size < 2:
	case size > 2+maxDNS:
		d.alien = true // the message is not examined, so it may be something else
		t.skip, t.buf = size-len(t.buf), nil
	case size == len(t.buf):
		d.resolve(side, t.buf[2:])
		t.buf = nil
	}
	return data[n:]
}

// messageSize returns the size of the message at the start of b, including the two bytes of its length, or 0 if these are incomplete.
func messageSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	return 2 + int(binary.BigEndian.Uint16(b))
}

// dnsData passes the next bytes of a direction over TCP to s.dns. It calls markStrayed if a message is of another protocol, or may be.
func (s *plainLayer) dnsData(side Side, data []byte) {
	s.dns.data(side, data)
	if s.dns.alien {
		s.markStrayed()
	}
}

// addGap notes that bytes of a direction over TCP are missing.
func (d *dns) addGap(side Side) { d.sides[side] = dnsStream{lost: true} }

// dnsAfterFinish processes bytes of a direction over TCP after Finish.
func (s *Session) dnsAfterFinish(side Side, data []byte, gap int64) {
	if s.dns == nil || s.failed {
		return
	}
	defer s.containPanic()
	if gap > 0 {
		s.dns.addGap(side)
		s.skipped(side)
	}
	s.dnsData(side, data)
}
