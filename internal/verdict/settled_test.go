package verdict_test

import (
	"crypto/tls"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestSettledAgreesWithJudge checks that Settled and Judge agree at every step, for TLS 1.2 and 1.3, HTTP, and
// connections that are closed in the middle.
func TestSettledAgreesWithJudge(t *testing.T) {
	talks := map[string]*capturetest.Conversation{}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, auth := range []capturetest.ClientAuth{capturetest.NotRequested, capturetest.Presented, capturetest.Declined, capturetest.Required} {
			all, _ := capturetest.TLSTalk(version, auth, 2) // TLSTalk returns an error for a refused handshake
			for i, talk := range all {
				talks[fmt.Sprintf("%s, %d, %d", tls.VersionName(version), auth, i)] = talk
			}
		}
	}
	var err error
	if talks["http"], err = capturetest.HTTPTalk(); err != nil {
		t.Fatal(err)
	}
	for name, talk := range talks {
		for _, size := range []int{1448, 7} {
			for _, closed := range []int{-1, 2, 3} {
				settled := agrees(t, fmt.Sprintf("%s, pieces of %d, closed at %d", name, size, closed), talk.Chunks, size, closed)
				open := strings.HasPrefix(name, "TLS 1.3, 3,") // the server refused the client after a request, or sent a response of two bytes
				if !settled && closed < 0 && !open {
					t.Errorf("%s, pieces of %d: never settled", name, size)
				}
			}
		}
	}
}

// agrees plays chunks in pieces of a size; a side closes before the chunk with index closed. It reports whether the
// verdict was settled.
func agrees(t *testing.T, name string, chunks []capturetest.Chunk, size, closed int) bool {
	t.Helper()
	j, c, s := verdict.New(verdict.Config{}), conn(1, "10.0.0.1"), dissect.New()
	steps, settled := 0, 0
	compare := func() {
		steps++
		got := j.Settled(c, s)
		want := j.Judge(c, s, "eth0", false)
		if got != want.Settled {
			t.Errorf("%s, step %d: Settled %v, Judge %v, %s %v", name, steps, got, want.Settled, want.Verdict, want.Reasons)
		}
		if got {
			settled++
		}
		if got && size == 7 && s.Complete() {
			s.Finish()
			conclusionAgrees(t, name, j, c, s)
		}
	}
	compare()
	var at [2]int64
	for i, x := range chunks {
		side := dissect.Originator
		if x.FromServer {
			side = dissect.Responder
		}
		if i == closed {
			s.Closed(side, i%2 == 0)
			compare()
		}
		for data := x.Data; len(data) > 0; {
			n := min(len(data), size)
			s.Data(side, at[side], data[:n], int64(x.Read), 0)
			at[side] += int64(n)
			data = data[n:]
			compare()
		}
	}
	for _, side := range []dissect.Side{dissect.Responder, dissect.Originator} {
		s.Closed(side, false)
		compare()
	}
	return settled > 0
}

// conclusionAgrees checks that a conclusion is judged the same as the session that it replaces, even if bytes of the
// connection are lost afterwards.
func conclusionAgrees(t *testing.T, name string, j *verdict.Judge, c *flow.Conn, s *dissect.Session) {
	t.Helper()
	conclusion := j.Conclude(c, s)
	if conclusion == nil {
		t.Errorf("%s: a finished session has no conclusion", name)
		return
	}
	for _, missed := range []uint64{0, 100} {
		c := *c
		c.Orig.Missed += missed
		s := *s
		s.Data(dissect.Originator, 1<<20, nil, -1, int64(missed))
		for _, ended := range []bool{false, true} {
			got, want := j.JudgeConclusion(&c, conclusion, "eth0", ended), j.Judge(&c, &s, "eth0", ended)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v %+v, want %+v %+v", name, got, got.TLS, want, want.TLS)
			}
		}
	}
	if again := j.Conclude(c, s); !reflect.DeepEqual(again, conclusion) {
		t.Errorf("%s: the conclusion is %+v, then %+v", name, conclusion, again)
	}
}
