package tlsmsg

import (
	"crypto/md5" //nolint:gosec // JA3 is defined as an md5
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
)

// JA3 returns the JA3 fingerprint of a ClientHello (github.com/salesforce/ja3, BSD-3-Clause), an MD5 hash in lower-case hexadecimal.
// It is empty for a hello of SSL 2.0.
func (h *ClientHello) JA3() string {
	if h.fingerprints != nil {
		return h.fingerprints.ja3
	}
	return h.computeJA3()
}

func (h *ClientHello) computeJA3() string {
	if h.V2 {
		return ""
	}
	var room [1024]byte
	b := strconv.AppendUint(room[:0], uint64(h.Version), 10)
	b = dashed(append(b, ','), h.CipherSuites)
	b = dashed(append(b, ','), h.Extensions)
	b = dashed(append(b, ','), h.Groups)
	b = append(b, ',')
	for i, f := range h.PointFormats {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(f), 10)
	}
	return md5Hex(b)
}

// JA3S returns the JA3S fingerprint of a ServerHello, in the form of JA3.
func (h *ServerHello) JA3S() string {
	if h.ja3s != "" || h.V2 {
		return h.ja3s
	}
	return h.computeJA3S()
}

func (h *ServerHello) computeJA3S() string {
	var room [256]byte
	b := strconv.AppendUint(room[:0], uint64(h.LegacyVersion), 10)
	b = strconv.AppendUint(append(b, ','), uint64(h.CipherSuite), 10)
	return md5Hex(dashed(append(b, ','), h.Extensions))
}

func md5Hex(b []byte) string {
	d := md5.Sum(b) //nolint:gosec // see above
	return hex.EncodeToString(d[:])
}

// dashed appends values in decimal, with dashes between them and without GREASE values (RFC 8701).
func dashed(b []byte, values []uint16) []byte {
	first := true
	for _, v := range values {
		if grease(v) {
			continue
		}
		if !first {
			b = append(b, '-')
		}
		first = false
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// JA4 returns the JA4 fingerprint of a ClientHello (FoxIO ja4, technical_details/JA4.md, BSD-3-Clause). transport is 't' for TCP, 'q'
// for QUIC, 'd' for DTLS.
func (h *ClientHello) JA4(transport byte) string {
	if h.fingerprints != nil && h.fingerprints.transport == transport {
		return h.fingerprints.ja4
	}
	return h.computeJA4(transport)
}

func (h *ClientHello) computeJA4(transport byte) string {
	var room [maxExtensions]uint16
	suites := sortedBut(room[:0], h.CipherSuites)
	out := make([]byte, 0, 40)
	sni := byte('i')
	if h.Has(extServerName) {
		sni = 'd'
	}
	out = append(out, transport)
	out = append(out, ja4Version(h.highest())...)
	out = append(out, sni)
	out = twoDigits(out, len(suites))
	out = twoDigits(out, len(h.Extensions)-greased(h.Extensions))
	out = append(out, ja4ALPN(h.ALPN)...)
	var text [4096]byte
	out = short(append(out, '_'), hexed(text[:0], suites))
	exts := sortedBut(room[:0], h.Extensions, extServerName, extALPN)
	c := hexed(text[:0], exts)
	if schemes := h.SignatureSchemes; len(schemes) > greased(schemes) && len(h.Extensions) > 0 {
		c = hexed(append(c, '_'), schemes)
	}
	return string(short(append(out, '_'), c))
}

// twoDigits appends n in two digits, at most 99.
func twoDigits(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, byte('0'+n/10), byte('0'+n%10))
}

// highest returns the highest version offered. Version numbers of DTLS count downwards.
func (h *ClientHello) highest() uint16 {
	best := uint16(0)
	for _, v := range h.Versions {
		if !grease(v) && (best == 0 || IsDTLS(v) && v < best || !IsDTLS(v) && v > best) {
			best = v
		}
	}
	if best == 0 {
		return h.Version
	}
	return best
}

// ja4Version returns JA4's two characters for a version.
func ja4Version(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	case versionDTLS10:
		return "d1"
	case versionDTLS12:
		return "d2"
	case versionDTLS13:
		return "d3"
	}
	return "00"
}

// ja4ALPN returns JA4's two characters for the first ALPN name.
func ja4ALPN(names []string) string {
	if len(names) == 0 || names[0] == "" {
		return "00"
	}
	first, last := names[0][0], names[0][len(names[0])-1]
	if alnum(first) && alnum(last) {
		return string([]byte{first, last})
	}
	const digits = "0123456789abcdef"
	return string([]byte{digits[first>>4], digits[last&15]})
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// greased counts the GREASE values (RFC 8701).
func greased(values []uint16) int {
	n := 0
	for _, v := range values {
		if grease(v) {
			n++
		}
	}
	return n
}

// sortedBut appends values in ascending order, without GREASE values (RFC 8701) and without the values in others.
func sortedBut(out, values []uint16, others ...uint16) []uint16 {
	for _, v := range values {
		if !grease(v) && !slices.Contains(others, v) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

// hexed appends values as four hexadecimal digits each, with commas between them and without GREASE values (RFC 8701).
func hexed(b []byte, values []uint16) []byte {
	const digits = "0123456789abcdef"
	first := true
	for _, v := range values {
		if grease(v) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, digits[v>>12], digits[v>>8&15], digits[v>>4&15], digits[v&15])
	}
	return b
}

// short appends JA4's hash of text: the first 12 hexadecimal digits of its SHA-256, or zeros if text is empty.
func short(out, text []byte) []byte {
	if len(text) == 0 {
		return append(out, "000000000000"...)
	}
	d := sha256.Sum256(text)
	return hex.AppendEncode(out, d[:6])
}

// Shape returns a fingerprint that stays the same when the client resumes. It consists of JA4's parts without the extensions that a
// resumption can add or remove: pre_shared_key, early_data, cookie, padding, session_ticket (NSS removes it), extended_master_secret (s2n
// removes it) and psk_key_exchange_modes (Erlang adds it).
func (h *ClientHello) Shape() string {
	if h.fingerprints != nil {
		return h.fingerprints.shape
	}
	return h.computeShape()
}

func (h *ClientHello) computeShape() string {
	var room [maxExtensions]uint16
	var text [4096]byte
	b := append(text[:0], ja4Version(h.highest())...)
	b = append(append(b, '_'), ja4ALPN(h.ALPN)...)
	b = hexed(append(b, '_'), sortedBut(room[:0], h.CipherSuites))
	b = hexed(append(b, '_'), sortedBut(room[:0], h.Extensions, extPreSharedKey, extEarlyData, extCookie, extPadding, extSessionTicket, extMasterSecret, extPSKModes))
	b = hexed(append(b, '_'), h.SignatureSchemes)
	return string(short(nil, b))
}
