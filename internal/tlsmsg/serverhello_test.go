package tlsmsg

import (
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

// serverHello returns the body of a ServerHello with extensions, each a type and the group x25519 as its contents, or the version.
func serverHello(version, chosen uint16, extensions ...uint16) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint16(version)
	b.AddBytes(make([]byte, 32))
	if version>>8 == 3 {
		b.AddUint8(0) // session id
	}
	b.AddUint16(0x1301)
	if version>>8 == 3 {
		b.AddUint8(0) // compression
	}
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, typ := range extensions {
			b.AddUint16(typ)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				if typ == extSupportedVersions {
					b.AddUint16(chosen)
					return
				}
				b.AddUint16(0x001d)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, 32)) })
			})
		}
	})
	return b.BytesOrPanic()
}

// TestServerHelloGroup reads the group of a key share by the extension number of each version: 51, or 40 in drafts of TLS 1.3 before draft
// 23. In TLS 1.2 that number is another extension, extended_random.
func TestServerHelloGroup(t *testing.T) {
	for _, c := range []struct {
		name  string
		hello []byte
		want  uint16
	}{
		{"TLS 1.3", serverHello(0x0303, 0x0304, extSupportedVersions, extKeyShare), 0x001d},
		{"TLS 1.3 with the number of the drafts", serverHello(0x0303, 0x0304, extSupportedVersions, extKeyShareDraft), 0},
		{"draft 18", serverHello(0x7f12, 0, extKeyShareDraft), 0x001d},
		{"draft 22", serverHello(0x0303, 0x7f16, extKeyShareDraft, extSupportedVersions), 0x001d},
		{"draft 28", serverHello(0x0303, 0x7f1c, extSupportedVersions, extKeyShare), 0x001d},
		{"Chrome's experiment", serverHello(0x0303, 0x7e01, extSupportedVersions, extKeyShareDraft), 0x001d},
		{"TLS 1.2 with extended_random", serverHello(0x0303, 0, extKeyShareDraft), 0},
		{"without a share", serverHello(0x0303, 0x0304, extSupportedVersions), 0},
	} {
		hello, ok := ParseServerHello(c.hello, OverTCP)
		if !ok || hello.Group != c.want {
			t.Errorf("%s: group %#x, want %#x (parsed: %t)", c.name, hello.Group, c.want, ok)
		}
	}
}
