package main

import (
	"errors"
	"maps"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// instead maps a variable to the value that replaces an invalid one. It has only the variables whose default
// would publish more than the user asked for.
var instead = map[string]string{"TAP_REDACT": "strict"}

// fallBack returns usable settings for any environment. An invalid value counts as not set and is described in settingErrors. Two
// settings are never guessed: the destination of records, and whether records may be sent in plaintext. If one of them is
// invalid, nothing is published. A returned error is a fault of the tap itself.
func fallBack(environ []string) (settings, error) {
	vars := variables.Of(environ)
	s, bad := parseEnvironment(vars)
	if len(bad) == 0 {
		s.doubtful = s.doubts(vars)
		return s, nil
	}

	var invalid []*variables.Unusable
	usable := maps.Clone(vars)
	for _, err := range bad {
		u, ok := errors.AsType[*variables.Unusable](err)
		if !ok {
			return s, err
		}
		invalid = append(invalid, u)
		delete(usable, u.Name)
		if v, ok := instead[u.Name]; ok {
			usable[u.Name] = v
		}
	}

	mute := s.mute
	s, bad = parseEnvironment(usable)
	s.mute = mute // the valid mutes of an invalid list apply
	for _, u := range invalid {
		s.addInvalid(u)
	}
	s.doubtful = s.doubts(usable)
	return s, errors.Join(bad...)
}

// addInvalid adds an invalid value, and the consequence, to the errors of the settings.
func (s *settings) addInvalid(u *variables.Unusable) {
	result := "it is ignored"
	switch tls := u.Name == "TAP_KAFKA_TLS" && s.publishToKafka; {
	case tls && s.kafka.TLS != nil:
		result = "TLS is used"
	case tls, u.Name == "TAP_SINK":
		s.noSink = u.Error()
		result = "nothing is published"
	case u.Name == "TAP_MUTE" && len(s.mute) > 0:
		result = "the other mutes apply"
	case replacement(u.Name) != "":
		result = replacement(u.Name) + " is used instead"
	}
	s.settingErrors = append(s.settingErrors, u.Error()+"; "+result)
}

// replacement returns the value that replaces an invalid value of a variable.
func replacement(name string) string {
	if value, ok := instead[name]; ok {
		return value
	}
	return variables.Defaults[environment]()[name]
}

// newTapOrFallBack creates a tap for any environment. If the settings of Kafka are rejected, it tries the defaults for compression
// and batches. If these are rejected too, the tap publishes nothing.
func newTapOrFallBack(environ []string, std streams) (*tap, error) {
	s, err := fallBack(environ)
	if err != nil {
		return nil, err
	}

	t, err := newTap(s, std)
	if err == nil {
		return t, nil
	}

	reason := strings.ReplaceAll(strings.TrimSuffix(trimUsage(err), seeHelp), "\n", "; ")
	k := &s.kafka
	k.Compression, k.BatchTimeout, k.BatchSize, k.BatchBytes = "", 0, 0, 0
	s.settingErrors = append(s.settingErrors, reason+"; the defaults of compression and batches are used instead")
	if t, err = newTap(s, std); err == nil {
		return t, nil
	}

	s.settingErrors[len(s.settingErrors)-1] = reason + "; nothing is published"
	s.noSink = reason
	return newTap(s, std)
}
