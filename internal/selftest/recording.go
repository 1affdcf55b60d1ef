package selftest

import (
	_ "embed" // for the recordings
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// The recordings have a line for each turn: "client" or "server", and the bytes that this end sends, in hexadecimal.
var (
	//go:embed recordings/mtls.txt
	recordedMTLS string
	//go:embed recordings/tls.txt
	recordedTLS string
)

// An exchange is a recorded connection of TLS 1.3, and its verdict.
type exchange struct {
	name  string
	turns []turn
	want  verdict.Verdict
}

// A turn consists of the bytes that one end sends before it waits for the other end.
type turn struct {
	fromServer bool
	bytes      []byte
}

// exchanges returns the recorded connections. In both, the server requests a certificate.
func exchanges() (out []exchange, err error) {
	for _, r := range []struct {
		name, text string
		want       verdict.Verdict
	}{
		{"a handshake with a client certificate", recordedMTLS, verdict.MTLS},
		{"a handshake without a client certificate", recordedTLS, verdict.TLS},
	} {
		turns, err := parseRecording(r.text)
		if err != nil {
			return nil, fmt.Errorf("the recording of %s: %w", r.name, err)
		}
		out = append(out, exchange{r.name, turns, r.want})
	}
	return out, nil
}

func parseRecording(text string) (out []turn, err error) {
	for line := range strings.Lines(text) {
		end, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		t := turn{fromServer: end == "server"}
		if t.bytes, err = hex.DecodeString(digits); err != nil {
			return nil, err
		}
		if !t.fromServer && end != "client" || len(t.bytes) == 0 {
			return nil, fmt.Errorf("%q: expected client or server, and bytes", line)
		}
		out = append(out, t)
	}
	return out, nil
}
