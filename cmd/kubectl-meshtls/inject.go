package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
	"github.com/meshtls-tap/meshtls-tap/internal/manifest"
)

// released matches the versions for which an image is published (docs/release.md).
var released = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?)$`)

// tapImage returns the tap's image of this version, or "" for a version that was not released.
func tapImage() string {
	m := released.FindStringSubmatch(version)
	if m == nil {
		return ""
	}
	return repository + ":" + m[1]
}

// newInjectCommand returns the command that adds taps to manifests.
func newInjectCommand(o *options) *cobra.Command {
	var file, image, policy, profile string
	var env []string
	c := &cobra.Command{
		Use:   "inject -f FILE|-",
		Short: "Add the tap to the pods of manifests, without a webhook",
		Long: `Add the tap to the Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs and
Lists of a YAML or JSON stream, and print the result. Other objects are printed as they are.
Messages on standard error report what was done to each object, and why an object gets no tap.

The tap is a native sidecar, which needs Kubernetes 1.29 or newer. It prints its records on its
standard output; --env can send them elsewhere. An installed webhook leaves these pods as they are.`,
		Example: `  # Add the tap to the pods of a file, and apply the result.
  kubectl meshtls inject -f checkout.yaml | kubectl apply -f -

  # Add the tap to an existing deployment. Its pods are replaced, as after any change.
  kubectl get deployment checkout -n shop -o yaml | kubectl meshtls inject -f - | kubectl apply -f -

  # Send the records to Kafka.
  kubectl meshtls inject -f a.yaml --env TAP_SINK=kafka --env TAP_KAFKA_BROKERS=kafka:9092`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{annotationOffline: "true"},
		RunE: func(*cobra.Command, []string) error {
			cfg, err := injectConfig(image, policy, profile, env)
			if err != nil {
				return err
			}
			return o.editManifest(file, "tap added", func(in io.Reader, out io.Writer) ([]manifest.Outcome, error) {
				return manifest.Inject(in, out, cfg, time.Now())
			})
		},
	}
	c.Flags().StringVarP(&file, "filename", "f", "", "the manifest; - is standard input")
	c.Flags().StringVar(&image, "image", tapImage(), "the tap's image")
	c.Flags().StringVar(&policy, "image-pull-policy", string(corev1.PullIfNotPresent), "when the node pulls the image: Always, IfNotPresent or Never")
	c.Flags().StringVar(&profile, "profile", string(inject.ProfileDefault), "the security context: default, baseline, openshift or root")
	c.Flags().StringArrayVar(&env, "env", nil, "a variable of the tap, as NAME=VALUE ('tap run --help' lists them); repeat the flag for several")
	must(c.RegisterFlagCompletionFunc("image-pull-policy", cobra.FixedCompletions([]string{"Always", "IfNotPresent", "Never"}, cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(profileNames(), cobra.ShellCompDirectiveNoFileComp)))
	return c
}

// newUninjectCommand returns the command that removes taps from manifests.
func newUninjectCommand(o *options) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "uninject -f FILE|-",
		Short: "Remove the tap from the pods of manifests",
		Long: `Remove what 'inject' added: the tap's container, the volumes that only it mounts, and the annotation
that names it. A container with the tap's name that is not the tap is not removed.`,
		Example: `  # Remove the tap from a deployment. Its pods are replaced, as with any change of the template.
  kubectl get deployment checkout -o yaml | kubectl meshtls uninject -f - | kubectl replace -f -`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{annotationOffline: "true"},
		RunE:        func(*cobra.Command, []string) error { return o.editManifest(file, "tap removed", manifest.Uninject) },
	}
	c.Flags().StringVarP(&file, "filename", "f", "", "the manifest; - is standard input")
	return c
}

func profileNames() []string {
	var names []string
	for _, p := range inject.Profiles() {
		names = append(names, string(p))
	}
	return names
}

// injectConfig returns the configuration of injection for the flags.
func injectConfig(image, policy, profile string, env []string) (*inject.Config, error) {
	if image == "" {
		return nil, usageErrorf("--image is required: this program's version (%s) has no published image", version)
	}
	if err := expectFlag("image-pull-policy", policy, "Always", "IfNotPresent", "Never"); err != nil {
		return nil, err
	}
	if err := expectFlag("profile", profile, profileNames()...); err != nil {
		return nil, err
	}
	var s inject.Settings
	for _, e := range env {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			return nil, usageErrorf("--env %s: expected NAME=VALUE", e)
		}
		s.Env = append(s.Env, corev1.EnvVar{Name: name, Value: value})
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if s, err = inject.ParseSettings(text); err != nil {
		return nil, usageErrorf("--%w", err)
	}
	return &inject.Config{
		Settings: s, Image: image, PullPolicy: corev1.PullPolicy(policy), Mode: inject.Native, Profile: inject.Profile(profile), Version: version,
	}, nil
}

// expectFlag returns a usage error unless the value of a flag is one of those that are allowed.
func expectFlag(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return usageErrorf("--%s %s: expected %s%s", name, value, strings.Join(allowed, ", "), didYouMean(value, "", allowed))
}

// editManifest reads a manifest from a file, or from standard input, and prints the result of f on standard output. After an error
// nothing is printed there: kubectl would apply a part.
func (o *options) editManifest(file, done string, f func(io.Reader, io.Writer) ([]manifest.Outcome, error)) error {
	in := o.In
	switch file {
	case "":
		return usageErrorf("-f is required: name a file, or - for standard input")
	case "-":
	default:
		opened, err := os.Open(file)
		if err != nil {
			return err
		}
		defer opened.Close()
		in = opened
	}
	name := file
	if name == "-" {
		name = "standard input"
	}
	var out bytes.Buffer
	outcomes, err := f(in, &out)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for i := range outcomes {
		what := &outcomes[i]
		switch {
		case what.Changed:
			fmt.Fprintf(o.ErrOut, "%s: %s\n", what, done)
		case what.Reason != inject.Injected:
			fmt.Fprintf(o.ErrOut, "%s: unchanged: %s\n", what, what.Reason.Meaning())
		case what.Detail != "":
			fmt.Fprintf(o.ErrOut, "%s: unchanged: %s\n", what, what.Detail)
		default:
			fmt.Fprintf(o.ErrOut, "%s: unchanged: it has no tap\n", what)
		}
		for _, w := range what.Warnings {
			if what.Changed {
				fmt.Fprintf(o.ErrOut, "%s: warning: %s\n", what, w)
			}
		}
	}
	if len(outcomes) == 0 {
		fmt.Fprintf(o.ErrOut, "%s has no pods, and is printed unchanged\n", name)
	}
	_, err = o.Out.Write(out.Bytes())
	return err
}
