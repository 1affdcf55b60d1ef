package topology

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of text from records, in bytes.
const (
	maxText = 512  // names, codes
	maxLine = 2048 // messages
)

// clean returns a copy of a text from a record with at most limit bytes of input, in which characters that a terminal does not show as themselves are
// written as \u{N}, and invalid bytes as \xN. Records may come from anybody who can write to a topic.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	for _, c := range s {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return escape(s)
		}
	}
	return strings.Clone(s)
}

func escape(s string) string {
	var b strings.Builder
	for i, c := range s {
		switch _, size := utf8.DecodeRuneInString(s[i:]); {
		case c == utf8.RuneError && size <= 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i]), 16))
		case !unicode.IsPrint(c):
			b.WriteString(`\u{` + strconv.FormatInt(int64(c), 16) + "}")
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// cleanAll returns the first limit texts.
func cleanAll(list []string, limit int) []string {
	var out []string
	for _, s := range list[:min(limit, len(list))] {
		out = append(out, clean(s, maxText))
	}
	return out
}

// bare returns an address without its zone, and IPv4 in IPv6 as IPv4.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// insertSorted inserts x into a sorted list without duplicates that has at most limit items: the smallest. It reports whether it left out
// an item.
func insertSorted[T any](list []T, x T, limit int, compare func(a, b T) int) (out []T, full bool) {
	at, found := slices.BinarySearchFunc(list, x, compare)
	switch {
	case found:
		return list, false
	case at >= limit:
		return list, true
	}
	list = slices.Insert(list, at, x)
	if len(list) > limit {
		return list[:limit], true
	}
	return list, false
}
