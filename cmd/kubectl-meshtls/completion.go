package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
)

// completionTime bounds how long the shell waits for names from the API server.
const completionTime = 2 * time.Second

// mostNames bounds how many names of one kind are read for a completion.
const mostNames = 500

// kubectlScript is the file kubectl_complete-meshtls: kubectl calls the program of this name in PATH to complete a plugin's
// arguments (k8s.io/kubectl pkg/cmd/plugin_completion.go).
const kubectlScript = `#!/bin/sh
# kubectl calls this program, which must be in PATH as kubectl_complete-meshtls, to complete 'kubectl meshtls'.
exec kubectl-meshtls __complete "$@"
`

// newCompletionCommand returns the command that prints completion scripts.
func newCompletionCommand(o *options) *cobra.Command {
	scripts := map[string]func(*cobra.Command) error{
		"kubectl": func(*cobra.Command) error {
			_, err := o.Out.Write([]byte(kubectlScript))
			return err
		},
		"bash":       func(root *cobra.Command) error { return root.GenBashCompletionV2(o.Out, true) },
		"zsh":        func(root *cobra.Command) error { return root.GenZshCompletion(o.Out) },
		"fish":       func(root *cobra.Command) error { return root.GenFishCompletion(o.Out, true) },
		"powershell": func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(o.Out) },
	}
	return &cobra.Command{
		Use:   "completion kubectl|bash|zsh|fish|powershell",
		Short: "Print a script that completes commands, pods and namespaces",
		Long: `Print a script that completes commands, flags, pods, workloads and namespaces.

'kubectl' prints the program kubectl_complete-meshtls. With it in PATH, kubectl's own completion
also completes 'kubectl meshtls', in every shell. The other scripts complete the program when it is
called by its own name, kubectl-meshtls.`,
		Example: `  # For 'kubectl meshtls', in every shell in which kubectl completes.
  kubectl meshtls completion kubectl >~/.local/bin/kubectl_complete-meshtls
  chmod +x ~/.local/bin/kubectl_complete-meshtls

  # For 'kubectl-meshtls' in this session of bash.
  source <(kubectl-meshtls completion bash)`,
		Args:        cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:   []string{"kubectl", "bash", "zsh", "fish", "powershell"},
		Annotations: map[string]string{annotationOffline: "true"},
		RunE:        func(c *cobra.Command, args []string) error { return scripts[args[0]](c.Root()) },
	}
}

// completions adds to the commands what their arguments and flags are completed with, unless they have it already.
func completions(root *cobra.Command, o *options) {
	arguments := map[string]cobra.CompletionFunc{
		"tap": o.completeTargets, "pcap": o.completeTargets, "verify": o.completeTargets, "explain": o.completeTargets,
		"enable": o.completeNamespaces, "disable": o.completeNamespaces,
	}
	must(root.RegisterFlagCompletionFunc("namespace", o.completeNamespaces))
	must(root.RegisterFlagCompletionFunc("context", o.completeContexts))
	for _, c := range root.Commands() {
		if f := arguments[c.Name()]; f != nil && c.ValidArgsFunction == nil && c.ValidArgs == nil {
			c.ValidArgsFunction = f
		}
	}
}

// must panics with err. It is for errors that only a mistake in this program can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// completeContexts completes the names of contexts in the kubeconfig file.
func (o *options) completeContexts(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	raw, err := o.config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for name := range raw.Contexts {
		names = append(names, name)
	}
	return matching(names, begun), cobra.ShellCompDirectiveNoFileComp
}

// completeNamespaces completes the names of namespaces.
func (o *options) completeNamespaces(c *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return matching(o.names(c, "", "namespaces"), begun), cobra.ShellCompDirectiveNoFileComp
}

// workloadTypes are the types of workloads that TYPE/NAME is completed with.
var workloadTypes = []string{"deployment", "statefulset", "daemonset", "replicaset", "job"}

// completeTargets completes POD and TYPE/NAME.
func (o *options) completeTargets(c *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ns, err := o.namespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	kind, _, typed := strings.Cut(begun, "/")
	if typed {
		var found []string
		for _, name := range o.names(c, ns, kind) {
			found = append(found, kind+"/"+name)
		}
		return matching(found, begun), cobra.ShellCompDirectiveNoFileComp
	}
	found := matching(o.names(c, ns, "pods"), begun)
	types := matching(workloadTypes, begun)
	for i := range types {
		types[i] += "/"
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	if len(types) > 0 {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return append(found, types...), directive
}

// matching returns the sorted names that start with begun.
func matching(names []string, begun string) []cobra.Completion {
	var found []cobra.Completion
	for _, name := range names {
		if strings.HasPrefix(name, begun) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// names returns the names of the objects of a kind in a namespace, or nothing if they cannot be read in completionTime.
func (o *options) names(c *cobra.Command, namespace, kind string) []string {
	client, _, err := o.client()
	if err != nil {
		return nil
	}
	parent := c.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	list := listers(client, namespace)[kind]
	if list == nil {
		return nil
	}
	found, err := list(ctx, metav1.ListOptions{Limit: mostNames})
	if err != nil {
		return nil
	}
	return found
}

// lister reads the names of the objects of one kind.
type lister func(context.Context, metav1.ListOptions) ([]string, error)

// listers returns a lister for each word that users write for a kind.
func listers(client kubernetes.Interface, ns string) map[string]lister {
	core, apps, batch := client.CoreV1(), client.AppsV1(), client.BatchV1()
	m := map[string]lister{
		"namespaces":  listed(core.Namespaces().List),
		"pods":        listed(core.Pods(ns).List),
		"deployment":  listed(apps.Deployments(ns).List),
		"statefulset": listed(apps.StatefulSets(ns).List),
		"daemonset":   listed(apps.DaemonSets(ns).List),
		"replicaset":  listed(apps.ReplicaSets(ns).List),
		"job":         listed(batch.Jobs(ns).List),
	}
	for short, word := range map[string]string{
		"pod": "pods", "po": "pods", "deploy": "deployment", "deployments": "deployment", "sts": "statefulset", "statefulsets": "statefulset",
		"ds": "daemonset", "daemonsets": "daemonset", "rs": "replicaset", "replicasets": "replicaset", "jobs": "job",
	} {
		m[short] = m[word]
	}
	return m
}

// listed returns a lister that calls list.
func listed[T runtime.Object](list func(context.Context, metav1.ListOptions) (T, error)) lister {
	return func(ctx context.Context, q metav1.ListOptions) ([]string, error) {
		objects, err := list(ctx, q)
		if err != nil {
			return nil, err
		}
		var names []string
		err = meta.EachListItem(objects, func(o runtime.Object) error {
			a, err := meta.Accessor(o)
			if err == nil {
				names = append(names, a.GetName())
			}
			return err
		})
		return names, err
	}
}
