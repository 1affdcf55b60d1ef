package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// attachFlags are the flags of all commands that attach taps.
type attachFlags struct {
	lasts      time.Duration
	image      string
	pullPolicy string
	maxPods    int
}

// repository is the repository of the tap's image.
const repository = "ghcr.io/meshtls-tap/meshtls-tap"

// addFlags adds the flags to a command. lasts is the default of --for.
func (f *attachFlags) addFlags(c *cobra.Command, lasts time.Duration) {
	c.Flags().DurationVar(&f.lasts, "for", lasts, "how long the taps run at most")
	c.Flags().StringVar(&f.image, "image", "", "the tap's image (default "+repository+" in this program's version)")
	c.Flags().StringVar(&f.pullPolicy, "image-pull-policy", string(corev1.PullIfNotPresent), "when the node pulls the image: Always, IfNotPresent or Never")
	c.Flags().IntVar(&f.maxPods, "max-pods", attach.DefaultMaxPods, "how many pods may be tapped; if more are selected, none is")
	must(c.RegisterFlagCompletionFunc("image-pull-policy", cobra.FixedCompletions([]string{"Always", "IfNotPresent", "Never"}, cobra.ShellCompDirectiveNoFileComp)))
}

// options returns what the flags say.
func (f *attachFlags) options() (attach.Options, error) {
	o := attach.Options{Image: f.image, PullPolicy: corev1.PullPolicy(f.pullPolicy), For: f.lasts, MaxPods: f.maxPods}
	switch o.PullPolicy {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return o, usageErrorf("--image-pull-policy=%s: expected Always, IfNotPresent or Never", f.pullPolicy)
	}
	if o.Image == "" {
		if version == "dev" {
			return o, usageErrorf("--image is required: this build of the program has no version, and so no published image")
		}
		o.Image = repository + ":" + strings.TrimPrefix(version, "v")
	}
	if o.For < time.Second {
		return o, usageErrorf("--for=%s: expected a second or more, such as 10m", o.For)
	}
	if o.MaxPods < 1 {
		return o, usageErrorf("--max-pods=%d: expected 1 or more", o.MaxPods)
	}
	return o, nil
}

// tapFlags are the flags of the command tap.
type tapFlags struct {
	selection
	attachFlags
	failOn string
	format output
	dryRun string
	expect string
	mesh   string
}

// tapFormats are the values of -o.
var tapFormats = []string{"table", "wide", "json", "yaml"}

