package inject

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Reason is the code that metrics, logs and Events use for the reason that a pod was not tapped.
type Reason string

// The reasons. They are checked in this order.
const (
	Injected Reason = "" // the pod was tapped

	ReasonUndecodable   Reason = "undecodable"              // the pod cannot be read
	ReasonAlready       Reason = "already_there"            // it is tapped: it has a container named meshtls-tap with the webhook's annotation and the tap's image
	ReasonMirror        Reason = "mirror_pod"               // the pod mirrors a static pod, which a patch cannot change
	ReasonSystem        Reason = "system_namespace"         // the namespace is kube-*
	ReasonOwn           Reason = "own_namespace"            // the namespace is the webhook's own
	ReasonOptedOut      Reason = "opted_out"                // the pod's label opts out
	ReasonNotAsked      Reason = "not_asked"                // neither the namespace nor the pod requests a tap
	ReasonForeign       Reason = "foreign_container"        // the pod's container named meshtls-tap is not the tap
	ReasonHostNetwork   Reason = "host_network"             // the tap would see the node's traffic
	ReasonShared        Reason = "shared_process_namespace" // other containers of the pod could stop the tap
	ReasonWindows       Reason = "windows"
	ReasonOff           Reason = "turned_off"     // the namespace's ConfigMap turns its taps off
	ReasonExpired       Reason = "expired"        // the tap's end has passed
	ReasonJob           Reason = "job"            // the pod is meant to complete, but a tap in an ordinary container would keep the pod running
	ReasonOldKubelets   Reason = "old_kubelets"   // a node's kubelet is too old for native sidecars
	ReasonImageUnproven Reason = "image_unproven" // no image has run successfully yet
	ReasonRefused       Reason = "refused"        // a policy of the cluster refuses the pod with a tap
	ReasonQuota         Reason = "quota"          // a quota or a limit range has no room for the tap
)

const mirror = "kubernetes.io/config.mirror" // k8s.io/api/core/v1: MirrorPodAnnotationKey

// SystemPrefix is the prefix of the namespaces of Kubernetes itself.
const SystemPrefix = "kube-"

// quiet lists the reasons that need no warning: nobody expects the webhook to add a tap to the pod, or the pod has one
// already.
var quiet = []Reason{ReasonAlready, ReasonMirror, ReasonSystem, ReasonOwn, ReasonOptedOut, ReasonNotAsked}

// Quiet reports whether a reason needs no warning, because the result is what was requested.
func (r Reason) Quiet() bool { return slices.Contains(quiet, r) }

// skip sets the result to a reason and returns it. It adds a warning unless the reason is quiet.
func (r *run) skip(reason Reason, detail string) Result {
	r.result.Reason, r.result.Detail = reason, detail
	if !reason.Quiet() {
		r.warn("this pod is not tapped: %s", strings.TrimSuffix(string(reason)+": "+detail, ": "))
	}
	return r.result
}

// decide finds a reason not to tap the pod, or chooses how it is tapped.
func (r *run) decide() {
	if reason, detail := r.excluded(); reason != Injected {
		r.skip(reason, detail)
		return
	}
	r.choose()
	if reason, detail := r.resolve(); reason != Injected {
		r.skip(reason, detail)
	}
}

// excluded returns a reason not to tap the pod, or Injected. No annotation of the product can change these reasons.
func (r *run) excluded() (reason Reason, detail string) {
	p := r.pod
	list, at, there := p.tap()
	_, mirrored := p.Metadata.Annotations[mirror]

	switch {
	case there && r.ours(list, at):
		r.repair(list, at)
		return ReasonAlready, ""
	case mirrored:
		return ReasonMirror, ""
	case r.ns.Name == r.cfg.Own && r.ns.Name != "":
		return ReasonOwn, ""
	case strings.HasPrefix(r.ns.Name, SystemPrefix):
		return ReasonSystem, ""
	case p.Metadata.Labels[Label] == Disabled:
		return ReasonOptedOut, ""
	case !r.asked():
		return ReasonNotAsked, ""
	case there:
		return ReasonForeign, "its container " + Name + " is not the tap, and a pod cannot have two containers of that name"
	case p.Spec.HostNetwork:
		return ReasonHostNetwork, "it shares the node's network"
	case p.Spec.ShareProcessNamespace && !r.cfg.SharedProcesses:
		return ReasonShared, "its containers share a process namespace, so they could stop the tap"
	case p.windows():
		return ReasonWindows, "it runs on Windows"
	case r.ns.Off:
		return ReasonOff, "the ConfigMap " + *r.cfg.Settings.ConfigMap + " of its namespace turns taps off"
	}
	return Injected, ""
}

// asked reports whether the namespace requests taps, or the pod requests one and pods are allowed to.
func (r *run) asked() bool {
	return r.ns.Labels[Label] == Enabled || r.cfg.PodOptIn && r.pod.Metadata.Labels[Label] == Enabled
}

func (p *pod) windows() bool {
	return p.Spec.OS != nil && p.Spec.OS.Name == string(corev1.Windows) ||
		p.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows)
}

