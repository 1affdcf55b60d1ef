package dissect

import (
	"bytes"
	"encoding/hex"
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
	extRecordSizeLimit     = 28
	extSessionTicket       = 35
	extPreSharedKey        = 41
	extEarlyData           = 42
	extSupportedVersions   = 43
	extCookie              = 44
	extPostHandshakeAuth   = 49
	extKeyShare            = 51
)

// retryRandom marks a ServerHello as a HelloRetryRequest (RFC 8446 section 4.1.3).
var retryRandom, _ = hex.DecodeString("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

// ClientHello is RFC 8446 section 4.1.2, and SSL 2.0's CLIENT-HELLO where V2 says so.
type ClientHello struct {
	Version          uint16 // legacy_version
	Random           [32]byte
	SessionID        []byte
	CipherSuites     []uint16
	Extensions       []uint16 // in the order of the wire
	ServerName       string   // lower case, empty if none
	ALPN             []string
	Groups           []uint16
	PointFormats     []uint8
	SignatureSchemes []uint16
	Versions         []uint16 // supported_versions
	KeyShares        []uint16 // groups a share was sent for
	Ticket           bool     // a non-empty session ticket (TLS 1.2)
	TicketHash       TicketHash
	Identities       []Identity // of pre_shared_key, the first 8
	V2               bool       // an SSL 2.0 hello
}

// Has tells whether an extension was there.
func (h *ClientHello) Has(ext uint16) bool {
	for _, e := range h.Extensions {
		if e == ext {
			return true
		}
	}
	return false
}

// EarlyData, PreSharedKey and PostHandshakeAuth tell whether the client offered them.
func (h *ClientHello) EarlyData() bool         { return h.Has(extEarlyData) }
func (h *ClientHello) PreSharedKey() bool      { return h.Has(extPreSharedKey) }
func (h *ClientHello) PostHandshakeAuth() bool { return h.Has(extPostHandshakeAuth) }

// ServerHello is RFC 8446 section 4.1.3.
type ServerHello struct {
	LegacyVersion uint16
	Version       uint16 // negotiated: supported_versions, else the legacy one
	Random        [32]byte
	SessionID     []byte
	CipherSuite   uint16
	Extensions    []uint16
	Group         uint16 // of key_share, 0 if none
	ALPN          string // TLS 1.2 and older
	PSK           bool   // pre_shared_key selected
	Identity      uint16 // which of the client's identities, where PSK is set
	Retry         bool   // HelloRetryRequest
}

// TLS13 tells whether TLS 1.3 or one of its drafts was negotiated.
func (h *ServerHello) TLS13() bool { return is13(h.Version) }

func is13(v uint16) bool {
	// drafts: 0x7f00 + n, and the experiments that Facebook and Chrome sent
	return v == 0x0304 || v>>8 == 0x7f || v>>8 == 0xfb || v>>8 == 0x7e
}

// grease tells whether a value is reserved by RFC 8701.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

func plausibleVersion(v uint16) bool { return v>>8 == 3 && v&0xff <= 4 || is13(v) }

func readUint16s(s cryptobyte.String) ([]uint16, bool) {
	if len(s)%2 != 0 {
		return nil, false
	}
	out := make([]uint16, 0, len(s)/2)
	for !s.Empty() {
		var v uint16
		if !s.ReadUint16(&v) {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}

func parseClientHello(body []byte) (*ClientHello, bool) {
	s := cryptobyte.String(body)
	h := &ClientHello{}
	var id, suites, compression cryptobyte.String
	if !s.ReadUint16(&h.Version) || !plausibleVersion(h.Version) || !s.CopyBytes(h.Random[:]) ||
		!s.ReadUint8LengthPrefixed(&id) || len(id) > 32 ||
		!s.ReadUint16LengthPrefixed(&suites) || !s.ReadUint8LengthPrefixed(&compression) {
		return nil, false
	}
	var ok bool
	if h.CipherSuites, ok = readUint16s(suites); !ok || len(h.CipherSuites) == 0 {
		return nil, false
	}
	h.SessionID = bytes.Clone(id)
	if s.Empty() {
		return h, true
	}
	var exts cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&exts) {
		return nil, false
	}
	for !exts.Empty() {
		var typ uint16
		var data cryptobyte.String
		if !exts.ReadUint16(&typ) || !exts.ReadUint16LengthPrefixed(&data) {
			return nil, false
		}
		h.Extensions = append(h.Extensions, typ)
		h.extension(typ, data)
	}
	return h, true
}

// extension reads one extension of a ClientHello. One that cannot be read is as good
// as empty: the hello stands.
func (h *ClientHello) extension(typ uint16, data cryptobyte.String) {
	var list cryptobyte.String
	switch typ {
	case extServerName: // RFC 6066 section 3
		var kind uint8
		var name cryptobyte.String
		if data.ReadUint16LengthPrefixed(&list) && list.ReadUint8(&kind) && kind == 0 && list.ReadUint16LengthPrefixed(&name) && h.ServerName == "" {
			h.ServerName = strings.ToLower(clean(name))
		}
	case extSupportedGroups:
		if data.ReadUint16LengthPrefixed(&list) {
			h.Groups, _ = readUint16s(list)
		}
	case extPointFormats:
		if data.ReadUint8LengthPrefixed(&list) {
			h.PointFormats = bytes.Clone(list)
		}
	case extSignatureAlgorithms:
		if data.ReadUint16LengthPrefixed(&list) {
			h.SignatureSchemes, _ = readUint16s(list)
		}
	case extALPN: // RFC 7301
		if data.ReadUint16LengthPrefixed(&list) {
			for !list.Empty() {
				var name cryptobyte.String
				if !list.ReadUint8LengthPrefixed(&name) {
					break
				}
				h.ALPN = append(h.ALPN, string(name))
			}
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
	}
}

func keyShares(list cryptobyte.String) []uint16 {
	var out []uint16
	for !list.Empty() {
		var group uint16
		var share cryptobyte.String
		if !list.ReadUint16(&group) || !list.ReadUint16LengthPrefixed(&share) {
			break
		}
		out = append(out, group)
	}
	return out
}

func parseServerHello(body []byte) (*ServerHello, bool) {
	s := cryptobyte.String(body)
	h := &ServerHello{}
	if !s.ReadUint16(&h.LegacyVersion) || !plausibleVersion(h.LegacyVersion) || !s.CopyBytes(h.Random[:]) {
		return nil, false
	}
	h.Version = h.LegacyVersion
	h.Retry = bytes.Equal(h.Random[:], retryRandom)
	// The drafts of TLS 1.3 before 22 have neither a session id nor a compression method.
	draft := h.LegacyVersion>>8 == 0x7f && h.LegacyVersion&0xff < 22
	var compression uint8
	var id cryptobyte.String
	if !draft && (!s.ReadUint8LengthPrefixed(&id) || len(id) > 32) {
		return nil, false
	}
	h.SessionID = bytes.Clone(id)
	if !s.ReadUint16(&h.CipherSuite) || !draft && !s.ReadUint8(&compression) {
		return nil, false
	}
	if s.Empty() {
		return h, true
	}
	var exts cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&exts) {
		return nil, false
	}
	for !exts.Empty() {
		var typ uint16
		var data cryptobyte.String
		if !exts.ReadUint16(&typ) || !exts.ReadUint16LengthPrefixed(&data) {
			return nil, false
		}
		h.Extensions = append(h.Extensions, typ)
		h.extension(typ, data)
	}
	return h, true
}

func (h *ServerHello) extension(typ uint16, data cryptobyte.String) {
	switch typ {
	case extSupportedVersions:
		var v uint16
		if data.ReadUint16(&v) {
			h.Version = v
		}
	case extKeyShare:
		data.ReadUint16(&h.Group)
	case extPreSharedKey:
		h.PSK = true
		data.ReadUint16(&h.Identity)
	case extALPN:
		var list, name cryptobyte.String
		if data.ReadUint16LengthPrefixed(&list) && list.ReadUint8LengthPrefixed(&name) {
			h.ALPN = clean(name)
		}
	}
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

// ecdhe tells whether a cipher suite's ServerKeyExchange begins with a named curve.
func ecdhe(suite uint16) bool {
	name := CipherSuiteName(suite)
	return strings.HasPrefix(name, "TLS_ECDHE_") || strings.HasPrefix(name, "TLS_ECDH_anon_")
}
