package webhook

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	recorder "k8s.io/client-go/tools/events"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// events sends Events to the objects that they are about. The recorder sends in the background, aggregates
// equal Events, and drops Events above its rate limit.
type events struct {
	recorder recorder.EventRecorder // nil: no Events are sent
}

// maxNote bounds the note of an Event, in bytes. The API allows 1024 (k8s.io/api events/v1).
const maxNote = 1000

// pod sends an Event about the decision on a pod to the pod's owner. For a pod without an owner there is no Event,
// because the pod itself does not exist yet.
func (e *events) pod(r *review, result *inject.Result) {
	o := result.Owner
	if e.recorder == nil || o == nil || result.Reason.Quiet() || result.Reason == inject.ReasonNotAPod {
		return
	}
	owner := &corev1.ObjectReference{
		APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, UID: types.UID(o.UID), Namespace: r.Request.Namespace,
	}
	if result.Reason == inject.Injected {
		e.send(owner, corev1.EventTypeNormal, inject.EventTapped, "A pod was created with a tap: mode %s, profile %s.", string(result.Mode), string(result.Profile))
		return
	}
	if result.Reason == inject.ReasonForeign {
		e.send(owner, corev1.EventTypeWarning, inject.EventForeign, "A pod was created without a tap: %s.", result.Detail)
		return
	}
	e.send(owner, corev1.EventTypeWarning, inject.EventNotTapped, inject.NotTappedNote, string(result.Reason), result.Detail)
}

// namespace sends an Event about a namespace, in that namespace.
func (e *events) namespace(name, kind, reason, note string, args ...any) {
	if e.recorder == nil {
		return
	}
	e.send(&corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: name, Namespace: name}, kind, reason, note, args...)
}

func (e *events) send(about *corev1.ObjectReference, kind, reason, note string, args ...any) {
	for i, a := range args {
		if text, ok := a.(string); ok && len(text) > maxNote/2 {
			args[i] = text[:maxNote/2] + "..."
		}
	}
	e.recorder.Eventf(about, nil, kind, reason, "Tap", note, args...)
}
