package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// leastMinor is the oldest minor version of Kubernetes 1 that is supported: native sidecars (KEP-753) and ephemeral containers.
const leastMinor = 29

// minor returns the minor version in a version such as v1.31.2 or 31+, or 0.
func minor(v string) int {
	if major, rest, ok := strings.Cut(strings.TrimPrefix(v, "v"), "."); ok && major == "1" {
		v, _, _ = strings.Cut(rest, ".")
	}
	n, err := strconv.Atoi(strings.TrimRight(v, "+"))
	if err != nil {
		return 0
	}
	return n
}

// server checks that the API server responds, and its version. It returns false if no other check makes sense.
func (c *checker) server() bool {
	v, err := c.client.Discovery().ServerVersion()
	switch {
	case err != nil:
		c.add("API server", resultFailed, "Check --context and --kubeconfig, and the network.", "%v", err)
		return false
	case minor(v.Minor) < leastMinor:
		c.add("API server", resultFailed, "Update the cluster; older versions lack native sidecars.", "version %s, expected 1.%d or newer", v.GitVersion, leastMinor)
	default:
		c.add("API server", resultOK, "", "version %s, with ephemeral containers and native sidecars", v.GitVersion)
	}
	return true
}

// denied returns the verbs and resources of rules that the user lacks in a namespace. An error means that this is not known.
func (c *checker) denied(ctx context.Context, ns string, rules []rbacv1.PolicyRule) ([]string, error) {
	var lacks []string
	for _, r := range rules {
		for _, resource := range r.Resources {
			name, sub, _ := strings.Cut(resource, "/")
			for _, verb := range r.Verbs {
				review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
					ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: verb, Group: r.APIGroups[0], Resource: name, Subresource: sub},
				}}
				got, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
				if err != nil {
					return lacks, err
				}
				if !got.Status.Allowed {
					lacks = append(lacks, verb+" "+resource)
				}
			}
		}
	}
	return lacks, nil
}

// reportRights reports which of some rights the user lacks. worse is the result if there are any.
func (c *checker) reportRights(ctx context.Context, check, ns, worse, do string, rules []rbacv1.PolicyRule) {
	lacks, err := c.denied(ctx, ns, rules)
	switch {
	case err != nil:
		c.add(check, resultUnknown, "", "%v", err)
	case len(lacks) > 0:
		c.add(check, worse, do, "missing: %s", strings.Join(lacks, ", "))
	default:
		c.add(check, resultOK, "", "complete")
	}
}

// rules returns the rules of rights.
func rules(rights []right) []rbacv1.PolicyRule {
	var all []rbacv1.PolicyRule
	for _, r := range rights {
		all = append(all, r.rule)
	}
	return all
}

// rights checks the rights for tap, pcap, verify, status and stop, and those for enable and disable.
func (c *checker) rights(ctx context.Context) {
	c.reportRights(ctx, "rights to attach taps in "+c.ns, c.ns, resultFailed, "An administrator can print and apply the Role: kubectl meshtls rbac -n "+c.ns+".", rules(needed))
	c.reportRights(ctx, "further rights in "+c.ns, c.ns, resultWarning, "kubectl meshtls rbac -n "+c.ns+" --optional prints them.", rules(useful))
	c.reportRights(ctx, "rights for enable and disable", c.ns, resultWarning, "Somebody who may change namespaces can run them.", []rbacv1.PolicyRule{
		rule("", "namespaces", "get,patch"), rule("", "configmaps", "get,create,patch"),
	})
}

// installRights checks the rights to install the chart.
func (c *checker) installRights(ctx context.Context) {
	c.reportRights(ctx, "rights to install the chart", "", resultFailed, "Install it as a cluster administrator.", []rbacv1.PolicyRule{
		rule("", "namespaces,serviceaccounts,services,configmaps,secrets", "create"),
		rule("apps", "deployments", "create"),
		rule(rbacv1.GroupName, "clusterroles,clusterrolebindings,roles,rolebindings", "create"),
		rule("rbac.authorization.k8s.io", "clusterroles", "escalate"),
		rule(admissionv1.GroupName, "mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings", "create"),
	})
}

