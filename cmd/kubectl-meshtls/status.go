package main

import (
	"errors"
	"fmt"
)

// Exit statuses. They are the same as those of `tap read`.
const (
	exitFine     = 0
	exitError    = 1
	exitUsage    = 2
	exitFinding  = 3 // a finding of --fail-on; for verify: not mutual TLS
	exitUnjudged = 4 // no connection could be judged
)

// statusError is an error with an exit status of its own.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// usageErrorf returns an error about the command line.
func usageErrorf(format string, args ...any) error {
	return &statusError{status: exitUsage, err: fmt.Errorf(format, args...)}
}

// findingErrorf returns the error of a command that worked and found what it was asked to fail on.
func findingErrorf(format string, args ...any) error {
	return &statusError{status: exitFinding, err: fmt.Errorf(format, args...)}
}

// unjudgedErrorf returns the error of a command that could not judge any connection.
func unjudgedErrorf(format string, args ...any) error {
	return &statusError{status: exitUnjudged, err: fmt.Errorf(format, args...)}
}

// exitStatus returns the exit status for an error of a command.
func exitStatus(err error) int {
	var s *statusError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &s):
		return s.status
	}
	return exitError
}
