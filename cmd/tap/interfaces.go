package main

import (
	"net"
	"slices"
	"strings"
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

// watchInterface adds an interface to those that are captured. The pipeline is locked.
func (t *tap) watchInterface(name string) *interfaceTap {
	i := &interfaceTap{tap: t, name: name, index: uint16(len(t.pipeline.interfaces)), log: t.log.With("interface", name), once: make(chan struct{})}
	t.pipeline.interfaces = append(t.pipeline.interfaces, name)
	t.tapsMu.Lock()
	defer t.tapsMu.Unlock()
	t.taps = append(t.taps, i)
	return i
}

// survey compares the interfaces that are up with those that are captured: it hands those
// to start that are to be captured from now on, and notes which are not captured. The
// pipeline is locked.
func (t *tap) survey(start func(*interfaceTap)) {
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
		case !t.all || running >= mostInterfaces || i == nil && len(known) >= maxInterfaces:
			missing = append(missing, name)
		default:
			if i == nil {
				i = t.watchInterface(name)
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

// followNames ends the captures of interfaces that were renamed, to be opened again by name,
// where their names say something else now: always if all interfaces are captured, else if
// another interface has taken the name, or the new name is one that is captured as well. Any
// other renamed interface is captured on.
func (t *tap) followNames(all []net.Interface) {
	captures := t.captures()
	captured := func(name string) bool {
		return slices.ContainsFunc(captures, func(i *interfaceTap) bool { return i.name == name })
	}
	for _, i := range captures {
		index := i.ifindex()
		now := slices.IndexFunc(all, func(x net.Interface) bool { return x.Index == index })
		if now < 0 || all[now].Name == i.name {
			continue
		}
		taken := slices.ContainsFunc(all, func(x net.Interface) bool { return x.Name == i.name })
		if t.all || taken || captured(all[now].Name) {
			i.log.Warn("the interface was renamed", "to", all[now].Name)
			i.close()
		}
	}
}

// ifindex returns the kernel's index of the interface that is captured, 0 if none is.
func (i *interfaceTap) ifindex() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle == nil {
		return 0
	}
	return i.handle.Index()
}

// close ends the capture, which is then begun anew.
func (i *interfaceTap) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle != nil {
		i.handle.Close()
	}
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
