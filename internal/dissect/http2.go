package dissect

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/credentials"
	"github.com/meshtls-tap/meshtls-tap/internal/names"
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"golang.org/x/net/http2/hpack"
)

const (
	// maxBlock bounds the size of a header block that is parsed, in bytes. maxFrames bounds the number of frames up to the end of the
	// block.
	maxBlock  = 8 << 10
	maxFrames = 64
	// maxTable bounds the size of the HPACK table, in bytes. The table's entries come from the parsed block and from interim responses
	// before it. At most maxInterim header blocks are parsed, and none after a block of more than maxInterimBlock bytes.
	maxTable        = 64 << 10
	maxInterim      = 4
	maxInterimBlock = 1 << 10
)

// http2Reader parses a direction's frames up to its first header block.
type http2Reader struct {
	preface bool // the client's preface is expected
	hdr     [protocols.FrameHeaderSize]byte
	n       int // bytes of the preface or of hdr
	left    int // remaining bytes of the frame
	frames  int
	within  bool // a header block is incomplete
	frame   int  // offset in block of the current frame
	block   []byte
	interim int // header blocks so far
	decoder *hpack.Decoder
}

func newHTTP2Reader(buf []byte) *http2Reader {
	return &http2Reader{preface: bytes.HasPrefix(buf, []byte("PRI "))}
}

// readHTTP2 processes the next bytes of a direction that speaks HTTP/2.
func (s *plainLayer) readHTTP2(side Side, data []byte) {
	p := s.sides[side].p
	r := p.http2
	for len(data) > 0 && r != nil {
		switch {
		case r.preface:
			n := min(len(protocols.HTTP2Preface)-r.n, len(data))
			r.n, data = r.n+n, data[n:]
			if r.n == len(protocols.HTTP2Preface) {
				r.preface, r.n = false, 0
			}
			continue
		case r.n < protocols.FrameHeaderSize:
			n := copy(r.hdr[r.n:], data)
			r.n, data = r.n+n, data[n:]
			if r.n < protocols.FrameHeaderSize {
				return
			}
			if !r.startFrame() {
				s.markStrayed()
				s.endHTTP2(side)
				return
			}
		default:
			n := min(r.left, len(data))
			if r.within {
				var whole bool
				if r.block, whole = s.bufferBytes(r.block, data[:n], maxBlock); !whole {
					s.markStrayed()
					s.endHTTP2(side)
					return
				}
			}
			r.left, data = r.left-n, data[n:]
		}
		if r.left == 0 {
			r.n = 0
			if r.within && !s.endFrame(side, r) {
				s.endHTTP2(side)
				if st := &s.sides[side]; st.asks {
					st.p.after.on = true
					s.followHTTP2(side, data)
				}
				return
			}
		}
	}
}

// startFrame processes the header of a frame and reports whether reading continues.
func (r *http2Reader) startFrame() bool {
	r.left = int(r.hdr[0])<<16 | int(r.hdr[1])<<8 | int(r.hdr[2])
	r.frames++
	switch typ := r.hdr[3]; {
	case r.within && typ != protocols.FrameContinuation:
		return false
	case typ == protocols.FrameHeaders:
		r.within, r.frame = true, 0
		r.block = r.block[:0]
	case typ == protocols.FrameContinuation:
		r.frame = len(r.block)
	}
	return r.frames <= maxFrames
}

// endFrame ends a frame of a header block and reports whether reading continues.
func (s *plainLayer) endFrame(side Side, r *http2Reader) bool {
	flags := r.hdr[4]
	if r.hdr[3] == protocols.FrameHeaders {
		b := r.block[r.frame:]
		pad := 0
		if flags&protocols.FlagPadded != 0 && len(b) > 0 {
			pad, b = int(b[0]), b[1:]
		}
		if flags&protocols.FlagPriority != 0 && len(b) >= 5 {
			b = b[5:]
		}
		if pad > len(b) {
			return false
		}
		r.block = r.block[:copy(r.block, b[:len(b)-pad])]
	}
	if flags&protocols.FlagEndHeaders == 0 {
		return true
	}
	r.within = false
	return s.headerBlock(side, r)
}

