package inject

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Name is the name of the tap's container in a pod, and the prefix of the names of its volumes.
const Name = "meshtls-tap"

// PortName is the name of the container port of the tap's metrics.
const PortName = "tap-metrics"

// Variables of the tap that injection sets.
const (
	envCluster       = "TAP_CLUSTER"
	envWorkloadKind  = "TAP_WORKLOAD_KIND"
	envWorkloadName  = "TAP_WORKLOAD_NAME"
	envLocalProxy    = "TAP_LOCAL_PROXY"
	envDeclaredSkip  = "TAP_DECLARED_SKIP"
	envAmbient       = "TAP_AMBIENT"
	envProbePorts    = "TAP_PROBE_PORTS"
	envMetricsPorts  = "TAP_METRICS_PORTS"
	envUntil         = "TAP_UNTIL"
	envOwnUntil      = "TAP_OWN_UNTIL"
	envFor           = "TAP_FOR"
	envKeepalive     = "TAP_KEEPALIVE"
	envListen        = "TAP_LISTEN"
	envListenAfter   = "TAP_LISTEN_AFTER"
	envConfigDir     = "TAP_CONFIG_DIR"
	envSpoolDir      = "TAP_SPOOL_DIR"
	envSpoolMax      = "TAP_SPOOL_MAX"
	envEvidenceDir   = "TAP_EVIDENCE_DIR"
	envEvidenceFiles = "TAP_EVIDENCE_FILES"
	envEvidenceMax   = "TAP_EVIDENCE_FILE_MAX"
	envCAFile        = "TAP_KAFKA_TLS_CA_FILE"
	envCertFile      = "TAP_KAFKA_TLS_CERT_FILE"
	envKeyFile       = "TAP_KAFKA_TLS_KEY_FILE"
	envPasswordFile  = "TAP_KAFKA_SASL_PASSWORD_FILE"
	envTokenFile     = "TAP_KAFKA_SASL_TOKEN_FILE"
)

// container returns the tap's container.
func (r *run) container() corev1.Container {
	c := corev1.Container{
		Name:                     Name,
		Image:                    r.image,
		ImagePullPolicy:          r.cfg.PullPolicy,
		Args:                     []string{"run"},
		Env:                      r.env(),
		Resources:                r.needs,
		VolumeMounts:             r.mounts,
		SecurityContext:          SecurityContext(r.result.Profile, *r.cfg.Settings.RunAsUser),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}

	if r.port != 0 {
		c.Ports = []corev1.ContainerPort{{Name: PortName, ContainerPort: r.port, Protocol: corev1.ProtocolTCP}}
	}

	if r.result.Mode == Native {
		always := corev1.ContainerRestartPolicyAlways
		c.RestartPolicy = &always
		if r.waits() {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: Wait}}}
		}
	}
	return c
}

// Wait is a command of the tap's image; it ends when the tap captures. As the postStart hook of a native sidecar it
// delays the pod's next container, so that the tap sees the application's first connection. The delay is at most 1 s
// (cmd/tap/wait.go), or longer if the CPU limit slows the command.
var Wait = []string{"/tap", "wait"}

// waits reports whether the tap gets the postStart hook Wait. The kubelet repeatedly kills a container whose hook
// fails, so the image must be known to have the command. This is known if the image has run the command. If images are
// not checked, the image's tag must be the webhook's own version. A pod with a RuntimeClass gets no hook, because its
// runtime may refuse to run a second process, as confidential containers do.
func (r *run) waits() bool {
	if !*r.cfg.Settings.StartHook || r.pod.Spec.RuntimeClassName != nil {
		return false
	}
	if r.ns.Waits != nil {
		return r.ns.Waits[r.image]
	}
	_, tag, tagged := strings.Cut(r.image[strings.LastIndexByte(r.image, '/')+1:], ":")
	return tagged && !strings.Contains(r.image, "@") && r.cfg.Version != "" && strings.TrimPrefix(tag, "v") == strings.TrimPrefix(r.cfg.Version, "v")
}

