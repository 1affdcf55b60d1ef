//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// memory measures the tap's resident memory, including the rings, at idle and with open connections whose handshakes it has read.
func (b *bench) memory() (results []result, err error) {
	return results, inDeafPods(func(n *pods) error {
		rows := []struct {
			connections int
			goal        float64 // MB: in the first row (idle) of all memory, in the others of the growth over idle
		}{{0, 32}, {10_000, 10}, {100_000, 64}}
		if b.quick {
			rows = rows[:2]
		}
		builds := b.builds()
		var idle sample
		lines := [][]string{{"connections", "RSS MB", "anonymous MB", "ring MB", "program MB", "CPU us/connection"}}
		for _, row := range rows {
			var anonymous, ring, program, cpu sample
			rss := make([]sample, len(builds))
			for range min(b.rounds, 3) {
				var args []string
				if row.connections > 0 {
					args = []string{"-whole", "-open", "-flows", strconv.Itoa(row.connections), "-rate", "150000"}
				}
				h, err := b.openFootprint(n, nil, args...)
				if err != nil {
					return err
				}
				rss[0], anonymous, ring, program = append(rss[0], h.rss), append(anonymous, h.anonymous), append(ring, h.ring), append(program, h.program)
				cpu = append(cpu, h.cpu*1e6/max(1, float64(row.connections)))
				for i, base := range builds[1:] {
					h, err := base.openFootprint(n, nil, args...)
					if err != nil {
						return err
					}
					rss[i+1] = append(rss[i+1], h.rss)
				}
			}
			lines = append(lines, []string{strconv.Itoa(row.connections), rss[0].spread("%.1f"), anonymous.spread("%.1f"), ring.spread("%.1f"), program.spread("%.1f"), cpu.spread("%.1f")})
			results = append(results, toBase(fmt.Sprintf("memory: RSS with %d connections", row.connections), rss)...)
			if row.connections == 0 {
				idle = rss[0]
				results = append(results, atMost("memory: RSS at idle, MB", idle, "%.1f", row.goal))
				continue
			}
			var more sample
			for i := range rss[0] {
				more = append(more, rss[0][i]-idle[i])
			}
			results = append(results, atMost(fmt.Sprintf("memory: RSS with %d connections, MB more than idle", row.connections), more, "%.1f", row.goal))
		}
		columns(lines...)
		more, err := b.bounded(n)
		results = append(results, more...)
		return err
	})
}

// bounded opens more connections than the tap has memory for under the chart's limit. Some have a complete handshake;
// for others the client stops within a long ClientHello.
func (b *bench) bounded(n *pods) (results []result, err error) {
	connections, half := 300_000, 100_000
	if b.quick {
		connections, half = 20_000, 5_000
	}
	lines := [][]string{{fmt.Sprintf("under %d MiB", limitMemory>>20), "peak RSS MB", "peak of the group MB", "shed", "evicted", "packets dropped"}}
	for _, flood := range []struct {
		what string
		args []string
	}{
		{fmt.Sprintf("%d connections", connections), []string{"-whole", "-open", "-flows", strconv.Itoa(connections), "-rate", "150000"}},
		{fmt.Sprintf("%d half-open hellos", half), []string{"-half", "-flows", strconv.Itoa(half), "-rate", "150000"}},
	} {
		what := fmt.Sprintf("memory: peak under %d MiB with %s, MB", limitMemory>>20, flood.what)
		h, err := b.limited(n, flood.args)
		if err != nil {
			progress("  %v", err)
			results = append(results, result{what: what, measured: "the tap failed or was killed", goal: "under the limit"})
			continue
		}
		lines = append(lines, []string{flood.what, fmt.Sprintf("%.1f", h.most), fmt.Sprintf("%.1f", h.group), fmt.Sprint(h.shed), fmt.Sprint(h.evicted), fmt.Sprint(h.dropped)})
		results = append(results, atMost(what, sample{h.group}, "%.1f", limitMemory/mega))
	}
	columns(lines...)
	return results, nil
}

// limited is like openFootprint, but the tap runs under the chart's memory limit.
func (b *bench) limited(n *pods, args []string) (h footprint, err error) {
	limits, err := newGroup("memory", 0, limitMemory)
	if err != nil {
		return h, err
	}
	defer limits.remove()
	h, err = b.openFootprint(n, limits, args...)
	h.group = mb(limits.peak())
	return h, err
}

// footprint is the memory and CPU time of a tap with open connections.
type footprint struct {
	rss, anonymous, ring, program float64 // MB, measured after the tap became idle again
	most, group                   float64 // MB, the peaks of the process and of its control group
	cpu                           float64 // seconds of CPU time since the tap was ready
	finalCounts
}

// quietAfter is the time after which an idle tap has returned unused memory to the kernel.
const quietAfter = 12 * time.Second

// openFootprint starts a tap, lets the sender open connections, and measures the tap. args are the sender's
// arguments; without arguments no connections are opened.
func (b *bench) openFootprint(n *pods, limits *group, args ...string) (h footprint, err error) {
	r, err := b.startTap(n, "eth0,lo", limits, "findings,posture")
	if err != nil {
		return h, err
	}
	if len(args) > 0 {
		_, err = b.sender(n, args...)
	}
	h.cpu = r.cpuOnceIdle().Seconds()
	time.Sleep(quietAfter) // the peaks happened before this wait
	h.rss, h.anonymous, h.program, h.ring = mb(r.status("VmRSS")), mb(r.status("RssAnon")), mb(r.status("RssFile")), mb(r.status("RssShmem"))
	h.most = mb(r.status("VmHWM"))
	var e error
	h.finalCounts, e = stopTap(r)
	return h, errors.Join(err, e)
}

