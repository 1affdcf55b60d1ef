package verdict

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// FlowHash joins both ends of a connection behind NAT: what NAT leaves alone is the
// initial sequence numbers and, mostly, the ports. It is hashed where it is published.
type FlowHash struct {
	known bool
	of    [12]byte
}

// NewFlowHash returns the FlowHash of a connection by its ports and initial sequence numbers,
// those of the end that opened it first.
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

// String returns the first half of a SHA-256 in hex, empty for the zero FlowHash.
func (h FlowHash) String() string {
	if !h.known {
		return ""
	}
	d := sha256.Sum256(h.of[:])
	return hexOf([16]byte(d[:16]))
}

// hexOf is hex.EncodeToString, which allocates twice.
func hexOf(b [16]byte) string {
	var out [32]byte
	hex.Encode(out[:], b[:])
	return string(out[:])
}
