package tlsmsg

import (
	"bytes"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/names"
	"golang.org/x/crypto/cryptobyte"
)

// Bounds on the lists of a ClientHello. IANA's registry has about 350 suites. A hello with more suites
// is not parsed; further ALPN names are ignored.
const (
	maxSuites = 512
	maxALPN   = 32
)

// ClientHello is a parsed ClientHello (RFC 8446 section 4.1.2), or a CLIENT-HELLO of SSL 2.0 if V2 is set.
type ClientHello struct {
	Version          uint16 // legacy_version
	Random           [32]byte
	SessionID        []byte
	CipherSuites     []uint16
	Extensions       []uint16 // in the order in which the client sent them
	ServerName       string   // in lower case and escaped; Name checks it. With ECH it is the outer name
	ALPN             []string // the first 32 names
	Groups           []uint16
	PointFormats     []uint8
	SignatureSchemes []uint16
	Versions         []uint16 // supported_versions
	KeyShares        []uint16 // groups of the key shares
	Ticket           bool     // a non-empty session ticket (TLS 1.2)
	TicketHash       TicketHash
	Identities       []Identity // the first 8 identities of pre_shared_key
	RecordSizeLimit  uint16     // the largest record that the client accepts (RFC 8449), 0 if not sent
	V2               bool       // the hello is one of SSL 2.0

	fingerprints *fingerprints // nil until computed
}

// Has reports whether the hello has an extension.
func (h *ClientHello) Has(ext uint16) bool { return slices.Contains(h.Extensions, ext) }

// EarlyData reports whether the client sends early data (RFC 8446 section 4.2.10).
func (h *ClientHello) EarlyData() bool { return h.Has(extEarlyData) }

// PostHandshakeAuth reports whether the server may request a certificate after the handshake (RFC 8446 section 4.2.6).
func (h *ClientHello) PostHandshakeAuth() bool { return h.Has(extPostHandshakeAuth) }

// TakesTickets reports whether the client sent psk_key_exchange_modes (RFC 8446 section 4.2.9). Servers send tickets of TLS 1.3 only to
// such clients.
func (h *ClientHello) TakesTickets() bool { return h.Has(extPSKModes) }

// ECH reports whether the hello has encrypted_client_hello (RFC 9849). A client without a server's key may send a dummy one (GREASE ECH).
func (h *ClientHello) ECH() bool { return h.Has(extECH) }

// CertificateCompression reports whether the client accepts compressed certificates (RFC 8879).
func (h *ClientHello) CertificateCompression() bool { return h.Has(extCompressCertificate) }

// Name returns the server's name that the client sent, or an empty name if the client sent none. ok reports whether the value is a valid
// name (RFC 6066 section 3) or absent.
func (h *ClientHello) Name() (name string, ok bool) {
	if h.ServerName == "" {
		return "", !h.Has(extServerName)
	}
	if name, ok = serverName(h.ServerName); !ok {
		return "", false
	}
	return name, true
}

// Join adds to h the extensions of a second ClientHello, after a HelloRetryRequest (RFC 8446 section 4.1.4). Everything else, such as the
// fingerprints, stays as in the first hello.
func (h *ClientHello) Join(second *ClientHello) {
	for _, ext := range second.Extensions {
		if !h.Has(ext) && len(h.Extensions) < maxExtensions {
			h.Extensions = append(h.Extensions, ext)
		}
	}
	if second.RecordSizeLimit > 0 {
		h.RecordSizeLimit = second.RecordSizeLimit
	}
}

// readUint16s returns all of s as 16-bit numbers. It reports false if its length is odd.
func readUint16s(s cryptobyte.String) ([]uint16, bool) {
	if len(s)%2 != 0 {
		return nil, false
	}
	out := make([]uint16, len(s)/2)
	for i := range out {
		if !s.ReadUint16(&out[i]) {
			return nil, false
		}
	}
	return out, true
}

