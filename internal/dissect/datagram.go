package dissect

// maxDatagrams bounds the datagrams of a connection that a protocol is looked for in:
// what comes first may be another one (STUN before DTLS).
const maxDatagrams = 64

// datagrams is the state of a connection over UDP.
type datagrams struct {
	looked int
	text   [2]int // bytes of a side that were text so far, -1: not all were
	dtls   *dtls
	quic   *quic
}

// datagram reads one datagram of a side.
func (s *Session) datagram(side Side, b []byte) {
	if s.udp == nil {
		s.udp = &datagrams{}
	}
	u := s.udp
	switch {
	case u.quic != nil:
		s.quicDatagram(side, b)
	case u.dtls != nil:
		s.dtlsDatagram(side, b)
	case u.looked < maxDatagrams:
		u.looked++
		s.recognizeDatagram(side, b)
	}
}

// recognizeDatagram decides what a connection over UDP speaks.
func (s *Session) recognizeDatagram(side Side, b []byte) {
	st := &s.sides[side]
	switch {
	case st.protocol == "dns":
		return
	case s.spokeClear():
		// what began in the clear stays so: no TLS protocol follows another one here
		s.recognizeClear(side, b)
	case s.udp.looked > 1 && quicPacket(b), quicBegins(b):
		s.udp.quic = &quic{}
		s.carry(OverQUIC, "quic")
		s.quicDatagram(side, b)
	case dtlsBegins(b):
		s.udp.dtls = &dtls{}
		s.carry(OverDTLS, "dtls")
		s.dtlsDatagram(side, b)
	default:
		s.recognizeClear(side, b)
	}
}

// spokeClear tells that a side's datagrams are in the clear.
func (s *Session) spokeClear() bool {
	for i := range s.sides {
		if k := s.sides[i].kind; k == KindPlain || k == KindText {
			return true
		}
	}
	return false
}

func (s *Session) recognizeClear(side Side, b []byte) {
	st := &s.sides[side]
	switch {
	case dnsMessage(b, len(b)) == yes:
		st.kind, st.protocol = KindPlain, "dns"
		if s.dns == nil {
			s.dns = &dns{}
		}
		s.revision++
	case st.kind == KindNone || st.kind == KindUnreadable:
		s.textDatagram(side, b)
	}
}

// carry makes both directions ones of TLS over something else than TCP. Which of them
// speaks first is told by its hello.
func (s *Session) carry(over Over, protocol string) {
	s.tls = &TLS{Over: over}
	for i := range s.sides {
		st := &s.sides[i]
		st.kind, st.protocol = KindTLS, protocol
		if st.p == nil {
			st.p = s.memory.parser()
		}
	}
	s.revision++
}

// textDatagram takes a direction for text once all its datagrams were, and enough.
func (s *Session) textDatagram(side Side, b []byte) {
	st, n := &s.sides[side], &s.udp.text[side]
	kind := KindUnreadable
	if b = b[:min(len(b), sampled)]; *n >= 0 && odd(b) == 0 {
		if *n += len(b); *n < minText {
			return
		}
		kind = KindText
	} else {
		*n = -1
	}
	if kind != st.kind {
		st.kind = kind
		s.revision++
	}
}
