package dissect

// A Session consists of layers. Each layer embeds the layer below it by value. Its methods use its own state and the layers below it, never
// a layer above it. The layers, from the lowest to the highest:
//
//   - memory: buffers, and how much memory the session uses
//   - streams: the two directions
//   - plainLayer: plaintext in known protocols, such as HTTP and DNS, and whether TLS or a tunnel may follow it
//   - tlsLayer: TLS records and handshake messages
//   - udpLayer: DTLS and QUIC
//   - recognition: the start of TLS and the bytes before it; plaintext of unknown protocols
//   - afterLayer: the end of TLS, and the session of the bytes after it
//   - Session: Data, Datagram and the other entry points, and the choice of a protocol for the bytes of a direction

// memory counts the memory that a session uses, and provides its buffers.
type memory struct {
	pool       *Pool // nil if the session shares nothing
	buffered   int   // total capacity of the buffers, in bytes
	otherBytes int   // bytes in use apart from the buffers, as counted in Pool.BytesInUse
	light      bool  // otherBytes was reduced, because a conclusion has replaced the facts
}

// streams contains the two directions, and the state of the session as a whole.
type streams struct {
	memory

	revision uint32 // see Session.Revision
	failed   bool
	finished bool
	depth    uint8 // how often TLS ended before this session
	source   uint8 // argument of SetSource, reduced to a share
	sides    [2]stream
}

// plainLayer contains the facts about plaintext in known protocols.
type plainLayer struct {
	streams

	http         *HTTP
	dns          *dns
	plainFrom    int64 // bytes of both ends up to the point where PlainAfter starts to count
	plainDecided bool  // PlainAfter was exceeded, and revision was incremented once because of it
	watchEnded   bool  // watched became false, and revision was incremented once because of it
	unsealed     bool  // plaintext of an application was seen in a protocol with its own encryption
	strayed      bool  // see markStrayed
	doubt        bool  // bytes are missing, and no plaintext was seen since
	tunnelOpen   bool  // a proxy granted a tunnel, within the tunnels seen so far
	tunnels      uint8 // tunnels whose bytes were seen: both sides were recognized anew in each
	hop          hop

	login login
}

// tlsLayer contains the facts about TLS. tls is nil if no TLS was seen.
type tlsLayer struct {
	plainLayer

	tls *TLS
}

// udpLayer contains the state of a connection over UDP. udp is nil if there was no datagram.
type udpLayer struct {
	tlsLayer

	udp *datagrams
}

// recognition contains the facts about the bytes before TLS.
type recognition struct {
	udpLayer

	upgraded   string // the plaintext protocol before TLS, if known
	afterOther bool   // TLS began after other bytes
	preceding  Kind   // see Preceded
	saidMore   bool   // the originator sent more than a negotiation of TLS
}

// afterLayer finds the end of TLS in a session, and contains the session of the bytes after it.
type afterLayer struct {
	recognition

	tail    Tail     // follows the TLS records of a finished session
	after   *Session // the session of the bytes after the end of TLS, or nil
	unsure  bool     // see Unsure
	parted  bool     // see Parted
	overrun bool     // see Overrun
	strays  uint8    // datagrams that were passed to after, at most enoughStray
}
