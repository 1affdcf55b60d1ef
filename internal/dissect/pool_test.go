package dissect

import (
	"crypto/sha256"
	"crypto/tls"
	"reflect"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// TestPoolChangesNothing checks that a Pool that has parsed the certificates before gives the same result as a new one. The result must
// not depend on the pieces in which the certificates come, either.
func TestPoolChangesNothing(t *testing.T) {
	s := streamsOf(t, tls.VersionTLS12, capturetest.Presented)
	chains := func(session *Session, size int) [2]*tlsmsg.Chain {
		defer session.Finish() // the next session reuses its parsers
		for side := range s {
			for at := 0; at < len(s[side]); at += size {
				session.Data(Side(side), int64(at), s[side][at:min(at+size, len(s[side]))], -1, 0)
			}
		}
		session.SetConclusion(true)
		return session.TLS().Certs
	}
	want := chains(New(), 1<<20)
	var m Pool
	for _, size := range []int{1 << 20, 1448, 100, 1} {
		for range 2 {
			if got := chains(m.New(), size); !reflect.DeepEqual(got, want) {
				t.Errorf("pieces of %d: %+v, want %+v", size, got, want)
			}
		}
	}
	if len(m.parsers) != 2 || len(m.facts) != 1 || len(m.buffers) == 0 {
		t.Errorf("%d parsers, %d facts, %d buffers are spare, want those of one session", len(m.parsers), len(m.facts), len(m.buffers))
	}
	if len(m.leaves) != 2 {
		t.Errorf("%d certificates are stored, want the client's and the server's", len(m.leaves))
	}
}

func TestPoolIsBounded(t *testing.T) {
	var m Pool
	for i := range 10 * maxLeaves {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		m.storeLeaf(&sum, &knownLeaf{})
		if m.leaf(&sum) == nil {
			t.Fatalf("certificate %d is not stored", i)
		}
		if len(m.leaves) > maxLeaves {
			t.Fatalf("%d are stored, at most %d should be", len(m.leaves), maxLeaves)
		}
	}
}
