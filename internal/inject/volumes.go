package inject

import (
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The paths of the volumes in the tap's container.
const (
	configDir   = "/etc/meshtls-tap/namespace"
	kafkaDir    = "/etc/meshtls-tap/kafka"
	spoolDir    = "/var/lib/meshtls-tap/spool"
	evidenceDir = "/var/lib/meshtls-tap/evidence"
	// k8s.io/kubernetes plugin/pkg/admission/serviceaccount: DefaultAPITokenMountPath
	tokenDir = "/var/run/secrets/kubernetes.io/serviceaccount" //nolint:gosec // a path
)

// safeToEvict is an annotation that lists local volumes of a pod. When the cluster autoscaler removes a node, it may
// delete these volumes (github.com/kubernetes/autoscaler cluster-autoscaler/utils/drain).
const safeToEvict = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"

// evidenceFile is the largest size of a file of evidence, in bytes.
const evidenceFile = 256 << 10

// logSize is an upper bound for the container's log on the node's disk, in bytes.
const logSize = 32 << 20

// mountAll fills in the tap's volumes, their mounts, and the variables with their paths. ConfigMaps and Secrets of the
// namespace are optional: without them the tap runs and reports what is missing.
func (r *run) mountAll() {
	s := &r.cfg.Settings
	if name := *s.ConfigMap; name != "" {
		r.mount("config", configDir, true, corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: optional(),
		}})
		r.file(envConfigDir, configDir)
	}
	if sources := r.kafkaSources(); len(sources) > 0 {
		r.mount("kafka", kafkaDir, true, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}})
	}
	if s.Spool != nil {
		r.mountEmpty("spool", spoolDir, s.Spool)
		r.file(envSpoolDir, spoolDir)
		r.file(envSpoolMax, strconv.FormatInt(s.Spool.Size.Value(), 10))
	}
	if d := s.Evidence; d != nil {
		r.mountEmpty("evidence", evidenceDir, d)
		r.file(envEvidenceDir, evidenceDir)
		r.file(envEvidenceFiles, strconv.FormatInt(d.Size.Value()/evidenceFile, 10))
		r.file(envEvidenceMax, strconv.Itoa(evidenceFile))
	}
	// The API server mounts the service account token into every container that has no volume at that path. The tap
	// does not use the API, so it gets an empty directory there.
	r.mount("no-token", tokenDir, true, corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{}})
}

func (r *run) mount(name, dir string, readOnly bool, source corev1.VolumeSource) {
	name = r.pod.volumeName(Name + "-" + name)
	r.volumes = append(r.volumes, corev1.Volume{Name: name, VolumeSource: source})
	r.mounts = append(r.mounts, corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: readOnly})
}

func (r *run) file(env, value string) {
	r.files = append(r.files, corev1.EnvVar{Name: env, Value: value})
}

// mountEmpty adds an emptyDir. Its limit is twice the amount that the tap keeps there. The limit is a last resort:
// the kubelet evicts a pod that exceeds it.
func (r *run) mountEmpty(name, dir string, d *Directory) {
	limit := d.Size.DeepCopy()
	limit.Add(d.Size)
	r.mount(name, dir, false, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}})
	r.local = append(r.local, r.volumes[len(r.volumes)-1].Name)
}

// volumeName returns want. If the pod already has a volume of that name, it returns want with a number appended. A
// copy of a tapped pod without its tap may have such a volume.
func (p *pod) volumeName(want string) string {
	name := want
	for n := 2; slices.Contains(p.Spec.Volumes, named{name}); n++ {
		name = want + "-" + strconv.Itoa(n)
	}
	return name
}

// kafkaSources returns the sources of the volume with all credentials, and sets the variables with their paths.
func (r *run) kafkaSources() []corev1.VolumeProjection {
	var out []corev1.VolumeProjection
	k := &r.cfg.Settings.Kafka
	add := func(env, file string, key *Key) {
		out = append(out, key.project(file))
		r.file(env, path.Join(kafkaDir, file))
	}
	if k.CA != nil {
		add(envCAFile, "ca.crt", k.CA)
	}
	if c := k.ClientCertificate; c != nil {
		add(envCertFile, "tls.crt", &Key{Secret: c.Secret, Key: c.CertKey})
		add(envKeyFile, "tls.key", &Key{Secret: c.Secret, Key: c.KeyKey})
	}
	if k.Password != nil {
		add(envPasswordFile, "password", k.Password)
	}
	if t := k.Token; t != nil {
		out = append(out, corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: t.Audience, ExpirationSeconds: &t.ExpirationSeconds, Path: "token",
		}})
		r.file(envTokenFile, path.Join(kafkaDir, "token"))
	}
	return out
}

// project returns a projection of one key to a file.
func (k *Key) project(file string) corev1.VolumeProjection {
	items := []corev1.KeyToPath{{Key: k.Key, Path: file}}
	if k.Secret != "" {
		return corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: k.Secret}, Items: items, Optional: optional(),
		}}
	}
	return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: k.ConfigMap}, Items: items, Optional: optional(),
	}}
}

func optional() *bool {
	yes := true
	return &yes
}

// diskSize returns an upper bound for the tap's use of the node's disk.
func (r *run) diskSize() resource.Quantity {
	size := *resource.NewQuantity(logSize, resource.BinarySI)
	for _, d := range []*Directory{r.cfg.Settings.Spool, r.cfg.Settings.Evidence} {
		if d != nil {
			size.Add(d.Size)
			size.Add(d.Size)
		}
	}
	return size
}

// evictable adds the tap's local volumes to the pod's annotation safeToEvict.
func (r *run) evictable(annotations map[string]string) {
	if len(r.local) == 0 {
		return
	}
	names := splitList(r.pod.Metadata.Annotations[safeToEvict])
	for _, name := range r.local {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	annotations[safeToEvict] = strings.Join(names, ",")
}

// splitList splits a comma-separated list; blanks and empty items are left out.
func splitList(v string) []string {
	var out []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
