package dissect

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// TLS extension types (IANA "TLS ExtensionType Values").
const (
	extServerName          = 0
	extMaxFragmentLength   = 1
	extSupportedGroups     = 10
	extPointFormats        = 11
	extSignatureAlgorithms = 13
	extALPN                = 16
	extPadding             = 21
	extCompressCertificate = 27
	extMasterSecret        = 23 // extended_master_secret (RFC 7627)
	extRecordSizeLimit     = 28
	extSessionTicket       = 35
	extPreSharedKey        = 41
	extEarlyData           = 42
	extSupportedVersions   = 43
	extCookie              = 44
	extPostHandshakeAuth   = 49
	extKeyShare            = 51
	extECH                 = 0xfe0d // encrypted_client_hello (RFC 9849)
)

// What a ClientHello may hold to be read as one: the registry has some 350 suites and 70
// extensions.
const (
	maxSuites     = 512
	maxExtensions = 256
	maxALPN       = 32
)

// ClientHello is RFC 8446 section 4.1.2, and SSL 2.0's CLIENT-HELLO where V2 says so.
type ClientHello struct {
	Version          uint16 // legacy_version
	Random           [32]byte
	SessionID        []byte
	CipherSuites     []uint16
	Extensions       []uint16 // in the order of the wire
	ServerName       string   // as sent, but in lower case and escaped; see Name. Where ECH is offered it is the outer one
	ALPN             []string // the first 32
	Groups           []uint16
	PointFormats     []uint8
	SignatureSchemes []uint16
	Versions         []uint16 // supported_versions
	KeyShares        []uint16 // groups a share was sent for
	Ticket           bool     // a non-empty session ticket (TLS 1.2)
	TicketHash       TicketHash
	Identities       []Identity // of pre_shared_key, the first 8
	RecordSizeLimit  uint16     // RFC 8449: the largest record that the client takes, 0 if it does not say
	V2               bool       // an SSL 2.0 hello

	marks *marks // nil where the hello was not read from the wire
}

// Has reports whether an extension was there.
func (h *ClientHello) Has(ext uint16) bool { return slices.Contains(h.Extensions, ext) }

// EarlyData reports whether the client sends early data (RFC 8446 section 4.2.10).
func (h *ClientHello) EarlyData() bool { return h.Has(extEarlyData) }

// PostHandshakeAuth reports whether it lets the server ask for a certificate later (RFC
// 8446 section 4.2.6).
func (h *ClientHello) PostHandshakeAuth() bool { return h.Has(extPostHandshakeAuth) }

// TakesTickets reports whether it says how it would use a ticket of TLS 1.3 (RFC 8446 section
// 4.2.9): servers send none to who does not.
func (h *ClientHello) TakesTickets() bool { return h.Has(extPSKModes) }

// ECH reports whether it offers an encrypted ClientHello. A client that has no key for it
// may offer one all the same, so that others do not stand out.
func (h *ClientHello) ECH() bool { return h.Has(extECH) }

// CertificateCompression reports whether it takes compressed certificates (RFC 8879).
func (h *ClientHello) CertificateCompression() bool { return h.Has(extCompressCertificate) }

// Name returns the name of the server that the client asked for, empty if it asked for none,
// and reports whether what it sent is one (RFC 6066 section 3).
func (h *ClientHello) Name() (name string, ok bool) {
	if h.ServerName == "" {
		return "", !h.Has(extServerName)
	}
	if name, ok = serverName(h.ServerName); !ok {
		return "", false
	}
	return name, true
}

// join adds what a second ClientHello offers besides (RFC 8446 section 4.1.4 allows little,
// and not all servers check it). The fingerprints and all else stay those of the first.
func (h *ClientHello) join(second *ClientHello) {
	for _, ext := range second.Extensions {
		if !h.Has(ext) && len(h.Extensions) < maxExtensions {
			h.Extensions = append(h.Extensions, ext)
		}
	}
	if second.RecordSizeLimit > 0 {
		h.RecordSizeLimit = second.RecordSizeLimit
	}
}

// grease reports whether a value is reserved by RFC 8701.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// Versions on the wire that are not SSL's or TLS's own.
const (
	versionDTLS10    = 0xfeff // RFC 4347
	versionDTLS12    = 0xfefd // RFC 6347
	versionDTLS13    = 0xfefc // RFC 9147
	versionOldDTLS10 = 0x0100 // OpenSSL before 0.9.8f
)

// is13 tells TLS 1.3, DTLS 1.3 and the drafts of TLS 1.3: 0x7f00 + n, and the experiments
// that Facebook and Chrome sent.
func is13(v uint16) bool {
	return v == 0x0304 || v == versionDTLS13 || v>>8 == 0x7f || v>>8 == 0xfb || v>>8 == 0x7e
}

func isDTLS(v uint16) bool {
	return v == versionDTLS10 || v == versionDTLS12 || v == versionDTLS13 || v == versionOldDTLS10
}

func plausibleVersion(v uint16) bool { return v>>8 == 3 && v&0xff <= 4 || is13(v) && !isDTLS(v) }

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

// parseClientHello reads the body of a ClientHello, whose form differs a little by what
// carries it.
func parseClientHello(body []byte, over Over) (*ClientHello, bool) {
	s := cryptobyte.String(body)
	h := &ClientHello{}
	var id, cookie, suites, compression cryptobyte.String
	if !s.ReadUint16(&h.Version) || !s.CopyBytes(h.Random[:]) || !s.ReadUint8LengthPrefixed(&id) || len(id) > 32 {
		return nil, false
	}
	if over == OverDTLS {
		if !isDTLS(h.Version) || !s.ReadUint8LengthPrefixed(&cookie) { // RFC 6347 section 4.2.1
			return nil, false
		}
	} else if !plausibleVersion(h.Version) {
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
	if !s.Empty() && !h.extensions(s) {
		return nil, false
	}
	return h, true
}

func (h *ClientHello) extensions(s cryptobyte.String) bool {
	var exts cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&exts) {
		return false
	}
	h.Extensions = make([]uint16, 0, 24)
	for !exts.Empty() {
		var typ uint16
		var data cryptobyte.String
		if !exts.ReadUint16(&typ) || !exts.ReadUint16LengthPrefixed(&data) || len(h.Extensions) == maxExtensions {
			return false
		}
		h.Extensions = append(h.Extensions, typ)
		h.extension(typ, data)
	}
	return true
}

// extension reads one extension of a ClientHello. One that cannot be read is as good
// as empty: the hello stands.
func (h *ClientHello) extension(typ uint16, data cryptobyte.String) {
	var list cryptobyte.String
	switch typ {
	case extServerName: // RFC 6066 section 3
		var kind uint8
		var name cryptobyte.String
		if data.ReadUint16LengthPrefixed(&list) && list.ReadUint8(&kind) && kind == 0 && list.ReadUint16LengthPrefixed(&name) &&
			len(name) <= 255 && h.ServerName == "" {
			h.ServerName = strings.ToLower(clean(name))
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

// clean makes wire bytes printable: what is not printable ASCII is written as \xNN.
func clean(b []byte) string {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return escape(b)
		}
	}
	return string(b)
}

func escape(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			out.WriteString(`\x`)
			out.WriteByte(digits[c>>4])
			out.WriteByte(digits[c&15])
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
