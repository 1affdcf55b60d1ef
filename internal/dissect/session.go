package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Side is one of the two ends of a connection.
type Side = wire.Side

// The two ends.
const (
	Originator = wire.Originator
	Responder  = wire.Responder
)

// Kind is what one direction of a connection was recognized as.
type Kind uint8

// The kinds.
const (
	KindNone       Kind = iota // undecided
	KindTLS                    // TLS or DTLS records, or QUIC
	KindPlain                  // cleartext of a known protocol
	KindText                   // text-like cleartext of no known protocol
	KindEncrypted              // encrypted and not TLS, such as SSH
	KindGreeting               // it announced such a protocol, and nothing is encrypted yet
	KindUnreadable             // neither: binary, or ciphertext-like
	KindStructured             // binary of no known protocol, and not like ciphertext
)

const (
	// maxBuffered bounds what all buffers of a session hold together, in bytes.
	maxBuffered = 16 << 10
)

// Session is what the bytes of one connection have said so far. It holds at most
// 24 KiB, and what Keep was given and little more after Finish.
type Session struct {
	revision     uint32
	failed       bool
	finished     bool
	plainDecided bool  // the revision told of PlainAfter
	watchEnded   bool  // the revision told that it is no longer watched
	unsealed     bool  // of a protocol that seals an application's plaintext was seen
	plainFrom    int64 // bytes of both ends at the point that PlainAfter counts from
	afterOther   bool  // TLS began behind other bytes, of a known protocol or not
	preceding    Kind  // see Preceded
	saidMore     bool  // who opened the connection said more than what negotiates TLS
	strayed      bool  // see stray
	doubt        bool  // bytes were lost, and none in the clear were seen since
	tunnelOpen   bool  // a proxy granted a tunnel
	inTunnel     bool  // bytes within it were seen: the sides were recognized anew

	pool       *Pool // nil: none is shared
	source     uint8 // SetSource
	sides      [2]stream
	buffered   int    // bytes that the buffers hold together
	otherBytes int    // bytes that all else takes, as Pool.BytesInUse counts them
	light      bool   // of these less is counted since a conclusion took their place
	upgraded   string // the cleartext protocol before TLS, where it began with one
	tls        *TLS
	http       *HTTP
	udp        *datagrams
	dns        *dns
	conclusion any
	peer       string // SetPeer
	peerSet    bool

	tail   Tail     // once finished
	after  *Session // what followed the end of TLS, nil: nothing
	depth  uint8    // sessions that this one is the after of
	unsure bool     // after was found by what it says alone, where bytes had been lost
	parted bool     // see Parted
	strays uint8    // datagrams that after was given, as far as they matter
}

// New returns an empty session that shares nothing with others.
func New() *Session { return &Session{} }

// Revision changes whenever something that a judgement can depend on has changed.
func (s *Session) Revision() uint32 {
	if s.after != nil {
		return s.revision + s.after.Revision()
	}
	return s.revision
}

// Failed reports whether the dissector gave up on this connection because of its own fault.
func (s *Session) Failed() bool { return s.failed || s.after != nil && s.after.Failed() }

// TLS returns what was seen of TLS, nil if nothing was, or if Finish has freed it. It is
// valid until the next call of Data.
func (s *Session) TLS() *TLS { return s.tls }

// HTTP returns the first request and response of cleartext HTTP, nil if there was none,
// or if Finish has freed it.
func (s *Session) HTTP() *HTTP { return s.http }

// UpgradedFrom names the cleartext protocol that preceded TLS, empty if none did.
func (s *Session) UpgradedFrom() string { return s.upgraded }

// Upgraded reports whether TLS began after other bytes.
func (s *Session) Upgraded() bool { return s.afterOther }

// Kind returns what a side's bytes were recognized as, and the protocol's name.
func (s *Session) Kind(side Side) (Kind, string) {
	return s.sides[side].kind, s.sides[side].protocol
}

// Seen returns the payload bytes a side sent that were seen, and those lost in gaps.
func (s *Session) Seen(side Side) (seen, missed int64) {
	return s.sides[side].seen, s.sides[side].missed
}

// Ended reports whether a side has sent a FIN or a RST.
func (s *Session) Ended(side Side) (fin, rst bool) { return s.sides[side].fin, s.sides[side].rst }

// SetConclusion gives the session a judge's conclusion to hold, for Kept to return. It is what
// remains of the session after Finish.
func (s *Session) SetConclusion(conclusion any) { s.conclusion = conclusion }

// Conclusion returns what Keep was given last, nil if nothing.
func (s *Session) Conclusion() any { return s.conclusion }

// Finished reports whether Finish was called.
func (s *Session) Finished() bool { return s.finished }

// Spent reports whether nothing more comes of the session: it is finished, and answers of DNS
// are none to come.
func (s *Session) Spent() bool { return s.finished && s.dns == nil }

// SetPeer gives the session the name that its peer goes by, empty where it has none, for
// Peer to return: a name that is found once stays, whatever is heard of later.
func (s *Session) SetPeer(name string) { s.peer, s.peerSet = name, true }

// Peer returns what SetPeer was given, and whether it was called.
func (s *Session) Peer() (name string, set bool) { return s.peer, s.peerSet }

