package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/verify"
)

// verifyFlags are the flags of the command verify.
type verifyFlags struct {
	attachFlags
	port    uint16
	timeout time.Duration
	wait    bool
	raw     bool
	oneEnd  bool
	format  output
}

func newVerifyCommand(o *options) *cobra.Command {
	var f verifyFlags
	c := &cobra.Command{
		Use:   "verify FROM TO [--port PORT] [-n NAMESPACE]",
		Short: "Is the connection from one workload to another mutual TLS?",
		Long: `Attach taps at both ends, send one request from the client's pod, and report whether the connection
that carried it is mutual TLS. FROM and TO are a pod or TYPE/NAME; TO may also be a service. To use
a namespace other than that of -n, put it first: NAMESPACE/POD or NAMESPACE/TYPE/NAME.

The request is a plain HTTP GET / from the tap's container, so the mesh's proxy treats it like a
request of the application. With --wait nothing is sent, and the application's own connections are
judged. If a proxy sends the request on, any connection that was in use at that time may have
carried it. The answer is mutual TLS only if the records of both ends agree on it for each of these
connections. The attached taps end with the command.`,
		Example: `  # The classic question: does the frontend speak mutual TLS with the checkout service?
  kubectl meshtls verify deploy/frontend svc/checkout -n shop

  # Across namespaces, to a port, as JSON.
  kubectl meshtls verify web/deploy/frontend shop/deploy/checkout --port 8080 -o json

  # Send nothing: wait up to 45 seconds for the application's own connection.
  kubectl meshtls verify deploy/frontend svc/redis -n shop --wait --timeout 45s`,
		Args: cobra.ExactArgs(2),
		Annotations: map[string]string{annotationStatus: `0  the connection is mutual TLS
3  the connection is not mutual TLS
4  no connection could be judged at both ends`},
		RunE: func(c *cobra.Command, args []string) error { return o.verify(c.Context(), &f, args[0], args[1]) },
	}
	f.attachFlags.addFlags(c, 3*time.Minute)
	c.Flags().Uint16Var(&f.port, "port", 0, "the port of TO (default: its only port)")
	c.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait for a connection once the taps run")
	c.Flags().BoolVar(&f.wait, "wait", false, "send no request: wait for the application's own connection")
	c.Flags().BoolVar(&f.raw, "raw", false, "send a line of text instead of an HTTP request, for servers without HTTP")
	c.Flags().BoolVar(&f.oneEnd, "one-end", false, "accept mutual TLS from the records of one end if the other end reports nothing")
	f.format.addFlag(c, "text", "json", "yaml")
	return c
}

// verify is the command verify.
func (o *options) verify(ctx context.Context, f *verifyFlags, from, to string) error {
	if err := f.format.check("text", "json", "yaml"); err != nil {
		return err
	}
	a, err := f.options()
	if err != nil {
		return err
	}
	if f.timeout <= 0 {
		return usageErrorf("--timeout=%s: expected a duration such as 1m", f.timeout)
	}
	client, config, err := o.client()
	if err != nil {
		return err
	}
	ends, err := o.resolveEnds(ctx, client, from, to, f.port)
	if err != nil {
		return err
	}
	c := &attach.Client{Kube: client, Config: config}
	plan, err := c.Plan(ctx, ends.pods(), a)
	if err != nil {
		return err
	}
	announce(o.ErrOut, append(plan.Announce(), ends.notes...))
	v := newVerification(c, plan, ends, f)
	answer, err := v.run(ctx)
	if err != nil {
		return err
	}
	if f.format == "text" {
		var lines bytes.Buffer
		err = answer.Write(&lines)
		t := textOf(o, false)
		t.aligned(lines.String(), len("  request  "))
		err = errors.Join(err, t.flush(o.Out))
	} else {
		err = printObject(o.Out, f.format, answer)
	}
	if err != nil {
		return err
	}
	switch answer.Result {
	case verify.Mutual:
		return nil
	case verify.NotMutual:
		return findingErrorf("not mutual TLS")
	default:
		return unjudgedErrorf("not verified: no connection could be judged at both ends")
	}
}

