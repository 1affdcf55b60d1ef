package live

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// MaxInterfaces bounds the interfaces that Config.All captures. The others are reported as not captured.
const MaxInterfaces = 8

// addInterface adds an interface that should be captured.
func (c *Capture) addInterface(p *pipeline.Locked, name string) *Interface {
	i := &Interface{capture: c, name: name, index: p.AddInterface(name), log: c.log.With("interface", name), once: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interfaces = append(c.interfaces, i)
	return i
}

// checkInterfaces compares the interfaces that are up with those that are captured. If all interfaces should be captured, it
// starts to capture new interfaces. It also records the interfaces that are not captured.
func (c *Capture) checkInterfaces(p *pipeline.Locked) {
	c.linksChanged, c.nextCheck = false, time.Now().Add(checkEvery)
	all, err := net.Interfaces()
	if err != nil {
		return // keep the known interfaces
	}
	c.followNames(all)
	known := map[string]*Interface{}
	running := 0
	for _, i := range c.Interfaces() {
		known[i.name] = i
		if !i.isGone() {
			running++
		}
	}

	var missing []string
	for _, name := range namesUp(all) {
		i := known[name]
		switch {
		case i != nil && !i.isGone():
		case !c.cfg.All || running >= MaxInterfaces || i == nil && len(known) >= pipeline.MaxInterfaces:
			missing = append(missing, name)
		default:
			if i == nil {
				i = c.addInterface(p, name)
				known[name] = i
			}
			running++
			c.start(i)
		}
	}
	c.setUncaptured(missing)
}

// setUncaptured sets the interfaces that are up and not captured. It logs those that were not in
// the set before.
func (c *Capture) setUncaptured(missing []string) {
	var fresh []string
	for _, name := range missing {
		if !slices.Contains(c.uncaptured, name) {
			fresh = append(fresh, name)
		}
	}
	c.uncaptured = missing
	if len(fresh) > 0 {
		c.log.Warn("interfaces are up and not captured: their traffic is not seen; add them to TAP_INTERFACES, or set it to all", "interfaces", strings.Join(fresh, ","))
	}
}

// followNames ends the capture of a renamed interface in three cases: all interfaces are captured; another interface has its old
// name; or its new name should be captured too. The interface is then opened again by name. In any other case its capture
// continues under the old name.
func (c *Capture) followNames(all []net.Interface) {
	captures := c.Interfaces()
	for _, i := range captures {
		index := i.ifindex()
		at := slices.IndexFunc(all, func(x net.Interface) bool { return x.Index == index })
		if at < 0 || all[at].Name == i.name {
			continue
		}
		now := all[at].Name
		taken := slices.ContainsFunc(all, func(x net.Interface) bool { return x.Name == i.name })
		captured := slices.ContainsFunc(captures, func(x *Interface) bool { return x.name == now })
		if c.cfg.All || taken || captured {
			i.endRenamed(now)
		}
	}
}

// ifindex returns the kernel's index of the interface. It returns 0 if nothing is captured, or if the capture is ending.
func (i *Interface) ifindex() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle == nil || i.renamed {
		return 0
	}
	return i.handle.Index()
}

// endRenamed ends the capture of an interface that has another name now.
func (i *Interface) endRenamed(now string) {
	i.log.Warn("the interface was renamed", "to", now)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle != nil {
		i.renamed = true
		i.handle.Close()
	}
}

// namesUp returns the names of the interfaces that are up, sorted.
func namesUp(all []net.Interface) (out []string) {
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 {
			out = append(out, i.Name)
		}
	}
	slices.Sort(out)
	return out
}
