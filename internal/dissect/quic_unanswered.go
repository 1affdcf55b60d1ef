package dissect

// Each QUIC connection needs its own keys for Initials. Their derivation takes about 20 µs, and anybody can send packets that look like
// Initials. Therefore only some Initials are decrypted while the other end has not answered (Pool.Limit). The others are deferred until the
// other end answers. An answer means that a server has derived the same keys.

const (
	// maxDeferred bounds the deferred packets of all sessions. A new packet replaces the oldest one.
	maxDeferred = 512
	// maxDeferredOf bounds the deferred packets of a session. A ClientHello with a post-quantum key share needs two or three packets.
	maxDeferredOf = 4
	// maxDeferredBytes bounds the size of a deferred packet. All deferred packets together use at most 1 MiB.
	maxDeferredBytes = 2 << 10
	// shares is the number of shares that the work is divided into. A source can use up only its own share.
	shares = 64
)

// unanswered counts the work on packets that nobody has answered, and stores the deferred packets.
type unanswered struct {
	own, other int   // packets per second of packet time: for source 0, and for each share of the others; 0 if unbounded
	second     int64 // packet time, in seconds
	spent      [shares]uint16
	slots      []deferredPacket
	next       int // index of the next slot
	deferred   uint64
	unread     uint64
}

// deferredPacket is a packet that waits for an answer. s is nil if the slot is free.
type deferredPacket struct {
	s      *udpLayer
	packet []byte // owned by the slot
}

// Limit bounds how many QUIC Initials are decrypted before they are answered, in each second of packet time (Clock). own is the bound for
// sessions of source 0, and other the bound for each of the 63 shares of all other sources (SetSource). If both are 0, as in the zero
// value, there is no bound. Further packets are stored until they are answered, at most 1 MiB of them.
func (m *Pool) Limit(own, other int) {
	m.late.own, m.late.other = own, other
}

// Clock sets the packet time, in ns since the epoch.
func (m *Pool) Clock(now int64) {
	m.now = now
	if second := now / 1e9; second != m.late.second {
		m.late.second, m.late.spent = second, [shares]uint16{}
	}
}

// time returns the packet time, or 0 if m is nil.
func (m *Pool) time() int64 {
	if m == nil {
		return 0
	}
	return m.now
}

// Deferred returns how many packets were deferred because nobody had answered them, and how many of these were dropped unread.
func (m *Pool) Deferred() (deferred, unread uint64) { return m.late.deferred, m.late.unread }

// SetSource notes who opened the connection: 0 for the tapped pod, otherwise a number above 0 that is computed from the address of the
// originator. The number selects a share of Pool.Limit.
func (s *streams) SetSource(n uint64) {
	if s.source = 0; n > 0 {
		s.source = uint8(1 + n%(shares-1))
	}
}

// mayRead reports whether an unanswered packet of a source may be decrypted now. If so, it counts the packet.
func (m *Pool) mayRead(source uint8) bool {
	if m == nil || m.late.own+m.late.other == 0 {
		return true
	}
	most := m.late.other
	if source == 0 {
		most = m.late.own
	}
	if int(m.late.spent[source]) >= most {
		return false
	}
	m.late.spent[source]++
	return true
}

// deferPacket stores an Initial of a side until the other side answers.
func (s *udpLayer) deferPacket(side Side, packet []byte) {
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

// readDeferred processes the deferred packets that are still stored.
func (s *udpLayer) readDeferred() {
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

// dropDeferred frees the slots of deferred packets.
func (s *udpLayer) dropDeferred() {
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
