package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/inject"
	hostnames "github.com/meshtls-tap/meshtls-tap/internal/names"
)

// explanation is why a pod is tapped or not.
type explanation struct {
	Namespace string       `json:"namespace"`
	Pod       string       `json:"pod"`
	Tapped    bool         `json:"tapped"` // a tap runs in it
	Answer    string       `json:"answer"`
	Reason    string       `json:"reason,omitempty"` // the webhook's code, see webhook/README.md
	Facts     []string     `json:"facts,omitempty"`  // what the answer is based on
	Do        []string     `json:"do,omitempty"`     // what changes it
	Taps      []attach.Tap `json:"taps,omitempty"`
}

func newExplainCommand(o *options) *cobra.Command {
	var s selection
	var format output
	c := &cobra.Command{
		Use:   "explain POD|TYPE/NAME... | -l SELECTOR [-n NAMESPACE|-A]",
		Short: "Explain why pods are tapped or not",
		Long: `Explain why pods are tapped or not, and how to change that: by the labels and annotations of the
namespace and the pod, the namespace's ConfigMap, what the webhook would decide now, and the Events
that show what it decided when the pod was created. Attached taps are listed, including those that
have ended.`,
		Example: `  # Why has this pod no tap?
  kubectl meshtls explain checkout-7d9f8-abcde -n shop

  # All pods of a deployment; all pods with a label, as JSON.
  kubectl meshtls explain deploy/checkout -n shop
  kubectl meshtls explain -l app=checkout -n shop -o json`,
		RunE: func(c *cobra.Command, args []string) error {
			s.names = args
			if err := format.check("text", "json", "yaml"); err != nil {
				return err
			}
			if s.everything() && !s.all {
				return usageErrorf("no pod is named: expected POD, TYPE/NAME, -l SELECTOR or -A")
			}
			return o.explain(c.Context(), &s, format)
		},
	}
	s.addFlags(c)
	format.addFlag(c, "text", "json", "yaml")
	return c
}

func (o *options) explain(ctx context.Context, s *selection, format output) error {
	client, _, err := o.client()
	if err != nil {
		return err
	}
	pods, err := o.pods(ctx, client, s)
	if err != nil {
		return err
	}
	e := &explainer{client: client, now: time.Now(), states: map[string]*tapsState{}}
	if e.install, err = readInstallation(ctx, client); err != nil {
		if !apierrors.IsForbidden(err) {
			return err
		}
		e.unread = "whether the webhook is installed: " + err.Error()
	}
	all := []explanation{}
	for i := range pods {
		all = append(all, e.explain(ctx, &pods[i]))
	}
	if len(all) == 0 {
		return fmt.Errorf("no pods were found: check the namespace and the selector")
	}
	if format != "text" {
		return printObject(o.Out, format, map[string]any{"pods": all})
	}
	for i := range all {
		if i > 0 {
			fmt.Fprintln(o.Out)
		}
		all[i].print(o.Out)
	}
	return nil
}

func (x *explanation) print(w io.Writer) {
	fmt.Fprintf(w, "%s/%s: %s\n", x.Namespace, x.Pod, hostnames.Printable([]byte(x.Answer)))
	for _, f := range x.Facts {
		fmt.Fprintf(w, "  - %s\n", hostnames.Printable([]byte(f)))
	}
	for _, d := range x.Do {
		fmt.Fprintf(w, "  What to do: %s\n", hostnames.Printable([]byte(d)))
	}
}

// explainer explains pods. It reads each namespace once.
type explainer struct {
	client  kubernetes.Interface
	install *installation
	unread  string // what could not be read about the installation, or ""
	now     time.Time
	states  map[string]*tapsState
}

func (e *explainer) state(ctx context.Context, ns string) (*tapsState, error) {
	if s, ok := e.states[ns]; ok {
		return s, nil
	}
	s, err := readTapsState(ctx, e.client, e.install, ns)
	if err == nil {
		e.states[ns] = s
	}
	return s, err
}

