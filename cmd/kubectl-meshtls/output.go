package main

import (
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	hostnames "github.com/meshtls-tap/meshtls-tap/internal/names"
)

// output is the value of -o.
type output string

// addFlag adds -o to a command. The first format is the default.
func (f *output) addFlag(c *cobra.Command, formats ...string) {
	c.Flags().StringVarP((*string)(f), "output", "o", formats[0], "the output format: "+strings.Join(formats, ", "))
	must(c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
}

// check returns a usage error for a format that is not in the list.
func (f *output) check(formats ...string) error {
	if !slices.Contains(formats, string(*f)) {
		return usageErrorf("-o %s: expected %s", *f, strings.Join(formats, ", "))
	}
	return nil
}

// printObject prints an object as JSON or YAML.
func printObject(w io.Writer, format output, object any) error {
	b, err := json.MarshalIndent(object, "", "  ")
	if err != nil {
		return err
	}
	b = append(hostnames.EscapeJSON(b), '\n')
	if format == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return err
		}
	}
	_, err = w.Write(b)
	return err
}
