package evidence_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// section returns packets as a pcapng file without payload.
func section(packets []flow.Packet) []byte {
	var s evidence.Section
	s.Header("test", evidence.NoteTruncated)
	s.Interface(wire.LinkEthernet, "eth0", "", 0)
	x := evidence.NewTruncator()
	for _, p := range packets {
		p.Data = bytes.Clone(p.Data)
		s.Packet(0, p.Time, p.Data[:x.Truncate(&p)], p.Length)
	}
	return s.Bytes()
}

// TestTruncatedHasNoSecrets plants secrets in conversations of many protocols. No file of a Truncator contains one of them, or a part of one,
// whether the start of the connection was captured or not.
func TestTruncatedHasNoSecrets(t *testing.T) {
	norace(t)
	filter := tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	files := 0
	check := func(name, secret string, packets []flow.Packet) {
		for _, skip := range []int{0, 3, 4, 5} {
			files++
			if skip < len(packets) && reveals(section(packets[skip:]), secret) {
				t.Errorf("%s: without the first %d packets the file contains %q", name, skip, secret)
			}
		}
	}
	for _, p := range secrets(t) {
		for _, mss := range []int{1448, 1, 3, 9, 33000} {
			packets := packetsOf((&capturetest.Conversation{Chunks: p.talk}).Packets(capturetest.Options{MSS: mss}))
			check(p.where, p.secret, packets)
			check(p.where, p.secret, truncated(filter, packets))
		}
	}
	for _, l := range capturetest.Logins() {
		for _, mss := range []int{1448, 3} {
			check(l.Protocol+" "+l.Name, capturetest.Secret, packetsOf(l.Talk.Packets(capturetest.Options{MSS: mss})))
		}
	}
	t.Logf("0 secrets expected in %d files", files)
}

// TestTruncatedVerdicts: TLS is judged the same without payload, also after plaintext, and so is plaintext HTTP.
func TestTruncatedVerdicts(t *testing.T) {
	norace(t)
	same := 0
	for name, talk := range secondTalks(t) {
		if strings.Contains(name, "text in records") || strings.Contains(name, "after") || strings.Contains(name, "between") {
			continue // plaintext and handshakes after TLS are removed
		}
		for _, mss := range []int{1448, 33000} {
			packets := packetsOf(talk.Packets(capturetest.Options{MSS: mss}))
			want, got := judged(packets), reread(t, section(packets))
			if !slices.Equal(got, want) {
				t.Errorf("%s, segments of %d: %q, want %q", name, mss, got, want)
			}
			same++
		}
	}
	http, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	if got := reread(t, section(packetsOf(http.Packets(capturetest.Options{})))); !slices.Equal(got, []string{"plaintext"}) {
		t.Errorf("HTTP: %q", got)
	}
	if same < 10 {
		t.Errorf("only %d conversations", same)
	}
}

// judged returns what `tap read` finds in packets.
func judged(packets []flow.Packet) (out []string) {
	latest := map[uint64]verdict.Judged{}
	p := pipeline.New(pipeline.Config{Table: small, Judged: func(j *verdict.Judged) { latest[j.ID] = *j }})
	p.Add(packets...)
	p.Flush()
	for _, j := range latest {
		out = append(out, essence(&j))
	}
	return out
}