// resolve chooses the end, mode, image and profile of the tap, or returns a reason not to tap the pod.
func (r *run) resolve() (Reason, string) {
	r.until, r.ownUntil = r.ends()
	if end := r.end(); !end.IsZero() && !end.After(r.now) {
		return ReasonExpired, "it was requested until " + end.UTC().Format(time.RFC3339)
	}
	r.result.Mode = r.mode()
	switch {
	case r.result.Mode == Container && r.pod.endsByItself():
		return ReasonJob, "a tap that is not a native sidecar would keep the pod from completing"
	case r.result.Mode == Native && r.ns.OldKubelets:
		return ReasonOldKubelets, "a node runs a kubelet older than 1.29, which does not support native sidecars"
	}
	if r.image = r.proven(); r.image == "" {
		return ReasonImageUnproven, fmt.Sprintf("image %s was not seen to run yet", short(r.cfg.Image))
	}
	r.result.Image = r.image
	profile, refusal := r.profile()
	if r.result.Profile = profile; refusal != "" {
		return ReasonRefused, refusal
	}
	return Injected, ""
}

// end returns the earlier of the two ends; zero: no end.
func (r *run) end() time.Time {
	if r.until.IsZero() || !r.ownUntil.IsZero() && r.ownUntil.Before(r.until) {
		return r.ownUntil
	}
	return r.until
}

// ends returns when the taps of the namespace end, and when the tap of the pod ends. Zero: no end.
func (r *run) ends() (namespace, own time.Time) {
	earlier := func(end *time.Time, until string) {
		if t, err := time.Parse(time.RFC3339, until); err == nil && (end.IsZero() || t.Before(*end)) {
			*end = t
		}
	}
	namespace = r.ns.Until
	earlier(&namespace, r.theirs[AnnotationUntil])
	earlier(&own, r.own[AnnotationUntil])
	if d, err := time.ParseDuration(r.own[AnnotationDuration]); err == nil {
		if t := r.now.Add(d); own.IsZero() || t.Before(own) {
			own = t
		}
	}
	return namespace, own
}

// mode returns the mode of the tap: the configured one, or the one that an annotation sets. If native sidecars do not
// work, it returns Container.
func (r *run) mode() Mode {
	mode := r.cfg.Mode
	if v, ok := r.choices[annotationMode]; ok {
		mode = Mode(v)
	}
	if mode == "" {
		mode = Native
	}
	if r.ns.NoNative || r.cfg.ServerMinor != 0 && r.cfg.ServerMinor < 29 { // KEP-753: on by default since 1.29
		return Container
	}
	return mode
}

// endsByItself reports whether the pod is meant to complete.
func (p *pod) endsByItself() bool {
	o := p.owner()
	return o != nil && o.Kind == "Job" || p.Spec.RestartPolicy != "" && p.Spec.RestartPolicy != string(corev1.RestartPolicyAlways)
}

// proven returns the image to use if the image has run, otherwise "".
func (r *run) proven() string {
	seen := func(image string) string {
		if r.ns.Images == nil {
			return image
		}
		return r.ns.Images[image]
	}
	if v, ok := r.choices[AnnotationImage]; ok {
		if image := seen(v); image != "" {
			return image
		}
		r.warn("image %s is ignored: it was not seen to run", short(v))
	}
	return seen(r.cfg.Image)
}

// ours reports whether the container named Name is the tap. Three conditions must hold: the webhook's annotation names
// the container's image, isTap accepts that image, and the container has the command that the webhook sets.
func (r *run) ours(list string, at int) bool {
	c := &r.pod.Spec.Containers
	if list == "initContainers" {
		c = &r.pod.Spec.InitContainers
	}
	tap := &(*c)[at]
	var was Status
	return json.Unmarshal([]byte(r.pod.Metadata.Annotations[Prefix+AnnotationStatus]), &was) == nil &&
		was.Image == tap.Image && r.isTap(tap.Image) && len(tap.Command) == 0 && len(tap.Args) == 1 && tap.Args[0] == "run"
}

// isTap reports whether an image is the tap's, in any version: pods may be older than the webhook.
func (r *run) isTap(image string) bool {
	ours := repository(r.cfg.Image)
	if repository(image) == ours || r.cfg.listed(image) && path.Base(repository(image)) == path.Base(ours) {
		return true
	}
	for _, known := range r.ns.Images {
		if image == known {
			return true
		}
	}
	return false
}

// repository returns the name of an image without its tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	return image
}

// repair restores the restartPolicy of a tap that is a native sidecar. Another webhook, built with an older API, may
// have dropped the field; the tap would then be an init container that never ends.
func (r *run) repair(list string, at int) {
	var was Status
	json.Unmarshal([]byte(r.pod.Metadata.Annotations[Prefix+AnnotationStatus]), &was) //nolint:errcheck // after an error, the annotation is not the webhook's
	if was.Mode != Native || list != "initContainers" || r.pod.Spec.InitContainers[at].RestartPolicy != "" {
		return
	}
	var t patch
	t.add(fmt.Sprintf("/spec/initContainers/%d/restartPolicy", at), corev1.ContainerRestartPolicyAlways)
	r.result.Patch = t.ops
}
