package dissect

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/names"
)

// wireName encodes a name as DNS sends it.
func wireName(name string) (b []byte) {
	for label := range strings.SplitSeq(name, ".") {
		if label != "" {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0)
}

// dnsRR is a record of the answer section: an address, or the target of an alias.
type dnsRR struct {
	owner string // empty for a pointer to the question
	data  string
	ttl   uint32
}

// dnsText returns a message with one question. The message is a response if rcode is not negative.
func dnsText(id uint16, name string, typ uint16, rcode int, answers ...dnsRR) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	if rcode < 0 {
		b = append(b, 1, 0)
	} else {
		b = append(b, 0x81, 0x80|byte(rcode))
	}
	b = append(b, 0, 1, 0, byte(len(answers)), 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(append(b, wireName(name)...), typ)
	b = append(b, 0, classIN)
	for _, a := range answers {
		if a.owner == "" {
			b = append(b, 0xc0, dnsHeader)
		} else {
			b = append(b, wireName(a.owner)...)
		}
		rtype, data := uint16(typeCNAME), wireName(a.data)
		if addr, err := netip.ParseAddr(a.data); err == nil {
			rtype, data = typeA, addr.AsSlice()
			if addr.Is6() {
				rtype = typeAAAA
			}
		}
		b = binary.BigEndian.AppendUint16(b, rtype)
		b = binary.BigEndian.AppendUint32(append(b, 0, classIN), a.ttl)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
	}
	return b
}

func told(s *Session) (out []string) {
	for _, a := range s.Answers() {
		out = append(out, fmt.Sprintf("%s %s %d", a.Name, a.Addr, a.TTL))
	}
	return out
}

func TestAnswers(t *testing.T) {
	query := dnsText(7, "Cart.shop", typeA, -1)
	one := dnsRR{"", "10.0.0.1", 30}
	loop := dnsText(7, "cart.shop", typeA, 0, one)
	copy(loop[len(loop)-16:], []byte{0xc0, byte(len(loop) - 16)}) // the owner of the record points to itself
	ahead := slices.Clone(loop)
	copy(ahead[len(ahead)-16:], []byte{0xc0, byte(len(ahead) - 4)})
	short := dnsText(7, "cart.shop", typeA, 0, one)
	wide := dnsText(7, "cart.shop", typeA, 0, one)
	wide[len(wide)-5] = 5 // the record claims an address of five bytes but contains four
	other := dnsText(7, "cart.shop", typeA, 0, one)
	other[len(other)-11] = 3 // class CH
	old := dnsText(7, "cart.shop", typeA, 0, dnsRR{"", "10.0.0.1", 1 << 31})
	dotted := dnsText(7, "a", typeA, -1)
	dotted = slices.Concat(dotted[:dnsHeader], []byte("\x03a.b\x03org\x00\x00\x01\x00\x01"))
	answered := slices.Concat(dotted, []byte("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01"))
	answered[2], answered[3], answered[7] = 0x81, 0x80, 1
	many := make([]dnsRR, 50)
	for i := range many {
		many[i] = dnsRR{"", fmt.Sprintf("10.0.0.%d", i), 1}
	}
	for _, c := range []struct {
		name          string
		query, answer []byte
		want          []string
	}{
		{"an address", query, dnsText(7, "cart.SHOP", typeA, 0, one), []string{"cart.shop 10.0.0.1 30"}},
		{"two", query, dnsText(7, "cart.shop", typeA, 0, one, dnsRR{"cart.shop", "10.0.0.2", 5}), []string{"cart.shop 10.0.0.1 30", "cart.shop 10.0.0.2 5"}},
		{"IPv6", dnsText(7, "cart.shop", typeAAAA, -1), dnsText(7, "cart.shop", typeAAAA, 0, dnsRR{"", "fd00::1", 9}), []string{"cart.shop fd00::1 9"}},
		{"an alias", query, dnsText(7, "cart.shop", typeA, 0, dnsRR{"", "b.example", 20}, dnsRR{"B.example", "c.example", 40}, dnsRR{"c.example", "10.0.0.3", 30}), []string{"cart.shop 10.0.0.3 20"}},
		{"an address that is none of its", query, dnsText(7, "cart.shop", typeA, 0, dnsRR{"evil.example", "10.0.0.3", 30}), nil},
		{"an alias after its address", query, dnsText(7, "cart.shop", typeA, 0, dnsRR{"b.example", "10.0.0.3", 30}, dnsRR{"", "b.example", 20}), nil},
		{"an alias of itself", query, dnsText(7, "cart.shop", typeA, 0, dnsRR{"", "cart.shop", 20}, one), []string{"cart.shop 10.0.0.1 20"}},
		{"another family", query, dnsText(7, "cart.shop", typeA, 0, dnsRR{"", "fd00::1", 9}), nil},
		{"another class", query, other, nil},
		{"a lifetime beyond the largest", query, old, []string{"cart.shop 10.0.0.1 0"}},
		{"no such name", query, dnsText(7, "cart.shop", typeA, 3, one), nil},
		{"another id", query, dnsText(8, "cart.shop", typeA, 0, one), nil},
		{"another name", query, dnsText(7, "cart.shop.example", typeA, 0, one), nil},
		{"another type", query, dnsText(7, "cart.shop", typeAAAA, 0, dnsRR{"", "fd00::1", 9}), nil},
		{"not asked", nil, dnsText(7, "cart.shop", typeA, 0, one), nil},
		{"a pointer to itself", query, loop, nil},
		{"a pointer ahead", query, ahead, nil},
		{"cut within the address", query, short[:len(short)-1], nil},
		{"cut within the record", query, short[:len(short)-9], nil},
		{"longer than the message", query, wide, nil},
		{"a dot within a label", dotted, answered, nil},
		{"a name like an address", dnsText(7, "10.1.2.3", typeA, -1), dnsText(7, "10.1.2.3", typeA, 0, one), nil},
		{"the root", dnsText(7, "", typeA, -1), dnsText(7, "", typeA, 0, one), nil},
		{"many", query, dnsText(7, "cart.shop", typeA, 0, many...), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New()
			s.Datagram(Originator, c.query)
			s.SetConclusion(1)
			s.Finish() // answers count after Finish, too
			s.Datagram(Responder, c.answer)
			got := told(s)
			if c.name == "many" {
				if len(got) != maxAnswers {
					t.Errorf("%d answers, want %d", len(got), maxAnswers)
				}
				return
			}
			if c.query != nil && !slices.Equal(got, c.want) || c.query == nil && len(got) > 0 {
				t.Errorf("%q, want %q", got, c.want)
			}
			if s.Failed() {
				t.Error("failed")
			}
			s.Datagram(Responder, c.answer)
			if got := told(s); got != nil {
				t.Errorf("%q again, without a question", got)
			}
		})
	}
}