// nodes checks the versions of the kubelets.
func (c *checker) nodes(ctx context.Context) {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		c.add("nodes", resultUnknown, "", "%v", err)
		return
	}
	var old, other []string
	for i := range list.Items {
		n := &list.Items[i]
		if minor(n.Status.NodeInfo.KubeletVersion) < leastMinor {
			old = append(old, n.Name+" "+n.Status.NodeInfo.KubeletVersion)
		}
		if n.Status.NodeInfo.OperatingSystem == string(corev1.Windows) {
			other = append(other, n.Name)
		}
	}
	switch {
	case len(old) > 0:
		c.add("nodes", resultFailed, "Update these nodes, or install the chart with tap.mode=container.", "expected kubelets of 1.%d or newer; older: %s", leastMinor, strings.Join(old, ", "))
	case len(other) > 0:
		c.add("nodes", resultWarning, "Their pods cannot be tapped.", "nodes with Windows: %s", strings.Join(other, ", "))
	default:
		c.add("nodes", resultOK, "", "%s, no kubelet older than 1.%d", plural(len(list.Items), "node"), leastMinor)
	}
}

// noInstallation checks that no webhook of the product is installed yet.
func (c *checker) noInstallation(ctx context.Context) {
	install, err := readInstallation(ctx, c.client)
	switch {
	case err != nil:
		c.add("installed", resultUnknown, "", "%v", err)
	case install.hook != nil:
		c.add("installed", resultWarning, "Upgrade that release instead of installing a second one.", "the webhook configuration %s exists", install.configuration.Name)
	default:
		c.add("installed", resultOK, "", "not installed yet")
	}
}

// mostTried bounds the pods for which an attachment is tried.
const mostTried = 5

// podSecurity checks whether the namespace admits a tap: by the dry run of an attachment, or else by its label.
func (c *checker) podSecurity(ctx context.Context) {
	const check, do = "admission of attached taps", "Attach to pods of another namespace, or ask the platform team to relax the level for a limited time."
	pods, err := listPods(ctx, c.client, c.ns, "")
	if pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return !isRunning(p) }); err == nil && len(pods) > 0 {
		pods = pods[:min(len(pods), mostTried)]
		image := cmp.Or(tapImage(), repository+":check")
		plan, err := c.attachClient().Plan(ctx, pods, attach.Options{Image: image, PullPolicy: corev1.PullIfNotPresent, For: time.Minute, MaxPods: len(pods)})
		switch {
		case err != nil:
			c.add(check, resultUnknown, "", "%v", err)
		case plan.Refused():
			c.add(check, resultFailed, do, "none of %s that were tried can be tapped; pod %s: %s", plural(len(pods), "pod"), pods[0].Name, plan.Pods[0].Refusal)
		default:
			x := &plan.Pods[slices.IndexFunc(plan.Pods, func(x attach.PodPlan) bool { return x.Refusal == "" })]
			detail := "a tap already runs in pod " + x.Pod.Name
			if p := x.Profile; p != "" {
				detail = fmt.Sprintf("a dry run for pod %s was admitted, profile %s", x.Pod.Name, p)
			}
			c.add(check, resultOK, "", "%s", detail)
		}
		return
	}
	object, err := c.client.CoreV1().Namespaces().Get(ctx, c.ns, metav1.GetOptions{})
	if err != nil {
		c.add(check, resultUnknown, "", "%v", err)
		return
	}
	const label = "pod-security.kubernetes.io/enforce"
	switch level := object.Labels[label]; level {
	case "restricted":
		c.add(check, resultFailed, do, "the namespace has no running pod to try; its label %s=%s forbids NET_RAW", label, level)
	case "baseline":
		c.add(check, resultWarning, "", "the namespace has no running pod to try; its label %s=%s forbids adding NET_RAW, so a tap depends on the container runtime's default capabilities", label, level)
	default:
		c.add(check, resultUnknown, "", "the namespace has no running pod to try; its Pod Security label forbids nothing")
	}
}

