package verdict

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Anybody can send segments with made-up numbers to a pod. They belong to no connection, and the
// pod's only answer to each is a RST: what they bring is read by nobody. So such a conversation is
// no plaintext and no TLS, and as long as nothing was seen of the other end nothing is settled
// for a while: its first packet decides.
//
// Of a conversation of which only one direction is captured there is no RST either. It is judged
// by what was seen, once it is past these bounds, or is over.
const (
	aloneMost = 16                     // packets that a batch of the kernel may show before their answers: net.core.gro_normal_batch is 8
	aloneWait = int64(1 * time.Second) // since the first packet
)

// turnedAway reports whether nothing but RSTs came back for what one end has sent.
func turnedAway(c *flow.Conn) bool {
	packets, resets, alone := c.Alone()
	return alone && resets > 0 && packets <= resets+aloneMost
}

// Unheard reports whether the other end of a connection, of which nothing was seen, may still turn
// it away: nothing is settled until then.
func Unheard(c *flow.Conn) bool {
	packets, resets, alone := c.Alone()
	return alone && resets == 0 && packets < aloneMost && c.Last-c.First < aloneWait
}

// unread withdraws the verdict on what nobody has read.
func (o *Judged) unread() {
	if o.Verdict == None {
		return
	}
	o.Verdict, o.TLS = Unknown, nil
	o.because("answered_by_resets")
}
