package pcapfilter

import (
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Config describes the packets that a program is for. Link must be set: its zero value means
// BSD loopback links.
type Config struct {
	// Link is the type of the packets' link-layer header.
	Link wire.LinkType

	// Live is true if the kernel runs the program on a packet socket. Linux removes the outer
	// VLAN tag from received packets and provides it, and a packet's direction, by ancillary
	// loads (SKF_AD_VLAN_TAG and others, linux/filter.h). Without Live the program looks for
	// a tag only in the bytes, and knows inbound and outbound only in Linux cooked captures.
	Live bool

	// Snap is the program's result for an accepted packet: how many bytes of it to keep.
	// Default 262144, which keeps every packet whole.
	Snap uint32
}

// DefaultSnap keeps every packet whole.
const DefaultSnap = 262144

// Bounds of an expression and of its program.
const (
	MaxLength       = 16 << 10 // bytes of an expression
	MaxInstructions = 4096     // BPF_MAXINSNS of linux/bpf_common.h
	maxDepth        = 100      // nested parentheses, brackets and signs
)

// Expression is a parsed filter expression. It is immutable.
type Expression struct {
	text string
	root node // nil: every packet is accepted
	vlan bool // it contains the primitive vlan
}

// Parse parses an expression. An empty one accepts every packet. The error is an *Error.
func Parse(text string) (*Expression, error) {
	p := parser{lexer: lexer{text: text}}
	root := p.parse()
	if p.err != nil {
		return nil, p.err
	}
	return &Expression{text: text, root: root, vlan: p.vlan}, nil
}

// Compile returns the program for one link type. The error, an *Error, names a condition that
// the link type does not support, or says that the program would be too long.
func (e *Expression) Compile(c Config) (Program, error) {
	if c.Snap == 0 {
		c.Snap = DefaultSnap
	}
	g := newGenerator(e, c)
	p, err := g.program()
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Compile parses an expression and returns its program for one link type.
func Compile(text string, c Config) (Program, error) {
	e, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return e.Compile(c)
}

// LinkName returns the name of a link type in `tap filter --link`.
func LinkName(l wire.LinkType) string {
	for _, known := range linkNames {
		if known.link == l {
			return known.name
		}
	}
	return fmt.Sprintf("link type %d", uint16(l))
}

// linkNames lists the names of link types.
var linkNames = []struct {
	name, title string
	link        wire.LinkType
}{
	{"ethernet", "Ethernet", wire.LinkEthernet},
	{"sll", "Linux cooked v1", wire.LinkSLL},
	{"sll2", "Linux cooked v2", wire.LinkSLL2},
	{"raw", "raw IP", wire.LinkRaw},
	{"null", "BSD loopback", wire.LinkNull},
	{"loop", "OpenBSD loopback", wire.LinkLoop},
	{"ipv4", "raw IPv4", wire.LinkIPv4},
	{"ipv6", "raw IPv6", wire.LinkIPv6},
}

// linkTitle returns the name of a link type for an error message.
func linkTitle(l wire.LinkType) string {
	for _, known := range linkNames {
		if known.link == l {
			return known.title
		}
	}
	return LinkName(l)
}

// LinkNamed returns the link type whose LinkName is the given name, and whether one has it.
func LinkNamed(name string) (wire.LinkType, bool) {
	for _, known := range linkNames {
		if known.name == name {
			return known.link, true
		}
	}
	return 0, false
}
