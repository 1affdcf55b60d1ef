package pcapfilter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// Label is a position in a program, the target of jumps.
type Label int

// Assembler writes a program whose jumps lead to labels. Jumps only lead forward, because classic BPF has no other jumps. The zero value is
// an empty program. Instructions in excess of MaxInstructions are discarded, and Program then returns an error.
type Assembler struct {
	out     []instruction
	labels  []int  // index of the instruction that follows a label
	tooLong func() // called at the first instruction that does not fit; may be nil
	full    bool
}

// instruction is a bpf.RawInstruction whose jumps lead to labels.
type instruction struct {
	bpf.RawInstruction
	yes, no Label // targets of a jump; an unconditional jump has only yes
}

// Label returns a new label, which must be bound once.
func (a *Assembler) Label() Label {
	a.labels = append(a.labels, -1)
	return Label(len(a.labels) - 1)
}

// Bind binds a label to the next instruction.
func (a *Assembler) Bind(l Label) { a.labels[l] = len(a.out) }

// Emit writes an instruction that is not a jump. It panics if package bpf cannot assemble it.
func (a *Assembler) Emit(in bpf.Instruction) {
	raw, err := in.Assemble()
	if err != nil {
		panic(err)
	}
	a.emit(raw.Op, raw.K)
}

// emit writes an instruction by its opcode and constant.
func (a *Assembler) emit(op uint16, k uint32) {
	a.write(instruction{RawInstruction: bpf.RawInstruction{Op: op, K: k}})
}

// write appends an instruction, or calls tooLong if the program is full.
func (a *Assembler) write(i instruction) {
	if len(a.out) < MaxInstructions {
		a.out = append(a.out, i)
		return
	}
	if !a.full && a.tooLong != nil {
		a.tooLong()
	}
	a.full = true
}

// A Test is a comparison of the accumulator with a value, for a conditional jump.
type Test uint16

// Tests for conditional jumps.
const (
	Equal     Test = jmpJEQ
	Greater   Test = jmpJGT // unsigned
	AtLeast   Test = jmpJGE // unsigned
	HasAnyBit Test = jmpJSET
)

// If jumps to yes if the test of the accumulator against value is true, else to no.
func (a *Assembler) If(test Test, value uint32, yes, no Label) { a.jump(uint16(test), value, yes, no) }

// IfX does the same as If, with the index register as the value.
func (a *Assembler) IfX(test Test, yes, no Label) { a.jump(uint16(test)|sourceX, 0, yes, no) }

// jump writes a conditional jump.
func (a *Assembler) jump(op uint16, k uint32, yes, no Label) {
	a.write(instruction{bpf.RawInstruction{Op: classJMP | op, K: k}, yes, no})
}

// Goto jumps to a label.
func (a *Assembler) Goto(to Label) {
	a.write(instruction{RawInstruction: bpf.RawInstruction{Op: classJMP | jmpJA}, yes: to})
}

// OneOf jumps to yes if the accumulator is one of the values, else to no.
func (a *Assembler) OneOf(values []uint32, yes, no Label) {
	for i, v := range values {
		next := no
		if i < len(values)-1 {
			next = a.Label()
		}
		a.jump(jmpJEQ, v, yes, next)
		if i < len(values)-1 {
			a.Bind(next)
		}
	}
}

// Program returns the program, with labels resolved to offsets. It returns an error if the program has more than MaxInstructions.
func (a *Assembler) Program() (Program, error) {
	before, size := a.layOut()
	if a.full {
		return nil, fmt.Errorf("the program has more than %d instructions, the kernel's limit", MaxInstructions)
	}
	if size > MaxInstructions {
		return nil, fmt.Errorf("the program has %d instructions: the kernel accepts at most %d", size, MaxInstructions)
	}

	out := make(Program, 0, size)
	for i, in := range a.out {
		raw := in.RawInstruction
		at := before[i]
		switch {
		case raw.Op == classJMP|jmpJA:
			raw.K = uint32(before[a.labels[in.yes]] - at - 1)
			out = append(out, raw)
		case raw.Op&7 == classJMP:
			out = a.conditional(out, in, before, before[i+1]-at-1)
		default:
			out = append(out, raw)
		}
	}
	return out, nil
}

// reach is the largest offset of a conditional jump, which has eight bits.
const reach = 255

// layOut returns the position of each instruction and the program's size. If a target of a conditional jump is out of reach, the
// conditional jump gets an unconditional jump to that target, at most one for each of its two targets.
func (a *Assembler) layOut() (before []int, size int) {
	extra := make([]int, len(a.out))
	before = make([]int, len(a.out)+1)
	for changed := true; changed; {
		changed = false
		for i := range a.out {
			before[i+1] = before[i] + 1 + extra[i]
		}
		for i, in := range a.out {
			if in.Op&7 != classJMP || in.Op == classJMP|jmpJA {
				continue
			}
			far := 0
			for _, l := range [2]Label{in.yes, in.no} {
				// The offset to the target, which includes this jump's extra jumps.
				if before[a.labels[l]]-before[i]-1 > reach {
					far++
				}
			}
			if far > extra[i] {
				extra[i], changed = far, true
			}
		}
	}
	return before, before[len(a.out)]
}

// conditional appends a conditional jump and the unconditional jumps to targets out of its reach.
func (a *Assembler) conditional(out Program, in instruction, before []int, extra int) Program {
	at := len(out)
	offsets := [2]uint8{}
	var further Program
	for side, l := range [2]Label{in.yes, in.no} {
		target := before[a.labels[l]]
		if target-at-1 <= reach {
			offsets[side] = uint8(target - at - 1)
			continue
		}
		offsets[side] = uint8(len(further))
		further = append(further, bpf.RawInstruction{Op: classJMP | jmpJA, K: uint32(target - at - 1 - len(further) - 1)})
	}
	for len(further) < extra { // reserved by layOut but not needed; no jump leads here
		further = append(further, bpf.RawInstruction{Op: classJMP | jmpJA})
	}
	in.Jt, in.Jf = offsets[0], offsets[1]
	return append(append(out, in.RawInstruction), further...)
}