// verification is a run of the command. Events arrive from several goroutines.
type verification struct {
	*verifyFlags
	client   *attach.Client
	plan     *attach.Plan
	ends     *ends
	question verify.Question

	mu      sync.Mutex
	records verify.Records
	taps    map[string]attach.Tap // by NAMESPACE/NAME of the pod
	ended   map[string]string     // why
	starts  map[string]string     // why the container does not run yet
}

func newVerification(c *attach.Client, plan *attach.Plan, e *ends, f *verifyFlags) *verification {
	v := &verification{verifyFlags: f, client: c, plan: plan, ends: e, taps: map[string]attach.Tap{}, ended: map[string]string{}, starts: map[string]string{}}
	v.question = verify.Question{From: podOf(&e.from), To: e.to, Service: e.service, Ports: e.ports, OneEnd: f.oneEnd}
	for i := range e.servers {
		v.question.Servers = append(v.question.Servers, podOf(&e.servers[i]))
	}
	for i := range plan.Pods {
		x := &plan.Pods[i]
		name := x.Pod.Namespace + "/" + x.Pod.Name
		if x.Refusal != "" {
			v.untapped(name, x.Refusal)
		}
		if x.Reuse != nil {
			v.question.Reuse(name)
		}
	}
	return v
}

// untapped records why a pod has no tap.
func (v *verification) untapped(pod, why string) {
	v.ended[pod] = why
	if v.question.From.Name == pod {
		v.question.From.Untapped = why
	}
	for i := range v.question.Servers {
		if v.question.Servers[i].Name == pod {
			v.question.Servers[i].Untapped = why
		}
	}
}

// Waiting times.
const (
	startTimeout = 150 * time.Second      // for the taps to start; attach has a limit of its own for each
	settle       = 500 * time.Millisecond // after a request, for further connections of it
	grace        = 4 * time.Second        // for records of connections that remain open; then the taps end, and report them
	pollInterval = 50 * time.Millisecond  //
	requestLimit = 10 * time.Second       // for the response
	execExtra    = requestLimit + 20*time.Second
)

// run attaches the taps, sends the request, waits for the records, ends the taps, and answers.
func (v *verification) run(ctx context.Context) (*verify.Answer, error) {
	if why := v.question.From.Untapped; why != "" && !v.wait {
		return nil, unjudgedErrorf("pod %s cannot be tapped, so no request can be sent from it: %s. With --wait no request is needed: the application's own connections are judged", v.question.From.Name, why)
	}
	session, end := context.WithCancel(ctx)
	defer end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.client.Run(session, v.plan, v.event)
	}()
	finish := func() { end(); <-done }
	defer finish()

	if err := v.started(ctx); err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.question.Start = time.Now()
	v.mu.Unlock()
	begin := time.Now()
	if !v.wait {
		if err := v.request(ctx); err != nil {
			return nil, err
		}
	}
	v.await(ctx, begin)
	finish()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.records.Answer(&v.question), ctx.Err()
}

// event is called for each event of a tap.
func (v *verification) event(e attach.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name := e.Tap.String()
	v.taps[name] = e.Tap
	switch {
	case e.Starts != "":
		v.starts[name] = e.Starts
	case e.Record != nil:
		v.records.Add(name, &e.Record.Record)
	case e.Lost > 0:
		v.records.Lost(name, e.Lost)
	case e.Ended != nil && e.Ended.Failed:
		v.untapped(name, "the tap ended: "+e.Ended.Reason)
	case e.Ended != nil:
		v.ended[name] = e.Ended.Reason
	}
}

