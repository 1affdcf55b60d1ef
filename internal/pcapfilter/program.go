package pcapfilter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// Program is a classic BPF program. Its result for a packet is the number of bytes to keep, 0 to
// reject the packet.
type Program []bpf.RawInstruction

// Codes of linux/bpf_common.h and linux/filter.h. An opcode is a class plus the fields of that class (size, mode,
// operation, source).
const (
	classLD   = 0x00
	classLDX  = 0x01
	classST   = 0x02
	classSTX  = 0x03
	classALU  = 0x04
	classJMP  = 0x05
	classRET  = 0x06
	classMISC = 0x07

	sizeW = 0x00
	sizeH = 0x08
	sizeB = 0x10

	modeIMM = 0x00
	modeABS = 0x20
	modeIND = 0x40
	modeMEM = 0x60
	modeLEN = 0x80
	modeMSH = 0xa0

	aluADD = 0x00
	aluSUB = 0x10
	aluMUL = 0x20
	aluDIV = 0x30
	aluOR  = 0x40
	aluAND = 0x50
	aluLSH = 0x60
	aluRSH = 0x70
	aluNEG = 0x80
	aluMOD = 0x90
	aluXOR = 0xa0

	jmpJA   = 0x00
	jmpJEQ  = 0x10
	jmpJGT  = 0x20
	jmpJGE  = 0x30
	jmpJSET = 0x40

	sourceK = 0x00
	sourceX = 0x08

	retK = 0x00
	retA = 0x10

	miscTAX = 0x00
	miscTXA = 0x80
)

// scratch is the number of words of scratch memory: BPF_MEMWORDS.
const scratch = 16

// Offsets of ancillary loads: SKF_AD_OFF plus the number of the value (linux/filter.h).
const (
	ancillary          = 0xfffff000
	ancillaryType      = ancillary + 4  // SKF_AD_PKTTYPE
	ancillaryVLAN      = ancillary + 44 // SKF_AD_VLAN_TAG
	ancillaryHasVLAN   = ancillary + 48 // SKF_AD_VLAN_TAG_PRESENT
	ancillaryEnd       = ancillary + 64 // SKF_AD_MAX
	packetTypeOutgoing = 4              // PACKET_OUTGOING of linux/if_packet.h
)

// Validate returns an error if the kernel would refuse the program (bpf_check_classic of
// net/core/filter.c).
func (p Program) Validate() error {
	if len(p) == 0 || len(p) > MaxInstructions {
		return fmt.Errorf("a program of %d instructions: expected 1 to %d", len(p), MaxInstructions)
	}
	for i, in := range p {
		if problem := check(in, len(p)-i-1); problem != "" {
			return fmt.Errorf("instruction %d: %s", i, problem)
		}
	}
	if last := p[len(p)-1].Op; last != classRET|retK && last != classRET|retA {
		return fmt.Errorf("instruction %d: the last one must return", len(p)-1)
	}
	return p.checkScratch()
}

// check returns the problem of one instruction, or "". after is the number of
// instructions that follow it.
func check(in bpf.RawInstruction, after int) string {
	switch {
	case !known[in.Op]:
		return fmt.Sprintf("code %#x is not known", in.Op)
	case in.Op == classJMP|jmpJA:
		if uint64(in.K) >= uint64(after) {
			return "it jumps past the end"
		}
	case in.Op&7 == classJMP:
		if int(in.Jt) >= after || int(in.Jf) >= after {
			return "it jumps past the end"
		}
	case in.Op == classALU|aluDIV|sourceK, in.Op == classALU|aluMOD|sourceK:
		if in.K == 0 {
			return "a division by zero"
		}
	case in.Op == classALU|aluLSH|sourceK, in.Op == classALU|aluRSH|sourceK:
		if in.K > maxShift {
			return fmt.Sprintf("a shift by %d bits", in.K)
		}
	case in.Op == classLD|modeMEM, in.Op == classLDX|modeMEM, in.Op == classST, in.Op == classSTX:
		if in.K >= scratch {
			return fmt.Sprintf("there is no memory word %d", in.K)
		}
	case in.Op&7 == classLD && in.Op&0xe0 == modeABS:
		if in.K >= ancillaryEnd || in.K >= ancillary && in.K%4 != 0 {
			return fmt.Sprintf("there is no ancillary load %#x", in.K)
		}
	}
	return ""
}

