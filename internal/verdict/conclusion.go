package verdict

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Conclusion replaces a finished session. It has the facts that later judgements of the connection need, in about
// 110 bytes. Facts that several connections of one client and one server have in common are stored once.
type Conclusion struct {
	common    *common  // without the fields below
	session   [16]byte // TLSInfo.SessionHash, zero if none
	age       int64    // TLSInfo.ClientAuthAge
	truncated uint64   // bytes that were not captured because packets were truncated
	peer      peerName

	// Tail is valid if TailCounts returns true.
	Tail dissect.Tail
}

// peerName is the name that DNS gave for a peer, empty if none. set reports whether the name was looked up.
type peerName struct {
	name string
	set  bool
}

// Conclude returns the conclusion of the session of c. It returns nil if the session itself is still needed: the
// session is not finished, or may still show further facts.
func (j *Judge) Conclude(c *flow.Conn, s *dissect.Session) *Conclusion {
	k := concluded(s)
	if k == nil || !s.Spent() {
		return nil
	}
	r := &Conclusion{truncated: missedBytes(c, s) - c.Orig.Missed - c.Resp.Missed, Tail: s.Tail()}
	r.peer.name, r.peer.set = s.Peer()

	whole := *k
	if k.tls != nil {
		info := &j.shared.info // shared.intern copies it
		*info = *k.tls
		if n, err := hex.Decode(r.session[:], []byte(info.SessionHash)); err != nil || n != 0 && n != len(r.session) {
			return nil // not a hash that tlsInfo made
		}
		r.age = info.ClientAuthAge
		info.SessionHash, info.ClientAuthAge = "", 0
		whole.tls = info
	}

	r.common = j.shared.intern(&whole)
	return r
}

// Release releases a conclusion, which must not be used afterwards.
func (j *Judge) Release(r *Conclusion) {
	if r.common.users--; r.common.users == 0 {
		j.shared.bytesInUse -= r.common.bytes
	}
}

// TailCounts reports whether the connection's later TLS records must be followed. They must if the bytes that may
// follow TLS could change the verdict. A verdict of plaintext cannot change.
func (r *Conclusion) TailCounts() bool {
	switch r.common.verdict {
	case MTLS, TLS, Failed:
		return r.Tail.Follows()
	case Unknown: // the suite of the connection may encrypt
		return slices.Contains(r.common.reasons, "unfamiliar_suite") && r.Tail.Follows()
	default:
		return false
	}
}

// BytesInUse returns an estimate of the memory that shared conclusions use, in bytes.
func (j *Judge) BytesInUse() int { return j.shared.bytesInUse }

// JudgeConclusion is like Judge, for a connection whose session a conclusion has replaced.
func (j *Judge) JudgeConclusion(c *flow.Conn, r *Conclusion, iface string, ended bool) (out Judged) {
	j.describe(&out, c, iface, ended)
	out.MissedBytes += r.truncated
	k := &r.common.judgement
	k.repeatIn(&out)
	out.TLS, out.Settled = r.tls(), true
	j.complete(&out, c, &r.peer)
	return out
}

// tls returns a copy of the TLS part, or nil.
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

// Resume turns s, a new session, back into the finished session of c that r has replaced, and releases r. Resume
// is for a connection whose TLS has ended (Conclusion.Tail) or in which a new handshake has begun.
func (j *Judge) Resume(c *flow.Conn, r *Conclusion, s *dissect.Session) {
	k := r.common.judgement
	k.tls = r.tls()
	s.Resume(&k, r.Tail, int64(c.Orig.Missed+c.Resp.Missed+r.truncated))
	if r.peer.set {
		s.SetPeer(r.peer.name)
	}
	j.Release(r)
}

// shared stores equal judgements once.
type shared struct {
	known      map[uint64]*common // by a hash of their encodings
	seed       maphash.Seed       // of that hash; set with known
	bytesInUse int                // estimate for the judgements that have users
	scratch    []byte
	compared   []byte
	info       TLSInfo // scratch space for Conclude
	last       *common // the latest result of intern, nil if none
	text       []byte  // the encoding of the judgement in last
}

// common is a judgement that conclusions share.
type common struct {
	judgement
	users int // conclusions that share it
	bytes int // estimate of its size
}

// conclusionBytes is the size of a judgement without its text, in bytes.
const conclusionBytes = 768

// maxShared bounds the judgements that intern can find again. Each uses conclusionBytes, plus the size of its
// text. At the limit shared forgets all of them; conclusions keep the judgements that they share.
const maxShared = 1024

// intern returns a judgement equal to k for one more conclusion: an existing one, or else a copy.
func (s *shared) intern(k *judgement) *common {
	s.scratch = k.appendTo(s.scratch[:0])
	if s.last == nil || !bytes.Equal(s.scratch, s.text) { // equal judgements usually follow each other
		s.last = s.find(k)
		s.text, s.scratch = s.scratch, s.text
	}
	kept := s.last
	if kept.users++; kept.users == 1 {
		s.bytesInUse += kept.bytes
	}
	return kept
}

// find returns the judgement equal to k, whose encoding is in scratch. If k is new, it adds a copy of k.
func (s *shared) find(k *judgement) *common {
	if s.known == nil || len(s.known) >= maxShared {
		s.known, s.seed = map[uint64]*common{}, maphash.MakeSeed()
	}
	key := maphash.Bytes(s.seed, s.scratch)
	kept := s.known[key]
	if kept != nil {
		s.compared = kept.appendTo(s.compared[:0])
	}
	if kept == nil || !bytes.Equal(s.compared, s.scratch) {
		kept = &common{judgement: k.clone(), bytes: conclusionBytes + len(s.scratch)}
		s.known[key] = kept
	}
	return kept
}

// clone returns a copy that shares only lists and certificates with k.
func (k *judgement) clone() judgement {
	out := *k
	if k.tls != nil {
		info := *k.tls
		out.tls = &info
	}
	return out
}

// appendTo appends an encoding of all fields: equal encodings mean equal judgements.
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
	return appendBools(appendNumbers(b, int64(k.credentials)), k.credentialsRead)
}

func (x *TLSInfo) appendTo(b []byte) []byte {
	b = appendStrings(b, x.Version, x.VersionProtocol, x.Cipher, x.Curve, x.NextProtocol, x.ServerName, x.JA3, x.JA3S, x.JA4, x.ClientShape,
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
	b = appendStrings(b, c.Subject, c.Issuer, c.SHA256, c.SPIFFE, c.PublicKeyAlgorithm, c.SignatureAlgorithm, c.SerialNumber)
	b = appendNumbers(b, c.NotBefore, c.NotAfter, int64(c.PublicKeySize), int64(c.ChainLength))
	return appendList(appendBools(b, c.Broken, c.NamesOmitted), c.AlternativeNames)
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
