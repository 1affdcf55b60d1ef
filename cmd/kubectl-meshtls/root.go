package main

import (
	"context"
	"fmt"

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
		Use:           "kubectl-meshtls",
		Short:         "See on the wire whether pods speak mutual TLS",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl meshtls"},
	}
	o.config.AddFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageErrorf("%w\nSee '%s --help'", err, c.CommandPath())
	})
	root.AddCommand( // one line for each command
	)
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
