// Package inject puts the tap into a pod: a pod as JSON and what is known of its namespace in, a JSON Patch (RFC 6902) of `add` operations out.
//
// Order of use: [ParseSettings] reads what the platform configured; a [Config] has it with the image. For each pod [Tap] returns a [Result]:
// the patch, or the reason why there is none. The webhook fills in [Namespace] from the API server. [Annotate] is
// called earlier, before the mesh's own injector: it takes the brokers' ports out of the mesh.
//
// The package is pure: no clock, no I/O, no log, and safe for concurrent use. The pod itself is never encoded again, so nothing of it is
// lost, whatever version of Kubernetes wrote it.
package inject
