package dissect

import "encoding/binary"

// SSH message numbers that may stand before encryption (RFC 4250 section 4.1.2).
const (
	sshDisconnect = 1
	sshDebug      = 4
	sshKexInit    = 20
	sshNewKeys    = 21
	sshMethod     = 30 // the first of a key exchange method's own
	sshMethodEnd  = 49 // and the last
)

// Of SSH 1: the server's key, and the client's answer to it, which names the cipher
// (draft-ylonen-ssh-protocol-00, "Packet types").
const (
	ssh1PublicKey  = 2
	ssh1SessionKey = 3
	ssh1NoCipher   = 0
)

const (
	// maxSSHPacket bounds packet_length: RFC 4253 section 6.1 asks for 35000 at least.
	maxSSHPacket = 256 << 10
	minPadding   = 4  // of padding_length (RFC 4253 section 6)
	sshHeader    = 6  // packet_length, padding_length and the message's number
	sshCookie    = 16 // of SSH_MSG_KEXINIT (RFC 4253 section 7.1)
	// sshLists is the number of name-lists in an SSH_MSG_KEXINIT.
	sshLists = 10
	// sshTail is what follows the lists: first_kex_packet_follows and a reserved uint32.
	sshTail = 5
	// ssh1Header is the most that is read of a packet of SSH 1 at once: its length, up to
	// eight bytes of padding, its type and the byte that follows.
	ssh1Header = 4 + 8 + 2
)

// sshReader follows one direction of SSH from its identification string (RFC 4253
// section 4.2) to its SSH_MSG_KEXINIT (section 7.1). Anybody can send a line of text: the
// binary packet, which has to parse, is what shows that encryption follows.
type sshReader struct {
	step   sshStep
	held   [ssh1Header]byte // bytes of the current field, where it is read as a whole
	heldN  int
	left   int  // bytes of the current field still to come, where it is not held
	packet int  // bytes of the packet still to come, padding included
	pad    int  // padding_length of the packet
	lists  int  // name-lists begun
	at     int  // bytes of the identification string so far
	old    bool // which offers SSH 1
	named  bool // enough of the key exchange was seen to know it for one
	shown  bool // all of it was: what follows is its messages, up to SSH_MSG_NEWKEYS
	offer  sshCiphers
	text   textRun // of what follows them
}

type sshStep uint8

const (
	sshLine    sshStep = iota // the identification string
	sshPacket                 // a packet's header
	sshSkip                   // a message without meaning here
	sshRandom                 // the cookie
	sshSize                   // the length of a name-list
	sshNames                  // a name-list
	sshTrailer                // what follows the lists, and the padding
	sshSealing                // the padding of SSH_MSG_NEWKEYS
	sshSealed                 // what follows SSH_MSG_NEWKEYS: ciphertext
)

// readSSH takes bytes of a direction that began with an identification string. Once its
// SSH_MSG_KEXINIT has parsed the direction is KindEncrypted, and is looked at further.
// Bytes before that do not parse are not SSH: they are looked at like the beginning of a
// direction.
func (s *Session) readSSH(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	r := st.p.ssh
	for len(data) > 0 {
		if r.step == sshSealed {
			s.watchSSH(side, offset, data, ack)
			return
		}
		held := r.heldN
		n, ok := r.consume(data)
		switch {
		case !ok && r.shown: // no message of the exchange
			r.step = sshSealed
			buf := append(append(make([]byte, 0, held+len(data)), r.held[:held]...), data...)
			s.watchSSH(side, offset-int64(held), buf, ack)
			return
		case !ok:
			s.notSSH(side, offset, r.held[:held], data, ack)
			return
		}
		data, offset = data[n:], offset+int64(n)
		if r.step == sshTrailer && r.left == 0 {
			if s.showSSH(side); s.sides[side].p.ssh == nil {
				return
			}
		}
	}
}

// showSSH notes that a direction is encrypted from here on, but for the key exchange.
func (s *Session) showSSH(side Side) {
	st := &s.sides[side]
	r := st.p.ssh
	st.kind, r.shown, r.step = KindEncrypted, true, sshPacket
	if r.old {
		r.step = sshSealed
	}
	s.revision++
	if other := s.sides[side.Other()].p; other != nil && other.ssh != nil && s.sshEncryptsNothing() {
		for i := range s.sides {
			s.sides[i].kind, s.sides[i].p.ssh = KindPlain, nil
		}
	}
}

// notSSH reverts what the identification string promised: held and data, which stands at
// offset, follow it and are not a packet of SSH.
func (s *Session) notSSH(side Side, offset int64, held, data []byte, ack int64) {
	s.sides[side].p.ssh = nil
	s.recognizeAnew(side, offset, held, data, ack)
}

