package dissect

import (
	"encoding/binary"
	"testing"
)

// initialOf returns the first packet of a client and the server's answer. The client's connection ID is computed from n.
func initialOf(t testing.TB, n uint64) (first, answer []byte) {
	id := binary.BigEndian.AppendUint64(nil, n)
	payload := append(cryptoFrame(0, quicClientHello()), make([]byte, 900)...)
	return fill(seal(t, quicV1, "client in", id, id, 0, payload)), seal(t, quicV1, "server in", id, nil, 0, cryptoFrame(0, quicServerHello(false)))
}

const (
	second     = int64(1e9)
	packetTime = 1_790_000_000 * second
)

// TestUnansweredInitials checks that some unanswered packets are decrypted at once, and the others as soon as they are answered.
func TestUnansweredInitials(t *testing.T) {
	var m Pool
	m.Limit(3, 2)
	m.Clock(packetTime)
	begin := func(source, n uint64) (s *Session, answer []byte) {
		first, answer := initialOf(t, n)
		s = m.New()
		s.SetSource(source)
		s.Datagram(Originator, first)
		return s, answer
	}
	read := func(source uint64, want ...bool) {
		t.Helper()
		for i, w := range want {
			s, answer := begin(source, uint64(i))
			if got := s.TLS().Hello != nil; got != w {
				t.Errorf("source %d, packet %d: read at once: %v", source, i, got)
			}
			if s.Datagram(Responder, answer); s.TLS().Hello == nil || s.TLS().Hello.ServerName != "q.x.y" || s.TLS().Server == nil || s.TLS().Client != Originator {
				t.Errorf("source %d, packet %d, answered: %+v", source, i, s.TLS())
			}
			s.Drop()
		}
	}
	read(7, true, true, false, false)
	read(8, true, true, false)
	read(0, true, true, true, false, false)
	m.Clock(packetTime + second - 1)
	read(7, false)
	m.Clock(packetTime + second)
	read(7, true, true, false)
	if deferred, unread := m.Deferred(); deferred != 7 || unread != 0 {
		t.Errorf("%d deferred, %d unread", deferred, unread)
	}
	if m.BytesInUse() != 0 {
		t.Errorf("%d bytes are in use", m.BytesInUse())
	}
}

// TestUnansweredFlood checks that deferred packets use bounded memory. The latest packets can still be decrypted. If a packet was dropped,
// the answer to it can be decrypted.
func TestUnansweredFlood(t *testing.T) {
	var m Pool
	m.Limit(0, 1)
	m.Clock(packetTime)
	const n = 3 * maxDeferred
	sessions, answers := make([]*Session, n), make([][]byte, n)
	for i := range sessions {
		first, answer := initialOf(t, uint64(i))
		sessions[i], answers[i] = m.New(), answer
		sessions[i].SetSource(5)
		sessions[i].Datagram(Originator, first)
	}
	if deferred, unread := m.Deferred(); deferred != n-1 || unread != n-1-maxDeferred {
		t.Errorf("%d deferred, %d dropped", deferred, unread)
	}
	read := 0
	for i, s := range sessions {
		s.Datagram(Responder, answers[i])
		if s.TLS().Server == nil {
			t.Fatalf("connection %d: the answer is not read", i)
		}
		if s.TLS().Hello != nil {
			read++
		}
		s.Drop()
	}
	if read != 1+maxDeferred {
		t.Errorf("%d hellos were read", read)
	}
	for _, slot := range m.late.slots {
		if slot.s != nil {
			t.Fatal("an ended session is still referenced")
		}
	}
}

// TestUnansweredAtTheEnd checks that unanswered packets are decrypted at the end of the connection, if the limit allows it.
func TestUnansweredAtTheEnd(t *testing.T) {
	for _, later := range []int64{0, second} {
		var m Pool
		m.Limit(0, 1)
		m.Clock(packetTime)
		var sessions [2]*Session
		for i := range sessions {
			first, _ := initialOf(t, uint64(i))
			sessions[i] = m.New()
			sessions[i].SetSource(5)
			sessions[i].Datagram(Originator, first)
		}
		m.Clock(packetTime + later)
		sessions[1].Conclude()
		if got := sessions[1].TLS().Hello != nil; got != (later > 0) {
			t.Errorf("%d ns later: read: %v", later, got)
		}
		sessions[1].Finish()
	}
}

// BenchmarkUnanswered measures an Initial that is decrypted, and one that is deferred.
func BenchmarkUnanswered(b *testing.B) {
	for _, c := range []struct {
		name string
		most int
	}{{"read", 0}, {"put off", 1}} {
		b.Run(c.name, func(b *testing.B) {
			var m Pool
			m.Limit(c.most, c.most)
			first, _ := initialOf(b, 1)
			b.ReportAllocs()
			for b.Loop() {
				s := m.New()
				s.SetSource(5)
				s.Datagram(Originator, first)
				s.Drop()
			}
		})
	}
}
