package dissect

import (
	"cmp"
	"fmt"
	"slices"
)

type named struct {
	id   uint16
	name string
}

// CipherSuiteName returns the IANA name of a cipher suite; a number that is not
// registered is written as 0x and four hexadecimal digits.
func CipherSuiteName(id uint16) string { return lookup(cipherSuites[:], id) }

// GroupName returns the IANA name of a named group (RFC 8422, 8446), as
// CipherSuiteName does.
func GroupName(id uint16) string { return lookup(groups[:], id) }

// AlertName returns the IANA description of an alert (RFC 8446 section 6), as
// CipherSuiteName does.
func AlertName(id uint8) string { return lookup(alerts[:], uint16(id)) }

func lookup(table []named, id uint16) string {
	i, ok := slices.BinarySearchFunc(table, id, func(n named, id uint16) int { return cmp.Compare(n.id, id) })
	if !ok {
		return fmt.Sprintf("0x%04x", id)
	}
	return table[i].name
}