func (e *explainer) explain(ctx context.Context, pod *corev1.Pod) explanation {
	x := explanation{Namespace: pod.Namespace, Pod: pod.Name, Taps: attach.Taps(pod)}
	state, err := e.state(ctx, pod.Namespace)
	read := err == nil
	if !read {
		x.Facts = append(x.Facts, "the namespace could not be read: "+err.Error())
		state = &tapsState{object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pod.Namespace}}, config: &corev1.ConfigMap{}}
	}
	if e.unread != "" {
		x.Facts = append(x.Facts, "not known: "+e.unread)
	}
	if e.install.assumed != "" {
		x.Facts = append(x.Facts, "the webhook's settings could not be read, so the chart's defaults are assumed: "+e.install.assumed)
	}

	raw, err := json.Marshal(pod)
	if err != nil {
		x.Answer = err.Error()
		return x
	}
	cfg := e.install.cfg
	decision := inject.Tap(&cfg, state.view(e.now), raw, e.now)
	if decision.Reason == inject.ReasonAlready {
		e.injected(&x, pod, state)
	} else {
		e.untapped(ctx, &x, pod, state, &decision, read)
	}
	x.attached()
	for i := range x.Do {
		x.Do[i] = strings.ReplaceAll(x.Do[i], "NAMESPACE", pod.Namespace)
	}
	return x
}

// injected explains a pod that has a tap of the webhook, or of `inject`.
func (e *explainer) injected(x *explanation, pod *corev1.Pod, state *tapsState) {
	var was inject.Status
	json.Unmarshal([]byte(pod.Annotations[inject.Prefix+inject.AnnotationStatus]), &was) //nolint:errcheck // inject.Tap has read it
	x.Reason = string(inject.ReasonAlready)
	x.Facts = append(x.Facts, fmt.Sprintf("it was created with a tap: version %s, mode %s, profile %s, image %s", cmp.Or(was.Version, "unknown"), was.Mode, was.Profile, was.Image))
	if e.install.deployment != nil && e.install.assumed == "" && was.Config != e.install.cfg.Hash() {
		x.Facts = append(x.Facts, "the tap is outdated: the webhook's settings have changed since")
		x.Do = append(x.Do, "Restart its workload, or run kubectl meshtls enable NAMESPACE --restart.")
	}
	for _, t := range x.Taps {
		if t.Ephemeral {
			continue
		}
		x.Tapped = t.State == attach.Running
		x.Facts = append(x.Facts, "its container "+stateOf(&t))
	}
	switch {
	case state.off:
		x.Tapped = false
		x.Answer = "it has a tap, which is turned off: the ConfigMap " + e.install.configMap() + " of its namespace has enabled: false"
		x.Do = append(x.Do, inject.ReasonOff.Remedy())
	case state.over(e.now):
		x.Tapped = false
		x.Answer = "it has a tap, whose time was up at " + state.until.UTC().Format(time.RFC3339)
		x.Do = append(x.Do, inject.ReasonExpired.Remedy())
	case x.Tapped:
		x.Answer = "tapped"
		if !state.until.IsZero() {
			x.Answer += " until " + state.until.UTC().Format(time.RFC3339)
		}
	default:
		x.Answer = "it has a tap, which does not run"
		x.Do = append(x.Do, fmt.Sprintf("kubectl describe pod %s -n NAMESPACE shows why the container does not run.", pod.Name))
	}
}

// stateOf describes the state of a tap's container.
func stateOf(t *attach.Tap) string {
	text := t.Container + " is " + string(t.State)
	if !t.Started.IsZero() && t.State == attach.Running {
		text = t.Container + " has been running since " + t.Started.UTC().Format(time.RFC3339)
	}
	if t.State == attach.Terminated {
		text = fmt.Sprintf("%s has ended with status %d at %s", t.Container, t.ExitCode, t.Ended.UTC().Format(time.RFC3339))
	}
	if t.Reason != "" {
		text += " (" + t.Reason + ")"
	}
	if t.Restarts > 0 {
		text += ", restarted " + choose(int(t.Restarts), "once", fmt.Sprintf("%d times", t.Restarts))
	}
	return text
}

// untapped explains a pod without a tap of the webhook.
func (e *explainer) untapped(ctx context.Context, x *explanation, pod *corev1.Pod, state *tapsState, decision *inject.Result, read bool) {
	reason, detail := decision.Reason, decision.Detail
	then, thenDetail := e.recorded(ctx, x, pod)
	switch {
	case !read && then == inject.Injected:
		x.Answer = "not tapped; the reason is not known, because its namespace could not be read"
		return
	case reason != inject.Injected && read:
	case then != inject.Injected:
		reason, detail = then, thenDetail
	default:
		e.missed(x, pod, state)
		return
	}
	x.Reason, x.Answer = string(reason), "not tapped: "+reason.Meaning()
	if detail != "" && !strings.Contains(x.Answer, detail) {
		x.Facts = append(x.Facts, "the webhook's reason: "+string(reason)+": "+detail)
	}
	if reason == inject.ReasonNotAsked && pod.Labels[inject.Label] == inject.Enabled {
		x.Facts = append(x.Facts, "the pod's own label "+inject.Label+"="+inject.Enabled+" does not count: the platform does not allow it (injection.podOptIn in the chart)")
	}
	if r := reason.Remedy(); r != "" {
		x.Do = append(x.Do, r)
	}
	if then != inject.Injected && then != reason {
		x.Facts = append(x.Facts, fmt.Sprintf("when it was created, there was another reason: %s", then.Meaning()))
	}
	if e.install.hook == nil && e.unread == "" {
		x.Facts = append(x.Facts, "no webhook of meshtls-tap is installed in this cluster")
	}
}

