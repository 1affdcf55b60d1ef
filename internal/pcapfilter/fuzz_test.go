package pcapfilter

import (
	"errors"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// FuzzCompile: any expression is refused with an error at an offset within the expression, or is
// compiled. The kernel accepts the program for each link type that supports the conditions of the
// expression.
func FuzzCompile(f *testing.F) {
	for text := range strings.SplitSeq(readings+faults, "\n") {
		f.Add(text)
	}
	packets := []Packet{sample(f, "http"), sample(f, "tagged"), sample(f, "dns6"), sample(f, "cut"), {}}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			checkError(t, text, err)
			return
		}
		for _, link := range linkOrder {
			for _, live := range []bool{false, true} {
				p, err := e.Compile(Config{Link: link, Live: live})
				if err != nil {
					checkError(t, text, err)
					continue
				}
				if err := p.Validate(); err != nil {
					t.Fatalf("%q, %s, live %t: %v\n%s", text, LinkName(link), live, err, p.Listing())
				}
				for i := range packets {
					if n := p.Run(&packets[i]); n != 0 && n != DefaultSnap {
						t.Fatalf("%q, %s, live %t: %d\n%s", text, LinkName(link), live, n, p.Listing())
					}
				}
			}
		}
	})
}

func checkError(t *testing.T, text string, err error) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Offset < 0 || e.Offset > len(text) || e.Problem == "" {
		t.Fatalf("%q: %#v", text, err)
	}
	if lines := strings.Split(e.Caret(), "\n"); len(lines) != 2 || !strings.HasSuffix(lines[1], "^") {
		t.Fatalf("%q: %q", text, e.Caret())
	}
}

// FuzzProgram: any text is refused or is a program. The program is the same after it is printed
// and parsed again, and it can be run and joined with another.
func FuzzProgram(f *testing.F) {
	f.Add("1,6 0 0 262144")
	f.Add("4\n40 0 0 12\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n")
	f.Add("3,0 0 0 5,2 0 0 3,22 0 0 0")
	f.Add("2,5 0 0 0,6 0 0 1")
	packet := sample(f, "http")
	ip, err := Compile("ip", Config{Link: wire.LinkEthernet})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProgram(text)
		if err != nil {
			return
		}
		if again, err := ParseProgram(p.Decimal()); err != nil || again.Decimal() != p.Decimal() {
			t.Fatalf("%v\n%s\n%s", err, p.Decimal(), again.Decimal())
		}
		took := p.Run(&packet) != 0
		both, err := And(p, ip)
		if err != nil {
			return // too long
		}
		if n := both.Run(&packet); (n != 0) != took {
			t.Fatalf("%t alone, %d with another\n%s", took, n, both.Listing())
		}
		p.Listing()
		p.Fragment()
	})
}
