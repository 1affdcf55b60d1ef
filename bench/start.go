//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// startup measures how soon a tap captures its first packet, its CPU time while there are no packets, and the size of
// its executable.
func (b *bench) startup() (results []result, err error) {
	info, err := os.Stat(b.tap)
	if err != nil {
		return nil, err
	}
	size := atMost("start: the program's size, millions of bytes", sample{float64(info.Size()) / 1e6}, "%.3f", 12)
	return results, inDeafPods(func(n *pods) error {
		builds := b.builds()
		soon, idle := make([]sample, len(builds)), make([]sample, len(builds))
		for range b.rounds {
			for i, build := range builds {
				d, err := build.firstPacket(n)
				if err != nil {
					return err
				}
				soon[i] = append(soon[i], float64(d)/1e6)
			}
		}
		for range min(b.rounds, 3) {
			for i, build := range builds {
				share, err := build.idle(n)
				if err != nil {
					return err
				}
				idle[i] = append(idle[i], 100*share)
			}
		}
		results = []result{
			atMost("start: from exec to the first packet, ms", soon[0], "%.0f", 100),
			atMost("start: CPU at idle, % of a core", idle[0], "%.3f", 0.1),
			size,
		}
		results = append(results, toBase("start: from exec to the first packet", soon)...)
		results = append(results, toBase("start: CPU at idle", idle)...)
		return nil
	})
}

// firstPacket returns the time from the start of a tap until it captures its first packet. A packet arrives every
// half millisecond.
func (b *bench) firstPacket(n *pods) (time.Duration, error) {
	packets, err := start(n.peer, nil, nil, nil, nil, b.self, "send", "-flows", "1", "-count", "4000", "-rate", "2000")
	if err != nil {
		return 0, err
	}
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	r, err := b.startTap(n, "eth0,lo", nil, "flows")
	if err != nil {
		return 0, errors.Join(err, packets.cmd.Process.Kill())
	}
	time.Sleep(300 * time.Millisecond)
	_, _, err = tapResult(r)
	_, e := packets.wait()
	if err = errors.Join(err, e); err != nil {
		return 0, err
	}

	for line := range strings.Lines(r.out.String()) {
		var record struct {
			Event struct {
				Dataset string
				Start   time.Time
			}
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			return 0, err
		}
		if record.Event.Dataset == "meshtls.flow" {
			return record.Event.Start.Sub(began), nil
		}
	}
	return 0, fmt.Errorf("the tap reported no flow: %s %s", r.err, r.out)
}

// idle returns the share of a core that a tap uses while there are no packets. The measurement begins after the tap has
// returned the memory that it used to start to the kernel.
func (b *bench) idle(n *pods) (float64, error) {
	wait := 10 * time.Second
	quiet := quietAfter
	if b.quick {
		quiet, wait = time.Second, time.Second
	}
	r, err := b.startTap(n, "eth0,lo", nil, "findings,posture")
	if err != nil {
		return 0, err
	}
	time.Sleep(quiet)
	before := r.cpu()
	time.Sleep(wait)
	took := r.cpu() - before
	_, err = r.stop(syscall.SIGTERM)
	return took.Seconds() / wait.Seconds(), err
}
