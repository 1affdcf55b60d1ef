//go:build linux

package main

import (
	"fmt"
	"strconv"
)

// flooded sends small frames of 5,000 connections to the pod while the tap or another program captures. It measures
// how many frames each of them drops, the CPU time of the sender, and the CPU time of the program.
func (b *bench) flooded() (results []result, err error) {
	watchers := b.watchers(noTap, noTapAgain, ourTap, limitedTap, tcpdump, ethernet)
	return results, inDeafPods(func(n *pods) error {
		for _, rate := range []int{250_000, 0} {
			r, err := b.floodAt(n, watchers, rate)
			if err != nil {
				return err
			}
			results = append(results, r...)
		}
		return nil
	})
}

// floodAt floods the pod while each of the watchers captures, one after the other. rate is in frames a second; 0
// means as fast as possible.
func (b *bench) floodAt(n *pods, watchers []watcher, rate int) ([]result, error) {
	count := 600_000
	if b.quick {
		count = 50_000
	}
	at := "full speed"
	if rate > 0 {
		at = fmt.Sprintf("%d/s", rate)
	}
	cost, taken, lost, speed := make([]sample, len(watchers)), make([]sample, len(watchers)), make([]sample, len(watchers)), make([]sample, len(watchers))
	for round := range b.rounds {
		for i := range watchers {
			k := (i + round) % len(watchers)
			var s sent
			m, err := b.under(watchers[k], n, "eth0,lo", func() (err error) {
				s, err = b.sender(n, "-count", strconv.Itoa(count), "-rate", strconv.Itoa(rate))
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", watchers[k].name, err)
			}
			packets := float64(s.Packets)
			cost[k] = append(cost[k], s.CPU/packets*1e9)
			taken[k] = append(taken[k], m.cpu/(packets-m.dropped)*1e9) // the time for each packet that was not dropped
			lost[k] = append(lost[k], 100*m.dropped/packets)
			speed[k] = append(speed[k], packets/s.Seconds/1000)
		}
	}
	lines := [][]string{{"flood at " + at, "sender ns/packet", "watcher ns/packet", "dropped %", "thousands/s"}}
	by := map[string]int{}
	for k, w := range watchers {
		by[w.name] = k
		lines = append(lines, []string{w.name, cost[k].spread("%.0f"), taken[k].spread("%.0f"), lost[k].spread("%.2f"), fmt.Sprintf("%.0f", speed[k].median())})
	}
	columns(lines...)
	tap, dump, handle := by["tap"], by["tcpdump -w"], by["pcapgo.EthernetHandle"]
	drops := atMost("flood at "+at+": dropped by the tap, % (tcpdump "+lost[dump].spread("%.2f")+")", lost[tap], "%.2f", 0)
	drops.met = lost[tap].median() == 0 || lost[dump].median() > 0
	drops.goal = "0 if tcpdump drops 0"
	return append([]result{
		drops,
		just("flood at "+at+": dropped by the tap under the chart's limits, %", lost[by["tap, limited"]].spread("%.2f")),
		atMost("flood at "+at+": sender's cost under the tap to that under tcpdump", cost[tap].over(cost[dump]), "%.3f", 1),
		atMost("flood at "+at+": CPU for each packet to pcapgo.EthernetHandle's", taken[tap].over(taken[handle]), "%.3f", 1.0/3),
	}, append(b.underBase("flood at "+at+": sender's cost", cost), b.underBase("flood at "+at+": CPU of the watcher for each packet", taken)...)...), nil
}
