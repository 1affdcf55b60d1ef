// Package webhook puts the tap into pods as they are created: the admission server, its certificates, and the controller that finds out
// which taps a namespace admits and ends what was requested for a limited time. The decision itself is internal/inject's. A response always
// allows the pod.
//
// Order of use: [Run] with a [Config] runs all of it until its context ends.
package webhook
