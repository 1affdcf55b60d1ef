package verdict_test

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

const (
	tdsAsks    = "\x12\x01\x00\x3a\x00\x00\x00\x00\x00\x00\x1a\x00\x06\x01\x00\x20\x00\x01\x02\x00\x21\x00\x0c\x03\x00\x2d\x00\x04\x04\x00\x31\x00\x01\xff\x09\x00\x00\x00\x00\x00\x00MSSQLServer\x00LV\x00\x00\x00"
	tdsAnswers = "\x04\x01\x00\x2b\x00\x00\x01\x00\x00\x00\x1a\x00\x06\x01\x00\x20\x00\x01\x02\x00\x21\x00\x01\x03\x00\x22\x00\x00\x04\x00\x22\x00\x01\xff\x0f\x00\x07\xd0\x00\x00\x00\x00\x00"
	tdsLogged  = "\x04\x01\x00\x40\x00\x00\x01\x00\xad\x36\x00\x01\x74\x00\x00\x04\x16M\x00i\x00c\x00r\x00o\x00s\x00o\x00f\x00t\x00 \x00S\x00Q\x00L\x00 \x00S\x00e\x00r\x00v\x00e\x00r\x00\x00\x00"
	tdsBatch   = "\x01\x01\x00\x3c\x00\x00\x01\x00\x16\x00\x00\x00\x12\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00s\x00e\x00l\x00e\x00c\x00t\x00 \x00*\x00 \x00f\x00r\x00o\x00m\x00 \x00t\x00"
)

// tdsTalk returns a conversation of SQL Server: a PRELOGIN, a TLS 1.2 handshake inside TDS packets, bare TLS records,
// and, if TLS protects only the login, the plaintext that follows.
func tdsTalk(t *testing.T, auth capturetest.ClientAuth, loginOnly bool) []capturetest.Chunk {
	t.Helper()
	chunks := []capturetest.Chunk{{Data: []byte(tdsAsks)}, {FromServer: true, Data: []byte(tdsAnswers)}}
	for _, c := range talk(t, tls.VersionTLS12, auth).Chunks {
		at := 0
		for at < len(c.Data) && c.Data[at] != 23 {
			at += 5 + int(c.Data[at+3])<<8 + int(c.Data[at+4])
		}
		if at > 0 {
			size := at + 8
			packet := slices.Concat([]byte{0x12, 1, byte(size >> 8), byte(size), 0, 0, 0, 0}, c.Data[:at])
			chunks = append(chunks, capturetest.Chunk{FromServer: c.FromServer, Data: packet})
		}
		if at == len(c.Data) || loginOnly && c.FromServer {
			continue
		}
		chunks = append(chunks, capturetest.Chunk{FromServer: c.FromServer, Data: c.Data[at:]})
		if loginOnly {
			break
		}
	}
	if loginOnly {
		chunks = append(chunks, capturetest.Chunk{FromServer: true, Data: []byte(tdsLogged)}, capturetest.Chunk{Data: []byte(tdsBatch)})
	}
	var sent [2]int
	for i := range chunks {
		c := &chunks[i]
		side := 0
		if c.FromServer {
			side = 1
		}
		c.Read = sent[1-side]
		sent[side] += len(c.Data)
	}
	return chunks
}

// TestTDS checks TLS in TDS packets. A connection with such TLS is judged by its handshake, unless the TLS protects
// only the login.
func TestTDS(t *testing.T) {
	for _, auth := range []capturetest.ClientAuth{capturetest.NotRequested, capturetest.Presented} {
		for _, finish := range []bool{true, false} {
			got, _ := watched(tdsTalk(t, auth, false), finish)
			want := verdict.TLS
			if auth == capturetest.Presented {
				want = verdict.MTLS
			}
			if got.Verdict != want || got.TLS == nil || got.TLS.UpgradedFrom != "tds" || got.TLS.Version == "" {
				t.Errorf("auth %d, finish %v: %s %+v %v", auth, finish, got.Verdict, got.TLS, got.Reasons)
			}
			got, _ = watched(tdsTalk(t, auth, true), finish)
			if got.Verdict != verdict.Plaintext {
				t.Errorf("login only, auth %d, finish %v: %s %+v %v", auth, finish, got.Verdict, got.TLS, got.Reasons)
			}
		}
	}
}

// TestStructuredPlaintext checks that enough binary plaintext of an unknown protocol is plaintext, with its reason.
func TestStructuredPlaintext(t *testing.T) {
	var chunks []capturetest.Chunk
	for i := range 60 {
		chunks = append(chunks, capturetest.Chunk{Data: []byte{0, byte(i), 0, 0, 0, 6, 1, 3, 0, byte(i), 0, 10}},
			capturetest.Chunk{FromServer: true, Data: []byte{0, byte(i), 0, 0, 0, 11, 1, 3, 8, 0, 1, 0, 2, 0, 3, 1, byte(i)}})
	}
	for _, n := range []int{2, 20, len(chunks)} {
		got, _ := watched(chunks[:n], true)
		want := verdict.Plaintext
		if n == 2 {
			want = verdict.Unknown
		}
		if got.Verdict != want || want == verdict.Plaintext && !slices.Contains(got.Reasons, "structured_plaintext") || got.Protocol != "" {
			t.Errorf("%d messages: %s %q %v", n, got.Verdict, got.Protocol, got.Reasons)
		}
	}
}

// TestOwnEncryption checks that a protocol's own encryption is judged encrypted, with its reason.
func TestOwnEncryption(t *testing.T) {
	smb := "\x00\x00\x00\x64\xfdSMB0123456789abcdef0123456789a"
	got, _ := watched([]capturetest.Chunk{
		{Data: []byte("\x00\x00\x00\x45\xfeSMB\x40\x00")}, {FromServer: true, Data: []byte("\x00\x00\x00\xf8\xfeSMB\x40\x00")},
		{Data: []byte(smb)}, {FromServer: true, Data: []byte(smb)},
	}, true)
	if got.Verdict != verdict.Encrypted || got.Protocol != "smb" || !slices.Contains(got.Reasons, "own_encryption") {
		t.Errorf("%s %q %v", got.Verdict, got.Protocol, got.Reasons)
	}
}
