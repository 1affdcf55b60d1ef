package dissect

import "encoding/binary"

// SSH message numbers that are used before encryption (RFC 4250 section 4.1.2).
const (
	sshDisconnect = 1
	sshDebug      = 4
	sshKexInit    = 20
	sshNewKeys    = 21
	sshMethod     = 30 // first number of key exchange methods
	sshMethodEnd  = 49 // last number of key exchange methods
)

// Packet types and ciphers of SSH 1 (draft-ylonen-ssh-protocol-00): the server sends its key, and the client answers with the cipher.
const (
	ssh1PublicKey  = 2
	ssh1SessionKey = 3
	ssh1NoCipher   = 0
)

const (
	// maxSSHPacket bounds packet_length, in bytes. RFC 4253 section 6.1 requires support for 35000.
	maxSSHPacket = 256 << 10
	minPadding   = 4  // least padding_length (RFC 4253 section 6)
	sshHeader    = 6  // size of packet_length, padding_length and the message number
	sshCookie    = 16 // size of the cookie of SSH_MSG_KEXINIT (RFC 4253 section 7.1)
	// sshLists is the number of name-lists in an SSH_MSG_KEXINIT.
	sshLists = 10
	// sshTail is the size of the fields after the lists: first_kex_packet_follows and a reserved uint32.
	sshTail = 5
	// ssh1Header is the largest size of the examined part of a packet of SSH 1: its length, up to eight bytes of padding, its type and
	// the next byte.
	ssh1Header = 4 + 8 + 2
)

// sshReader follows one direction of SSH from its identification string (RFC 4253 section 4.2) to its SSH_MSG_KEXINIT (section 7.1).
// Anybody can send a line of text; only a well-formed binary packet shows that encryption follows.
type sshReader struct {
	step   sshStep
	held   [ssh1Header]byte // bytes of a field that is parsed as a whole
	heldN  int
	left   int  // remaining bytes of a field that is not collected in held
	packet int  // remaining bytes of the packet, padding included
	pad    int  // padding_length of the packet
	lists  int  // name-lists so far
	at     int  // bytes of the identification string so far
	old    bool // the identification string offers SSH 1
	named  bool // enough of an SSH_MSG_KEXINIT was seen to identify it
	shown  bool // a complete SSH_MSG_KEXINIT was seen: messages up to SSH_MSG_NEWKEYS follow
	offer  sshCiphers
	text   textRun // looks for text in the bytes after SSH_MSG_NEWKEYS
}

// sshStep is the field that a reader expects.
type sshStep uint8

const (
	sshLine    sshStep = iota // the identification string
	sshPacket                 // a packet's header
	sshSkip                   // a message that is skipped
	sshRandom                 // the cookie
	sshSize                   // the length of a name-list
	sshNames                  // a name-list
	sshTrailer                // the rest of SSH_MSG_KEXINIT, with the padding
	sshSealing                // the padding of SSH_MSG_NEWKEYS
	sshSealed                 // the ciphertext after SSH_MSG_NEWKEYS
)

// readSSH processes bytes of a direction that began with an identification string. Once its SSH_MSG_KEXINIT is parsed the direction is
// KindEncrypted, and is examined further. If bytes before the end of the SSH_MSG_KEXINIT are malformed, the direction is not SSH, and these
// bytes are recognized like the start of a direction.
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
		case !ok && r.shown: // the bytes are not a message of the key exchange
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

// showSSH notes that the rest of a direction is encrypted, apart from the key exchange.
func (s *streams) showSSH(side Side) {
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

// notSSH reverts the recognition as SSH, because held, followed by data, is not a packet of SSH. data begins at offset.
func (s *Session) notSSH(side Side, offset int64, held, data []byte, ack int64) {
	s.sides[side].p.ssh = nil
	s.recognizeAnew(side, offset, held, data, ack)
}

// unseenSSH notes that bytes of a direction were not seen. If the beginning of an SSH_MSG_KEXINIT was seen, the direction is SSH. Otherwise
// later bytes cannot show that the direction is SSH.
func (s *streams) unseenSSH(side Side) {
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

// consume processes bytes of one field. It returns how many bytes it processed, and false if the bytes are not SSH.
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

// spend counts n bytes of the current field and packet.
func (r *sshReader) spend(n int) { r.left, r.packet = r.left-n, r.packet-n }

// line consumes bytes of the identification string.
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

// field collects bytes in held until there are want bytes.
func (r *sshReader) field(b []byte, want int) (n int, whole bool) {
	n = copy(r.held[min(r.heldN, want):want], b)
	r.heldN += n
	return n, r.heldN >= want
}

// header parses a packet's header up to the message number.
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
		r.old = false // SSH-1.99 means that both versions are offered
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

// header1 does the same as header for SSH 1. Its packets begin with a length and padding.
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

// size parses the length of a name-list.
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

// listed processes the end of a name-list.
func (r *sshReader) listed() {
	r.offer.end(r.lists)
	r.step = sshSize
	if r.lists == sshLists {
		r.step, r.left = sshTrailer, r.packet
	}
}