// env returns the tap's environment: the identity of its pod, the settings, and the values of annotations.
func (r *run) env() []corev1.EnvVar {
	env := downward(r.cfg.ServerMinor)
	for _, e := range r.cfg.Settings.Env {
		if _, chosen := r.choices[annotationOf[e.Name]]; !chosen {
			env = append(env, e)
		}
	}

	set := func(name, value string) {
		if value != "" {
			env = append(env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	for _, v := range chosen {
		set(v.env, literal(r.choices[v.annotation]))
	}

	set(envCluster, r.cfg.Cluster)
	for _, e := range r.pod.describe(r.ns, r.now) {
		if r.cfg.Settings.env(e.Name) == "" { // the platform's setting overrides what the pod declares
			env = append(env, e)
		}
	}

	set(envUntil, stamp(r.until))
	set(envOwnUntil, stamp(r.ownUntil))
	listen := corev1.EnvVar{Name: envListen, Value: "none"}
	if r.port != 0 {
		listen.Value = ":" + strconv.Itoa(int(r.port))
		set(envListenAfter, listenAfter)
	}
	return append(append(env, listen), r.files...)
}

// stamp formats a time as RFC 3339 in UTC; the zero time as "".
func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format("2006-01-02T15:04:05Z")
}

// listenAfter is how long the tap waits before it listens at its metrics port. The tap starts before the application.
// If it listened at once, it could take a port that the application uses but does not declare.
const listenAfter = "10s"

// chosen lists the variables that annotations set.
var chosen = []struct{ annotation, env string }{
	{annotationFilter, "TAP_FILTER"},
	{annotationExpect, "TAP_EXPECT"},
	{annotationMesh, "TAP_MESH"},
	{annotationEmit, "TAP_EMIT"},
}

// annotationOf maps each variable to the annotation that sets it.
var annotationOf = func() map[string]string {
	m := map[string]string{}
	for _, v := range chosen {
		m[v.env] = v.annotation
	}
	return m
}()

// literal escapes $(NAME) in text that somebody else wrote, so that the kubelet does not expand it.
func literal(value string) string { return strings.ReplaceAll(value, "$(", "$$(") }

// downward returns the variables that the downward API sets. minor is the minor version of the API server; 0:
// unknown. Older versions do not know every field.
func downward(minor int) []corev1.EnvVar {
	hostIPs := "status.hostIPs"
	if minor != 0 && minor < 29 {
		hostIPs = "status.hostIP" // KEP-2681: on by default since 1.29
	}
	var env []corev1.EnvVar
	for _, v := range [][2]string{
		{"POD_NAME", "metadata.name"},
		{"POD_NAMESPACE", "metadata.namespace"},
		{"POD_UID", "metadata.uid"},
		{"POD_IPS", "status.podIPs"},
		{"HOST_IPS", hostIPs},
		{"NODE_NAME", "spec.nodeName"},
		{"SERVICE_ACCOUNT", "spec.serviceAccountName"},
	} {
		env = append(env, corev1.EnvVar{Name: v[0], ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: v[1]},
		}})
	}
	return env
}

// freePort returns the first free one of the 16 ports that start at want. A port is free if no container of the pod
// declares it and, in an ambient mesh, ztunnel does not use it. freePort returns 0 if want is 0 or no port is free.
func (p *pod) freePort(want int32, ns *Namespace) int32 {
	var taken []int
	if p.ambient(ns) != "" {
		taken = slices.Clone(ztunnelPorts)
	}
	p.each(func(c *container) {
		for _, port := range c.Ports {
			taken = append(taken, port.ContainerPort)
		}
	})
	for port := want; want != 0 && port < want+16 && port <= 65535; port++ {
		if !slices.Contains(taken, int(port)) {
			return port
		}
	}
	return 0
}
