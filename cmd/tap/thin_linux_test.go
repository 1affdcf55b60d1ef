package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

func init() {
	if os.Getenv("MESHTLS_LIVE") == "keep-alive" {
		exitOn(keepAlive(os.Getenv("MESHTLS_ADDRESS")))
	}
}

// counted counts the bytes of a connection, below TLS.
type counted struct {
	net.Conn
	read, written uint64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read += uint64(n)
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written += uint64(n)
	return n, err
}

// account is a client's account of its connection.
type account struct {
	Port          int // port of the server
	Requests      uint64
	Sent, Answers uint64 // bytes sent and bytes of answers
}

// keepAlive sends requests on one connection of each kind until its standard input ends. Then it closes the connections and prints
// their counts. For each line of standard input it prints how many requests were answered so far. The connections take turns, so that
// each is busy even on a slow machine. After each request there is a pause, so that the ring does not drop packets on a busy machine.
func keepAlive(address string) error {
	cert, err := liveCertificate("web")
	if err != nil {
		return err
	}
	var over atomic.Bool
	var answered atomic.Int64
	var turn sync.Mutex
	results := make(chan error)
	ports := []int{portHTTP, port13, port13m, port12m}
	accounts := make([]account, len(ports))
	for i, port := range ports {
		raw, err := net.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		count := &counted{Conn: raw}
		c := net.Conn(count)
		if port >= port13 {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}) //nolint:gosec // the test judges the wire
		}
		go func() { results <- accounts[i].ask(c, count, port, &turn, &over, &answered) }()
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(answered.Load())
	}
	over.Store(true)
	for range ports {
		err = errors.Join(err, <-results)
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(accounts))
}

func (k *account) ask(c net.Conn, count *counted, port int, turn *sync.Mutex, over *atomic.Bool, answered *atomic.Int64) error {
	const each = 128 // requests of a turn: twice as many as make a connection busy within 250 ms
	in := bufio.NewReader(c)
	turn.Lock()
	defer turn.Unlock()
	for !over.Load() {
		if _, err := io.WriteString(c, "GET /items HTTP/1.1\r\nHost: cart\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return err
		}
		k.Requests++
		answered.Add(1)
		time.Sleep(200 * time.Microsecond)
		if k.Requests%each == 0 {
			turn.Unlock()
			runtime.Gosched()
			turn.Lock()
		}
	}
	if err := c.Close(); err != nil {
		return err
	}
	k.Port, k.Sent = port, count.written
	k.Answers = count.read
	return nil
}

// TestThinningLive: connections between pods and on lo are busy. The kernel leaves out most of their packets once they are judged,
// but their records have the right verdicts and the exact number of bytes. If the kernel has no memory for such filters, nothing is
// left out, and the records are the same.
func TestThinningLive(t *testing.T) {
	norace(t)
	for name, optmem := range map[string]string{"room": "", "no room": "8192"} {
		t.Run(name, func(t *testing.T) {
			undropped(t, func(t *testing.T) bool { return thinningLive(t, optmem) })
		})
	}
}

func thinningLive(t *testing.T, optmem string) (dropped bool) {
	client, server := pods(t)
	tap := releasedTap(t)
	if optmem != "" {
		server.run(t, optmem, "sh", "-c", "cat > /proc/sys/net/core/optmem_max")
	}
	server.serve(t, "MESHTLS_LIVE=server", server.address)
	live := server.start(t, []string{"TAP_EMIT=flows", "TAP_INTERFACES=eth0,lo"}, tap, "run")
	live.line(t, func(l string) bool { return strings.Contains(l, `"meshtls.tap"`) })
	server.ready(t)

	clients := []*process{}
	for _, p := range []pod{client, server} {
		clients = append(clients, p.live(t, "MESHTLS_LIVE=keep-alive", server.address))
	}
	if optmem == "" {
		eventually.True(t, "all are thinned", func() bool { return server.metric(t, "thinned_connections") >= 8 })
		leftOut(t, server, clients)
		eventually.True(t, "16 MB left out", func() bool { return server.metric(t, "thinned_bytes_total") > 16<<20 })
	} else {
		eventually.True(t, "a choice that the kernel refuses", func() bool { return strings.Contains(live.log(), cannotLeaveOut) })
		eventually.True(t, "many packets", func() bool { return server.metric(t, "packets_total") > 20000 })
		if n := server.metric(t, `filter_changes_total\{interface="lo"\}`); n > 0 {
			t.Errorf("%d changes of the filter", n)
		}
	}
	want := map[int][]account{}
	for _, c := range clients {
		c.in.Close()
		lines := c.line(t, func(string) bool { return true })
		var accounts []account
		if err := json.Unmarshal([]byte(lines[0]), &accounts); err != nil {
			t.Fatal(err)
		}
		for _, k := range accounts {
			want[k.Port] = append(want[k.Port], k)
		}
	}
	lines := live.end(t)
	dropped = checkThinned(t, want, lines, optmem == "", (client.retransmitted(t)+server.retransmitted(t))*largestSegment)
	if warned := strings.Contains(live.log(), cannotLeaveOut); warned != (optmem != "") {
		t.Errorf("warned: %t: %s", warned, live.log())
	}
	return dropped
}

