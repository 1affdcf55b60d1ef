package dissect

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// The name-lists of an SSH_MSG_KEXINIT that name ciphers, by their number: those from the
// client to the server, and the other way (RFC 4253 section 7.1).
const (
	sshToServer = 3
	sshToClient = 4
	// maxCiphers bounds the names that are kept of a list; of a longer one the rest is
	// not looked at.
	maxCiphers = 24
)

// fnvBasis and fnvPrime are those of FNV-1a with 32 bits.
const (
	fnvBasis = 2166136261
	fnvPrime = 16777619
)

// cipherName is the hash of a cipher's name.
type cipherName uint32

// noCipher is the hash of "none".
var noCipher = func() cipherName {
	h := cipherName(fnvBasis)
	for _, c := range []byte("none") {
		h = h.with(c)
	}
	return h
}()

func (h cipherName) with(c byte) cipherName { return (h ^ cipherName(c)) * fnvPrime }

// sshCiphers are the ciphers that one end offers, in its order.
type sshCiphers struct {
	names  [2][maxCiphers]cipherName
	n      [2]int
	name   cipherName // of the name that is being read
	begun  bool
	passed bool // a name did not fit: the lists are of no use
}

// add takes bytes of a name-list, by its number.
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

// end notes that a name has ended.
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

// sshEncryptsNothing reports whether the cipher "none" is agreed on in a direction: it is
// the first of the client's names that the server has (RFC 4253 section 7.1). Both ends'
// offers were seen whole.
func (s *Session) sshEncryptsNothing() bool {
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

func contains(names []cipherName, name cipherName) bool {
	return slices.Contains(names, name)
}

// watchSSH looks at what follows a key exchange: text is no ciphertext, nor is a message of
// a known protocol at the start of a segment. A length in plaintext, which some ciphers
// have, begins with a zero and leaves too little to know a protocol by.
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
