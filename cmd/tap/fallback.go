package main

import (
	"errors"
	"maps"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// instead is what is in force where a value cannot be used and the default would publish
// more than was asked for.
var instead = map[string]string{"TAP_REDACT": "strict"}

// fallBack returns settings to begin with whatever the environment holds: what cannot be
// used is as if it were not set, and is told of in faults. There is no guessing of where
// records go and whether in the clear: then nothing is published. The error is not the
// environment's.
func fallBack(environ []string) (settings, error) {
	vars := variables.Of(environ)
	s, bad := parseEnvironment(vars)
	if len(bad) == 0 {
		return s, nil
	}
	var unfit []*variables.Unusable
	usable := maps.Clone(vars)
	for _, err := range bad {
		u, ok := errors.AsType[*variables.Unusable](err)
		if !ok {
			return s, err
		}
		unfit = append(unfit, u)
		delete(usable, u.Name)
		if v, ok := instead[u.Name]; ok {
			usable[u.Name] = v
		}
	}
	s, bad = parseEnvironment(usable)
	for _, u := range unfit {
		s.giveUp(u)
	}
	return s, errors.Join(bad...)
}

// giveUp notes that a value cannot be used, and what that comes to.
func (s *settings) giveUp(u *variables.Unusable) {
	result := "it is left out"
	if u.Name == "TAP_SINK" || u.Name == "TAP_KAFKA_TLS" && s.publishToKafka {
		s.noSink = u.Error()
		result = "nothing is published"
	} else if value := inForce(u.Name); value != "" {
		result = value + " is in force"
	}
	s.faults = append(s.faults, u.Error()+"; "+result)
}

// inForce returns what a variable is once its own value is given up.
func inForce(name string) string {
	if value, ok := instead[name]; ok {
		return value
	}
	return variables.Defaults[environment]()[name]
}

// tapInAnyCase makes a tap whatever the environment holds. Where its brokers cannot be
// made use of it has no sink; how records are packed is not worth that.
func tapInAnyCase(environ []string, std streams) (*tap, error) {
	s, err := fallBack(environ)
	if err != nil {
		return nil, err
	}
	t, err := newTap(s, std)
	if err == nil {
		return t, nil
	}
	why := strings.ReplaceAll(strings.TrimSuffix(trimUsage(err), seeHelp), "\n", "; ")
	k := &s.kafka
	k.Compression, k.BatchTimeout, k.BatchSize, k.BatchBytes = "", 0, 0, 0
	s.faults = append(s.faults, why+"; the defaults of compression and batches are in force")
	if t, err = newTap(s, std); err == nil {
		return t, nil
	}
	s.faults[len(s.faults)-1] = why + "; nothing is published"
	s.noSink = why
	return newTap(s, std)
}
