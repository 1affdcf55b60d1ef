package finding

import (
	"crypto/sha1"
	"encoding/base64"
	"net/netip"
)

// appendCommunityID appends the Community ID of a connection, version 1.0 with seed 0
// (https://github.com/corelight/community-id-spec). The ID is "1:" and the base64 of a SHA-1 over the seed,
// the lower end's address, the other address, the protocol, a zero, and both ports. Both directions have the
// same ID. If an address is missing, the function appends nothing.
func appendCommunityID(b []byte, protocol uint8, x, y netip.AddrPort) []byte {
	ax, ay := x.Addr().Unmap(), y.Addr().Unmap()
	if !ax.IsValid() || !ay.IsValid() || ax.Is4() != ay.Is4() {
		return b
	}
	px, py := x.Port(), y.Port()
	if c := ax.WithZone("").Compare(ay.WithZone("")); c > 0 || c == 0 && px > py {
		ax, ay, px, py = ay, ax, py, px
	}
	var in [2 + 16 + 16 + 2 + 4]byte
	data := in[:2] // the seed
	data = appendRaw(appendRaw(data, ax), ay)
	data = append(data, protocol, 0, byte(px>>8), byte(px), byte(py>>8), byte(py))
	sum := sha1.Sum(data)
	return base64.StdEncoding.AppendEncode(append(b, "1:"...), sum[:])
}

func appendRaw(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		raw := a.As4()
		return append(b, raw[:]...)
	}
	raw := a.As16()
	return append(b, raw[:]...)
}
