package inject

import "strings"

// Reasons for which the webhook allows a pod without a tap before Tap has decided about it.
const (
	ReasonNotAPod          Reason = "not_a_pod"         // the request does not create a pod
	ReasonGarbage          Reason = "garbage"           // the request is not an AdmissionReview
	ReasonTooBig           Reason = "oversize"          // the request is too long, or could not be read
	ReasonPanic            Reason = "panic"             // an error in the webhook
	ReasonNamespaceUnknown Reason = "namespace_unknown" // the state of the pod's namespace could not be read
)

// Reasons of the Events with which the webhook reports its decision about a pod to the pod's owner.
const (
	EventTapped    = "Tapped"
	EventNotTapped = "NotTapped"
	EventForeign   = "ForeignContainer"
)

// NotTappedNote is the format of the note of an Event EventNotTapped, for a Reason and its detail.
const NotTappedNote = notTappedPrefix + "%s. %s"

const notTappedPrefix = "A pod was created without a tap: "

// ParseNotTapped returns the reason and the detail in the note of an Event EventNotTapped. It returns false for other notes.
func ParseNotTapped(note string) (reason Reason, detail string, ok bool) {
	rest, ok := strings.CutPrefix(note, notTappedPrefix)
	if !ok {
		return "", "", false
	}
	code, detail, _ := strings.Cut(rest, ". ")
	reason = Reason(strings.TrimSuffix(code, "."))
	_, known := explanations[reason]
	return reason, detail, known
}

// An explanation says in two sentences what a reason means and what changes it.
type explanation struct{ meaning, remedy string }

// explanations has each reason that Tap and the webhook can give.
var explanations = map[Reason]explanation{
	ReasonUndecodable: {"the webhook could not read the pod", "Look in the webhook's log, and report it as a bug."},
	ReasonAlready:     {"the pod has a tap", ""},
	ReasonMirror: {"it mirrors a static pod of its node, which the API server cannot change",
		"Static pods are not tapped. If it uses the pod's own network, add the tap to the file on the node."},
	ReasonSystem:   {"namespaces of Kubernetes itself (kube-*) are never tapped", "Attach a tap for a limited time: kubectl meshtls tap."},
	ReasonOwn:      {"the webhook's own namespace is never tapped", "Attach a tap for a limited time: kubectl meshtls tap."},
	ReasonOptedOut: {"its label " + Label + "=" + Disabled + " opts out", "Remove the label from the pod's template."},
	ReasonNotAsked: {"neither its namespace nor the pod requests a tap", "kubectl meshtls enable NAMESPACE; or attach a tap without a restart: kubectl meshtls tap."},
	ReasonForeign:  {"it has a container named " + Name + " that is not the tap", "Rename that container."},
	ReasonHostNetwork: {"it uses its node's network, where a tap would see the traffic of the node",
		"No tap can be limited to such a pod. Tap the pods at the other end of its connections."},
	ReasonShared: {"its containers share a process namespace, so they could stop the tap",
		"The platform can allow it: injection.shareProcessNamespace in the chart."},
	ReasonWindows: {"it runs on Windows, for which there is no tap", "Tap the pods at the other end of its connections."},
	ReasonOff: {"the ConfigMap of its namespace turns taps off (enabled: false)",
		"kubectl meshtls enable NAMESPACE turns them on."},
	ReasonExpired: {"the time for which taps were requested is over", "kubectl meshtls enable NAMESPACE --for TIME starts a new one."},
	ReasonJob: {"it is meant to complete, and a tap that is not a native sidecar would keep it running",
		"Use native sidecars: Kubernetes 1.29, tap.mode=native in the chart, and no older webhook that drops restartPolicy."},
	ReasonOldKubelets:   {"a node runs a kubelet older than 1.29, which does not support native sidecars", "Update the node, or set tap.mode=container in the chart."},
	ReasonImageUnproven: {"the webhook has not yet seen the tap's image run", "Look at the pods meshtls-tap-image-* in the webhook's namespace: is the image pulled?"},
	ReasonRefused:       {"Pod Security, a policy or another webhook refuses the pod with a tap", "kubectl meshtls check -n NAMESPACE shows which; the namespace must admit NET_RAW."},
	ReasonQuota:         {"a quota or a limit range has no room for the tap", "Raise the quota, or set tap.quota in the chart."},

	ReasonNotAPod:          {"the webhook was asked about something other than the creation of a pod", "Look at the rules of the MutatingWebhookConfiguration."},
	ReasonGarbage:          {"the webhook received a request that is not an admission review", "Look in the webhook's log for the caller."},
	ReasonTooBig:           {"the pod was too large for the webhook, or its request was interrupted", "Look in the webhook's log."},
	ReasonPanic:            {"the webhook had an internal error", "Look in the webhook's log, and report it as a bug."},
	ReasonNamespaceUnknown: {"the webhook could not read the state of the pod's namespace", "Restart the pod's workload; look in the webhook's log if it happens again."},
}

// Meaning returns what a reason means, as the end of a sentence about a pod, or "" if it is not known.
func (r Reason) Meaning() string { return explanations[r].meaning }

// Remedy returns what a user can do about a reason, or "".
func (r Reason) Remedy() string { return explanations[r].remedy }
