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

// Settings is what the tap gets in every pod: the settings file, whose format
// webhook/README.md shows. The zero value is the defaults; Defaults fills them in.
type Settings struct {
	Env              []corev1.EnvVar              `json:"env,omitempty"`
	Resources        *corev1.ResourceRequirements `json:"resources,omitempty"`   // default 5m and 24Mi, memory limit 128Mi
	RunAsUser        *int64                       `json:"runAsUser,omitempty"`   // default 59469
	MetricsPort      *int32                       `json:"metricsPort,omitempty"` // default 0: none
	StartHook        *bool                        `json:"startHook,omitempty"`   // default true: see Wait
	ConfigMap        *string                      `json:"configMap,omitempty"`   // default meshtls-tap; "": none
	Spool            *Directory                   `json:"spool,omitempty"`
	Kafka            Kafka                        `json:"kafka,omitzero"`
	ImagePullSecrets []string                     `json:"imagePullSecrets,omitempty"`
	ExcludeKafkaPort bool                         `json:"excludeKafkaPort,omitempty"`
}

// Directory is an emptyDir of the tap.
type Directory struct {
	Size resource.Quantity `json:"size"` // how much the tap keeps there
}

// Kafka names objects of the tapped namespace. None of them has to be there.
type Kafka struct {
	CA                *Key         `json:"ca,omitempty"`
	ClientCertificate *Certificate `json:"clientCertificate,omitempty"`
	Password          *Key         `json:"password,omitempty"`
	Token             *Token       `json:"token,omitempty"`
}

// Key is one key of a Secret or of a ConfigMap.
type Key struct {
	Secret    string `json:"secret,omitempty"`
	ConfigMap string `json:"configMap,omitempty"`
	Key       string `json:"key,omitempty"`
}

// Certificate is a Secret that holds a certificate and its key.
type Certificate struct {
	Secret  string `json:"secret"`
	CertKey string `json:"certKey,omitempty"` // default tls.crt
	KeyKey  string `json:"keyKey,omitempty"`  // default tls.key
}

// Token is a service-account token made for the tap alone.
type Token struct {
	Audience          string `json:"audience"`
	ExpirationSeconds int64  `json:"expirationSeconds,omitempty"` // default 3600
}

// ParseSettings reads the settings file, YAML or JSON, fills in the defaults and checks
// it. The error names the first key or value that cannot be used.
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

func def[T any](v **T, value T) {
	if *v == nil {
		*v = &value
	}
}

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

// reserved are the variables that belong to the injection itself.
var reserved = []string{
	envCluster, envWorkloadKind, envWorkloadName, envLocalProxy, envDeclaredSkip, envUntil, envOwnUntil, envListen, envListenAfter,
	envConfigDir, envSpoolDir, envSpoolMax, envCAFile, envCertFile, envKeyFile, envPasswordFile, envTokenFile,
	envFor, // a sidecar that ends is started again and again
}

var envName = regexp.MustCompile(`^TAP_[A-Z0-9_]+$`)

// check returns the first fault of settings whose defaults are filled in.
func (s *Settings) check() error {
	for _, e := range s.Env {
		switch {
		case !envName.MatchString(e.Name):
			return fmt.Errorf("env: %q: expected a name that begins with TAP_", e.Name)
		case slices.Contains(reserved, e.Name):
			return fmt.Errorf("env: %s is set by the webhook", e.Name)
		}
		if e.Name == envWindow && e.Value != "" {
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
	return s.Kafka.check()
}

func (s *Settings) checkResources() error {
	for name := range s.Resources.Requests {
		limit, ok := s.Resources.Limits[name]
		if ok && limit.Cmp(s.Resources.Requests[name]) < 0 {
			return fmt.Errorf("resources: the limit of %s is under its request", name)
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
	// k8s.io/kubernetes pkg/apis/core/validation: at least 10 min.
	if t := k.Token; t != nil && (t.Audience == "" || t.ExpirationSeconds < 600 || t.ExpirationSeconds > 1<<32) {
		return fmt.Errorf("kafka.token: expected an audience, and expirationSeconds from 600 on")
	}
	return nil
}

// env returns the value of a variable of the settings, "" if it has none.
func (s *Settings) env(name string) string {
	for _, e := range s.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// kafkaPorts returns the brokers' ports, as TAP_KAFKA_BROKERS names them.
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

// JSON returns the settings as they stand, in the settings file's format.
func (s *Settings) JSON() []byte {
	b, err := json.Marshal(s)
	if err != nil { // a Quantity that cannot be written; there is none that can be read
		return nil
	}
	return b
}
