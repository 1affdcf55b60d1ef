package main

import (
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
)

// thin changes the filters if the choice has changed.
func (t *tap) thin(p *pipeline.Locked, now time.Time) {
	if t.renewed { // nothing is known any more of what the kernel leaves out
		t.renewed = false
		for _, i := range t.captures() {
			i.except(nil, t.thinner.Most)
		}
	}
	if !t.thinner.Choose(p, now.UnixNano()) {
		return
	}
	for _, i := range t.captures() {
		if most := i.except(p.Thinned(i.index), t.thinner.Most); most < t.thinner.Most {
			t.thinner.Most = most
		}
	}
	if t.thinner.Most == 0 { // no choice follows, so no other interface may keep this one
		t.thinner.Stop(p)
		for _, i := range t.captures() {
			i.except(nil, 0)
		}
	}
}

// except makes the kernel leave out what it may of some connections, and nothing of
// others. It returns how many the kernel can do with: fewer than most where these were too
// many. Then nothing is left out until the next choice.
func (i *interfaceTap) except(connections []tapfilter.Connection, most int) int {
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
func (i *interfaceTap) attach(connections []tapfilter.Connection) error {
	program := i.whole[0]
	if len(connections) > 0 {
		except, err := tapfilter.Thin(pcapfilter.Config{Link: i.handle.LinkType(), Live: true}, connections)
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

// thinning returns how many connections the kernel thins (a redirected connection counts twice, once for each face)
// and how often the filter was changed.
func (i *interfaceTap) thinning() (connections int, changes uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.excepted), i.changes
}
