package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// Settings is the settings file: the properties of the tap in every pod. webhook/README.md describes its format. The
// zero value means the defaults; Defaults fills them in.
type Settings struct {
	Env              []corev1.EnvVar              `json:"env,omitempty"`
	Resources        *corev1.ResourceRequirements `json:"resources,omitempty"`   // default 5m and 24Mi, memory limit 128Mi
	RunAsUser        *int64                       `json:"runAsUser,omitempty"`   // default 59469
	MetricsPort      *int32                       `json:"metricsPort,omitempty"` // default 0: none
	StartHook        *bool                        `json:"startHook,omitempty"`   // default true: see Wait
	ConfigMap        *string                      `json:"configMap,omitempty"`   // default meshtls-tap; "": none
	Spool            *Directory                   `json:"spool,omitempty"`
	Evidence         *Directory                   `json:"evidence,omitempty"`
	Kafka            Kafka                        `json:"kafka,omitzero"`
	ImagePullSecrets []string                     `json:"imagePullSecrets,omitempty"`
	ExcludeKafkaPort bool                         `json:"excludeKafkaPort,omitempty"`
}

// Directory is an emptyDir of the tap.
type Directory struct {
	Size resource.Quantity `json:"size"` // size of the data that the tap keeps there; the volume's limit is twice as high
}

// Kafka names the Secrets and ConfigMaps with credentials, in the tapped namespace. These objects need not exist.
type Kafka struct {
	CA                *Key         `json:"ca,omitempty"`
	ClientCertificate *Certificate `json:"clientCertificate,omitempty"`
	Password          *Key         `json:"password,omitempty"`
	Token             *Token       `json:"token,omitempty"`
}

// Key is one key of a Secret or a ConfigMap.
type Key struct {
	Secret    string `json:"secret,omitempty"`
	ConfigMap string `json:"configMap,omitempty"`
	Key       string `json:"key,omitempty"`
}

// Certificate names a Secret with a certificate and its private key.
type Certificate struct {
	Secret  string `json:"secret"`
	CertKey string `json:"certKey,omitempty"` // default tls.crt
	KeyKey  string `json:"keyKey,omitempty"`  // default tls.key
}

// Token is a service account token that is issued for the tap only.
type Token struct {
	Audience          string `json:"audience"`
	ExpirationSeconds int64  `json:"expirationSeconds,omitempty"` // default 3600
}

// ParseSettings parses the settings file, which is YAML or JSON, fills in the defaults and checks it. The error names
// the first unknown key or invalid value.
func ParseSettings(text []byte) (Settings, error) {
	var s Settings
	if err := yaml.UnmarshalStrict(text, &s); err != nil {
		return s, err
	}
	s = s.Defaults()
	err := s.check()
	return s, err
}

// Defaults returns s with its zero values filled in.
func (s Settings) Defaults() Settings {
	s.Resources = s.resources()
	def(&s.RunAsUser, 59469)
	def(&s.MetricsPort, 0)
	def(&s.StartHook, true)
	def(&s.ConfigMap, "meshtls-tap")
	if c := s.Kafka.CA; c != nil && c.Key == "" {
		s.Kafka.CA = &Key{c.Secret, c.ConfigMap, "ca.crt"}
	}
	if p := s.Kafka.Password; p != nil && p.Key == "" {
		s.Kafka.Password = &Key{p.Secret, p.ConfigMap, "password"}
	}
	if c := s.Kafka.ClientCertificate; c != nil {
		filled := *c
		orElse(&filled.CertKey, corev1.TLSCertKey)
		orElse(&filled.KeyKey, corev1.TLSPrivateKeyKey)
		s.Kafka.ClientCertificate = &filled
	}
	if t := s.Kafka.Token; t != nil && t.ExpirationSeconds == 0 {
		s.Kafka.Token = &Token{t.Audience, 3600}
	}
	return s
}

// def makes *v point to value if *v is nil.
func def[T any](v **T, value T) {
	if *v == nil {
		*v = &value
	}
}

// orElse sets *v to value if *v is empty.
func orElse(v *string, value string) {
	if *v == "" {
		*v = value
	}
}

func (s *Settings) resources() *corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse("5m"), "memory": resource.MustParse("24Mi")},
		Limits:   corev1.ResourceList{"memory": resource.MustParse("128Mi")},
	}
	if s.Resources != nil {
		maps.Copy(r.Requests, s.Resources.Requests)
		maps.Copy(r.Limits, s.Resources.Limits)
	}
	return &r
}

