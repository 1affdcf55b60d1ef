package pcapfilter

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares text with a file, or writes it.
func golden(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // testdata is for everybody
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; go test -update writes it anew\n%s", file, firstDifference(text, string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: %q\nwant: %q", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// TestPrograms compares the listings of the programs of some expressions.
func TestPrograms(t *testing.T) {
	live := Config{Link: wire.LinkEthernet, Live: true}
	var b strings.Builder
	for _, c := range []struct {
		text string
		cfg  Config
	}{
		{"", Config{Link: wire.LinkEthernet}},
		{"tcp", Config{Link: wire.LinkEthernet}},
		{"tcp port 80 or 443", Config{Link: wire.LinkEthernet}},
		{"portrange 8000-8080", Config{Link: wire.LinkSLL2}},
		{"src host 10.0.0.1", Config{Link: wire.LinkEthernet}},
		{"host 10.0.0.1", Config{Link: wire.LinkRaw}},
		{"src and dst net fd00::/48", Config{Link: wire.LinkSLL}},
		{"ether src 02:00:00:00:00:01", Config{Link: wire.LinkEthernet}},
		{"arp", Config{Link: wire.LinkRaw}},
		{"ip6", Config{Link: wire.LinkNull}},
		{"ip6", Config{Link: wire.LinkLoop}},
		{"ip6 proto 6", Config{Link: wire.LinkEthernet}},
		{"not (udp port 53 or icmp)", Config{Link: wire.LinkEthernet}},
		{"vlan 5 and ip", Config{Link: wire.LinkEthernet}},
		{"vlan 5 and ip", live},
		{"vlan and vlan 6 and tcp port 80", live},
		{"inbound", live},
		{"outbound", Config{Link: wire.LinkSLL}},
		{"less 100", Config{Link: wire.LinkEthernet, Snap: 96}},
		{"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", Config{Link: wire.LinkEthernet}},
		{"tcp[(tcp[12] >> 2) & 60] = 22", Config{Link: wire.LinkEthernet}},
		{"vlan and tcp[(tcp[12] >> 2) & 60] = 22", live},
		{"(ip[2:2] - ((ip[0] & 15) << 2)) - ((tcp[12] & 0xf0) >> 2) != 0", Config{Link: wire.LinkEthernet}},
		{"1 + 2 * 3 = 7", Config{Link: wire.LinkEthernet}},
		{"- ip[0] % 3 ^ 1 > len / 2", Config{Link: wire.LinkEthernet}},
	} {
		p, err := Compile(c.text, c.cfg)
		if err != nil {
			t.Fatalf("%q: %v", c.text, err)
		}
		fmt.Fprintf(&b, "== %s, live %t, snap %d: %s\n%s", LinkName(c.cfg.Link), c.cfg.Live, c.cfg.Snap, c.text, p.Listing())
	}
	p, err := Compile("tcp port 80", Config{Link: wire.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "== -dd\n%s== -ddd\n%s", p.Fragment(), p.Decimal())
	every, err := everyInstruction()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "== every instruction\n%s", every.Listing())
	golden(t, "programs.golden", b.String())
}

// everyInstruction returns a program with every opcode that the kernel accepts.
func everyInstruction() (Program, error) {
	var text strings.Builder
	n := 1
	text.WriteString("2 0 0 3\n3 0 0 3\n") // writes the memory that later instructions read
	n++
	for op := range uint16(256) {
		if known[op] && op != classRET|retK {
			fmt.Fprintf(&text, "%d 0 0 3\n", op)
			n++
		}
	}
	for offset := 0; offset <= 60; offset += 4 {
		fmt.Fprintf(&text, "32 0 0 %d\n", ancillary+offset)
		n++
	}
	text.WriteString("6 0 0 0\n6 0 0 0\n6 0 0 0\n6 0 0 0\n")
	return ParseProgram(fmt.Sprintf("%d\n%s", n+4, text.String()))
}

// TestErrors compares the message of each error.
func TestErrors(t *testing.T) {
	var b strings.Builder
	say := func(text string, cfg Config) {
		t.Helper()
		_, err := Compile(text, cfg)
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("%.80q: %v, want an *Error", text, err)
		}
		fmt.Fprintf(&b, "%s\n%s\n\n", e, e.Caret())
	}
	for text := range strings.SplitSeq(strings.TrimSpace(faults), "\n") {
		say(text, Config{Link: wire.LinkEthernet})
	}
	for text, link := range map[string]wire.LinkType{"ether host 02:00:00:00:00:01": wire.LinkRaw} {
		say(text, Config{Link: link})
	}
	say("tcp and vlan 5", Config{Link: wire.LinkSLL})
	say("tcp or broadcast", Config{Link: wire.LinkNull})
	say("not multicast", Config{Link: wire.LinkLoop})
	say("tcp and inbound", Config{Link: wire.LinkEthernet})
	say("tcp", Config{Link: 105})
	say("ip[-1] = 0", Config{Link: wire.LinkRaw})
	say("tcp\nport\n80 or\thttp", Config{Link: wire.LinkEthernet})
	say("host 10.0.0.1 or € or tcp", Config{Link: wire.LinkEthernet})
	say(strings.Repeat("(", maxDepth+1)+"tcp", Config{Link: wire.LinkEthernet})
	say(strings.Repeat("not ", maxDepth+1)+"tcp", Config{Link: wire.LinkEthernet})
	say("len = "+strings.Repeat("- ", maxDepth+1)+"1", Config{Link: wire.LinkEthernet})
	say("len = 1"+strings.Repeat(" % 3", maxDepth+1), Config{Link: wire.LinkEthernet})
	say(strings.Repeat("ip[", maxDepth+1)+"0", Config{Link: wire.LinkEthernet})
	say("vlan "+strings.Repeat("(", maxDepth+1), Config{Link: wire.LinkEthernet})
	say("port "+strings.Repeat("(", maxDepth+1), Config{Link: wire.LinkEthernet})
	say("len = "+strings.Repeat("(len + len) * (", scratch+1)+"len"+strings.Repeat(")", scratch+1), Config{Link: wire.LinkEthernet})
	say(strings.Repeat("port 80 or ", 300)+"udp", Config{Link: wire.LinkEthernet})
	say(strings.Repeat(" ", MaxLength)+"t", Config{Link: wire.LinkEthernet})
	golden(t, "errors.golden", b.String())
}

