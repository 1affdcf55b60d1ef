package verdict_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestEarlyEnds checks TLS 1.3 connections that end soon after the client's flight. In nearly all of them the
// server's records after the flight are no larger than an alert, and often do not show whether the server accepted
// the client. If the server may have accepted the client, the verdict must not be failed. If the server may have
// refused the client, the verdict must not be mutual.
func TestEarlyEnds(t *testing.T) {
	const (
		refused = "failed rejected"
		aborted = "failed aborted"
		open    = "tls incomplete"
	)
	flights := map[string]string{verdict.AuthPresented: "C 517 97 53", verdict.AuthDeclined: "C 25 53"}
	for _, c := range []struct {
		name, packets     string
		tickets, cacheful string // tickets: the result for a client that gets no tickets; cacheful: for one that may get tickets
		either            bool   // the server may have refused the client, and a reason reports it
	}{
		{"alert and FIN at once", "S 19 | S fin", open, refused, true},
		{"alert and RST at once", "S 19 | S rst", open, open, true},
		{"alert and FIN, then the client's request", "S 19 | S fin | C 120 | S rst", open, refused, true},
		{"alert and FIN, then the client's close_notify", "S 19 | S fin | C 19 | C fin", open, refused, true},
		{"close_notify, and the wait for the client's", "S 19 | C 19 | S fin | C fin", open, open, true},
		{"close_notify, and the wait for the client's FIN", "S 19 | C fin | S fin", open, open, true},
		{"close_notify, answered by a request", "S 19 | C 120 | S rst", open, open, true},
		{"an answer of two bytes", "C 31 | S 19 | S fin | C fin", open, open, true},
		{"an answer of two bytes, and RST", "C 31 | S 19 | S rst", open, open, true},
		{"an answer of two bytes, and the client closes", "C 31 | S 19 | C 19 | C fin | S fin", open, open, true},
		{"an answer of two bytes to a request with the flight", "C+ 35 | S 19 | C fin | S fin", open, open, true},
		{"an answer of 18 bytes", "C 31 | S 35 | S fin", "established", "established", false},
		{"an answer of two bytes, and close_notify", "C 31 | S 19 | S 19 | S fin", open, open, false},
		{"a request and no answer", "C 31 | S fin", open, open, true},
		{"a request, left unread", "C 31 | S rst", open, open, true},
		{"nothing, and the server closes", "S fin | C fin", open, open, true},
		{"nothing, and the server resets", "S rst", open, open, true},
		{"nothing, and the server closes late", "S wait 3000 | S fin", open, open, false},
		{"nothing, and the client closes", "C fin | S fin", open, open, false},
		{"nothing, and the client resets", "C rst", open, open, false},
		{"close_notify first from the client", "C 19 | S 19 | S fin | C fin", open, open, false},
		{"half-close, and an answer of two bytes", "C 31 19 | C fin | S 19 | S fin", open, open, false},
		{"half-close, and a reset", "C 31 | C fin | S rst", open, open, false},
	} {
		for auth, flight := range flights {
			for _, cacheless := range []bool{true, false} {
				want := c.cacheful
				if cacheless {
					want = c.tickets
				}
				packets, ok := strings.CutPrefix(c.packets, "C+ ")
				if packets = flight + " | " + packets; ok {
					packets = flight + " " + c.packets[len("C+ "):]
				}
				if want == "established" {
					if want = "tls established"; auth == verdict.AuthPresented {
						want = "mtls established"
					}
				}
				got := newPlayer(t, hello{cacheless: cacheless}, hello{}).play(goAsks+packets).judge(verdict.New(verdict.Config{}), 1, true)
				if is := string(got.Verdict) + " " + got.TLS.Outcome; is != want || got.TLS.ClientAuth != auth {
					t.Errorf("%s, %s, cacheless %v: %s, want %s", c.name, auth, cacheless, said(got), want)
				}
				if got.Verdict != verdict.Failed && slices.Contains(got.Reasons, "refused_or_closed") != c.either {
					t.Errorf("%s, %s, cacheless %v: refused_or_closed: %s", c.name, auth, cacheless, said(got))
				}
			}
		}
	}
	// the server cannot have accepted the client before it had the whole flight
	for _, packets := range []string{"C 25 | S 19 | S fin", "C 25 | S 19 | C 53 | S fin", "C 25 | S fin"} {
		for _, cacheless := range []bool{true, false} {
			got := newPlayer(t, hello{cacheless: cacheless}, hello{}).play(goAsks+packets).judge(verdict.New(verdict.Config{}), 1, true)
			if is := string(got.Verdict) + " " + got.TLS.Outcome; is != refused && is != aborted || slices.Contains(got.Reasons, "refused_or_closed") {
				t.Errorf("%s, cacheless %v: %s", packets, cacheless, said(got))
			}
		}
	}
}
