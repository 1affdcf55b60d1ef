package pcapfilter

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

var (
	expressions = flag.Int("expressions", 240, "how many generated expressions are compared with libpcap's, for all link types together")
	seed        = flag.Uint64("seed", 1, "of what is generated for the comparison with libpcap")
)

// unavailable skips a test that lacks something, or fails it if all tests must run.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// links are libpcap's names of the link types.
var links = map[wire.LinkType]string{
	wire.LinkEthernet: "EN10MB", wire.LinkSLL: "LINUX_SLL", wire.LinkSLL2: "LINUX_SLL2", wire.LinkRaw: "RAW", wire.LinkNull: "NULL", wire.LinkLoop: "LOOP",
}

// linkOrder has the keys of links in a fixed order.
var linkOrder = []wire.LinkType{wire.LinkEthernet, wire.LinkSLL, wire.LinkSLL2, wire.LinkRaw, wire.LinkNull, wire.LinkLoop}

// errRejects is libpcap's error for a program that accepts no packet.
const errRejects = "expression rejects all packets"

// libpcap compiles an expression with tcpdump, with libpcap's optimizer or without it. If tcpdump
// reports that the expression rejects all packets, libpcap returns a program that rejects all
// packets.
func libpcap(t testing.TB, link wire.LinkType, optimize bool, text string) (Program, error) {
	t.Helper()
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		unavailable(t, "%v: on Debian or Ubuntu: apt-get install tcpdump", err)
	}
	args := []string{"-y", links[link], "-ddd", "--", text}
	if !optimize {
		args = append([]string{"-O"}, args...)
	}
	cmd := exec.Command(tcpdump, args...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	if strings.Contains(problems.String(), errRejects) {
		return Program{{Op: classRET | retK}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("tcpdump: %s", strings.TrimSpace(problems.String()))
	}
	return parseProgram(out.String())
}

// TestAgainstLibpcap compiles generated expressions with this package and with libpcap, with
// and without its optimizer, and runs the programs on the project's captures and on random
// packets. The results must be the same for every packet. If libpcap's optimizer changes the
// result of its own program (it drops loads past a packet's end), either result is accepted.
func TestAgainstLibpcap(t *testing.T) {
	r := rand.New(rand.NewPCG(*seed, 0))
	packets := map[wire.LinkType][]Packet{}
	for _, link := range linkOrder {
		packets[link] = append(captured(t, link), random(r, link, 1500)...)
	}
	compared, taken, torn := 0, 0, 0
	for i := range *expressions {
		link := linkOrder[i%len(linkOrder)]
		text := randomExpression(r, link)
		ours, plain, optimized := compileAll(t, link, text)
		took := false
		for j := range packets[link] {
			p := &packets[link][j]
			a, b, c := ours.Run(p), plain.Run(p), optimized.Run(p)
			took = took || a != 0
			compared++
			if b != c {
				torn++
			}
			if a != b && a != c {
				t.Errorf("%s, %q: %d here, %d by libpcap and %d by its optimizer, of a packet of %d bytes:\n% x", links[link], text, a, b, c, p.Length, p.Data)
				t.Fatalf("here\n%slibpcap\n%s", ours.Listing(), plain.Listing())
			}
		}
		if took {
			taken++
		}
	}
	t.Logf("%d comparisons of %d expressions, of which %d take a packet; on %d packets libpcap's optimizer changes the answer", compared, *expressions, taken, torn)
	if taken*3 < *expressions {
		t.Errorf("of %d expressions %d take any packet: the comparison says little", *expressions, taken)
	}
}

func compileAll(t testing.TB, link wire.LinkType, text string) (ours, plain, optimized Program) {
	t.Helper()
	ours, err := Compile(text, Config{Link: link})
	if err != nil {
		t.Fatalf("%s, %q: %v", links[link], text, err)
	}
	if err := ours.Validate(); err != nil {
		t.Fatalf("%s, %q: %v\n%s", links[link], text, err, ours.Listing())
	}
	if plain, err = libpcap(t, link, false, text); err != nil {
		t.Fatalf("%s, %q: %v", links[link], text, err)
	}
	if optimized, err = libpcap(t, link, true, text); err != nil {
		t.Fatalf("%s, %q, optimized: %v", links[link], text, err)
	}
	return ours, plain, optimized
}

// TestLibpcapReads compares this package with libpcap for hand-written expressions. Both refuse
// the same expressions, and the programs of the others accept the same packets. TestDiffers has
// the intended differences.
func TestLibpcapReads(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 0))
	packets := append(captured(t, wire.LinkEthernet), random(r, wire.LinkEthernet, 4000)...)
	for text := range strings.SplitSeq(strings.TrimSpace(readings), "\n") {
		ours, err := Compile(text, Config{Link: wire.LinkEthernet})
		plain, theirs := libpcap(t, wire.LinkEthernet, false, text)
		optimized, _ := libpcap(t, wire.LinkEthernet, true, text)
		if (err == nil) != (theirs == nil) {
			t.Errorf("%q: here %v, by libpcap %v", text, err, theirs)
		}
		if err != nil || theirs != nil {
			continue
		}
		for i := range packets {
			if a, b, c := ours.Run(&packets[i]), plain.Run(&packets[i]), optimized.Run(&packets[i]); a != b && a != c {
				t.Errorf("%q: %d here, %d by libpcap, of % x", text, a, b, packets[i].Data)
				break
			}
		}
	}
}

// TestDiffers: expressions that only libpcap or only this package accepts, as listed in the
// package comment.
func TestDiffers(t *testing.T) {
	for text, reason := range map[string]string{
		"port http":                           "names of services are not resolved",
		"host 10":                             "expected an IP address",
		"host 10.1":                           "expected an address of four numbers",
		"host 10.0.0":                         "expected an address of four numbers",
		"src 10.1":                            "expected an address of four numbers",
		"net 300":                             "expected a network such as",
		"ip proto 300":                        "expected a number from 0 to 255",
		"ether proto 5":                       "expected a number from 1536",
		"ether proto 0x10000":                 "expected a number from 1536 to 65535",
		"host 010.0.0.1":                      "without leading zeros",
		"ip[70000] = 1":                       "offset 70000",
		"ip broadcast":                        "netmask is not known",
		"stp":                                 `"stp" is not supported`,
		"mpls 5":                              `"mpls" is not supported`,
		"inbound":                             "direction is not in a capture of Ethernet",
		"tcp port 80 or (443 or udp port 53)": "",
		"ip proto tcp":                        "",
	} {
		t.Run(text, func(t *testing.T) {
			_, err := Compile(text, Config{Link: wire.LinkEthernet})
			_, theirs := libpcap(t, wire.LinkEthernet, false, text)
			switch {
			case reason == "" && (err != nil || theirs == nil):
				t.Errorf("here %v, by libpcap %v: expected only libpcap to refuse it", err, theirs)
			case reason != "" && (err == nil || theirs != nil || !strings.Contains(err.Error(), reason)):
				t.Errorf("here %v, by libpcap %v: expected only %q here", err, theirs, reason)
			}
		})
	}
}

// TestErrorsAreErrors: an invalid expression gives an *Error with an offset within it.
func TestErrorsAreErrors(t *testing.T) {
	for text := range strings.SplitSeq(readings, "\n") {
		_, err := Parse(text)
		if err == nil {
			continue
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.Offset < 0 || e.Offset > len(text) || e.Text != text {
			t.Errorf("%q: %#v", text, err)
		}
	}
}
