package tlsmsg

import (
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxDN bounds the text of a distinguished name, in bytes. Longer names are left out.
const maxDN = 1 << 10

// shortNames are the attribute types that RFC 4514 section 3 names. Others are written as their OID, with the value in hexadecimal.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
}

// subjectAndIssuer returns the subject and issuer of a certificate, as RFC 4514 writes them. The rest of the certificate need not be
// well-formed: real certificates often are not.
func subjectAndIssuer(der []byte) (subject, issuer string, ok bool) {
	input := cryptobyte.String(der)
	var cert, tbs, from, to cryptobyte.String
	if !input.ReadASN1(&cert, cbasn1.SEQUENCE) || !cert.ReadASN1(&tbs, cbasn1.SEQUENCE) {
		return "", "", false
	}
	if !tbs.SkipOptionalASN1(cbasn1.Tag(0).Constructed().ContextSpecific()) || // version
		!tbs.SkipASN1(cbasn1.INTEGER) || !tbs.SkipASN1(cbasn1.SEQUENCE) || // serialNumber, signature
		!tbs.ReadASN1(&from, cbasn1.SEQUENCE) || !tbs.SkipASN1(cbasn1.SEQUENCE) || // issuer, validity
		!tbs.ReadASN1(&to, cbasn1.SEQUENCE) {
		return "", "", false
	}
	issuer, ok = distinguishedName(from)
	if !ok {
		return "", "", false
	}
	subject, ok = distinguishedName(to)
	return subject, issuer, ok
}

// distinguishedName formats an RDNSequence, the most specific part first.
func distinguishedName(rdns cryptobyte.String) (string, bool) {
	var parts []string
	for !rdns.Empty() {
		var set cryptobyte.String
		if !rdns.ReadASN1(&set, cbasn1.SET) {
			return "", false
		}
		var values []string
		for !set.Empty() {
			v, ok := attribute(&set)
			if !ok {
				return "", false
			}
			values = append(values, v)
		}
		parts = append(parts, strings.Join(values, "+"))
	}
	slices.Reverse(parts)
	out := strings.Join(parts, ",")
	return out, len(out) <= maxDN
}

// attribute consumes an attribute of set and formats it as TYPE=VALUE.
func attribute(set *cryptobyte.String) (string, bool) {
	var pair, value cryptobyte.String
	var oid asn1.ObjectIdentifier
	var tag cbasn1.Tag
	if !set.ReadASN1(&pair, cbasn1.SEQUENCE) || !pair.ReadASN1ObjectIdentifier(&oid) {
		return "", false
	}
	raw := []byte(pair)
	if !pair.ReadAnyASN1(&value, &tag) {
		return "", false
	}
	name, known := shortNames[oid.String()]
	if !known {
		return oid.String() + "=#" + hex.EncodeToString(raw), true
	}
	return name + "=" + escapeDN(directoryString(value, tag)), true
}

// directoryString decodes the string types of X.520.
func directoryString(b []byte, tag cbasn1.Tag) string {
	if tag != 30 { // other strings than BMPString are usually ASCII or UTF-8
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
	return string(utf16.Decode(units))
}

// escapeDN escapes an attribute value (RFC 4514 section 2.4).
func escapeDN(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r < 0x20 || r == 0x7f:
			b.WriteString(`\` + hex.EncodeToString([]byte{byte(r)}))
			continue
		case strings.ContainsRune(`,+"\<>;`, r), i == 0 && (r == ' ' || r == '#'), r == ' ' && i == len(s)-1:
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
