package ocsf

const applicationLifecycle = 6002

// Values of activity_id in Application Lifecycle.
const (
	lifecycleStart = 3
	lifecycleStop  = 4
)

// lifecycle writes a record of the tap itself. It is a failure if the tap is degraded or blind.
func (e *event) lifecycle() {
	activity := int64(other)
	switch e.Event.Action {
	case "started":
		activity = lifecycleStart
	case "stopped":
		activity = lifecycleStop
	}
	e.class(applicationLifecycle, activity, e.Event.Action)

	severity, status := int64(informational), int64(statusSuccess)
	if t := e.Meshtls.Tap; e.Event.Action == "degraded" || t != nil && t.Blind != nil && *t.Blind {
		severity, status = medium, statusFailure
	}
	e.base(severity)
	e.status(status, "")
	e.object("app", e.product)
	e.unmapped(func() {})
}