// ParseClientHello parses the body of a ClientHello and reports whether it is well-formed. A hello of DTLS also has a cookie.
func ParseClientHello(body []byte, over Over) (*ClientHello, bool) {
	s := cryptobyte.String(body)
	h := &ClientHello{}
	var id, cookie, suites, compression cryptobyte.String
	if !s.ReadUint16(&h.Version) || !s.CopyBytes(h.Random[:]) || !s.ReadUint8LengthPrefixed(&id) || len(id) > 32 {
		return nil, false
	}
	if over == OverDTLS {
		if !IsDTLS(h.Version) || !s.ReadUint8LengthPrefixed(&cookie) { // RFC 6347 section 4.2.1
			return nil, false
		}
	} else if !PlausibleVersion(h.Version) {
		return nil, false
	}

	if !s.ReadUint16LengthPrefixed(&suites) || len(suites) == 0 || len(suites) > 2*maxSuites || !s.ReadUint8LengthPrefixed(&compression) {
		return nil, false
	}
	var ok bool
	if h.CipherSuites, ok = readUint16s(suites); !ok {
		return nil, false
	}
	h.SessionID = bytes.Clone(id)
	if s.Empty() {
		return h, true
	}
	h.Extensions = make([]uint16, 0, 24)
	if !readExtensions(s, &h.Extensions, h.extension) {
		return nil, false
	}
	return h, true
}

// extension parses one extension of a ClientHello. An extension with malformed contents counts as empty; the hello stays valid.
func (h *ClientHello) extension(typ uint16, data cryptobyte.String) {
	var list cryptobyte.String
	switch typ {
	case extServerName: // RFC 6066 section 3
		var kind uint8
		var name cryptobyte.String
		if data.ReadUint16LengthPrefixed(&list) && list.ReadUint8(&kind) && kind == 0 && list.ReadUint16LengthPrefixed(&name) &&
			len(name) <= 255 && h.ServerName == "" {
			h.ServerName = strings.ToLower(names.Printable(name))
		}
	case extSupportedGroups:
		if data.ReadUint16LengthPrefixed(&list) && len(list) <= 2*maxSuites {
			h.Groups, _ = readUint16s(list)
		}
	case extPointFormats:
		if data.ReadUint8LengthPrefixed(&list) {
			h.PointFormats = bytes.Clone(list)
		}
	case extSignatureAlgorithms:
		if data.ReadUint16LengthPrefixed(&list) && len(list) <= 2*maxSuites {
			h.SignatureSchemes, _ = readUint16s(list)
		}
	case extALPN: // RFC 7301
		if data.ReadUint16LengthPrefixed(&list) {
			h.protocols(list)
		}
	case extSupportedVersions:
		if data.ReadUint8LengthPrefixed(&list) {
			h.Versions, _ = readUint16s(list)
		}
	case extKeyShare:
		if data.ReadUint16LengthPrefixed(&list) {
			h.KeyShares = keyShares(list)
		}
	case extSessionTicket:
		h.Ticket = len(data) > 0
		h.TicketHash = hashTicket(data)
	case extPreSharedKey:
		h.Identities = identities(data)
	case extRecordSizeLimit:
		data.ReadUint16(&h.RecordSizeLimit)
	}
}

// protocols parses the ALPN names, at most maxALPN and about 1 KiB.
func (h *ClientHello) protocols(list cryptobyte.String) {
	size := 0
	for !list.Empty() && len(h.ALPN) < maxALPN && size < 1024 {
		var name cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&name) {
			return
		}
		size += len(name)
		h.ALPN = append(h.ALPN, string(name))
	}
}

// keyShares returns the groups of the key shares, at most maxALPN.
func keyShares(list cryptobyte.String) []uint16 {
	var out []uint16
	for !list.Empty() && len(out) < maxALPN {
		var group uint16
		var share cryptobyte.String
		if !list.ReadUint16(&group) || !list.ReadUint16LengthPrefixed(&share) {
			break
		}
		out = append(out, group)
	}
	return out
}
