package verdict

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Anybody can send segments with made-up numbers to a pod. They belong to no connection, and the
// pod's only answer to each is a RST: nobody reads their payload. So such a conversation is
// neither plaintext nor TLS. While no packet of the other end was seen, nothing is settled for
// a while: its first packet decides.
//
// If only one direction of a conversation is captured there is no RST either. It is judged by
// that direction once it is past these bounds, or is over.
const (
	aloneMost = 16                     // packets that a batch of the kernel may show before their answers: net.core.gro_normal_batch is 8
	aloneWait = int64(1 * time.Second) // since the first packet
)

// turnedAway reports whether nothing but RSTs came back for what one end has sent.
func turnedAway(c *flow.Conn) bool {
	packets, resets, alone := c.Alone()
	return alone && resets > 0 && packets <= resets+aloneMost
}

// MayBeTurnedAway reports whether the other end of a connection, of which nothing was seen, may still turn
// it away: nothing is settled until then.
func MayBeTurnedAway(c *flow.Conn) bool {
	packets, resets, alone := c.Alone()
	return alone && resets == 0 && packets < aloneMost && c.Last-c.First < aloneWait
}

// withdrawUnread withdraws the verdict on what nobody has read.
func (o *Judged) withdrawUnread() {
	if o.Verdict == None {
		return
	}
	o.Verdict, o.TLS = Unknown, nil
	o.because("answered_by_resets")
}
