package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// fieldManager is the field manager of what this program writes.
const fieldManager = "kubectl-meshtls"

// switchFlags are the flags of enable and disable.
type switchFlags struct {
	lasts   time.Duration // enable
	restart bool
	dryRun  string
	format  output
}

func (f *switchFlags) addFlags(c *cobra.Command) {
	c.Flags().BoolVar(&f.restart, "restart", false, "restart each affected workload once, as kubectl rollout restart does")
	c.Flags().StringVar(&f.dryRun, "dry-run", "none", "client: print what would be done; server: also ask the API server whether it would accept it")
	c.Flags().StringVarP((*string)(&f.format), "output", "o", "", "yaml or json: print the changed objects")
	must(c.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{"none", "client", "server"}, cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"yaml", "json"}, cobra.ShellCompDirectiveNoFileComp)))
}

func (f *switchFlags) check() error {
	if err := expectFlag("dry-run", f.dryRun, "none", "client", "server"); err != nil {
		return err
	}
	return expectFlag("output", string(f.format), "", "yaml", "json")
}

func newEnableCommand(o *options) *cobra.Command {
	var f switchFlags
	c := &cobra.Command{
		Use:   "enable NAMESPACE",
		Short: "Request taps for the pods of a namespace",
		Long: `Request taps for the pods of a namespace: set its label meshtls-tap=enabled. The webhook then adds a
tap to each pod that starts. Pods that already run get a tap only with --restart.

With --for the taps end by themselves, at the time in the annotation meshtls-tap/until, by the API
server's clock. Without --for they run until 'disable', and an end that was set before is removed.
Taps of the namespace that were turned off, or whose time was up, resume.`,
		Example: `  # For two hours: first print which workloads would be restarted, then restart them.
  kubectl meshtls enable shop --for 2h --restart --dry-run=server
  kubectl meshtls enable shop --for 2h --restart

  # For pods that start from now on, without a time limit.
  kubectl meshtls enable shop`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if c.Flags().Changed("for") && f.lasts < time.Minute {
				return usageErrorf("--for %s: expected a minute or more, such as 2h", f.lasts)
			}
			client, _, err := o.client()
			if err != nil {
				return err
			}
			return o.enable(c.Context(), client, args[0], &f)
		},
	}
	c.Flags().DurationVar(&f.lasts, "for", 0, "how long the taps run, such as 2h (default: no limit)")
	f.addFlags(c)
	return c
}

func newDisableCommand(o *options) *cobra.Command {
	var f switchFlags
	c := &cobra.Command{
		Use:   "disable NAMESPACE",
		Short: "Turn off the taps of a namespace",
		Long: `Turn off the taps of a namespace. First the namespace's ConfigMap turns off the taps that run: they
close their sockets within one or two minutes, without a restart. Then the namespace's label and end
are removed, so pods that start later get no tap. 'enable' turns both on again.

The idle containers stay in the pods until the pods are replaced; --restart replaces them. Taps that
were attached with 'tap' are not affected: they end by themselves, or with 'stop'.`,
		Example: `  # Turn off the taps. Nothing is restarted.
  kubectl meshtls disable shop

  # Remove the containers too: each workload that has taps is restarted once.
  kubectl meshtls disable shop --restart`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			client, _, err := o.client()
			if err != nil {
				return err
			}
			return o.disable(c.Context(), client, args[0], &f)
		},
	}
	f.addFlags(c)
	return c
}

// change makes one change after the other in a namespace, or only says what it would do.
type change struct {
	o       *options
	client  kubernetes.Interface
	flags   *switchFlags
	install *installation
	state   *tapsState
	ns      string
	objects []any // the changed objects, for -o
}

func (o *options) newChange(ctx context.Context, client kubernetes.Interface, ns string, f *switchFlags) (*change, error) {
	install, err := readInstallation(ctx, client)
	switch {
	case apierrors.IsForbidden(err):
		install.assumed = err.Error()
		fmt.Fprintf(o.ErrOut, "warning: could not check whether the webhook is installed: %v\n", err)
	case err != nil:
		return nil, err
	case install.assumed != "":
		fmt.Fprintf(o.ErrOut, "warning: the webhook's settings could not be read, so the chart's defaults are assumed: %s\n", install.assumed)
	}
	state, err := readTapsState(ctx, client, install, ns)
	if err != nil {
		return nil, err
	}
	return &change{o: o, client: client, flags: f, install: install, state: state, ns: ns}, nil
}

// say prints what is done, or with --dry-run would be. With -o it goes to standard error, apart from the objects.
func (c *change) say(format string, args ...any) {
	w, suffix := c.o.Out, ""
	if c.flags.format != "" {
		w = c.o.ErrOut
	}
	if c.flags.dryRun != "none" {
		suffix = " (dry run)"
	}
	fmt.Fprintf(w, format+suffix+"\n", args...)
}

