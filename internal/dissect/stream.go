package dissect

// stream is one direction.
type stream struct {
	kind         Kind
	fin, rst     bool
	sealed       bool   // a buffer of ciphertext was seen, of a protocol that seals
	asks         bool   // it sent requests of cleartext HTTP
	upgrades     bool   // TLS may follow, by the recognizer or by a word that was said
	ended        bool   // TLS ended here: what follows is for Session.after
	startLost    bool   // bytes were lost before it had shown what it speaks
	protocol     string // of the recognizer that said yes
	seen, missed int64  // payload bytes seen, and lost in gaps
	clearAck     int64  // how much of the other direction this one's cleartext acknowledges
	tlsAt        int64  // offset at which TLS begins, of one that is KindTLS
	p            *parser
}

// parser is what it takes to read a direction further; nil before its first byte and
// once nothing more is wanted of the session.
type parser struct {
	head                []byte // what came so far, while the kind is KindNone
	headOffset, headAck int64  // of head[0]
	maybe               maybes
	asked               int       // bytes of head that the table was asked with last
	tries               int       // segments that were asked for a protocol since the start was not recognized
	structure           structure // what segments that no recognizer knows weigh
	flight              flight    // of a side whose start was lost
	readable, opaque    int       // bytes in a row that are text, behind those that were none; the other way round
	proxied             uint8     // PROXY headers read before the connection proper

	scan  scanner
	chain chain
	rec   recordReader
	tds   tdsLayer
	hs    handshake
	http  *httpReader
	http2 *http2Reader
	ssh   *sshReader
	watch watch    // of a protocol that seals
	after follower // of a client of HTTP, after its first request
}
