package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// groups are the groups of commands in the help of the root command, in their order there.
var groups = []struct {
	title    string
	commands []string
}{
	{"In an incident", []string{"tap", "edges", "verify", "status", "stop"}},
	{"Before you switch to STRICT", []string{"strict"}},
	{"Taps for a whole namespace", []string{"enable", "disable", "explain", "inject", "uninject"}},
	{"Captures and reports", []string{"pcap", "report"}},
	{"Checks", []string{"check", "rbac"}},
	{"Other commands", []string{"completion", "help", "options", "version"}},
}

// Keys of the annotations of a command that its help uses.
const (
	// annotationStatus lists the exit statuses of a command other than 1 and 2, a line each, such as
	// "3  a connection is not mutual TLS". A first line for 0 replaces the usual one.
	annotationStatus = "exit-status"
	// annotationOffline marks a command that does not use the cluster. Its help names no connection flags.
	annotationOffline = "offline"
)

// commonFlags are the connection flags that the help of each command lists. `options` lists all.
var commonFlags = []string{"namespace", "context", "kubeconfig"}

// connectionFlags returns the flags of the connection to the cluster. Their defaults contain no path of this machine.
func connectionFlags(config *genericclioptions.ConfigFlags) *pflag.FlagSet {
	flags := pflag.NewFlagSet("connection", pflag.ContinueOnError)
	config.AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if h := home(); h != "" {
			f.DefValue = strings.Replace(f.DefValue, h, "~", 1)
		}
	})
	return flags
}

// printHelp prints what a command does and how it is used.
func printHelp(c *cobra.Command, connection *pflag.FlagSet) {
	about := c.Long
	if about == "" {
		about = c.Short
	}
	fmt.Fprintf(c.OutOrStdout(), "%s\n\n", strings.TrimSpace(about))
	writeUsage(c.OutOrStdout(), c, connection)
}

// printUsage prints how a command is used, without what it does.
func printUsage(c *cobra.Command, connection *pflag.FlagSet) error {
	writeUsage(c.OutOrStderr(), c, connection)
	return nil
}

func writeUsage(w io.Writer, c *cobra.Command, connection *pflag.FlagSet) {
	if c.HasParent() {
		fmt.Fprintf(w, "Usage:\n  %s\n", c.UseLine())
	} else {
		fmt.Fprintf(w, "Usage:\n  %s COMMAND [flags]\n", c.DisplayName())
	}
	if len(c.Aliases) > 0 {
		fmt.Fprintf(w, "\nAliases:\n  %s\n", c.NameAndAliases())
	}
	if c.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", strings.TrimRight(c.Example, "\n"))
	}
	if c.HasParent() {
		writeCommands(w, "Commands", c.Commands())
	} else {
		for _, g := range groups {
			writeCommands(w, g.title, commandsOf(c, g.commands))
		}
	}
	own, shared := splitFlags(c, connection)
	writeFlags(w, "Flags", own)
	if c.HasParent() && c.Annotations[annotationOffline] == "" {
		writeFlags(w, "Which cluster ('kubectl meshtls options' lists all such flags)", shared)
	}
	if c.Runnable() && c.HasParent() {
		fine, others := "0  success", c.Annotations[annotationStatus]
		if first, rest, _ := strings.Cut(others, "\n"); strings.HasPrefix(first, "0") {
			fine, others = first, rest
		}
		fmt.Fprintf(w, "\nExit status:\n  %s\n  1  error\n  2  wrong usage\n", fine)
		for line := range strings.Lines(others) {
			fmt.Fprintf(w, "  %s\n", strings.TrimSpace(line))
		}
	}
	if !c.HasParent() {
		fmt.Fprint(w, "\n'kubectl meshtls COMMAND --help' explains a command and its flags; 'kubectl meshtls options' lists the\nflags of the connection to the cluster, such as --namespace and --context.\n")
	}
}

// commandsOf returns the commands with the given names that exist, in the order of the names.
func commandsOf(c *cobra.Command, names []string) []*cobra.Command {
	var found []*cobra.Command
	for _, name := range names {
		at := slices.IndexFunc(c.Commands(), func(s *cobra.Command) bool { return s.Name() == name })
		if at >= 0 {
			found = append(found, c.Commands()[at])
		}
	}
	return found
}

// nameWidth is the width of the column with the names of commands.
const nameWidth = 12

func writeCommands(w io.Writer, title string, commands []*cobra.Command) {
	commands = slices.DeleteFunc(slices.Clone(commands), func(c *cobra.Command) bool { return !c.IsAvailableCommand() && c.Name() != "help" })
	if len(commands) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, c := range commands {
		fmt.Fprintf(w, "  %-*s%s\n", nameWidth, c.Name(), c.Short)
	}
}

// splitFlags returns the flags of a command, without those of the connection, and the connection flags that its help lists.
func splitFlags(c *cobra.Command, connection *pflag.FlagSet) (own, shared *pflag.FlagSet) {
	own, shared = pflag.NewFlagSet("own", pflag.ContinueOnError), pflag.NewFlagSet("shared", pflag.ContinueOnError)
	own.SortFlags, shared.SortFlags = c.Flags().SortFlags, false
	add := func(f *pflag.Flag) {
		if connection.Lookup(f.Name) != f && own.Lookup(f.Name) == nil {
			own.AddFlag(f)
		}
	}
	c.LocalFlags().VisitAll(add)
	c.InheritedFlags().VisitAll(add)
	for _, name := range commonFlags {
		if f := connection.Lookup(name); f != nil && own.Lookup(name) == nil {
			shared.AddFlag(f)
		}
	}
	return own, shared
}

// helpWidth is the number of columns of help texts.
const helpWidth = 100

func writeFlags(w io.Writer, title string, flags *pflag.FlagSet) {
	if text := flags.FlagUsagesWrapped(helpWidth); text != "" {
		fmt.Fprintf(w, "\n%s:\n%s", title, text)
	}
}

// newOptionsCommand returns the command that lists the connection flags.
func newOptionsCommand(connection *pflag.FlagSet) *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags of the connection to the cluster",
		Long: `List the flags of the connection to the cluster. Every command accepts them. They are those of
kubectl; without them, the current context of the kubeconfig file is used.`,
		Example: `  # List them.
  kubectl meshtls options

  # An example: another context, with the rights of another user.
  kubectl meshtls status -A --context production --as oncall`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{annotationOffline: "true"},
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "Every command accepts these flags:\n\n%s", connection.FlagUsagesWrapped(helpWidth))
			return err
		},
	}
}

// newHelpCommand returns the command that prints the help of another command.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "help [COMMAND]",
		Short:       "Explain a command",
		Long:        "Explain a command: the same text as COMMAND --help.",
		Example:     `  kubectl meshtls help verify`,
		Annotations: map[string]string{annotationOffline: "true"},
		ValidArgsFunction: func(c *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []string
			for _, s := range c.Root().Commands() {
				names = append(names, s.Name())
			}
			return matching(names, begun), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noSubcommand(c.Root(), args)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}
