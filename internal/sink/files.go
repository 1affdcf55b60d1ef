package sink

import (
	"errors"
	"fmt"
)

// CheckFiles reads the files of certificates, keys, passwords and tokens. It returns an error, which contains the setting to see, for
// each that cannot be used. A sink reads these files for each connection, so they may also be created later.
func (c *KafkaConfig) CheckFiles() (errs []error) {
	explain := &client{cfg: *c}
	if c.TLS != nil {
		if _, err := c.TLS.load(); err != nil {
			errs = append(errs, explain.fileProblem(err))
		}
	}
	if c.SASL != nil {
		if _, err := (&login{*c.SASL}).password(); err != nil {
			errs = append(errs, explain.fileProblem(&errPassword{err}))
		}
	}
	return errs
}

// fileProblem returns an error with the setting to see if err is about a file that cannot be used. It returns nil for any other error.
func (c *client) fileProblem(err error) error {
	if f, ok := errors.AsType[*errFile](err); ok {
		return fmt.Errorf("%w: see %s", f.err, f.setting)
	}
	if p, ok := errors.AsType[*errPassword](err); ok {
		return fmt.Errorf("%w: see %s", p.err, c.passwordSetting())
	}
	return nil
}
