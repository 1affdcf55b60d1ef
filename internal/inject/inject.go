package inject

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Label is the label with which a namespace requests taps (value Enabled). A pod opts out with the value Disabled. If
// pods may opt in, a pod does so with the value Enabled.
const (
	Label    = "meshtls-tap"
	Enabled  = "enabled"
	Disabled = "disabled"
)

// Mode is the kind of container that runs the tap.
type Mode string

// The modes.
const (
	// Native is a native sidecar (KEP-753), the first of the init containers: it starts before all
	// other containers and does not keep a Job from completing.
	Native Mode = "native"
	// Container is an ordinary container, the last one in the pod. If it fails, other containers still start.
	Container Mode = "container"
)

// Config is the configuration for all pods. It must not be changed while in use.
type Config struct {
	Settings   Settings // its defaults are filled in
	Image      string   // the tap's image as it is configured
	PullPolicy corev1.PullPolicy
	Mode       Mode     // Native if empty
	Profile    Profile  // ProfileAuto if empty
	Cluster    string   // name of the cluster; "": unknown
	Allowed    []string // annotations that pods may set in addition to the tap's resources, without Prefix; "*": all
	PodOptIn   bool     // a pod may opt in by its label even if its namespace does not request taps
	Own        string   // the webhook's namespace

	// SharedProcesses allows taps in pods whose containers share a process namespace.
	SharedProcesses bool
	// TenantMay lists the annotations, without Prefix, that a namespace may set in addition to the resources of its
	// taps; "*" allows all.
	TenantMay []string
	// Registries lists the registries, with or without a path, from which a namespace may choose an
	// image of the tap. Empty: only the configured image may be used.
	Registries []string

	Quota       QuotaPolicy // QuotaFit if empty
	QuotaGrowth int         // factor by which the number of pods of an owner without an autoscaler may grow; 0: 1
	Version     string      // version of the webhook, for Status

	// ServerMinor is the minor version of the API server. 0 means that it is unknown; a current version is then
	// assumed.
	ServerMinor int
}

// Namespace is the state of a pod's namespace and of the cluster when the pod is created.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string

	// Until is when the namespace's taps end. The zero time means that they do not end.
	Until time.Time
	// Off reports whether the namespace's ConfigMap turns its taps off.
	Off bool
	// Refusals maps each profile that the namespace refuses to the reason. Admitted profiles are not in the map.
	Refusals map[Profile]string
	// Images has an entry for each requested image that has run. Its value is the image to use: the same image, by its
	// name or by its digest. If Images is nil, every image may be used, by its name.
	Images map[string]string
	// Waits lists the images that have run the command Wait. Nil means that images are not checked.
	Waits map[string]bool
	// OldKubelets reports whether there is a node whose kubelet is too old for native sidecars.
	OldKubelets bool
	// NoNative reports whether another webhook removes the restartPolicy of native sidecars. The tap is then an ordinary
	// container.
	NoNative bool

	// LimitRanges are the items of the namespace's limit ranges.
	LimitRanges []corev1.LimitRangeItem
	// Caps are the maxima that limit ranges set for a pod.
	Caps []Cap

	// CPULimits reports whether a quota of the namespace counts CPU limits. Such a quota refuses containers without a
	// CPU limit.
	CPULimits bool
	// Quotas are the namespace's current resource quotas. Nil means that quotas are not checked.
	Quotas []corev1.ResourceQuota
	// Demand has the pods that each owner in the namespace may still create. It was read before Quotas.
	Demand []Demand
	// Others has the number of pods of each controller that is not in Demand, by the controller's UID; "" stands for
	// pods without a controller. It was read before Quotas.
	Others map[string]int
	// DemandError is the reason why Demand and Others are unknown, or "" if they are known.
	DemandError string
}

// Status is the content of the annotation meshtls-tap/status of a tapped pod.
type Status struct {
	Version string  `json:"version"` // version of the webhook
	Mode    Mode    `json:"mode"`
	Profile Profile `json:"profile"`
	Image   string  `json:"image"`
	Config  string  `json:"config"` // Config.Hash; a tap with another hash is outdated
}

// Result is the decision about one pod.
type Result struct {
	Patch    []Operation
	Reason   Reason   // Injected, or why the pod is not tapped
	Detail   string   // details of the reason in one sentence, or ""
	Warnings []string // sent to the creator of the pod
	Owner    *Owner   // the controller of the pod, or nil

	Mode    Mode
	Profile Profile
	Image   string
}

// run is the state of one call of Tap or Annotate.
type run struct {
	cfg     *Config
	ns      *Namespace
	pod     *pod
	now     time.Time
	choices choices // the merged annotations
	own     choices // the pod's annotations
	theirs  choices // the namespace's annotations
	result  Result

	until    time.Time // end of the namespace's taps, which its ConfigMap can change while the tap runs
	ownUntil time.Time // end of this pod's tap
	image    string
	port     int32
	needs    corev1.ResourceRequirements
	volumes  []corev1.Volume
	mounts   []corev1.VolumeMount
	files    []corev1.EnvVar // variables with the paths of the volumes
	local    []string        // names of the volumes on the node's disk
}

