package afpacket

import (
	"errors"
	"fmt"
	"net"
)

// ErrNoInterface is wrapped by Open's error if the interface does not exist. It is wrapped by Run's
// error if the interface was deleted or moved to another network namespace. In both cases, call Open
// once there is such an interface.
var ErrNoInterface = errors.New("no such interface")

// ErrFilterMemory is wrapped by Open's error if the filter does not fit into the kernel's memory
// for filters. A shorter filter may fit. Without a filter this error does not occur.
var ErrFilterMemory = errors.New("not enough memory for it")

// OpError reports which step failed on which interface, and the action to take. Its text is one
// line. If a capability is missing, errors.Is(err, os.ErrPermission) is true. If the interface is
// missing, errors.Is(err, ErrNoInterface) is true.
type OpError struct {
	Interface string
	Op        string // the step, as a verb phrase
	Err       error  // a syscall.Errno, ErrNoInterface, errors.ErrUnsupported or an error in Config
	Advice    string // the action to take; may be empty
}

// Error implements error.
func (e *OpError) Error() string {
	var advice string
	if e.Advice != "" {
		advice = ": " + e.Advice
	}
	return fmt.Sprintf("capture on %s: %s: %v%s", e.Interface, e.Op, e.Err, advice)
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// Interfaces returns the names of all interfaces, in the kernel's order.
func Interfaces() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names, nil
}
