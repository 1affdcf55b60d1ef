package main

import (
	"net"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// everyInterface is the value of TAP_INTERFACES that captures on each interface that is
// up, as interfaces come and go.
const everyInterface = "all"

// mostInterfaces bounds those that are captured where TAP_INTERFACES is all. The others are
// told of as not captured.
const mostInterfaces = 8

// captures returns the interfaces that are captured, or were. The result does not change.
func (t *tap) captures() []*interfaceTap {
	t.tapsMu.Lock()
	defer t.tapsMu.Unlock()
	return slices.Clip(t.taps)
}

// watchInterface adds an interface to those that are captured.
func (t *tap) watchInterface(p *pipeline.Locked, name string) *interfaceTap {
	i := &interfaceTap{tap: t, name: name, index: p.AddInterface(name), log: t.log.With("interface", name), once: make(chan struct{})}
	t.tapsMu.Lock()
	defer t.tapsMu.Unlock()
	t.taps = append(t.taps, i)
	return i
}

// survey compares the interfaces that are up with those that are captured: it hands those
// to start that are to be captured from now on, and notes which are not captured.
func (t *tap) survey(p *pipeline.Locked, start func(*interfaceTap)) {
	t.linksChanged = false
	all, err := net.Interfaces()
	if err != nil {
		return // those from before stay
	}
	there := namesUp(all)
	t.followNames(all)
	known := map[string]*interfaceTap{}
	running := 0
	for _, i := range t.captures() {
		known[i.name] = i
		if !i.isGone() {
			running++
		}
	}
	var missing []string
	for _, name := range there {
		i := known[name]
		switch {
		case i != nil && !i.isGone():
		case !t.all || running >= mostInterfaces || i == nil && len(known) >= pipeline.MaxInterfaces:
			missing = append(missing, name)
		default:
			if i == nil {
				i = t.watchInterface(p, name)
				known[name] = i
			}
			running++
			start(i)
		}
	}
	t.tellUncaptured(missing)
}

// tellUncaptured notes the interfaces that are up and not captured, and logs new ones.
func (t *tap) tellUncaptured(missing []string) {
	var fresh []string
	for _, name := range missing {
		if !slices.Contains(t.uncaptured, name) {
			fresh = append(fresh, name)
		}
	}
	t.uncaptured = missing
	if len(fresh) > 0 {
		t.log.Warn("not captured: what goes over these interfaces is not seen; TAP_INTERFACES names those that are captured, or all", "interfaces", strings.Join(fresh, ","))
	}
}

// followNames ends the captures of interfaces that have been renamed where what is captured by
// name is another interface now. They are opened again by name. It ends all of them if every
// interface is captured; else those whose name another interface has taken, and those whose new
// name is captured too. Any other renamed interface is captured on, under its old name.
func (t *tap) followNames(all []net.Interface) {
	captures := t.captures()
	for _, i := range captures {
		index := i.ifindex()
		at := slices.IndexFunc(all, func(x net.Interface) bool { return x.Index == index })
		if at < 0 || all[at].Name == i.name {
			continue
		}
		now := all[at].Name
		taken := slices.ContainsFunc(all, func(x net.Interface) bool { return x.Name == i.name })
		captured := slices.ContainsFunc(captures, func(x *interfaceTap) bool { return x.name == now })
		if t.all || taken || captured {
			i.endRenamed(now)
		}
	}
}

// ifindex returns the kernel's index of the interface that is captured, 0 if none is, or if its
// capture is ending.
func (i *interfaceTap) ifindex() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle == nil || i.renamed {
		return 0
	}
	return i.handle.Index()
}

// endRenamed ends the capture of an interface that has another name now.
func (i *interfaceTap) endRenamed(now string) {
	i.log.Warn("the interface was renamed", "to", now)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle != nil {
		i.renamed = true
		i.handle.Close()
	}
}

// isRenamed reports whether the capture has ended since its interface has another name now.
func (i *interfaceTap) isRenamed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.renamed
}

// namesUp returns the names of those interfaces that are up, in order.
func namesUp(all []net.Interface) (out []string) {
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 {
			out = append(out, i.Name)
		}
	}
	slices.Sort(out)
	return out
}
