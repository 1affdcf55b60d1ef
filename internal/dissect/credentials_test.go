package dissect

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// replay passes a conversation to a session, in pieces of at most size bytes. each is called after each chunk; it may be nil.
func replay(s *Session, talk *capturetest.Conversation, size int, each func(chunk int)) {
	var sent [2]int64
	for i, c := range talk.Chunks {
		side := Originator
		if c.FromServer {
			side = Responder
		}
		for piece := range slices.Chunk(c.Data, size) {
			s.Data(side, sent[side], slices.Clone(piece), sent[side.Other()], 0)
			sent[side] += int64(len(piece))
		}
		if each != nil {
			each(i)
		}
	}
}

func found(s *Session) []string {
	kinds, _ := s.Credentials()
	return kinds.Names()
}

// TestLogins: the kinds of credentials do not depend on how the bytes are divided into segments, and nothing keeps a value.
func TestLogins(t *testing.T) {
	for _, l := range capturetest.Logins() {
		for _, size := range []int{1 << 20, 1, 3, 50} {
			t.Run(fmt.Sprintf("%s/%s/%d", l.Protocol, l.Name, size), func(t *testing.T) {
				var pool Pool
				s := pool.New()
				replay(s, l.Talk, size, nil)
				if got := found(s); !slices.Equal(got, l.Kinds) {
					t.Errorf("kinds %q, want %q", got, l.Kinds)
				}
				if _, read := s.Credentials(); !read {
					t.Error("the authentication was not read")
				}
				if _, protocol := s.Kind(Originator); protocol != l.Protocol {
					t.Errorf("protocol %q", protocol)
				}
				s.Finish()
				if got := found(s); !slices.Equal(got, l.Kinds) {
					t.Errorf("after Finish: kinds %q, want %q", got, l.Kinds)
				}
				keepsNothing(t, s)
				keepsNothing(t, &pool)
				if s.Failed() || s.buffered != 0 {
					t.Errorf("failed %v, %d bytes buffered", s.Failed(), s.buffered)
				}
			})
		}
	}
}

// TestLostLogins: if the segment that has the credentials is lost or truncated, no kind is found, and its absence is no proof.
func TestLostLogins(t *testing.T) {
	for _, l := range capturetest.Logins() {
		if l.Kinds == nil {
			continue
		}
		at := -1
		s := New()
		replay(s, l.Talk, 1<<20, func(chunk int) {
			if kinds, _ := s.Credentials(); kinds != 0 && at < 0 {
				at = chunk
			}
		})
		for at > 0 && l.Talk.Chunks[at].FromServer { // the server's answer confirmed the protocol
			at--
		}
		for _, truncated := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%s/%v", l.Protocol, l.Name, truncated), func(t *testing.T) {
				s := New()
				var sent [2]int64
				for i, c := range l.Talk.Chunks {
					side := Originator
					if c.FromServer {
						side = Responder
					}
					n := int64(len(c.Data))
					switch {
					case i != at:
						s.Data(side, sent[side], c.Data, sent[side.Other()], 0)
					case truncated:
						s.Data(side, sent[side], c.Data[:8], sent[side.Other()], 0)
						s.Truncated(side, sent[side]+n, n-8, false)
					default:
						s.Data(side, sent[side]+n, nil, sent[side.Other()], n)
					}
					sent[side] += n
				}
				s.Conclude()
				if kinds, read := s.Credentials(); kinds != 0 || read {
					t.Errorf("kinds %q, read %v", kinds.Names(), read)
				}
			})
		}
	}
}

// keepsNothing fails if memory that can be reached from v contains the secret of the logins, as it is or in base64.
func keepsNothing(t *testing.T, v any) {
	t.Helper()
	seen := map[uintptr]bool{}
	for text := range strings.SplitSeq(contents(reflect.ValueOf(v), seen), "\xff\x00\xff") {
		for _, secret := range capturetest.Secrets() {
			if strings.Contains(text, secret) {
				t.Errorf("kept: %q", text)
			}
		}
	}
	if text := fmt.Sprintf("%+v", v); strings.Contains(text, capturetest.Secret) {
		t.Errorf("printed: %s", text)
	}
}

// contents returns the strings and byte slices that can be reached from v, with their whole capacity.
func contents(v reflect.Value, seen map[uintptr]bool) string {
	const sep = "\xff\x00\xff"
	switch v.Kind() {
	case reflect.String:
		return sep + v.String()
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || v.Kind() == reflect.Pointer && seen[v.Pointer()] {
			return ""
		}
		if v.Kind() == reflect.Pointer {
			seen[v.Pointer()] = true
		}
		return contents(v.Elem(), seen)
	case reflect.Slice:
		v = v.Slice(0, v.Cap())
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return sep + string(v.Bytes())
		}
		fallthrough
	case reflect.Array:
		if v.Kind() == reflect.Array && v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			for i := range b {
				b[i] = byte(v.Index(i).Uint())
			}
			return sep + string(b)
		}
		var b strings.Builder
		for i := range v.Len() {
			b.WriteString(contents(v.Index(i), seen))
		}
		return b.String()
	case reflect.Struct:
		var b strings.Builder
		for _, field := range v.Fields() {
			b.WriteString(contents(field, seen))
		}
		return b.String()
	case reflect.Map:
		var b strings.Builder
		for it := v.MapRange(); it.Next(); {
			b.WriteString(contents(it.Key(), seen) + contents(it.Value(), seen))
		}
		return b.String()
	}
	return ""
}
