package pcapfilter

import "fmt"

// Link is a LINKTYPE_ value of the pcap file format
// (https://www.tcpdump.org/linktypes.html): what a packet begins with.
type Link uint16

// The link types that programs are made for.
const (
	LinkNull     Link = 0   // BSD loopback
	LinkEthernet Link = 1   // Ethernet
	LinkRaw      Link = 101 // IPv4 or IPv6 without a link layer
	LinkLoop     Link = 108 // OpenBSD loopback
	LinkSLL      Link = 113 // Linux cooked capture v1
	LinkIPv4     Link = 228
	LinkIPv6     Link = 229
	LinkSLL2     Link = 276 // Linux cooked capture v2
)

// Config says what a program is for. The zero value is for packets of BSD loopback links:
// Link is to be set.
type Config struct {
	// Link is what the packets begin with.
	Link Link
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

const defaultSnap = 262144

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
		c.Snap = defaultSnap
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

// Name returns the link type as `tap filter --link` has it.
func (l Link) Name() string {
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
	link        Link
}{
	{"ethernet", "Ethernet", LinkEthernet},
	{"sll", "Linux cooked v1", LinkSLL},
	{"sll2", "Linux cooked v2", LinkSLL2},
	{"raw", "raw IP", LinkRaw},
	{"null", "BSD loopback", LinkNull},
	{"loop", "OpenBSD loopback", LinkLoop},
	{"ipv4", "raw IPv4", LinkIPv4},
	{"ipv6", "raw IPv6", LinkIPv6},
}

// title returns the link type for an error message.
func (l Link) title() string {
	for _, known := range linkNames {
		if known.link == l {
			return known.title
		}
	}
	return l.Name()
}

// LinkNamed returns the link type with a name, and false if there is none.
func LinkNamed(name string) (Link, bool) {
	for _, known := range linkNames {
		if known.name == name {
			return known.link, true
		}
	}
	return 0, false
}