// headerBlock processes a complete header block. It reports whether another block is needed.
func (s *plainLayer) headerBlock(side Side, r *http2Reader) (again bool) {
	if s.http == nil {
		s.http = s.pool.http()
		s.http.Version = "2"
	}
	var got fields
	if r.decoder == nil {
		r.decoder = hpack.NewDecoder(4096, nil)
		r.decoder.SetAllowedMaxDynamicTableSize(maxTable)
		r.decoder.SetMaxStringLength(maxBlock)
	}
	r.decoder.SetEmitFunc(got.add)
	if _, err := r.decoder.Write(r.block); err != nil || r.decoder.Close() != nil {
		return false
	}
	// interim responses may come before the final response: a few small ones are accepted
	r.interim++
	return s.headers(side, &got) && r.interim < maxInterim && len(r.block) <= maxInterimBlock
}

// fields are the stored header fields of HTTP/2.
type fields struct {
	method, authority, host, path, agent, content, status string

	kinds   credentials.Kinds
	scanned int // see inFields
}

// add stores a field. Only the first field of a name counts. add allocates at most once for each name: a block of 8 KiB can refer to a
// long entry of the HPACK table eight thousand times.
func (f *fields) add(h hpack.HeaderField) {
	switch h.Name {
	case ":method":
		storeField(&f.method, h.Value, protocols.MaxMethod+1)
	case ":authority":
		storeField(&f.authority, h.Value, maxValue)
	case "host": // a gateway from HTTP/1 may send it instead of :authority (RFC 9113 section 8.3.1)
		storeField(&f.host, h.Value, maxValue)
	case ":path":
		storeField(&f.path, h.Value, protocols.MaxTarget)
	case "user-agent":
		storeField(&f.agent, h.Value, maxValue)
	case "content-type":
		storeField(&f.content, h.Value, maxValue)
	case ":status":
		storeField(&f.status, h.Value, 3)
	case "authorization", "proxy-authorization", "cookie":
		f.kinds |= inFields(h.Name, h.Value, &f.scanned)
	}
}

// storeField stores a copy of the first n bytes of a field's first value.
func storeField(field *string, value string, n int) {
	if *field == "" {
		*field = strings.Clone(value[:min(n, len(value))])
	}
}

// headers processes the fields of a header block. It reports whether another block is needed.
func (s *plainLayer) headers(side Side, f *fields) (again bool) {
	h := s.http
	h.Version = "2"
	if f.method != "" && h.Method == "" {
		s.sides[side].asks = true
		if s.requestRead(side, false); side == Originator {
			s.addCredentials(f.kinds)
		}
		h.UserAgent = names.Printable([]byte(f.agent))
		if isMethod(f.method) {
			h.Method = f.method
		}
		if name := cmp.Or(f.authority, f.host); name != "" {
			host, _, ok := names.Authority(name)
			h.setHost(host, ok)
		}
		if h.Method != "CONNECT" { // CONNECT has no path (RFC 9113 section 8.5)
			h.target(f.path)
		}
	}

	if len(f.status) == 3 {
		again = h.response("HTTP/2   "+f.status) || h.Status == 101
	}
	if rest, ok := strings.CutPrefix(strings.ToLower(f.content), "application/grpc"); ok && (rest == "" || rest[0] == '+' || rest[0] == ';') {
		for i := range s.sides {
			if s.sides[i].protocol == "http2" {
				s.sides[i].protocol = "grpc"
			}
		}
	}

	s.revision++
	return again
}

// isMethod reports whether a method would be recognized in a request of HTTP/1.
func isMethod(method string) bool {
	for _, c := range []byte(method) {
		if (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return len(method) <= protocols.MaxMethod
}

// endHTTP2 releases a direction's reader.
func (s *plainLayer) endHTTP2(side Side) {
	p := s.sides[side].p
	s.release(&p.http2.block)
	p.http2 = nil
}
