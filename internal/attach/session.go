package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Time limits of Run.
const (
	startTime = 2 * time.Minute  // for a container to start, including the pull of its image
	endTime   = 15 * time.Second // for the taps to end once they should
	pollTime  = 150 * time.Millisecond
)

// Run attaches the taps of a plan, reads their records, and calls emit for each event, one at a time. It returns when every
// tap has ended. When ctx ends, Run ends the taps that it attached, and still reads what they write until they have ended.
//
// A tap ends by itself if its client goes: it ends when its standard input ends, and the kubelet closes that when the
// attached client is gone, in whatever way.
//
// An event of each pod has Ended, also for those to which no tap could be attached. Refused pods have no event. A tap that ran before is read
// for the time of the plan, and continues: it has no such event unless it ends meanwhile.
func (c *Client) Run(ctx context.Context, p *Plan, emit func(Event)) {
	var mu sync.Mutex
	serial := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		emit(e)
	}
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i := range p.Pods {
		x := &p.Pods[i]
		switch {
		case x.Reuse != nil:
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, p.Options.For)
				defer cancel()
				c.Follow(ctx, *x.Reuse, serial)
			})
		case x.Container != nil:
			wg.Go(func() { c.attach(ctx, x, &p.Options, slots, serial) })
		}
	}
	wg.Wait()
}

// attach adds a tap to a pod and follows it until it has ended.
func (c *Client) attach(ctx context.Context, x *PodPlan, o *Options, slots chan struct{}, emit func(Event)) {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		emit(Event{Tap: x.tap(), Ended: &Ended{Reason: "this command ended before the tap was attached", Known: true}})
		return
	}
	tap, err := c.start(ctx, x, func(t Tap) { emit(Event{Tap: t, Starts: t.waits()}) })
	line := idle()
	if err == nil && tap.State == Running {
		line = c.hold(&tap, o.Stdin)
	}
	<-slots
	if err != nil {
		emit(Event{Tap: tap, Ended: &Ended{Reason: err.Error(), Failed: ctx.Err() == nil}})
		return
	}
	emit = untilEnded(emit)

	ending := make(chan struct{})
	over, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	followed := make(chan struct{})
	var broke atomic.Value // the error of the connection that keeps the tap running
	go func() {            // ends the tap with ctx, and the following if the tap does not end
		defer close(ending)
		select {
		case <-followed:
		case err := <-line.broke:
			broke.Store(err)
			emit(Event{Tap: tap, Stream: &StreamChanged{Err: fmt.Errorf("the connection that keeps the tap running broke%s: %w", tap.endsAlone(), err)}})
		case <-ctx.Done():
			time.AfterFunc(endTime, cancel)
		}
		line.release()
	}()

	c.follow(over, tap, ending, func(e Event) {
		if e.Ended != nil {
			if err, _ := broke.Load().(error); err != nil && (e.Ended.Reason == clientGone || refused(err)) {
				e.Ended = &Ended{
					Known: e.Ended.Known, ExitCode: e.Ended.ExitCode, Failed: true,
					Reason: fmt.Sprintf("it ended without the connection that keeps it running: %v", err),
				}
			}
		}
		emit(e)
	})
	close(followed)
	<-ending
	emit(Event{Tap: tap, Ended: &Ended{Reason: fmt.Sprintf("it did not end within %s%s", endTime, tap.endsAlone()), Failed: true}})
}

// untilEnded returns a function that passes events to emit up to the first that has Ended. It is safe for concurrent use.
func untilEnded(emit func(Event)) func(Event) {
	var mu sync.Mutex
	var ended bool
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			ended = e.Ended != nil
			emit(e)
		}
	}
}

// tap returns the tap that a plan adds, before it is added.
func (x *PodPlan) tap() Tap {
	return Tap{
		Namespace: x.Pod.Namespace, Pod: x.Pod.Name, UID: string(x.Pod.UID), Container: x.Container.Name, Image: x.Container.Image, Ephemeral: true, State: Waiting,
	}
}