// patchOptions returns the options of a request that changes an object.
func (c *change) patchOptions() metav1.PatchOptions {
	q := metav1.PatchOptions{FieldManager: fieldManager}
	if c.flags.dryRun == "server" {
		q.DryRun = []string{metav1.DryRunAll}
	}
	return q
}

// enable requests taps.
func (o *options) enable(ctx context.Context, client kubernetes.Interface, ns string, f *switchFlags) error {
	c, err := o.newChange(ctx, client, ns, f)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(ns, inject.SystemPrefix):
		return fmt.Errorf("namespace %s: %s. %s", ns, inject.ReasonSystem.Meaning(), inject.ReasonSystem.Remedy())
	case ns == c.install.cfg.Own:
		return fmt.Errorf("namespace %s: %s. %s", ns, inject.ReasonOwn.Meaning(), inject.ReasonOwn.Remedy())
	case f.lasts > 0 && !c.install.may(inject.AnnotationUntil):
		return fmt.Errorf("--for: the platform does not allow namespaces to set the end of their taps (tap.tenantMay in the chart lacks %q), so they would run without one: leave out --for, or have the chart changed", inject.AnnotationUntil)
	case c.install.hook == nil && c.install.assumed == "" && f.restart:
		return fmt.Errorf("no webhook of meshtls-tap is installed: a restart would not add taps. Install the chart, or use 'kubectl meshtls tap -n %s'", ns)
	case c.install.hook == nil && c.install.assumed == "":
		fmt.Fprintln(o.ErrOut, "warning: no webhook of meshtls-tap is installed: no pod gets a tap until it is")
	}

	var end *time.Time
	if f.lasts > 0 {
		if end, err = c.endAfter(ctx, f.lasts); err != nil {
			return err
		}
	}
	if err := c.label(ctx, inject.Enabled, end); err != nil {
		return err
	}
	if end != nil {
		c.say("namespace/%s: taps requested until %s (in %s)", ns, end.Format(time.RFC3339), f.lasts)
	} else {
		c.say("namespace/%s: taps requested, without a time limit", ns)
	}
	if err := c.turnOn(ctx, end); err != nil {
		return err
	}
	if err := c.restartForTaps(ctx); err != nil {
		return err
	}
	return c.print()
}

// endAfter returns the end of taps that run for d, by the API server's clock: a dry run of the change shows its time.
func (c *change) endAfter(ctx context.Context, d time.Duration) (*time.Time, error) {
	now := time.Now()
	text, err := namespacePatch(inject.Enabled, new(now.Add(d)))
	if err != nil {
		return nil, err
	}
	q := metav1.PatchOptions{FieldManager: fieldManager, DryRun: []string{metav1.DryRunAll}}
	tried, err := c.client.CoreV1().Namespaces().Patch(ctx, c.ns, types.MergePatchType, text, q)
	if err != nil {
		return nil, fmt.Errorf("%w\nenabling taps needs the verb patch on namespaces", err)
	}
	for _, f := range tried.ManagedFields {
		if f.Manager == fieldManager && f.Time != nil && f.Time.After(now.Add(-24*time.Hour)) {
			now = f.Time.Time
		}
	}
	return new(now.Add(d).UTC().Truncate(time.Second)), nil
}

// namespacePatch returns the merge patch that sets or removes the label and the end of the taps. The duration, which would count from
// an earlier moment, is removed.
func namespacePatch(label string, end *time.Time) ([]byte, error) {
	value := func(v string) any {
		if v == "" {
			return nil
		}
		return v
	}
	until := ""
	if end != nil {
		until = end.UTC().Format(time.RFC3339)
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{
		"labels": map[string]any{inject.Label: value(label)},
		"annotations": map[string]any{
			inject.Prefix + inject.AnnotationUntil: value(until), inject.Prefix + inject.AnnotationDuration: nil,
		},
	}})
}

// label sets the namespace's label and end in one request: no pod gets a tap without an end in between.
func (c *change) label(ctx context.Context, label string, end *time.Time) error {
	text, err := namespacePatch(label, end)
	if err != nil {
		return err
	}
	for _, key := range []string{inject.AnnotationUntil, inject.AnnotationDuration} {
		if was := c.state.object.Annotations[inject.Prefix+key]; was != "" {
			c.say("namespace/%s: the previous %s%s=%s is removed or replaced", c.ns, inject.Prefix, key, was)
		}
	}
	if c.flags.dryRun == "client" {
		c.objects = append(c.objects, json.RawMessage(text))
		return nil
	}
	changed, err := c.client.CoreV1().Namespaces().Patch(ctx, c.ns, types.MergePatchType, text, c.patchOptions())
	if err != nil {
		return fmt.Errorf("%w\nchanging a namespace's label needs the verb patch on namespaces", err)
	}
	changed.ManagedFields = nil
	changed.APIVersion, changed.Kind = "v1", "Namespace"
	c.objects = append(c.objects, changed)
	return nil
}

