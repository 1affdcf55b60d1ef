package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestThinnedConnectionThatEndsTLS: the TLS of a thinned connection ends, and plaintext follows. Plaintext of any
// length is seen at once at the start of a segment, and after records in the same segment. Text within records is seen
// after ThinRound at the latest, when the connection is captured whole.
func TestThinnedConnectionThatEndsTLS(t *testing.T) {
	norace(t)
	mutual, oneWay := handshakes(t)
	var busy []capturetest.Chunk
	for range 1500 {
		busy = append(busy, client(sealed(100)), server(sealed(900)))
	}
	many := func(n int, chunks ...capturetest.Chunk) (out []capturetest.Chunk) {
		for range n {
			out = append(out, chunks...)
		}
		return out
	}
	const atOnce = 2*blockWait + 10*time.Millisecond
	for name, c := range map[string]struct {
		then    []capturetest.Chunk
		verdict string
		reason  string
		within  time.Duration // bound on the time from the first packet with plaintext to the finding; 0: at the connection's end
	}{
		"HTTP":                        {many(2, client(request), server(response)), "plaintext", "plaintext_after_tls", atOnce},
		"lines that are short":        {many(20, client("PWD\r\n"), server("257 /\r\n")), "plaintext", "plaintext_after_tls", atOnce},
		"a byte at a time":            {typed(strings.Repeat("show me the payroll of all of you\n", 4)), "plaintext", "plaintext_after_tls", 2 * atOnce},
		"another handshake":           {joined(oneWay["TLS 1.3"]).Chunks, "tls", "second_handshake", 0},
		"another protocol":            {many(200, client(unknownBytes(1400)), server(unknownBytes(1400))), "unknown", "other_data_after_tls", 0},
		"text behind records":         {many(4000, client(sealed(60)+request), server(sealed(60)+response)), "plaintext", "plaintext_after_tls", atOnce},
		"a few bytes behind records":  {many(400, client(sealed(24)+"PIN=8472 ACC=4711\n"), server(sealed(24))), "plaintext", "plaintext_after_tls", 0},
		"bytes behind records":        {many(9000, client(sealed(60)+unknownBytes(700)), server(sealed(60)+unknownBytes(700))), "unknown", "other_data_after_tls", 0},
		"text in records":             {many(4000, client("\x17\x03\x03\x00\x60"+(request + request)[:96]), server(sealed(300))), "plaintext", "text_in_records", pipeline.ThinRound + time.Second},
		"nothing: TLS goes on":        {busy, "mtls", "", 0},
		"nothing: TLS goes on, large": {many(600, client(sealed(16000)), server(sealed(16000))), "mtls", "", 0},
	} {
		then := joined(mutual["TLS 1.3"], busy, c.then)
		packets := packetsOf(then, capturetest.Options{})
		began := len(packetsOf(joined(mutual["TLS 1.3"], busy), capturetest.Options{NoFIN: true}))
		k := &kernel{thinner: pipeline.Thinner{Most: pipeline.MaxThinned}, filter: tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})}
		var now, found int64
		var flows []string
		k.pipeline = pipeline.New(pipeline.Config{DefaultFilter: true, Engine: finding.Config{
			Tap: "read", Window: time.Hour, Findings: true, Flows: true, Emit: func(r finding.Record) {
				schematest.Check(t, r.Value)
				switch value := string(r.Value); {
				case strings.Contains(value, `"dataset":"meshtls.flow"`):
					flows = append(flows, value)
				case strings.Contains(value, `"id":"mtls-downgrade"`) && strings.Contains(value, `"verdict":"plaintext"`) && found == 0:
					found = now
				}
			},
		}})
		for i, p := range packets {
			now = p.Time
			if k.add(t, p); i == began && len(k.chosen()) != 1 {
				t.Fatalf("%s: not thinned when its TLS ends", name)
			}
		}
		k.read(t, now)
		k.pipeline.Flush()
		if len(flows) != 1 {
			t.Fatalf("%s: %d flow records", name, len(flows))
		}
		x := tell(t, flows)[0]
		if x.MeshTLS.Verdict != c.verdict || !strings.Contains(strings.Join(x.MeshTLS.Reasons, " "), c.reason) {
			t.Errorf("%s: %s %v, want %s", name, x.MeshTLS.Verdict, x.MeshTLS.Reasons, c.verdict)
		}
		late := time.Duration(found - packets[began].Time)
		if c.within > 0 && (found == 0 || late > c.within) {
			t.Errorf("%s: found after %v, want at most %v", name, late, c.within)
		}
	}
}

// typed sends text from the client, one byte at a time.
func typed(text string) (out []capturetest.Chunk) {
	for i := range text {
		out = append(out, client(text[i:i+1]))
	}
	return out
}
