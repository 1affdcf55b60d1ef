package pcapfilter

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Values of generated expressions and packets. They are few, so that expressions often match.
var (
	someIPv4     = []string{"10.0.0.1", "10.0.0.2", "10.1.2.3", "192.168.1.1", "224.0.0.5", "255.255.255.255"}
	someIPv6     = []string{"::1", "fe80::1", "fd00::2", "ff02::1", "2001:db8:2:2:3:4:5:6"}
	someNets     = []string{"10", "10.1", "10.0.0", "192.168.1.1", "10.0.0.0/8", "10.0.0.0/30", "0.0.0.0/0", "192.168.0.0 mask 255.255.0.0", "fd00::/8", "fe80::/64", "2001:db8:2::/47", "::1"}
	someMACs     = []string{"02:00:00:00:00:01", "02:00:00:00:00:02", "33:33:00:00:00:01", "ff:ff:ff:ff:ff:ff"}
	somePorts    = []string{"80", "443", "53", "0x1f90", "0120"}
	someRanges   = []string{"80-443", "1-100", "443", "8000-9000"}
	someNumbers  = []string{"0", "1", "2", "5", "6", "17", "0x45", "58", "64", "255", "0x800", "0x86dd", "1500", "0x7fffffff", "0xfffffffe"}
	someProtos   = []string{"ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "pim", "ah", "esp", "vrrp"}
	someIndexed  = []string{"ether", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "pim", "vrrp"}
	someOffsets  = []string{"0", "1", "2", "4", "6", "8", "9", "12", "13", "16", "20", "40"}
	someEthers   = []string{"0x800", "0x86dd", `\arp`, `\ip`, "0x888e"}
	someIPProtos = []string{"6", "17", `\tcp`, `\udp`, `\icmp`, "132", "44"}
	someTags     = []string{"vlan", "vlan", "vlan 5", "vlan 6", "vlan (5)"}
	someDirs     = []string{"", "src ", "dst ", "src or dst ", "src and dst ", "dst and src "}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// randomExpression returns an expression that is valid for a link type, in this package and in
// libpcap.
func randomExpression(r *rand.Rand, link wire.LinkType) string {
	return (&grammar{Rand: r, link: link}).expression(3)
}

type grammar struct {
	*rand.Rand
	link wire.LinkType
}

// expression returns operands connected by "and" and "or".
func (g *grammar) expression(depth int) string {
	text, takeOver := g.operand(depth)
	for range g.IntN(3) {
		text += pick(g.Rand, []string{" and ", " or ", " && ", " || ", " and ", " or "})
		if takeOver != nil && g.IntN(3) == 0 {
			text += g.maybeNot() + takeOver()
			continue
		}
		var next string
		next, takeOver = g.operand(depth)
		text += next
	}
	return text
}

func (g *grammar) maybeNot() string {
	return pick(g.Rand, []string{"", "", "", "not ", "! "})
}

// operand returns one operand. takeOver returns further addresses or numbers that inherit the
// qualifiers of the operand; it is nil if there are no qualifiers.
func (g *grammar) operand(depth int) (text string, takeOver func() string) {
	not := g.maybeNot()
	switch n := g.IntN(12); {
	case n < 3 && depth > 0:
		return not + "(" + g.expression(depth-1) + ")", nil
	case n < 8:
		text, takeOver = g.qualified()
		return not + text, takeOver
	case n < 10:
		return not + g.relation(), nil
	}
	return not + g.plain(), nil
}

// qualified returns qualifiers with an address or number.
func (g *grammar) qualified() (text string, takeOver func() string) {
	var head string
	subject := func(from []string) func() string { return func() string { return pick(g.Rand, from) } }
	switch g.IntN(8) {
	case 0, 1:
		head = pick(g.Rand, []string{"", "tcp ", "udp ", "sctp "}) + pick(g.Rand, someDirs) + "port"
		takeOver = subject(somePorts)
	case 2:
		head = pick(g.Rand, []string{"", "tcp ", "udp ", "sctp "}) + pick(g.Rand, someDirs) + "portrange"
		takeOver = subject(someRanges)
	case 3:
		head = pick(g.Rand, []string{"", "ip ", "arp ", "rarp "}) + pick(g.Rand, someDirs) + "host"
		takeOver = subject(someIPv4)
	case 4:
		head = pick(g.Rand, []string{"", "ip6 "}) + pick(g.Rand, someDirs) + "host"
		takeOver = subject(someIPv6)
	case 5:
		head = pick(g.Rand, someDirs) + "net"
		takeOver = subject(someNets)
	case 6:
		head, takeOver = pick(g.Rand, []string{"ip proto", "ip6 proto", "proto"}), subject(someIPProtos)
		if g.IntN(2) == 0 {
			head, takeOver = "ether proto", subject(someEthers)
		}
	case 7:
		if g.link != wire.LinkEthernet {
			return g.qualified()
		}
		head, takeOver = "ether "+pick(g.Rand, someDirs)+"host", subject(someMACs)
	}
	switch g.IntN(6) {
	case 0:
		return head + " (" + takeOver() + pick(g.Rand, []string{" or ", " and "}) + g.maybeNot() + takeOver() + ")", takeOver
	case 1:
		return head + " not " + takeOver(), takeOver
	}
	return head + " " + takeOver(), takeOver
}

// plain returns a primitive without an address or number.
func (g *grammar) plain() string {
	options := []string{pick(g.Rand, someProtos), "ip multicast", "ip6 multicast", fmt.Sprintf("less %d", 40+g.IntN(60)), fmt.Sprintf("greater %d", 40+g.IntN(60))}
	if g.link == wire.LinkEthernet {
		options = append(options, pick(g.Rand, someTags), pick(g.Rand, someTags), "broadcast", "multicast", "ether broadcast", "ether multicast")
	}
	return pick(g.Rand, options)
}

// relation returns a comparison.
func (g *grammar) relation() string {
	return g.value(2) + pick(g.Rand, []string{" = ", " == ", " != ", " < ", " <= ", " > ", " >= "}) + g.value(1)
}

// value returns an arithmetic expression.
func (g *grammar) value(depth int) string {
	switch n := g.IntN(10); {
	case n < 2:
		return pick(g.Rand, someNumbers)
	case n == 2:
		return "len"
	case n < 7 || depth == 0:
		return g.bytes(depth)
	case n == 7:
		return "(" + g.value(depth-1) + ")"
	case n == 8:
		return "- " + g.value(depth-1)
	}
	op := pick(g.Rand, []string{"+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"})
	left := g.value(depth - 1)
	right := g.rightOf(left)
	switch op {
	case "/":
		right = pick(g.Rand, someNumbers[1:])
	case "%": // everything after it would become part of the divisor
		return "(" + left + " % " + pick(g.Rand, someNumbers[1:]) + ")"
	case "<<", ">>":
		return fmt.Sprintf("(%s %s %d)", left, op, g.IntN(32))
	}
	return left + " " + op + " " + right
}

// rightOf returns a value for the right side of an operator. It only reads bytes of the protocol
// with which the left value begins, because libpcap does not check that another protocol is
// present.
func (g *grammar) rightOf(left string) string {
	left = strings.TrimLeft(left, "(- ")
	proto, _, ok := strings.Cut(left, "[")
	if ok && strings.Trim(proto, "abcdefghijklmnopqrstuvwxyz6") == "" && g.IntN(2) == 0 {
		return proto + "[" + pick(g.Rand, someOffsets) + "]"
	}
	return pick(g.Rand, append([]string{"len"}, someNumbers...))
}

// bytes returns an access to the packet. The offset may be calculated.
func (g *grammar) bytes(depth int) string {
	at := pick(g.Rand, someOffsets)
	if depth > 0 && g.IntN(4) == 0 {
		at = g.bytes(depth-1) + " & 15"
		if g.IntN(2) == 0 {
			at += " + " + pick(g.Rand, someOffsets)
		}
	}
	size := pick(g.Rand, []string{"", "", ":1", ":2", ":4"})
	return pick(g.Rand, someIndexed) + "[" + strings.ReplaceAll(at, "  ", " ") + size + "]"
}
