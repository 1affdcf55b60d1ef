package pcapfilter

import "golang.org/x/net/bpf"

// label is a place in the program that is jumped to. It is set once, by place.
type label int

// instruction is a bpf.RawInstruction whose jumps lead to labels.
type instruction struct {
	bpf.RawInstruction
	yes, no label // of a jump; of an unconditional one yes
}

// generator writes a program. A fault is noted once, and the rest is in vain.
type generator struct {
	cfg    Config
	layer  layer
	text   string
	out    []instruction
	labels []int // index of the instruction that a label stands before
	tags   uint32
	moving bool   // what is behind the link layer's addresses moves by M[movedBy]
	slots  uint32 // the first word of memory that is free
	at     int    // where what is written now stands in the expression
	err    *Error
}

// movedBy is the memory word that holds how many bytes of VLAN tag a packet has, live.
const movedBy = 0

func newGenerator(e *Expression, c Config) *generator {
	g := &generator{cfg: c, text: e.text}
	var ok bool
	if g.layer, ok = layers[c.Link]; !ok {
		g.fail(0, "no filter can be made for %s", c.Link.title())
		return g
	}
	if c.Live && e.vlan && c.Link == LinkEthernet {
		g.emit(classLD|modeIMM, 0)
		g.emit(classST, movedBy)
		g.slots = movedBy + 1
	}
	accept, reject := g.label(), g.label()
	if e.root != nil {
		g.condition(e.root, accept, reject)
	}
	g.place(accept)
	g.emit(classRET|retK, c.Snap)
	if e.root != nil {
		g.place(reject)
		g.emit(classRET|retK, 0)
	}
	return g
}

func (g *generator) fail(at int, format string, args ...any) {
	if g.err == nil {
		l := lexer{text: g.text}
		l.fail(at, format, args...)
		g.err = l.err
	}
}

// label makes a label that is to be placed.
func (g *generator) label() label {
	g.labels = append(g.labels, -1)
	return label(len(g.labels) - 1)
}

// place puts a label before the next instruction.
func (g *generator) place(l label) { g.labels[l] = len(g.out) }

// emit writes an instruction that is no jump.
func (g *generator) emit(op uint16, k uint32) {
	g.write(instruction{RawInstruction: bpf.RawInstruction{Op: op, K: k}})
}

// write writes an instruction, until there are more than any program may have.
func (g *generator) write(i instruction) {
	if len(g.out) == MaxInstructions {
		g.fail(g.at, "here the program grows beyond %d instructions, which is all that the kernel takes", MaxInstructions)
		return
	}
	g.out = append(g.out, i)
}

// jump writes a conditional jump.
func (g *generator) jump(op uint16, k uint32, yes, no label) {
	g.write(instruction{bpf.RawInstruction{Op: classJMP | op, K: k}, yes, no})
}

// always writes an unconditional jump.
func (g *generator) always(to label) {
	g.write(instruction{RawInstruction: bpf.RawInstruction{Op: classJMP | jmpJA}, yes: to})
}

// condition writes what jumps to yes where n holds and to no where it does not.
func (g *generator) condition(n node, yes, no label) {
	switch n := n.(type) {
	case *placed:
		g.at = n.at
		g.condition(n.node, yes, no)
	case *both:
		right := g.label()
		g.condition(n.left, right, no)
		g.place(right)
		g.condition(n.right, yes, no)
	case *either:
		right := g.label()
		g.condition(n.left, yes, right)
		g.place(right)
		g.condition(n.right, yes, no)
	case *not:
		g.condition(n.node, no, yes)
	case *etherProto:
		g.etherProto(n.number, yes, no)
	case *ipProto:
		g.ipProto(n, yes, no)
	case *host4:
		g.host4(n, yes, no)
	case *host6:
		g.host6(n, yes, no)
	case *etherHost:
		g.etherHost(n, yes, no)
	case *ports:
		g.ports(n, yes, no)
	case *group:
		g.group(n, yes, no)
	case *passing:
		g.passing(n, yes, no)
	case *vlan:
		g.vlan(n, yes, no)
	case *relation:
		g.relation(n, yes, no)
	}
}

// program puts numbers in place of the labels.
func (g *generator) program() (Program, error) {
	if g.err != nil {
		return nil, g.err
	}
	before, size := g.layOut()
	if size > MaxInstructions {
		g.fail(0, "it makes a program of %d instructions: the kernel takes %d", size, MaxInstructions)
		return nil, g.err
	}
	out := make(Program, 0, size)
	for i, in := range g.out {
		raw := in.RawInstruction
		at := before[i]
		switch {
		case raw.Op == classJMP|jmpJA:
			raw.K = uint32(before[g.labels[in.yes]] - at - 1)
			out = append(out, raw)
		case raw.Op&7 == classJMP:
			out = g.conditional(out, in, before, before[i+1]-at-1)
		default:
			out = append(out, raw)
		}
	}
	return out, nil
}

// reach is how far a conditional jump goes at most: its offset has eight bits.
const reach = 255

// layOut returns where each instruction goes, and how many there are in the end: one
// unconditional jump more for each conditional one that has to go further than it can.
func (g *generator) layOut() (before []int, size int) {
	extra := make([]int, len(g.out))
	before = make([]int, len(g.out)+1)
	for changed := true; changed; {
		changed = false
		for i := range g.out {
			before[i+1] = before[i] + 1 + extra[i]
		}
		for i, in := range g.out {
			if in.Op&7 != classJMP || in.Op == classJMP|jmpJA {
				continue
			}
			far := 0
			for _, l := range [2]label{in.yes, in.no} {
				// An offset to behind the jumps that belong to this one.
				if before[g.labels[l]]-before[i]-1 > reach {
					far++
				}
			}
			if far > extra[i] {
				extra[i], changed = far, true
			}
		}
	}
	return before, before[len(g.out)]
}

// conditional appends a conditional jump and the unconditional ones that go on for it.
func (g *generator) conditional(out Program, in instruction, before []int, extra int) Program {
	at := len(out)
	offsets := [2]uint8{}
	var further Program
	for side, l := range [2]label{in.yes, in.no} {
		target := before[g.labels[l]]
		if target-at-1 <= reach {
			offsets[side] = uint8(target - at - 1)
			continue
		}
		offsets[side] = uint8(len(further))
		further = append(further, bpf.RawInstruction{Op: classJMP | jmpJA, K: uint32(target - at - 1 - len(further) - 1)})
	}
	for len(further) < extra { // it was further once; nothing leads here
		further = append(further, bpf.RawInstruction{Op: classJMP | jmpJA})
	}
	in.Jt, in.Jf = offsets[0], offsets[1]
	return append(append(out, in.RawInstruction), further...)
}
