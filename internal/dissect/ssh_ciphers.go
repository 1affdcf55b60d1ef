package dissect

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// Indices of the name-lists of an SSH_MSG_KEXINIT that contain ciphers: for packets from the client to the server, and for the reverse
// direction (RFC 4253 section 7.1).
const (
	sshToServer = 3
	sshToClient = 4
	// maxCiphers bounds the names that are stored for each list.
	maxCiphers = 24
)

// Constants of FNV-1a with 32 bits.
const (
	fnvBasis = 2166136261
	fnvPrime = 16777619
)

// cipherName is the FNV-1a hash of the name of a cipher.
type cipherName uint32

// noCipher is the hash of "none", the name of the cipher that does not encrypt.
var noCipher = func() cipherName {
	h := cipherName(fnvBasis)
	for _, c := range []byte("none") {
		h = h.with(c)
	}
	return h
}()

func (h cipherName) with(c byte) cipherName { return (h ^ cipherName(c)) * fnvPrime }

// sshCiphers are the ciphers that one end offers, in its order of preference.
type sshCiphers struct {
	names  [2][maxCiphers]cipherName
	n      [2]int
	name   cipherName // hash of the incomplete name
	begun  bool
	passed bool // a list had more names than are stored
}

// add processes bytes of a name-list. list is its number.
func (o *sshCiphers) add(list int, b []byte) {
	if list != sshToServer && list != sshToClient {
		return
	}
	for _, c := range b {
		switch {
		case c == ',':
			o.end(list)
		case !o.begun:
			o.begun, o.name = true, cipherName(fnvBasis).with(c)
		default:
			o.name = o.name.with(c)
		}
	}
}

// end processes the end of a name.
func (o *sshCiphers) end(list int) {
	i := list - sshToServer
	if !o.begun {
		return
	}
	o.begun = false
	if o.n[i] == maxCiphers {
		o.passed = true
		return
	}
	o.names[i][o.n[i]] = o.name
	o.n[i]++
}

// list returns the names of one list.
func (o *sshCiphers) list(i int) []cipherName { return o.names[i][:o.n[i]] }

// sshEncryptsNothing reports whether both ends agree on the cipher "none" in a direction. The agreed cipher is the first one in the
// client's list that is also in the server's list (RFC 4253 section 7.1). Both offers must be complete.
func (s *streams) sshEncryptsNothing() bool {
	client, server := s.sides[Originator].p.ssh, s.sides[Responder].p.ssh
	if client == nil || server == nil || !client.shown || !server.shown || client.offer.passed || server.offer.passed {
		return false
	}
	for i := range client.offer.n {
		for _, name := range client.offer.list(i) {
			if !contains(server.offer.list(i), name) {
				continue
			}
			if name == noCipher {
				return true
			}
			break
		}
	}
	return false
}

// contains reports whether names has name.
func contains(names []cipherName, name cipherName) bool {
	return slices.Contains(names, name)
}

// watchSSH examines the bytes after a key exchange. They are not ciphertext if they are text, or if a segment begins with a message of a
// known protocol. Some ciphers leave the length of a packet in plaintext. The length begins with a zero byte, so segments that begin with a
// zero byte are not tried as other protocols.
func (s *Session) watchSSH(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	switch {
	case st.seen > maxUpgrade:
		st.p.ssh = nil
	case data[0] != 0 && knownMiddle(data):
		s.notSSH(side, offset, nil, data, ack)
	case st.p.ssh.text.add(data):
		st.kind, st.protocol, st.p.ssh = KindText, "", nil
		s.revision++
	case len(data) >= protocols.MinText && allText(data[:min(len(data), protocols.SampleSize)]):
		s.notSSH(side, offset, nil, data, ack)
	}
}

// knownMiddle reports whether b is a message of a known protocol.
func knownMiddle(b []byte) bool {
	candidates := protocols.MiddleStartingWith(b[0])
	for i := candidates.Next(0); i >= 0; i = candidates.Next(i + 1) {
		if r := &protocols.TCP[i]; max(r.Client(b), r.Server(b)) == protocols.Yes {
			return true
		}
	}
	return false
}
