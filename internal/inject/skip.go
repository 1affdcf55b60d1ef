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

// Reason says why a pod was not tapped, as metrics, logs and Events name it.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Injected Reason = "" // it was tapped

	ReasonUndecodable   Reason = "undecodable"              // the pod cannot be read
	ReasonAlready       Reason = "already_there"            // it is tapped: a container named meshtls-tap, our annotation and our image
	ReasonMirror        Reason = "mirror_pod"               // it mirrors a static pod, which no patch changes
	ReasonSystem        Reason = "system_namespace"         // kube-*
	ReasonOwn           Reason = "own_namespace"            // of the webhook
	ReasonOptedOut      Reason = "opted_out"                // by the pod's label
	ReasonNotAsked      Reason = "not_asked"                // neither namespace nor pod asks
	ReasonForeign       Reason = "foreign_container"        // its container named meshtls-tap is not the tap
	ReasonHostNetwork   Reason = "host_network"             // the tap would see the node's traffic
	ReasonShared        Reason = "shared_process_namespace" // its other containers could stop the tap
	ReasonWindows       Reason = "windows"
	ReasonOff           Reason = "turned_off" // by the namespace's ConfigMap
	ReasonExpired       Reason = "expired"    // until or duration is over
	ReasonJob           Reason = "job"        // it ends by itself, which a tap as a container prevents
	ReasonOldKubelets   Reason = "old_kubelets"
	ReasonImageUnproven Reason = "image_unproven"
	ReasonRefused       Reason = "refused" // a policy of the cluster refuses a tapped pod
	ReasonQuota         Reason = "quota"   // the pod fits into its quota, and with the tap it does not
)

const mirror = "kubernetes.io/config.mirror" // k8s.io/api/core/v1: MirrorPodAnnotationKey

// SystemPrefix begins the names of namespaces that belong to Kubernetes itself.
const SystemPrefix = "kube-"

// quiet are the reasons that nobody needs to be warned of: what was asked for happened.
var quiet = []Reason{ReasonAlready, ReasonMirror, ReasonSystem, ReasonOwn, ReasonOptedOut, ReasonNotAsked}

// Quiet reports whether a reason is what was asked for rather than a pod left untapped.
func (r Reason) Quiet() bool { return slices.Contains(quiet, r) }

// skip ends an injection without a patch.
func (r *run) skip(reason Reason, detail string) Result {
	r.result.Reason, r.result.Detail = reason, detail
	if !reason.Quiet() {
		r.warn("this pod is not tapped: %s", strings.TrimSuffix(string(reason)+": "+detail, ": "))
	}
	return r.result
}

// decide looks for a reason not to tap the pod, and else says how it is tapped.
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

// excluded is the part that no annotation changes.
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
		return ReasonForeign, "its container " + Name + " is not the tap, and a pod cannot have two of a name"
	case p.Spec.HostNetwork:
		return ReasonHostNetwork, "it shares the node's network"
	case p.Spec.ShareProcessNamespace && !r.cfg.SharedProcesses:
		return ReasonShared, "its containers share their processes, so that they could stop the tap"
	case p.windows():
		return ReasonWindows, "it runs on Windows"
	case r.ns.Off:
		return ReasonOff, "the ConfigMap " + *r.cfg.Settings.ConfigMap + " of its namespace says so"
	}
	return Injected, ""
}

// asked reports whether the namespace or, where that is allowed, the pod asks for a tap.
func (r *run) asked() bool {
	return r.ns.Labels[Label] == Enabled || r.cfg.PodOptIn && r.pod.Metadata.Labels[Label] == Enabled
}

func (p *pod) windows() bool {
	return p.Spec.OS != nil && p.Spec.OS.Name == string(corev1.Windows) ||
		p.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows)
}

// resolve chooses time, mode, image and profile.
func (r *run) resolve() (Reason, string) {
	r.until, r.ownUntil = r.ends()
	if end := r.end(); !end.IsZero() && !end.After(r.now) {
		return ReasonExpired, "it was asked for until " + end.UTC().Format(time.RFC3339)
	}
	r.result.Mode = r.mode()
	switch {
	case r.result.Mode == Container && r.pod.endsByItself():
		return ReasonJob, "a tap that is no native sidecar would keep it from ending"
	case r.result.Mode == Native && r.ns.OldKubelets:
		return ReasonOldKubelets, "a node runs a kubelet before 1.29, which knows no native sidecars"
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

// end is the earlier of both ends, zero: none.
func (r *run) end() time.Time {
	if r.until.IsZero() || !r.ownUntil.IsZero() && r.ownUntil.Before(r.until) {
		return r.ownUntil
	}
	return r.until
}

// ends returns when the namespace's wish ends, and the pod's own.
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

// proven returns the image to use: one that was seen to run, or "".
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

// ours reports whether a container of our name is the tap: the webhook's annotation names its image,
// the image is the tap's, and it runs what the webhook lets it run.
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

// isTap reports whether an image is the tap's: of any version, since pods outlive releases.
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

// repository is an image's name without its tag and its digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	return image
}

// repair gives our native sidecar its restartPolicy back. A webhook that was built on an older
// API drops the field, and the tap would be an init container that never ends.
func (r *run) repair(list string, at int) {
	var was Status
	json.Unmarshal([]byte(r.pod.Metadata.Annotations[Prefix+AnnotationStatus]), &was) //nolint:errcheck // then it is none of ours
	if was.Mode != Native || list != "initContainers" || r.pod.Spec.InitContainers[at].RestartPolicy != "" {
		return
	}
	var t patch
	t.add(fmt.Sprintf("/spec/initContainers/%d/restartPolicy", at), corev1.ContainerRestartPolicyAlways)
	r.result.Patch = t.ops
}
