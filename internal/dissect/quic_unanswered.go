package dissect

// To read a QUIC Initial takes keys that are derived for it alone, some 20 µs, and anybody
// can send packets that look like one. So of connections that nobody has answered so far
// only some are read at once (Pool.Limit). The others are put off until the other end
// speaks: what a server answers it has taken the same trouble for.

const (
	// maxDeferred bounds the packets of all sessions that are put off. The oldest gives way.
	maxDeferred = 512
	// maxDeferredOf bounds those of a session: a ClientHello with a post-quantum key share
	// takes two or three.
	maxDeferredOf = 4
	// maxDeferredBytes bounds such a packet: all of them together take 1 MiB at most.
	maxDeferredBytes = 2 << 10
	// shares is how many parts the work is divided into by source, so that one source cannot
	// use up the parts of others.
	shares = 64
)

// unanswered is the work on packets that nobody has answered.
type unanswered struct {
	own, other int   // that may be read in a second of each share: of source 0, and of the others; 0: no bound
	second     int64 // packet time
	spent      [shares]uint16
	slots      []deferredPacket
	next       int // the slot that is used next
	deferred   uint64
	unread     uint64
}

// deferredPacket is a packet that waits for an answer; s is nil where none does.
type deferredPacket struct {
	s      *Session
	packet []byte // belongs to the slot
}

// Limit bounds the QUIC Initials that are read before anybody has answered them, for each
// second of packet time (Clock): own for sessions of source 0, other for each of 63 shares
// that all other sources fall into (SetSource). 0 for both, as in the zero value: no bound.
// Further packets are kept until they are answered, at most 1 MiB of them.
func (m *Pool) Limit(own, other int) {
	m.late.own, m.late.other = own, other
}

// Clock moves packet time on, in nanoseconds since the Unix epoch.
func (m *Pool) Clock(now int64) {
	m.now = now
	if second := now / 1e9; second != m.late.second {
		m.late.second, m.late.spent = second, [shares]uint16{}
	}
}

// time returns the packet time, 0 without a Pool.
func (m *Pool) time() int64 {
	if m == nil {
		return 0
	}
	return m.now
}

// Deferred returns how many packets were put off because nobody had answered them, and how
// many of these were dropped unread to make room.
func (m *Pool) Deferred() (deferred, unread uint64) { return m.late.deferred, m.late.unread }

// SetSource says who began the connection: 0 for the tapped pod, else any number that is
// made of the address. It is for the shares of Pool.Limit.
func (s *Session) SetSource(n uint64) {
	if s.source = 0; n > 0 {
		s.source = uint8(1 + n%(shares-1))
	}
}

// mayRead reports whether a packet of a session that nobody has answered may be read now.
func (m *Pool) mayRead(s *Session) bool {
	if m == nil || m.late.own+m.late.other == 0 {
		return true
	}
	most := m.late.other
	if s.source == 0 {
		most = m.late.own
	}
	if int(m.late.spent[s.source]) >= most {
		return false
	}
	m.late.spent[s.source]++
	return true
}

// deferPacket keeps an Initial of a side until the other one speaks.
func (s *Session) deferPacket(side Side, packet []byte) {
	q, l := s.udp.quic, &s.pool.late
	l.deferred++
	if q.deferred == maxDeferredOf || len(packet) > maxDeferredBytes {
		l.unread++
		return
	}
	if l.slots == nil {
		l.slots = make([]deferredPacket, maxDeferred)
	}
	slot := &l.slots[l.next]
	if slot.s != nil {
		l.unread++
	}
	slot.s, slot.packet = s, append(slot.packet[:0], packet...)
	q.deferredOf, q.deferredAt[q.deferred] = side, uint16(l.next)
	q.deferred++
	l.next = (l.next + 1) % maxDeferred
}

// readDeferred reads the packets that were put off, as far as they are still there.
func (s *Session) readDeferred() {
	q := s.udp.quic
	slots := q.deferredAt[:q.deferred]
	q.deferred = 0
	for _, at := range slots {
		slot := &s.pool.late.slots[at]
		if slot.s != s {
			continue
		}
		slot.s = nil
		if h, ok := readLongHeader(slot.packet); ok {
			s.quicInitial(q.deferredOf, slot.packet, h)
		}
	}
}

// dropDeferred gives up the packets that were put off.
func (s *Session) dropDeferred() {
	if s.udp == nil || s.udp.quic == nil {
		return
	}
	q := s.udp.quic
	for _, at := range q.deferredAt[:q.deferred] {
		if slot := &s.pool.late.slots[at]; slot.s == s {
			slot.s = nil
		}
	}
	q.deferred = 0
}
