package verdict_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// hello describes a hello that is sent on the wire; only the fields that judgements read are realistic.
type hello struct {
	suite      uint16            // suite that the server chooses, default 0x1301
	extensions map[uint16]string // extensions in addition to supported_versions and, for a client, server_name
	id         string            // session id
	old        bool              // TLS 1.2
	random     byte
	cacheless  bool   // a client without psk_key_exchange_modes, which therefore gets no tickets
	offers     string // the client's suites, by number; default 0x1301, 0x1302, 0xc02b
}

// Extensions that tests offer.
const (
	extName       = 0
	extFragment   = 1
	extETM        = 22
	extLimit      = 28
	extTicket     = 35
	extPSK        = 41
	extEarly      = 42
	extVersions   = 43
	extPSKModes   = 45
	extLater      = 49
	extCompress   = 27
	extClientType = 19
	extALPS       = 17513
	extChannelID  = 30032
	extECH        = 0xfe0d
)

func sized(n int, b string) string {
	size := make([]byte, 8)
	binary.BigEndian.PutUint64(size, uint64(len(b)))
	return string(size[8-n:]) + b
}

func u16(v uint16) string { return string([]byte{byte(v >> 8), byte(v)}) }

// message returns a handshake message.
func message(typ byte, body string) string { return string(typ) + sized(3, body) }

// record returns a TLS record.
func record(typ byte, body string) string { return string([]byte{typ, 3, 3}) + sized(2, body) }

func (h hello) bytes(client bool) string {
	ext := map[uint16]string{}
	maps.Copy(ext, h.extensions)
	versions := u16(0x0304)
	if client {
		versions = sized(1, versions)
		if _, ok := ext[extName]; !ok {
			ext[extName] = sized(2, "\x00"+sized(2, "cart.shop"))
		}
	}
	if !h.old {
		ext[extVersions] = versions
	}
	if client && !h.old && !h.cacheless {
		ext[extPSKModes] = "\x01\x01"
	}
	var types []int
	for k := range ext {
		types = append(types, int(k))
	}
	slices.Sort(types)
	all := ""
	for _, k := range types {
		all += u16(uint16(k)) + sized(2, ext[uint16(k)])
	}
	b := u16(0x0303) + strings.Repeat(string(rune('a'+h.random%26)), 32) + sized(1, h.id)
	if client {
		offers := cmp.Or(h.offers, u16(0x1301)+u16(0x1302)+u16(0xc02b))
		return record(22, message(1, b+sized(2, offers)+sized(1, "\x00")+sized(2, all)))
	}
	suite := h.suite
	if suite == 0 {
		suite = 0x1301
	}
	return record(22, message(2, b+u16(suite)+"\x00"+sized(2, all)))
}

// psk returns the pre_shared_key extension of a client with a ticket of n bytes.
func psk(n int, age uint32) string {
	identity := sized(2, strings.Repeat("t", n)) + u16(uint16(age>>16)) + u16(uint16(age))
	return sized(2, identity) + sized(2, sized(1, strings.Repeat("b", 32)))
}

// player passes packets to a session.
type player struct {
	memory *dissect.Pool
	now    int64 // packet time
	t      testing.TB
	s      *dissect.Session
	at     [2]int64
	// number of bytes that each side had sent before its latest packet
	before [2]int64
}

func newPlayer(t testing.TB, client, server hello) *player {
	w := &player{t: t, memory: new(dissect.Pool)}
	w.s = w.memory.New()
	w.send(0, client.bytes(true), -1)
	w.send(1, server.bytes(false), -1)
	return w
}

// send sends bytes; ack is how many bytes of the other side they acknowledge, -1 for all.
func (w *player) send(side int, b string, ack int64) {
	if ack < 0 {
		ack = w.at[1-side]
	}
	w.before[side] = w.at[side]
	w.wait(1)
	w.s.Data(dissect.Side(side), w.at[side], []byte(b), ack, 0)
	w.at[side] += int64(len(b))
}

// wait advances the time by ms milliseconds.
func (w *player) wait(ms int64) {
	if w.now += ms * 1e6; w.memory != nil {
		w.memory.Clock(w.now)
	}
}

// play sends packets. "C 53 100" is a packet of the client with two protected records, "S 53" one of the server. "S-
// 40" does not acknowledge the other side's latest packet. "C! 22:100" has a record of another type. "C fin" ends a
// side, "S rst" resets it. "C lost 70" is a packet that the capture lacks. "S wait 2000" is 2 s without a packet. A
// packet takes 1 ms.
func (w *player) play(packets string) *player {
	for p := range strings.SplitSeq(packets, "|") {
		words := strings.Fields(p)
		side := strings.IndexByte("CS", words[0][0])
		ack := int64(-1)
		if strings.HasSuffix(words[0], "-") {
			ack = w.before[1-side]
		}
		b := ""
		for i, word := range words[1:] {
			typ, size, found := strings.Cut(word, ":")
			if !found {
				typ, size = "23", word
			}
			switch word {
			case "fin", "rst":
				w.s.Closed(dissect.Side(side), word == "rst")
				continue
			case "wait":
				n, _ := strconv.Atoi(words[i+2])
				w.wait(int64(n))
			case "lost":
				n, _ := strconv.Atoi(words[i+2])
				w.at[side] += int64(n)
				w.s.Data(dissect.Side(side), w.at[side], nil, -1, int64(n))
				b = ""
				size = ""
			}
			if size == "" || slices.Contains(words, "lost") || slices.Contains(words, "wait") {
				continue
			}
			k, err := strconv.Atoi(typ)
			n, err2 := strconv.Atoi(size)
			if err != nil || err2 != nil {
				w.t.Fatalf("not understood: %q", p)
			}
			b += record(byte(k), strings.Repeat("\xa7", n))
		}
		if b != "" {
			w.send(side, b, ack)
		}
	}
	return w
}

// judge returns the judgement of the connection so far; if ended is set, the final one.
func (w *player) judge(j *verdict.Judge, id uint64, ended bool) verdict.Judged {
	return j.Judge(conn(id, "10.0.0.1"), w.s, "eth0", ended)
}

func said(j verdict.Judged) string {
	return fmt.Sprintf("%s %s %s %v", j.Verdict, j.TLS.ClientAuth, j.TLS.Outcome, j.Reasons)
}
