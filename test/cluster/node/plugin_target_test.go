package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// A target is a pod that serves HTTP, and a client in another pod that sends requests to it without pause.
type target struct {
	c            *kit.Cluster
	ns, name     string
	app          string   // id of the application's process in the process namespace of the node
	user         string   // the user ids of the process
	containers   []string // ids of the taps' containers that were seen
	known        []string // those that a call of tapped has returned for
	stop         context.CancelFunc
	ended        chan struct{}
	mu           sync.Mutex
	sent, failed int
	failure      error         // the first one
	longest      time.Duration // of a request
}

// newTarget creates a pod with the name web in a namespace and waits until requests are answered.
func newTarget(t *testing.T, c *kit.Cluster, ns string, change ...func(*corev1.Pod)) *target {
	t.Helper()
	for _, p := range []*corev1.Pod{kit.NewPod("web", change...), kit.NewPod("client", func(p *corev1.Pod) {
		p.Spec.Containers[0].Args = []string{"pause"}
		kit.Restricted(p)
	})} {
		if r := c.Create(t, ns, p, metav1.CreateOptions{}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	web, client := c.Ready(t, ns, "web"), c.Ready(t, ns, "client")
	x := &target{c: c, ns: ns, name: "web", app: process(t, c, web, "app"), ended: make(chan struct{})}
	x.user = x.userOf(t)
	ctx, stop := context.WithCancel(context.Background())
	x.stop = stop
	transport := &http.Transport{DisableKeepAlives: true, DialContext: c.Network(t, process(t, c, client, "app")).Dial}
	go x.requests(ctx, &http.Client{Transport: transport, Timeout: 10 * time.Second}, "http://"+web.Status.PodIP+":8080/")
	t.Cleanup(func() {
		stop()
		<-x.ended
	})
	kit.Eventually(t, kit.Limit, "the first request to be answered", func() error {
		if sent, failed, err := x.count(); sent == failed {
			return fmt.Errorf("%d requests, %w", sent, err)
		}
		return nil
	})
	x.forget()
	return x
}

// requests sends requests, each on a connection of its own, until ctx ends.
func (x *target) requests(ctx context.Context, client *http.Client, url string) {
	defer close(x.ended)
	for ctx.Err() == nil {
		begin := time.Now()
		err := request(ctx, client, url)
		took := time.Since(begin)
		if ctx.Err() != nil {
			return
		}
		x.mu.Lock()
		x.sent++
		x.longest = max(x.longest, took)
		if err != nil {
			x.failed++
			x.failure = errors.Join(x.failure, err)
		}
		x.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// request sends a request and reads the response.
func request(ctx context.Context, client *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err = io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// count returns the number of requests and of those that failed, and why.
func (x *target) count() (sent, failed int, failure error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent, x.failed, x.failure
}

// forget sets the counts to 0.
func (x *target) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent, x.failed, x.failure, x.longest = 0, 0, nil, 0
}

// userOf returns the user ids of the application's process.
func (x *target) userOf(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(onNode(t, x.c, "cat", "/proc/"+x.app+"/status")) {
		if ids, found := strings.CutPrefix(line, "Uid:"); found {
			return strings.Join(strings.Fields(ids), " ")
		}
	}
	t.Fatal("the application's process has no user")
	return ""
}

// tapped waits until a tap captures in the pod: its container has a process, and the pod's network namespace has a packet
// socket. A tap whose time is up before that can be seen has captured too if its exit status is 0.
func (x *target) tapped(t *testing.T) {
	t.Helper()
	kit.Eventually(t, kit.Limit, "a tap to capture in "+x.name, func() error {
		for _, s := range x.c.Pod(t, x.ns, x.name).Status.EphemeralContainerStatuses {
			_, id, _ := strings.Cut(s.ContainerID, "://")
			switch {
			case id == "":
			case s.State.Running != nil:
				x.containers = append(x.containers, id)
				if processes(t, x.c, id) > 0 && x.sockets(t) > 0 {
					x.known = append(x.known, id)
					return nil
				}
			case s.State.Terminated != nil && s.State.Terminated.ExitCode == 0 && !slices.Contains(x.known, id): // on a slow machine, its time is up before it is seen
				x.containers, x.known = append(x.containers, id), append(x.known, id)
				t.Logf("%s has ended before it was seen", s.Name)
				return nil
			}
		}
		return fmt.Errorf("no process or %d sockets", x.sockets(t))
	})
}

// processes returns the number of processes of a container.
func processes(t *testing.T, c *kit.Cluster, container string) int {
	t.Helper()
	out := onNode(t, c, "sh", "-c", "grep -ls "+container+" /proc/[0-9]*/cgroup; true")
	return strings.Count(out, "\n")
}

// sockets returns the number of packet sockets in the pod's network namespace.
func (x *target) sockets(t *testing.T) int {
	t.Helper()
	out := onNode(t, x.c, "cat", "/proc/"+x.app+"/net/packet")
	return strings.Count(out, "\n") - 1 // the first line is a header
}

// untapped waits until nothing of the taps is left on the node, and checks that the pod runs as before. It returns how
// long that took.
func (x *target) untapped(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	if len(x.containers) == 0 {
		t.Fatal("no tap was seen before")
	}
	x.gone(t)
	kit.Eventually(t, kit.Limit, "the packet sockets in "+x.name+" to be closed", func() error {
		if n := x.sockets(t); n != 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
	took := time.Since(begin)
	x.unharmed(t)
	return took
}

// gone waits until no process of the taps is left on the node.
func (x *target) gone(t *testing.T) {
	t.Helper()
	for _, id := range x.containers {
		kit.Eventually(t, kit.Limit, "the processes of container "+id+" to have ended", func() error {
			if n := processes(t, x.c, id); n != 0 {
				return fmt.Errorf("%d run", n)
			}
			return nil
		})
	}
}

// unharmed checks that no request has failed, and that the application runs as before.
func (x *target) unharmed(t *testing.T) {
	t.Helper()
	sent, failed, err := x.count()
	if sent == 0 || failed > 0 {
		t.Errorf("%d of %d requests failed: %v", failed, sent, err)
	}
	if s := status(x.c.Pod(t, x.ns, x.name), "app"); s == nil || s.RestartCount != 0 || s.State.Running == nil {
		t.Errorf("the application: %+v", s)
	}
	if user := x.userOf(t); user != x.user {
		t.Errorf("the application's user is %s, and was %s", user, x.user)
	}
}
