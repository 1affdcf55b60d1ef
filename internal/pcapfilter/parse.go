package pcapfilter

import (
	"fmt"
	"strings"
)

// qualifiers are the words before an address or a number that determine its meaning. An address
// or number without qualifiers inherits the previous ones.
type qualifiers struct {
	set   bool // there are qualifiers
	proto *protocol
	dir   direction
	typ   string // host, net, port, portrange, proto; empty means host
}

// thing is the result of parsing: a condition, or a value that becomes part of one.
type thing struct {
	cond  node
	value *value
	q     qualifiers // inherited by a following number or address
}

// parser reads an expression from left to right, one token ahead. It records the first error in
// err; after an error, every token is kindEnd.
type parser struct {
	lexer
	tok   token
	depth int
	vlan  bool
}

// parse parses the whole expression. It returns nil for an empty one.
func (p *parser) parse() node {
	if len(p.text) > MaxLength {
		p.fail(MaxLength, "an expression of %d bytes: expected at most %d", len(p.text), MaxLength)
		return nil
	}
	p.advance()
	if p.tok.kind == kindEnd {
		return nil
	}
	cond := p.condition(p.expression(qualifiers{}), qualifiers{})
	if p.tok.kind != kindEnd {
		p.unexpected(expectEnd)
	}
	return cond
}

func (p *parser) advance() { p.tok = p.next() }

// is reports whether the next token is the given word or operator.
func (p *parser) is(word string) bool { return p.tok.kind == kindWord && p.tok.word == word }

// consume skips the given word or operator if it is next, and reports whether it was.
func (p *parser) consume(word string) bool {
	if !p.is(word) {
		return false
	}
	p.advance()
	return true
}

// expect skips the given word or operator, which must be next.
func (p *parser) expect(word string) {
	if !p.consume(word) {
		p.unexpected(quoted(word))
	}
}

func quoted(word string) string { return `"` + word + `"` }

// unexpected records the error that the next token is not the expected one.
func (p *parser) unexpected(expected string) {
	switch {
	case p.tok.kind == kindEnd:
		p.fail(p.tok.at, "the expression ends here: expected %s", expected)
	case p.tok.kind == kindWord && unsupported[p.tok.word]:
		p.fail(p.tok.at, "%q is not supported: expected %s", p.tok.text, expected)
	case p.tok.kind == kindName:
		p.fail(p.tok.at, "%q: expected %s%s", p.tok.text, expected, p.hint(expected))
	default:
		p.fail(p.tok.at, "%q: expected %s", p.tok.text, expected)
	}
}

// hint returns an addition to the error about the next token, which is a name. The addition
// suggests what the user may have meant.
func (p *parser) hint(expected string) string {
	switch text := p.tok.text; {
	case reserved[strings.ToLower(text)]:
		return "; keywords are written in lower case"
	case expected == expectEnd:
		return ""
	case strings.Contains(text, "-"):
		return "; operators such as - need spaces around them"
	}
	return "; names are not resolved"
}

// enter bounds the depth of nesting; leave must follow if it returns true.
func (p *parser) enter() bool {
	p.depth++
	if p.depth > maxDepth {
		p.fail(p.tok.at, "more than %d nested levels", maxDepth)
		return false
	}
	return true
}

func (p *parser) leave() { p.depth-- }

const (
	expectEnd       = "and, or or the end"
	expectPrimitive = "a primitive such as tcp, host, net, port or ip[0] = 1"
	expectValue     = "a value: a number, len, or bytes such as tcp[13]"
)

// expression reads operands connected by "and" and "or", which have the same precedence. A
// number or an address without qualifiers inherits q. A single value remains a value.
func (p *parser) expression(q qualifiers) thing {
	x := p.operand(q)
	for p.is("and") || p.is("or") {
		word := p.tok.word
		left := p.condition(x, q)
		p.advance()
		q = x.q
		y := p.operand(q)
		right := p.condition(y, q)
		if word == "and" {
			x = thing{cond: &both{left, right}, q: y.q}
		} else {
			x = thing{cond: &either{left, right}, q: y.q}
		}
	}
	return x
}

// condition returns the condition of x. A single number gets its meaning from q.
func (p *parser) condition(x thing, q qualifiers) node {
	switch {
	case x.cond != nil || p.err != nil:
		return x.cond
	case x.value.plain != nil:
		return &located{p.meaning(q, *x.value.plain), x.value.at}
	}
	p.unexpected("a comparison of the value before, such as = or >")
	return nil
}

// operand reads one operand of "and" or "or".
func (p *parser) operand(q qualifiers) thing {
	if p.is("not") {
		if !p.enter() {
			return thing{}
		}
		defer p.leave()
		p.advance()
		x := p.operand(q)
		return thing{cond: &not{p.condition(x, q)}, q: x.q}
	}

	at := p.tok.at
	x := p.unit(q)
	if x.value == nil {
		x.cond = &located{x.cond, at}
		return x
	}
	x.value = p.arithmetic(x.value, 1)
	if p.tok.kind == kindWord {
		switch op := p.tok.word; op {
		case "=", "!=", "<", "<=", ">", ">=":
			p.advance()
			return thing{cond: &located{&relation{op, x.value, p.arithmetic(p.valueUnit(), 1)}, at}}
		}
	}
	return x
}

// unit reads a number, an address, a primitive or a group in parentheses.
func (p *parser) unit(q qualifiers) thing {
	t := p.tok
	switch t.kind {
	case kindNumber:
		p.advance()
		return thing{value: &value{op: "#", number: t.value, at: t.at, plain: &t}, q: q}
	case kindIPv4, kindIPv6, kindMAC, kindName:
		p.advance()
		return thing{cond: p.meaning(q, t), q: q}
	case kindEnd:
	case kindWord:
		switch t.word {
		case "(":
			return p.group(q)
		case "-", "len":
			return thing{value: p.valueUnit()}
		}
		return p.primitive()
	}
	p.unexpected(expectPrimitive)
	return thing{}
}

// group reads an expression in parentheses. After the closing parenthesis, a number or an address
// inherits the qualifiers from before the opening one.
func (p *parser) group(q qualifiers) thing {
	if !p.enter() {
		return thing{}
	}
	defer p.leave()
	p.advance()
	x := p.expression(q)
	p.expect(")")
	x.q = q
	return x
}

// meaning returns the condition for an address, a number or a name with its qualifiers.
func (p *parser) meaning(q qualifiers, t token) node {
	switch {
	case p.err != nil:
	case !q.set && t.kind == kindName:
		p.tok = t
		p.unexpected(expectPrimitive)
	case !q.set:
		p.fail(t.at, "%q: expected qualifiers before it, such as host, net or port", t.text)
	case q.typ == "port" || q.typ == "portrange":
		return p.ports(q, t)
	case q.typ == "proto":
		return p.proto(q, t)
	default:
		return p.host(q, t)
	}
	return nil
}

// problem records an error about a token and returns nil.
func (p *parser) problem(t token, format string, args ...any) node {
	p.fail(t.at, "%s: %s", t.text, fmt.Sprintf(format, args...))
	return nil
}
