// Package inject adds the tap to pods: from a pod as JSON and the state of its namespace it computes a JSON Patch (RFC 6902) that consists
// of `add` operations.
//
// Order of use: [ParseSettings] reads the platform's settings; a [Config] combines them with the image. The webhook fills in a [Namespace]
// from the API server. For each pod [Tap] returns a [Result]: the patch, or the reason why the pod is not tapped. [Annotate] is called earlier,
// before the mesh's injector: it excludes the brokers' ports from the mesh.
//
// The package is pure: it uses no clock, I/O or log, and is safe for concurrent use. It never encodes the pod again, so fields that it
// does not know are preserved.
package inject
