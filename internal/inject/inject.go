package inject

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Label is the label of namespaces, with the value Enabled, that asks for taps. On a pod
// it opts out with the value Disabled and, where that is allowed, in with Enabled.
const (
	Label    = "meshtls-tap"
	Enabled  = "enabled"
	Disabled = "disabled"
)

// Mode is the place of the tap in its pod.
type Mode string

// The modes.
const (
	// Native is a native sidecar (KEP-753), first of the init containers: there before
	// anything else of the pod, and no reason for a Job not to end.
	Native Mode = "native"
	// Container is a container like any other, last of them: what happens to it keeps no
	// other from starting.
	Container Mode = "container"
)

// Config is what is the same for all pods. It is not changed while in use.
type Config struct {
	Settings   Settings // with its defaults filled in
	Image      string   // the tap's image as it was configured
	PullPolicy corev1.PullPolicy
	Mode       Mode     // Native if empty
	Profile    Profile  // ProfileAuto if empty
	Cluster    string   // name of the cluster, "" unknown
	Allowed    []string // annotations that pods may set beside their resources, without Prefix; "*" all
	PodOptIn   bool     // the pod label opts in where the namespace does not
	Own        string   // the webhook's own namespace

	// SharedProcesses taps pods whose containers share their processes too.
	SharedProcesses bool
	// TenantMay are the annotations, without Prefix, that a namespace may set beside its taps'
	// resources; "*" is all.
	TenantMay []string
	// Registries are those from which a namespace may choose an image of the tap, such as
	// registry.example/tap; "": none but the configured image.
	Registries []string

	Quota       QuotaPolicy // QuotaFit if empty
	QuotaGrowth int         // how many times its pods an owner without an autoscaler may come to have; 0: 1
	Version     string      // of the webhook, for the status

	// ServerMinor is the minor version of the API server, 0 unknown: new.
	ServerMinor int
}

// Namespace is what is known of the pod's namespace and its cluster when it is created.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string

	// Until ends what the namespace asks for; zero: it does not end.
	Until time.Time
	// Off is whether the namespace's ConfigMap turns its taps off.
	Off bool
	// Refusals says of each profile why a tapped pod with it is refused; a profile that
	// is admitted is not in it.
	Refusals map[Profile]string
	// Images are the images that were seen to run: from the name that was configured to
	// the one to use. Nil: every image may be used as it is named.
	Images map[string]string
	// Waits are the images that were seen to run the command Wait; nil: none is tried.
	Waits map[string]bool
	// OldKubelets is whether a node cannot run native sidecars.
	OldKubelets bool
	// NoNative reports whether another webhook of the cluster removes what makes a container a native sidecar: the
	// tap is then an ordinary container.
	NoNative bool

	LimitRanges []corev1.LimitRangeItem
	Caps        []Cap // of limit ranges for pods

	// CPULimits is whether a quota of the namespace counts CPU limits, and so refuses containers
	// without one.
	CPULimits bool
	// Quotas are the namespace's current resource quotas; nil: quotas are not checked.
	Quotas []corev1.ResourceQuota
	// Demand lists the pods that the namespace's owners want, and Others counts the pods of all
	// other owners, by UID ("": without one). Both were read before Quotas.
	Demand []Demand
	Others map[string]int
	// DemandError says why Demand is not known; "": it is.
	DemandError string
}

// Status is what the annotation meshtls-tap/status says of a tapped pod.
type Status struct {
	Version string  `json:"version"` // of the webhook
	Mode    Mode    `json:"mode"`
	Profile Profile `json:"profile"`
	Image   string  `json:"image"`
	Config  string  `json:"config"` // Config.Hash: another one means outdated
}

// Result is what became of a pod.
type Result struct {
	Patch    []Operation
	Reason   Reason   // why nothing is injected; Injected if it is
	Detail   string   // one sentence that says more of the reason, or ""
	Warnings []string // for whoever creates the pod
	Owner    *Owner   // the controller of the pod, or nil

	Mode    Mode
	Profile Profile
	Image   string
}

// run is one injection.
type run struct {
	cfg     *Config
	ns      *Namespace
	pod     *pod
	now     time.Time
	choices choices // of the namespace and the pod
	own     choices // of the pod
	theirs  choices // of the namespace
	result  Result

	until    time.Time // the namespace's, which its ConfigMap can move while the tap runs
	ownUntil time.Time // the pod's
	image    string
	port     int32
	needs    corev1.ResourceRequirements
	volumes  []corev1.Volume
	mounts   []corev1.VolumeMount
	files    []corev1.EnvVar // that say where the volumes are
	local    []string        // volumes of the node's disk
}

// Tap returns the patch that puts the tap into a pod, or why there is none.
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

// size chooses the tap's resources: those configured, or, where a quota has no room for them, the
// least. It returns why neither may be had, or "".
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

// Annotate returns the patch that takes the brokers' ports out of the mesh of a pod that
// will be tapped, where that is asked for. It has to come before the mesh's own injector.
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

// newRun decodes the pod and decides whether it is tapped, and how.
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

// build writes the patch.
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

// defaultContainer names the container that kubectl logs and exec take.
const defaultContainer = "kubectl.kubernetes.io/default-container"

func (r *run) status() string {
	b, _ := json.Marshal(Status{ //nolint:errchkjson // strings
		Version: r.cfg.Version, Mode: r.result.Mode, Profile: r.result.Profile, Image: r.image, Config: r.cfg.Hash(),
	})
	return string(b)
}

// Hash identifies what a configuration makes of a tap: equal hashes mean equal taps, apart from what annotations, the
// namespace and the profile change.
func (c *Config) Hash() string {
	h := sha256.New()
	h.Write(c.Settings.JSON())
	for _, v := range []string{c.Image, string(c.PullPolicy), string(c.Mode), c.Cluster} {
		h.Write([]byte{0})
		h.Write([]byte(v))
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
