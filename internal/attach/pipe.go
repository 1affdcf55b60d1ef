package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pipe runs the container of a plan for one pod, and copies its standard output and standard error until it has ended. When ctx ends, Pipe
// closes the container's standard input, so that it ends, and still copies what it writes then. Unlike [Client.Run], it does not read the log.
// A program that writes before it reads Options.Stdin loses this output. The error says why the container could not be started, or that the
// stream broke: what was copied until then is complete up to its end.
func (c *Client) Pipe(ctx context.Context, p *Plan, stdout, stderr io.Writer) (*Ended, error) {
	x := &p.Pods[0]
	if x.Container == nil {
		return nil, errors.New(x.Refusal)
	}
	tap, err := c.start(ctx, x, func(t Tap) { fmt.Fprintf(stderr, "%s waits: %s\n", t.Container, t.waits()) })
	if err != nil {
		return nil, err
	}
	if tap.State == Terminated {
		return tap.end(), nil
	}

	streaming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	in, input := io.Pipe()
	l := &lifeline{input: input}
	go l.keepAlive(p.Options.Stdin)
	defer context.AfterFunc(ctx, func() {
		input.Close()
		time.AfterFunc(endTime, cancel)
	})()
	streamErr := c.stream(streaming, &tap, in, stdout, stderr)
	input.Close()
	if streaming.Err() != nil {
		streamErr = fmt.Errorf("it did not end within %s after it was told to%s", endTime, tap.endsAlone())
	}
	ended, err := c.awaitEnd(context.WithoutCancel(ctx), &tap)
	if ended != nil && ended.Failed {
		streamErr = nil // the failure is the reason
	}
	return ended, errors.Join(Explain(streamErr, "create", "pods/attach", tap.Namespace), err)
}

// awaitEnd waits until a tap's container is known to have ended, for endTime at most.
func (c *Client) awaitEnd(ctx context.Context, tap *Tap) (*Ended, error) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	for {
		pod, err := c.Kube.CoreV1().Pods(tap.Namespace).Get(ctx, tap.Pod, metav1.GetOptions{})
		if gone(err) || err == nil && string(pod.UID) != tap.UID {
			return &Ended{Reason: podDeleted, Known: true}, nil
		}
		if err == nil {
			for _, t := range Taps(pod) {
				if t.same(tap) && t.State == Terminated {
					return t.end(), nil
				}
			}
		}
		if !pause(ctx, pollTime) {
			return nil, fmt.Errorf("whether %s has ended is not known%s", tap.Container, tap.endsAlone())
		}
	}
}
