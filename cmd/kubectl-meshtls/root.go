package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// options are what all commands share: the flags of the connection to the cluster, and the standard streams.
type options struct {
	genericiooptions.IOStreams
	config *genericclioptions.ConfigFlags
}

// run executes the command line and returns the exit status.
func run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	streams.ErrOut = &cleaned{to: streams.ErrOut}
	root := newRoot(&options{IOStreams: streams, config: genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag()})
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(streams.ErrOut, "error: %v\n", err)
	}
	return exitStatus(err)
}

// newRoot returns the command tree.
func newRoot(o *options) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-meshtls",
		Short: "See on the wire whether pods speak mutual TLS",
		Long: `See on the wire whether pods speak mutual TLS.

A tap is a small container that reads the packets of a pod and judges each connection: mutual TLS,
TLS, plaintext or unknown. The commands attach taps to running pods without a restart, and report
what the taps see. Traffic that they did not see is reported as not known, never as absent.`,
		Example: `  # What does this deployment speak, and with whom? Nothing is restarted; the taps run 10 minutes.
  kubectl meshtls tap deploy/checkout -n shop --for 10m

  # Is the connection from the frontend to the checkout service mutual TLS?
  kubectl meshtls verify deploy/frontend svc/checkout -n shop

  # Afterwards, check that no tap is still running.
  kubectl meshtls status -A`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl meshtls"},
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionText(),
		Args:          noSubcommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	connection := connectionFlags(o.config)
	root.PersistentFlags().AddFlagSet(connection)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(func(c *cobra.Command) error { return printUsage(c, connection) })
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { printHelp(c, connection) })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand( // one line for each command; help.go has its group
		newCheckCommand(o),
		newCompletionCommand(o),
		newDisableCommand(o),
		newEdgesCommand(o),
		newEnableCommand(o),
		newExplainCommand(o),
		newInjectCommand(o),
		newOptionsCommand(connection),
		newPcapCommand(o),
		newRBACCommand(o),
		newReportCommand(o),
		newStatusCommand(o),
		newStopCommand(o),
		newStrictCommand(o),
		newTapCommand(o),
		newUninjectCommand(o),
		newVerifyCommand(o),
		newVersionCommand(o),
	)
	root.SetHelpCommand(newHelpCommand())
	root.InitDefaultHelpCmd()
	completions(root, o)
	for _, c := range root.Commands() {
		usageErrors(c)
	}
	return root
}

// client returns a client of the cluster and its configuration.
func (o *options) client() (kubernetes.Interface, *rest.Config, error) {
	c, err := o.config.ToRESTConfig()
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(c)
	return client, c, err
}

// namespace returns the namespace of -n, or else that of the current context.
func (o *options) namespace() (string, error) {
	ns, _, err := o.config.ToRawKubeConfigLoader().Namespace()
	return ns, err
}

// home returns the user's home folder, or "".
func home() string {
	h, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return h
}
