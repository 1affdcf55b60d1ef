package pipeline_test

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// outcome has what the records of a capture say about the rules.
type outcome struct {
	findings []string          // "RULE STATE SEVERITY" in order
	messages map[string]string // the latest message of each rule
	blind    []string          // rules_blind of the latest posture
	kinds    []string          // "RULE KIND SEVERITY" of the findings that open
	records  [][]byte
}

// judge runs frames through a pipeline of the pod with the address 10.1.0.7, which expects mutual TLS of every peer.
func judge(t *testing.T, frames []capturetest.Frame) outcome {
	t.Helper()
	expect, err := finding.ParseExpect("0.0.0.0/0=mtls")
	if err != nil {
		t.Fatal(err)
	}
	return judgeWith(t, finding.Config{Expect: expect}, frames)
}

func judgeWith(t *testing.T, cfg finding.Config, frames []capturetest.Frame, muted ...string) outcome {
	t.Helper()
	out := outcome{messages: map[string]string{}}
	cfg.Tap, cfg.Window, cfg.Findings, cfg.Posture = "read", time.Hour, true, true
	cfg.Identity.IPs = []netip.Addr{netip.MustParseAddr("10.1.0.7")}
	cfg.Emit = func(r finding.Record) {
		schematest.Check(t, r.Value)
		var x struct {
			Message string
			Event   struct {
				Severity int
				Kind     string
			}
			Rule    struct{ ID string }
			Meshtls struct {
				Finding  struct{ State string }
				Coverage struct {
					RulesBlind []string `json:"rules_blind"`
				}
			}
		}
		if err := json.Unmarshal(r.Value, &x); err != nil {
			t.Fatal(err)
		}
		out.records = append(out.records, r.Value)
		switch r.Dataset {
		case finding.DatasetFinding:
			out.findings = append(out.findings, fmt.Sprintf("%s %s %d", x.Rule.ID, x.Meshtls.Finding.State, x.Event.Severity))
			out.messages[x.Rule.ID] = x.Message
			if x.Meshtls.Finding.State == "open" {
				out.kinds = append(out.kinds, fmt.Sprintf("%s %s %d", x.Rule.ID, x.Event.Kind, x.Event.Severity))
			}
		case finding.DatasetPosture:
			out.blind = x.Meshtls.Coverage.RulesBlind
		}
	}
	p := pipeline.New(pipeline.Config{Engine: cfg, Judge: verdict.Config{Local: []netip.Prefix{netip.MustParsePrefix("10.1.0.7/32")}}})
	p.Do(func(l *pipeline.Locked) { l.Engine.Mute(mutes(t, strings.Join(muted, ","))) })
	play(p, frames...)
	p.Flush()
	p.Do(func(l *pipeline.Locked) { l.Engine.Flush(l.Latest()) })
	return out
}

