package pipeline_test

import (
	"crypto/tls"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Data that is sent on a connection after its TLS has ended.
const (
	request  = "GET /payroll?year=2026 HTTP/1.1\r\nHost: cart:8080\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\r\n"
	response = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 20\r\n\r\nname,salary\nbob,1234"
)

// client and server return a chunk of data that the client, or the server, sends.
func client(s string) capturetest.Chunk { return capturetest.Chunk{Data: []byte(s)} }
func server(s string) capturetest.Chunk { return capturetest.Chunk{FromServer: true, Data: []byte(s)} }

// joined returns several conversations as one connection.
func joined(talks ...[]capturetest.Chunk) *capturetest.Conversation {
	out := &capturetest.Conversation{}
	var sent [2]int
	for _, talk := range talks {
		before := sent
		for _, c := range talk {
			me, other := 0, 1
			if c.FromServer {
				me, other = 1, 0
			}
			c.Read += before[other]
			if c.Read == before[other] && len(out.Chunks) > 0 {
				c.Read = sent[other]
			}
			sent[me] += len(c.Data)
			out.Chunks = append(out.Chunks, c)
		}
	}
	return out
}

// handshakes returns TLS conversations by version: mutual ones with a client certificate, and oneWay ones without.
func handshakes(t *testing.T) (mutual, oneWay map[string][]capturetest.Chunk) {
	t.Helper()
	mutual, oneWay = map[string][]capturetest.Chunk{}, map[string][]capturetest.Chunk{}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for auth, to := range map[capturetest.ClientAuth]map[string][]capturetest.Chunk{capturetest.Presented: mutual, capturetest.NotRequested: oneWay} {
			talks, err := capturetest.TLSTalk(version, auth, 1)
			if err != nil {
				t.Fatal(err)
			}
			to[tls.VersionName(version)] = talks[0].Chunks
		}
	}
	return mutual, oneWay
}

// sealed returns a protected record of a size, with content that does not look like text.
func sealed(size int) string {
	r := mathrand.New(mathrand.NewPCG(uint64(size), 1))
	b := []byte{23, 3, 3, byte(size >> 8), byte(size)}
	for range size {
		b = append(b, byte(r.Uint32()))
	}
	return string(b)
}

// unknownBytes returns bytes of no known protocol.
func unknownBytes(size int) string { return "\xd7\x01" + sealed(size)[5:] }

// Text that is not ASCII.
const (
	german  = "Überweisung für Frau Möller über fünfzig Öre, größere Beträge später"
	russian = "Платёж клиента номер семь на сумму сто рублей завершён"
	chinese = "客户付款编号七金额一百元已经完成交易请确认收到款项"
)

// sealedText returns a record with text, in place of ciphertext, after an explicit nonce.
func sealedText(text string) string {
	return string([]byte{23, 3, 3, 0, byte(8 + len(text))}) + "\x00\x00\x00\x00\x00\x00\x00\x09" + text
}

// packetsOf splits a conversation into packets.
func packetsOf(talk *capturetest.Conversation, o capturetest.Options) (out []flow.Packet) {
	o.Server = netip.MustParseAddrPort("10.2.0.1:8443")
	for _, f := range talk.Packets(o) {
		out = append(out, packetOf(f))
	}
	return out
}