// webhook checks the objects of the webhook. It returns them, or nil if they could not be read.
func (c *checker) webhook(ctx context.Context) *installation {
	const check = "webhook"
	install, err := readInstallation(ctx, c.client)
	switch {
	case err != nil:
		c.add(check, resultUnknown, "", "%v", err)
		return nil
	case install.hook == nil:
		c.add(check, resultWarning, "Taps can be attached without it; 'enable' needs it: install the chart.", "not installed")
		return install
	}
	name, hook := install.configuration.Name, install.hook
	if len(hook.ClientConfig.CABundle) == 0 {
		c.add(check, resultFailed, "Read the webhook's log: the webhook sets the field once it is ready.", "%s has no caBundle, so the API server cannot call it", name)
	} else {
		c.add(check, resultOK, "", "%s, with a caBundle", name)
	}
	if hook.FailurePolicy != nil && *hook.FailurePolicy == admissionv1.Fail {
		c.add("webhook's failurePolicy", resultWarning, "Set webhook.failurePolicy=Ignore, the chart's default.", "Fail: while the webhook does not respond, no pod of a tapped namespace starts")
	} else {
		c.add("webhook's failurePolicy", resultOK, "", "Ignore: while the webhook does not respond, pods start without a tap")
	}
	c.endpoints(ctx, hook.ClientConfig.Service)
	return install
}

// endpoints checks that the webhook's Service has a ready endpoint.
func (c *checker) endpoints(ctx context.Context, s *admissionv1.ServiceReference) {
	const check = "webhook's endpoints"
	if s == nil {
		c.add(check, resultUnknown, "", "the webhook is called by a URL, not through a Service")
		return
	}
	service, err := c.client.CoreV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
	if err == nil && service.Spec.Type == corev1.ServiceTypeExternalName {
		c.add(check, resultUnknown, "", "the Service %s/%s is an ExternalName for %s", s.Namespace, s.Name, service.Spec.ExternalName)
		return
	}
	list, err := c.client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name})
	if err != nil {
		c.add(check, resultUnknown, "", "%v", err)
		return
	}
	ready := 0
	for i := range list.Items {
		for _, e := range list.Items[i].Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready += len(e.Addresses)
			}
		}
	}
	if ready == 0 {
		c.add(check, resultFailed, fmt.Sprintf("Look at its pods and their logs: kubectl -n %s get pods.", s.Namespace), "no pod of Service %s/%s is ready: pods start without a tap", s.Namespace, s.Name)
		return
	}
	c.add(check, resultOK, "", "%s", plural(ready, "ready endpoint"))
}

// warnings collects the warnings in the responses of the API server.
type warnings struct{ text []string }

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) { w.text = append(w.text, text) }

// admission creates a pod as a dry run in a namespace that requests taps, and checks that it gets one.
func (c *checker) admission(ctx context.Context) {
	const check = "a new pod gets a tap"
	object, err := c.client.CoreV1().Namespaces().Get(ctx, c.ns, metav1.GetOptions{})
	if err != nil {
		c.add(check, resultUnknown, "", "%v", err)
		return
	}
	if object.Labels[inject.Label] != inject.Enabled {
		c.add(check, resultOK, "", "namespace %s does not request taps", c.ns)
		return
	}
	said := &warnings{}
	config := rest.CopyConfig(c.config)
	config.WarningHandler = said
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.add(check, resultUnknown, "", "%v", err)
		return
	}
	pod, err := client.CoreV1().Pods(c.ns).Create(ctx, checkPod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	switch {
	case err != nil:
		c.add(check, resultUnknown, "", "the dry run of a pod was refused: %v", err)
	case hasSidecar(pod):
		c.add(check, resultOK, "", "a dry run in namespace %s", c.ns)
	default:
		c.add(check, resultFailed, "kubectl meshtls explain POD -n "+c.ns+" explains why a pod has no tap.", "a dry run in namespace %s: %s", c.ns,
			cmp.Or(strings.Join(said.text, "; "), "the webhook was not called, or did not respond"))
	}
}

