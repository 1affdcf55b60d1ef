package pcapfilter

import (
	"encoding/hex"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// samples are packets by name, in hexadecimal.
var samples = map[string]string{
	// 10.0.0.1:40000 > 10.0.0.2:80, SYN
	"http": "020000000002 020000000001 0800 4500002800004000 40060000 0a000001 0a000002 9c40 0050 00000001 00000000 5002 ffff 0000 0000",
	// the response, with IP options
	"answer": "020000000001 020000000002 0800 4600002c00004000 40060000 0a000002 0a000001 01010100 0050 9c40 00000001 00000002 5012 ffff 0000 0000",
	// a later fragment of TCP whose bytes look like port 80
	"fragment": "020000000002 020000000001 0800 4500002800000005 40060000 0a000001 0a000002 0050 0050 00000001 00000000 5002 ffff 0000 0000",
	// fd00::1:53 > fd00::2:53
	"dns6": "020000000002 020000000001 86dd 60000000 0008 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002 0035 0035 0008 0000",
	// TCP after an IPv6 fragment header
	"fragment6": "020000000002 020000000001 86dd 60000000 001c 2c 40 fd000000000000000000000000000001 fd000000000000000000000000000002 06000000 00000001 0050 0050 00000001 00000000 5002 ffff 0000 0000",
	"ping":      "020000000002 020000000001 0800 4500001c00004000 40010000 0a000001 0a000002 0800 0000 0001 0001",
	"arp":       "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002",
	"mdns":      "01005e0000fb 020000000001 0800 4500001c00004000 40110000 0a000001 e00000fb 14e9 14e9 0008 0000",
	"tagged":    "020000000002 020000000001 8100 6005 0800 4500002800004000 40060000 0a000001 0a000002 9c40 0050 00000001 00000000 5002 ffff 0000 0000",
	"nested":    "020000000002 020000000001 88a8 0006 8100 0005 0800 4500002800004000 40060000 0a000001 0a000002 9c40 0050 00000001 00000000 5002 ffff 0000 0000",
	"cut":       "020000000002 020000000001 0800 45000028",
}

func sample(t testing.TB, name string) Packet {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(samples[name], " ", ""))
	if err != nil || len(data) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	return Packet{Data: data, Length: len(data)}
}

// order has the names of the samples in the order of the tables below.
var order = []string{"http", "answer", "fragment", "dns6", "fragment6", "ping", "arp", "mdns", "tagged", "nested", "cut"}

