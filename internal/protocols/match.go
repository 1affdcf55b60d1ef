package protocols

// Match is the result of a recognizer for the first bytes of a direction.
type Match uint8

// Results, from the worst to the best.
const (
	No    Match = iota // the bytes do not belong to the protocol
	More               // there are too few bytes to decide
	Maybe              // the bytes look like the protocol: the other direction must match, too
	Yes                // the bytes belong to the protocol
)

// MaxHead is the largest number of bytes of a direction that is passed to a recognizer.
const MaxHead = 4 << 10

// weak returns a recognizer that returns Maybe where f returns Yes. The other direction must then match, too.
func weak(f func([]byte) Match) func([]byte) Match {
	return func(b []byte) Match {
		if a := f(b); a != Yes {
			return a
		}
		return Maybe
	}
}

// prefix matches the beginning of b against want. If b is shorter than want and matches so far, the result is More.
func prefix(b []byte, want string) Match {
	n := min(len(b), len(want))
	switch {
	case string(b[:n]) != want[:n]:
		return No
	case n < len(want):
		return More
	}
	return Yes
}

// begins returns More if a prefix matches or may still match. It never returns Yes, because other bytes must follow the prefix. If the
// prefix does not match, it returns No.
func begins(a Match) Match {
	if a == No {
		return No
	}
	return More
}

// literal returns a recognizer of a prefix.
func literal(want string) func([]byte) Match {
	return func(b []byte) Match { return prefix(b, want) }
}

// anyOf returns a recognizer of any of several prefixes.
func anyOf(wants ...string) func([]byte) Match {
	return func(b []byte) Match {
		best := No
		for _, w := range wants {
			best = max(best, prefix(b, w))
		}
		return best
	}
}

// anyFold does the same as anyOf, but ignores the case of letters. wants must be in upper case.
func anyFold(wants ...string) func([]byte) Match {
	return func(b []byte) Match {
		best := No
		for _, w := range wants {
			best = max(best, prefixFold(b, w))
		}
		return best
	}
}

// prefixFold does the same as prefix, but ignores the case of letters. want must be in upper case.
func prefixFold(b []byte, want string) Match {
	n := min(len(b), len(want))
	for i := range n {
		c := b[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != want[i] {
			return No
		}
	}
	if n < len(want) {
		return More
	}
	return Yes
}

// plainLine returns the first line of b without its end. whole is Yes if the line is complete, More if its end is still to come, and No if
// it is not text or longer than limit bytes.
func plainLine(b []byte, limit int) (line []byte, whole Match) {
	for i, c := range b {
		switch {
		case c == '\n' && i > 0 && b[i-1] == '\r':
			return b[:i-1], Yes
		case c == '\n':
			return b[:i], Yes
		case c < 0x20 && c != '\t' && c != '\r' || c == 0x7f, i >= limit:
			return nil, No
		}
	}
	return nil, More
}

// containsFold reports whether b contains word, ignoring the case of letters. word must be in upper case.
func containsFold(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if prefixFold(b[i:], word) == Yes {
			return true
		}
	}
	return false
}

// printable reports whether b is ASCII text.
func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c > 0x7e {
			return false
		}
	}
	return true
}

// isNumber reports whether b is 1 to 10 digits.
func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 10
}

// identifier recognizes a name of n bytes: letters, digits and punctuation that occurs in the names of programs.
func identifier(b []byte, n int) Match {
	for _, c := range b[:min(n, len(b))] {
		if !isAlphanumeric(c) && c != '_' && c != '.' && c != ':' && c != '$' && c != '-' && c != '/' {
			return No
		}
	}
	if len(b) < n {
		return More
	}
	return Yes
}

// isAlphanumeric reports whether c is a letter or a digit of ASCII.
func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