// scale measures the CPU time for each packet and each connection as the number of open connections grows.
func (b *bench) scale() (results []result, err error) {
	sizes := []int{1_000, 10_000, 100_000}
	if b.quick {
		sizes = sizes[:2]
	}
	return results, inDeafPods(func(n *pods) error {
		builds := b.builds()
		packet, connection := make([][]sample, len(sizes)), make([][]sample, len(sizes)) // the indexes are the size and the build
		for i := range sizes {
			packet[i], connection[i] = make([]sample, len(builds)), make([]sample, len(builds))
		}
		for range b.rounds {
			for i, size := range sizes {
				for k, build := range builds {
					p, c, err := build.costAt(n, size)
					if err != nil {
						return err
					}
					packet[i][k], connection[i][k] = append(packet[i][k], p*1e9), append(connection[i][k], c*1e6)
				}
			}
		}
		lines := [][]string{{"connections open", "CPU ns/packet", "CPU us/connection"}}
		for i, size := range sizes {
			lines = append(lines, []string{strconv.Itoa(size), packet[i][0].spread("%.0f"), connection[i][0].spread("%.1f")})
			results = append(results, toBase(fmt.Sprintf("scale: CPU for each packet at %d connections", size), packet[i])...)
			results = append(results, toBase(fmt.Sprintf("scale: CPU for each connection at %d connections", size), connection[i])...)
		}
		columns(lines...)
		last := len(sizes) - 1
		results = append(results,
			atMost(fmt.Sprintf("scale: CPU for each packet at %d connections to that at %d", sizes[last], sizes[0]), packet[last][0].over(packet[0][0]), "%.2f", 2),
			atMost(fmt.Sprintf("scale: CPU for each connection at %d connections to that at %d", sizes[last], sizes[0]), connection[last][0].over(connection[0][0]), "%.2f", 2),
		)
		return nil
	})
}

// costAt opens connections and returns the tap's CPU time in seconds for a packet and for a further connection with
// its handshake. The packets belong to all connections in turn.
func (b *bench) costAt(n *pods, connections int) (packet, connection float64, err error) {
	const more, packets = 3_000, 400_000
	limits, err := newGroup("scale", 0, 512<<20) // enough memory for all connections
	if err != nil {
		return 0, 0, err
	}
	defer limits.remove()
	r, err := b.startTap(n, "eth0,lo", limits, "findings,posture")
	if err != nil {
		return 0, 0, err
	}
	phases := [3]time.Duration{}
	var errs []error
	for i, args := range [][]string{
		// The first frames of a connection are sent in a row, so that the tap recognizes TLS before the next connection
		// starts. The tap bounds the number of connections that it has not yet recognized; above that number they would
		// evict each other.
		{"-flows", strconv.Itoa(connections), "-count", strconv.Itoa(exchanged * connections), "-row", strconv.Itoa(exchanged), "-rate", "200000"},
		{"-flows", strconv.Itoa(connections), "-count", strconv.Itoa(packets), "-sent", strconv.Itoa(exchanged), "-rate", "200000"},
		{"-whole", "-flows", strconv.Itoa(more), "-first", "1000000", "-rate", "50000"},
	} {
		_, e := b.sender(n, args...)
		errs = append(errs, e)
		phases[i] = r.cpuOnceIdle()
	}
	_, _, e := tapResult(r)

	packet = (phases[1] - phases[0]).Seconds() / packets
	connection = (phases[2] - phases[1]).Seconds() / more
	return packet, connection, errors.Join(append(errs, e)...)
}

// churn opens and closes a million connections in ten minutes and watches the memory. With -quick it opens them as
// fast as possible; the result for the memory is the same.
func (b *bench) churn() (results []result, err error) {
	const minutes, each = 10, 100_000
	rate, pause, duration := "24200", time.Minute, "ten minutes" // frames per second; a connection has 14.5 packets
	if b.quick {
		rate, pause, duration = "150000", 0, "a row"
	}
	return results, inDeafPods(func(n *pods) error {
		limits, err := newGroup("churn", 0, limitMemory)
		if err != nil {
			return err
		}
		defer limits.remove()
		r, err := b.startTap(n, "eth0,lo", limits, "findings,posture")
		if err != nil {
			return err
		}
		defer r.stop(syscall.SIGTERM) // ends the tap if there was an error
		var rss sample
		for minute := range minutes {
			began := time.Now()
			s, err := b.sender(n, "-whole", "-flows", strconv.Itoa(each), "-first", strconv.Itoa(minute*each), "-rate", rate)
			if err != nil {
				return err
			}
			time.Sleep(pause - time.Since(began))
			rss = append(rss, mb(r.status("VmRSS")))
			progress("  minute %d: %d connections, %d packets, RSS %.1f MB, CPU %.1f s", minute+1, s.Connections, s.Packets, rss[minute], r.cpu().Seconds())
		}
		_, dropped, err := tapResult(r)
		results = []result{
			atMost("churn, under 128Mi: RSS after a million connections in "+duration+" to that after 200,000", sample{rss[minutes-1] / rss[1]}, "%.2f", 1.1),
			atMost("churn: peak of the control group, MB", sample{float64(limits.peak()) / mega}, "%.1f", limitMemory/mega),
			atMost("churn: packets dropped", sample{dropped}, "%.0f", 0),
		}
		return err
	})
}
