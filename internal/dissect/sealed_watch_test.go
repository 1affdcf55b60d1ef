package dissect_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// sshPacket returns a packet of SSH before encryption.
func sshPacket(payload string) string {
	pad := 8 - (len(payload)+5)%8
	if pad < 4 {
		pad += 8
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)+pad+1))
	return string(append(b, byte(pad))) + payload + strings.Repeat("\x00", pad)
}

// sshOffer returns an SSH_MSG_KEXINIT that offers ciphers for both directions.
func sshOffer(toServer, toClient string) string {
	b := append([]byte("\x14"), noise(16)...)
	for _, names := range []string{"curve25519-sha256", "ssh-ed25519", toServer, toClient, "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""} {
		b = append(b, afterLength([]byte(names))...)
	}
	return sshPacket(string(b) + "\x00\x00\x00\x00\x00")
}

const (
	sentence   = "this is text, and nobody encrypted it: it can be read on the wire"
	httpAsks   = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	httpTells  = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	sshHostKey = "ecdsa-sha2-nistp256-cert-v01@openssh.com, of a host with a long name"
)

// TestSSHThenPlaintext checks that a key exchange of SSH is only a claim, which later bytes confirm or refute.
func TestSSHThenPlaintext(t *testing.T) {
	const banner = capturetest.SSHBanner
	const aes = "chacha20-poly1305@openssh.com,aes128-ctr"
	hello := func(a, b string) []capturetest.Chunk {
		return []capturetest.Chunk{client(banner + a), server(banner + b)}
	}
	keys := []capturetest.Chunk{client(sshPacket("\x1e" + string(noise(36)))), server(sshPacket("\x1f"+sshHostKey+string(noise(90))) + sshPacket("\x15")), client(sshPacket("\x15"))}
	noisy := []capturetest.Chunk{client(string(noise(400))), server(string(noise(700))), client(string(noise(300)))}
	talk := func(parts ...[]capturetest.Chunk) (all []capturetest.Chunk) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	honest := hello(sshOffer(aes, aes), sshOffer(aes, aes))
	http := []capturetest.Chunk{client(httpAsks), server(httpTells)}
	text := []capturetest.Chunk{client(sentence), server(sentence)}
	for name, c := range map[string]struct {
		talk []capturetest.Chunk
		want dissect.Kind
	}{
		"ssh":                          {talk(honest, keys, noisy), dissect.KindEncrypted},
		"http after the offers":        {talk(honest, http), dissect.KindPlain},
		"text after the offers":        {talk(honest, text), dissect.KindText},
		"http after the key exchange":  {talk(honest, keys, noisy, http), dissect.KindPlain},
		"text after the key exchange":  {talk(honest, keys, noisy, text), dissect.KindText},
		"text after binary":            {talk(honest, keys, []capturetest.Chunk{client("\x00\x00\x00\x50\x04" + sentence), server("\x00\x00\x00\x50\x04" + sentence)}), dissect.KindText},
		"no cipher":                    {talk(hello(sshOffer("none,"+aes, aes), sshOffer(aes+",none", aes)), keys, noisy), dissect.KindPlain},
		"no cipher, to the client":     {talk(hello(sshOffer(aes, "none"), sshOffer(aes, aes+",none")), keys, noisy), dissect.KindPlain},
		"none, which is not agreed on": {talk(hello(sshOffer("aes128-ctr,none", aes), sshOffer("none,aes128-ctr", aes)), keys, noisy), dissect.KindEncrypted},
		"none, at one end alone":       {talk(hello(sshOffer("none,aes128-ctr", aes), sshOffer("aes128-ctr", aes)), keys, noisy), dissect.KindEncrypted},
	} {
		for _, size := range []int{1 << 16, 1400} {
			s := dissect.New()
			play(s, &capturetest.Conversation{Chunks: c.talk}, size)
			for side := range dissect.Side(2) {
				if kind, _ := s.Kind(side); kind != c.want {
					t.Errorf("%s, segments of %d: side %d is of kind %d, want %d", name, size, side, kind, c.want)
				}
			}
		}
	}
}

// framed returns a message with its length of 24 bits before it, as SMB sends it.
func framed(b string) string { return "\x00\x00" + string([]byte{byte(len(b) >> 8), byte(len(b))}) + b }

func smb2(command byte) string {
	return framed("\xfeSMB\x40\x00\x00\x00\x00\x00\x00\x00" + string([]byte{command, 0}) + string(bytes.Repeat([]byte{1}, 80)))
}

func rpcPDU(typ, level byte) string {
	b := []byte{5, 0, typ, 3, 0x10, 0, 0, 0, 0, 0, 16, 0, 1, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0}
	b = append(append(b, noise(64)...), 9, level, 0, 0, 0, 0, 0, 0)
	if level == 0 {
		b[10], b = 0, b[:24+64]
	} else {
		b = append(b, noise(16)...)
	}
	b[8] = byte(len(b))
	return string(b)
}