// setConfig changes keys of the namespace's ConfigMap; nil removes a key. It creates the ConfigMap if there is none.
func (c *change) setConfig(ctx context.Context, data map[string]any) error {
	name := c.install.configMap()
	text, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return err
	}
	if c.flags.dryRun == "client" {
		c.objects = append(c.objects, json.RawMessage(text))
		return nil
	}
	maps := c.client.CoreV1().ConfigMaps(c.ns)
	changed, err := maps.Patch(ctx, name, types.MergePatchType, text, c.patchOptions())
	if apierrors.IsNotFound(err) {
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: name}, Data: map[string]string{}}
		for k, v := range data {
			if text, ok := v.(string); ok {
				config.Data[k] = text
			}
		}
		q := c.patchOptions()
		changed, err = maps.Create(ctx, config, metav1.CreateOptions{FieldManager: q.FieldManager, DryRun: q.DryRun})
	}
	if err != nil {
		return fmt.Errorf("%w\nturning taps on or off needs the verbs get, patch and create on configmaps in namespace %s", err, c.ns)
	}
	changed.ManagedFields = nil
	changed.APIVersion, changed.Kind = "v1", "ConfigMap"
	c.objects = append(c.objects, changed)
	return nil
}

// confirmTime bounds how long enable waits until the webhook has written the end of the taps.
const confirmTime = 20 * time.Second

// turnOn turns taps on that were turned off, or whose time was over, and waits until the webhook has confirmed the end.
func (c *change) turnOn(ctx context.Context, end *time.Time) error {
	stale := c.state.config.Data[configUntil] != ""
	if c.state.off || stale {
		data := map[string]any{}
		if c.state.off {
			data[configEnabled] = "true"
		}
		if stale && end == nil {
			data[configUntil] = ""
		} else if stale {
			data[configUntil] = nil // the webhook writes the end that the annotation has
		}
		if err := c.setConfig(ctx, data); err != nil {
			return err
		}
		if c.state.off {
			c.say("configmap/%s: taps that were turned off resume", c.install.configMap())
		}
	}
	if c.flags.dryRun != "none" || end == nil && !c.state.off || c.install.hook == nil {
		return nil
	}
	confirmed := false
	err := wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, confirmTime, true, func(ctx context.Context) (bool, error) {
		config, err := c.client.CoreV1().ConfigMaps(c.ns).Get(ctx, c.install.configMap(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil // the webhook creates it
		}
		if err != nil {
			return false, err
		}
		// The webhook may have acted on the earlier end once more.
		if on, err := strconv.ParseBool(config.Data[configEnabled]); err == nil && !on {
			return false, c.setConfig(ctx, map[string]any{configEnabled: "true"})
		}
		confirmed = end == nil || config.Data[configUntil] == end.Format(time.RFC3339)
		return confirmed, nil
	})
	if err != nil && !confirmed && ctx.Err() == nil {
		fmt.Fprintf(c.o.ErrOut, "warning: the webhook did not confirm the change within %s (%v). It applies to pods that start from now on in any case; 'kubectl meshtls check -n %s' tests the webhook\n", confirmTime, err, c.ns)
	}
	return ctx.Err()
}

// disable turns taps off.
func (o *options) disable(ctx context.Context, client kubernetes.Interface, ns string, f *switchFlags) error {
	c, err := o.newChange(ctx, client, ns, f)
	if err != nil {
		return err
	}
	may := c.install.may(configEnabled)
	if !may {
		fmt.Fprintf(o.ErrOut, "warning: the platform does not allow namespaces to turn running taps off (tap.tenantMay in the chart lacks %q): only a restart ends them\n", configEnabled)
	}
	if err := c.setConfig(ctx, map[string]any{configEnabled: "false"}); err != nil {
		return err
	}
	if may {
		c.say("configmap/%s: running taps of namespace %s end within one or two minutes, and stay off", c.install.configMap(), ns)
	} else {
		c.say("configmap/%s: enabled is false, which running taps of namespace %s ignore", c.install.configMap(), ns)
	}
	if err := c.label(ctx, "", nil); err != nil {
		return err
	}
	c.say("namespace/%s: pods that start from now on get no tap", ns)
	if err := c.restartWithTaps(ctx); err != nil {
		return err
	}
	return c.print()
}

// print prints the changed objects, if -o asks for them.
func (c *change) print() error {
	if c.flags.format == "" {
		return nil
	}
	for i, object := range c.objects {
		if i > 0 && c.flags.format == "yaml" {
			fmt.Fprintln(c.o.Out, "---")
		}
		if err := printObject(c.o.Out, c.flags.format, object); err != nil {
			return err
		}
	}
	return nil
}

// hasSidecar reports whether a pod has a tap that was added when it was created.
func hasSidecar(pod *corev1.Pod) bool {
	for _, t := range attach.Taps(pod) {
		if !t.Ephemeral {
			return true
		}
	}
	return false
}
