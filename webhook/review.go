package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// maxBody bounds a review, in bytes. The API server accepts objects of up to 3 MiB.
const maxBody = 4 << 20

// review has the fields of an AdmissionReview (admission.k8s.io/v1) that the webhook reads.
type review struct {
	Request *request `json:"request"`

	ownDryRun bool // the request is one of the webhook's own dry runs
}

type request struct {
	UID       types.UID `json:"uid"`
	Namespace string    `json:"namespace"`
	Operation string    `json:"operation"`
	DryRun    *bool     `json:"dryRun"`
	Resource  struct {
		Group    string `json:"group"`
		Resource string `json:"resource"`
	} `json:"resource"`
	SubResource string          `json:"subResource"`
	Object      json.RawMessage `json:"object"`
}

// errNoReview is returned for a body that is not an AdmissionReview.
var errNoReview = errors.New("not an AdmissionReview")

func readReview(body []byte) (*review, error) {
	var r review
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoReview, err)
	}
	if r.Request == nil || r.Request.UID == "" {
		return nil, fmt.Errorf("%w: it has no request", errNoReview)
	}
	return &r, nil
}

// dryRun reports whether the request is a dry run, which must have no lasting effect.
func (r *review) dryRun() bool { return r.Request.DryRun != nil && *r.Request.DryRun }

// creates reports whether the request is to create a pod.
func (r *review) creates() bool {
	q := r.Request
	return q.Operation == string(admissionv1.Create) && q.Resource.Group == "" && q.Resource.Resource == "pods" && q.SubResource == ""
}

// uidOf returns the uid in start, which is the start of a review that could not be read completely. It returns "" if
// start has no uid. The API server ignores a response without the uid.
func uidOf(start []byte) types.UID {
	d := json.NewDecoder(bytes.NewReader(start))
	if !enter(d, "request") || !enter(d, "uid") {
		return ""
	}
	uid, _ := d.Token()
	text, _ := uid.(string)
	return types.UID(text)
}

// enter reads a JSON object up to the value of a key, and reports whether it found the key.
func enter(d *json.Decoder, want string) bool {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for {
		key, err := d.Token()
		if err != nil || key == json.Delim('}') {
			return false
		}
		if key == want {
			return true
		}
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			return false
		}
	}
}

// newResponse returns the review that allows the pod, with the result's patch and warnings.
func newResponse(uid types.UID, result *inject.Result) *admissionv1.AdmissionReview {
	response := &admissionv1.AdmissionResponse{UID: uid, Allowed: true, Warnings: result.Warnings}
	if len(result.Patch) > 0 {
		if patch, err := json.Marshal(result.Patch); err == nil {
			kind := admissionv1.PatchTypeJSONPatch
			response.Patch, response.PatchType = patch, &kind
		}
	}
	a := &admissionv1.AdmissionReview{Response: response}
	a.SetGroupVersionKind(admissionv1.SchemeGroupVersion.WithKind("AdmissionReview"))
	return a
}
