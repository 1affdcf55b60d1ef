package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// webhookSuffix ends the names of the product's webhooks, and injectPath is where the one that adds taps is called (charts/tap).
const (
	webhookSuffix = ".tap.meshtls-tap"
	injectPath    = "/inject"
)

// installation is the webhook as the cluster's objects describe it.
type installation struct {
	configuration *admissionv1.MutatingWebhookConfiguration // nil: there is none
	hook          *admissionv1.MutatingWebhook              // the one that adds taps; nil if configuration is
	deployment    *appsv1.Deployment                        // nil: not found, or not readable

	cfg     inject.Config // the webhook's; the defaults if assumed is not ""
	assumed string        // why the webhook's settings could not be read, or ""
}

// readInstallation reads the webhook's objects. It returns an error only if the API server does not respond or refuses the first read.
func readInstallation(ctx context.Context, client kubernetes.Interface) (*installation, error) {
	i := &installation{cfg: defaultConfig()}
	list, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return i, err
	}
	for n := range list.Items {
		for h := range list.Items[n].Webhooks {
			hook := &list.Items[n].Webhooks[h]
			if strings.HasSuffix(hook.Name, webhookSuffix) && pathOf(&hook.ClientConfig) == injectPath && i.hook == nil {
				i.configuration, i.hook = &list.Items[n], hook
			}
		}
	}
	if i.hook == nil {
		return i, nil
	}
	service := i.hook.ClientConfig.Service
	if service == nil {
		i.assumed = "the webhook is called by a URL, not through a Service"
		return i, nil
	}
	i.cfg.Own = service.Namespace
	if err := i.readSettings(ctx, client, service.Namespace); err != nil {
		i.assumed = err.Error()
	}
	return i, nil
}

// pathOf returns the path at which the API server calls a webhook.
func pathOf(c *admissionv1.WebhookClientConfig) string {
	switch {
	case c.Service != nil && c.Service.Path != nil:
		return *c.Service.Path
	case c.URL != nil:
		return (*c.URL)[strings.LastIndexByte(*c.URL, '/'):]
	}
	return ""
}

// defaultConfig returns the configuration of a webhook that is installed with the chart's defaults.
func defaultConfig() inject.Config {
	return inject.Config{
		Settings: inject.Settings{}.Defaults(), Image: repository, Mode: inject.Native, Profile: inject.ProfileAuto,
		TenantMay: []string{"enabled", inject.AnnotationUntil, inject.AnnotationDuration, "filter", "mesh", "mode", inject.AnnotationProfile, "exclude-kafka-port"},
	}
}

// readSettings reads the webhook's configuration from its Deployment and its settings file.
func (i *installation) readSettings(ctx context.Context, client kubernetes.Interface, ns string) error {
	list, err := client.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for n := range list.Items {
		for _, c := range list.Items[n].Spec.Template.Spec.Containers {
			env := map[string]string{}
			for _, e := range c.Env {
				env[e.Name] = e.Value
			}
			if env["WEBHOOK_IMAGE"] == "" {
				continue
			}
			i.deployment = &list.Items[n]
			i.setEnvironment(env)
			return i.readSettingsFile(ctx, client, ns)
		}
	}
	return fmt.Errorf("namespace %s has no Deployment with the variable WEBHOOK_IMAGE", ns)
}

// setEnvironment sets the fields that the webhook's variables set (webhook/README.md) and that matter for what happens to a pod.
func (i *installation) setEnvironment(env map[string]string) {
	list := func(name string) []string {
		return strings.FieldsFunc(env[name], func(r rune) bool { return r == ',' || r == ' ' })
	}
	c := &i.cfg
	c.Image, c.PullPolicy = env["WEBHOOK_IMAGE"], corev1.PullPolicy(cmp.Or(env["WEBHOOK_IMAGE_PULL_POLICY"], string(corev1.PullIfNotPresent)))
	c.Mode, c.Profile = inject.Mode(cmp.Or(env["WEBHOOK_MODE"], string(inject.Native))), inject.Profile(cmp.Or(env["WEBHOOK_PROFILE"], string(inject.ProfileAuto)))
	c.Cluster = env["WEBHOOK_CLUSTER"]
	c.PodOptIn, _ = strconv.ParseBool(env["WEBHOOK_POD_OPT_IN"])
	c.SharedProcesses, _ = strconv.ParseBool(env["WEBHOOK_SHARE_PROCESS_NAMESPACE"])
	c.Allowed, c.Registries = list("WEBHOOK_ALLOWED_ANNOTATIONS"), list("WEBHOOK_ALLOWED_REGISTRIES")
	if _, set := env["WEBHOOK_TENANT_MAY"]; set {
		c.TenantMay = list("WEBHOOK_TENANT_MAY")
	}
}

