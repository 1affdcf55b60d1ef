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

// TestSameLeaf: a certificate is recognized only if all its bytes are those of a stored one, which the caller may overwrite.
func TestSameLeaf(t *testing.T) {
	var m Pool
	der, known := []byte{1, 2, 3, 0x15}, &knownLeaf{subject: "a"}
	m.storeSame(der, [32]byte{7}, known)
	if sum, got := m.sameLeaf([]byte{1, 2, 3, 0x15}); got != known || sum != [32]byte{7} {
		t.Errorf("the stored certificate gives %v and %x", got, sum)
	}
	for _, other := range [][]byte{{1, 2, 4, 0x15}, {1, 2, 3, 0x25}, {2, 3, 0x15}, {0x15}, nil} {
		if _, got := m.sameLeaf(other); got != nil {
			t.Errorf("%x gives the certificate of %x", other, der)
		}
	}
	copy(der, []byte{9, 9, 9})
	if _, got := m.sameLeaf(der); got != nil {
		t.Error("the stored certificate changed with its caller's buffer")
	}

	long := make([]byte, maxSameLeaf+1)
	m.storeSame(long, [32]byte{}, known)
	if _, got := m.sameLeaf(long); got != nil {
		t.Error("a certificate beyond maxSameLeaf is stored")
	}
	m.storeSame([]byte{4, 0x25}, [32]byte{8}, known)
	if _, got := m.sameLeaf([]byte{1, 2, 3, 0x15}); got != nil {
		t.Error("two certificates have one place")
	}
}
