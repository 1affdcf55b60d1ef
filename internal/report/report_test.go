package report_test

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs: run with -update and read the difference. Got:\n%s", file, got)
	}
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).UnixNano()

const second = int64(time.Second)

// conversation returns a connection from 10.1.1.2 to 10.2.2.2.
func conversation(id uint64, v verdict.Verdict, protocol string, port uint16, reasons ...string) *verdict.Judged {
	start := noon + int64(id)*second
	return &verdict.Judged{
		ID: id, Interface: "eth0", Start: start, Last: start + second, Ended: true, Settled: true, Transport: "tcp",
		Source:      verdict.Endpoint{Addr: netip.MustParseAddr("10.1.1.2"), Port: 40000, Bytes: 100, Packets: 6},
		Destination: verdict.Endpoint{Addr: netip.MustParseAddr("10.2.2.2"), Port: port, Bytes: 1000, Packets: 5},
		Scope:       verdict.ScopeWire, Class: "workload", Verdict: v, Protocol: protocol, Reasons: reasons,
	}
}

func http(id uint64) *verdict.Judged {
	j := conversation(id, verdict.Plaintext, "http", 8080, "http_request_line", "http_response_line")
	j.HTTP = &verdict.HTTPInfo{Version: "1.1", Method: "GET", Host: "httpbin.unencrypted", Status: 200}
	j.PeerName, j.PeerNameBasis = "httpbin.unencrypted", "host_header"
	return j
}

func secure(id uint64, v verdict.Verdict, auth, basis, outcome string, reasons ...string) *verdict.Judged {
	j := conversation(id, v, "tls", 443, reasons...)
	j.TLS = &verdict.TLSInfo{
		Version: "1.3", VersionProtocol: "tls", Cipher: "TLS_AES_128_GCM_SHA256", Established: outcome == verdict.OutcomeEstablished,
		ClientAuth: auth, ClientAuthBasis: basis, ClientAuthRequested: verdict.RequestedUnknown, Outcome: outcome,
	}
	return j
}

func mutual(id uint64) *verdict.Judged {
	j := secure(id, verdict.MTLS, verdict.AuthPresented, verdict.BasisInferred, verdict.OutcomeEstablished, "certificate_flight_coalesced", "application_data_seen")
	j.PeerName, j.PeerNameBasis = "httpbin.encrypted.svc.cluster.local", "sni"
	return j
}

func oneWay(id uint64) *verdict.Judged {
	return secure(id, verdict.TLS, verdict.AuthNotRequested, verdict.BasisInferred, verdict.OutcomeEstablished, "finished_only_flight", "application_data_seen")
}

// inside changes j into a connection on lo, and returns it.
func inside(j *verdict.Judged) *verdict.Judged {
	j.Scope, j.Direction, j.Interface = verdict.ScopePod, verdict.DirectionInternal, "lo"
	j.PeerName = ""
	j.Source.Addr, j.Destination.Addr = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.1")
	return j
}

func summarize(cfg finding.Config, conns ...*verdict.Judged) finding.Summary {
	cfg.Tap, cfg.Emit = "read", func(finding.Record) {}
	e := finding.New(cfg)
	for _, j := range conns {
		e.Add(j)
	}
	e.Flush(noon + 300*second)
	return e.Summary()
}

