package credentials

import "bytes"

// mechanism is a mechanism of SASL (RFC 4422).
type mechanism uint8

const (
	noMechanism mechanism = iota
	otherMechanism
	mechanismPlain
	mechanismLogin
	mechanismToken
	mechanismAMQPLAIN
)

// mechanismOf returns the mechanism with a name.
func mechanismOf(name []byte) mechanism {
	switch {
	case is(name, "plain"):
		return mechanismPlain
	case is(name, "login"):
		return mechanismLogin
	case is(name, "oauthbearer"), is(name, "xoauth2"):
		return mechanismToken
	case is(name, "amqplain"):
		return mechanismAMQPLAIN
	}
	return otherMechanism
}

// authenticate begins a mechanism with the initial response in base64, which is empty if there was none. "=" stands for a response of no
// bytes (RFC 4954 section 4).
func (r *Reader) authenticate(name, initial []byte) {
	r.mechanism, r.step, r.asked = mechanismOf(name), 0, false
	if len(initial) > 0 {
		r.response(initial)
	}
}

// response reads a response in base64.
func (r *Reader) response(b []byte) {
	present := len(b) > 0 && b[0] != '='
	switch r.mechanism {
	case mechanismPlain:
		r.add(SASLPlain, plainInBase64(b))
		r.mechanism = otherMechanism
	case mechanismLogin:
		if r.step++; r.step == 2 { // the first response is the user
			r.add(SASLLogin, present)
			r.mechanism = otherMechanism
		}
	case mechanismToken:
		r.add(SASLOAuthBearer, present)
		r.mechanism = otherMechanism
	default:
	}
}

// saslMessage reads a response that is not in base64.
func (r *Reader) saslMessage(m mechanism, b []byte) {
	switch m {
	case mechanismPlain:
		r.add(SASLPlain, plainPassword(b))
	case mechanismToken:
		r.add(SASLOAuthBearer, len(b) > 0)
	default:
	}
}

// challenge notes that the server asks for a response.
func (r *Reader) challenge() { r.asked = r.mechanism != noMechanism }

// concluded notes that the server accepted or refused the authentication.
func (r *Reader) concluded() { r.mechanism, r.asked = noMechanism, false }

// answers reads a line if the server has asked for a response, and reports whether it did.
func (r *Reader) answers(line []byte) bool {
	if !r.asked {
		return false
	}
	if r.asked = false; string(line) == "*" { // the client cancels
		r.mechanism = otherMechanism
		return true
	}
	r.response(line)
	return true
}

// lineOf returns the line at the start of b without its end, and its size with its end, 0 if the line is incomplete.
func lineOf(b []byte) (line []byte, size int) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return nil, 0
	}
	return bytes.TrimSuffix(b[:end], []byte("\r")), end + 1
}

// wordOf returns the first word of a line, and the rest without spaces at its ends.
func wordOf(line []byte) (word, rest []byte) {
	word, rest, _ = bytes.Cut(bytes.TrimLeft(line, " \t"), []byte(" "))
	return word, bytes.Trim(rest, " \t")
}

// is reports whether a word equals want, ignoring the case of letters. want must be in lower case.
func is(word []byte, want string) bool {
	if len(word) != len(want) {
		return false
	}
	for i, c := range word {
		if lower(c) != want[i] {
			return false
		}
	}
	return true
}

// isAny reports whether a word equals one of several.
func isAny(word []byte, wants ...string) bool {
	for _, want := range wants {
		if is(word, want) {
			return true
		}
	}
	return false
}
