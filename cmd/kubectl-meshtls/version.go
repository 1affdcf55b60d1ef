package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// version and commit are set by the linker.
var version, commit = "dev", ""

// versionText returns the version, the commit if it is known, and what the program was built for.
func versionText() string {
	text := version
	if commit != "" {
		text += " commit " + commit
	}
	return fmt.Sprintf("%s %s %s/%s", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long: `Print the version of this program, the commit that it was built from, and its platform. 'check'
prints the versions of the API server and of the taps.`,
		Example:     "  kubectl meshtls version",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{annotationOffline: "true"},
		RunE: func(c *cobra.Command, _ []string) error {
			// --version prints the same. A template of our own for it would link text/template, which adds 20 MB: the linker then keeps all methods.
			_, err := fmt.Fprintln(o.Out, c.Root().DisplayName(), "version", versionText())
			return err
		},
	}
}
