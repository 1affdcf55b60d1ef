package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// roleName is the name of the printed role and of its binding.
const roleName = "meshtls-responder"

// right is a rule of the printed role and what it is for.
type right struct {
	rule rbacv1.PolicyRule
	why  string
}

func rule(group string, resources, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: strings.Split(resources, ","), Verbs: strings.Split(verbs, ",")}
}

// needed are the rights without which a tap cannot be attached, read and ended.
var needed = []right{
	{rule("", "pods", "get,list"), "find the pods; see when a tap starts and ends"},
	{rule("", "pods/ephemeralcontainers", "patch"), "add the tap, and try that beforehand (dry run)"},
	{rule("", "pods/attach", "create,get"), "keep the tap running, and end it. WebSockets need get up to Kubernetes 1.34, and create from 1.35 on"},
	{rule("", "pods/log", "get"), "read the tap's records"},
	{rule("", "pods/exec", "create,get"), "verify: send a request from the tap in the client's pod"},
}

// useful are further rights.
var useful = []right{
	{rule("apps", "deployments,statefulsets,daemonsets,replicasets", "get"), "name pods as TYPE/NAME"},
	{rule("batch", "jobs,cronjobs", "get"), "name pods as TYPE/NAME"},
	{rule("", "services", "get,list"), "name pods as service/NAME; names for the addresses of services"},
	{rule("", "namespaces", "get"), "see whether the namespace is in an ambient mesh"},
	{rule("metrics.k8s.io", "pods", "get"), "check that the pod has memory left for a tap"},
}

// rbacFlags are the flags of the command rbac.
type rbacFlags struct {
	user, group, account string
	all, optional        bool
}

func newRBACCommand(o *options) *cobra.Command {
	var f rbacFlags
	c := &cobra.Command{
		Use:   "rbac --user USER|--group GROUP|--serviceaccount NAMESPACE:NAME [-n NAMESPACE|-A]",
		Short: "Print the smallest Role that may attach taps",
		Long: `Print the smallest Role that lets tap, pcap, verify, status and stop work in a namespace, and the
RoleBinding that grants it. With -A it is a ClusterRole for all namespaces. Kubernetes' built-in
roles admin and edit lack the verb patch on pods/ephemeralcontainers.

Whoever has these rights can run containers with the capability NET_RAW in the namespace's pods, as
far as Pod Security and other policies of the cluster admit that.`,
		Example: `  # Grant the rights to a group of users.
  kubectl meshtls rbac -n shop --group oncall | kubectl apply -f -

  # Also grant the optional rights: for TYPE/NAME, names of services, the check of memory.
  kubectl meshtls rbac -A --user jane --optional | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ns, err := o.namespace()
			if err != nil {
				return err
			}
			return printRBAC(o.Out, &f, ns)
		},
	}
	c.Flags().StringVar(&f.user, "user", "", "the name of a user")
	c.Flags().StringVar(&f.group, "group", "", "the name of a group of users")
	c.Flags().StringVar(&f.account, "serviceaccount", "", "a service account, as NAMESPACE:NAME")
	c.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "a ClusterRole for all namespaces")
	c.Flags().BoolVar(&f.optional, "optional", false, "add rights for TYPE/NAME, for names of services and for the check of memory")
	return c
}

// subject returns whom the binding is for.
func (f *rbacFlags) subject() (rbacv1.Subject, error) {
	var found []rbacv1.Subject
	if f.user != "" {
		found = append(found, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: f.user})
	}
	if f.group != "" {
		found = append(found, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: f.group})
	}
	if f.account != "" {
		ns, name, ok := strings.Cut(f.account, ":")
		if !ok || ns == "" || name == "" {
			return rbacv1.Subject{}, usageErrorf("--serviceaccount %s: expected NAMESPACE:NAME", f.account)
		}
		found = append(found, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: name})
	}
	if len(found) != 1 {
		return rbacv1.Subject{}, usageErrorf("expected exactly one of --user, --group and --serviceaccount, which says who gets the rights")
	}
	return found[0], nil
}

// printRBAC prints a role with a comment for each rule, and its binding.
func printRBAC(w io.Writer, f *rbacFlags, ns string) error {
	subject, err := f.subject()
	if err != nil {
		return err
	}
	kind, meta := "Role", metav1.ObjectMeta{Name: roleName, Namespace: cmp.Or(ns, "default")}
	if f.all {
		kind, meta = "ClusterRole", metav1.ObjectMeta{Name: roleName}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nmetadata:\n%s\nrules:\n", rbacv1.SchemeGroupVersion, kind, indent(names(&meta), "  "))
	rights := needed
	if f.optional {
		rights = slices.Concat(needed, useful)
	}
	for _, r := range rights {
		fmt.Fprintf(&b, "# %s\n- apiGroups: [%q]\n  resources: [%s]\n  verbs: [%s]\n", r.why, r.rule.APIGroups[0], strings.Join(r.rule.Resources, ", "), strings.Join(r.rule.Verbs, ", "))
	}
	y, err := yaml.Marshal([]rbacv1.Subject{subject})
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "---\napiVersion: %s\nkind: %sBinding\nmetadata:\n%s\nroleRef:\n  apiGroup: %s\n  kind: %s\n  name: %s\nsubjects:\n%s",
		rbacv1.SchemeGroupVersion, kind, indent(names(&meta), "  "), rbacv1.GroupName, kind, roleName, y)
	_, err = io.WriteString(w, b.String())
	return err
}

func names(m *metav1.ObjectMeta) string {
	if m.Namespace == "" {
		return "name: " + m.Name
	}
	return "name: " + m.Name + "\nnamespace: " + m.Namespace
}

func indent(text, by string) string { return by + strings.ReplaceAll(text, "\n", "\n"+by) }
