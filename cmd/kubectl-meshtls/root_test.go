package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// command runs a command line without a cluster, and returns what it printed and its exit status.
func command(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	streams, _, out, errs := genericiooptions.NewTestIOStreams()
	status = run(t.Context(), args, streams)
	return out.String(), errs.String(), status
}

// tree returns the command tree.
func tree() *cobra.Command {
	return newRoot(&options{
		IOStreams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, ErrOut: &bytes.Buffer{}},
		config:    genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag(),
	})
}

// each calls f for a command and all its subcommands.
func each(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, s := range c.Commands() {
		each(s, f)
	}
}

// grouped returns the names of all commands that the help groups.
func grouped() []string {
	var names []string
	for _, g := range groups {
		names = append(names, g.commands...)
	}
	return names
}

func TestEveryCommandIsExplained(t *testing.T) {
	each(tree(), func(c *cobra.Command) {
		for what, text := range map[string]string{"Short": c.Short, "Long": c.Long, "Example": c.Example} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s has no %s", c.CommandPath(), what)
			}
			for line := range strings.Lines(text) {
				if len([]rune(strings.TrimRight(line, "\n"))) > helpWidth {
					t.Errorf("%s: a line of %s is longer than %d columns: %s", c.CommandPath(), what, helpWidth, line)
				}
			}
		}
		if c.Example != "" && !strings.Contains(c.Example, c.CommandPath()) && c.Name() != "completion" {
			t.Errorf("%s: no example calls it", c.CommandPath())
		}
		if c.HasParent() && !c.Parent().HasParent() && !slices.Contains(grouped(), c.Name()) {
			t.Errorf("%s is in no group of the help", c.Name())
		}
	})
}

// TestExamplesParse runs the commands of all examples as far as their flags and arguments.
func TestExamplesParse(t *testing.T) {
	each(tree(), func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, line, ours := strings.Cut(line, "kubectl meshtls ")
			if !ours {
				continue
			}
			line, _, _ = strings.Cut(line, "|")
			line, _, _ = strings.Cut(line, ">")
			if strings.Contains(line, "'") {
				continue // words in quotes are not split as a shell splits them
			}
			args := strings.Fields(line)
			root := tree()
			found, rest, err := root.Find(args)
			if err != nil || found == root && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				if !slices.Contains(grouped(), args[0]) {
					t.Errorf("%s: example %q: no such command", c.CommandPath(), line)
				}
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			} else if err := found.ValidateArgs(found.Flags().Args()); err != nil && found != root {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	})
}

// TestHelp: the help of each command names its examples, exit statuses and the flags of the connection.
func TestHelp(t *testing.T) {
	root, _, _ := command(t)
	if help, _, _ := command(t, "--help"); help != root {
		t.Error("without arguments the program does not print its help")
	}
	if strings.Contains(root, "--certificate-authority") || strings.Contains(root, "--as-group") {
		t.Error("the connection flags are on the first screen")
	}
	each(tree(), func(c *cobra.Command) {
		if !c.HasParent() || !c.IsAvailableCommand() {
			return
		}
		args := strings.Fields(strings.TrimPrefix(c.CommandPath(), "kubectl meshtls"))
		help, _, status := command(t, append(slices.Clone(args), "--help")...)
		if status != exitFine || !strings.Contains(help, "Examples:\n") || !strings.Contains(help, "Exit status:\n") {
			t.Errorf("%s --help: status %d, or examples or exit statuses are missing:\n%s", c.CommandPath(), status, help)
		}
		if offline := c.Annotations[annotationOffline] != ""; offline == strings.Contains(help, "--kubeconfig") {
			t.Errorf("%s --help: connection flags shown: %v, but the command is offline: %v", c.CommandPath(), !offline, offline)
		}
		if by, _, _ := command(t, append([]string{"help"}, args...)...); by != help {
			t.Errorf("help %s differs from --help", c.Name())
		}
	})
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"optinos"}, `unknown command "optinos"; did you mean options?`},
		{[]string{"nothing-like-it"}, `unknown command "nothing-like-it"` + "\nSee 'kubectl meshtls --help'"},
		{[]string{"help", "optinos"}, "did you mean options?"},
		{[]string{"version", "--contxt=a"}, "unknown flag: --contxt; did you mean --context?"},
		{[]string{"version", "--zzzzzz"}, "unknown flag: --zzzzzz\nSee 'kubectl meshtls version --help'"},
		{[]string{"version", "x"}, "See 'kubectl meshtls version --help'"},
		{[]string{"completion"}, "accepts 1 arg(s), received 0"},
		{[]string{"completion", "csh"}, `invalid argument "csh"`},
	} {
		stdout, stderr, status := command(t, c.args...)
		if status != exitUsage || !strings.Contains(stderr, c.says) || stdout != "" {
			t.Errorf("%q: status %d, want %d; %q, want %q; standard output %q", c.args, status, exitUsage, stderr, c.says, stdout)
		}
	}
}

func TestVersion(t *testing.T) {
	flag, _, _ := command(t, "--version")
	text, _, status := command(t, "version")
	if status != exitFine || text != flag || !strings.HasPrefix(text, "kubectl meshtls version dev go1.") {
		t.Errorf("version %q, --version %q", text, flag)
	}
}

// TestDistance compares distances that are known.
func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"stop", "stop", 0}, {"sotp", "stop", 1}, {"stp", "stop", 1}, {"stoop", "stop", 1}, {"slip", "stop", 2}, {"ca", "abc", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for want, err := range map[int]error{
		exitFine: nil, exitError: errors.New("no cluster"), exitUsage: usageErrorf("no pod"), exitFinding: fmt.Errorf("verify: %w", findingErrorf("plaintext")),
		exitUnjudged: unjudgedErrorf("nothing was seen"),
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
