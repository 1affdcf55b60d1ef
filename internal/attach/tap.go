package attach

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// State is the state of a container.
type State string

// The states.
const (
	Waiting    State = "waiting" // not started yet
	Running    State = "running"
	Terminated State = "terminated"
)

// Programs of the tap's image that a container can run.
const (
	ProgramRun     = "run"     // judges connections and writes records
	ProgramPcap    = "pcap"    // writes packets
	ProgramRequest = "request" // sends one request
)

// Tap is a container of a pod that runs the tap's image.
type Tap struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	UID       string `json:"uid"` // of the pod
	Container string `json:"container"`
	Image     string `json:"image"`
	Program   string `json:"program"`   // one of the Program constants
	Ephemeral bool   `json:"ephemeral"` // it was attached; otherwise it is a sidecar
	HasLog    bool   `json:"has_log"`   // its log contains its records; otherwise they go to Kafka, or have another format
	AttachID  string `json:"attach_id,omitempty"`

	State    State     `json:"state"`
	Reason   string    `json:"reason,omitempty"`  // of Waiting and Terminated, such as "ErrImagePull" or "OOMKilled"
	Message  string    `json:"message,omitempty"` // details of Reason, as the kubelet reports them
	ExitCode int32     `json:"exit_code"`
	Restarts int32     `json:"restarts"`
	Started  time.Time `json:"started,omitzero"`
	Ends     time.Time `json:"ends,omitzero"` // when it ends or stops capturing by itself, by its variables; zero: never, or not known
	Ended    time.Time `json:"ended,omitzero"`

	lasts, silent time.Duration // TAP_FOR, and TAP_KEEPALIVE if it has an effect; 0: no limit
}

// String returns the tap as NAMESPACE/POD.
func (t *Tap) String() string { return t.Namespace + "/" + t.Pod }

// Over reports whether the time of a tap is over: it has ended, or no longer captures.
func (t *Tap) Over(now time.Time) bool { return !t.Ends.IsZero() && !now.Before(t.Ends) }

// same reports whether two taps are the same container.
func (t *Tap) same(o *Tap) bool { return t.UID == o.UID && t.Container == o.Container }

// Variables of the tap's containers.
const (
	envFor      = "TAP_FOR"
	envAlive    = "TAP_KEEPALIVE"
	envUntil    = "TAP_UNTIL"
	envOwnUntil = "TAP_OWN_UNTIL"
	envSink     = "TAP_SINK"
	envFormat   = "TAP_FORMAT"
	envEmit     = "TAP_EMIT"
	envWindow   = "TAP_WINDOW"
	envInterval = "TAP_POSTURE_INTERVAL"
	envAttachID = "MESHTLS_ATTACH_ID" // random: two attachments never produce equal containers
	envProcs    = "GOMAXPROCS"        // threads that run at the same time: without it as many as the node has cores, which the application and its limit of processes would notice
)

// Taps returns the taps of a pod, sidecars first, then in the order in which they were attached. A container is a tap by its name
// (meshtls-tap, meshtls-tap-N) or by its image's name, so that a tap that was attached by kubectl debug is one too.
func Taps(pod *corev1.Pod) []Tap {
	var taps []Tap
	add := func(c *corev1.Container, ephemeral bool, statuses []corev1.ContainerStatus) {
		if !isTap(c) {
			return
		}
		t := Tap{
			Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Container: c.Name, Image: c.Image,
			Program: program(c), Ephemeral: ephemeral, State: Waiting, AttachID: variable(c, envAttachID),
		}
		t.HasLog = t.Program == ProgramRun && cmp.Or(variable(c, envSink), "stdout") == "stdout" && cmp.Or(variable(c, envFormat), "ecs") == "ecs"
		for i := range statuses {
			if statuses[i].Name == c.Name {
				t.setStatus(&statuses[i])
			}
		}
		t.setEnd(c)
		taps = append(taps, t)
	}
	for i := range pod.Spec.InitContainers {
		add(&pod.Spec.InitContainers[i], false, pod.Status.InitContainerStatuses)
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i], false, pod.Status.ContainerStatuses)
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		add(&c, true, pod.Status.EphemeralContainerStatuses)
	}
	slices.SortStableFunc(taps, func(a, b Tap) int { // the API server adds new ephemeral containers at the front of their list
		if a.Ephemeral != b.Ephemeral {
			return map[bool]int{false: -1, true: 1}[a.Ephemeral]
		}
		return cmp.Compare(number(a.Container), number(b.Container))
	})
	return taps
}