// TestWhatFollowsTLS: bytes after the end of TLS are judged like the bytes of a separate connection, for any split
// into segments, with and without the default filter.
func TestWhatFollowsTLS(t *testing.T) {
	norace(t)
	mutual, oneWay := handshakes(t)
	text, kex := []capturetest.Chunk{client(request), server(response)}, string(capturetest.SSHKexInit())
	filter := tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	for version, talk := range mutual {
		last := talk[len(talk)-1]
		more := []capturetest.Chunk{client(sealed(90)), server(sealed(1200)), client(sealed(19)), server(sealed(19))}
		for name, c := range map[string]struct {
			talks                     [][]capturetest.Chunk
			verdict, protocol, reason string
		}{
			"nothing":                                {[][]capturetest.Chunk{talk, more}, "mtls", "tls", ""},
			"HTTP":                                   {[][]capturetest.Chunk{talk, more, text}, "plaintext", "http", "plaintext_after_tls"},
			"HTTP at once":                           {[][]capturetest.Chunk{talk, text}, "plaintext", "http", "plaintext_after_tls"},
			"text of the client, TLS of the server":  {[][]capturetest.Chunk{talk, {client(request), server(sealed(300)), client(request), server(sealed(300))}}, "plaintext", "http", "plaintext_after_tls"},
			"text of the server, TLS of the client":  {[][]capturetest.Chunk{talk, {client(sealed(300)), server(response), client(sealed(300))}}, "plaintext", "http", "plaintext_after_tls"},
			"text of no protocol":                    {[][]capturetest.Chunk{talk, {client("login: bob, and the password is hunter2\n")}}, "plaintext", "", "plaintext_after_tls"},
			"lines that are short":                   {[][]capturetest.Chunk{talk, {client("PWD\r\n"), server("257 \"/\"\r\n"), client("PASV\r\n"), server("227 yes\r\n")}}, "plaintext", "", "plaintext_after_tls"},
			"in the segment of a record":             {[][]capturetest.Chunk{talk, {client(sealed(80) + request), server(sealed(80) + response)}}, "plaintext", "http", "plaintext_after_tls"},
			"in the segment of the handshake's last": {[][]capturetest.Chunk{talk[:len(talk)-1], {{FromServer: last.FromServer, Read: last.Read, Data: slices.Concat(last.Data, []byte(request))}}}, "plaintext", "http", "plaintext_after_tls"},
			"Redis":                                  {[][]capturetest.Chunk{talk, more, {client("*1\r\n$4\r\nPING\r\n"), server("+PONG\r\n")}}, "plaintext", "redis", "plaintext_after_tls"},
			"MySQL":                                  {[][]capturetest.Chunk{talk, more, {client("\x1b\x00\x00\x00\x03SELECT salary FROM payroll"), server("\x01\x00\x00\x01\x02")}}, "plaintext", "mysql", "plaintext_after_tls"},
			"SSH":                                    {[][]capturetest.Chunk{talk, more, {client(capturetest.SSHBanner), server(capturetest.SSHBanner), client(kex), server(kex)}}, "encrypted", "ssh", "other_data_after_tls"},
			"what is unknown":                        {[][]capturetest.Chunk{talk, more, {client(unknownBytes(300)), server(unknownBytes(300))}}, "unknown", "", "other_data_after_tls"},
			"little that is unknown":                 {[][]capturetest.Chunk{talk, more, {client("\x00\x01\x02")}}, "unknown", "", "other_data_after_tls"},
			"alerts, empty records, then records":    {[][]capturetest.Chunk{talk, {client("\x15\x03\x03\x00\x13" + sealed(19)[5:]), client("\x17\x03\x03\x00\x00"), client(sealed(500))}}, "mtls", "tls", ""},
			"renegotiation":                          {[][]capturetest.Chunk{talk, {client("\x16\x03\x03\x01\x2c" + sealed(300)[5:]), server("\x16\x03\x03\x01\x2c" + sealed(300)[5:])}}, "mtls", "tls", ""},
			"text in records":                        {[][]capturetest.Chunk{talk, more, {client(sealedText(request)), server(sealedText(response))}}, "plaintext", "tls", "text_in_records"},
			"German text in records":                 {[][]capturetest.Chunk{talk, more, {client(sealedText(german)), server(sealedText(german))}}, "plaintext", "tls", "text_in_records"},
			"Russian text in records":                {[][]capturetest.Chunk{talk, more, {client(sealedText(russian)), server(sealedText(russian))}}, "plaintext", "tls", "text_in_records"},
			"Chinese text in records":                {[][]capturetest.Chunk{talk, more, {client(sealedText(chinese)), server(sealedText(chinese))}}, "plaintext", "tls", "text_in_records"},
			"text in records at once":                {[][]capturetest.Chunk{talk, {client(sealedText(request))}}, "plaintext", "tls", "text_in_records"},
			"another handshake":                      {[][]capturetest.Chunk{talk, oneWay[version]}, "tls", "tls", "second_handshake"},
			"another handshake, in between text":     {[][]capturetest.Chunk{talk, more, {client("STARTTLS\r\n"), server("220 Go\r\n")}, oneWay[version]}, "tls", "tls", "second_handshake"},
			"another mutual handshake":               {[][]capturetest.Chunk{talk, more, talk, more}, "mtls", "tls", "second_handshake"},
			"three handshakes":                       {[][]capturetest.Chunk{talk, talk, oneWay[version]}, "tls", "tls", "second_handshake"},
			"a mutual handshake after another":       {[][]capturetest.Chunk{oneWay[version], talk}, "tls", "tls", "second_handshake"},
			"two handshakes, then text":              {[][]capturetest.Chunk{talk, more, talk, more, text}, "plaintext", "http", "plaintext_after_tls"},
			"STARTTLS, then text": {[][]capturetest.Chunk{{server("220 files FTP server ready\r\n"), client("AUTH TLS\r\n"), server("234 AUTH TLS successful\r\n")}, talk, more,
				{client("PWD\r\n"), server("257 \"/\" is the current directory\r\n"), client("RETR payroll.csv\r\n"), server("150 Opening\r\n")}}, "plaintext", "ftp", "plaintext_after_tls"},
		} {
			all := joined(c.talks...)
			for _, mss := range []int{1448, 1, 3, 7, 33000} {
				packets := packetsOf(all, capturetest.Options{MSS: mss})
				for _, program := range []pcapfilter.Program{nil, filter} {
					got := records(t, packets, program)
					checkFollowed(t, fmt.Sprintf("%s, %s, pieces of %d", version, name, mss), got, c.verdict, c.protocol, c.reason)
				}
			}
		}
	}
}