// reserved are the variables that only injection may set.
var reserved = []string{
	envCluster, envWorkloadKind, envWorkloadName, envLocalProxy, envDeclaredSkip, envUntil, envOwnUntil, envListen, envListenAfter,
	envConfigDir, envSpoolDir, envSpoolMax, envEvidenceDir, envEvidenceFiles, envEvidenceMax, envCAFile, envCertFile, envKeyFile, envPasswordFile, envTokenFile,
	envFor, envKeepalive, // a tap with these variables would end and be restarted repeatedly
}

var envName = regexp.MustCompile(`^TAP_[A-Z0-9_]+$`)

// check returns an error for the first invalid value. The defaults must be filled in.
func (s *Settings) check() error {
	for _, e := range s.Env {
		switch {
		case !envName.MatchString(e.Name):
			return fmt.Errorf("env: %q: expected a name that begins with TAP_", e.Name)
		case slices.Contains(reserved, e.Name):
			return fmt.Errorf("env: %s is set by the webhook", e.Name)
		}
		if (e.Name == envWindow || e.Name == envInterval) && e.Value != "" {
			if err := checkWindow(e.Value); err != nil {
				return fmt.Errorf("env: %s: %w", e.Name, err)
			}
		}
		if check := checks[annotationOf[e.Name]]; check != nil && e.Value != "" {
			if err := check(e.Value); err != nil {
				return fmt.Errorf("env: %s: %w", e.Name, err)
			}
		}
	}

	if err := s.checkResources(); err != nil {
		return err
	}
	if *s.RunAsUser < 1 {
		return fmt.Errorf("runAsUser: %d: expected a user that is not root; see WEBHOOK_PROFILE=root", *s.RunAsUser)
	}
	if *s.MetricsPort < 0 || *s.MetricsPort > 65535 {
		return fmt.Errorf("metricsPort: %d: expected 0 to 65535", *s.MetricsPort)
	}
	if d := s.Spool; d != nil && d.Size.Sign() <= 0 {
		return fmt.Errorf("spool.size: %s: expected a size such as 64Mi", &d.Size)
	}
	if d := s.Evidence; d != nil && d.Size.Value() < evidenceFile {
		return fmt.Errorf("evidence.size: %s: expected 256Ki or more, such as 16Mi", &d.Size)
	}
	return s.Kafka.check()
}

func (s *Settings) checkResources() error {
	for name := range s.Resources.Requests {
		limit, ok := s.Resources.Limits[name]
		if ok && limit.Cmp(s.Resources.Requests[name]) < 0 {
			return fmt.Errorf("resources: the limit of %s is below its request", name)
		}
	}
	for _, f := range floors {
		for what, list := range map[string]corev1.ResourceList{"requests": s.Resources.Requests, "limits": s.Resources.Limits} {
			if q, ok := list[corev1.ResourceName(f.resource)]; ok && what == f.what && q.Cmp(f.least) < 0 {
				return fmt.Errorf("resources.%s.%s: %s: expected %s or more", what, f.resource, &q, &f.least)
			}
		}
	}
	return nil
}

func (k *Kafka) check() error {
	for name, key := range map[string]*Key{"ca": k.CA, "password": k.Password} {
		if key != nil && (key.Secret == "") == (key.ConfigMap == "") {
			return fmt.Errorf("kafka.%s: expected either secret or configMap", name)
		}
	}
	if k.Password != nil && k.Password.ConfigMap != "" {
		return fmt.Errorf("kafka.password: expected a secret")
	}
	if k.ClientCertificate != nil && k.ClientCertificate.Secret == "" {
		return fmt.Errorf("kafka.clientCertificate.secret: expected a name")
	}
	// k8s.io/kubernetes pkg/apis/core/validation: at least 10 minutes, at most 1<<32 s.
	if t := k.Token; t != nil && (t.Audience == "" || t.ExpirationSeconds < 600 || t.ExpirationSeconds > 1<<32) {
		return fmt.Errorf("kafka.token: expected an audience, and expirationSeconds of at least 600")
	}
	return nil
}

// env returns the value of a variable in the settings, or "".
func (s *Settings) env(name string) string {
	for _, e := range s.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// kafkaPorts returns the ports of the brokers in TAP_KAFKA_BROKERS.
func (s *Settings) kafkaPorts() []string {
	var ports []string
	for broker := range strings.SplitSeq(s.env("TAP_KAFKA_BROKERS"), ",") {
		at := strings.LastIndexByte(broker, ':')
		port := strings.TrimSpace(broker[at+1:])
		if _, err := parsePort(port); at >= 0 && err == nil && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// JSON returns the settings in the format of the settings file.
func (s *Settings) JSON() []byte {
	b, err := json.Marshal(s)
	if err != nil { // not possible: every Quantity that was parsed can be encoded
		return nil
	}
	return b
}