// known are the opcodes that the kernel accepts.
var known = func() map[uint16]bool {
	m := map[uint16]bool{
		classLD | modeIMM: true, classLD | modeMEM: true, classLD | modeLEN: true,
		classLDX | modeIMM: true, classLDX | modeMEM: true, classLDX | modeLEN: true, classLDX | modeMSH | sizeB: true,
		classST: true, classSTX: true, classALU | aluNEG: true, classJMP | jmpJA: true,
		classRET | retK: true, classRET | retA: true, classMISC | miscTAX: true, classMISC | miscTXA: true,
	}
	for _, size := range []uint16{sizeW, sizeH, sizeB} {
		m[classLD|size|modeABS], m[classLD|size|modeIND] = true, true
	}
	for _, source := range []uint16{sourceK, sourceX} {
		for _, op := range []uint16{aluADD, aluSUB, aluMUL, aluDIV, aluOR, aluAND, aluLSH, aluRSH, aluMOD, aluXOR} {
			m[classALU|op|source] = true
		}
		for _, op := range []uint16{jmpJEQ, jmpJGT, jmpJGE, jmpJSET} {
			m[classJMP|op|source] = true
		}
	}
	return m
}()

// checkScratch refuses a program that reads a word of memory that is not written on every path to the read.
func (p Program) checkScratch() error {
	const all = 1<<scratch - 1
	written := make([]uint16, len(p)) // for each instruction, the words that are written before every jump to the instruction: one bit for each word
	for i := range written {
		written[i] = all
	}
	now := uint16(0)
	for i, in := range p {
		now &= written[i]
		switch {
		case in.Op == classST, in.Op == classSTX:
			now |= 1 << in.K
		case in.Op == classLD|modeMEM, in.Op == classLDX|modeMEM:
			if now&(1<<in.K) == 0 {
				return fmt.Errorf("instruction %d: memory word %d is read before it is written", i, in.K)
			}
		case in.Op == classJMP|jmpJA:
			written[i+1+int(in.K)] &= now
			now = all
		case in.Op&7 == classJMP:
			written[i+1+int(in.Jt)] &= now
			written[i+1+int(in.Jf)] &= now
			now = all
		}
	}
	return nil
}

// And returns a program that accepts the packets that both given programs accept. It executes the program first. If the result is
// not zero, it executes the program second and returns the result of second.
func And(first, second Program) (Program, error) {
	out := make(Program, 0, len(first)+2+len(second))
	out = append(out, first...)
	byA := false
	for i, in := range first {
		switch {
		case in.Op == classRET|retK && in.K != 0:
			out[i] = bpf.RawInstruction{Op: classJMP | jmpJA, K: uint32(len(first) + 2 - i - 1)}
		case in.Op == classRET|retA:
			byA = true
			out[i] = bpf.RawInstruction{Op: classJMP | jmpJA, K: uint32(len(first) - i - 1)}
		}
	}

	// Instructions of first that returned the accumulator now jump here.
	out = append(out,
		bpf.RawInstruction{Op: classJMP | jmpJEQ | sourceK, Jf: 1},
		bpf.RawInstruction{Op: classRET | retK})
	if !byA {
		out = out[:len(first)]
		for i := range out {
			if out[i].Op == classJMP|jmpJA && first[i].Op == classRET|retK {
				out[i].K -= 2
			}
		}
	}
	out = append(out, second...)
	if err := out.Validate(); err != nil {
		return nil, fmt.Errorf("both filters together: %w", err)
	}
	return out, nil
}
