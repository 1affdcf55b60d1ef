// Package manifest adds the tap to the pods of Kubernetes manifests, and removes it again. A manifest is a stream of YAML or JSON
// documents. Documents without pods stay the same byte for byte; in the others, comments and the order of fields remain.
package manifest