// matching returns the names of the samples that an expression accepts.
func matching(t testing.TB, text string, c Config) string {
	t.Helper()
	p, err := Compile(text, c)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	var out []string
	for _, name := range order {
		packet := sample(t, name)
		if p.Run(&packet) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

// TestMatches lists the samples that some expressions accept.
func TestMatches(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "http answer fragment dns6 fragment6 ping arp mdns tagged nested cut",
		"ip":                           "http answer fragment ping mdns cut",
		"ip6":                          "dns6 fragment6",
		"arp":                          "arp",
		"not ip":                       "dns6 fragment6 arp tagged nested",
		"tcp":                          "http answer fragment fragment6",
		"not tcp":                      "dns6 ping arp mdns tagged nested",
		"udp":                          "dns6 mdns",
		"icmp":                         "ping",
		"icmp6":                        "",
		"port 80":                      "http answer",
		"src port 80":                  "answer",
		"dst port 80":                  "http",
		"src and dst port 53":          "dns6",
		"udp port 53 or 5353":          "dns6 mdns",
		"tcp port 53 or 80":            "http answer",
		"portrange 50-60":              "dns6",
		"host 10.0.0.1":                "http answer fragment ping arp mdns",
		"src host 10.0.0.1":            "http fragment ping arp mdns",
		"dst 10.0.0.1":                 "answer",
		"ip host 10.0.0.2":             "http answer fragment ping",
		"arp host 10.0.0.2":            "arp",
		"net 10.0.0.0/31 and not ip":   "arp",
		"dst net fd00::/127":           "",
		"src net fd00::/126":           "dns6 fragment6",
		"host fd00::2":                 "dns6 fragment6",
		"ether src 02:00:00:00:00:02":  "answer",
		"ether host 02:00:00:00:00:02": "http answer fragment dns6 fragment6 ping tagged nested cut",
		"broadcast":                    "arp",
		"multicast":                    "arp mdns",
		"ip multicast":                 "mdns",
		"ip6 multicast":                "",
		"ip proto 6":                   "http answer fragment",
		"ip6 proto 6":                  "fragment6",
		`proto \udp`:                   "dns6 mdns",
		"ether proto 0x8100":           "tagged",
		"vlan":                         "tagged nested",
		"vlan 5":                       "tagged",
		"vlan 6 and vlan 5 and tcp":    "nested",
		"vlan and tcp port 80":         "tagged",
		"vlan and vlan":                "nested",
		"less 42":                      "ping arp mdns cut",
		"greater 62":                   "dns6 fragment6 nested",
		"tcp[13] & tcp-syn != 0":       "http answer",
		"tcp[tcpflags] = tcp-syn":      "http",
		"ip[0] & 15 > 5":               "answer",
		"ip[6:2] & 0x1fff != 0":        "fragment",
		"icmp[icmptype] = icmp-echo":   "ping",
		"arp[6:2] = 1":                 "arp",
		"ether[12:2] = 0x806":          "arp",
		"ip6[6] = 17":                  "dns6",
		"udp[2:2] = 5353":              "mdns",
		"len = ip[2:2] + 14":           "http answer fragment ping mdns",
		"tcp or udp and port 53":       "dns6",
		"tcp or (udp and port 53)":     "http answer fragment dns6 fragment6",
		"not tcp and not udp":          "ping arp tagged nested",
	} {
		if got := matching(t, text, Config{Link: wire.LinkEthernet}); got != want {
			t.Errorf("%q takes %s\nwant %s", text, got, want)
		}
	}
}

// TestLiveTags: a live program treats a tag that the kernel removed like one that is still in
// the packet's bytes.
func TestLiveTags(t *testing.T) {
	plain, inside, nested := sample(t, "http"), sample(t, "tagged"), sample(t, "nested")
	taken := plain
	taken.HasVLAN, taken.VLAN = true, 0x6005
	half := sample(t, "tagged") // two tags, the outer one removed
	half.HasVLAN, half.VLAN = true, 6
	packets := map[string]Packet{"plain": plain, "taken": taken, "inside": inside, "half": half, "nested": nested}
	for text, want := range map[string]string{
		"vlan":                               "taken inside half nested",
		"vlan 5":                             "taken inside",
		"vlan 6":                             "half nested",
		"vlan 5 and tcp port 80":             "taken inside",
		"vlan and host 10.0.0.1":             "taken inside",
		"vlan and tcp[13] = 2":               "taken inside",
		"vlan and tcp[(tcp[12]>>2) - 7] = 2": "taken inside",
		"vlan and ip[(ip[0] & 15) + 4] = 64": "",
		"vlan and ip[(ip[0] & 15) + 3] = 64": "taken inside",
		"vlan 6 and vlan 5 and tcp port 80":  "half nested",
		"not vlan":                           "plain",
		"not vlan and tcp port 80":           "plain",
		"tcp port 80":                        "plain taken",
		"vlan or tcp port 80":                "plain taken inside half nested",
		"tcp port 80 or vlan and port 80":    "plain taken inside",
		"tcp port 80 or (vlan and port 80)":  "plain taken inside",
		"vlan and ether[0] = 2":              "taken inside half nested",
	} {
		p, err := Compile(text, Config{Link: wire.LinkEthernet, Live: true})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var got []string
		for _, name := range []string{"plain", "taken", "inside", "half", "nested"} {
			if packet := packets[name]; p.Run(&packet) != 0 {
				got = append(got, name)
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%q takes %s\nwant %s\n%s", text, got, want, p.Listing())
		}
	}
}

// TestLiveAgainstLibpcap compares programs for a live interface, with tags removed or not.
func TestLiveAgainstLibpcap(t *testing.T) {
	if os.Geteuid() != 0 {
		unavailable(t, "needs root: libpcap makes such programs for an open interface only")
	}
	r := rand.New(rand.NewPCG(11, 0))
	packets := random(r, wire.LinkEthernet, 1500)
	for i := range packets {
		if r.IntN(3) == 0 {
			packets[i].HasVLAN, packets[i].VLAN = true, pick(r, []uint16{5, 6, 0x6005})
		}
		packets[i].Type = uint8(r.IntN(5))
	}
	for range 40 {
		// libpcap shifts the offsets after a vlan even if the packet has no tag. Therefore vlan comes first,
		// and must match.
		text := pick(r, []string{"vlan", "vlan 5", "inbound", "outbound", "vlan 6 and inbound"}) + " and (" + untagged(r) + ")"
		ours, err := Compile(text, Config{Link: wire.LinkEthernet, Live: true})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		out, err := exec.Command("tcpdump", "-i", "lo", "-O", "-ddd", text).Output()
		if err != nil {
			unavailable(t, "tcpdump -i lo: %v", err)
		}
		theirs, err := parseProgram(string(out))
		if err != nil {
			t.Fatal(err)
		}
		for i := range packets {
			if a, b := ours.Run(&packets[i]), theirs.Run(&packets[i]); a != b {
				t.Fatalf("%q: %d here, %d by libpcap, of %+v\n%s\n%s", text, a, b, packets[i], ours.Listing(), theirs.Listing())
			}
		}
	}
}

// untagged returns an expression without vlan and IPv6 prefixes.
func untagged(r *rand.Rand) string {
	for {
		text := randomExpression(r, wire.LinkEthernet)
		if !strings.Contains(text, "vlan") && !strings.Contains(text, "::/") {
			return text
		}
	}
}

// TestLongJumps: unconditional jumps lead to targets that are out of the reach of a conditional jump.
func TestLongJumps(t *testing.T) {
	long := "(" + strings.Repeat("port 1 or ", 60) + "port 2)"
	for text, want := range map[string]string{
		long + " or tcp":               "http answer fragment fragment6",
		"tcp or " + long:               "http answer fragment fragment6",
		"not " + long + " and arp":     "arp",
		"arp and not " + long:          "arp",
		"arp or (ip and " + long + ")": "arp",
		"tcp and not " + long + " and not (ip and " + long + " or ip6)": "http answer fragment",
	} {
		if got := matching(t, text, Config{Link: wire.LinkEthernet}); got != want {
			t.Errorf("%.80q takes %s, want %s", text, got, want)
		}
	}
}

// TestLengths tests all distances around the reach of a conditional jump.
func TestLengths(t *testing.T) {
	for n := range 300 {
		text := "tcp or (" + strings.Repeat("ip[0] = 1 or ", n) + "arp)"
		p, err := Compile(text, Config{Link: wire.LinkEthernet})
		if err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		if err := p.Validate(); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		for name, want := range map[string]bool{"http": true, "arp": true, "ping": false, "fragment6": true} {
			if packet := sample(t, name); (p.Run(&packet) != 0) != want {
				t.Fatalf("%d: %s: %t", n, name, !want)
			}
		}
	}
}
