package iana

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// named is one registered number.
type named struct {
	id   uint16
	name string
}

// CipherSuiteName returns the IANA name of a cipher suite, or "0x" and four hexadecimal digits if the number is not registered.
func CipherSuiteName(id uint16) string { return lookup(cipherSuites[:], id) }

// GroupName returns the IANA name of a named group (RFC 8422, RFC 8446). It writes unregistered numbers like CipherSuiteName.
func GroupName(id uint16) string { return lookup(groups[:], id) }

// AlertName returns the IANA description of an alert (RFC 8446 section 6). It writes unregistered numbers like CipherSuiteName.
func AlertName(id uint8) string { return lookup(alerts[:], uint16(id)) }

// AlertNumber returns the number of an alert from its IANA description. It returns false for a description that IANA does not have.
func AlertNumber(name string) (id uint8, ok bool) {
	for _, a := range alerts {
		if a.name == name {
			return uint8(a.id), true
		}
	}
	return 0, false
}

// lookup finds a number in a table, which is in ascending order.
func lookup(table []named, id uint16) string {
	i, ok := slices.BinarySearchFunc(table, id, func(n named, id uint16) int { return cmp.Compare(n.id, id) })
	if !ok {
		return fmt.Sprintf("0x%04x", id)
	}
	return table[i].name
}

// IsRegistered reports whether a name that CipherSuiteName, GroupName or AlertName returned is that of a registered number. Nothing is
// known about the others: numbers for private use, GREASE (RFC 8701), and numbers that were registered later.
func IsRegistered(name string) bool { return name != "" && !strings.HasPrefix(name, "0x") }

// IsPostQuantum reports whether a group, by its IANA name, agrees keys by ML-KEM or its draft, Kyber, alone or together with a
// classical group. It returns false for a number that is not registered, about which nothing is known.
func IsPostQuantum(group string) bool {
	return strings.Contains(group, "MLKEM") || strings.Contains(group, "Kyber")
}
