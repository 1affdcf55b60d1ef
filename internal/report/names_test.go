package report

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestUnicodeName: the first examples are those of RFC 3492, section 7.1.
func TestUnicodeName(t *testing.T) {
	for name, want := range map[string]string{
		"xn--egbpdaj6bu4bxfgehfvwxn":        "", // it ends in a question mark, which is no letter
		"xn--ihqwcrb4cv8a8dqg056pqjye":      "他们为什么不说中文",
		"www.xn--bcher-kva.example":         "www.bücher.example",
		"xn--e1afmkfd.xn--80akhbyknj4f":     "пример.испытание",
		"xn--3b-ww4c5e180e575a65lsy2b":      "3年b組金八先生",
		"plain.example":                     "",
		"xn--":                              "",
		"xn--a":                             "",
		"xn--99999999":                      "",
		"xn--bcher-kva!":                    "",
		"xn--" + strings.Repeat("a", 80):    "",
		"xn--55555555555555555555555555555": "",
	} {
		if got := unicodeName(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func FuzzUnicodeName(f *testing.F) {
	f.Add("xn--bcher-kva.example")
	f.Fuzz(func(t *testing.T, name string) {
		if got := unicodeName(name); got != clean(got) {
			t.Errorf("%q: %q is not printable", name, got)
		}
	})
}

// claims returns an edge to a server whose name the client claimed.
func claims(name string, n int) finding.Edge {
	return finding.Edge{
		Key: fmt.Sprint("k", n), From: "10.0.0.1", To: name, Port: 443, Scope: "wire", Class: "workload", Verdict: "tls",
		Seen: []finding.Seen{{Verdict: "tls", Connections: 1, Last: &verdict.Judged{PeerName: name, PeerNameBasis: "sni", Destination: verdict.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)})}}}},
	}
}

// TestNames: a name that the client claimed has a mark and its address, one in punycode has its form in Unicode, and a message is escaped
// only once.
func TestNames(t *testing.T) {
	proven := claims("spiffe://a/b", 2)
	proven.Seen[0].Last.PeerNameBasis = "spiffe"
	addressed := claims("198.51.100.0/24", 3)
	addressed.Seen[0].Last.PeerName = "198.51.100.7"
	s := finding.Summary{
		Edges:    []finding.Edge{claims("xn--bcher-kva.example", 1), proven, addressed},
		Findings: []finding.Finding{{Rule: "r", Message: `a path \x1b[2J` + "\x1b"}},
	}
	for width, want := range map[int][]string{
		0:  {"xn--bcher-kva.example:443* 10.9.0.1 ", "* Only the client claimed this name.\n", "xn--bcher-kva.example is bücher.example in Unicode", " spiffe://a/b:443 ", " 198.51.100.0/24:443 ", `a path \x1b[2J\x1b` + "\n"},
		74: {"* Only the client claimed this name. Latest addresses:\n  xn--bcher-kva.example:443 10.9.0.1\n"},
	} {
		var b bytes.Buffer
		if err := Text(&b, s, Options{Width: width}); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("%d columns: no %q in\n%s", width, w, &b)
			}
		}
	}
}

// TestManyEdgesAreGrouped: reasons that many edges share are given once, and the first line of a long report is also its last.
func TestManyEdgesAreGrouped(t *testing.T) {
	var s finding.Summary
	for n := range 500 {
		s.Edges = append(s.Edges, claims(fmt.Sprintf("s%d.example", n), n))
	}
	var b bytes.Buffer
	if err := Text(&b, s, Options{Width: 80}); err != nil {
		t.Fatal(err)
	}
	_, why, _ := strings.Cut(b.String(), "\nWhy\n")
	if n := strings.Count(why, "\n"); n > 12 || !strings.Contains(why, "500 edges (10.0.0.1 > s0.example:443, ") {
		t.Errorf("%d lines:\n%s", n, why)
	}
	if !strings.HasPrefix(b.String(), "500 edges: 500 TLS\n") || !strings.HasSuffix(b.String(), "\n\n500 edges: 500 TLS\n") {
		t.Errorf("the last line: %s", b.String()[b.Len()-80:])
	}
}