// rpcCall returns a call of NFS with opaque credentials of a flavor.
func rpcCall(procedure, flavor byte, credentials, body string) string {
	b := "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa3\x00\x00\x00\x04\x00\x00\x00" + string([]byte{procedure, 0, 0, 0, flavor, 0, 0, 0, byte(len(credentials))}) + credentials + body
	return "\x80\x00\x00" + string([]byte{byte(len(b))}) + b
}

// TestSealedAndPlainMixed checks that a connection is plaintext if it has both plaintext and sealed messages of an application, in either
// order. Plaintext negotiation does not count.
func TestSealedAndPlainMixed(t *testing.T) {
	sealedSMB := framed("\xfdSMB" + string(noise(120)))
	privacy := "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x03\x00\x00\x00\x04abcd"
	gss := rpcCall(1, 6, privacy, string(noise(60)))
	sys := rpcCall(1, 1, "\x00\x00\x00\x00\x00\x00\x00\x04host\x00\x00\x00\x00\x00\x00\x00\x00", string(noise(40)))
	reply := "\x80\x00\x00\x50\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x04" + string(noise(60))
	buffer := string(afterLength(noise(120)))
	for name, c := range map[string]struct {
		negotiated, sealed, clear []string // messages of client and server in turn
	}{
		"smb":                           {[]string{smb2(0), smb2(0), smb2(1), smb2(1), smb2(3), smb2(3)}, []string{sealedSMB, sealedSMB}, []string{smb2(8), smb2(8)}},
		"smb, text":                     {[]string{smb2(0), smb2(0)}, []string{sealedSMB, sealedSMB}, []string{framed("\xfdSMB" + string(noise(48)) + sentence)}},
		"dcerpc, integrity":             {[]string{rpcPDU(11, 6), rpcPDU(12, 6)}, []string{rpcPDU(0, 6), rpcPDU(2, 6)}, []string{rpcPDU(0, 5), rpcPDU(2, 5)}},
		"dcerpc, nothing":               {[]string{rpcPDU(11, 6), rpcPDU(12, 6)}, []string{rpcPDU(0, 6), rpcPDU(2, 6)}, []string{rpcPDU(0, 0), rpcPDU(2, 0)}},
		"dcerpc, one end":               {[]string{rpcPDU(11, 6), rpcPDU(12, 6)}, []string{rpcPDU(0, 6), rpcPDU(2, 6)}, []string{rpcPDU(0, 6), rpcPDU(2, 0)}},
		"nfs":                           {[]string{rpcCall(0, 0, "", "\x00\x00\x00\x00\x00\x00\x00\x00"), reply}, []string{gss, reply}, []string{sys, reply}},
		"two messages within a segment": {[]string{smb2(0), smb2(0)}, []string{sealedSMB, sealedSMB}, []string{sealedSMB + smb2(8)}},
		"ldap, after it alone":          {[]string{saslBind, saslDone}, []string{buffer, buffer}, []string{ldapSearch}},
		"postgresql, after it alone":    {[]string{gssRequest, "G"}, []string{buffer, buffer}, []string{"\x00\x00\x00\x20\x00\x03\x00\x00user\x00me\x00database\x00shop\x00\x00", "R\x00\x00\x00\x08\x00\x00\x00\x00"}},
	} {
		after := strings.HasSuffix(name, "alone") || strings.HasSuffix(name, "text")
		for order, talk := range map[string][]string{
			"sealed":        append(append([]string{}, c.negotiated...), append(c.sealed, c.sealed...)...),
			"sealed, clear": append(append(append([]string{}, c.negotiated...), c.sealed...), c.clear...),
			"clear, sealed": append(append(append([]string{}, c.negotiated...), c.clear...), make([]string, len(c.clear)%2)...),
		} {
			if order == "clear, sealed" {
				if after {
					continue
				}
				talk = append(talk, c.sealed...)
			}
			var chunks []capturetest.Chunk
			for i, b := range talk {
				if b != "" {
					chunks = append(chunks, capturetest.Chunk{FromServer: i%2 == 1, Data: []byte(b)})
				}
			}
			s := dissect.New()
			play(s, &capturetest.Conversation{Chunks: chunks}, 1<<16)
			sealed := !strings.Contains(order, "clear")
			for side := range dissect.Side(2) {
				if kind, _ := s.Kind(side); (kind == dissect.KindEncrypted) != sealed || kind == dissect.KindUnreadable || s.Sealed() != sealed {
					t.Errorf("%s, %s: side %d is of kind %d, sealed %v", name, order, side, kind, s.Sealed())
				}
			}
		}
	}
}
