package verdict

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// FlowHash identifies one connection at both of its ends, even through NAT, which leaves the initial sequence numbers
// and usually the ports unchanged. It is hashed when it is published.
type FlowHash struct {
	known bool
	of    [12]byte
}

// NewFlowHash returns the FlowHash of a connection from its ports and initial sequence numbers, the originator's
// first.
func NewFlowHash(orig, resp uint16, origISN, respISN uint32) FlowHash {
	h := FlowHash{known: true}
	binary.BigEndian.PutUint16(h.of[0:], orig)
	binary.BigEndian.PutUint16(h.of[2:], resp)
	binary.BigEndian.PutUint32(h.of[4:], origISN)
	binary.BigEndian.PutUint32(h.of[8:], respISN)
	return h
}

func flowHash(c *flow.Conn) FlowHash {
	if !c.OrigISNSeen || !c.RespISNSeen {
		return FlowHash{}
	}
	return NewFlowHash(c.Orig.Port, c.Resp.Port, c.OrigISN, c.RespISN)
}

// Sum returns the first half of a SHA-256. It reports whether the hash is known.
func (h FlowHash) Sum() (sum [16]byte, known bool) {
	if !h.known {
		return sum, false
	}
	d := sha256.Sum256(h.of[:])
	return [16]byte(d[:16]), true
}

// String returns Sum in hex, empty for the zero FlowHash.
func (h FlowHash) String() string {
	sum, known := h.Sum()
	if !known {
		return ""
	}
	return hexOf(sum)
}

// hexOf is like hex.EncodeToString, with one allocation instead of two.
func hexOf(b [16]byte) string {
	var out [32]byte
	hex.Encode(out[:], b[:])
	return string(out[:])
}
