package dissect

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// The keys of RFC 9001 appendix A.1 for the client's connection ID 8394c8f03e515708.
func TestQUICKeys(t *testing.T) {
	dcid, _ := hex.DecodeString("8394c8f03e515708")
	v := quicVersions[quicV1]
	secret, err := hkdf.Extract(sha256.New, dcid, v.salt)
	if err != nil {
		t.Fatal(err)
	}
	client := expand(secret, "client in", 32)
	for _, c := range []struct {
		label, want string
		size        int
	}{{v.key, "1f369613dd76d5467730efcbe3b1a22d", 16}, {v.iv, "fa044b2f42a3fd3b46fb255c", 12}, {v.hp, "9f50449e04a0e810283a1e9933adedd2", 16}} {
		if got := hex.EncodeToString(expand(client, c.label, c.size)); got != c.want {
			t.Errorf("%s is %s, want %s", c.label, got, c.want)
		}
	}
}

// seal protects an Initial packet as a client does.
func seal(t *testing.T, version uint32, number byte, payload []byte) []byte {
	t.Helper()
	dcid := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	v := quicVersions[version]
	secret, err := hkdf.Extract(sha256.New, dcid, v.salt)
	if err != nil {
		t.Fatal(err)
	}
	client := expand(secret, "client in", 32)
	header := []byte{0xc0 | v.initial<<4, 0, 0, 0, 0, byte(len(dcid))}
	binary.BigEndian.PutUint32(header[1:], version)
	header = append(append(header, dcid...), 0, 0) // no source connection ID, no token
	header = binary.BigEndian.AppendUint16(header, uint16(0x4000|(1+len(payload)+16)))
	header = append(header, number)
	block, _ := aes.NewCipher(expand(client, v.key, 16))
	aead, _ := cipher.NewGCM(block)
	nonce := expand(client, v.iv, 12)
	nonce[11] ^= number
	packet := aead.Seal(bytes.Clone(header), nonce, payload, header)
	hp, _ := aes.NewCipher(expand(client, v.hp, 16))
	at := len(header) - 1
	var mask [16]byte
	hp.Encrypt(mask[:], packet[at+4:at+20])
	packet[0] ^= mask[0] & 0x0f
	packet[at] ^= mask[1]
	return packet
}

func cryptoFrame(offset uint16, data []byte) []byte {
	f := []byte{6}
	f = binary.BigEndian.AppendUint16(f, 0x4000|offset)
	f = binary.BigEndian.AppendUint16(f, 0x4000|uint16(len(data)))
	return append(f, data...)
}

// A ClientHello over two Initials, their CRYPTO frames out of order, a PING and
// PADDING between them.
func TestQUICHelloOverPackets(t *testing.T) {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0, 0, 14, 0, 0, 0, 10, 0, 8, 0, 0, 5, 'q', '.', 'x', '.', 'y')
	hello := append([]byte{1, 0, 0, byte(len(body))}, body...)
	for _, version := range []uint32{quicV1, quicV2} {
		first := append(cryptoFrame(40, hello[40:]), 1, 0, 0, 0)
		first = append(first, make([]byte, 1200)...)
		s := New()
		s.Datagram(Originator, seal(t, version, 1, first))
		if s.TLS().Hello != nil {
			t.Fatal("half a hello was read as whole")
		}
		s.Datagram(Originator, seal(t, version, 2, append(cryptoFrame(20, hello[20:50]), cryptoFrame(0, hello[:20])...)))
		if h := s.TLS().Hello; h == nil || h.ServerName != "q.x.y" {
			t.Errorf("version %#x: hello %+v", version, h)
		}
	}
}