// unseenSSH notes that bytes of a direction were not seen: of an SSH_MSG_KEXINIT the
// beginning is enough, and where it did not begin nothing that follows can show it.
func (s *Session) unseenSSH(side Side) {
	st := &s.sides[side]
	r := st.p.ssh
	switch {
	case r == nil:
		return
	case r.shown:
		st.p.ssh = nil
	case r.named:
		r.offer.passed = true
		s.showSSH(side)
		st.p.ssh = nil
	default:
		st.kind, st.protocol, st.p.ssh = KindUnreadable, "", nil
		s.revision++
	}
}

// consume reads what it can of one field. It returns how many bytes it took, and false where
// they are not SSH.
func (r *sshReader) consume(b []byte) (n int, ok bool) {
	switch r.step {
	case sshLine:
		return r.line(b), true
	case sshPacket:
		return r.header(b)
	case sshSize:
		return r.size(b)
	default:
	}
	n = min(r.left, len(b))
	if r.step == sshNames {
		for _, c := range b[:n] {
			if c <= ' ' || c > '~' {
				return 0, false
			}
		}
		r.named = true
		r.offer.add(r.lists, b[:n])
	}
	r.spend(n)
	if r.left > 0 {
		return n, true
	}
	switch r.step {
	case sshSkip:
		r.step = sshPacket
	case sshSealing:
		r.step = sshSealed
	case sshRandom:
		r.step = sshSize
	case sshNames:
		r.listed()
	default:
	}
	return n, true
}

func (r *sshReader) spend(n int) { r.left, r.packet = r.left-n, r.packet-n }

func (r *sshReader) line(b []byte) int {
	const version = len("SSH-")
	for i, c := range b {
		if r.at == version {
			r.old = c == '1'
		}
		r.at++
		if c == '\n' {
			r.step = sshPacket
			return i + 1
		}
	}
	return len(b)
}

// field collects bytes in held until there are want.
func (r *sshReader) field(b []byte, want int) (n int, whole bool) {
	n = copy(r.held[min(r.heldN, want):want], b)
	r.heldN += n
	return n, r.heldN >= want
}

// header reads a packet's header up to the message's number.
func (r *sshReader) header(b []byte) (n int, ok bool) {
	n, whole := r.field(b, sshHeader)
	var first [4]byte
	copy(first[:], r.held[:r.heldN])
	length := int(binary.BigEndian.Uint32(first[:]))
	if length > maxSSHPacket || r.heldN > 4 && r.held[4] < minPadding && !r.old {
		return 0, false
	}
	if !whole {
		return n, true
	}
	pad, typ := int(r.held[4]), r.held[5]
	r.pad, r.packet = pad, length-2
	switch {
	case (length+4)%8 != 0 || r.packet < pad || pad < minPadding:
	case !r.shown && typ == sshKexInit && r.packet >= sshCookie:
		r.old = false // SSH-1.99 stands for both
		r.heldN, r.step, r.left = 0, sshRandom, sshCookie
		return n, true
	case r.shown && typ == sshNewKeys && r.packet == pad:
		r.heldN, r.step, r.left = 0, sshSealing, r.packet
		return n, true
	case typ >= sshDisconnect && typ <= sshDebug, r.shown && typ >= sshMethod && typ <= sshMethodEnd:
		r.heldN, r.step, r.left = 0, sshSkip, r.packet
		return n, true
	}
	if !r.old {
		return 0, false
	}
	more, ok := r.header1(b[n:], length)
	return n + more, ok
}

// header1 is the same for SSH 1, whose packets are padded at their beginning.
func (r *sshReader) header1(b []byte, length int) (n int, ok bool) {
	typeAt := 4 + 8 - length%8
	n, whole := r.field(b, typeAt+2)
	if !whole {
		return n, true
	}
	typ, first := r.held[typeAt], r.held[typeAt+1]
	if r.packet = length - 2; r.packet < 3 || typ != ssh1PublicKey && (typ != ssh1SessionKey || first == ssh1NoCipher) {
		return 0, false
	}
	r.heldN, r.step, r.left, r.named = 0, sshTrailer, r.packet, true
	return n, true
}

func (r *sshReader) size(b []byte) (n int, ok bool) {
	n, whole := r.field(b, 4)
	if !whole {
		return n, true
	}
	size := binary.BigEndian.Uint32(r.held[:4])
	r.heldN = 0
	r.packet -= 4
	if r.lists++; int64(size) > int64(r.packet-r.pad-sshTail) || r.lists == 1 && size == 0 {
		return 0, false
	}
	r.step, r.left = sshNames, int(size)
	if size == 0 {
		r.listed()
	}
	return n, true
}

// listed goes on behind a name-list.
func (r *sshReader) listed() {
	r.offer.end(r.lists)
	r.step = sshSize
	if r.lists == sshLists {
		r.step, r.left = sshTrailer, r.packet
	}
}
