package attach

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrSidecar is the error of Stop for a sidecar, which its pod's spec contains and the kubelet restarts.
var ErrSidecar = errors.New("it is a sidecar")

// Stop ends an attached tap: it attaches to the tap's standard input and closes it. It returns when the container has ended. If the container is
// starting, Stop waits until it runs, at most endTime. A container that waits for something else cannot be told to end: the error is then
// a [NotStartedError].
func (c *Client) Stop(ctx context.Context, t Tap) error {
	switch {
	case !t.Ephemeral:
		return ErrSidecar
	case t.State == Terminated:
		return nil
	}
	if ended, err := c.awaitStart(ctx, &t); ended || err != nil {
		return err
	}
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	streamErr := c.stream(ctx, &t, strings.NewReader(""), nil, nil)
	if streamErr != nil && !refused(streamErr) { // the tap may have ended just before, which its status shows a moment later
		var brief context.CancelFunc
		ctx, brief = context.WithTimeout(ctx, statusTime)
		defer brief()
	}
	for {
		if c.hasEnded(ctx, &t) {
			return nil
		}
		if refused(streamErr) || !pause(ctx, pollTime) {
			break
		}
	}
	switch {
	case whole.Err() != nil:
		return fmt.Errorf("whether it has ended is not known%s: %w", t.endsLater(), whole.Err())
	case streamErr != nil:
		return fmt.Errorf("its standard input cannot be closed: %w%s", Explain(streamErr, "create", "pods/attach", t.Namespace), t.endsLater())
	}
	return fmt.Errorf("it still runs %s after its standard input was closed%s", endTime, t.endsLater())
}

// statusTime is how long the status of a pod may lag behind.
const statusTime = 3 * time.Second

// awaitStart waits until a tap runs, and updates it. It reports whether the tap has ended already.
func (c *Client) awaitStart(ctx context.Context, t *Tap) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	for t.State == Waiting {
		switch {
		case c.hasEnded(ctx, t):
			return true, nil
		case t.State != Waiting:
		case t.stuck() || !pause(ctx, pollTime):
			return false, &NotStartedError{*t}
		}
	}
	return false, nil
}

// hasEnded reports whether the container of a tap is known to have ended, and updates the tap.
func (c *Client) hasEnded(ctx context.Context, t *Tap) bool {
	pod, err := c.Kube.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod, metav1.GetOptions{})
	if gone(err) || err == nil && string(pod.UID) != t.UID {
		return true
	}
	if err != nil {
		return false
	}
	for _, now := range Taps(pod) {
		if now.same(t) {
			*t = now
		}
	}
	return t.State == Terminated
}
