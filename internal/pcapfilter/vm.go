package pcapfilter

import "encoding/binary"

// Packet is the input of a program.
type Packet struct {
	Data    []byte // the captured bytes
	Length  int    // length on the wire, the value of len; at least len(Data)
	HasVLAN bool   // live: the kernel removed a VLAN tag from Data
	VLAN    uint16 // live: the removed tag's control information
	Type    uint8  // live: sll_pkttype of packet(7)
}

// Run runs the program on a packet, as the kernel does, and returns how many bytes of it to
// keep, 0 if the packet is rejected. An unknown instruction, a division by zero or a jump past
// the end rejects the packet: Run neither panics nor runs forever, whatever the program. It
// does not allocate and may be called concurrently.
//
// (The VM of golang.org/x/net/bpf uses the number of captured bytes for len, which is wrong for
// a truncated packet, and is several times slower.)
func (p Program) Run(packet *Packet) uint32 {
	var a, x uint32
	var memory [scratch]uint32
	data := packet.Data
	for pc := 0; pc < len(p); pc++ {
		in := &p[pc]
		switch in.Op {
		case classLD | modeABS | sizeB:
			if uint64(in.K) < uint64(len(data)) {
				a = uint32(data[in.K])
			} else if !special(packet, in.K, &a) {
				return 0
			}
		case classLD | modeABS | sizeH:
			if uint64(in.K)+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[in.K:]))
			} else if !special(packet, in.K, &a) {
				return 0
			}
		case classLD | modeABS | sizeW:
			if uint64(in.K)+4 <= uint64(len(data)) {
				a = binary.BigEndian.Uint32(data[in.K:])
			} else if !special(packet, in.K, &a) {
				return 0
			}
		case classLD | modeIND | sizeB:
			at := uint64(x + in.K)
			if at >= uint64(len(data)) {
				return 0
			}
			a = uint32(data[at])
		case classLD | modeIND | sizeH:
			at := uint64(x + in.K)
			if at+2 > uint64(len(data)) {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(data[at:]))
		case classLD | modeIND | sizeW:
			at := uint64(x + in.K)
			if at+4 > uint64(len(data)) {
				return 0
			}
			a = binary.BigEndian.Uint32(data[at:])
		case classLDX | modeMSH | sizeB:
			if uint64(in.K) >= uint64(len(data)) {
				return 0
			}
			x = uint32(data[in.K]&15) * 4

		case classLD | modeLEN:
			a = uint32(packet.Length)
		case classLDX | modeLEN:
			x = uint32(packet.Length)
		case classLD | modeIMM:
			a = in.K
		case classLDX | modeIMM:
			x = in.K
		case classLD | modeMEM:
			a = memory[in.K%scratch]
		case classLDX | modeMEM:
			x = memory[in.K%scratch]
		case classST:
			memory[in.K%scratch] = a
		case classSTX:
			memory[in.K%scratch] = x
		case classMISC | miscTAX:
			x = a
		case classMISC | miscTXA:
			a = x

		case classJMP | jmpJA:
			if uint64(in.K) > uint64(len(p)) {
				return 0
			}
			pc += int(in.K)
		case classJMP | jmpJEQ | sourceK:
			pc += jump(a == in.K, in.Jt, in.Jf)
		case classJMP | jmpJGT | sourceK:
			pc += jump(a > in.K, in.Jt, in.Jf)
		case classJMP | jmpJGE | sourceK:
			pc += jump(a >= in.K, in.Jt, in.Jf)
		case classJMP | jmpJSET | sourceK:
			pc += jump(a&in.K != 0, in.Jt, in.Jf)
		case classJMP | jmpJEQ | sourceX:
			pc += jump(a == x, in.Jt, in.Jf)
		case classJMP | jmpJGT | sourceX:
			pc += jump(a > x, in.Jt, in.Jf)
		case classJMP | jmpJGE | sourceX:
			pc += jump(a >= x, in.Jt, in.Jf)
		case classJMP | jmpJSET | sourceX:
			pc += jump(a&x != 0, in.Jt, in.Jf)

		case classRET | retK:
			return in.K
		case classRET | retA:
			return a
		case classALU | aluNEG:
			a = -a
		default:
			ok := in.Op&7 == classALU
			if ok {
				a, ok = alu(in.Op, a, x, in.K)
			}
			if !ok {
				return 0
			}
		}
	}
	return 0
}

func jump(taken bool, t, f uint8) int {
	if taken {
		return int(t)
	}
	return int(f)
}

// alu returns the result of an arithmetic instruction, false for a division by zero or an
// unknown operation.
func alu(op uint16, a, x, k uint32) (uint32, bool) {
	if op&sourceX != 0 {
		k = x
	}
	switch op &^ (classALU | sourceX) {
	case aluADD:
		return a + k, true
	case aluSUB:
		return a - k, true
	case aluMUL:
		return a * k, true
	case aluAND:
		return a & k, true
	case aluOR:
		return a | k, true
	case aluXOR:
		return a ^ k, true
	case aluLSH:
		return a << k, true
	case aluRSH:
		return a >> k, true
	case aluDIV:
		if k != 0 {
			return a / k, true
		}
	case aluMOD:
		if k != 0 {
			return a % k, true
		}
	}
	return 0, false
}

// special executes the ancillary loads that programs of this package use. It returns false for
// any other load.
func special(packet *Packet, k uint32, a *uint32) bool {
	switch k {
	case ancillaryType:
		*a = uint32(packet.Type)
	case ancillaryVLAN:
		*a = uint32(packet.VLAN)
	case ancillaryHasVLAN:
		*a = 0
		if packet.HasVLAN {
			*a = 1
		}
	default:
		return false
	}
	return true
}
