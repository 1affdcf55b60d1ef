package verdict

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Conclusion is what remains of a finished session: what a judgement of its connection that is
// still to come needs. It takes some 110 bytes: what the connections of one client and one
// server have in common is held once.
type Conclusion struct {
	common    *common  // without what is below
	session   [16]byte // TLSInfo.SessionHash, zero: none
	age       int64    // TLSInfo.ClientAuthAge
	truncated uint64   // bytes that were cut off where they were wanted, beside those that never came
	peer      peerName

	// Tail is valid where Followed returns true.
	Tail dissect.Tail
}

// peerName is the name that DNS gave for a peer, once it was looked for.
type peerName struct {
	name string
	set  bool
}

// Conclude returns what remains of the session of c, nil where the session itself is still
// needed: it is not finished, or something may still come of it.
func (j *Judge) Conclude(c *flow.Conn, s *dissect.Session) *Conclusion {
	k := concluded(s)
	if k == nil || !s.Spent() {
		return nil
	}
	r := &Conclusion{truncated: missedBytes(c, s) - c.Orig.Missed - c.Resp.Missed, Tail: s.Tail()}
	r.peer.name, r.peer.set = s.Peer()
	whole := *k
	if k.tls != nil {
		info := &j.shared.info // which shared.of copies
		*info = *k.tls
		if n, err := hex.Decode(r.session[:], []byte(info.SessionHash)); err != nil || n != 0 && n != len(r.session) {
			return nil // it is none that was made here
		}
		r.age = info.ClientAuthAge
		info.SessionHash, info.ClientAuthAge = "", 0
		whole.tls = info
	}
	r.common = j.shared.intern(&whole)
	return r
}

// Release reports whether a rest is not used any more.
func (j *Judge) Release(r *Conclusion) {
	if r.common.users--; r.common.users == 0 {
		j.shared.bytesInUse -= r.common.bytes
	}
}

// TailCounts reports whether the records of the connection are followed on: what comes after
// the end of its TLS counts. Plaintext is the last word on a connection.
func (r *Conclusion) TailCounts() bool {
	switch r.common.verdict {
	case MTLS, TLS, Failed:
		return r.Tail.Follows()
	case Unknown: // perhaps its suite encrypts
		return slices.Contains(r.common.reasons, "unfamiliar_suite") && r.Tail.Follows()
	default:
		return false
	}
}

// BytesInUse returns how many bytes the conclusions take that rests have in common, about.
func (j *Judge) BytesInUse() int { return j.shared.bytesInUse }

// JudgeConclusion is Judge for a connection of whose session the rest is left.
func (j *Judge) JudgeConclusion(c *flow.Conn, r *Conclusion, iface string, ended bool) (out Judged) {
	j.describe(&out, c, iface, ended)
	out.MissedBytes += r.truncated
	k := &r.common.judgement
	out.Verdict, out.Protocol, out.Reasons, out.HTTP, out.Settled = k.verdict, k.protocol, k.reasons, k.http, true
	out.TLS = r.tls()
	j.complete(&out, c, &r.peer)
	return out
}

// tls returns a copy of the TLS part, nil if there is none.
func (r *Conclusion) tls() *TLSInfo {
	if r.common.tls == nil {
		return nil
	}
	info := *r.common.tls
	if r.session != [16]byte{} {
		info.SessionHash = hexOf(r.session)
	}
	info.ClientAuthAge = r.age
	return &info
}

// Resume makes s, which is new, the finished session of c again that r is the rest of, and
// drops r. It is for a connection whose TLS has ended (Rest.Tail), or has begun anew.
func (j *Judge) Resume(c *flow.Conn, r *Conclusion, s *dissect.Session) {
	k := r.common.judgement
	k.tls = r.tls()
	s.Resume(&k, r.Tail, int64(c.Orig.Missed+c.Resp.Missed+r.truncated))
	if r.peer.set {
		s.SetPeer(r.peer.name)
	}
	j.Release(r)
}

// shared are conclusions that are held once, by the digest of what is in them.
type shared struct {
	known      map[[16]byte]*common
	bytesInUse int // bytes of those that rests have
	scratch    []byte
	info       TLSInfo // the argument of of, in part
	last       *common // that of returned, nil: nothing
	text       []byte  // all that is in last
}

