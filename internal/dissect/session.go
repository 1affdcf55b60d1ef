package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Side is one of the two ends of a connection.
type Side = wire.Side

// The two ends of a connection.
const (
	Originator = wire.Originator
	Responder  = wire.Responder
)

// Kind is the result of recognizing the bytes of a direction.
type Kind uint8

// Kinds of a direction.
const (
	KindNone       Kind = iota // undecided
	KindTLS                    // TLS or DTLS records, or QUIC
	KindPlain                  // plaintext of a known protocol
	KindText                   // text of an unknown protocol
	KindEncrypted              // encrypted and not TLS, such as SSH
	KindGreeting               // the greeting of a protocol such as SSH; nothing is encrypted yet
	KindUnreadable             // binary, perhaps ciphertext
	KindStructured             // binary plaintext of an unknown protocol, which does not look like ciphertext
)

const (
	// maxBuffered bounds the total size of all buffers of a session, in bytes.
	maxBuffered = 16 << 10
)

// Session stores the facts that the bytes of one connection have shown so far. It uses at most 24 KiB. After Finish it uses little more
// than the conclusion given to SetConclusion.
type Session struct {
	afterLayer

	conclusion any
	peer       string // argument of SetPeer
	peerSet    bool
}

// New returns an empty session that shares no buffers with others.
func New() *Session { return &Session{} }

// Revision returns a number that changes whenever a judgement of the session may change.
func (s *afterLayer) Revision() uint32 {
	if s.after != nil {
		return s.revision + s.after.Revision()
	}
	return s.revision
}

// Failed reports whether the examination of this connection ended because the dissector panicked.
func (s *afterLayer) Failed() bool { return s.failed || s.after != nil && s.after.Failed() }

// TLS returns the facts about TLS, or nil if no TLS was seen or Finish has released them. They are valid until the next call of Data.
func (s *tlsLayer) TLS() *TLS { return s.tls }

// HTTP returns the first request and response of plaintext HTTP, or nil if there was none or Finish has released them.
func (s *plainLayer) HTTP() *HTTP { return s.http }

// UpgradedFrom returns the name of the plaintext protocol that preceded TLS, or "".
func (s *recognition) UpgradedFrom() string { return s.upgraded }

// Upgraded reports whether TLS began after other bytes.
func (s *recognition) Upgraded() bool { return s.afterOther }

// Kind returns the kind of a side's bytes, and the name of their protocol, "" if unknown.
func (s *streams) Kind(side Side) (Kind, string) {
	return s.sides[side].kind, s.sides[side].protocol
}

// Seen returns how many payload bytes of a side were seen, and how many are missing in gaps.
func (s *streams) Seen(side Side) (seen, missed int64) {
	return s.sides[side].seen, s.sides[side].missed
}

// Ended reports whether a side has sent a FIN and whether it has sent a RST.
func (s *streams) Ended(side Side) (fin, rst bool) { return s.sides[side].fin, s.sides[side].rst }

// SetConclusion stores a judge's conclusion about the session. It remains after Finish.
func (s *Session) SetConclusion(conclusion any) { s.conclusion = conclusion }

// Conclusion returns the last argument of SetConclusion, or nil.
func (s *Session) Conclusion() any { return s.conclusion }

// Finished reports whether Finish was called.
func (s *streams) Finished() bool { return s.finished }

// Spent reports whether more bytes would have no effect: the session is finished, and no answers of DNS are expected.
func (s *plainLayer) Spent() bool { return s.finished && s.dns == nil }

// SetPeer stores the name of the peer, or "" if the peer has none. Callers keep the first name that they found, even if they learn another
// one later.
func (s *Session) SetPeer(name string) { s.peer, s.peerSet = name, true }

// Peer returns the argument of SetPeer, and whether it was called.
func (s *Session) Peer() (name string, set bool) { return s.peer, s.peerSet }

// Finish ends the examination of the session. Later bytes are counted, and examined only for Answers. The buffers are released for other
// sessions of the Pool. If a conclusion was stored, the facts are released, too. Otherwise the facts stay for a later judgement.
//
// If the connection speaks TLS, its records are followed further, and bytes after their end belong to After.
func (s *Session) Finish() {
	s.followRecords()
	s.finished = true
	s.dropDeferred()
	s.endLogin()
	if !s.failed { // the state of a failed session may be inconsistent
		s.pool.recycle(s)
	}
	s.sides[0].p, s.sides[1].p, s.udp = nil, nil, nil
	s.account(-s.buffered)
	if s.conclusion != nil {
		s.tls, s.http = nil, nil
		s.lighten()
	}
}

// Complete reports whether further bytes can add nothing to a settled verdict: names and status of a plaintext connection were read, and
// an encrypted connection is no longer searched for plaintext.
func (s *Session) Complete() bool {
	named, read := false, true
	for i := range s.sides {
		st := &s.sides[i]
		named = named || st.kind == KindPlain && (protocols.Same(st.protocol, "http2") || st.protocol == "http")
		read = read && st.kind != KindNone && (st.p == nil || st.p.http == nil && st.p.http2 == nil)
	}
	if s.after != nil && !s.after.decided() || s.watched() || s.awaitsLogin() {
		return false
	}
	return !named || read || s.sides[0].seen+s.sides[1].seen > maxHTTPHeader
}

// Data processes the next bytes of one direction, in order. offset is the position of data[0] in the stream. ack is how many bytes of the
// other direction the packet acknowledges, -1 if unknown. gap is how many bytes before offset are missing. The session does not keep data.
func (s *Session) Data(side Side, offset int64, data []byte, ack, gap int64) {
	st := &s.sides[side]
	if st.seen == 0 && st.kind == KindNone {
		st.tlsAt = offset
	}
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

// route passes bytes of a direction to its reader, by the direction's kind.
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

// Datagram processes one UDP payload.
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

// Closed notes a FIN of a side, or a RST if reset is set.
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

// containPanic ends the session if the caller panics. It must be deferred.
func (s *Session) containPanic() {
	if recover() != nil {
		s.failed = true
		s.revision++
		s.Finish()
	}
}

// addGap notes that n bytes of a direction before offset are missing.
func (s *tlsLayer) addGap(side Side, n, offset int64) {
	st := &s.sides[side]
	p := st.p
	switch st.kind {
	case KindTLS:
		placed := !s.tls.layers[side].broken
		if s.addRecordGap(side, n, offset); placed && s.tls.layers[side].broken {
			s.flightLost(side)
		}
	case KindNone:
		s.loseLogin(side)
		s.loseHeader(p.head)
		s.release(&p.head)
		p.asked = 0
		st.startLost = true
	default:
		s.loseLogin(side)
		if r := p.http; r != nil && !r.first && !r.again {
			s.loseHeader(r.line)
		}
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

// skipped notes that bytes of a plaintext direction were not examined. They matter only in DNS and in a client's HTTP.
func (s *plainLayer) skipped(side Side) {
	if st := &s.sides[side]; st.protocol == "dns" || st.asks {
		s.markStrayed()
	}
}