// Tap returns the patch that adds the tap to a pod, or the reason why there is no patch. raw is the pod as JSON. Tap
// compares now with the ends of the namespace's taps and the pod's tap. It changes none of its arguments.
func Tap(cfg *Config, ns *Namespace, raw []byte, now time.Time) Result {
	r, ok := newRun(cfg, ns, raw, now)
	if !ok {
		return r.result
	}
	r.port = r.pod.freePort(*cfg.Settings.MetricsPort, ns)
	if detail := r.size(); detail != "" {
		return r.skip(ReasonQuota, detail)
	}
	r.mountAll()
	r.build()
	return r.result
}

// size chooses the tap's resources. They are the configured ones or, if a quota has no room for these, the least ones.
// If the least ones do not fit either, size returns the reason, otherwise "".
func (r *run) size() (refusal string) {
	for _, small := range []bool{false, true} {
		r.needs = r.resources(small)
		if refusal = r.pod.exceeds(r.ns.Caps, &r.needs); refusal == "" {
			refusal = r.quota(&r.needs)
		}
		if refusal == "" {
			return ""
		}
	}
	return refusal
}

// Annotate returns the patch that excludes the brokers' ports from the mesh of a pod that will be tapped. If neither
// the settings nor an annotation requests the exclusion, the reason is ReasonNotAsked. Annotate must be called before
// the mesh's injector.
func Annotate(cfg *Config, ns *Namespace, raw []byte, now time.Time) Result {
	r, ok := newRun(cfg, ns, raw, now)
	if !ok {
		return r.result
	}
	if v, said := r.choices[annotationExcludePort]; said && v != "true" || !said && !cfg.Settings.ExcludeKafkaPort {
		return r.skip(ReasonNotAsked, "")
	}
	annotations := r.exclude()
	if len(annotations) == 0 {
		return r.skip(ReasonNotAsked, "")
	}
	var t patch
	t.annotations(r.pod, annotations)
	r.result.Patch = t.ops
	return r.result
}

// newRun decodes the pod and decides whether the pod is tapped, and how. If the pod is not tapped, newRun returns
// false, and the run's result has the reason.
func newRun(cfg *Config, ns *Namespace, raw []byte, now time.Time) (*run, bool) {
	r := &run{cfg: cfg, ns: ns, now: now}
	p, err := decode(raw)
	if err != nil {
		r.skip(ReasonUndecodable, err.Error())
		return r, false
	}
	r.pod, r.result.Owner = p, p.owner()
	r.decide()
	return r, r.result.Reason == Injected
}

// build creates the patch.
func (r *run) build() {
	p, s := r.pod, &r.cfg.Settings

	var t patch
	annotations := map[string]string{Prefix + AnnotationStatus: r.status()}
	r.evictable(annotations)
	if r.result.Mode == Container && p.Metadata.Annotations[defaultContainer] == "" {
		annotations[defaultContainer] = p.Spec.Containers[0].Name
	}

	t.annotations(p, annotations)
	extend(&t, "/spec/volumes", len(p.Spec.Volumes), r.volumes)
	var secrets []named
	for _, name := range s.ImagePullSecrets {
		if n := (named{name}); !slices.Contains(p.Spec.ImagePullSecrets, n) && !slices.Contains(secrets, n) {
			secrets = append(secrets, n)
		}
	}
	extend(&t, "/spec/imagePullSecrets", len(p.Spec.ImagePullSecrets), secrets)

	if r.result.Mode == Native {
		first(&t, "/spec/initContainers", len(p.Spec.InitContainers), r.container())
	} else {
		extend(&t, "/spec/containers", len(p.Spec.Containers), []corev1.Container{r.container()})
	}
	r.result.Patch = t.ops
}

// defaultContainer is the annotation that names the container that kubectl logs and exec use by default.
const defaultContainer = "kubectl.kubernetes.io/default-container"

// status returns the value of the annotation AnnotationStatus.
func (r *run) status() string {
	b, _ := json.Marshal(Status{ //nolint:errchkjson // strings can always be encoded
		Version: r.cfg.Version, Mode: r.result.Mode, Profile: r.result.Profile, Image: r.image, Config: r.cfg.Hash(),
	})
	return string(b)
}

// Hash identifies the taps that a configuration produces. Equal hashes mean equal taps, apart from differences that
// annotations, the namespace or the profile cause.
func (c *Config) Hash() string {
	h := sha256.New()
	h.Write(c.Settings.JSON())
	for _, v := range []string{c.Image, string(c.PullPolicy), string(c.Mode), c.Cluster} {
		h.Write([]byte{0})
		h.Write([]byte(v))
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
