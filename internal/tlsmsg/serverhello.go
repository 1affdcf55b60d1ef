package tlsmsg

import (
	"bytes"
	"encoding/hex"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/iana"
	"github.com/meshtls-tap/meshtls-tap/internal/names"
	"golang.org/x/crypto/cryptobyte"
)

// retryRandom marks a ServerHello as a HelloRetryRequest (RFC 8446 section 4.1.3).
var retryRandom, _ = hex.DecodeString("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

// ServerHello is a parsed ServerHello (RFC 8446 section 4.1.3), or a SERVER-HELLO of SSL 2.0 if V2 is set.
type ServerHello struct {
	LegacyVersion uint16
	Version       uint16 // negotiated: supported_versions, or else LegacyVersion
	Random        [32]byte
	SessionID     []byte
	CipherSuite   uint16
	Extensions    []uint16
	Group         uint16 // group of key_share, 0 if absent
	ALPN          string // plaintext only in TLS 1.2 and older
	PSK           bool   // the server selected a pre-shared key
	Identity      uint16 // index of the selected identity, if PSK is set
	Retry         bool   // the message is a HelloRetryRequest
	V2            bool   // the hello is one of SSL 2.0

	draftGroup uint16 // group of extKeyShareDraft, 0 if absent
	ja3s       string // empty until computed
}

// TLS13 reports whether TLS 1.3, DTLS 1.3 or a draft of TLS 1.3 was negotiated.
func (h *ServerHello) TLS13() bool { return IsTLS13(h.Version) }

// ParseServerHello parses the body of a ServerHello and reports whether it is well-formed.
func ParseServerHello(body []byte, over Over) (*ServerHello, bool) {
	s := cryptobyte.String(body)
	h := &ServerHello{}
	if !s.ReadUint16(&h.LegacyVersion) || !s.CopyBytes(h.Random[:]) {
		return nil, false
	}
	if over == OverDTLS && !IsDTLS(h.LegacyVersion) || over != OverDTLS && !PlausibleVersion(h.LegacyVersion) {
		return nil, false
	}
	h.Version = h.LegacyVersion
	h.Retry = bytes.Equal(h.Random[:], retryRandom)
	// Drafts of TLS 1.3 before draft 22 have neither a session id nor a compression method.
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
	if !s.Empty() && !readExtensions(s, &h.Extensions, h.extension) {
		return nil, false
	}
	if h.Group == 0 && isDraft(h.Version) {
		h.Group = h.draftGroup
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
	case extKeyShareDraft:
		data.ReadUint16(&h.draftGroup)
	case extPreSharedKey:
		h.PSK = true
		data.ReadUint16(&h.Identity)
	case extALPN:
		var list, name cryptobyte.String
		if data.ReadUint16LengthPrefixed(&list) && list.ReadUint8LengthPrefixed(&name) {
			h.ALPN = names.Printable(name)
		}
	}
}

// NamesCurve reports whether the ServerKeyExchange of a cipher suite begins with a named curve (RFC 8422 section 5.4).
func NamesCurve(suite uint16) bool {
	name := iana.CipherSuiteName(suite)
	return strings.HasPrefix(name, "TLS_ECDHE_") || strings.HasPrefix(name, "TLS_ECDH_anon_")
}