// TestAnswersComeFromTheOtherEnd checks that only the end that was asked can answer.
func TestAnswersComeFromTheOtherEnd(t *testing.T) {
	s := New()
	s.Datagram(Originator, dnsText(7, "cart.shop", typeA, -1))
	s.Datagram(Originator, dnsText(7, "cart.shop", typeA, 0, dnsRR{"", "10.0.0.1", 30}))
	if got := told(s); got != nil {
		t.Errorf("%q", got)
	}
}

// TestQuestionsAreBounded checks that a new question replaces the oldest one if too many questions wait for an answer.
func TestQuestionsAreBounded(t *testing.T) {
	s := New()
	for i := range maxQuestions + 1 {
		s.Datagram(Originator, dnsText(uint16(i), "cart.shop", typeA, -1))
	}
	for i := range maxQuestions + 1 {
		s.Datagram(Responder, dnsText(uint16(i), "cart.shop", typeA, 0, dnsRR{"", fmt.Sprintf("10.0.0.%d", i), 1}))
	}
	if got := told(s); len(got) != maxQuestions || got[0] != "cart.shop 10.0.0.1 1" {
		t.Errorf("%q", got)
	}
}

func framed(messages ...[]byte) (b []byte) {
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

func TestAnswersOverTCP(t *testing.T) {
	queries := framed(dnsText(1, "cart.shop", typeA, -1), dnsText(2, "cart.shop", typeAAAA, -1), dnsText(3, "web.shop", typeA, -1))
	big := dnsText(9, "cart.shop", typeA, 0)
	big = append(big, make([]byte, 2*maxDNS)...)
	answers := framed(dnsText(1, "cart.shop", typeA, 0, dnsRR{"", "10.0.0.1", 30}), big,
		dnsText(2, "cart.shop", typeAAAA, 0, dnsRR{"", "fd00::1", 30}), nil, dnsText(3, "web.shop", typeA, 0, dnsRR{"", "10.0.0.3", 30}))
	want := []string{"cart.shop 10.0.0.1 30", "cart.shop fd00::1 30", "web.shop 10.0.0.3 30"}
	for _, size := range []int{1, 2, 3, 7, 50, 1448, 1 << 16} {
		for _, finish := range []bool{false, true} {
			s := New()
			drip(s, Originator, queries, size)
			if finish {
				s.SetConclusion(1)
				s.Finish()
			}
			drip(s, Responder, answers, size)
			if got := told(s); !slices.Equal(got, want) {
				t.Errorf("in pieces of %d, finished %t: %q", size, finish, got)
			}
		}
	}
	// after a gap the message boundaries are unknown
	for _, finish := range []bool{false, true} {
		s := New()
		drip(s, Originator, queries, 1448)
		if finish {
			s.Finish()
		}
		s.Data(Responder, 10, answers, 0, 10)
		if got := told(s); got != nil {
			t.Errorf("after a gap: %q", got)
		}
	}
}

// isHostname reports whether s is a host name in the form that is published.
func isHostname(s string) bool {
	host, ok := names.Hostname(s)
	return ok && host == s
}

// FuzzDNS checks that a question and any answer give the same result over UDP and, in pieces, over TCP, and that only answers to the
// question are returned.
func FuzzDNS(f *testing.F) {
	f.Add(dnsText(7, "cart.shop", typeA, -1), dnsText(7, "cart.shop", typeA, 0, dnsRR{"", "b.example", 20}, dnsRR{"b.example", "10.0.0.3", 30}), uint8(5))
	f.Add(dnsText(7, "cart.shop", typeAAAA, -1), dnsText(7, "cart.shop", typeAAAA, 0, dnsRR{"", "fd00::1", 1}), uint8(1))
	f.Add([]byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\xc0\x0c\x00\x01\x00\x01"), []byte("\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0e\xc0\x0c\x00\x01\x00\x01"), uint8(0))
	f.Fuzz(func(t *testing.T, query, answer []byte, size uint8) {
		query, answer = query[:min(len(query), maxDNS)], answer[:min(len(answer), maxDNS)]
		udp, tcp := New(), New()
		udp.dns, tcp.dns = &dns{}, &dns{}
		udp.dns.resolve(Originator, query)
		udp.dns.resolve(Responder, answer)
		for side, b := range [][]byte{framed(query), framed(answer)} {
			for piece := range slices.Chunk(b, 1+int(size)) {
				tcp.dns.data(Side(side), piece)
			}
		}
		got := udp.Answers()
		if !slices.Equal(got, tcp.Answers()) {
			t.Error("UDP and TCP give different results")
		}
		if len(got) > maxAnswers {
			t.Errorf("%d answers", len(got))
		}
		for _, a := range got {
			if a.Name == "" || len(a.Name) > names.MaxHostname || !isHostname(a.Name) || !a.Addr.IsValid() || a.TTL>>31 != 0 || a.Asker != Originator {
				t.Errorf("%+v", a)
			}
		}
	})
}

// TestDNSIsBounded checks that questions and answers use little memory.
func TestDNSIsBounded(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("a", 62)+".", 4), ".")
	many := make([]dnsRR, 60)
	for i := range many {
		many[i] = dnsRR{"", fmt.Sprintf("fd00::%d", i), 1}
	}
	const most = 16 << 10
	held := weigh(t, func(int) *Session {
		s := New()
		for i := range 3 * maxQuestions {
			m := dnsText(uint16(i), long, typeAAAA, -1)
			drip(s, Originator, framed(m), 1448)
		}
		drip(s, Responder, framed(dnsText(20, long, typeAAAA, 0, many...)), 1448)
		for _, side := range []Side{Originator, Responder} {
			drip(s, side, append([]byte{maxDNS >> 8, 0xff}, make([]byte, maxDNS-100)...), 100)
		}
		s.Finish()
		return s
	})
	t.Logf("%d bytes", held)
	if held > most {
		t.Errorf("a session uses %d bytes, more than %d", held, most)
	}
}
