package protocols

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of HTTP/1, HTTP/2 and AJP13, the protocol of Apache Tomcat behind a web server.

// Bounds on a request line of HTTP/1, in bytes.
const (
	MaxMethod = 20
	MaxTarget = 2 << 10 // bounds the target, and the part of the line that is stored
)

// httpRequest recognizes a request line of HTTP/1: a method, a target and "HTTP/1." (RFC 9112 section 3). A target longer than MaxTarget
// need not be complete. Like many servers, it ignores empty lines and whitespace before the line, and accepts any whitespace between its parts
// and any method (RFC 9112 sections 2.2 and 3).
func httpRequest(b []byte) Match {
	if b[0] <= ' ' {
		if b = bytes.TrimLeft(b, whitespace); len(b) == 0 {
			return More
		}
	}
	i, usual := 0, true
	for i < len(b) && i <= MaxMethod && methodBytes[b[i]] != 0 {
		usual = usual && methodBytes[b[i]] == usualInMethod
		i++
	}
	if i == len(b) && i <= MaxMethod {
		return More
	}
	if i == 0 || i > MaxMethod || !isSpace(b[i]) {
		return No
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if whole {
		if at := bytes.Index(line, []byte("HTTP/")); at > i && isSpace(line[at-1]) && at+len("HTTP/") < len(line) && (line[at+5] == '1' || line[at+5] == '0') {
			return Yes
		}
		return No
	}
	target := bytes.TrimLeft(b[i:], whitespace)
	begun := len(target) == 0 || target[0] == '/' || prefixFold(target, "HTTP://") != No || prefixFold(target, "HTTPS://") != No
	switch {
	case hasControls(b), !usual && !begun:
		return No
	case len(b) >= MaxTarget && len(target) > 0 && begun:
		return Yes
	case len(b) >= MaxHead:
		return No
	}
	return More
}

// whitespace separates the parts of a request line (RFC 9112 section 3).
const whitespace = " \t\r\n\v\f"

// isSpace reports whether c is whitespace within a line.
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r' }

// hasControls reports whether b has control characters other than whitespace.
func hasControls(b []byte) bool {
	for _, c := range b {
		if c < ' ' && !isSpace(c) && c != '\n' || c == 0x7f {
			return true
		}
	}
	return false
}

// Values of methodBytes.
const (
	allowedInMethod = 1 + iota
	usualInMethod
)

// methodBytes holds which bytes a method can have: those of a token (RFC 9110 section 5.6.2). Usual ones are upper-case letters and hyphens.
var methodBytes = func() (table [256]uint8) {
	for _, c := range []byte(either + decimal + "!#$%&'*+-.^_`|~") {
		table[c] = allowedInMethod
		if c >= 'A' && c <= 'Z' || c == '-' || c == '_' {
			table[c] = usualInMethod
		}
	}
	return table
}()

// StartsHTTPRequest reports whether b is the incomplete beginning of a client's first message of HTTP/1 or HTTP/2.
func StartsHTTPRequest(b []byte) bool {
	return httpRequest(b) == More || prefix(b, HTTP2Preface) == More
}

// HTTPResponse recognizes a status line of HTTP/1: "HTTP/1." and a status code (RFC 9112 section 4).
func HTTPResponse(b []byte) Match {
	if a := prefix(b, "HTTP/1."); a != Yes {
		return a
	}
	if len(b) < 12 {
		return More
	}
	if b[8] != ' ' || b[9] < '1' || b[9] > '5' {
		return No
	}
	return Yes
}

// Frame types and flags of HTTP/2 (RFC 9113 section 6).
const (
	FrameData         = 0
	FrameHeaders      = 1
	FramePriority     = 2
	FrameReset        = 3
	FrameSettings     = 4
	FramePing         = 6
	FrameGoAway       = 7
	FrameWindowUpdate = 8
	FrameContinuation = 9

	FlagEndHeaders = 0x4
	FlagPadded     = 0x8
	FlagPriority   = 0x20

	FrameHeaderSize = 9
	HTTP2Preface    = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// maxFrame is the largest payload of a frame, in bytes, unless the ends agree on another limit (RFC 9113 section 4.2).
const maxFrame = 1 << 14

// http2Settings recognizes a server's first frame of HTTP/2: SETTINGS on stream 0 (RFC 9113 section 3.4).
func http2Settings(b []byte) Match {
	if len(b) < FrameHeaderSize {
		if len(b) > 0 && b[0] != 0 || len(b) > 3 && b[3] != FrameSettings {
			return No
		}
		return More
	}
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if b[3] != FrameSettings || b[4]&^1 != 0 || n%6 != 0 || n > 600 || !bytes.Equal(b[5:9], []byte{0, 0, 0, 0}) {
		return No
	}
	return Yes
}

// http2Frames recognizes consecutive frames in the middle of a stream. Yes needs three frames. Two frames are enough if the type of one
// of them fixes its size.
func http2Frames(b []byte) Match {
	frames, sized := 0, false
	for len(b) >= FrameHeaderSize {
		n, own, ok := plausibleFrame(b)
		if !ok {
			return No
		}
		frames, sized = frames+1, sized || own
		if frames == 3 || frames == 2 && sized {
			return Yes
		}
		if FrameHeaderSize+n > len(b) {
			break
		}
		b = b[FrameHeaderSize+n:]
	}
	if frames == 2 || frames == 1 && len(b) == 0 {
		return Maybe
	}
	return No
}

// plausibleFrame parses the frame header at the start of b and returns the frame's payload size. own reports whether the frame's type
// allows only this size. It is also true for an empty SETTINGS.
func plausibleFrame(b []byte) (size int, own, ok bool) {
	size = int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	flags, stream := b[4], binary.BigEndian.Uint32(b[5:])
	if size > maxFrame || stream>>31 != 0 {
		return 0, false, false
	}
	of := stream != 0 && stream%2 == 1
	switch b[3] {
	case FrameData:
		return size, false, of && flags&^0x9 == 0
	case FrameHeaders:
		return size, false, of && flags&^0x2d == 0 && size > 0
	case FrameContinuation:
		return size, false, of && flags&^0x4 == 0 && size > 0
	case FramePriority:
		return size, true, stream != 0 && flags == 0 && size == 5
	case FrameReset:
		return size, true, of && flags == 0 && size == 4
	case FrameSettings:
		return size, size == 0, stream == 0 && flags&^1 == 0 && size%6 == 0 && size < 600
	case FramePing:
		return size, true, stream == 0 && flags&^1 == 0 && size == 8
	case FrameGoAway:
		return size, false, stream == 0 && flags == 0 && size >= 8
	case FrameWindowUpdate:
		return size, true, (of || stream == 0) && flags == 0 && size == 4
	}

	return 0, false, false
}

// ajpRequest recognizes a Forward Request or a CPing (Apache Tomcat Connectors, "AJP Protocol Reference").
func ajpRequest(b []byte) Match {
	if a := prefix(b, "\x12\x34"); a != Yes {
		return a
	}
	if len(b) < 5 {
		return More
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size == 1 && b[4] == 10 {
		return Yes
	}
	if b[4] != 2 || size < 12 || len(b) > 5 && (b[5] < 1 || b[5] > 27) {
		return No
	}
	if len(b) < 13 {
		return More
	}
	return prefix(b[8:], "HTTP/")
}

// ajpResponse recognizes a CPong. Other messages only give Maybe.
func ajpResponse(b []byte) Match {
	if a := prefix(b, "AB"); a != Yes {
		return a
	}
	if len(b) < 5 {
		return More
	}
	switch size := int(binary.BigEndian.Uint16(b[2:])); {
	case size == 1 && b[4] == 9:
		return Yes
	case size > 0 && size <= 1<<14 && b[4] >= 3 && b[4] <= 6:
		return Maybe
	}
	return No
}
