package verdict_test

import (
	"crypto/tls"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// live plays a conversation as the tap sees it: segment by segment. It judges whenever the revision has changed, and
// finishes the session as soon as the verdict is settled.
func live(j *verdict.Judge, id uint64, chunks []capturetest.Chunk) verdict.Judged {
	c := conn(id, "10.0.0.1")
	s := dissect.New()
	var at [2]int64
	var revision uint32
	for _, x := range chunks {
		side := dissect.Originator
		if x.FromServer {
			side = dissect.Responder
		}
		for data := x.Data; len(data) > 0; {
			n := min(len(data), 1448)
			s.Data(side, at[side], data[:n], int64(x.Read), 0)
			at[side] += int64(n)
			data = data[n:]
			if s.Revision() == revision {
				continue
			}
			revision = s.Revision()
			if j.Judge(c, s, "eth0", false).Settled {
				s.Finish()
			}
		}
	}
	return j.Judge(c, s, "eth0", true)
}

func benchmarkHandshake(b *testing.B, version uint16, auth capturetest.ClientAuth) {
	talks, err := capturetest.TLSTalk(version, auth, 1)
	if err != nil {
		b.Fatal(err)
	}
	j := verdict.New(verdict.Config{})
	b.ReportAllocs()
	id := uint64(0)
	for b.Loop() {
		id++
		got := live(j, id, talks[0].Chunks)
		if auth == capturetest.Presented && got.Verdict != verdict.MTLS {
			b.Fatalf("%s %v", got.Verdict, got.Reasons)
		}
	}
}

func BenchmarkMutualTLS13(b *testing.B) {
	benchmarkHandshake(b, tls.VersionTLS13, capturetest.Presented)
}

func BenchmarkOneWayTLS13(b *testing.B) {
	benchmarkHandshake(b, tls.VersionTLS13, capturetest.NotRequested)
}

func BenchmarkMutualTLS12(b *testing.B) {
	benchmarkHandshake(b, tls.VersionTLS12, capturetest.Presented)
}
