package dissect

import "slices"

// marks are the fingerprints of a ClientHello, computed once when it is read.
type marks struct {
	ja3, ja4, shape string
	transport       byte // that of ja4
}

// mark computes the fingerprints.
func (h *ClientHello) mark(over Over) {
	transport := [...]byte{OverTCP: 't', OverDTLS: 'd', OverQUIC: 'q'}[over]
	h.marks = &marks{ja3: h.computeJA3(), ja4: h.computeJA4(transport), shape: h.computeShape(), transport: transport}
}

// maxMarked bounds the hellos of each end whose fingerprints are found again.
const maxMarked = 8

// known are hellos whose fingerprints were computed: most ends say the same in each, but for
// what is random. When there is no room the oldest one goes.
type known struct {
	clients [maxMarked]knownClient
	servers [maxMarked]knownServer
	client  int // the next one to go
	server  int
}

// knownClient is all of a ClientHello that its fingerprints are computed from.
type knownClient struct {
	marks                                         *marks // nil: there is none
	over                                          Over
	version                                       uint16
	suites, extensions, groups, schemes, versions []uint16
	points                                        []uint8
	alpn                                          string // the first name
}

// knownServer is the same of a ServerHello.
type knownServer struct {
	ja3s           string // empty: there is none
	version, suite uint16
	extensions     []uint16
}

func (k *knownClient) is(h *ClientHello, over Over) bool {
	return k.marks != nil && k.over == over && k.version == h.Version && slices.Equal(k.extensions, h.Extensions) && slices.Equal(k.suites, h.CipherSuites) &&
		slices.Equal(k.groups, h.Groups) && slices.Equal(k.schemes, h.SignatureSchemes) && slices.Equal(k.versions, h.Versions) &&
		slices.Equal(k.points, h.PointFormats) && k.alpn == firstALPN(h)
}

func firstALPN(h *ClientHello) string {
	if len(h.ALPN) == 0 {
		return ""
	}
	return h.ALPN[0]
}

// mark sets the fingerprints of a hello that was read from the wire.
func (m *Memory) mark(h *ClientHello, over Over) {
	if m == nil {
		h.mark(over)
		return
	}
	for i := range m.known.clients {
		if k := &m.known.clients[i]; k.is(h, over) {
			h.marks = k.marks
			return
		}
	}
	h.mark(over)
	m.known.clients[m.known.client] = knownClient{
		h.marks, over, h.Version, h.CipherSuites, h.Extensions, h.Groups, h.SignatureSchemes, h.Versions, h.PointFormats, firstALPN(h),
	}
	m.known.client = (m.known.client + 1) % maxMarked
}

// markServer sets the fingerprint of a hello that was read from the wire.
func (m *Memory) markServer(h *ServerHello) {
	if m == nil {
		h.ja3s = h.computeJA3S()
		return
	}
	for i := range m.known.servers {
		if k := &m.known.servers[i]; k.ja3s != "" && k.version == h.LegacyVersion && k.suite == h.CipherSuite && slices.Equal(k.extensions, h.Extensions) {
			h.ja3s = k.ja3s
			return
		}
	}
	h.ja3s = h.computeJA3S()
	m.known.servers[m.known.server] = knownServer{h.ja3s, h.LegacyVersion, h.CipherSuite, h.Extensions}
	m.known.server = (m.known.server + 1) % maxMarked
}
