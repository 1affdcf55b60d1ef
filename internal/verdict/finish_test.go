package verdict_test

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// watched plays a conversation segment by segment, and judges whenever the revision has changed. If finish is set, it
// finishes the session as soon as the verdict is settled and no more bytes are needed. It returns the final
// judgement.
func watched(chunks []capturetest.Chunk, finish bool) (verdict.Judged, *dissect.Session) {
	return watchedBy(verdict.New(verdict.Config{}), chunks, finish)
}

func watchedBy(j *verdict.Judge, chunks []capturetest.Chunk, finish bool) (verdict.Judged, *dissect.Session) {
	c, s := conn(1, "10.0.0.1"), dissect.New()
	var at [2]int64
	var revision uint32
	for _, x := range chunks {
		side := dissect.Originator
		if x.FromServer {
			side = dissect.Responder
		}
		s.Data(side, at[side], x.Data, int64(x.Read), 0)
		at[side] += int64(len(x.Data))
		if s.Revision() == revision {
			continue
		}
		revision = s.Revision()
		if j.Judge(c, s, "eth0", false).Settled && s.Complete() && finish {
			s.Finish()
		}
	}
	s.Closed(dissect.Originator, false)
	s.Closed(dissect.Responder, false)
	return j.Judge(c, s, "eth0", true), s
}

// TestFinishedIsJudgedTheSame checks that finishing a settled session changes nothing in the final judgement.
func TestFinishedIsJudgedTheSame(t *testing.T) {
	cases := map[string][]capturetest.Chunk{}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS13} {
		for name, auth := range map[string]capturetest.ClientAuth{"one-way": capturetest.NotRequested, "declined": capturetest.Declined, "mutual": capturetest.Presented, "refused": capturetest.Required} {
			cases[tls.VersionName(version)+" "+name] = talk(t, version, auth).Chunks
		}
	}
	http, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	cases["http"] = http.Chunks
	cases["text"] = []capturetest.Chunk{{Data: []byte("hello there, this is a protocol without a name\n")}, {FromServer: true, Data: []byte("and this is its answer, which nobody reads\n")}, {Data: []byte(strings.Repeat("and so it goes on\n", 120))}}
	ssh := append([]byte(capturetest.SSHBanner), capturetest.SSHKexInit()...)
	cases["ssh"] = []capturetest.Chunk{{Data: ssh}, {FromServer: true, Data: ssh}, {Data: bytes.Repeat([]byte{0x9a}, 128<<10)}} // the session reads this far
	for name, chunks := range cases {
		whole, _ := watched(chunks, false)
		got, s := watched(chunks, true)
		if !reflect.DeepEqual(got, whole) {
			t.Errorf("%s: finished:\n%+v\n%+v\nnot finished:\n%+v\n%+v", name, got, got.TLS, whole, whole.TLS)
		}
		// an alert of one end is final only after both ends have ended
		if !s.Finished() && !strings.HasSuffix(name, "refused") {
			t.Errorf("%s: never settled: %s %v", name, got.Verdict, got.Reasons)
		}
	}
}

// TestFinishedEarly checks a session that is finished before its verdict has settled. It is judged by the bytes that
// came before the finish.
func TestFinishedEarly(t *testing.T) {
	chunks := talk(t, tls.VersionTLS13, capturetest.Presented).Chunks
	s := dissect.New()
	feed(s, chunks[:2])
	s.Finish()
	feed(s, chunks[2:])
	got := verdict.New(verdict.Config{}).Judge(conn(1, "10.0.0.1"), s, "eth0", true)
	if got.Verdict != verdict.TLS || got.TLS == nil || got.TLS.ServerName == "" || got.TLS.ClientAuth != verdict.AuthUnknown {
		t.Errorf("%s %v %+v", got.Verdict, got.Reasons, got.TLS)
	}
}

// TestSettledSessionIsSmall bounds the memory of a settled session.
func TestSettledSessionIsSmall(t *testing.T) {
	const n = 500
	for _, c := range []struct {
		name    string
		version uint16
		auth    capturetest.ClientAuth
		most    int
	}{
		{"1.3 mutual", tls.VersionTLS13, capturetest.Presented, 1100},
		{"1.3 one-way", tls.VersionTLS13, capturetest.NotRequested, 1100},
		{"1.2 mutual, with two certificates", tls.VersionTLS12, capturetest.Presented, 5 << 9},
	} {
		chunks := talk(t, c.version, c.auth).Chunks
		all := [n]*dissect.Session{}
		j := verdict.New(verdict.Config{})
		watchedBy(j, chunks, true) // first, the memory that a judge allocates once
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range all {
			_, all[i] = watchedBy(j, chunks, true)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held := int(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / n
		t.Logf("%s: %d bytes", c.name, held)
		if held > c.most {
			t.Errorf("%s: a settled session holds %d bytes, more than %d", c.name, held, c.most)
		}
		runtime.KeepAlive(all)
		runtime.KeepAlive(j)
	}
}

// TestSettledSessionDoesNotAllocate checks that application data of a settled session allocates nothing.
func TestSettledSessionDoesNotAllocate(t *testing.T) {
	for _, finish := range []bool{false, true} {
		_, s := watched(talk(t, tls.VersionTLS13, capturetest.Presented).Chunks, finish)
		seen, _ := s.Seen(dissect.Responder)
		data := append([]byte{23, 3, 3, 0x05, 0xa3}, make([]byte, 1443)...)
		for range 64 {
			s.Data(dissect.Responder, seen, data, -1, 0)
		}
		before := s.Revision()
		if n := testing.AllocsPerRun(100, func() { s.Data(dissect.Responder, seen, data, -1, 0) }); n != 0 {
			t.Errorf("finished %v: %v allocations for a segment", finish, n)
		}
		if s.Revision() != before {
			t.Errorf("finished %v: application data changes the revision", finish)
		}
	}
}
