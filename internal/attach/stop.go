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

// Stop ends an attached tap: it attaches to the tap's standard input and closes it. It returns when the container has ended. If the container has
// not started, Stop waits until it runs, at most endTime.
func (c *Client) Stop(ctx context.Context, t Tap) error {
	switch {
	case !t.Ephemeral:
		return ErrSidecar
	case t.State == Terminated:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	for t.State == Waiting {
		if !pause(ctx, pollTime) {
			return fmt.Errorf("it has not started (%s), and Kubernetes cannot remove it; once it runs, it can be stopped", t.Reason)
		}
		pod, err := c.Kube.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod, metav1.GetOptions{})
		if gone(err) || err == nil && string(pod.UID) != t.UID {
			return nil
		}
		if err != nil {
			continue
		}
		for _, now := range Taps(pod) {
			if now.same(&t) {
				t = now
			}
		}
	}
	if t.State == Terminated {
		return nil
	}
	streamErr := c.stream(ctx, &t, strings.NewReader(""), nil, nil)
	for {
		pod, err := c.Kube.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod, metav1.GetOptions{})
		if gone(err) || err == nil && string(pod.UID) != t.UID {
			return nil
		}
		if err == nil {
			for _, now := range Taps(pod) {
				if now.same(&t) && now.State == Terminated {
					return nil
				}
			}
		}
		if streamErr != nil {
			return fmt.Errorf("its standard input cannot be closed: %w%s", Explain(streamErr, "create", "pods/attach", t.Namespace), t.endsLater())
		}
		if !pause(ctx, pollTime) {
			return fmt.Errorf("it still runs %s after its standard input was closed%s", endTime, t.endsLater())
		}
	}
}

// endsLater returns when a tap ends by itself, as the end of a sentence.
func (t *Tap) endsLater() string {
	if t.Ends.IsZero() {
		return "; it ends with its pod"
	}
	return "; it ends by itself at " + t.Ends.UTC().Format(time.TimeOnly) + " UTC"
}
