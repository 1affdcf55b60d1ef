package live

import (
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
)

// thin updates the filters if the connections to thin have changed.
func (c *Capture) thin(p *pipeline.Locked, now time.Time) {
	if c.tableCleared {
		c.tableCleared = false
		for _, i := range c.Interfaces() {
			i.thin(nil, c.thinner.Most)
		}
	}
	if !c.thinner.Choose(p, now.UnixNano()) {
		return
	}
	for _, i := range c.Interfaces() {
		if most := i.thin(p.Thinned(i.index), c.thinner.Most); most < c.thinner.Most {
			c.thinner.Most = most
		}
	}
	if c.thinner.Most == 0 { // this was the last choice, so no other interface may keep it
		c.thinner.Stop(p)
		for _, i := range c.Interfaces() {
			i.thin(nil, 0)
		}
	}
}

// thin lets the kernel leave out most packets of these connections, and no packets of others. It returns how many connections the
// kernel has memory for: most, or fewer if there were too many connections. In the second case no packet is left out until the
// next choice of connections.
func (i *Interface) thin(connections []tapfilter.Connection, most int) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle == nil || slices.Equal(connections, i.thinned) {
		return most
	}
	err := i.setFilter(connections)
	if err == nil {
		return most
	}

	most = min(most, len(connections)) / 2
	i.log.Warn("the kernel cannot leave out that much", "connections", len(connections), "from_now_on", most, "error", err)
	if len(i.thinned) == 0 {
		return most // the filter is unchanged
	}
	if err := i.setFilter(nil); err != nil { // the kernel had memory for this filter and the present one at once
		i.log.Error("the filter cannot be changed; opening the interface again", "error", err)
		i.handle.Close()
	}
	return most
}

// setFilter sets the TCP ring's filter to one that thins these connections. The caller holds i.mu.
func (i *Interface) setFilter(connections []tapfilter.Connection) error {
	program := i.filters[0]
	if len(connections) > 0 {
		thin, err := tapfilter.Thin(pcapfilter.Config{Link: i.handle.LinkType(), Live: true}, connections)
		if err == nil {
			program, err = pcapfilter.And(thin, program)
		}
		if err != nil {
			return err
		}
	}
	if err := i.handle.SetFilter(program); err != nil {
		return err
	}
	i.thinned = connections
	i.changes++
	return nil
}

// Thinning returns how many connections the kernel thins, and how often the filter was changed. A redirected
// connection counts twice, once for each face.
func (i *Interface) Thinning() (connections int, changes uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.thinned), i.changes
}
