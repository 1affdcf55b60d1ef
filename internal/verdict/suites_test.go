package verdict

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/iana"
)

// TestCiphering checks all numbers. All registered suites are known. Among the other numbers, only the ones listed here
// are known.
func TestCiphering(t *testing.T) {
	plain := map[uint16]bool{0x001c: true, 0x0082: true, 0x0083: true, 0x00fe: true, 0xff87: true, 0xc0b4: true, 0xc0b5: true}
	private := map[uint16]bool{0x001d: true, 0x0080: true, 0x0081: true, 0xc0ff: true, 0xff85: true, 0xfefe: true, 0xfeff: true, 0xffe0: true, 0xffe1: true,
		0xcc13: true, 0xcc14: true, 0xcc15: true, 0xe011: true, 0xe013: true, 0xe051: true, 0xe052: true, 0xe053: true}
	for _, r := range [][2]uint16{{0x0060, 0x0066}, {0x00e5, 0x00e8}, {0x00f8, 0x00fd}, {0xe410, 0xe41f}} {
		for s := r[0]; s <= r[1]; s++ {
			private[s] = true
		}
	}
	null, known := 0, 0
	for n := range 1 << 16 {
		suite := uint16(n)
		name := iana.CipherSuiteName(suite)
		registered := name != fmt.Sprintf("0x%04x", n)
		want := unfamiliar
		switch {
		case strings.Contains(name, "_WITH_NULL_") || plain[suite]:
			want = leavesPlain
			null++
		case registered && !strings.HasSuffix(name, "_SCSV") || private[suite]:
			want = encrypts
			known++
		}
		if got := cipheringOf(suite); got != want {
			t.Errorf("%#04x %s: %d, want %d", n, name, got, want)
		}
	}
	// 352 are registered: 2 of them are signals, and 21 do not encrypt, by their names
	if null != 21+5+2 || known != 352-2-21-2+len(private) {
		t.Errorf("%d that do not encrypt, %d that do", null, known)
	}
}