// number returns N of the name meshtls-tap-N, or 0.
func number(name string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(name, inject.Name+"-"))
	if err != nil {
		return 0
	}
	return n
}

// containerName matches the names of taps.
var containerName = regexp.MustCompile(`^` + inject.Name + `(-.*)?$`)

// isTap reports whether a container runs the tap's image.
func isTap(c *corev1.Container) bool {
	image, _, _ := strings.Cut(path.Base(c.Image), "@")
	image, _, _ = strings.Cut(image, ":")
	return containerName.MatchString(c.Name) || image == inject.Name
}

// program returns the program that a container runs, by its command line.
func program(c *corev1.Container) string {
	for _, word := range slices.Concat(c.Command, c.Args) {
		if word == ProgramPcap || word == ProgramRequest {
			return word
		}
	}
	return ProgramRun
}

// variable returns the value of a container's environment variable, or "".
func variable(c *corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func (t *Tap) setStatus(s *corev1.ContainerStatus) {
	t.Restarts = s.RestartCount
	switch {
	case s.State.Running != nil:
		t.State, t.Started = Running, s.State.Running.StartedAt.Time
	case s.State.Terminated != nil:
		e := s.State.Terminated
		t.State, t.Reason, t.Message, t.ExitCode, t.Started, t.Ended = Terminated, e.Reason, e.Message, e.ExitCode, e.StartedAt.Time, e.FinishedAt.Time
	case s.State.Waiting != nil:
		t.State, t.Reason, t.Message = Waiting, s.State.Waiting.Reason, s.State.Waiting.Message
	}
}

// setEnd sets Ends to the earliest end that the container's variables and flags set.
func (t *Tap) setEnd(c *corev1.Container) {
	earlier := func(at time.Time) {
		if t.Ends.IsZero() || at.Before(t.Ends) {
			t.Ends = at
		}
	}
	for _, name := range []string{envUntil, envOwnUntil} {
		if at, err := time.Parse(time.RFC3339, variable(c, name)); err == nil {
			earlier(at)
		}
	}
	lasts, _ := time.ParseDuration(variable(c, envFor))
	words := slices.Concat(c.Command, c.Args)
	for i, word := range words {
		value, found := strings.CutPrefix(word, "--for=")
		if word == "--for" && i+1 < len(words) {
			value, found = words[i+1], true
		}
		if d, err := time.ParseDuration(value); found && err == nil {
			lasts = d
		}
	}
	if lasts > 0 && !t.Started.IsZero() {
		earlier(t.Started.Add(lasts))
	}
	if t.lasts = lasts; lasts > 0 {
		t.silent, _ = time.ParseDuration(variable(c, envAlive))
	}
}

// maxEphemeral is the number of ephemeral containers of the tap that a pod may have. They stay in its spec until the pod is deleted.
const maxEphemeral = 9

// nextName returns the first free name for a tap in a pod. ended is the number of taps that were attached to the pod before.
// The error says that there are maxEphemeral of them already.
func nextName(pod *corev1.Pod) (name string, ended int, err error) {
	last := 0
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if !isTap(&c) {
			continue
		}
		ended++
		last = max(last, number(c.Name))
	}
	if ended >= maxEphemeral {
		return "", ended, fmt.Errorf("it already has %s, and Kubernetes keeps ephemeral containers until the pod is deleted: replace the pod, or tap another replica", count(ended, "tap container"))
	}
	return inject.Name + "-" + strconv.Itoa(last+1), ended, nil
}
