package main

import (
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// A connection that is settled and goes on tells nothing more, but each of its packets is
// copied into the ring, at the workload's expense. So the kernel is told to leave most of
// them out (pcapfilter.Except), by a filter that is made anew as connections come and go.

const (
	// thinEvery is how often connections are chosen.
	thinEvery = 250 * time.Millisecond
	// thinAtOnce is how soon a choice follows another one where a connection has ended that
	// was chosen: its ports may be taken again. The filter changes no more often.
	thinAtOnce = 50 * time.Millisecond
	// thinRound is how long a choice holds. Then all are seen whole again, until the next
	// look: what is no longer busy is not chosen again, and is not kept from the table until
	// it takes the connection for idle.
	thinRound = 5 * time.Second
	// thinMost is how many connections are chosen, of all interfaces together. They have to
	// fit in the 4096 instructions that there may be, and in net.core.optmem_max, twice: a
	// filter is put in place while the one before is there. Where that is 20 KiB, as it long
	// was, there is room for some 60 that have the addresses in common, and for 8 that do not.
	thinMost = 128
)

// thinner knows when the choice is to be made, and how large it may be.
type thinner struct {
	most         int   // 0: nothing is left out
	next, afresh int64 // ns since the epoch
	last         int64 // when it was made
}

// look makes the choice if it is time to, and tells whether it has changed.
func (n *thinner) look(table *flow.Table, now int64) bool {
	if n.most == 0 {
		return false
	}
	setBack := now < n.last // the clock: nothing may stay chosen until it has caught up
	if !setBack && now < n.next && (!table.ThinnedEnded() || now < n.last+int64(thinAtOnce)) {
		return false
	}
	n.next, n.last = now+int64(thinEvery), now
	afresh := setBack || now >= n.afresh
	if afresh {
		n.afresh = now + int64(thinRound)
	}
	return table.Thin(n.most, afresh)
}

// excepted returns the connections of an interface that were chosen, as a filter knows
// them. One that was redirected has two faces there.
func excepted(chosen []*flow.Conn, iface uint16) (out []pcapfilter.Connection) {
	for _, c := range chosen {
		if c.Interface != iface {
			continue
		}
		for _, peer := range [...]*flow.Endpoint{&c.Resp, c.Redirected} {
			if peer != nil {
				out = append(out, pcapfilter.Connection{A: c.Orig.AddrPort(), B: peer.AddrPort(), TLS: secured(c)})
			}
		}
	}
	return out
}

// secured tells whether a connection that is settled is TLS, as far as is known.
func secured(c *flow.Conn) bool {
	rest, ok := c.User.(*verdict.Rest)
	return ok && rest.Followed()
}

// thin changes the filters if the choice has changed. The pipeline is locked.
func (t *tap) thin(now time.Time) {
	if t.renewed { // nothing is known any more of what the kernel leaves out
		t.renewed = false
		for _, i := range t.captures() {
			i.except(nil, t.thinner.most)
		}
	}
	if !t.thinner.look(t.pipeline.table, now.UnixNano()) {
		return
	}
	chosen := t.pipeline.table.Thinned()
	for _, i := range t.captures() {
		if most := i.except(excepted(chosen, i.index), t.thinner.most); most < t.thinner.most {
			t.thinner.most = most
		}
	}
	if t.thinner.most == 0 { // no choice follows, so no other interface may keep this one
		t.pipeline.table.Thin(0, true)
		for _, i := range t.captures() {
			i.except(nil, 0)
		}
	}
}

// except makes the kernel leave out what it may of some connections, and nothing of
// others. It returns how many the kernel can do with: fewer than most where these were too
// many. Then nothing is left out until the next choice.
func (i *interfaceTap) except(connections []pcapfilter.Connection, most int) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle == nil || slices.Equal(connections, i.excepted) {
		return most
	}
	err := i.attach(connections)
	if err == nil {
		return most
	}
	most = min(most, len(connections)) / 2
	i.log.Warn("the kernel cannot leave out that much", "connections", len(connections), "from_now_on", most, "error", err)
	if len(i.excepted) == 0 {
		return most // and so it stays
	}
	if err := i.attach(nil); err != nil { // the one that is in force was put there beside it
		i.log.Error("the filter cannot be changed; opening the interface again", "error", err)
		i.handle.Close()
	}
	return most
}

// attach puts the filter before the socket that leaves these connections out. i.mu is held.
func (i *interfaceTap) attach(connections []pcapfilter.Connection) error {
	program := i.whole[0]
	if len(connections) > 0 {
		except, err := pcapfilter.Except(pcapfilter.Config{Link: pcapfilter.Link(i.handle.LinkType()), Live: true}, connections)
		if err == nil {
			program, err = pcapfilter.And(except, program)
		}
		if err != nil {
			return err
		}
	}
	if err := i.handle.SetFilter(program); err != nil {
		return err
	}
	i.excepted = connections
	i.changes++
	return nil
}

// thinning returns how many connections the kernel leaves packets out of, those that are
// redirected twice, and how often the filter was changed.
func (i *interfaceTap) thinning() (connections int, changes uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.excepted), i.changes
}
