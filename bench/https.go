//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// serve is the role of the workload: an HTTP server, with or without TLS, that answers each request with 1024 bytes.
func serve(args []string) error {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	address := f.String("listen", ":8443", "address")
	secure := f.Bool("tls", false, "speak TLS")
	if err := f.Parse(args); err != nil {
		return err
	}
	t, err := newTalker(rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		return err
	}
	body := string(t.body[:1024])
	s := &http.Server{
		Addr: *address, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }),
	}
	fmt.Println("serving")
	if !*secure {
		return s.ListenAndServe()
	}
	s.TLSConfig = &tls.Config{Certificates: t.servers[:1]}
	return s.ListenAndServeTLS("", "")
}

// traffic is a kind of request that wrk sends.
type traffic struct {
	name, url string
	secure    bool // use TLS
	once      bool // open a connection for each request; otherwise connections are kept alive
}

// https measures requests over TLS from the peer to a server in the pod, over eth0.
func (b *bench) https() ([]result, error) {
	const url = "https://" + podIP + ":8443/"
	return b.requests("eth0,lo",
		traffic{"TLS on eth0, kept alive", url, true, false},
		traffic{"TLS on eth0, a connection for each request", url, true, true})
}

// http measures requests in plaintext over lo, such as those from a proxy in the pod to the application.
func (b *bench) http() ([]result, error) {
	const url = "http://127.0.0.1:8443/"
	return b.requests("lo,eth0",
		traffic{"HTTP on lo, kept alive", url, false, false},
		traffic{"HTTP on lo, a connection for each request", url, false, true})
}

// requests measures each kind of traffic. The first of the interfaces carries the traffic.
func (b *bench) requests(interfaces string, kinds ...traffic) (results []result, err error) {
	watchers := b.watchers(noTap, noTapAgain, ourTap, limitedTap, tcpdump)
	return results, inPods(func(n *pods) error {
		client := n.peer
		if strings.HasPrefix(interfaces, "lo") {
			client = n.pod
		}
		for _, t := range kinds {
			r, err := b.requestsOver(n, watchers, workload{n, client, t.url, t.secure, t.once, b.quick}, t.name, interfaces)
			if err != nil {
				return err
			}
			results = append(results, r...)
		}
		return nil
	})
}

// effect is the largest share by which the tap may change a figure, in addition to the noise. The noise is the
// difference of two measurements without a tap.
const effect = 0.03

// requestsOver runs w while each of the watchers captures, one after the other.
func (b *bench) requestsOver(n *pods, watchers []watcher, w workload, name, interfaces string) ([]result, error) {
	cost, rate, late, taken, lost := make([]sample, len(watchers)), make([]sample, len(watchers)), make([]sample, len(watchers)), make([]sample, len(watchers)), make([]sample, len(watchers))
	for round := range max(b.rounds, 9) {
		for i := range watchers {
			k := (i + round) % len(watchers)
			var a wrkReport
			m, err := b.under(watchers[k], n, interfaces, func() (err error) {
				a, err = w.run(b)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, watchers[k].name, err)
			}
			cost[k] = append(cost[k], a.cpu/a.requests*1e6)
			rate[k] = append(rate[k], a.requests/a.seconds)
			late[k] = append(late[k], a.p99)
			taken[k] = append(taken[k], m.cpu/a.requests*1e6)
			lost[k] = append(lost[k], m.dropped)
		}
		if b.quick {
			break
		}
	}
	lines := [][]string{{name, "CPU us/request", "requests/s", "p99 ms", "watcher us/request", "dropped"}}
	for k, w := range watchers {
		lines = append(lines, []string{w.name, cost[k].spread("%.1f"), rate[k].spread("%.0f"), late[k].spread("%.2f"), taken[k].spread("%.2f"), lost[k].spread("%.0f")})
	}
	columns(lines...)
	var out []result
	for _, k := range []int{2, 3} {
		out = append(out, beyondNoise(name+": CPU a request under "+watchers[k].name, cost, k),
			beyondNoise(name+": time a request under "+watchers[k].name, inverse(rate), k),
			beyondNoise(name+": p99 under "+watchers[k].name, late, k))
	}
	const dump = 4 // index of the watcher tcpdump, which captures packets but does not examine them
	for _, r := range []result{
		beyondNoise(name+": CPU a request under tcpdump", cost, dump), beyondNoise(name+": time a request under tcpdump", inverse(rate), dump),
	} {
		r.noGoal, r.goal = true, ""
		out = append(out, r)
	}
	out = append(out, b.underBase(name+": CPU a request", cost)...)
	out = append(out, b.underBase(name+": time a request", inverse(rate))...)
	return append(out, b.underBase(name+": CPU of the watcher a request", taken)...), nil
}

