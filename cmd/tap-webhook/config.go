package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
	"github.com/meshtls-tap/meshtls-tap/webhook"
)

// environment is what the webhook reads of its environment, once; see variables for the tags.
type environment struct {
	Listen         string     `env:"WEBHOOK_LISTEN" envDefault:":10250" about:"HTTPS address of /inject and /annotate"`
	MetricsListen  string     `env:"WEBHOOK_METRICS_LISTEN" envDefault:":9469" about:"HTTP address of /metrics, /healthz, /readyz"`
	Image          string     `env:"WEBHOOK_IMAGE" about:"the tap's image; required"`
	PullPolicy     string     `env:"WEBHOOK_IMAGE_PULL_POLICY" envDefault:"IfNotPresent" about:"of the tap in pods"`
	ImageCheck     bool       `env:"WEBHOOK_IMAGE_CHECK" envDefault:"true" about:"inject only an image that was seen to run in the own namespace"`
	Mode           string     `env:"WEBHOOK_MODE" envDefault:"native" about:"native or container"`
	Profile        string     `env:"WEBHOOK_PROFILE" envDefault:"auto" about:"auto, default, baseline, root or openshift"`
	Quota          string     `env:"WEBHOOK_QUOTA" envDefault:"fit" about:"fit, never or always: taps that a ResourceQuota counts"`
	QuotaGrowth    int        `env:"WEBHOOK_QUOTA_GROWTH" envDefault:"10" about:"fit: how many times its pods an owner without an autoscaler may come to have"`
	CertMode       string     `env:"WEBHOOK_CERT_MODE" envDefault:"self" about:"self or files"`
	CertDir        string     `env:"WEBHOOK_CERT_DIR" envDefault:"/etc/meshtls-tap-webhook/tls" about:"files: where tls.crt and tls.key are"`
	CertSecret     string     `env:"WEBHOOK_CERT_SECRET" envDefault:"meshtls-tap-webhook-ca" about:"self: the Secret of the own authority"`
	CertHosts      []string   `env:"WEBHOOK_CERT_HOSTS" about:"self: further names and addresses in the certificate"`
	ClientCA       string     `env:"WEBHOOK_CLIENT_CA_FILE" about:"PEM file of the authority of the API server's client certificate; every call then needs one"`
	ClientNames    []string   `env:"WEBHOOK_CLIENT_NAMES" about:"common or DNS names that it has to have one of; empty: any"`
	Configurations []string   `env:"WEBHOOK_CONFIGURATION_NAME" about:"MutatingWebhookConfigurations whose caBundle is ours; required with self"`
	Service        string     `env:"WEBHOOK_SERVICE_NAME" about:"the Service in front; required"`
	Namespace      string     `env:"POD_NAMESPACE" about:"the own namespace; required"`
	Pod            string     `env:"POD_NAME" about:"the own pod"`
	Lease          string     `env:"WEBHOOK_LEASE" envDefault:"meshtls-tap-webhook" about:"the Lease by which replicas elect who writes"`
	Cluster        string     `env:"WEBHOOK_CLUSTER" about:"name of the cluster, for the records"`
	PodOptIn       bool       `env:"WEBHOOK_POD_OPT_IN" envDefault:"false" about:"pods opt in by their label meshtls-tap=enabled in any namespace"`
	Allowed        []string   `env:"WEBHOOK_ALLOWED_ANNOTATIONS" about:"annotations that pods may set beside resources, without prefix; * is all"`
	TenantMay      []string   `env:"WEBHOOK_TENANT_MAY" envDefault:"enabled,until,duration,filter,mesh,mode,profile,exclude-kafka-port" about:"what a namespace may change: annotations without prefix, and enabled and until in its ConfigMap; * is all"`
	Registries     []string   `env:"WEBHOOK_ALLOWED_REGISTRIES" about:"registries, with or without a path, from which a namespace may choose the tap's image"`
	Shared         bool       `env:"WEBHOOK_SHARE_PROCESS_NAMESPACE" envDefault:"false" about:"tap pods whose containers share their processes too"`
	DryRuns        bool       `env:"WEBHOOK_DRY_RUNS" envDefault:"true" about:"ask by dry runs what a namespace admits"`
	Events         bool       `env:"WEBHOOK_EVENTS" envDefault:"true" about:"Events on the owners of pods"`
	Settings       string     `env:"WEBHOOK_SETTINGS" about:"the file that says what the tap gets"`
	Drain          string     `env:"WEBHOOK_DRAIN" envDefault:"5s" about:"how long to go on after the order to end"`
	LogLevel       slog.Level `env:"WEBHOOK_LOG_LEVEL" envDefault:"INFO" about:"debug, info, warn or error"`
	LogFormat      string     `env:"WEBHOOK_LOG_FORMAT" envDefault:"json" about:"json or text"`
	Kubeconfig     string     `env:"KUBECONFIG" about:"outside of a cluster: how to reach it"`
}

// configuration reads the environment. Every value that cannot be used is one line of
// the error.
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

// cluster returns how to reach the API server: by a kubeconfig, else as a pod does.
func cluster(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// help is the text of --help.
func help() string {
	var b strings.Builder
	b.WriteString("Usage: tap-webhook [check | --check | version]\n\nPuts the tap into pods as they are created. With check it asks, as a dry run, for a pod\nin WEBHOOK_CHECK_NAMESPACE, and fails unless it is tapped (helm test). With --check it only\nsays whether its environment can be used. Everything is set by the environment:\n\n")
	variables.Help[environment](&b)
	b.WriteString("\nThe middle column is the default. WEBHOOK_SETTINGS is described in webhook/README.md.\n")
	return b.String()
}
