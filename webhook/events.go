package webhook

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	recorder "k8s.io/client-go/tools/events"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// events tells people of what happened, where they look for it. Events are sent in the
// background, the same ones are counted rather than repeated, and what is too much is dropped.
type events struct {
	recorder recorder.EventRecorder // nil: none are sent
}

const maxNote = 1000 // k8s.io/api events/v1: 1024

// pod tells the owner of a pod what became of it. A pod without one is not there yet.
func (e *events) pod(r *review, result *inject.Result) {
	o := result.Owner
	if e.recorder == nil || o == nil || result.Reason.Quiet() || result.Reason == reasonNotAPod {
		return
	}
	owner := &corev1.ObjectReference{
		APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, UID: types.UID(o.UID), Namespace: r.Request.Namespace,
	}
	if result.Reason == inject.Injected {
		e.send(owner, corev1.EventTypeNormal, "Tapped", "The tap was put into a pod: %s, profile %s.", string(result.Mode), string(result.Profile))
		return
	}
	if result.Reason == inject.ReasonForeign {
		e.send(owner, corev1.EventTypeWarning, "ForeignContainer", "A pod was created without a tap: %s.", result.Detail)
		return
	}
	e.send(owner, corev1.EventTypeWarning, "NotTapped", "A pod was created without a tap: %s. %s", string(result.Reason), result.Detail)
}

// namespace tells a namespace, in its own Events.
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
