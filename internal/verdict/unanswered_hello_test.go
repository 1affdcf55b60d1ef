package verdict_test

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestHelloBehindOtherBytes checks that a ClientHello that the server does not answer with TLS does not change the
// verdict on the bytes before it.
func TestHelloBehindOtherBytes(t *testing.T) {
	hello := talk(t, tls.VersionTLS13, capturetest.NotRequested).Chunks[0]
	client := func(s string) capturetest.Chunk { return capturetest.Chunk{Data: []byte(s)} }
	server := func(s string) capturetest.Chunk { return capturetest.Chunk{FromServer: true, Data: []byte(s)} }
	greeting := []capturetest.Chunk{server("220 mx ESMTP\r\n"), client("EHLO a\r\n"), server("250-mx\r\n250 STARTTLS\r\n")}
	asks := []capturetest.Chunk{client("STARTTLS\r\n"), server("220 go ahead\r\n")}
	mail := []capturetest.Chunk{client("MAIL FROM:<a@b.c>\r\n"), server("250 ok\r\n"), client("DATA\r\n"), server("354 go\r\n"), client("Subject: x\r\n\r\ntext\r\n.\r\n"), server("250 queued\r\n")}
	alert := server("\x15\x03\x03\x00\x02\x02\x28")
	binary := client("\x92\xc3\xe4\x81\xbb\x9c\xf1\xaa\x93\xd0\xe7\x85\x99\xc7\xf3\xa1\x92\xc3\xe4\x81\xbb\x9c\xf1\xaa\x93\xd0\xe7\x85\x99\xc7\xf3\xa1\x92\xc3\xe4\x81")
	for name, c := range map[string]struct {
		before []capturetest.Chunk
		after  []capturetest.Chunk
		want   verdict.Verdict
		reason string
	}{
		"text":                         {[]capturetest.Chunk{client(strings.Repeat("a.b.c 1 1700000000\n", 100))}, nil, verdict.Plaintext, "text_like"},
		"text and an alert":            {[]capturetest.Chunk{client(strings.Repeat("a.b.c 1 1700000000\n", 100))}, []capturetest.Chunk{alert}, verdict.Plaintext, "alert_received"},
		"short text of both":           {[]capturetest.Chunk{client("user bob hunter2\n"), server("welcome bob\n")}, nil, verdict.Plaintext, "text_like"},
		"mail":                         {slices.Concat(greeting, mail), nil, verdict.Plaintext, "smtp_message"},
		"mail, STARTTLS and an alert":  {slices.Concat(greeting, mail, asks), []capturetest.Chunk{alert}, verdict.Plaintext, "smtp_message"},
		"login, STARTTLS and an alert": {slices.Concat(greeting, []capturetest.Chunk{client("AUTH PLAIN AGEAYg==\r\n"), server("235 ok\r\n")}, asks), []capturetest.Chunk{alert}, verdict.Plaintext, "smtp_message"},
		"STARTTLS and an alert":        {slices.Concat(greeting, asks), []capturetest.Chunk{alert}, verdict.Failed, "alert_received"},
		"STARTTLS without an answer":   {slices.Concat(greeting, asks), nil, verdict.Plaintext, "no_server_hello"},
		"binary":                       {[]capturetest.Chunk{binary}, nil, verdict.Unknown, "unrecognized_data"},
		"a preface":                    {[]capturetest.Chunk{client("\x02")}, nil, verdict.Failed, "closed_by_client"},
		"nothing":                      {nil, nil, verdict.Failed, "closed_by_client"},
	} {
		chunks := slices.Concat(c.before, []capturetest.Chunk{hello}, c.after)
		var sent [2]int
		for i := range chunks {
			side := 0
			if chunks[i].FromServer {
				side = 1
			}
			chunks[i].Read = sent[1-side]
			sent[side] += len(chunks[i].Data)
		}
		for _, finish := range []bool{true, false} {
			got, _ := watched(chunks, finish)
			if got.Verdict != c.want || !slices.Contains(got.Reasons, c.reason) {
				t.Errorf("%s, finish %v: %s %v", name, finish, got.Verdict, got.Reasons)
			}
		}
	}
}
