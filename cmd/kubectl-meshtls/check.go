package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
)

// The results of a check.
const (
	resultOK      = "ok"
	resultWarning = "warning" // it works, but something is worse than it could be
	resultFailed  = "failed"
	resultUnknown = "unknown" // it could not be checked
)

// checked is the result of one check.
type checked struct {
	Check  string `json:"check"`
	Result string `json:"result"`
	Detail string `json:"detail"`
	Do     string `json:"do,omitempty"` // what to do; empty if nothing
}

// checker does the checks, one after the other, for one namespace.
type checker struct {
	client  kubernetes.Interface
	config  *rest.Config
	ns      string
	results []checked
}

func (c *checker) add(check, result, do, format string, args ...any) {
	c.results = append(c.results, checked{Check: check, Result: result, Do: do, Detail: fmt.Sprintf(format, args...)})
}

func newCheckCommand(o *options) *cobra.Command {
	var before bool
	var format output
	c := &cobra.Command{
		Use:   "check",
		Short: "Check what taps need: versions, rights, Pod Security, the webhook",
		Long: `Check what taps need in the namespace of -n, with a line for each check and what to do: the version
of the API server, your rights, whether the namespace admits a tap (by a dry run where it has a
pod), the webhook, and taps that are outdated, do not run or see less than they should. Nothing is
changed.

--pre checks what an installation needs: the rights to install the chart, and the versions of the
nodes. Whatever could not be checked is "unknown", never "ok". The exit status is 1 if a check has
failed.`,
		Example: `  # Can taps be attached in this namespace, and does the webhook work?
  kubectl meshtls check -n shop

  # Before an installation.
  kubectl meshtls check --pre`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := format.check("table", "json", "yaml"); err != nil {
				return err
			}
			client, config, err := o.client()
			if err != nil {
				return err
			}
			ns, err := o.namespace()
			if err != nil {
				return err
			}
			return o.check(c.Context(), &checker{client: client, config: config, ns: cmp.Or(ns, "default")}, before, format)
		},
	}
	c.Flags().BoolVar(&before, "pre", false, "check what an installation of the chart needs")
	format.addFlag(c, "table", "json", "yaml")
	return c
}

// check does all checks and prints their results.
func (o *options) check(ctx context.Context, c *checker, before bool, format output) error {
	if !c.server() {
		return o.printChecks(c, format)
	}
	if before {
		c.installRights(ctx)
		c.nodes(ctx)
		c.noInstallation(ctx)
	} else {
		c.rights(ctx)
		c.podSecurity(ctx)
		install := c.webhook(ctx)
		c.admission(ctx)
		c.taps(ctx, install)
	}
	c.metrics()
	return o.printChecks(c, format)
}

// printChecks prints the results. It returns an error if a check has failed.
func (o *options) printChecks(c *checker, format output) error {
	var err error
	if format == "table" {
		err = writeChecks(o.Out, c.results)
	} else {
		err = printObject(o.Out, format, map[string]any{"namespace": c.ns, "checks": c.results})
	}
	if err != nil {
		return err
	}
	failed := 0
	for _, r := range c.results {
		if r.Result == resultFailed {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%s failed: see the lines with %q above", plural(failed, "check"), resultFailed)
	}
	return nil
}

func writeChecks(w io.Writer, results []checked) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tRESULT\tDETAIL")
	for _, r := range results {
		detail := clean(strings.Join(strings.Fields(r.Detail), " "))
		if r.Do != "" {
			detail += ". " + r.Do
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.Check, r.Result, detail)
	}
	return t.Flush()
}

// attachClient returns a client that plans and reads taps.
func (c *checker) attachClient() *attach.Client {
	return &attach.Client{Kube: c.client, Config: c.config}
}
