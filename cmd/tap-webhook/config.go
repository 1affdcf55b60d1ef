package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
	"github.com/meshtls-tap/meshtls-tap/webhook"
)

// environment has the environment variables that the webhook reads at its start. Package variables describes the tags
// of the fields.
type environment struct {
	Listen         string     `env:"WEBHOOK_LISTEN" envDefault:":10250" about:"HTTPS address of /inject and /annotate"`
	MetricsListen  string     `env:"WEBHOOK_METRICS_LISTEN" envDefault:":9469" about:"HTTP address of /metrics, /healthz, /readyz"`
	Image          string     `env:"WEBHOOK_IMAGE" about:"the tap's image; required"`
	PullPolicy     string     `env:"WEBHOOK_IMAGE_PULL_POLICY" envDefault:"IfNotPresent" about:"imagePullPolicy of the tap in pods"`
	ImageCheck     bool       `env:"WEBHOOK_IMAGE_CHECK" envDefault:"true" about:"inject only images that have run in a pod of the webhook's namespace"`
	Mode           string     `env:"WEBHOOK_MODE" envDefault:"native" about:"native (sidecar) or container"`
	Profile        string     `env:"WEBHOOK_PROFILE" envDefault:"auto" about:"auto, default, baseline, root or openshift"`
	Quota          string     `env:"WEBHOOK_QUOTA" envDefault:"fit" about:"fit, never or always: whether to inject taps that a ResourceQuota counts"`
	QuotaGrowth    int        `env:"WEBHOOK_QUOTA_GROWTH" envDefault:"10" about:"fit: factor by which the number of pods of an owner without an autoscaler may grow"`
	CertMode       string     `env:"WEBHOOK_CERT_MODE" envDefault:"self" about:"self or files"`
	CertDir        string     `env:"WEBHOOK_CERT_DIR" envDefault:"/etc/meshtls-tap-webhook/tls" about:"files: directory of tls.crt and tls.key"`
	CertSecret     string     `env:"WEBHOOK_CERT_SECRET" envDefault:"meshtls-tap-webhook-ca" about:"self: the Secret of the webhook's authority"`
	CertHosts      []string   `env:"WEBHOOK_CERT_HOSTS" about:"self: additional names and addresses in the certificate"`
	ClientCA       string     `env:"WEBHOOK_CLIENT_CA_FILE" about:"PEM file of the authority of the API server's client certificate; every call then needs one"`
	ClientNames    []string   `env:"WEBHOOK_CLIENT_NAMES" about:"common or DNS names, of which that certificate must have one; empty: any"`
	Configurations []string   `env:"WEBHOOK_CONFIGURATION_NAME" about:"self: MutatingWebhookConfigurations whose caBundle the webhook writes; required"`
	Service        string     `env:"WEBHOOK_SERVICE_NAME" about:"the Service through which the API server calls the webhook; required"`
	Namespace      string     `env:"POD_NAMESPACE" about:"the webhook's namespace; required"`
	Pod            string     `env:"POD_NAME" about:"the webhook's pod"`
	Lease          string     `env:"WEBHOOK_LEASE" envDefault:"meshtls-tap-webhook" about:"the Lease by which the replicas elect a leader"`
	Cluster        string     `env:"WEBHOOK_CLUSTER" about:"name of the cluster in the records"`
	PodOptIn       bool       `env:"WEBHOOK_POD_OPT_IN" envDefault:"false" about:"pods in any namespace may request a tap by the label meshtls-tap=enabled"`
	Allowed        []string   `env:"WEBHOOK_ALLOWED_ANNOTATIONS" about:"annotations, without prefix, that pods may set in addition to resources; * is all"`
	TenantMay      []string   `env:"WEBHOOK_TENANT_MAY" envDefault:"enabled,until,duration,filter,mesh,mode,profile,exclude-kafka-port" about:"what a namespace may change: annotations without prefix, and enabled and until in its ConfigMap; * is all"`
	Registries     []string   `env:"WEBHOOK_ALLOWED_REGISTRIES" about:"registries, with or without a path, from which a namespace may choose the tap's image"`
	Shared         bool       `env:"WEBHOOK_SHARE_PROCESS_NAMESPACE" envDefault:"false" about:"tap pods whose containers share a process namespace too"`
	DryRuns        bool       `env:"WEBHOOK_DRY_RUNS" envDefault:"true" about:"find out by dry runs what a namespace admits"`
	Events         bool       `env:"WEBHOOK_EVENTS" envDefault:"true" about:"send Events about tapped and skipped pods"`
	Settings       string     `env:"WEBHOOK_SETTINGS" about:"the settings file: the properties of the tap in pods"`
	Drain          string     `env:"WEBHOOK_DRAIN" envDefault:"5s" about:"how long to continue after SIGTERM"`
	LogLevel       slog.Level `env:"WEBHOOK_LOG_LEVEL" envDefault:"INFO" about:"debug, info, warn or error"`
	LogFormat      string     `env:"WEBHOOK_LOG_FORMAT" envDefault:"json" about:"json or text"`
	Kubeconfig     string     `env:"KUBECONFIG" about:"outside of a cluster: the kubeconfig file"`
}