// faults has one invalid expression in each line.
const faults = `
foo
\foo
\
tcp port http
port 80-90
portrange 80-
portrange 1-2-3
port 65536
port 10.0.0.1
portrange
icmp port 80
ip port 80
host
host example.org
host 10
host 10.1
host 10.0.0.256
host 010.0.0.1
host 1.2.3.4.5
host 02:00:00:00:00:01
host 10.0.0.0/8
host 1:2:3
host fe80::1::2
src
src or host 10.0.0.1
src 10.1
src proto 6
tcp host 10.0.0.1
tcp src 10.0.0.1
ip6 host 10.0.0.1
ip host ::1
net
net 300
net 10/8
net 10.0.0.1/8
net 10.0.0.0/33
net 10.0.0.0/x
net 10.0.0.0 mask 8
net 10.0.0.1 mask 255.0.0.0
net fd00::1/8
net fd00::/129
net 02:00:00:00:00:01
ether
ether host 10.0.0.1
ether host
ether proto 5
ether proto 0x10000
ether proto foo
ether net 10
ip proto 300
ip proto foo
ip proto 10.0.0.1
arp proto 6
tcp multicast
arp broadcast
ip broadcast
less
less tcp
vlan 4096
vlan (tcp)
tcp udp
tcp foo
tcp &&
&& tcp
not
tcp)
(tcp
(tcp port 80) or 443
tcp and 80
10.0.0.1
80
len
tcp[0]
ah[0] = 1
tcp = 5
tcp[0 = 5
tcp[0:3] = 5
tcp[0:] = 5
tcp[foo] = 5
ether[len-1] = 5
ip[70000] = 1
len = tcp
len = foo
len = 5 = 6
len / 0 = 1
len % 0 = 1
len << 32 = 1
4294967296 = 0
08 = 0
0x1ffffffff = 0
tcp port 80$
mpls 5
gateway 10.0.0.1
TCP
`
