package record

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

//go:generate go run ./generate

// AppendJSON appends r as one JSON object without a line break. The output is the same as that of encoding/json, with two differences.
// Characters that a terminal does not show as themselves are escaped, and an optional object without members is left out. AppendJSON
// allocates only for maps. Members have the order of the types, so equal records have equal bytes.
func (r *Record) AppendJSON(b []byte) []byte { return object(b, r.appendMembers) }

// object appends an object. members appends its members, each with a comma at its end.
func object(b []byte, members func([]byte) []byte) []byte {
	b = closed(members(append(b, '{')))
	return b[:len(b)-1]
}

// closed ends an object whose last member ends with a comma, and appends a comma.
func closed(b []byte) []byte {
	if last := len(b) - 1; b[last] == ',' {
		b[last] = '}'
		return append(b, ',')
	}
	return append(b, '}', ',')
}

// closedUnlessEmpty does the same as closed for an object with members. It removes an object without
// members; at is the offset of the object's name.
func closedUnlessEmpty(b []byte, at int) []byte {
	if b[len(b)-1] == '{' {
		return b[:at]
	}
	return closed(b)
}

func appendList[T any](b []byte, list []T, item func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, x := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = item(b, x)
	}
	return append(b, ']')
}

// appendMap appends an object with the keys of m, sorted, as names.
func appendMap[T any](b []byte, m map[string]T, item func([]byte, T) []byte) []byte {
	return object(b, func(b []byte) []byte {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			b = append(item(append(appendQuoted(b, key), ':'), m[key]), ',')
		}
		return b
	})
}

func appendAddr(b []byte, a netip.Addr) []byte { return append(a.AppendTo(append(b, '"')), '"') }

// appendSeconds appends a time in RFC 3339 with whole seconds.
func appendSeconds(b []byte, t *time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339), '"')
}