// start adds the container and waits until it runs. It calls waiting for each reason for which the container waits. The tap that it returns
// with an error has at least the names.
func (c *Client) start(ctx context.Context, x *PodPlan, waiting func(Tap)) (Tap, error) {
	tap := x.tap()
	pod, err := c.add(ctx, x.Pod, x.Container, false)
	for n := 0; n < maxEphemeral && apierrors.IsInvalid(err); n++ { // somebody else has just used the name
		if pod, err = c.Kube.CoreV1().Pods(tap.Namespace).Get(ctx, tap.Pod, metav1.GetOptions{}); err != nil {
			break
		}
		name, _, e := nextName(pod)
		if e != nil || name == tap.Container {
			return tap, errors.Join(err, e)
		}
		tap.Container, x.Container.Name = name, name
		pod, err = c.add(ctx, x.Pod, x.Container, false)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return tap, errors.New("this command ended while the tap was being added; if it was added, it ends by itself soon after its start, because no client is attached to it")
	case err != nil:
		return tap, Explain(err, "patch", "pods/ephemeralcontainers", tap.Namespace)
	}
	return c.started(ctx, tap, pod, waiting)
}

// started waits until a tap's container runs or has ended.
func (c *Client) started(ctx context.Context, tap Tap, pod *corev1.Pod, waiting func(Tap)) (Tap, error) {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for said := ""; ; {
		for _, t := range Taps(pod) {
			if t.same(&tap) {
				tap = t
			}
		}
		switch {
		case string(pod.UID) != tap.UID || pod.DeletionTimestamp != nil:
			return tap, errors.New("its pod was deleted before it started")
		case tap.State != Waiting:
			return tap, nil
		case slices.Contains(imageReasons, tap.Reason):
			return tap, fmt.Errorf("%w. Set --image to an image that this node can pull", &NotStartedError{tap})
		case tap.stuck():
			return tap, &NotStartedError{tap}
		}
		if tap.Reason != "" && said != tap.waits() {
			said = tap.waits()
			waiting(tap)
		}
		switch {
		case pause(ctx, pollTime):
		case whole.Err() != nil:
			return tap, fmt.Errorf("this command ended before the tap had started: %s", tap.IfStarted())
		default:
			return tap, fmt.Errorf("%s have passed, and %w", short(startTime), &NotStartedError{tap})
		}
		next, err := c.Kube.CoreV1().Pods(tap.Namespace).Get(ctx, tap.Pod, metav1.GetOptions{})
		switch {
		case gone(err):
			return tap, errors.New("its pod was deleted before it started")
		case err == nil:
			pod = next
		case !unreachable(err):
			return tap, Explain(err, "get", "pods", tap.Namespace)
		}
	}
}

// lifeline is the connection that keeps a tap running: its standard input.
type lifeline struct {
	broke chan error // the connection ended before release was called; has space for one error
	stop  context.CancelFunc
	input *io.PipeWriter
}

// idle returns the lifeline of a tap that does not run.
func idle() *lifeline {
	_, out := io.Pipe()
	return &lifeline{broke: make(chan error), stop: func() {}, input: out}
}

// hold attaches to the standard input of a tap, and sends it first.
func (c *Client) hold(tap *Tap, first []byte) *lifeline {
	ctx, stop := context.WithCancel(context.Background())
	in, out := io.Pipe()
	l := &lifeline{broke: make(chan error, 1), stop: stop, input: out}
	go func() {
		err := c.stream(ctx, tap, in, nil, nil)
		if ctx.Err() == nil && err != nil {
			l.broke <- Explain(err, "create", "pods/attach", tap.Namespace)
		}
		out.Close()
	}()
	go l.keepAlive(first)
	return l
}

// keepAlive sends first and then something every sendTime, until the stream or the input ends.
func (l *lifeline) keepAlive(first []byte) {
	tick := time.NewTicker(sendTime)
	defer tick.Stop()
	for text := first; ; text = []byte("\n") {
		if len(text) > 0 {
			if _, err := l.input.Write(text); err != nil {
				return
			}
		}
		<-tick.C
	}
}

// release closes the standard input of the tap, which then ends.
func (l *lifeline) release() {
	l.input.Close()
	// The closed input is sent as a message of the protocol. The end of the connection has the same effect; it is enough where the message is not supported.
	time.AfterFunc(time.Second, l.stop)
}