// TestTruncatedSize: bulk adds its packets' headers only.
func TestTruncatedSize(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{client("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), server("HTTP/1.1 200 OK\r\n\r\n" + body)}}
	for _, mss := range []int{1448, 33000} {
		packets := packetsOf(talk.Packets(capturetest.Options{MSS: mss}))
		if file := section(packets); len(file) > 1000+110*len(packets) {
			t.Errorf("%d packets take %d bytes", len(packets), len(file))
		}
	}
}

// TestTruncatedPackets: what remains of single packets.
func TestTruncatedPackets(t *testing.T) {
	ip4 := func(proto byte, fragment uint16, rest string) string {
		h := make([]byte, 20)
		h[0], h[8], h[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(rest)))
		binary.BigEndian.PutUint16(h[6:], fragment)
		copy(h[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
		return "\x08\x00" + string(h) + rest
	}
	ip6 := func(next byte, rest string) string {
		h := make([]byte, 40)
		h[0], h[6], h[7] = 0x60, next, 64
		binary.BigEndian.PutUint16(h[4:], uint16(len(rest)))
		h[23], h[39] = 1, 2
		return "\x86\xdd" + string(h) + rest
	}
	udp := func(payload string) string {
		return "\x12\x34\x56\x78" + string(binary.BigEndian.AppendUint16(nil, uint16(8+len(payload)))) + "\x00\x00" + payload
	}
	tcp := func(payload string) string {
		return "\x12\x34\x56\x78\x00\x00\x00\x01\x00\x00\x00\x01\x50\x18\x10\x00\x00\x00\x00\x00" + payload
	}
	const data = "password=hunter2 and more of it, which nobody should read"
	initial := "\xc3\x00\x00\x00\x01\x08abcdefgh\x04ijkl\x00\x45\x00" + strings.Repeat("i", 0x500) + data
	for name, c := range map[string]struct {
		frame string
		want  int // after the 12 bytes of the addresses
	}{
		"ARP":                    {"\x08\x06" + strings.Repeat("a", 46), 2 + 28},
		"LLDP":                   {"\x88\xcc" + data, 2},
		"VLAN":                   {"\x81\x00\x00\x05" + ip4(17, 0, udp(data)), 4 + 2 + 20 + 8},
		"ICMP":                   {ip4(1, 0, "\x08\x00\x00\x00\x00\x01\x00\x01"+data), 2 + 20 + 8},
		"ICMPv6":                 {ip6(58, "\x80\x00\x00\x00\x00\x01\x00\x01"+data), 2 + 40 + 8},
		"neighbor solicitation":  {ip6(58, "\x87\x00\x00\x00"+strings.Repeat("n", 20)+data), 2 + 40 + 24},
		"GRE":                    {ip4(47, 0, data), 2 + 20},
		"SCTP":                   {ip4(132, 0, data), 2 + 20 + 12},
		"UDP":                    {ip4(17, 0, udp(data)), 2 + 20 + 8},
		"UDP over IPv6":          {ip6(17, udp(data)), 2 + 40 + 8},
		"first fragment":         {ip4(17, 0x2000, udp(data)), 2 + 20 + 8},
		"later fragment":         {ip4(17, 0x0010, data), 2 + 20},
		"later fragment of IPv6": {ip6(44, "\x11\x00\x00\x81\x00\x00\x00\x00"+data), 2 + 40 + 8},
		"extension header":       {ip6(0, "\x11\x00\x00\x00\x00\x00\x00\x00"+udp(data)), 2 + 40 + 8 + 8},
		"TCP, bytes that are no text, in the middle": {ip4(6, 0, tcp("\x01\x02\xff"+data)), 2 + 20 + 20},
		"QUIC Initial":             {ip4(17, 0, udp(initial)), 2 + 20 + 8 + len(initial) - len(data)},
		"QUIC Handshake":           {ip4(17, 0, udp("\xe3\x00\x00\x00\x01\x08abcdefgh\x04ijkl\x20"+data)), 2 + 20 + 8 + 19},
		"a version QUIC lacks":     {ip4(17, 0, udp("\xc3\x00\x00\x00\x09\x00\x00"+data)), 2 + 20 + 8},
		"version 0 without QUIC":   {ip4(17, 0, udp("\xc3\x00\x00\x00\x00\x00\x00"+data)), 2 + 20 + 8},
		"DTLS application data":    {ip4(17, 0, udp("\x17\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x01\x00\x20"+data)), 2 + 20 + 8 + 13},
		"DTLS without a hello":     {ip4(17, 0, udp("\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x0b"+data)), 2 + 20 + 8 + 13},
		"bytes of no protocol":     {ip4(6, 0, tcp("\x01\x02\x03\x04\x05\x06\x07\x08")), 2 + 20 + 20},
		"DTLS, unencrypted hello":  {ip4(17, 0, udp("\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0d\x01"+strings.Repeat("h", 12))), 2 + 20 + 8 + 13 + 13},
		"a truncated IPv4 header":  {"\x08\x00\x45\x00\x00", 2},
		"a truncated TCP header":   {ip4(6, 0, "\x12\x34"), 2 + 20},
		"a frame of no known type": {"\x00", 1},
	} {
		p := flow.Packet{Time: time.Now().UnixNano(), Link: wire.LinkEthernet, Data: append(make([]byte, 12), c.frame...)}
		p.Length = len(p.Data)
		if got := evidence.NewTruncator().Truncate(&p); got != 12+c.want {
			t.Errorf("%s: %d bytes after the addresses, want %d", name, got-12, c.want)
		}
	}
}

// TestWordsAsValues: words of protocols are not written where they are values, and after plaintext only a hello begins TLS.
func TestWordsAsValues(t *testing.T) {
	for name, c := range map[string]struct {
		chunks []string
		secret string
		keeps  string
	}{
		"a password":         {[]string{"PASS password\r\n"}, "password", "PASS "},
		"Redis":              {[]string{"AUTH ADMIN\r\n"}, "ADMIN", "AUTH "},
		"IMAP":               {[]string{"a1 LOGIN admin PASS\r\n"}, "admin PASS", "LOGIN "},
		"a path":             {[]string{"GET /reset/LOGIN HTTP/1.1\r\n\r\n"}, "LOGIN", "GET /"},
		"digits":             {[]string{"123\r\n"}, "123", ""},
		"a body like TLS":    {[]string{"POST / HTTP/1.1\r\n\r\n", "\x16\x03\x03\x00\x14\x0b\x00\x00\x10secret-of-alice."}, "secret-of", "POST / HTTP"},
		"PROXY":              {[]string{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x1c" + strings.Repeat("\x01", 12) + "password=hunter2"}, "hunter2", "QUIT\n\x21\x11\x00\x1c\x01\x01"},
		"PROXY, a path":      {[]string{"\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("path", 54)}, "path", "QUIT\n"},
		"a hello of SSL 2.0": {[]string{"\x80\x30\x01\x03\x01secret-of-alice, and more of it, which nobody reads"}, "secret-of", ""},
	} {
		x := evidence.NewTruncator()
		talk := &capturetest.Conversation{}
		for _, text := range c.chunks {
			talk.Chunks = append(talk.Chunks, client(text))
		}
		var all []byte
		for _, p := range packetsOf(talk.Packets(capturetest.Options{})) {
			all = append(all, p.Data[:x.Truncate(&p)]...)
		}
		if bytes.Contains(all, []byte(c.secret)) || !bytes.Contains(all, []byte(c.keeps)) {
			t.Errorf("%s: %q", name, all)
		}
	}
}

// TestTruncatorForgets: many connections take bounded memory, and those that are known still lose their payload.
func TestTruncatorForgets(t *testing.T) {
	x := evidence.NewTruncator()
	for n := range 20_000 {
		talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{client("PASS secret-of-alice\r\n")}}
		o := capturetest.Options{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}), 40000)}
		for _, p := range packetsOf(talk.Packets(o)) {
			if keep := x.Truncate(&p); bytes.Contains(p.Data[:keep], []byte("secret")) {
				t.Fatalf("connection %d: %q", n, p.Data[:keep])
			}
		}
	}
	if n := x.Known(); n > 4096 {
		t.Errorf("%d connections are known", n)
	}
}