// leftOut waits until the tap has seen fewer packets than requests were answered. Since each request and each response takes
// a packet, that is less than half of the packets. The waiting time depends on the machine.
func leftOut(t *testing.T, server pod, clients []*process) {
	t.Helper()
	var looked, answered, packets int
	eventually.True(t, "fewer packets are seen than requests are answered", func() bool {
		answered = 0
		for _, c := range clients {
			fmt.Fprintln(c.in)
			n, err := strconv.Atoi(strings.TrimSpace(c.line(t, func(string) bool { return true })[0]))
			if err != nil {
				t.Fatal(err)
			}
			answered += n
		}
		if answered < looked+1000 { // reading the metrics takes packets too
			return false
		}
		looked = answered
		packets = server.metric(t, "packets_total")
		return packets < answered
	}, func() (int, int) { return packets, answered })
}

const cannotLeaveOut = "cannot leave out that much"

// largestSegment is the largest payload of a segment, with offloads.
const largestSegment = 1 << 16

// retransmitted returns how many segments a pod's namespace has retransmitted (RetransSegs, RFC 4022). On a busy machine
// acknowledgements may be late, and bytes are sent again. The tap counts them each time.
func (p pod) retransmitted(t *testing.T) (segments uint64) {
	t.Helper()
	var names []string
	for line := range strings.Lines(p.run(t, "", "cat", "/proc/net/snmp")) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Tcp:" {
			continue
		}
		if i := slices.Index(names, "RetransSegs"); i > 0 {
			n, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		names = f
	}
	t.Fatal("/proc/net/snmp has no RetransSegs")
	return 0
}

// checkThinned compares the records with the clients' accounts. It does not do so if the ring dropped packets. again is an upper
// bound of the retransmitted bytes.
func checkThinned(t *testing.T, want map[int][]account, lines []string, thinned bool, again uint64) (dropped bool) {
	t.Helper()
	if ringDropped(t, lines) {
		return true
	}
	verdicts := map[int]string{portHTTP: "plaintext", port13: "tls", port13m: "mtls", port12m: "mtls"}
	// The state is S2 if the server has not closed its end yet. It is RSTO if the client resets the connection
	// because the client still has data to send.
	closed := []string{"SF", "RSTO", "S2"}
	seen, packets, requests := 0, uint64(0), uint64(0)
	for _, l := range lines {
		var r struct {
			Event       struct{ Dataset string }
			Source      struct{ Bytes, Packets uint64 }
			Destination struct {
				Port           int
				Bytes, Packets uint64
			}
			MeshTLS struct {
				Verdict   string
				Reasons   []string
				ConnState string `json:"conn_state"`
			}
		}
		if json.Unmarshal([]byte(l), &r) != nil {
			continue
		}
		all := want[r.Destination.Port]
		if r.Event.Dataset != "meshtls.flow" || len(all) == 0 {
			continue
		}
		seen++
		packets += r.Source.Packets + r.Destination.Packets
		matched := false
		for _, k := range all {
			mine := r.Source.Bytes >= k.Sent && r.Source.Bytes <= k.Sent+again
			matched = matched || mine && r.Destination.Bytes >= k.Answers && r.Destination.Bytes <= k.Answers+again+64
		}
		if !matched || r.MeshTLS.Verdict != verdicts[r.Destination.Port] || !slices.Contains(closed, r.MeshTLS.ConnState) {
			t.Errorf("%+v: want %s and the bytes of one of %+v", r, verdicts[r.Destination.Port], all)
		}
	}
	for _, k := range slices.Concat(slices.Collect(maps.Values(want))...) {
		requests += k.Requests
	}
	if fewer := packets < 2*requests; fewer != thinned { // at least a packet for each request and one for its response
		t.Errorf("%d packets seen of %d requests and answers", packets, requests)
	}
	if seen != 8 {
		t.Errorf("%d connections, want 8", seen)
	}
	return false
}
