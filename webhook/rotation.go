package webhook

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Keys and annotations of the Secret with the authority. The Secret always has the current authority, which signs.
// During a rotation it also has the next authority: API servers already trust it, but it signs nothing yet. After the
// rotation the Secret also has the previous authority, which is trusted until it expires.
const (
	keyCurrentCert  = "ca.crt"
	keyCurrentKey   = "ca.key"
	keyNextCert     = "next.crt"
	keyNextKey      = "next.key"
	keyPreviousCert = "previous.crt"

	annotationNextSince = "meshtls-tap/next-since" // when next was created, RFC 3339
	annotationRotate    = "meshtls-tap/rotate"     // an administrator sets it to start a rotation
)

// overlap is how long next is trusted before it signs. It is longer than API servers take to see a changed webhook
// configuration.
const overlap = 2 * time.Minute

// authorities is the parsed content of the Secret.
type authorities struct {
	current, next *authority // next may be nil
	previous      []byte     // PEM, or nil
	nextSince     time.Time
	rotate        bool // an administrator requested a rotation
}

// readSecret parses the Secret. It returns an error if the current authority is missing or invalid.
func readSecret(s *corev1.Secret) (*authorities, error) {
	current, err := readAuthority(s.Data[keyCurrentCert], s.Data[keyCurrentKey])
	if err != nil {
		return nil, err
	}
	a := &authorities{current: current, previous: s.Data[keyPreviousCert]}
	if next, err := readAuthority(s.Data[keyNextCert], s.Data[keyNextKey]); err == nil {
		a.next = next
		a.nextSince, _ = time.Parse(time.RFC3339, s.Annotations[annotationNextSince]) // an invalid value gives the zero time, which means long ago
	}
	_, a.rotate = s.Annotations[annotationRotate]
	return a, nil
}

// write writes the authorities into the Secret s, and removes the request for a rotation.
func (a *authorities) write(s *corev1.Secret) error {
	currentKey, err := a.current.keyPEM()
	if err != nil {
		return err
	}
	s.Type = corev1.SecretTypeOpaque
	s.Data = map[string][]byte{keyCurrentCert: a.current.pem, keyCurrentKey: currentKey}
	if a.previous != nil {
		s.Data[keyPreviousCert] = a.previous
	}
	delete(s.Annotations, annotationNextSince)
	delete(s.Annotations, annotationRotate)
	if a.next == nil {
		return nil
	}
	nextKey, err := a.next.keyPEM()
	s.Data[keyNextCert], s.Data[keyNextKey] = a.next.pem, nextKey
	metav1.SetMetaDataAnnotation(&s.ObjectMeta, annotationNextSince, a.nextSince.UTC().Format(time.RFC3339))
	return err
}

// trusted returns the certificates that API servers have to trust, in PEM.
func (a *authorities) trusted(now time.Time) []byte {
	if a.next == nil {
		return bundle(now, a.current.pem, a.previous)
	}
	return bundle(now, a.current.pem, a.next.pem, a.previous)
}

// errExpired is returned by step if the current authority has expired. It is then too late for a next authority whose
// validity overlaps with it.
var errExpired = errors.New("the authority has expired")

// step does the next step of the rotation, if it is due, and reports whether a changed. announced reports whether all
// webhook configurations trust the next authority. Only then may the next authority sign.
func (a *authorities) step(now time.Time, announced bool) (changed bool, err error) {
	switch {
	case now.After(a.current.cert.NotAfter):
		return false, errExpired
	case a.next != nil && announced && now.Sub(a.nextSince) >= overlap:
		a.previous, a.current, a.next = a.current.pem, a.next, nil
		return true, nil
	case a.next == nil && (a.rotate || aged(a.current.cert, now)):
		if a.next, err = newAuthority(now); err != nil {
			return false, err
		}
		a.nextSince, a.rotate = now, false
		return true, nil
	}
	return false, nil
}
