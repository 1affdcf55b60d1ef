//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// TestAttached: an attached tap ends when its time is up, or when its input or output is closed. A sidecar does not
// end then.
func TestAttached(t *testing.T) {
	pipe := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, c := range map[string]struct {
		pod, sink string
		lasts     time.Duration
		hang      func(input, output *os.File) // closes the other ends of input and output
		want      error
	}{
		"its time is up":                    {"a", "stdout", time.Millisecond, func(*os.File, *os.File) {}, errTimeUp},
		"its input goes":                    {"a", "stdout", time.Hour, func(in, _ *os.File) { in.Close() }, errNoReader},
		"its output goes":                   {"a", "stdout", time.Hour, func(_, out *os.File) { out.Close() }, errNoReader},
		"a sidecar's both":                  {"a", "stdout", 0, func(in, out *os.File) { in.Close(); out.Close() }, nil},
		"the output goes outside of a pod":  {"", "stdout", 0, func(_, out *os.File) { out.Close() }, errNoReader},
		"both outside of a pod, with Kafka": {"", "kafka", 0, func(in, out *os.File) { in.Close(); out.Close() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, input := pipe()
			output, out := pipe()
			tap := &tap{streams: streams{in: in, out: out}}
			tap.For, tap.PodName, tap.Sink = c.lasts, c.pod, c.sink
			ctx, cancel := tap.attached(context.Background())
			defer cancel()
			if files := withPeer(tap.streams); len(files) != 2 { // otherwise the test would show nothing
				t.Fatalf("%d ends are open", len(files))
			}
			c.hang(input, output)
			if c.want == nil {
				if !hungUp(in) || !hungUp(out) || ctx.Err() != nil {
					t.Error("nothing hung up, or it ended")
				}
				return
			}
			<-ctx.Done()
			if got := context.Cause(ctx); !errors.Is(got, c.want) || endReason(ctx) != c.want.Error() {
				t.Errorf("it ended by %v", got)
			}
		})
	}
	gone, end := pipe()
	end.Close()
	if files := withPeer(streams{in: null, out: gone}); len(files) != 1 || files[0] != null || hungUp(null) {
		t.Errorf("of /dev/null, and a pipe that was gone at the start: %v", files)
	}
}

// TestKeepalive: with TAP_KEEPALIVE an attached tap ends when its client is silent, and when it closes the input; not as long as something arrives.
func TestKeepalive(t *testing.T) {
	for name, c := range map[string]struct {
		lasts time.Duration
		send  int // how often the client sends something
		close bool
		want  error
	}{
		"a silent client":        {time.Hour, 0, false, errNoReader},
		"it is silent later":     {time.Hour, 3, false, errNoReader},
		"it closes the input":    {time.Hour, 1, true, errNoReader},
		"it sends until the end": {3 * time.Second, 1000, false, errTimeUp},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, client := io.Pipe()
			tap := &tap{streams: streams{in: in, out: io.Discard}}
			tap.For, tap.Keepalive, tap.PodName, tap.Sink = c.lasts, 2*time.Second, "a", "stdout"
			begin := time.Now()
			ctx, cancel := tap.attached(context.Background())
			defer cancel()
			go func() {
				for range c.send {
					client.Write([]byte("\n"))
					select {
					case <-time.After(50 * time.Millisecond):
					case <-ctx.Done():
						return
					}
				}
				if c.close {
					client.Close()
				}
			}()
			<-ctx.Done()
			if got := context.Cause(ctx); !errors.Is(got, c.want) {
				t.Errorf("it ended by %v, want %v", got, c.want)
			}
			if least := tap.Keepalive; !c.close && time.Since(begin) < least {
				t.Errorf("it ended after %v", time.Since(begin))
			}
		})
	}
}

// TestAwaitClient: output begins when the client has sent something, and never if its input ends first.
func TestAwaitClient(t *testing.T) {
	in, client := io.Pipe()
	k := keepalive{arrivals(in), time.Hour}
	go client.Write([]byte("\n"))
	if err := awaitClient(t.Context(), &k); err != nil {
		t.Error(err)
	}
	client.Close()
	if err := awaitClient(t.Context(), &k); err == nil {
		t.Error("an input that has ended is a client")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	silent, _ := io.Pipe()
	if err := awaitClient(ended, &keepalive{arrived: arrivals(silent)}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestAttachedBudget: an attached tap does not size itself by the application's memory limit.
func TestAttachedBudget(t *testing.T) {
	const mi = 1 << 20
	for _, c := range []struct {
		environ []string
		group   int64
		want    int64
	}{
		{nil, 512 * mi, 512 * mi},
		{nil, 0, 0},
		{[]string{"TAP_FOR=10m"}, 512 * mi, 48 * mi},
		{[]string{"TAP_FOR=10m"}, 0, 48 * mi},
		{[]string{"TAP_FOR=10m"}, 40 * mi, 40 * mi},
		{[]string{"TAP_FOR=10m", "TAP_MEMORY=64Mi"}, 512 * mi, 64 * mi},
		{[]string{"TAP_MEMORY=64Mi"}, 512 * mi, 64 * mi},
	} {
		s, err := readEnvironment(c.environ)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.budget(c.group); got != c.want {
			t.Errorf("%v below a limit of %d: %d, want %d", c.environ, c.group, got, c.want)
		}
	}
}

// TestAttachFile: the file for kubectl debug in README.md has valid settings, and only the capability NET_RAW.
func TestAttachFile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "image", "attach.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Env             []struct{ Name, Value string }
		SecurityContext struct {
			RunAsNonRoot, AllowPrivilegeEscalation bool
			Capabilities                           struct{ Add, Drop []string }
		}
	}
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	var environ []string
	known := variables.Defaults[environment]()
	for _, e := range c.Env {
		if _, ok := known[e.Name]; !ok {
			t.Errorf("%s is not known", e.Name)
		}
		environ = append(environ, e.Name+"="+e.Value)
	}
	if _, err := readEnvironment(environ); err != nil {
		t.Error(err)
	}
	if s := c.SecurityContext; len(s.Capabilities.Add) != 1 || s.Capabilities.Add[0] != "NET_RAW" || !s.RunAsNonRoot || s.AllowPrivilegeEscalation {
		t.Errorf("%+v", s)
	}
}
