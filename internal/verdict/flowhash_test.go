package verdict

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

func TestFlowHash(t *testing.T) {
	sum := sha256.Sum256([]byte{0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2})
	if got, want := NewFlowHash(40000, 443, 1, 2).String(), hex.EncodeToString(sum[:16]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := (FlowHash{}).String(); got != "" {
		t.Errorf("%q of no connection", got)
	}
}
