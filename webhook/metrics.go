package webhook

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// The webhook's metrics. They are in the registry of controller-runtime, next to the metrics of controller-runtime
// itself.
var (
	injections = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshtls_tap_injections_total",
		Help: "Pods that the webhook was asked about, by result (injected, skipped, error) and reason.",
	}, []string{"result", "reason"})
	responseTimes = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "meshtls_tap_injection_duration_seconds",
		Help:    "Time to answer one admission review, by path.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	}, []string{"path"})
	podStates = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshtls_tap_pods",
		Help: "Pods of the namespaces that ask for taps, by state: tapped, outdated (by an older configuration), untapped (though it could be), opted_out, refused, quota, host_network, shared_process_namespace, foreign_container, and skipped for another reason.",
	}, []string{"namespace", "state"})
	admittedProfiles = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshtls_tap_profile_admitted",
		Help: "Whether the namespace admits a tapped pod of the profile, as the last dry run showed.",
	}, []string{"namespace", "profile"})
	certificateEnd = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshtls_tap_webhook_certificate_not_after_seconds",
		Help: "Unix time at which a certificate of the webhook ends: its server's or its authority's.",
	}, []string{"certificate"})
	buildInfo = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshtls_tap_webhook_build_info",
		Help: "1, with the webhook's version.",
	}, []string{"version"})
)

// ours are all of these metrics.
var ours = []prometheus.Collector{injections, responseTimes, podStates, admittedProfiles, certificateEnd, buildInfo}

func init() { //nolint:gochecknoinits // metrics are registered once in a process
	metrics.Registry.MustRegister(ours...)
}
