package pcapfilter

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// generator writes a program. It records the first error, after which the program is not used.
type generator struct {
	Assembler
	cfg    Config
	layer  layer
	text   string
	tags   uint32
	moving bool   // headers after the link-layer addresses are shifted by M[movedBy] bytes
	slots  uint32 // the first free word of scratch memory
	at     int    // offset in the expression of the condition that is being written
	err    *Error
}

// movedBy is the memory word with the number of bytes of VLAN tag in a live packet.
const movedBy = 0

func newGenerator(e *Expression, c Config) *generator {
	g := &generator{cfg: c, text: e.text}
	g.tooLong = func() {
		g.fail(g.at, "here the program exceeds %d instructions, the kernel's limit", MaxInstructions)
	}
	var ok bool
	if g.layer, ok = layers[c.Link]; !ok {
		g.fail(0, "filters do not support %s", linkTitle(c.Link))
		return g
	}
	if c.Live && e.vlan && c.Link == wire.LinkEthernet {
		g.emit(classLD|modeIMM, 0)
		g.emit(classST, movedBy)
		g.slots = movedBy + 1
	}

	accept, reject := g.Label(), g.Label()
	if e.root != nil {
		g.condition(e.root, accept, reject)
	}
	g.Bind(accept)
	g.emit(classRET|retK, c.Snap)
	if e.root != nil {
		g.Bind(reject)
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

// condition writes code that jumps to yes if n is true and to no otherwise.
func (g *generator) condition(n node, yes, no Label) {
	switch n := n.(type) {
	case *located:
		g.at = n.at
		g.condition(n.node, yes, no)
	case *both:
		right := g.Label()
		g.condition(n.left, right, no)
		g.Bind(right)
		g.condition(n.right, yes, no)
	case *either:
		right := g.Label()
		g.condition(n.left, yes, right)
		g.Bind(right)
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

// program returns the program, or the first error.
func (g *generator) program() (Program, error) {
	if g.err != nil {
		return nil, g.err
	}
	p, err := g.Program()
	if err != nil {
		g.fail(0, "%v", err)
		return nil, g.err
	}
	return p, nil
}
