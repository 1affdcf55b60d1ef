package ocsf

import "github.com/meshtls-tap/meshtls-tap/internal/record"

// Version is the version of OCSF.
const Version = "1.6.0"

// provider is metadata.log_provider and the vendor of the product.
const provider = "meshtls-tap"

// Append appends r as one JSON object without a line break. It does not change r. Equal records have equal bytes.
func Append(b []byte, r *record.Record) []byte {
	e := event{writer: writer{b}, Record: r}
	e.object("", func() {
		switch r.Event.Dataset {
		case record.DatasetFinding:
			e.finding()
		case record.DatasetTap:
			e.lifecycle()
		default:
			e.network()
		}
	})
	return e.b[:len(e.b)-1] // without the comma
}

// event is a record that is being encoded.
type event struct {
	writer
	*record.Record
}

// Values that several classes have in common.
const (
	other         = 99 // an activity or status that OCSF does not have
	statusUnknown = 0
	statusSuccess = 1
	statusFailure = 2
)

// Values of severity_id.
const (
	informational = 1
	low           = 2
	medium        = 3
	high          = 4
	critical      = 5
)

// class writes the attributes that name the class and the activity. action is the name of the activity other.
func (e *event) class(uid, activity int64, action string) {
	e.number("category_uid", uid/1000)
	e.number("class_uid", uid)
	e.number("activity_id", activity)
	if activity == other {
		e.text("activity_name", action)
	}
	e.number("type_uid", uid*100+activity)
}

// base writes the attributes that each event has.
func (e *event) base(severity int64, profiles ...string) {
	e.number("severity_id", severity)
	e.number("time", e.Timestamp.Std().UnixMilli())
	e.number("start_time", e.Event.Start.Std().UnixMilli())
	e.number("end_time", e.Event.End.Std().UnixMilli())
	e.number("duration", e.Event.Duration/1e6)
	e.text("message", e.Message)
	e.text("status_detail", e.Event.Reason)
	e.object("metadata", func() {
		e.text("version", Version)
		e.texts("profiles", profiles)
		e.text("uid", e.Event.ID)
		e.count("sequence", e.Event.Sequence)
		e.text("correlation_uid", e.Meshtls.Finding.GroupID)
		e.text("log_provider", provider)
		e.text("log_name", e.Event.Dataset)
		e.time("logged_time", e.Event.Created)
		e.texts("labels", e.Tags)
		e.object("product", e.product)
	})
}

func (e *event) product() {
	e.text("name", e.Observer.Product)
	e.text("vendor_name", provider)
	e.text("version", e.Observer.Version)
}

// status writes status_id. text is the name of the status other.
func (e *event) status(id int64, text string) {
	e.number("status_id", id)
	if id == other {
		e.text("status", text)
	}
}

// unmapped writes the members of the record for which OCSF has no attribute. more writes those that depend on the class.
func (e *event) unmapped(more func()) {
	e.object("unmapped", func() {
		more()
		e.part("meshtls", &e.Meshtls)
		e.object("observer", func() {
			e.text("name", e.Observer.Name)
			if e.Observer.Ingress.Interface.Name != "" {
				e.part("ingress", &e.Observer.Ingress)
			}
		})
		if e.Orchestrator.Type != "" {
			e.part("orchestrator", &e.Orchestrator)
		}
		e.part("kubernetes", &e.Kubernetes)
		e.object("service", func() { e.text("name", e.Service.Name) })
	})
}
