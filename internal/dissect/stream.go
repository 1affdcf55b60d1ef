package dissect

// stream is the state of one direction.
type stream struct {
	kind         Kind
	fin, rst     bool
	sealed       bool   // the side has sent a sealed message
	asks         bool   // the side has sent requests of plaintext HTTP
	upgrades     bool   // TLS may follow
	ended        bool   // TLS has ended: later bytes belong to Session.after
	startLost    bool   // the beginning of the side is missing, or may be
	protocol     string // name of the recognized protocol, or ""
	seen, missed int64  // payload bytes seen, and missing in gaps
	clearAck     int64  // how many bytes of the other direction the side's plaintext acknowledges
	tlsAt        int64  // offset where TLS begins; until the kind is KindTLS, offset of the first byte that was seen
	p            *parser
}

// parser is the state that is needed to examine a direction further. A stream has no parser before the first byte and after the session is
// finished.
type parser struct {
	head                []byte // the bytes so far, while the kind is KindNone
	headOffset, headAck int64  // offset and acknowledgement of head[0]
	maybe               maybes
	asked               int       // bytes of head when the recognizers were last tried
	tries               int       // later segments that were tried, after the start was not recognized
	structure           structure // weights of segments of an unknown protocol
	flight              flight    // used if the start of the direction is missing
	readable, opaque    int       // consecutive bytes of text after an unreadable start; consecutive unreadable bytes after a start of text
	proxied             uint8     // PROXY headers so far

	scan  scanner
	chain chain
	rec   recordReader
	tds   tdsLayer
	hs    handshake
	http  *httpReader
	http2 *http2Reader
	ssh   *sshReader
	watch watch    // used if the protocol seals
	after follower // reads later requests of a client of HTTP
}