func newTapCommand(o *options) *cobra.Command {
	var f tapFlags
	c := &cobra.Command{
		Use:   "tap POD|TYPE/NAME... | -l SELECTOR [-n NAMESPACE|-A]",
		Short: "Tap running pods, without a restart",
		Long: `Attach taps to running pods, and show findings and edges as they appear. Nothing is restarted.

A tap is an ephemeral container that needs the capability NET_RAW and no other. The command first
prints what it will do, and then does it. A tap ends after --for, on Ctrl-C, or within seconds after
this program or its connection to the cluster fails. Kubernetes keeps the ended container in the
pod's spec until the pod is deleted. If a tap already runs in a pod, the command reads its records
and does not end it.

A tap sees connections that begin after its start, and further traffic on older ones. A connection
whose handshake it did not see may stay unjudged until it is opened again.

With --fail-on the exit status is 0 only if every selected pod was tapped and no record was lost. -o
wide leaves no column out of the summary at the end, and shortens no name.`,
		Example: `  # The pods of a deployment, for five minutes.
  kubectl meshtls tap deploy/checkout -n shop --for 5m

  # All pods with a label, in all namespaces; as JSON lines, one record each.
  kubectl meshtls tap -l app=checkout -A -o json >records.jsonl

  # In a pipeline: exit with status 3 if anything is sent in plaintext.
  kubectl meshtls tap checkout-0 -n shop --for 1m --fail-on plaintext-edge

  # What would be added to the pod? Nothing is changed.
  kubectl meshtls tap checkout-0 -n shop --dry-run=server -o yaml`,
		Annotations: map[string]string{annotationStatus: `3  a finding or connection that --fail-on names
4  with --fail-on: no connection could be judged`},
		RunE: func(c *cobra.Command, args []string) error {
			f.names = args
			return o.tap(c.Context(), &f)
		},
	}
	f.selection.addFlags(c)
	f.attachFlags.addFlags(c, 10*time.Minute)
	f.format.addFlag(c, tapFormats...)
	c.Flags().StringVar(&f.failOn, "fail-on", "", failOnHelp)
	c.Flags().StringVar(&f.dryRun, "dry-run", "none", "client: print the container that would be added; server: also ask the cluster whether it would admit it")
	c.Flags().StringVar(&f.expect, "expect", "", "what connections should be: CIDR[:PORT]=mtls|tls|any,... (sets TAP_EXPECT of the tap)")
	c.Flags().StringVar(&f.mesh, "mesh", "", "the mesh that the pods are in (sets TAP_MESH of the tap)")
	must(c.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{"client", "server"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

// tap is the command tap.
func (o *options) tap(ctx context.Context, f *tapFlags) error {
	a, gate, err := f.parse()
	if err != nil {
		return err
	}
	client, config, err := o.client()
	if err != nil {
		return err
	}
	pods, err := o.pods(ctx, client, &f.selection)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("no running pod is selected: check the namespace (-n) and the selector (-l)")
	}
	c := &attach.Client{Kube: client, Config: config}
	inventory := inventoryOf(ctx, c, pods)
	plan, err := c.Plan(ctx, pods, a)
	if err != nil {
		return err
	}
	announce(o.ErrOut, plan.Announce())
	switch {
	case f.dryRun != "none":
		return o.printPlan(plan, f.format)
	case plan.Refused():
		return errNoneTapped
	}
	g := newGathering(<-inventory, plan)
	if f.format == "json" {
		err = o.stream(ctx, c, plan, g)
	} else {
		err = o.watch(ctx, c, plan, g, f.format == "wide")
	}
	return g.result(&gate, refusals(plan), err)
}

// refusals returns the number of pods of a plan without a tap.
func refusals(p *attach.Plan) (n int) {
	for i := range p.Pods {
		if p.Pods[i].Refusal != "" {
			n++
		}
	}
	return n
}

// result returns the error of the command. refused is the number of selected pods without a tap, and err why something could not be shown. A finding of
// --fail-on is one however much was seen. Otherwise the gate is not passed if a selected pod was not seen for the whole time.
func (g *gathering) result(gate *failOn, refused int, err error) error {
	s := g.state()
	if n, reason := failed(&s); n > 0 {
		err = errors.Join(err, errors.New(plural(n, "tap")+" failed: "+reason))
	}
	if gate.gates() {
		err = errors.Join(err, g.part(refused))
	}
	return withPart(err, gate.result(s.Edges, s.Findings))
}

// inventoryOf starts to read the inventory of the pods' namespace, or of the cluster if there are several.
func inventoryOf(ctx context.Context, c *attach.Client, pods []corev1.Pod) <-chan topology.Inventory {
	namespace := pods[0].Namespace
	if slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Namespace != namespace }) {
		namespace = ""
	}
	read := make(chan topology.Inventory, 1)
	go func() {
		inventory, _, err := c.Inventory(ctx, namespace, time.Now())
		if err != nil {
			inventory.Notes = append(inventory.Notes, "Addresses have no names, because the cluster could not be read: "+firstLine(err)+".")
		}
		read <- inventory
	}()
	return read
}

// parse checks the flags.
func (f *tapFlags) parse() (a attach.Options, gate failOn, err error) {
	if a, err = f.options(); err != nil {
		return a, gate, err
	}
	if gate, err = parseFailOn(f.failOn); err != nil {
		return a, gate, err
	}
	if err := f.format.check(tapFormats...); err != nil {
		return a, gate, err
	}
	switch f.dryRun {
	case "none", "server":
	case "client":
		a.Unchecked = true
	default:
		return a, gate, usageErrorf("--dry-run=%s: expected none, client or server", f.dryRun)
	}
	if f.format == "yaml" && f.dryRun == "none" {
		return a, gate, usageErrorf("-o yaml: expected --dry-run too; for records use -o json")
	}
	if f.everything() {
		return a, gate, usageErrorf("no pod is named: expected POD, TYPE/NAME or -l SELECTOR")
	}
	for _, e := range []corev1.EnvVar{{Name: "TAP_EXPECT", Value: f.expect}, {Name: "TAP_MESH", Value: f.mesh}} {
		if e.Value != "" {
			a.Env = append(a.Env, e)
		}
	}
	return a, gate, nil
}

// errNoneTapped is the error of a command that has announced why it attaches no tap.
var errNoneTapped = errors.New("no tap can be attached: the reasons are above")

// printPlan prints the ephemeral containers that would be added, as the patches of the pods.
func (o *options) printPlan(p *attach.Plan, format output) error {
	for i := range p.Pods {
		x := &p.Pods[i]
		if x.Container == nil {
			continue
		}
		patch, err := attach.Patch(x.Container, x.Pod)
		if err != nil {
			return err
		}
		if format == "json" {
			fmt.Fprintln(o.Out, string(patch))
			continue
		}
		text, err := yaml.JSONToYAML(patch)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "---\n%s", text)
	}
	if p.Refused() {
		return errNoneTapped
	}
	return nil
}
