package pcapfilter

// precedence of the binary operators, the lowest first. In libpcap's grammar % and ^ have no
// precedence: their left operand is only the value just before them, and their right operand is
// everything that follows.
var precedence = map[string]int{"|": 1, "&": 2, "<<": 3, ">>": 3, "+": 4, "-": 4, "*": 5, "/": 5}

const precedenceSign = 6

// arithmetic reads the operators that follow a value, with their right operands. It stops before an
// operator of lower precedence than the argument least.
func (p *parser) arithmetic(left *value, least int) *value {
	for p.tok.kind == kindWord {
		op, at := p.tok.word, p.tok.at
		above, known := precedence[op]
		switch {
		case op == "%" || op == "^":
			above = 0
		case !known || above < least:
			return left
		}
		if !p.enter() {
			return left
		}
		p.advance()
		right := p.arithmetic(p.valueUnit(), above+1)
		p.leave()
		left = p.calculate(&value{op: op, left: left, right: right, at: at})
	}
	return left
}

// valueUnit reads a value without binary operators.
func (p *parser) valueUnit() *value {
	none := &value{op: "#"}
	if !p.enter() {
		return none
	}
	defer p.leave()
	t := p.tok
	switch {
	case t.kind == kindNumber:
		p.advance()
		return &value{op: "#", number: t.value, at: t.at}
	case p.consume("len"):
		return &value{op: "len", at: t.at}
	case p.consume("-"):
		return p.calculate(&value{op: "-", left: p.arithmetic(p.valueUnit(), precedenceSign), at: t.at})
	case p.consume("("):
		v := p.arithmetic(p.valueUnit(), 1)
		p.expect(")")
		return v
	case t.kind == kindWord:
		if proto := protocolNamed(t.word); proto != nil {
			p.advance()
			if p.is("[") {
				return p.bytes(proto, t)
			}
			p.unexpected(`"[", as in ` + proto.name + "[0]")
			return none
		}
	}
	p.unexpected(expectValue)
	return none
}

// bytes reads the brackets of proto[offset:size]. The next token must be "[".
func (p *parser) bytes(proto *protocol, t token) *value {
	if !proto.bytes {
		p.problem(t, "its bytes cannot be read: expected a protocol such as ip, tcp or udp before the bracket")
	}
	if !p.enter() {
		return &value{op: "#"}
	}
	defer p.leave()
	p.advance()
	v := &value{op: "[]", proto: proto, size: 1, at: t.at}
	v.left = p.arithmetic(p.valueUnit(), 1)
	if p.consume(":") {
		size := p.tok
		if size.kind != kindNumber || size.value != 1 && size.value != 2 && size.value != 4 {
			p.unexpected("a size of 1, 2 or 4 bytes")
		}
		v.size = size.value
		p.advance()
	}
	if !p.consume("]") {
		p.unexpected(`"]" or ":" and a size; operators such as - need spaces around them`)
	}
	return v
}

// maxShift is the largest constant shift: registers have 32 bits.
const maxShift = 31

// calculate evaluates an operation on constants, and refuses operations that the kernel would
// refuse.
func (p *parser) calculate(v *value) *value {
	if v.right == nil {
		if v.left.constant() {
			return &value{op: "#", number: -v.left.number, at: v.at}
		}
		return v
	}
	if v.right.constant() {
		n := v.right.number
		switch {
		case n == 0 && (v.op == "/" || v.op == "%"):
			p.fail(v.at, "a division by zero")
			return v
		case n > maxShift && (v.op == "<<" || v.op == ">>"):
			p.fail(v.at, "a shift by %d bits: expected %d at most", n, maxShift)
			return v
		}
		if v.left.constant() {
			return &value{op: "#", number: compute(v.op, v.left.number, n), at: v.left.at}
		}
	}
	return v
}

// compute applies a binary operator. b must not be 0 for / and %.
func compute(op string, a, b uint32) uint32 {
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		return a / b
	case "%":
		return a % b
	case "&":
		return a & b
	case "|":
		return a | b
	case "^":
		return a ^ b
	case "<<":
		return a << b
	}
	return a >> b
}

// compare applies a relational operator.
func compare(op string, a, b uint32) bool {
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}
