package node_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestPluginEnds ends a tap in each way in which it can end, and looks for what is left on the node: nothing. The
// application's requests are answered all the time.
func TestPluginEnds(t *testing.T) {
	t.Parallel()
	c := installed(t)
	for name, test := range map[string]struct {
		lasts  string                                                       // --for
		end    func(t *testing.T, w *workstation, x *target, i *invocation) // ends it
		status int                                                          // the plugin's exit status
		says   []string
	}{
		"time": {lasts: "5s", end: func(*testing.T, *workstation, *target, *invocation) {}, says: []string{"its time is up"}},
		"Ctrl-C": {lasts: "10m", says: []string{"it was told to end"}, end: func(t *testing.T, _ *workstation, _ *target, i *invocation) {
			i.end(t, syscall.SIGINT)
		}},
		"killed": {lasts: "10m", status: -1, end: func(t *testing.T, _ *workstation, _ *target, i *invocation) {
			i.end(t, syscall.SIGKILL)
		}},
		"disconnected": {lasts: "10m", status: 1, says: []string{"the API server is not reachable", "it ends by itself when it has heard nothing of its client for 20s", "kubectl meshtls status"}, end: func(_ *testing.T, w *workstation, _ *target, _ *invocation) {
			w.disconnect(true)
		}},
		"interrupted": {lasts: "10m", status: 1, says: []string{"it ended without the connection that keeps it running"}, end: func(_ *testing.T, w *workstation, _ *target, _ *invocation) {
			w.disconnect(false)
		}},
		"stop": {lasts: "10m", says: []string{"it was told to end"}, end: func(t *testing.T, w *workstation, x *target, _ *invocation) {
			w.start(t, "stop", "web", "-n", x.ns).expect(t, 0, "1 attached tap ended")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := c.Namespace(t, nil)
			x, w := newTarget(t, c, ns), newWorkstation(t, c)
			i := w.tap(t, "web", "-n", ns, "--for", test.lasts)
			first := i.says(t, "plaintext")
			x.tapped(t)
			begin := time.Now()
			test.end(t, w, x, i)
			i.expect(t, test.status, test.says...)
			ended := time.Since(begin)
			x.untapped(t)
			sent, _, _ := x.count()
			t.Logf("the first verdict after %v; the plugin ended after %v, and nothing was left after %v; %d requests, the longest took %v", first, ended, time.Since(begin), sent, x.longest)
			t.Log(i)
			newWorkstation(t, c).proves(t, ns, 1)
		})
	}
}

// TestPluginPodDeleted deletes a pod while it is tapped.
func TestPluginPodDeleted(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	x, w := newTarget(t, c, ns), newWorkstation(t, c)
	i := w.tap(t, "web", "-n", ns)
	i.says(t, "plaintext")
	x.tapped(t)
	x.stop()
	begin := time.Now()
	if out, err := c.Kubectl(t, "--namespace", ns, "delete", "pod", "web"); err != nil {
		t.Fatal(err, out)
	}
	i.expect(t, 0, "its pod was deleted")
	x.gone(t)
	t.Logf("nothing was left %v after the deletion began; %s", time.Since(begin), i)
	w.start(t, "status", "-n", ns).expect(t, 0, "Read 1 pod in namespace "+ns+". No tap runs in it.")
}

// TestPluginKilledEarly kills the plugin as soon as the tap's container is in the pod's spec, before the plugin can attach to it. The tap ends by
// itself, since nobody attaches to it.
func TestPluginKilledEarly(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	x, w := newTarget(t, c, ns), newWorkstation(t, c)
	i := w.tap(t, "web", "-n", ns)
	kit.Eventually(t, kit.Limit, "the ephemeral container to be added", func() error {
		if len(c.Pod(t, ns, "web").Spec.EphemeralContainers) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	i.end(t, syscall.SIGKILL)
	begin := time.Now()
	x.tapped(t)
	t.Logf("the tap ran %v after the plugin was killed", time.Since(begin))
	x.untapped(t)
	t.Logf("nothing was left after %v", time.Since(begin))
	w.proves(t, ns, 1)
}

// proves waits until the command status reports that no tap runs in a namespace, and n have ended.
func (w *workstation) proves(t *testing.T, ns string, n int) {
	t.Helper()
	kit.Eventually(t, kit.Limit, "status to report that no tap runs", func() error { // the kubelet updates the pod's status some time after the container's end
		i := w.start(t, "status", "-n", ns)
		i.expect(t, 0)
		if all := i.out.String(); !strings.Contains(all, " No tap runs in ") || strings.Count(all, "ended") != n {
			return errors.New(all)
		}
		return nil
	})
}
