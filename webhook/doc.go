// Package webhook adds the tap to pods at admission. It contains the admission server and its certificates. It also
// contains two controllers: one finds out which profiles a namespace admits, and one ends taps that were requested for
// a limited time. internal/inject decides whether and how a pod is tapped. A response always allows the pod.
//
// Order of use: [Config.Check] checks a [Config]; [Run] runs the webhook until its context ends.
package webhook