// everything returns a summary with every kind of content that a report can show.
func everything() finding.Summary {
	expect, _ := finding.ParseExpect("10.0.0.0/8=mtls")
	other := func(j *verdict.Judged, addr string) *verdict.Judged {
		j.Destination.Addr = netip.MustParseAddr(addr)
		return j
	}
	partly := http(7)
	partly.PeerName, partly.Destination.Port = "httpbin.encrypted.svc.cluster.local", 443
	refused := secure(8, verdict.Failed, verdict.AuthDeclined, verdict.BasisInferred, verdict.OutcomeRejected, "empty_certificate_flight", "alert_sized_record")
	refused.TLS.Alert = "certificate_required"
	late := secure(9, verdict.TLS, verdict.AuthUnknown, verdict.BasisNone, verdict.OutcomeIncomplete, "no_client_hello", "mid_stream_records", "missed_start")
	late.TLS.Version, late.TLS.Cipher, late.MissedStart = "", "", true
	holed := conversation(10, verdict.Unknown, "", 9000, "unrecognized_data", "missed_bytes")
	holed.MissedBytes = 7
	dns := conversation(11, verdict.Plaintext, "dns", 53, "dns_message")
	dns.Class, dns.Transport = "dns", "udp"
	silent := conversation(12, verdict.None, "", 81)
	mail := oneWay(13)
	mail.TLS.UpgradedFrom, mail.TLS.Version, mail.TLS.Cipher, mail.Destination.Port = "smtp", "1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 25
	mail.TLS.ClientAuthBasis, mail.Reasons = verdict.BasisObserved, []string{"certificate_not_requested", "tls12_finished", "starttls"}
	declined := secure(14, verdict.TLS, verdict.AuthDeclined, verdict.BasisInferred, verdict.OutcomeEstablished, "empty_certificate_flight", "application_data_seen")
	return summarize(finding.Config{
		Expect: expect, Unfold: true, Filter: "tcp port 443",
		Coverage: func() finding.Coverage {
			return finding.Coverage{
				Packets: 12345, Dropped: 6, Evicted: 1, CutShort: 2, Older: 3,
				Undecoded: map[string]uint64{"sctp": 4, "link_type_195": 20, "arp": 9, "icmp": 1},
			}
		},
	},
		http(1), http(2), mutual(3), mutual(4), other(oneWay(5), "fd00::9"), other(conversation(6, verdict.Encrypted, "ssh", 22, "ssh_banner"), "203.0.113.9"),
		partly, other(refused, "10.3.3.3"), other(late, "10.3.3.4"), other(holed, "10.3.3.5"), other(dns, "10.96.0.10"), silent, other(mail, "203.0.113.25"),
		other(declined, "10.3.3.6"), inside(http(15)), inside(mutual(16)))
}

func TestText(t *testing.T) {
	for name, c := range map[string]struct {
		summary finding.Summary
		options report.Options
	}{
		"two":        {summarize(finding.Config{Unfold: true}, http(1), mutual(2)), report.Options{}},
		"everything": {everything(), report.Options{}},
		"60":         {everything(), report.Options{Width: 60}},
		"80":         {everything(), report.Options{Width: 80}},
		"200":        {everything(), report.Options{Width: 200}},
		"color":      {summarize(finding.Config{Unfold: true}, http(1), mutual(2), oneWay(3)), report.Options{Color: true, Width: 120}},
		"loopback":   {summarize(finding.Config{Unfold: true}, inside(mutual(1)), inside(http(2))), report.Options{}},
		"folded":     {summarize(finding.Config{MaxEdges: 2}, mutual(1), http(2), oneWay(3), inside(mutual(4)), inside(http(5))), report.Options{}},
		"nothing":    {summarize(finding.Config{}), report.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := report.Text(&b, c.summary, c.options); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", b.Bytes())
		})
	}
}

func TestAnswer(t *testing.T) {
	partly := http(3)
	partly.PeerName, partly.Destination.Port = "httpbin.encrypted.svc.cluster.local", 443
	for want, conns := range map[string][]*verdict.Judged{
		"No edges: no connection with payload was seen.": nil,
		"No edges between workloads on the wire.":        {inside(http(1))},
		"1 edge: 1 mutual TLS":                           {mutual(1), mutual(2)},
		"2 edges: 1 mutual TLS, 1 plaintext":             {http(1), mutual(2)},
		"1 edge: 1 partly plaintext":                     {mutual(1), partly},
		"2 edges: 1 TLS, 1 unjudged":                     {oneWay(1), conversation(2, verdict.Unknown, "", 9, "too_little_data")},
		"1 edge: 1 failed":                               {secure(1, verdict.Failed, "unknown", "none", "aborted", "reset")},
		"1 edge: 1 encrypted":                            {conversation(1, verdict.Encrypted, "ssh", 22, "ssh_banner")},
	} {
		var b bytes.Buffer
		if err := report.Text(&b, summarize(finding.Config{Unfold: true}, conns...), report.Options{}); err != nil {
			t.Fatal(err)
		}
		if got, _, _ := strings.Cut(b.String(), "\n"); got != want {
			t.Errorf("summary %q, want %q", got, want)
		}
	}
}