// inverse returns 1/x for each x.
func inverse(all []sample) []sample {
	out := make([]sample, len(all))
	for k, s := range all {
		for _, x := range s {
			out[k] = append(out[k], 1/x)
		}
	}
	return out
}

// beyondNoise returns by how many percent the figures under watcher k exceed the figures without a tap, round by round.
// The noise is the difference of two measurements without a tap (all[0] and all[1]). The goal is met if the percentage
// is at most the noise plus effect.
func beyondNoise(what string, all []sample, k int) result {
	more, noise := all[k].over(all[0]), all[1].over(all[0])
	r := result{
		what:     what + fmt.Sprintf(", %% more (no tap again: %+.1f)", 100*(noise.median()-1)),
		measured: fmt.Sprintf("%+.1f (%+.1f..%+.1f)", 100*(more.median()-1), 100*(more.least()-1), 100*(more.most()-1)),
		goal:     fmt.Sprintf("at most %.0f more than the noise", 100*effect),
	}
	r.met = more.median()-1 <= effect+max(noise.median()-1, 1-noise.median())
	return r
}

// workload is an HTTP server in the pod and wrk as its client.
type workload struct {
	n            *pods
	client, url  string // client is the namespace in which wrk runs
	secure, once bool   // as in traffic
	quick        bool
}

// wrkReport is the result of one run of wrk.
type wrkReport struct {
	requests, seconds float64
	p99               float64 // ms
	cpu               float64 // CPU time of server and wrk, in seconds
}

// run starts the server, lets wrk send requests for one to four seconds, and stops the server.
func (w workload) run(b *bench) (a wrkReport, err error) {
	ready := newOutput("serving")
	server, err := start(w.n.pod, nil, ready, nil, nil, b.self, "serve", "-tls="+strconv.FormatBool(w.secure))
	if err != nil {
		return a, err
	}
	if err := ready.wait(); err != nil {
		_, e := server.stop(syscall.SIGKILL)
		return a, errors.Join(err, e)
	}
	time.Sleep(50 * time.Millisecond)
	seconds := "2s"
	if !w.once {
		seconds = "4s" // long enough that the start of the connections hardly matters
	}
	if w.quick {
		seconds = "1s"
	}
	args := []string{"wrk", "-t1", "-c8", "-d" + seconds, "--latency"}
	if w.once {
		args = append(args, "-H", "Connection: close")
	}

	before := server.cpu()
	out := newOutput("")
	c, err := start(w.client, nil, out, nil, nil, append(args, w.url)...)
	if err != nil {
		_, e := server.stop(syscall.SIGKILL)
		return a, errors.Join(err, e)
	}
	u, err := c.wait()
	a.cpu = (server.cpu() - before + u.cpu).Seconds()
	_, e := server.stop(os.Kill)
	if err = errors.Join(err, e); err != nil {
		return a, err
	}
	return a, a.parse(out.String())
}

// parse reads the output of wrk into a.
func (a *wrkReport) parse(text string) error {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "99%":
			d, err := time.ParseDuration(f[1])
			if err != nil {
				return err
			}
			a.p99 = float64(d) / float64(time.Millisecond)
		case len(f) > 4 && f[1] == "requests" && f[2] == "in":
			d, err := time.ParseDuration(strings.TrimSuffix(f[3], ","))
			if err != nil {
				return err
			}
			a.seconds = d.Seconds()
			if a.requests, err = strconv.ParseFloat(f[0], 64); err != nil {
				return err
			}
		}
	}
	if a.requests == 0 {
		return fmt.Errorf("wrk: %s", text)
	}
	return nil
}
