package dissect

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// QUIC versions whose Initial packets can be decrypted (RFC 9000, RFC 9369).
const (
	quicV1 = 1
	quicV2 = 0x6b3343cf
)

// quicVersion has the constants that differ between versions (RFC 9001 section 5.2, RFC 9369 section 3.3).
type quicVersion struct {
	salt        []byte
	key, iv, hp string
	initial     byte // long packet type of an Initial; the numbers of the other types follow it
}

var quicVersions = map[uint32]quicVersion{
	quicV1: {
		salt: []byte{0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a},
		key:  "quic key", iv: "quic iv", hp: "quic hp", initial: 0,
	},
	quicV2: {
		salt: []byte{0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9},
		key:  "quicv2 key", iv: "quicv2 iv", hp: "quicv2 hp", initial: 1,
	},
}

// initialKeys protect the Initial packets of one side.
type initialKeys struct {
	iv   []byte
	hp   cipher.Block
	aead cipher.AEAD
}

// newInitialKeys derives the keys of a side. label is "client in" or "server in".
func newInitialKeys(version uint32, dcid []byte, label string) *initialKeys {
	v := quicVersions[version]
	initial, err := hkdf.Extract(sha256.New, dcid, v.salt)
	if err != nil {
		return nil
	}
	secret := expand(initial, label, 32)
	k := &initialKeys{iv: expand(secret, v.iv, 12)}
	block, err := aes.NewCipher(expand(secret, v.key, 16))
	if err != nil {
		return nil
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return nil
	}
	if k.hp, err = aes.NewCipher(expand(secret, v.hp, 16)); err != nil {
		return nil
	}
	return k
}

// expand is HKDF-Expand-Label of TLS 1.3 with an empty context (RFC 8446 section 7.1).
func expand(secret []byte, label string, size int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(size >> 8), byte(size), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), size)
	if err != nil {
		panic(err) // the sizes are constants that SHA-256 allows
	}
	return out
}

// open removes header and packet protection (RFC 9001 sections 5.3 and 5.4). It returns nil if the packet
// cannot be decrypted.
func (k *initialKeys) open(packet []byte, h longHeader) []byte {
	const sample = 16
	if k == nil || h.numberAt+4+sample > len(packet) {
		return nil
	}
	var mask [sample]byte
	k.hp.Encrypt(mask[:], packet[h.numberAt+4:h.numberAt+4+sample])
	first := packet[0] ^ mask[0]&0x0f
	size := int(first&3) + 1
	header := slices.Clone(packet[:h.numberAt+size])
	header[0] = first
	var number uint64
	for i := range size {
		header[h.numberAt+i] ^= mask[1+i]
		number = number<<8 | uint64(header[h.numberAt+i])
	}
	nonce := slices.Clone(k.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^number)
	payload, err := k.aead.Open(nil, nonce, packet[h.numberAt+size:], header)
	if err != nil {
		return nil
	}
	return payload
}