// common is a conclusion that rests have in common.
type common struct {
	judgement
	users int // that have it
	bytes int // that it takes, about
}

// conclusionBytes is what a conclusion takes besides the text in it.
const conclusionBytes = 768

// maxShared bounds the conclusions that are found again, some 600 bytes each. When there
// is no room they are forgotten, which leaves them to those who have them.
const maxShared = 1024

// intern returns a conclusion equal to k for one more rest: one that is there already, else a
// copy.
func (s *shared) intern(k *judgement) *common {
	s.scratch = k.appendTo(s.scratch[:0])
	if s.last == nil || !bytes.Equal(s.scratch, s.text) { // mostly they come in a row
		s.last = s.find(k)
		s.text, s.scratch = s.scratch, s.text
	}
	kept := s.last
	if kept.users++; kept.users == 1 {
		s.bytesInUse += kept.bytes
	}
	return kept
}

// find returns the conclusion that is equal to k, of which scratch holds all. It adds a copy
// of k if there is none.
func (s *shared) find(k *judgement) *common {
	sum := sha256.Sum256(s.scratch)
	key := [16]byte(sum[:16])
	kept := s.known[key]
	if kept == nil {
		if s.known == nil || len(s.known) >= maxShared {
			s.known = map[[16]byte]*common{}
		}
		kept = &common{judgement: k.clone(), bytes: conclusionBytes + len(s.scratch)}
		s.known[key] = kept
	}
	return kept
}

// clone returns a copy that shares lists and certificates only.
func (k *judgement) clone() judgement {
	out := judgement{k.verdict, k.protocol, k.reasons, nil, k.http}
	if k.tls != nil {
		info := *k.tls
		out.tls = &info
	}
	return out
}

// appendTo appends all that is in a conclusion, so that two are equal where the bytes are.
func (k *judgement) appendTo(b []byte) []byte {
	b = appendStrings(b, string(k.verdict), k.protocol)
	b = appendList(b, k.reasons)
	if b = appendBools(b, k.tls != nil, k.http != nil); k.tls != nil {
		b = k.tls.appendTo(b)
	}
	if h := k.http; h != nil {
		b = appendStrings(b, h.Version, h.Method, h.Host, h.Path, h.UserAgent)
		b = appendNumbers(b, int64(h.Status))
	}
	return b
}

func (x *TLSInfo) appendTo(b []byte) []byte {
	b = appendStrings(b, x.Version, x.VersionProtocol, x.Cipher, x.Curve, x.NextProtocol, x.ServerName, x.JA3, x.JA3S, x.JA4,
		x.ClientAuth, x.ClientAuthBasis, x.ClientAuthRequested, x.Outcome, x.Alert, x.KeyShare, x.UpgradedFrom, x.SessionHash, x.ClientKeyHint)
	b = appendBools(b, x.Misnamed, x.ALPNLeftOut, x.Resumed, x.Established, x.HelloRetry, x.EarlyData, x.ECHOffered, x.SentByTap)
	b = appendNumbers(b, int64(x.ClientChainBytes), x.ClientAuthAge)
	b = appendList(appendList(b, x.ALPNOffered), x.SupportedCiphers)
	for _, c := range [2]*Certificate{x.Client, x.Server} {
		if b = appendBools(b, c != nil); c != nil {
			b = c.appendTo(b)
		}
	}
	return b
}

func (c *Certificate) appendTo(b []byte) []byte {
	b = appendStrings(b, c.Subject, c.Issuer, c.SHA256, c.SPIFFE, c.PublicKeyAlgorithm, c.SerialNumber)
	b = appendNumbers(b, c.NotBefore, c.NotAfter, int64(c.PublicKeySize), int64(c.ChainLength))
	return appendList(appendBools(b, c.Broken), c.AlternativeNames)
}

func appendStrings(b []byte, values ...string) []byte {
	for _, v := range values {
		b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
	}
	return b
}

func appendList(b []byte, values []string) []byte {
	return appendStrings(binary.AppendUvarint(b, uint64(len(values))), values...)
}

func appendNumbers(b []byte, values ...int64) []byte {
	for _, v := range values {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func appendBools(b []byte, values ...bool) []byte {
	for _, v := range values {
		b = strconv.AppendBool(b, v)
	}
	return b
}
