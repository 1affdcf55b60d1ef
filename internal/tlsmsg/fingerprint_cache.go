package tlsmsg

import "slices"

// fingerprints holds the fingerprints of one ClientHello.
type fingerprints struct {
	ja3, ja4, shape string
	transport       byte // the argument of JA4
}

// computeFingerprints stores the fingerprints in h.
func (h *ClientHello) computeFingerprints(over Over) {
	transport := [...]byte{OverTCP: 't', OverDTLS: 'd', OverQUIC: 'q'}[over]
	h.fingerprints = &fingerprints{ja3: h.computeJA3(), ja4: h.computeJA4(transport), shape: h.computeShape(), transport: transport}
}

// maxCached is the capacity of a FingerprintCache, for the hellos of each end.
const maxCached = 8

// FingerprintCache stores the fingerprints of the last hellos, because most ends send the same hello each time, except for its
// random parts. A new entry replaces the oldest one. The zero value is empty and ready for use; a nil cache stores nothing. A
// FingerprintCache is not safe for concurrent use.
type FingerprintCache struct {
	clients [maxCached]knownClient
	servers [maxCached]knownServer
	client  int // index of the oldest entry of clients
	server  int // index of the oldest entry of servers
}

// knownClient has the fields that the fingerprints of a ClientHello are computed from.
type knownClient struct {
	fingerprints                                  *fingerprints // nil if the entry is empty
	over                                          Over
	version                                       uint16
	suites, extensions, groups, schemes, versions []uint16
	points                                        []uint8
	alpn                                          string // the first ALPN name
}

// knownServer has the fields that the fingerprint of a ServerHello is computed from.
type knownServer struct {
	ja3s           string // empty if the entry is empty
	version, suite uint16
	extensions     []uint16
}

// is reports whether h has the same fingerprints as k.
func (k *knownClient) is(h *ClientHello, over Over) bool {
	return k.fingerprints != nil && k.over == over && k.version == h.Version && slices.Equal(k.extensions, h.Extensions) && slices.Equal(k.suites, h.CipherSuites) &&
		slices.Equal(k.groups, h.Groups) && slices.Equal(k.schemes, h.SignatureSchemes) && slices.Equal(k.versions, h.Versions) &&
		slices.Equal(k.points, h.PointFormats) && k.alpn == firstALPN(h)
}

func firstALPN(h *ClientHello) string {
	if len(h.ALPN) == 0 {
		return ""
	}
	return h.ALPN[0]
}

// FingerprintClient computes the fingerprints of a ClientHello, or copies them from the cache.
func (c *FingerprintCache) FingerprintClient(h *ClientHello, over Over) {
	if c == nil {
		h.computeFingerprints(over)
		return
	}
	for i := range c.clients {
		if k := &c.clients[i]; k.is(h, over) {
			h.fingerprints = k.fingerprints
			return
		}
	}
	h.computeFingerprints(over)
	c.clients[c.client] = knownClient{
		h.fingerprints, over, h.Version, h.CipherSuites, h.Extensions, h.Groups, h.SignatureSchemes, h.Versions, h.PointFormats, firstALPN(h),
	}
	c.client = (c.client + 1) % maxCached
}

// FingerprintServer computes the fingerprint of a ServerHello, or copies it from the cache.
func (c *FingerprintCache) FingerprintServer(h *ServerHello) {
	if c == nil {
		h.ja3s = h.computeJA3S()
		return
	}
	for i := range c.servers {
		if k := &c.servers[i]; k.ja3s != "" && k.version == h.LegacyVersion && k.suite == h.CipherSuite && slices.Equal(k.extensions, h.Extensions) {
			h.ja3s = k.ja3s
			return
		}
	}
	h.ja3s = h.computeJA3S()
	c.servers[c.server] = knownServer{h.ja3s, h.LegacyVersion, h.CipherSuite, h.Extensions}
	c.server = (c.server + 1) % maxCached
}