// eventWindow is how far the Event about a pod may be from its creation. Events have no reference to the pod.
const eventWindow = 30 * time.Second

// recorded returns the reason that the webhook gave when the pod was created, by the Event on its owner. Events are kept for an hour.
func (e *explainer) recorded(ctx context.Context, x *explanation, pod *corev1.Pod) (inject.Reason, string) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return inject.Injected, ""
	}
	selector := fields.AndSelectors(fields.OneTermEqualSelector("involvedObject.uid", string(owner.UID)))
	list, err := e.client.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector.String()})
	if err != nil {
		x.Facts = append(x.Facts, "its Events could not be read: "+err.Error())
		return inject.Injected, ""
	}
	for i := range list.Items {
		ev := &list.Items[i]
		if ev.InvolvedObject.UID != owner.UID || !near(ev, pod.CreationTimestamp.Time) {
			continue
		}
		reason, detail, known := inject.ParseNotTapped(ev.Message)
		switch {
		case ev.Reason == inject.EventForeign:
			reason = inject.ReasonForeign
		case ev.Reason != inject.EventNotTapped || !known:
			continue
		}
		x.Facts = append(x.Facts, fmt.Sprintf("Event %s on %s/%s: %s", ev.Reason, strings.ToLower(owner.Kind), owner.Name, ev.Message))
		return reason, detail
	}
	return inject.Injected, ""
}

// near reports whether an Event, or a series of equal ones, happened about the time at.
func near(e *corev1.Event, at time.Time) bool {
	first := e.EventTime.Time
	if first.IsZero() {
		first = e.FirstTimestamp.Time
	}
	last := first
	if e.Series != nil {
		last = e.Series.LastObservedTime.Time
	}
	if e.LastTimestamp.After(last) {
		last = e.LastTimestamp.Time
	}
	return !at.Before(first.Add(-eventWindow)) && !at.After(last.Add(eventWindow))
}

// missed explains a pod that would be tapped if it were created now.
func (e *explainer) missed(x *explanation, pod *corev1.Pod, state *tapsState) {
	created := pod.CreationTimestamp.Time
	switch {
	case e.unread != "":
		x.Answer = "not tapped: it would get a tap if it were created now and the webhook were installed"
	case e.install.hook == nil:
		x.Answer = "not tapped: its namespace requests taps, but no webhook of meshtls-tap is installed in this cluster"
		x.Do = append(x.Do, "Install the chart, or attach a tap without it: kubectl meshtls tap "+pod.Name+" -n NAMESPACE.")
		return
	case created.Before(e.install.configuration.CreationTimestamp.Time):
		x.Answer = "not tapped: it was created before the webhook was installed"
	case created.Before(state.labeled()):
		x.Answer = "not tapped: it was created before its namespace got the label " + inject.Label + "=" + inject.Enabled
	default:
		x.Answer = "not tapped: it would get a tap if it were created now, so the webhook was not called, or did not respond, when it was created"
		x.Do = append(x.Do, "kubectl meshtls check -n NAMESPACE tests the webhook.")
	}
	x.Facts = append(x.Facts, "it was created at "+created.UTC().Format(time.RFC3339))
	x.Do = append(x.Do, "kubectl meshtls enable NAMESPACE --restart replaces such pods; kubectl meshtls tap "+pod.Name+" -n NAMESPACE attaches a tap without a restart.")
}

// attached adds the taps that were attached to the pod.
func (x *explanation) attached() {
	for _, t := range x.Taps {
		if !t.Ephemeral {
			continue
		}
		x.Facts = append(x.Facts, "attached: "+stateOf(&t))
		if t.State == attach.Running && t.Program == attach.ProgramRun && !x.Tapped {
			x.Tapped = true
			x.Answer = "tapped by an attached tap; without that: " + x.Answer
		}
	}
}
