package pcapfilter

import (
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Config says what a program is for. The zero value is for packets of BSD loopback links:
// Link is to be set.
type Config struct {
	// Link is what the packets begin with.
	Link wire.LinkType
	// Live is set where the kernel runs the program on a packet socket: Linux takes the
	// outer VLAN tag out of received packets, and tells it and a packet's direction by
	// ancillary loads (SKF_AD_VLAN_TAG and others, linux/filter.h). Without it a tag is
	// looked for in the bytes only, and inbound and outbound are known on Linux cooked
	// captures only.
	Live bool
	// Snap is what the program returns for a packet that is taken: how many bytes of it
	// to keep. Default 262144, which is all of it.
	Snap uint32
}

// DefaultSnap keeps all of a packet.
const DefaultSnap = 262144

// Bounds of an expression and of what it becomes.
const (
	MaxLength       = 16 << 10 // bytes of an expression
	MaxInstructions = 4096     // BPF_MAXINSNS of linux/bpf_common.h
	maxDepth        = 100      // parentheses, brackets and signs within each other
)

// Expression is a filter expression that was understood. It is immutable.
type Expression struct {
	text string
	root node // nil: everything is taken
	vlan bool // it has a vlan
}

// Parse reads an expression. An empty one takes every packet. The error is an *Error.
func Parse(text string) (*Expression, error) {
	p := parser{lexer: lexer{text: text}}
	root := p.parse()
	if p.err != nil {
		return nil, p.err
	}
	return &Expression{text: text, root: root, vlan: p.vlan}, nil
}

// Compile makes the program for one link type. An error, which is an *Error, says what
// cannot be asked of that link type, or that the program would be too long.
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

// Compile parses an expression and makes the program for one link type.
func Compile(text string, c Config) (Program, error) {
	e, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return e.Compile(c)
}

// LinkName returns the link type as `tap filter --link` has it.
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

// linkTitle returns the link type for an error message.
func linkTitle(l wire.LinkType) string {
	for _, known := range linkNames {
		if known.link == l {
			return known.title
		}
	}
	return LinkName(l)
}

// LinkNamed returns the link type with a name, and false if there is none.
func LinkNamed(name string) (wire.LinkType, bool) {
	for _, known := range linkNames {
		if known.name == name {
			return known.link, true
		}
	}
	return 0, false
}
