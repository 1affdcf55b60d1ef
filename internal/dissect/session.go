// Package dissect turns the bytes of a connection into what they say: which protocol
// is spoken, and what its handshake shows in the clear.
//
// It is pure: no clock, no I/O, no goroutines. Input is hostile: every read is
// length-checked, every buffer bounded, and a panic costs one connection (Failed),
// never the process. A Session is not safe for concurrent use.
package dissect

// Side is one of the two ends of a connection.
type Side uint8

// The two ends.
const (
	Originator Side = iota // who opened the connection
	Responder
)

// Other returns the opposite end.
func (s Side) Other() Side { return s ^ 1 }

// Kind is what one direction of a connection was recognized as.
type Kind uint8

// The kinds.
const (
	KindNone       Kind = iota // undecided
	KindTLS                    // TLS records
	KindPlain                  // cleartext of a known protocol
	KindText                   // text-like cleartext of no known protocol
	KindEncrypted              // encrypted and not TLS, such as SSH
	KindUnreadable             // neither: binary, or ciphertext-like
)

// maxHead bounds what is kept of a direction while it is being recognized, in bytes.
const maxHead = 8 << 10

// stream is one direction.
type stream struct {
	kind                Kind
	protocol            string // of the recognizer that said yes
	maybe               uint64 // recognizers that said maybe, by their place in the table
	head                []byte // what came so far, while kind is KindNone (for HTTP: until its header is whole)
	headOffset, headAck int64  // of head[0]
	seen                int64  // payload bytes seen
	missed              int64  // bytes lost in gaps
	headGap             bool   // bytes were lost before the direction was recognized
	fin, rst            bool
	rec                 records
}

// Session is what the bytes of one connection have said so far.
type Session struct {
	revision     uint32
	failed       bool
	finished     bool
	datagram     bool
	settledPlain bool // the revision told of MayUpgradeWithin

	sides    [2]stream
	upgraded string // the cleartext protocol before TLS, where it began with one
	behind   bool   // TLS began behind other bytes, of a known protocol or not
	tls      *TLS
	quic     *quic
	hello    *ClientHello // of QUIC
	http     *HTTP
}

// New returns an empty session.
func New() *Session { return &Session{} }

// Revision changes whenever something that a judgement can depend on has changed.
func (s *Session) Revision() uint32 { return s.revision }

// Failed tells that the dissector gave up on this connection because of its own fault.
func (s *Session) Failed() bool { return s.failed }

// TLS returns what was seen of TLS, nil if nothing was. It is valid until the next call
// of Data.
func (s *Session) TLS() *TLS { return s.tls }

// HTTP returns the first request and response of cleartext HTTP, nil if there was none.
func (s *Session) HTTP() *HTTP { return s.http }

// UpgradedFrom names the cleartext protocol that preceded TLS, empty if none did.
func (s *Session) UpgradedFrom() string { return s.upgraded }

// Upgraded tells whether TLS began behind other bytes.
func (s *Session) Upgraded() bool { return s.behind }

// Kind returns what a side's bytes were recognized as, and the protocol's name.
func (s *Session) Kind(side Side) (Kind, string) {
	return s.sides[side].kind, s.sides[side].protocol
}

// Seen returns the payload bytes a side sent that were seen, and those lost in gaps.
func (s *Session) Seen(side Side) (seen, missed int64) {
	return s.sides[side].seen, s.sides[side].missed
}

// Ended tells whether a side has sent a FIN or a RST.
func (s *Session) Ended(side Side) (fin, rst bool) { return s.sides[side].fin, s.sides[side].rst }

// Finish tells the session that nothing more is wanted of it: later data only counts,
// and what was buffered is freed.
func (s *Session) Finish() {
	s.finished = true
	for i := range s.sides {
		s.sides[i].head = nil
		s.sides[i].rec.free()
	}
}

// Data hands on the next bytes of one direction, in order. offset is the position of
// data[0] in the stream, ack how many bytes of the other direction the carrying packet
// acknowledges (-1: unknown), gap how many bytes were lost right before offset. The
// session keeps no reference to data.
func (s *Session) Data(side Side, offset int64, data []byte, ack, gap int64) {
	st := &s.sides[side]
	st.seen += int64(len(data))
	if gap > 0 {
		st.missed += gap
	}
	if s.finished || s.failed {
		return
	}
	defer s.fence()
	if gap > 0 {
		s.gap(side, gap)
	}
	if len(data) == 0 {
		return
	}
	switch st.kind {
	case KindNone:
		s.recognize(side, offset, data, ack)
	case KindTLS:
		s.feed(side, offset, data, ack)
	default:
		s.cleartext(side, offset, data, ack)
	}
}

// Datagram hands on one UDP payload.
func (s *Session) Datagram(side Side, data []byte) {
	st := &s.sides[side]
	st.seen += int64(len(data))
	s.datagram = true
	if s.finished || s.failed || len(data) == 0 {
		return
	}
	defer s.fence()
	s.recognizeDatagram(side, data)
}

// Closed tells that a side sent a FIN, or a RST.
func (s *Session) Closed(side Side, reset bool) {
	st := &s.sides[side]
	if reset {
		st.rst = true
	} else {
		st.fin = true
	}
	s.revision++
}

func (s *Session) fence() {
	if recover() != nil {
		s.failed = true
		s.revision++
		s.Finish()
	}
}

func (s *Session) gap(side Side, n int64) {
	st := &s.sides[side]
	switch st.kind {
	case KindTLS:
		st.rec.gap(n)
	case KindNone:
		st.headGap = true
		st.head = st.head[:0]
	}
	s.revision++
}
