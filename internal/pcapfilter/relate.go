package pcapfilter

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// relation writes a comparison. It first tests that a packet has each protocol from which the
// comparison reads bytes, in the order of the expression.
func (g *generator) relation(n *relation, yes, no Label) {
	seen := map[*protocol]bool{}
	g.require(n.left, seen, no)
	g.require(n.right, seen, no)
	if n.left.constant() && n.right.constant() {
		if compare(n.op, n.left.number, n.right.number) {
			g.Goto(yes)
		} else {
			g.Goto(no)
		}
		return
	}

	op := map[string]uint16{"=": jmpJEQ, "!=": jmpJEQ, ">": jmpJGT, "<=": jmpJGT, ">=": jmpJGE, "<": jmpJGE}[n.op]
	switch n.op {
	case "!=", "<=", "<":
		yes, no = no, yes
	}
	if n.right.constant() {
		g.value(n.left, g.slots)
		g.jump(op|sourceK, n.right.number, yes, no)
		return
	}
	g.pair(n.left, n.right, g.slots)
	g.jump(op|sourceX, 0, yes, no)
}

// require tests that a packet has each protocol from which a value reads bytes, and jumps to no
// otherwise. (The order of the tests matters for a packet that is truncated within a header.)
func (g *generator) require(v *value, seen map[*protocol]bool, no Label) {
	if v == nil {
		return
	}
	transport := v.op == "[]" && v.proto.number != 0 && v.proto.over4
	if transport && !seen[v.proto] {
		g.requireEther(wire.EtherIPv4, no)
	}
	g.require(v.left, seen, no)
	g.require(v.right, seen, no)
	if v.op != "[]" || seen[v.proto] {
		return
	}

	seen[v.proto] = true
	there := g.Label()
	switch {
	case transport:
		carried := g.Label()
		g.loadNetwork(sizeB, ip4Protocol)
		g.jump(jmpJEQ, uint32(v.proto.number), carried, no)
		g.Bind(carried)
		g.loadNetwork(sizeH, ip4Fragment)
		g.jump(jmpJSET, offsetBits, no, there)
	case v.proto.number != 0: // ICMPv6, which must not follow a fragment header
		g.requireEther(wire.EtherIPv6, no)
		g.loadNetwork(sizeB, ip6Next)
		g.jump(jmpJEQ, uint32(v.proto.number), there, no)
	case v.proto.ether != 0:
		g.etherProto(uint32(v.proto.ether), there, no)
	}
	g.Bind(there)
}

// requireEther jumps to no unless the packet has the EtherType.
func (g *generator) requireEther(number uint32, no Label) {
	there := g.Label()
	g.etherProto(number, there, no)
	g.Bind(there)
}

// pair loads the operand left into the accumulator and the operand right into X. It may use the
// words of memory from slot on.
func (g *generator) pair(left, right *value, slot uint32) {
	if slot >= scratch {
		g.fail(left.at, "the calculation needs more than %d words of memory: expected a simpler one, or fewer parentheses on the right", scratch)
		return
	}
	if left.left == nil || left.op == "[]" && left.left.constant() { // left needs no memory
		g.value(right, slot)
		g.emit(classST, slot)
		g.value(left, slot+1)
		g.emit(classLDX|modeMEM, slot)
		return
	}
	g.value(left, slot)
	g.emit(classST, slot)
	g.value(right, slot+1)
	g.emit(classMISC|miscTAX, 0)
	g.emit(classLD|modeMEM, slot)
}

var aluOf = map[string]uint16{
	"+": aluADD, "-": aluSUB, "*": aluMUL, "/": aluDIV, "%": aluMOD, "&": aluAND, "|": aluOR, "^": aluXOR, "<<": aluLSH, ">>": aluRSH,
}

// value leaves a value in the accumulator. It may use the words of memory from slot on.
func (g *generator) value(v *value, slot uint32) {
	switch {
	case v.constant():
		g.emit(classLD|modeIMM, v.number)
	case v.op == "len":
		g.emit(classLD|modeLEN, 0)
	case v.op == "[]":
		g.bytes(v, slot)
	case v.right == nil: // a negation
		g.value(v.left, slot)
		g.emit(classALU|aluNEG, 0)
	case v.right.constant():
		g.value(v.left, slot)
		g.emit(classALU|aluOf[v.op]|sourceK, v.right.number)
	default:
		g.pair(v.left, v.right, slot)
		g.emit(classALU|aluOf[v.op]|sourceX, 0)
	}
}

// maxOffset is an offset in bytes past the end of every packet.
const maxOffset = 1 << 16

// bytes loads bytes of the packet.
func (g *generator) bytes(v *value, slot uint32) {
	size := map[uint32]uint16{1: sizeB, 2: sizeH, 4: sizeW}[v.size]
	base, transport, moved := g.network(), false, g.moving
	switch {
	case v.proto.number != 0 && !v.proto.over4:
		base += ip6Header
	case v.proto.number != 0:
		transport = true
	case v.proto.ether == 0:
		base, moved = 0, false
	}

	if v.left.constant() {
		at := int64(base) + int64(int32(v.left.number))
		if at < 0 || at >= maxOffset {
			g.fail(v.left.at, "offset %d: expected one within the packet, below %d", int32(v.left.number), maxOffset)
			return
		}
		switch {
		case transport:
			g.findTransport()
			g.emit(classLD|modeIND|size, uint32(at))
		case moved:
			g.loadMoved(size, uint32(at))
		default:
			g.emit(classLD|modeABS|size, uint32(at))
		}
		return
	}

	g.value(v.left, slot)
	switch {
	case transport && moved:
		if slot >= scratch {
			g.fail(v.at, "the calculation needs more than %d words of memory", scratch)
			return
		}
		g.emit(classST, slot)
		g.findTransport()
		g.emit(classLD|modeMEM, slot)
		g.emit(classALU|aluADD|sourceX, 0)
	case transport:
		g.findTransport()
		g.emit(classALU|aluADD|sourceX, 0)
	case moved:
		g.emit(classLDX|modeMEM, movedBy)
		g.emit(classALU|aluADD|sourceX, 0)
	}
	g.emit(classMISC|miscTAX, 0)
	g.emit(classLD|modeIND|size, base)
}
