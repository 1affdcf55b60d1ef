package htmlreport

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

const (
	maxText  = 2000 // characters of a sentence
	maxName  = 300  // characters of a name
	maxMarks = 2    // combining marks of a character
)

// visible returns s with each character as it can be seen: controls, bidirectional formatting, invisible letters, line ends and bytes
// that are not UTF-8 are written as \xNN, \uNNNN or \UNNNNNNNN, and so are combining marks after the second of a character. A text of
// more than limit characters is shortened.
func visible(s string, limit int) string {
	var b strings.Builder
	n, marks := 0, 0
	for i, r := range s {
		if n++; n > limit {
			b.WriteString("…")
			break
		}
		marks++
		if !unicode.Is(unicode.M, r) {
			marks = 0
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case isVisible(r) && marks <= maxMarks:
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

func isVisible(r rune) bool {
	return unicode.IsPrint(r) && r != '\u2800' && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Me)
}

func name(s string) string     { return visible(s, maxName) }
func sentence(s string) string { return visible(s, maxText) }

// link returns a URL whose unusual characters are percent-encoded (RFC 3986 section 2.1), as html/template does it.
func link(url string) string {
	const keep = "!#$&*+,/:;=?@[]-._~"
	var b strings.Builder
	for i := range len(url) {
		c := url[i]
		encoded := c == '%' && i+2 < len(url) && isHex(url[i+1]) && isHex(url[i+2])
		if encoded || c < utf8.RuneSelf && (isHex(c) || unicode.IsLetter(rune(c))) || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

// verdicts lists the verdicts, the weakest first, in the order of topology.Edge.Verdict.
var verdicts = [...]struct{ value, label string }{
	{"plaintext", "plaintext"}, {"tls", "TLS"}, {"encrypted", "encrypted"}, {"unknown", "unjudged"}, {"mtls", "mutual TLS"}, {"failed", "failed"},
}

const unjudged = 3 // the index of "unknown" in verdicts

// verdictIndex returns the index of a verdict in verdicts. An unknown value is unjudged.
func verdictIndex(value string) int {
	for i, v := range verdicts {
		if v.value == value {
			return i
		}
	}
	return unjudged
}

// counts returns the numbers of connections in the order of verdicts.
func counts(c *record.ByVerdict) [len(verdicts)]uint64 {
	return [...]uint64{c.Plaintext, c.TLS, c.Encrypted, c.Unknown, c.MTLS, c.Failed}
}

func total(c *record.ByVerdict) (sum uint64) {
	for _, n := range counts(c) {
		sum += n
	}
	return sum
}

// perVerdict returns numbers in the order of verdicts in words, such as "2 plaintext, 10 mutual TLS".
func perVerdict(numbers [len(verdicts)]uint64) string {
	var parts []string
	for i, n := range numbers {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, verdicts[i].label))
		}
	}
	return strings.Join(parts, ", ")
}

// connections returns the numbers of connections in words, such as "12 (2 plaintext, 10 mutual TLS)".
func connections(c *record.ByVerdict) string {
	text := perVerdict(counts(c))
	if !strings.Contains(text, ", ") {
		return fmt.Sprint(total(c))
	}
	return fmt.Sprintf("%d (%s)", total(c), text)
}

// workload is an end of an edge as the page shows it.
type workload struct {
	Namespace string
	Label     string // NAMESPACE/NAME, or a name or address outside of the cluster
	Note      string // what is particular about the name
}

func newWorkload(w *topology.Workload) workload {
	x := workload{Namespace: name(w.Namespace), Label: name(w.Name)}
	if w.Namespace != "" {
		x.Label = x.Namespace + "/" + x.Label
	}
	var notes []string
	switch w.Kind {
	case "Service", "Node", "Pod":
		notes = append(notes, w.Kind)
	}
	if w.Outside {
		notes = append(notes, "outside of the cluster")
	}
	if w.Claimed {
		notes = append(notes, "only the client claimed this name")
	}
	if _, err := netip.ParseAddr(w.Name); err == nil && w.Namespace == "" {
		notes = append(notes, "no name is known")
	} else if w.Claimed || w.Namespace == "" {
		notes = append(notes, addresses(w)...)
	}
	x.Note = strings.Join(notes, ", ")
	return x
}

func addresses(w *topology.Workload) (list []string) {
	for _, a := range w.Addresses {
		list = append(list, name(a.String()))
	}
	return list
}

// group returns the heading of a workload's namespace.
func (w workload) group() string {
	if w.Namespace == "" {
		return noNamespace
	}
	return w.Namespace
}

// noNamespace is the heading for ends without a namespace. No namespace has a space in its name.
const noNamespace = "no namespace known"

func timestamp(t time.Time) string {
	if t.IsZero() {
		return "not known"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// plural returns a number with its noun.
func plural[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
