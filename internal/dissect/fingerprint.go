package dissect

import (
	"crypto/md5" //nolint:gosec // JA3 is defined as an md5
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// JA3 returns the JA3 fingerprint of a ClientHello (github.com/salesforce/ja3,
// BSD-3-Clause): lower-case md5 hex. An SSL 2.0 hello has none: "".
func (h *ClientHello) JA3() string {
	if h.V2 {
		return ""
	}
	formats := make([]uint16, len(h.PointFormats))
	for i, f := range h.PointFormats {
		formats[i] = uint16(f)
	}
	return sum(strconv.Itoa(int(h.Version)), dashed(h.CipherSuites), dashed(h.Extensions), dashed(h.Groups), dashed(formats))
}

// JA3S returns the JA3S fingerprint of a ServerHello, as JA3 does.
func (h *ServerHello) JA3S() string {
	return sum(strconv.Itoa(int(h.LegacyVersion)), strconv.Itoa(int(h.CipherSuite)), dashed(h.Extensions))
}

func sum(parts ...string) string {
	d := md5.Sum([]byte(strings.Join(parts, ","))) //nolint:gosec // see above
	return hex.EncodeToString(d[:])
}

func dashed(values []uint16) string {
	var b strings.Builder
	for _, v := range values {
		if grease(v) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteString(strconv.Itoa(int(v)))
	}
	return b.String()
}

// JA4 returns the JA4 fingerprint of a ClientHello (FoxIO ja4, technical_details/JA4.md,
// BSD-3-Clause); transport is 't' for TCP, 'q' for QUIC, 'd' for DTLS.
func (h *ClientHello) JA4(transport byte) string {
	suites, exts := withoutGrease(h.CipherSuites), withoutGrease(h.Extensions)
	sni := byte('i')
	if h.Has(extServerName) {
		sni = 'd'
	}
	a := fmt.Sprintf("%c%s%c%02d%02d%s", transport, ja4Version(h.highest()), sni, min(len(suites), 99), min(len(exts), 99), ja4ALPN(h.ALPN))
	hashed := slices.DeleteFunc(slices.Clone(exts), func(e uint16) bool { return e == extServerName || e == extALPN })
	c := hexed(hashed, true)
	if schemes := withoutGrease(h.SignatureSchemes); len(schemes) > 0 {
		c += "_" + hexed(schemes, false)
	}
	if len(exts) == 0 {
		c = ""
	}
	return a + "_" + short(hexed(suites, true)) + "_" + short(c)
}

// highest returns the highest version offered.
func (h *ClientHello) highest() uint16 {
	if vs := withoutGrease(h.Versions); len(vs) > 0 {
		return slices.Max(vs)
	}
	return h.Version
}

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
	}
	return "00"
}

func ja4ALPN(names []string) string {
	if len(names) == 0 || names[0] == "" {
		return "00"
	}
	first, last := names[0][0], names[0][len(names[0])-1]
	if alnum(first) && alnum(last) {
		return string([]byte{first, last})
	}
	return hex.EncodeToString([]byte{first})[:1] + hex.EncodeToString([]byte{last})[1:]
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func withoutGrease(values []uint16) []uint16 {
	return slices.DeleteFunc(slices.Clone(values), grease)
}

func hexed(values []uint16, sorted bool) string {
	if sorted {
		values = slices.Sorted(slices.Values(values))
	}
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = fmt.Sprintf("%04x", v)
	}
	return strings.Join(parts, ",")
}

func short(s string) string {
	if s == "" {
		return "000000000000"
	}
	d := sha256.Sum256([]byte(s))
	return hex.EncodeToString(d[:6])
}

// Shape returns what of a ClientHello stays the same when the client resumes: JA4's
// parts without pre_shared_key, early_data, cookie and padding.
func (h *ClientHello) Shape() string {
	exts := slices.DeleteFunc(withoutGrease(h.Extensions), func(e uint16) bool {
		return e == extPreSharedKey || e == extEarlyData || e == extCookie || e == extPadding
	})
	return short(strings.Join([]string{
		ja4Version(h.highest()), ja4ALPN(h.ALPN), hexed(withoutGrease(h.CipherSuites), true), hexed(exts, true), hexed(withoutGrease(h.SignatureSchemes), false),
	}, "_"))
}
