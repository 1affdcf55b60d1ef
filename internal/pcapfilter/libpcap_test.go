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

// readings are expressions whose meaning is not obvious, valid and invalid ones.
const readings = `
tcp port 80 or 443
tcp port 80 and not 443
tcp port (80 or 443)
tcp port not 80
tcp port (not 80 and not 443)
tcp port (80)
tcp port ((80))
src port 80 and dst port 81 or 82
not host 10.0.0.1 and 10.0.0.2
not (host 10.0.0.1 or 10.0.0.2)
(tcp port 80) or 443
udp port 53 or (tcp port 80) or 443
udp port 53 or not (tcp port 80) or 443
tcp and 80
tcp or udp and icmp
icmp and tcp or udp
not tcp and udp
not not ip
! ip && ! ip6 || arp
src or dst host 10.0.0.1
dst or src host 10.0.0.1
src and dst net 10
dst and src port 80
src and src host 10.0.0.1
src or host 10.0.0.1
src host 10.0.0.1 or dst host 10.0.0.1
ip host 10.0.0.1 and not 10.0.0.2
src net 10.1 or 10.2
net 10
net 10.1.2
net 10.0.0.0/8
net 10.0.0.1/8
net 10/8
net 10.0.0.0 mask 255.0.0.0
net 10.1.0.0 mask 255.255.0.0 or port 80
net 10.0.0.1 mask 255.0.0.0
net 0.0.0.0/0
net 0.0.0.0/33
net fe80::/129
net fd00::/8
net fd00::1/8
net fd00::2/128
src 10.0.0.0/8
host 10.0.0.0/8
host 10.0.0.1/32 or 5
ip6 host ::1
ip6 host 10.0.0.1
ip host ::1
arp host ::1
arp net 10.0.0.0/8
arp src host 10.0.0.1
tcp host 10.0.0.1
tcp src 10.0.0.1
ip port 80
ip6 port 80
icmp port 80
tcp portrange 80
tcp portrange 90-80
udp portrange 0x35-010
udp portrange 010-100
portrange 80-70000
portrange 80 - 90
port 80-90
port 65536
port -1
port 0x50
port 0120
port 08
ether host 02:00:00:00:00:01
ether src 02-00-00-00-00-01
ether dst 02.00.00.00.00.01
ether host 0200.0000.0001
ether host 020000000001
ether 02:00:00:00:00:01
ether host 10.0.0.1
ether net 02:00:00:00:00:01
host 02:00:00:00:00:01
ip host 02:00:00:00:00:01
ether proto 0x800
ether proto \ip or \arp
ether proto 0x0800 or 0x86dd
ether
ether port 80
tcp proto 6
arp proto 6
proto 6
proto \tcp
ip proto 6 or 17
ip proto \udp
ip6 proto \ipv6-icmp
ip proto \nonsense
src proto 6
ip multicast
ip6 multicast
multicast
ether multicast
broadcast
ether broadcast
tcp multicast
arp broadcast
less 60
greater 100 and less 200
less 60 or 100
less tcp
less
vlan
vlan 5
vlan (5)
vlan ((5))
vlan 5 or 6
vlan 4096
vlan 5 and vlan 6 and tcp
vlan and ip or ip6
not vlan and ip
(vlan and tcp) or udp
ip or vlan and ip
vlan and vlan and vlan and arp
vlan and host 10.0.0.1
vlan and tcp[13] = 2
vlan and ether[12:2] = 0x8100
vlan and ether proto 0x8100
tcp[13] & 2 != 0
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
tcp[tcpflags] == tcp-syn|tcp-ack
icmp[icmptype] = icmp-echo
icmp6[icmp6type] = icmp6-neighborsolicit
ip[0] & 0xf != 5
ip[6:2] & 0x1fff = 0
ip[2:2] - ((ip[0]&0xf)<<2) != 0
tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)
tcp[(tcp[12]>>2)&60:4] = 0x16030100
ip[-1] = 0
tcp[-4] = 5
ether[0] & 1 = 0 and ip[16] >= 224
ether[len - 1] = 5
ether[len-1] = 5
ip[0:3] = 5
ip[0:0] = 5
ip[0:1+1] = 5
ip[] = 5
ip[0 = 5
ah[0] = 1
ip6[6] = 6 or ip6[40] = 6
arp[6:2] = 1
udp[0:2] = 53 or udp[2:2] = 53
sctp[0:2] = 80
igmp[0] = 0x11
1 = 1
1 = 2 or ip
1 + 2 * 3 = 7
7 / 2 = 3
7 % 4 + 1 = 2
2 * 7 % 4 = 6
5 ^ 1 & 3 = 4
1 << 4 | 1 = 17
1 | 2 & 4 = 1
10 - 3 - 2 = 5
-1 = 0xffffffff
- 1 + 2 = 1
--1 = 1
len > 100
100 < len
len = len
len != len - 1
len / 0 = 1
len % 0 = 1
len << 32 = 1
len >> 31 = 0
0 / len = 0
ip[0] / ip[1] = 0
ip[0] % ip[1] = 5
ip[8] << ip[1] != 0
len
5
(5)
(len)
len = 5 = 6
tcp = 5
tcp[0]
tcp[0] and udp
tcp port 80 = 80
tcp port 80 or 443 = 443
tcp port 80 or (443 = 443)
tcp port 80 or (len > 5)
()
(
)
tcp)
(tcp
tcp &&
&& tcp
not
and
tcp udp
tcp tcp port 80
TCP
tcp port http and foo
foo
\tcp
host
host tcp
net
port
port tcp
src
src dst
dst port
portrange
proto
ip proto
tcp src
4294967296 = 0
0xffffffff = 4294967295
ip[0] = 0x45 and (tcp or udp) and not port 80
tcp[13]=2
tcp[13]&2=2
ip[8]<64
ip[8]<=64
ip[8]>=64&&tcp
!tcp&&!udp
length > 5
link[0] = 2
ether[0]=2
host 10.0.0.256
fd00::2
host fd00::2::1
host 1:2:3:4:5:6:7
host ::ffff:10.0.0.1
host 10.0.0.1.5
tcp port 80$
tcp # port
host 10.0.0.1/32
gateway 10.0.0.1
`

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
