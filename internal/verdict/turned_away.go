package verdict

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Anybody can send forged segments to a pod. Such segments belong to no connection: the pod replies to each with a
// RST, and nobody reads their payload. So they are judged neither plaintext nor TLS. As long as only one end's
// packets are captured, no verdict settles for a while, because the first packet of the other end decides.
//
// If only one direction is captured, there is no RST either. Therefore a connection is judged by the captured direction
// once it has aloneMost packets, has lasted for aloneWait, or has ended.
//
// A live capture contains the pod's own packets as well (Config.Replies). There a pod that sends nothing at all has not accepted the
// segments: the kernel silently drops many kinds of packets, such as those with a VLAN tag that no interface has. They are never
// judged plaintext or TLS.
const (
	aloneMost = 16                     // packets that the kernel may show in one batch before the replies: net.core.gro_normal_batch is 8
	aloneWait = int64(1 * time.Second) // packet time since the first packet, in ns
)

// turnedAway reports whether one end of c sent nothing but RSTs, and at most aloneMost fewer of them than the other
// end sent packets.
func turnedAway(c *flow.Conn) bool {
	packets, resets, alone := c.OneSided()
	return alone && resets > 0 && packets <= resets+aloneMost
}

// MayBeTurnedAway reports whether packets of only one end of c were captured so far, and it is too early to tell
// whether the other end will send anything but RSTs. While MayBeTurnedAway returns true, no verdict settles.
func (j *Judge) MayBeTurnedAway(c *flow.Conn) bool {
	packets, resets, alone := c.OneSided()
	return alone && resets == 0 && (packets < aloneMost && c.Last-c.First < aloneWait || j.unanswered(c))
}

// unanswered reports whether the pod has not accepted the packets of c, because it would have sent some itself.
func (j *Judge) unanswered(c *flow.Conn) bool { return j.cfg.Replies && c.Unanswered() }

// withdrawUnread sets the verdict to unknown for a reason why no end has read the payload.
func (o *Judged) withdrawUnread(why string) {
	if o.Verdict == None {
		return
	}
	o.Verdict, o.TLS, o.Credentials, o.CredentialsRead = Unknown, nil, 0, false
	o.because(why)
}
