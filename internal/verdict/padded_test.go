package verdict_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// sender describes how an end puts messages into TLS 1.3 records.
type sender struct {
	block int  // content and type are padded to a multiple of this
	more  int  // bytes of padding that are added to every record
	limit int  // maximum bytes of content in a record
	joins bool // a flight is put into one record
}

// records returns the lengths of the records that hold messages, in the form that player.play takes. The tag has 16
// bytes.
func (s sender) records(messages ...int) string {
	if s.joins {
		sum := 0
		for _, n := range messages {
			sum += n
		}
		messages = []int{sum}
	}
	var b strings.Builder
	for _, n := range messages {
		for ; n > 0; n -= s.limit {
			content := min(n, s.limit) + 1 + s.more
			fmt.Fprintf(&b, " %d", 16+(content+s.block-1)/s.block*s.block)
		}
	}
	return b.String()
}

// anySender returns a random sender: a known one, or one with any padding.
func anySender(r *rand.Rand) sender {
	s := sender{block: 1, limit: 1 << 14, joins: r.IntN(2) == 0}
	switch r.IntN(4) {
	case 0:
		s.more = 16
	case 1:
		s.block = 16
	case 2:
		s.block = []int{2, 8, 20, 24, 32, 48, 60, 64, 100, 128, 256, 512}[r.IntN(12)]
	}
	if r.IntN(4) == 0 {
		if s.limit = 64 << r.IntN(6); s.more > 0 {
			s.limit = max(s.limit, 512) // Java's minimum
		}
	}
	return s
}

// TestAnySender plays handshakes of ends that pad, join and fragment their records by arbitrary rules. The ends
// are honest, except that the server chooses a context and the client echoes it. A handshake must never look
// mutual if the client has no certificate or the server refuses the certificate.
func TestAnySender(t *testing.T) {
	const runs = 20_000
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...int) int { return from[r.IntN(len(from))] }
	for range runs {
		client, server := anySender(r), anySender(r)
		suite, finished := uint16(0x1301), 36
		if r.IntN(2) == 0 {
			suite, finished = 0x1302, 52
		}
		signature := pick(64, 70, 71, 72, 102, 103, 104, 256, 384, 512)
		flight := []int{pick(6, 10, 15, 30), 8 + 5 + 300 + r.IntN(1500), 8 + signature, finished}
		asks, refused := r.IntN(2) == 0, r.IntN(2) == 0
		answer := []int{8 + r.IntN(400)}
		mine := []int{finished}
		if asks || refused {
			flight = append(flight[:1:1], append([]int{30 + r.IntN(200)}, flight[1:]...)...)
			if mine = []int{8, finished}; !client.joins {
				mine[0] += pick(0, r.IntN(256)) // no known client both echoes a context and joins messages
			}
		}
		packets := "S" + server.records(flight...) + " | C"
		if refused {
			mine = []int{8 + 5 + 200 + r.IntN(1500), 8 + pick(64, 70, 71, 72, 103, 256), finished}
			packets += client.records(mine...) + " | C" + client.records(100) + " | S" + server.records(2) + " | S fin"
		} else {
			packets += client.records(mine...) + " | C" + client.records(r.IntN(300)+1) + " | S" + server.records(answer...)
		}
		h := hello{extensions: map[uint16]string{}}
		if client.block > 1 && (client.block != 16 || r.IntN(2) == 0) { // only OpenSSL pads to an arbitrary block
			h.extensions[extETM] = ""
		}
		if min(client.limit, server.limit) < 512 { // no stack uses smaller records unless the other end asks for them
			h.extensions[extLimit] = u16(uint16(server.limit))
		}
		got := newPlayer(t, h, hello{suite: suite}).play(packets).judge(verdict.New(verdict.Config{}), 1, true)
		if got.Verdict == verdict.MTLS || got.TLS.ClientAuth == verdict.AuthPresented && !refused || refused && got.TLS.Outcome == verdict.OutcomeEstablished {
			t.Errorf("%04x client %+v server %+v asks %v refused %v mine %v flight %v: %s: %s", suite, client, server, asks, refused, mine, flight, packets, said(got))
		}
	}
}