// Finish tells the session that nothing more is wanted of it: later data only counts,
// but for Answers, and what was buffered is freed, for other sessions of its Pool to
// use. Where a conclusion was kept, so is what it was drawn from; without one the facts
// stay, for a judgement that is still to come.
//
// Where TLS was spoken its records are followed on, and what comes after their end is for
// After.
func (s *Session) Finish() {
	s.followRecords()
	s.finished = true
	s.dropDeferred()
	if !s.failed { // else it may be in the middle of something
		s.pool.recycle(s)
	}
	s.sides[0].p, s.sides[1].p, s.udp = nil, nil, nil
	s.account(-s.buffered)
	if s.conclusion != nil {
		s.tls, s.http = nil, nil
		s.lighten()
	}
}

// Complete reports whether further bytes would add nothing to what a settled verdict rests
// on: neither a name nor a status of cleartext is still to be read, and no plaintext is
// looked for any more on a connection that is encrypted.
func (s *Session) Complete() bool {
	named, read := false, true
	for i := range s.sides {
		st := &s.sides[i]
		named = named || st.kind == KindPlain && (protocols.Same(st.protocol, "http2") || st.protocol == "http")
		read = read && st.kind != KindNone && (st.p == nil || st.p.http == nil && st.p.http2 == nil)
	}
	if s.after != nil && !s.after.decided() || s.watched() {
		return false
	}
	return !named || read || s.sides[0].seen+s.sides[1].seen > maxHTTPHeader
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
	switch {
	case st.ended:
		s.after.Data(side, offset, data, ack, gap)
		return
	case s.finished || s.failed:
		s.dnsAfterFinish(side, data, gap)
		s.dataAfterFinish(side, offset, data, ack, gap)
		return
	}
	if st.p == nil {
		st.p = s.pool.parser()
	}
	defer s.containPanic()
	if gap > 0 {
		s.addGap(side, gap, offset)
	}
	if len(data) == 0 {
		return
	}
	s.route(side, offset, data, ack)
}

// route hands bytes of a direction to what reads it, by its kind.
func (s *Session) route(side Side, offset int64, data []byte, ack int64) {
	s.trackFlight(side, offset, ack)
	if side == Originator && s.tls == nil && !s.saidMore && sniffTLS(data) == protocols.No {
		s.saidMore = !negotiates(data)
	}
	switch s.sides[side].kind {
	case KindNone:
		s.movePlainFrom(side, data)
		s.recognize(side, offset, data, ack)
	case KindTLS:
		if s.sides[side].p.tds.on {
			s.tdsData(side, offset, data, ack)
		} else {
			s.feed(side, offset, data, ack)
		}
	default:
		if !s.plainDecided {
			s.movePlainFrom(side, data)
		}
		s.plaintext(side, offset, data, ack)
	}
	if !s.plainDecided && s.sides[0].seen+s.sides[1].seen > s.PlainAfter() {
		s.plainDecided = true
		s.revision++
	}
	if !s.watchEnded && s.encrypted() && !s.watched() {
		s.watchEnded = true
		s.revision++
	}
}

// Datagram hands on one UDP payload.
func (s *Session) Datagram(side Side, data []byte) {
	st := &s.sides[side]
	st.seen += int64(len(data))
	if s.failed || len(data) == 0 || s.laterDatagram(side, data) || s.finished && s.dns == nil {
		return
	}
	defer s.containPanic()
	if !s.finished {
		if st.p == nil {
			st.p = s.pool.parser()
		}
		s.datagram(side, data)
	}
	if s.dns != nil {
		if s.dns.resolve(side, data); s.dns.alien {
			s.markStrayed()
		}
	}
}

// Closed reports whether a side sent a FIN, or a RST.
func (s *Session) Closed(side Side, reset bool) {
	st := &s.sides[side]
	if reset {
		st.rst = true
	} else {
		st.fin = true
	}
	if s.tls != nil {
		s.tls.closed(side, reset, s.pool.time())
	}
	if s.after != nil {
		s.after.Closed(side, reset)
	}
	s.revision++
}

func (s *Session) containPanic() {
	if recover() != nil {
		s.failed = true
		s.revision++
		s.Finish()
	}
}

// addGap notes that n bytes of a direction were lost before offset.
func (s *Session) addGap(side Side, n, offset int64) {
	st := &s.sides[side]
	p := st.p
	switch st.kind {
	case KindTLS:
		placed := !s.tls.layers[side].broken
		if s.addRecordGap(side, n, offset); placed && s.tls.layers[side].broken {
			s.flightLost(side)
		}
	case KindNone:
		s.release(&p.head)
		p.asked = 0
		st.startLost = true
	default:
		s.stopReading(p)
		s.unseenSSH(side)
		p.watch.addGap()
		s.doubt = true
		s.skipped(side)
	}
	if s.dns != nil {
		s.dns.addGap(side)
	}
	p.scan.n = 0
	p.tds.on = false
	p.chain.gap(n)
	s.revision++
}

// skipped notes that bytes of a side that speaks in the clear were not looked at. What a
// server answers to HTTP does not matter.
func (s *Session) skipped(side Side) {
	if st := &s.sides[side]; st.protocol == "dns" || st.asks {
		s.markStrayed()
	}
}
