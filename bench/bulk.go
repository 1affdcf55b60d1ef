//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"syscall"
)

// bulk measures one TCP stream with segmentation offload. The stream comes from the peer over eth0, or runs inside the
// pod over lo, at full speed or at 5 Gbit/s. At full speed client, server and tap compete for two cores, so their CPU
// time for a byte varies between rounds.
func (b *bench) bulk() (results []result, err error) {
	watchers := b.watchers(noTap, noTapAgain, ourTap, tcpdump)
	return results, inPods(func(n *pods) error {
		for _, path := range []bulkPath{
			{"veth", n.peer, podIP, "eth0,lo", 0},
			{"loopback", n.pod, "127.0.0.1", "lo,eth0", 0},
			{"veth at 5 Gbit/s", n.peer, podIP, "eth0,lo", 5},
			{"loopback at 5 Gbit/s", n.pod, "127.0.0.1", "lo,eth0", 5},
		} {
			r, err := b.bulkOver(n, watchers, path)
			if err != nil {
				return err
			}
			results = append(results, r...)
		}
		return nil
	})
}

// bulkPath describes one stream.
type bulkPath struct {
	name       string
	client     string // network namespace of the client
	to         string // the server's address
	interfaces string // the interfaces that are captured
	gigabits   int    // rate in Gbit/s; 0: full speed
}

// bulkOver runs iperf3 while each of the watchers captures, one after the other.
func (b *bench) bulkOver(n *pods, watchers []watcher, path bulkPath) ([]result, error) {
	name, seconds := path.name, 3
	if b.quick {
		seconds = 1
	}
	speed, work, taken, lost, packets := make([]sample, len(watchers)), make([]sample, len(watchers)), make([]sample, len(watchers)), make([]sample, len(watchers)), make([]sample, len(watchers))
	for round := range b.rounds {
		for i := range watchers {
			k := (i + round) % len(watchers)
			var t transfer
			m, err := b.under(watchers[k], n, path.interfaces, func() (err error) {
				t, err = iperf(n, path, seconds)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", watchers[k].name, err)
			}
			gb := t.bytes / 1e9
			speed[k] = append(speed[k], 8*gb/t.seconds)
			work[k] = append(work[k], t.cpu/gb)
			taken[k] = append(taken[k], m.cpu/gb)
			packets[k] = append(packets[k], m.packets)
			lost[k] = append(lost[k], 100*m.dropped/max(m.packets, 1))
		}
	}
	lines := [][]string{{"bulk over " + name, "Gbit/s", "iperf3 CPU s/GB", "watcher CPU s/GB", "packets", "dropped %"}}
	for k, w := range watchers {
		lines = append(lines, []string{w.name, speed[k].spread("%.1f"), work[k].spread("%.3f"), taken[k].spread("%.4f"), fmt.Sprintf("%.0f", packets[k].median()), lost[k].spread("%.2f")})
	}
	columns(lines...)
	const tap, dump = 2, 3
	return append([]result{
		atMost("bulk over "+name+": dropped by the tap, % (tcpdump "+lost[dump].spread("%.2f")+")", lost[tap], "%.2f", 0),
		atMost("bulk over "+name+": CPU of the tap, s/GB", taken[tap], "%.4f", 0.03),
	}, append(b.underBase("bulk over "+name+": CPU of iperf3 for each GB (no tap again to no tap "+work[1].over(work[0]).spread("%.2f")+")", work), b.underBase("bulk over "+name+": CPU of the watcher for each GB", taken)...)...), nil
}

// transfer is the result of one run of iperf3.
type transfer struct {
	bytes, seconds float64
	cpu            float64 // CPU time of client and server, in seconds
}

// iperf sends to the pod for the given number of seconds.
func iperf(n *pods, path bulkPath, seconds int) (t transfer, err error) {
	ready := newOutput("Server listening")
	server, err := start(n.pod, nil, ready, nil, nil, "iperf3", "-s", "-1", "--forceflush")
	if err != nil {
		return t, err
	}
	if err := ready.wait(); err != nil {
		_, e := server.stop(syscall.SIGKILL)
		return t, errors.Join(err, e)
	}
	var out bytes.Buffer
	c, err := start(path.client, nil, &out, nil, nil, "iperf3", "-c", path.to, "-t", strconv.Itoa(seconds), "-b", strconv.Itoa(path.gigabits)+"G", "-J")
	if err != nil {
		_, e := server.stop(syscall.SIGTERM)
		return t, errors.Join(err, e)
	}
	u, err := c.wait()
	if err != nil {
		_, e := server.stop(syscall.SIGTERM)
		return t, errors.Join(err, e)
	}
	v, err := server.wait()
	if err != nil {
		return t, err
	}
	var report struct {
		End struct {
			Received struct{ Bytes, Seconds float64 } `json:"sum_received"`
		}
	}
	err = json.Unmarshal(out.Bytes(), &report)
	r := report.End.Received
	return transfer{bytes: r.Bytes, seconds: r.Seconds, cpu: (u.cpu + v.cpu).Seconds()}, err
}