// mutes parses a list of mutes.
func mutes(t *testing.T, list string) []finding.Mute {
	t.Helper()
	m, err := finding.ParseMutes(list)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// rule returns the findings of one rule.
func (o *outcome) rule(id string) (out []string) {
	for _, f := range o.findings {
		if strings.HasPrefix(f, id+" ") {
			out = append(out, f)
		}
	}
	return out
}

// fires fails the test unless the rule raised one finding with the severity, and with the words in its message.
func (o *outcome) fires(t *testing.T, id string, severity int, words string) {
	t.Helper()
	if got, want := o.rule(id), fmt.Sprintf("%s open %d", id, severity); len(got) == 0 || got[0] != want || !strings.Contains(o.messages[id], words) {
		t.Errorf("findings %q, message %q; want %q with %q", o.findings, o.messages[id], want, words)
	}
	if slices.Contains(o.blind, id) {
		t.Errorf("rules_blind %q names a rule that fired", o.blind)
	}
}

// silent fails the test unless the rule raised no finding and rules_blind names it exactly if blind is set.
func (o *outcome) silent(t *testing.T, id string, blind bool) {
	t.Helper()
	if got := o.rule(id); got != nil {
		t.Errorf("findings %q, message %q; want none", got, o.messages[id])
	}
	if slices.Contains(o.blind, id) != blind {
		t.Errorf("rules_blind %q, want the rule in it: %v", o.blind, blind)
	}
}

// frames returns a conversation as the packets of the pod's connection to a peer.
func frames(talk *capturetest.Conversation) []capturetest.Frame {
	return talk.Packets(capturetest.Options{
		Client: netip.MustParseAddrPort("10.1.0.7:40000"), Server: netip.MustParseAddrPort("10.1.0.20:443"), Start: captureStart,
	})
}

// withoutFirst returns frames without the first one that the server or the client sent with payload.
func withoutFirst(t *testing.T, fromServer bool, in []capturetest.Frame) []capturetest.Frame {
	t.Helper()
	const ethernet, ip = 14, 20
	client := [4]byte(in[0].Data[ethernet+12:]) // the first frame is the client's SYN
	at := slices.IndexFunc(in, func(f capturetest.Frame) bool {
		tcp := int(f.Data[ethernet+ip+12]>>4) * 4
		payload := int(binary.BigEndian.Uint16(f.Data[ethernet+2:])) - ip - tcp
		return payload > 0 && ([4]byte(f.Data[ethernet+12:]) == client) != fromServer
	})
	if at < 0 {
		t.Fatalf("no payload, from the server: %v", fromServer)
	}
	return slices.Delete(slices.Clone(in), at, at+1)
}

// talkTLS records an HTTP request over TLS of one version, with a client certificate.
func talkTLS(t *testing.T, version uint16) []capturetest.Frame {
	t.Helper()
	talks, err := capturetest.TLSTalk(version, capturetest.Presented, 1)
	if err != nil {
		t.Fatal(err)
	}
	return frames(talks[0])
}

func TestTLSVersionWeak(t *testing.T) {
	const id = "tls-version-weak"
	for version, words := range map[uint16]string{tls.VersionTLS10: "spoke TLS 1.0 to", tls.VersionTLS11: "spoke TLS 1.1 to"} {
		got := judge(t, talkTLS(t, version))
		got.fires(t, id, 47, words)
	}

	// The client offers TLS 1.0, the server chooses TLS 1.2.
	near := judge(t, agree(t, &tls.Config{MinVersion: tls.VersionTLS10}, &tls.Config{MaxVersion: tls.VersionTLS12})) //nolint:gosec // the offer is what is tested
	near.silent(t, id, false)

	lost := judge(t, withoutFirst(t, true, talkTLS(t, tls.VersionTLS10)))
	lost.silent(t, id, true)
}

// agree records an HTTP request over TLS between two configurations; the server has a certificate.
func agree(t *testing.T, client, server *tls.Config) []capturetest.Frame {
	t.Helper()
	if server.Certificates == nil {
		server.Certificates = []tls.Certificate{workload(t)}
	}
	client.InsecureSkipVerify = true
	talk, err := capturetest.Record(capturetest.HTTPClient(client, 10), capturetest.HTTPServer(server, 10))
	if err != nil {
		t.Fatal(err)
	}
	return frames(talk)
}

func TestCipherWeak(t *testing.T) {
	const id = "cipher-weak"
	with := func(offer, accept []uint16) []capturetest.Frame {
		return agree(t, &tls.Config{CipherSuites: offer, MaxVersion: tls.VersionTLS12}, &tls.Config{CipherSuites: accept, MaxVersion: tls.VersionTLS12})
	}
	const good = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	rc4 := []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}
	got := judge(t, with(rc4, rc4))
	got.fires(t, id, 47, "spoke TLS 1.2 with TLS_ECDHE_ECDSA_WITH_RC4_128_SHA to spiffe://cluster.local/ns/shop/sa/cart (10.1.0.20) port 443, a suite whose keystream is biased")

	near := judge(t, with([]uint16{rc4[0], good}, []uint16{good})) // the weak suite is only offered
	near.silent(t, id, false)

	lost := judge(t, withoutFirst(t, true, with(rc4, rc4)))
	lost.silent(t, id, true)
}

// withoutLast returns frames without the last one that the server or the client sent with payload.
func withoutLast(t *testing.T, fromServer bool, in []capturetest.Frame) []capturetest.Frame {
	t.Helper()
	rest := slices.Clone(in[1:])
	slices.Reverse(rest)
	rest = withoutFirst(t, fromServer, append(in[:1:1], rest...))[1:]
	slices.Reverse(rest)
	return append(in[:1:1], rest...)
}

func TestHandshakeFailed(t *testing.T) {
	const id = "handshake-failed"
	distrusting := func(version uint16) []capturetest.Frame {
		other, err := capturetest.NewAuthority()
		if err != nil {
			t.Fatal(err)
		}
		cert := workload(t)
		talk, err := capturetest.Record(
			capturetest.HTTPClient(&tls.Config{RootCAs: other.Pool, ServerName: "cart", MaxVersion: version}, 10),
			capturetest.HTTPServer(&tls.Config{Certificates: []tls.Certificate{cert}}, 10))
		if err == nil {
			t.Fatal("the client accepted a certificate of another authority")
		}
		return frames(talk)
	}
	got := judge(t, distrusting(tls.VersionTLS12))
	got.fires(t, id, 47, "made a failed TLS handshake to")
	if !strings.Contains(got.messages[id], "with the alert bad_certificate: usually a certificate") {
		t.Errorf("message %q", got.messages[id])
	}
	encrypted := judge(t, distrusting(tls.VersionTLS13))
	encrypted.fires(t, id, 47, "which ended with an encrypted record of the size of an alert")

	talks, err := capturetest.TLSTalk(tls.VersionTLS12, capturetest.Presented, 1)
	if err != nil {
		t.Fatal(err)
	}
	near := judge(t, frames(talks[0])) // close_notify is an alert too
	near.silent(t, id, false)

	lost := judge(t, withoutLast(t, false, distrusting(tls.VersionTLS12)))
	lost.silent(t, id, true)
}