func (i *installation) readSettingsFile(ctx context.Context, client kubernetes.Interface, ns string) error {
	for _, v := range i.deployment.Spec.Template.Spec.Volumes {
		if v.ConfigMap == nil || !strings.HasSuffix(v.ConfigMap.Name, "-settings") {
			continue
		}
		object, err := client.CoreV1().ConfigMaps(ns).Get(ctx, v.ConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		settings, err := inject.ParseSettings([]byte(object.Data["settings.yaml"]))
		if err != nil {
			return fmt.Errorf("ConfigMap %s: %w", v.ConfigMap.Name, err)
		}
		i.cfg.Settings = settings
	}
	return nil
}

// configMap returns the name of the ConfigMap in tapped namespaces.
func (i *installation) configMap() string {
	return cmp.Or(*i.cfg.Settings.ConfigMap, *inject.Settings{}.Defaults().ConfigMap)
}

// may reports whether the platform allows namespaces a setting. It says so too if that could not be read.
func (i *installation) may(key string) bool { return i.assumed != "" || i.cfg.NamespaceMay(key) }

// tapsState is what a namespace's objects say about its taps.
type tapsState struct {
	object *corev1.Namespace
	config *corev1.ConfigMap // empty if there is none
	off    bool              // the ConfigMap turns taps off
	until  time.Time         // the end of the taps, as far as annotation and ConfigMap show it; zero: none
}

// readTapsState reads the state of a namespace's taps.
func readTapsState(ctx context.Context, client kubernetes.Interface, i *installation, ns string) (*tapsState, error) {
	object, err := client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	config, err := client.CoreV1().ConfigMaps(ns).Get(ctx, i.configMap(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		config, err = &corev1.ConfigMap{}, nil
	}
	if err != nil {
		return nil, err
	}
	s := &tapsState{object: object, config: config}
	enabled, bad := strconv.ParseBool(config.Data[configEnabled])
	s.off = bad == nil && !enabled
	for _, text := range []string{object.Annotations[inject.Prefix+inject.AnnotationUntil], config.Data[configUntil]} {
		if t, err := time.Parse(time.RFC3339, text); err == nil && (s.until.IsZero() || t.Before(s.until)) {
			s.until = t
		}
	}
	return s, nil
}

// Keys of the namespace's ConfigMap (webhook/README.md).
const (
	configEnabled = "enabled"
	configUntil   = "until"
)

// over reports whether the time for which the namespace requested taps is over.
func (s *tapsState) over(now time.Time) bool { return !s.until.IsZero() && !s.until.After(now) }

// view returns the namespace as the webhook sees it, without what only its own tests can show.
func (s *tapsState) view(now time.Time) *inject.Namespace {
	return &inject.Namespace{
		Name: s.object.Name, Labels: s.object.Labels, Annotations: s.object.Annotations, Until: s.until, Off: s.off && !s.over(now),
	}
}

// labeled returns when the namespace's label was set, or the zero time if that is not recorded.
func (s *tapsState) labeled() time.Time {
	for _, f := range slices.Backward(s.object.ManagedFields) {
		if f.Time != nil && f.FieldsV1 != nil && strings.Contains(string(f.FieldsV1.GetRawBytes()), `"f:`+inject.Label+`"`) {
			return f.Time.Time
		}
	}
	return time.Time{}
}
