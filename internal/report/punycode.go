package report

import (
	"math"
	"strings"
	"unicode"
)

// unicodeName returns a host name with its labels in Unicode (RFC 5890), or "" if it has no such label, or one that does not decode to
// printable letters, digits and hyphens.
func unicodeName(name string) string {
	labels := strings.Split(name, ".")
	some := false
	for i, label := range labels {
		encoded, ok := strings.CutPrefix(label, "xn--")
		if !ok {
			continue
		}
		text := decodePunycode(encoded)
		if text == "" || strings.ContainsFunc(text, func(r rune) bool {
			return !unicode.In(r, unicode.L, unicode.M, unicode.N) && r != '-' || !unicode.IsPrint(r)
		}) {
			return ""
		}
		labels[i], some = text, true
	}
	if name = strings.Join(labels, "."); !some || clean(name) != name {
		return ""
	}
	return name
}

// maxLabel bounds a label, in bytes (RFC 1035, section 2.3.4).
const maxLabel = 63

// decodePunycode decodes a label by RFC 3492, section 6.2. It returns "" for an invalid label.
func decodePunycode(s string) string {
	const base, tMin, tMax, skew, damp, bias0, n0 = 36, 1, 26, 38, 700, 72, 128
	if len(s) > maxLabel {
		return ""
	}
	var out []rune
	if at := strings.LastIndexByte(s, '-'); at > 0 {
		out, s = []rune(s[:at]), s[at+1:]
	}
	n, i, bias := n0, 0, bias0
	for first := true; s != ""; first = false {
		old, weight := i, 1
		for k := base; ; k += base {
			if s == "" {
				return ""
			}
			digit := strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789", s[0])
			s = s[1:]
			if digit < 0 || digit > (math.MaxInt32-i)/weight {
				return ""
			}
			i += digit * weight
			t := min(max(k-bias, tMin), tMax)
			if digit < t {
				break
			}
			if weight > math.MaxInt32/(base-t) {
				return ""
			}
			weight *= base - t
		}
		length := len(out) + 1
		delta := (i - old) / 2
		if first {
			delta = (i - old) / damp
		}
		delta += delta / length
		k := 0
		for ; delta > (base-tMin)*tMax/2; k += base {
			delta /= base - tMin
		}
		bias = k + (base-tMin+1)*delta/(delta+skew)
		n += i / length
		i %= length
		if n > unicode.MaxRune {
			return ""
		}
		out = append(out[:i], append([]rune{rune(n)}, out[i:]...)...)
		i++
	}
	return string(out)
}