// configuration parses the environment. The error has a line for each invalid value.
func configuration(environ []string, logs io.Writer) (webhook.Config, error) {
	var e environment
	errs := variables.Parse(&e, variables.Of(environ))
	if len(errs) > 0 {
		return webhook.Config{}, errors.Join(errs...)
	}

	cfg := webhook.Config{
		Listen: e.Listen, MetricsListen: e.MetricsListen,
		Image: e.Image, PullPolicy: e.PullPolicy, ImageCheck: e.ImageCheck, Mode: e.Mode, Profile: e.Profile,
		TenantMay: variables.List(e.TenantMay), Registries: variables.List(e.Registries), SharedProcesses: e.Shared, DryRuns: e.DryRuns,
		Quota: e.Quota, QuotaGrowth: e.QuotaGrowth,
		ClusterName: e.Cluster, PodOptIn: e.PodOptIn, AllowedAnnotations: variables.List(e.Allowed),
		CertMode: e.CertMode, CertDir: e.CertDir, CertSecret: e.CertSecret, CertHosts: variables.List(e.CertHosts),
		ClientCA: e.ClientCA, ClientNames: variables.List(e.ClientNames),
		Configurations: variables.List(e.Configurations), Service: e.Service, Namespace: e.Namespace, Pod: e.Pod, Lease: e.Lease,
		Events: e.Events, Version: version,
	}

	var err error
	if cfg.Drain, err = time.ParseDuration(e.Drain); err != nil || cfg.Drain < 0 {
		errs = append(errs, fmt.Errorf("WEBHOOK_DRAIN=%s: expected a duration such as 5s", e.Drain))
	}
	if e.Settings != "" {
		if cfg.Settings, err = os.ReadFile(e.Settings); err != nil {
			errs = append(errs, fmt.Errorf("WEBHOOK_SETTINGS: %w", err))
		}
	}
	if cfg.Log, err = logger(logs, e.LogFormat, e.LogLevel); err != nil {
		errs = append(errs, err)
	}

	errs = append(errs, cfg.Check())
	if cfg.Cluster, err = cluster(e.Kubeconfig); err != nil {
		errs = append(errs, fmt.Errorf("KUBECONFIG: %w", err))
	}
	return cfg, errors.Join(errs...)
}

func logger(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return nil, fmt.Errorf("WEBHOOK_LOG_FORMAT=%s: expected json or text", format)
}

// cluster returns the configuration of a client of the API server. It is read from a kubeconfig file or, if
// kubeconfig is "", from the files that Kubernetes mounts into a pod.
func cluster(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			err = fmt.Errorf("%w: outside of a cluster, set KUBECONFIG to a file", err)
		}
		return config, err
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// unknown returns the names of WEBHOOK_ variables that this version does not have.
func unknown(environ []string) []string {
	all := variables.Unknown[environment](variables.Of(environ), "WEBHOOK_")
	return slices.DeleteFunc(all, func(name string) bool {
		_, ok := variables.Defaults[checkEnvironment]()[name]
		return ok
	})
}

// help returns the text of --help.
func help() string {
	var b strings.Builder
	b.WriteString("Usage: tap-webhook [check | --check | version]\n\nAdds the tap to pods at admission. check creates a pod in WEBHOOK_CHECK_NAMESPACE as a dry\nrun and fails unless it is tapped (helm test). --check only checks the environment.\nThe environment has all settings:\n\n")
	variables.Help[environment](&b)
	b.WriteString("\nThe middle column is the default. WEBHOOK_SETTINGS is described in webhook/README.md.\n")
	return b.String()
}
