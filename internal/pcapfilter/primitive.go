package pcapfilter

import (
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// primitive reads a primitive, which begins with a reserved word.
func (p *parser) primitive() thing {
	t := p.tok
	if proto := protocolNamed(t.word); proto != nil {
		p.advance()
		return p.protocol(proto, t)
	}
	switch t.word {
	case "src", "dst", "host", "net", "port", "portrange", "proto":
		return p.qualified(nil)
	case "broadcast", "multicast":
		return thing{cond: p.broadcast(nil)}
	case "less", "greater":
		return thing{cond: p.length()}
	case "inbound", "outbound":
		p.advance()
		return thing{cond: &passing{outbound: t.word == "outbound", at: t.at}}
	case "vlan":
		return thing{cond: p.tag()}
	}
	p.unexpected(expectPrimitive)
	return thing{}
}

// protocol reads the rest of a primitive that begins with the name of a protocol. The name can be
// a condition by itself, the first qualifier, or the start of an access to its bytes.
func (p *parser) protocol(proto *protocol, t token) thing {
	if p.tok.kind == kindWord {
		switch p.tok.word {
		case "[":
			return thing{value: p.bytes(proto, t)}
		case "src", "dst", "host", "net", "port", "portrange", "proto":
			return p.qualified(proto)
		case "broadcast", "multicast":
			return thing{cond: p.broadcast(proto)}
		}
	}
	switch {
	case proto.ether != 0:
		return thing{cond: &etherProto{uint32(proto.ether)}}
	case proto.number != 0:
		return thing{cond: &ipProto{uint32(proto.number), proto.over4, proto.over6}}
	}
	p.unexpected("host, src, dst, proto, broadcast, multicast or [ after " + t.text)
	return thing{}
}

// qualified reads the qualifiers after proto (nil: none was read), and the addresses or numbers
// that they apply to.
func (p *parser) qualified(proto *protocol) thing {
	q := qualifiers{set: true, proto: proto}
	directed := p.direction(&q)
	if p.tok.kind == kindWord {
		switch word := p.tok.word; word {
		case "host", "net", "port", "portrange":
			q.typ = word
			p.advance()
		case "proto":
			if directed {
				p.unexpected("host, net, port, portrange or an address")
				return thing{}
			}
			q.typ = word
			p.advance()
		}
	}
	return thing{cond: p.list(q), q: q}
}

// direction reads src, dst or their combination, and reports whether there was one.
func (p *parser) direction(q *qualifiers) bool {
	other := "dst"
	switch {
	case p.consume("src"):
		q.dir = srcEnd
	case p.consume("dst"):
		q.dir, other = dstEnd, "src"
	default:
		return false
	}
	switch {
	case p.consume("or"):
		q.dir = anyEnd
	case p.consume("and"):
		q.dir = bothEnd
	default:
		return true
	}
	p.expect(other)
	return true
}

// list reads the addresses or numbers that qualifiers apply to: one, a negated one, or several
// in parentheses.
func (p *parser) list(q qualifiers) node {
	if !p.enter() {
		return nil
	}
	defer p.leave()
	t := p.tok
	switch {
	case p.consume("not"):
		return &not{p.list(q)}
	case p.consume("("):
		left := p.list(q)
		for p.is("and") || p.is("or") {
			word := p.tok.word
			p.advance()
			if right := p.list(q); word == "and" {
				left = &both{left, right}
			} else {
				left = &either{left, right}
			}
		}
		p.expect(")")
		return left
	case t.kind == kindEnd, t.kind == kindWord && (q.typ != "proto" || !nameable(t.word)):
		p.unexpected(q.expected())
		return nil
	}
	p.advance()
	return p.meaning(q, t)
}

// nameable reports whether a reserved word is a protocol's name that may follow proto.
func nameable(word string) bool {
	_, ip := numbers[word]
	_, ether := etherTypes[word]
	return ip || ether
}

// expected returns the kind of address or number that the qualifiers require, for an error.
func (q qualifiers) expected() string {
	switch {
	case q.typ == "net":
		return "a network such as 10.0.0.0/8"
	case q.typ == "port":
		return "a port number from 0 to 65535"
	case q.typ == "portrange":
		return "two port numbers such as 8000-8080"
	case q.typ == "proto" && q.ether():
		return "an EtherType such as 0x86dd, or ip, ip6, arp or rarp"
	case q.typ == "proto":
		return `a protocol number from 0 to 255, or a name such as \tcp`
	case q.ether():
		return "an Ethernet address such as 02:00:00:00:00:01"
	case q.typ == "":
		return "host, net, port, portrange or an IP address"
	}
	return "an IP address"
}

func (q qualifiers) ether() bool { return q.proto != nil && q.proto.name == "ether" }

// broadcast reads broadcast or multicast.
func (p *parser) broadcast(proto *protocol) node {
	t := p.tok
	p.advance()
	name := "ether"
	if proto != nil {
		name = proto.name
	}
	switch name + " " + t.word {
	case "ether broadcast":
		return &group{etherBroadcast, t.at}
	case "ether multicast":
		return &group{etherMulticast, t.at}
	case "ip multicast":
		return &group{ipMulticast, t.at}
	case "ip6 multicast":
		return &group{ip6Multicast, t.at}
	case "ip broadcast":
		return p.problem(t, "the interface's netmask is not known here: expected the address itself, as in dst host 10.1.255.255")
	}
	return p.problem(t, "expected it after ether%s, not %s", map[string]string{"multicast": ", ip or ip6"}[t.word], name)
}

// length reads less or greater.
func (p *parser) length() node {
	op := map[string]string{"less": "<=", "greater": ">="}[p.tok.word]
	at := p.tok.at
	p.advance()
	t := p.tok
	if t.kind != kindNumber {
		p.unexpected("a length in bytes")
		return nil
	}
	p.advance()
	return &relation{op, &value{op: "len", at: at}, &value{op: "#", number: t.value, at: t.at}}
}

// maxVLAN is the largest VLAN identifier (IEEE 802.1Q).
const maxVLAN = 4095

// tag reads vlan and its identifier, which may be in parentheses.
func (p *parser) tag() node {
	v := &vlan{at: p.tok.at}
	p.vlan = true
	p.advance()
	opened := 0
	for p.consume("(") {
		if opened++; opened > maxDepth {
			p.fail(p.tok.at, "more than %d nested levels", maxDepth)
			return nil
		}
	}
	switch t := p.tok; {
	case t.kind == kindNumber && t.value > maxVLAN:
		return p.problem(t, "expected a VLAN identifier from 0 to %d", maxVLAN)
	case t.kind == kindNumber:
		v.id, v.hasID = t.value, true
		p.advance()
	case opened > 0:
		p.unexpected("a VLAN identifier")
	}
	for range opened {
		p.expect(")")
	}
	return v
}

// ports returns the condition of port and portrange.
func (p *parser) ports(q qualifiers, t token) node {
	n := &ports{dir: q.dir, over: []uint32{wire.ProtoSCTP, wire.ProtoTCP, wire.ProtoUDP}}
	if q.proto != nil {
		if !q.proto.ports {
			return p.problem(t, "%s has no ports: expected tcp, udp or sctp before the %s, or none", q.proto.name, q.typ)
		}
		n.over = []uint32{uint32(q.proto.number)}
	}

	low, up, isRange := "", "", false
	if t.kind == kindName {
		low, up, isRange = strings.Cut(t.text, "-")
	}
	switch {
	case t.kind == kindNumber:
		n.low, n.up = t.value, t.value
	case isRange && q.typ == "portrange":
		n.low, n.up = p.port(low, t), p.port(up, t)
	case isRange && isNumber(low) && isNumber(up):
		return p.problem(t, "expected portrange before a range of ports")
	case t.kind == kindName:
		return p.problem(t, "expected %s; names of services are not resolved", q.expected())
	default:
		return p.problem(t, "expected %s", q.expected())
	}

	if n.low > n.up {
		n.low, n.up = n.up, n.low
	}
	if n.up > 65535 {
		return p.problem(t, "expected %s", q.expected())
	}
	return n
}

// port reads one end of a range, which is decimal.
func (p *parser) port(text string, t token) uint32 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		p.problem(t, "expected two decimal port numbers such as 8000-8080, none above 65535")
	}
	return uint32(n)
}

// minEtherType is the smallest EtherType: a smaller number is a length (IEEE 802.3).
const minEtherType = 0x600

// proto returns the condition of proto.
func (p *parser) proto(q qualifiers, t token) node {
	n, names, least, most := t.value, numbers, uint32(0), uint32(255)
	if q.ether() {
		names, least, most = etherTypes, minEtherType, 0xffff
	}
	switch t.kind {
	case kindNumber:
		if n < least || n > most {
			return p.problem(t, "expected a number from %d to %d", least, most)
		}
	case kindName, kindWord:
		known := false
		if n, known = names[t.text]; !known {
			return p.problem(t, "expected %s", q.expected())
		}
	default:
		return p.problem(t, "expected %s", q.expected())
	}

	switch {
	case q.ether():
		return &etherProto{n}
	case q.proto == nil:
		return &ipProto{n, true, true}
	case q.proto.name == "ip" || q.proto.name == "ip6":
		return &ipProto{n, q.proto.name == "ip", q.proto.name == "ip6"}
	}
	return p.problem(t, "%s carries no protocols with numbers: expected ether, ip or ip6 before proto, or none", q.proto.name)
}
