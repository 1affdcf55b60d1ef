package credentials

import "bytes"

// terminal is the state of Telnet.
type terminal struct {
	command  [2]uint8 // by side: bytes of a command that were read, see options
	matched  uint8    // bytes of prompt that the server's text ends with
	prompted bool     // the server asks for a password
	typed    uint8    // characters of the client since then
}

// prompt is the end of a prompt for a password, in lower case.
const prompt = "assword:"

// States of terminal.command.
const (
	telnetText uint8 = iota
	telnetCommand
	telnetOption
	telnetParameters
	telnetEnd
)

// options reports whether c belongs to a command of Telnet (RFC 854).
func (t *terminal) options(side Side, c byte) bool {
	const iac, will, dont, sb, se = 0xff, 0xfb, 0xfe, 0xfa, 0xf0
	state := &t.command[side]
	switch *state {
	case telnetText:
		if c != iac {
			return false
		}
		*state = telnetCommand
	case telnetCommand:
		switch {
		case c == sb:
			*state = telnetParameters
		case c >= will && c <= dont:
			*state = telnetOption
		default:
			*state = telnetText
		}
	case telnetOption:
		*state = telnetText
	case telnetParameters:
		if c == iac {
			*state = telnetEnd
		}
	default: // telnetEnd
		if *state = telnetParameters; c == se {
			*state = telnetText
		}
	}
	return true
}

// telnetServer looks for a prompt for a password.
func telnetServer(r *Reader, b []byte) int {
	t := &r.terminal
	for _, c := range b {
		switch {
		case t.options(Server, c), c == 0:
		case lower(c) == prompt[t.matched]:
			if t.matched++; int(t.matched) == len(prompt) {
				t.prompted, t.matched, t.typed = true, 0, 0
			}
		case lower(c) == prompt[0]:
			t.matched = 1
		default:
			t.matched = 0
			if t.typed == 0 && c > ' ' {
				t.prompted = false // other text follows the prompt
			}
		}
	}
	return len(b)
}

// telnetClient looks for a line that answers the prompt.
func telnetClient(r *Reader, b []byte) int {
	const backspace, erase = 0x08, 0x7f
	t := &r.terminal
	for _, c := range b {
		switch {
		case t.options(Client, c), !t.prompted:
		case c == '\r' || c == '\n':
			r.add(TelnetPassword, t.typed > 0)
			t.prompted, t.typed = false, 0
		case c == backspace || c == erase:
			t.typed -= min(t.typed, 1)
		case c >= ' ' && t.typed < 1<<8-1:
			t.typed++
		}
	}
	return len(b)
}

// xmppClient reads an element's tag of XMPP. The element auth or authenticate is read with its contents (RFC 6120 section 6.4.2, XEP-0388).
func xmppClient(r *Reader, b []byte) int {
	if b[0] != '<' {
		if next := bytes.IndexByte(b, '<'); next > 0 {
			return next
		}
		return len(b)
	}
	end := bytes.IndexByte(b, '>')
	if end < 0 {
		return 0
	}
	name, _ := tagName(b[1:end])
	switch string(name) {
	case "iq", "message", "presence":
		r.end()
	case "auth", "authenticate":
		return xmppAuth(r, b, end)
	}
	return end + 1
}

// tagName returns the name of an element, and its attributes. b is the contents of its tag.
func tagName(b []byte) (name, attributes []byte) {
	if end := bytes.IndexAny(b, " \t\r\n/"); end > 0 {
		return b[:end], b[end:]
	}
	return b, nil
}

// xmppAuth reads the element at the start of b up to its first closing tag. Its own tag ends at b[open].
func xmppAuth(r *Reader, b []byte, open int) int {
	name, attributes := tagName(b[1:open])
	if bytes.HasSuffix(attributes, []byte("/")) {
		return open + 1
	}
	text, _, closed := bytes.Cut(b[open+1:], []byte("</"))
	if !closed {
		return 0
	}
	size := open + 1 + len(text)
	if string(name) == "authenticate" {
		_, text, _ = bytes.Cut(text, []byte("<initial-response>"))
	}
	r.authenticate(attribute(attributes, "mechanism"), bytes.TrimSpace(text))
	return size
}

// attribute returns the value of an attribute, without its quotes.
func attribute(b []byte, name string) []byte {
	_, b, _ = bytes.Cut(b, []byte(name+"="))
	if len(b) == 0 || b[0] != '"' && b[0] != '\'' {
		return nil
	}
	value, _, _ := bytes.Cut(b[1:], b[:1])
	return value
}