// started waits until each tap reports, or has ended.
func (v *verification) started(ctx context.Context) error {
	ready := v.poll(ctx, startTimeout, func() bool { return len(v.silent()) == 0 })
	v.mu.Lock()
	defer v.mu.Unlock()
	switch why := v.ended[v.question.From.Name]; {
	case ctx.Err() != nil:
		return ctx.Err()
	case !ready:
		return unjudgedErrorf("not all taps reported within %s: %s. kubectl describe pod shows why a container does not start", startTimeout, strings.Join(v.silent(), ", "))
	case why != "" && !v.wait:
		return unjudgedErrorf("the tap of %s does not run: %s", v.question.From.Name, why)
	}
	return nil
}

// silent returns the pods whose taps have neither reported nor ended. The caller holds the lock.
func (v *verification) silent() []string {
	var pods []string
	for i := range v.plan.Pods {
		name := v.plan.Pods[i].Pod.Namespace + "/" + v.plan.Pods[i].Pod.Name
		if v.ended[name] != "" || v.records.Started(name) {
			continue
		}
		if why := v.starts[name]; why != "" {
			name += " (" + why + ")"
		}
		pods = append(pods, name)
	}
	return pods
}

// poll calls condition with the lock until it returns true, for at most limit.
func (v *verification) poll(ctx context.Context, limit time.Duration, condition func() bool) bool {
	until := time.Now().Add(limit)
	for {
		v.mu.Lock()
		ok := condition()
		v.mu.Unlock()
		if ok {
			return true
		}
		if time.Now().After(until) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pollInterval):
		}
	}
}

// request sends the request from the client's pod. The first target is a name; if the pod cannot look it up, the next is an address.
func (v *verification) request(ctx context.Context) error {
	v.mu.Lock()
	tap := v.taps[v.question.From.Name]
	v.mu.Unlock()
	for i, target := range v.ends.targets {
		r, err := v.send(ctx, &tap, target)
		if err != nil {
			return fmt.Errorf("send a request from pod %s: %w", v.question.From.Name, err)
		}
		v.mu.Lock()
		v.question.Request, v.question.Start = r, r.Time
		v.mu.Unlock()
		if !strings.Contains(r.Error, "lookup ") || i == len(v.ends.targets)-1 {
			break
		}
	}
	return nil
}

// send runs `tap request` in the container of a tap.
func (v *verification) send(ctx context.Context, tap *attach.Tap, target string) (*verify.Request, error) {
	limit := min(v.timeout, requestLimit)
	command := []string{"/tap", "request", "--timeout=" + limit.String()}
	if v.raw {
		command = append(command, "--raw")
	}
	ctx, cancel := context.WithTimeout(ctx, execExtra)
	defer cancel()
	out, errs := limited{most: maxResponse}, limited{most: maxResponse}
	err := v.client.Exec(ctx, tap, append(command, target), &out, &errs)
	r := &verify.Request{}
	if json.Unmarshal(out.Bytes(), r) == nil && r.Target != "" {
		return r, nil // also if there was no response: Error has the reason
	}
	if text := strings.TrimSpace(errs.String()); text != "" {
		return nil, fmt.Errorf("tap request: %q: if the image does not know the command, set --image to one of this version", text)
	}
	if err == nil {
		err = errors.New("tap request printed nothing")
	}
	return nil, err
}

// await waits until the records of both ends are complete. A tap of this command reports connections that remain open when it ends, so the
// wait is short if all taps are.
func (v *verification) await(ctx context.Context, begin time.Time) {
	own := !slices.ContainsFunc(v.plan.Pods, func(x attach.PodPlan) bool { return x.Reuse != nil })
	sent := time.Now()
	v.poll(ctx, v.timeout-time.Since(begin), func() bool {
		since := time.Since(sent)
		a := v.records.Answer(&v.question)
		if v.wait {
			return a.Complete()
		}
		return since > settle && a.Complete() || own && since > grace
	})
}

// maxResponse bounds what is read of a command in the container of a tap, in bytes.
const maxResponse = 64 << 10

// podOf returns a pod as an end.
func podOf(p *corev1.Pod) verify.Pod {
	return verify.Pod{Name: p.Namespace + "/" + p.Name, Addresses: addressesOf(p)}
}