// TestWidth: no line is wider than the terminal, down to 60 columns. A narrower width causes no panic.
func TestWidth(t *testing.T) {
	for _, width := range []int{1, 20, 60, 80, 100, 132, 200} {
		var b bytes.Buffer
		if err := report.Text(&b, everything(), report.Options{Width: width}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width >= 60 && n > width {
				t.Errorf("%d columns: a line is %d wide: %s", width, n, line)
			}
		}
	}
}

// TestHostile: names come from the wire. For any name, the report has no control characters and no line
// that the name has forged.
func TestHostile(t *testing.T) {
	evil := "a\x1b[2J\nb\r\u202e\u2066\x00\x7f\u0085\u2028\xff\\ 0 edges: all mutual TLS"
	s := finding.Summary{
		Filter: evil,
		Edges: []finding.Edge{{
			Key: evil, From: evil, To: evil, Scope: "wire", Class: "workload", Verdict: "plaintext",
			Seen: []finding.Seen{{Verdict: "plaintext", Connections: 1, Last: &verdict.Judged{
				Protocol: evil, Reasons: []string{evil, evil + "_message", evil + "_banner"}, HTTP: &verdict.HTTPInfo{Version: evil},
				TLS: &verdict.TLSInfo{Version: evil, Cipher: evil, Alert: evil, UpgradedFrom: evil, ClientAuth: evil, ClientAuthBasis: evil, Outcome: evil},
			}}, {Verdict: "failed", Connections: 1, Last: &verdict.Judged{TLS: &verdict.TLSInfo{Outcome: evil}}}},
		}},
		Findings: []finding.Finding{{Rule: evil, Message: evil, Edge: evil}},
	}
	for _, o := range []report.Options{{}, {Width: 80}} {
		var b bytes.Buffer
		if err := report.Text(&b, s, o); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && !unicode.IsPrint(r) || r == utf8.RuneError {
				t.Errorf("%U in the report", r)
			}
		}
		for line := range strings.Lines(b.String()) {
			if strings.HasPrefix(line, "b") || strings.HasPrefix(line, "0 edges") {
				t.Errorf("a forged line: %q", line)
			}
		}
	}
}

type closed struct{}

var errClosed = errors.New("closed")

func (closed) Write([]byte) (int, error) { return 0, errClosed }

func TestErrors(t *testing.T) {
	if err := report.Text(closed{}, everything(), report.Options{}); !errors.Is(err, errClosed) {
		t.Errorf("Text: %v", err)
	}
}

// TestReasonCodes: schema/README.md explains each reason code with the same words.
func TestReasonCodes(t *testing.T) {
	b, err := os.ReadFile("../../schema/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "## Reason codes")
	if !ok {
		t.Fatal("no reason codes in schema/README.md")
	}
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		code, meaning := strings.Trim(cells[1], " `"), strings.TrimSpace(cells[2])
		rows++
		var out bytes.Buffer
		if err := report.Text(&out, summarize(finding.Config{}, conversation(1, verdict.Unknown, "", 1, code)), report.Options{}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), ": "+meaning+"\n") {
			t.Errorf("%s: the report has other words than %q:\n%s", code, meaning, &out)
		}
	}
	if rows != report.Codes() {
		t.Errorf("%d codes in schema/README.md, %d known to the report", rows, report.Codes())
	}
}