func checkFollowed(t *testing.T, what string, records []string, verdict, protocol, reason string) {
	t.Helper()
	if len(records) != 1 {
		t.Errorf("%s: %d records", what, len(records))
		return
	}
	x := tell(t, records)[0]
	network, _ := x.whole["network"].(map[string]any)
	said, _ := network["protocol"].(string)
	if x.MeshTLS.Verdict != verdict || said != protocol || reason != "" && !slices.Contains(x.MeshTLS.Reasons, reason) || reason == "" && strings.Contains(records[0], "after_tls") {
		t.Errorf("%s: %s %s %v, want %s %s", what, x.MeshTLS.Verdict, said, x.MeshTLS.Reasons, verdict, protocol)
	}
}

// TestLostRecordsAreNoEnd: if any packet of a TLS connection is lost, no end of its TLS is inferred, and
// text that follows is still found.
func TestLostRecordsAreNoEnd(t *testing.T) {
	norace(t)
	mutual, _ := handshakes(t)
	for version, talk := range mutual {
		var records23 []capturetest.Chunk
		for i := range 20 {
			records23 = append(records23, client(sealed(200+i)), server(sealed(3000+i)))
		}
		text := []capturetest.Chunk{}
		for range 6 {
			text = append(text, client(request), server(response))
		}
		quiet, ending := packetsOf(joined(talk, records23), capturetest.Options{}), packetsOf(joined(talk, records23, text), capturetest.Options{})
		for _, n := range []int{1, 2, 5} {
			for i := 12; i < len(quiet)-n; i++ {
				for what, packets := range map[string][]flow.Packet{"quiet": quiet, "ending": ending} {
					packets = slices.Delete(slices.Clone(packets), i, i+n)
					got := records(t, packets, nil)
					x := tell(t, got)[0]
					want := map[string][]string{"quiet": {"mtls", "tls"}, "ending": {"plaintext"}}[what]
					if !slices.Contains(want, x.MeshTLS.Verdict) {
						t.Errorf("%s, %s, without %d packets from %d on: %s %v", version, what, n, i, x.MeshTLS.Verdict, x.MeshTLS.Reasons)
					}
				}
			}
		}
	}
}

// TestTurnedIsFound: a connection that was reported as mutual TLS and continues in plaintext opens a
// finding of mtls-downgrade, and no other, while it lives.
func TestTurnedIsFound(t *testing.T) {
	mutual, _ := handshakes(t)
	for version, talk := range mutual {
		packets := packetsOf(joined(talk, []capturetest.Chunk{client(request), server(response), client(request)}), capturetest.Options{NoFIN: true})
		var open []string
		p := pipeline.New(pipeline.Config{Judge: verdict.Config{Local: []netip.Prefix{netip.MustParsePrefix("10.2.0.1/32")}}, Engine: finding.Config{
			Tap: "read", Window: time.Hour, Findings: true, Emit: func(r finding.Record) {
				schematest.Check(t, r.Value)
				open = append(open, string(r.Value))
			},
		}})
		for i := range packets {
			p.Add(packets[i])
		}
		all := strings.Join(open, "\n")
		if len(open) != 1 || !strings.Contains(all, `"id":"mtls-downgrade"`) || !strings.Contains(all, `"verdict":"plaintext"`) {
			t.Errorf("%s: findings, want one of mtls-downgrade:\n%s", version, all)
		}
		p.Flush()
		p.Do(func(l *pipeline.Locked) { l.Engine.Tick(packets[len(packets)-1].Time + int64(time.Hour)) })
		if strings.Contains(strings.Join(open, "\n"), `"count":0`) {
			t.Errorf("%s: a finding was retracted\n%s", version, strings.Join(open, "\n"))
		}
	}
}

// TestPortsAfterTLS: a connection that reuses the ports of an earlier connection, which has not ended, inherits
// nothing from the earlier one.
func TestPortsAfterTLS(t *testing.T) {
	mutual, _ := handshakes(t)
	r := mathrand.New(mathrand.NewPCG(1, 9))
	for version, talk := range mutual {
		for i := range 40 {
			o := capturetest.Options{ClientISN: r.Uint32() | 1, ServISN: r.Uint32() | 1, NoFIN: true}
			packets := packetsOf(joined(talk), o)
			o.Start = time.Unix(0, packets[len(packets)-1].Time).Add(100 * time.Millisecond)
			o.ClientISN, o.ServISN = r.Uint32()|1, r.Uint32()|1
			packets = append(packets, packetsOf(joined([]capturetest.Chunk{client(request), server(response)}), o)...)
			got := records(t, packets, nil)
			all := tell(t, got)
			if len(all) != 2 || all[0].MeshTLS.Verdict != "mtls" || all[1].MeshTLS.Verdict != "plaintext" {
				t.Errorf("%s, %d: %s", version, i, strings.Join(got, "\n"))
			}
		}
	}
}
