package attach

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// user is the user and group of the tap in its image. It must be set explicitly: with the pod's user, the runtime gives no capability.
const user = 59469

// Options configure the taps that a Plan attaches.
type Options struct {
	Image      string
	PullPolicy corev1.PullPolicy
	For        time.Duration   // how long the taps run; more than 0
	MaxPods    int             // more pods are refused; 0: DefaultMaxPods
	Command    []string        // of the container; nil: {"/tap", "run"}. Another program is never shared, so no tap is reused
	Env        []corev1.EnvVar // in addition to the usual variables, which it replaces
	Unchecked  bool            // Plan sends no dry runs: the best profile is planned
	Stdin      []byte          // sent to the container once it is attached
}

// DefaultMaxPods is the maximum number of pods of a Plan whose Options set no other.
const DefaultMaxPods = 20

// Window is TAP_WINDOW of an attached tap: the time after which it reports changes of open findings and improved edges.
const Window = 5 * time.Second

// A tap that hears nothing of its client for silentTime ends. The client sends something every sendTime.
const (
	silentTime = 20 * time.Second
	sendTime   = 5 * time.Second
)

// container returns the ephemeral container for a pod. The namespace's labels and annotations are empty if they are not known.
func (o *Options) container(pod *corev1.Pod, ns *inject.Namespace, name string, profile inject.Profile) (*corev1.EphemeralContainer, error) {
	raw, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	env, err := inject.PodEnv(ns, raw, time.Now())
	if err != nil {
		return nil, err
	}
	set := func(name, value string) { env = append(env, corev1.EnvVar{Name: name, Value: value}) }
	set(envEmit, "findings,posture,flows")
	set(envWindow, Window.String())
	set(envInterval, "1m0s")
	set(envFor, o.For.String())
	set(envAlive, silentTime.String())
	set(envProcs, "2")
	for _, e := range o.Env {
		env = replace(env, e)
	}
	id := make([]byte, 6)
	rand.Read(id)
	set(envAttachID, hex.EncodeToString(id))

	command := o.Command
	if command == nil {
		command = []string{"/tap", ProgramRun}
	}
	return &corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name:            name,
		Image:           o.Image,
		ImagePullPolicy: cmp.Or(o.PullPolicy, corev1.PullIfNotPresent),
		Command:         command,
		Env:             env,
		SecurityContext: inject.SecurityContext(profile, user),
		// The tap ends when its standard input ends. StdinOnce: the kubelet closes it when the first client that is attached goes.
		Stdin:     true,
		StdinOnce: true,
		// The log's end is not repeated in the pod's status, which has limited space.
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}}, nil
}

// replace sets a variable.
func replace(env []corev1.EnvVar, e corev1.EnvVar) []corev1.EnvVar {
	for i := range env {
		if env[i].Name == e.Name {
			env[i] = e
			return env
		}
	}
	return append(env, e)
}

// Patch returns the strategic merge patch of pods/ephemeralcontainers that adds a container to a pod.
func Patch(c *corev1.EphemeralContainer, pod *corev1.Pod) ([]byte, error) {
	type meta struct {
		Name      string    `json:"name"`
		Namespace string    `json:"namespace"`
		UID       types.UID `json:"uid"` // the API server refuses the patch for another pod of the same name
	}
	type spec struct {
		EphemeralContainers []corev1.EphemeralContainer `json:"ephemeralContainers"`
	}
	return json.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   meta   `json:"metadata"`
		Spec       spec   `json:"spec"`
	}{"v1", "Pod", meta{pod.Name, pod.Namespace, pod.UID}, spec{[]corev1.EphemeralContainer{*c}}})
}

// profiles are the profiles that are tried, the best first.
var profiles = inject.AutoProfiles()

// profileText describes a profile in a sentence's words.
func profileText(p inject.Profile) string {
	text := map[inject.Profile]string{
		inject.ProfileDefault:   "user 59469 with the capability NET_RAW and no other",
		inject.ProfileOpenShift: "a user that the cluster chooses, with the capability NET_RAW and no other",
		inject.ProfileBaseline:  "user 59469 with the capabilities that the container runtime gives by default, because the namespace does not admit the addition of NET_RAW",
	}
	return text[p]
}

const patchType = types.StrategicMergePatchType

// dryRun returns patch options for a dry run, or for the real request.
func dryRun(dry bool) metav1.PatchOptions {
	o := metav1.PatchOptions{FieldManager: "kubectl-meshtls"}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	return o
}
