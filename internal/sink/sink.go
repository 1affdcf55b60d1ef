package sink

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
)

// Reasons for records that a sink drops. The sink's buffer has further reasons.
const (
	dropBadTime  = "bad_time" // too far from the broker's clock (message.timestamp.*.max.ms)
	dropRejected = "rejected" // the broker refused this record for its content
)

// The classes of delivery errors, in Status.ErrorClass and in metrics.
const (
	classConnection    = "connection"    // no broker at these addresses
	className          = "name"          // a name cannot be resolved
	classAdvertised    = "advertised"    // the brokers advertise an address that cannot be reached from here
	classTimeout       = "timeout"       // no response in time
	classClosed        = "closed"        // the broker closed the connection
	classTLS           = "tls"           // a certificate is not valid, or only one end speaks TLS
	classLogin         = "login"         // the broker refused the user, password, token or mechanism
	classFile          = "file"          // a file of a certificate or secret cannot be used
	classTopic         = "topic"         // the topic does not exist, or its name is not valid
	classAuthorization = "authorization" // Write or Describe is not granted
	classBroker        = "broker"        // the broker responded with another error
	classQuota         = "quota"         // the broker throttles this client; records are delivered
	classOutput        = "output"        // standard output cannot be written to
	classOther         = "other"
)

// Status is a snapshot of a sink. Its maps belong to the caller.
type Status struct {
	OK         bool      // the last attempt to deliver succeeded
	Reason     string    // one line: why the last attempt failed, and which setting to check; empty when OK
	ErrorClass string    // class of Reason, such as connection, tls or topic, or ""
	Since      time.Time // when OK or Reason last changed

	Down      bool          // no broker could be reached at the last attempt
	Throttled time.Duration // how long the broker's quotas have made the sink wait
	Retries   uint64        // failed attempts; each was or will be repeated

	buffer.Stats
}