// isRunning reports whether a tap could be attached to a pod now, as far as its phase shows.
func isRunning(p corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil
}

// checkPod returns a pod that every level of Pod Security admits.
func checkPod() *corev1.Pod {
	yes, no := true, false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "meshtls-check-"},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			SecurityContext:              &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "check", Image: "meshtls-tap.invalid/check",
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
}

// mostLogs bounds how many taps' logs are read.
const mostLogs = 20

// taps checks the taps of the namespace: that they run, that they are not outdated, and that they see what they should.
func (c *checker) taps(ctx context.Context, install *installation) {
	const check = "taps"
	pods, err := listPods(ctx, c.client, c.ns, "")
	if err != nil {
		c.add(check, resultUnknown, "", "%v", err)
		return
	}
	var stopped, outdated, degraded, unread []string
	running, logs := 0, 0
	for i := range pods {
		for _, t := range attach.Taps(&pods[i]) {
			switch {
			case t.State == attach.Running:
				running++
				if logs+len(unread) < mostLogs && t.HasLog {
					l, err := c.attachClient().Losses(ctx, &t)
					switch {
					case err != nil:
						unread = append(unread, pods[i].Name)
					case l != nil && l.Degraded != "":
						degraded = append(degraded, pods[i].Name+" ("+l.Degraded+")")
						fallthrough
					default:
						logs++
					}
				}
			case t.State == attach.Waiting && (!t.Ephemeral || !slices.Contains([]string{"", "ContainerCreating", "PodInitializing"}, t.Reason)):
				stopped = append(stopped, pods[i].Name+" ("+cmp.Or(t.Reason, "waiting")+")")
			}
			if !t.Ephemeral && c.outdated(&pods[i], install) && !slices.Contains(outdated, pods[i].Name) {
				outdated = append(outdated, pods[i].Name)
			}
		}
	}
	if len(stopped) > 0 {
		c.add("taps that do not run", resultFailed, "kubectl describe pod POD shows why.", "%s", strings.Join(stopped, ", "))
	}
	if len(unread) > 0 {
		c.add("logs of taps", resultUnknown, "", "they could not be read: %s", strings.Join(unread, ", "))
	}
	if len(degraded) > 0 {
		c.add("taps that see less than they should", resultFailed, "kubectl logs POD -c CONTAINER explains the reason; kubectl meshtls status lists the containers.", "%s", strings.Join(degraded, ", "))
	}
	if len(outdated) > 0 {
		c.add("outdated taps", resultWarning, "Restart their workloads, or run kubectl meshtls enable "+c.ns+" --restart.", "the webhook's settings have changed since: %s", strings.Join(outdated, ", "))
	}
	c.add(check, resultOK, "", "%s in %s of namespace %s; %s read", plural(running, "running tap"), plural(len(pods), "pod"), c.ns, plural(logs, "log"))
}

// outdated reports whether a pod's tap was added with other settings than the webhook has now.
func (c *checker) outdated(pod *corev1.Pod, install *installation) bool {
	var was inject.Status
	return install != nil && install.deployment != nil && install.assumed == "" &&
		json.Unmarshal([]byte(pod.Annotations[inject.Prefix+inject.AnnotationStatus]), &was) == nil && was.Config != install.cfg.Hash()
}

// metrics checks whether the API has the memory that pods use.
func (c *checker) metrics() {
	groups, err := c.client.Discovery().ServerGroups()
	switch {
	case err != nil:
		c.add("metrics.k8s.io", resultUnknown, "", "%v", err)
	case slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == "metrics.k8s.io" }):
		c.add("metrics.k8s.io", resultOK, "", "present")
	default:
		c.add("metrics.k8s.io", resultWarning, "Install metrics-server, or look at the pod's memory limit yourself: a tap uses up to 48 MiB.", "absent: 'tap' cannot check beforehand that a pod has memory left")
	}
}
