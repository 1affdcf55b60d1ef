package inject

import (
	corev1 "k8s.io/api/core/v1"
)

// Profile is how the tap gets NET_RAW.
type Profile string

// The profiles.
const (
	// ProfileDefault is a user that is not root, and the capability added: the image's
	// binary carries it as a file capability.
	ProfileDefault Profile = "default"
	// ProfileOpenShift is the same with a user that the cluster chooses.
	ProfileOpenShift Profile = "openshift"
	// ProfileBaseline has no stanza for capabilities, since Pod Security's level baseline
	// refuses to add NET_RAW but not to have it: it is in the default set of runtimes.
	ProfileBaseline Profile = "baseline"
	// ProfileRoot is root with NET_RAW alone, for where an image store drops file capabilities.
	ProfileRoot Profile = "root"
	// ProfileAuto is the first that is admitted of default, openshift and baseline.
	ProfileAuto Profile = "auto"
)

// Profiles returns all profiles there are.
func Profiles() []Profile {
	return []Profile{ProfileDefault, ProfileOpenShift, ProfileBaseline, ProfileRoot}
}

// AutoProfiles returns those that ProfileAuto chooses from, the best first.
func AutoProfiles() []Profile { return Profiles()[:3] }

// profile returns the one to use, or why there is none.
func (r *run) profile() (Profile, string) {
	want := r.cfg.Profile
	if v, ok := r.choices[AnnotationProfile]; ok {
		want = Profile(v)
	}
	if want != ProfileAuto && want != "" {
		return want, r.ns.Refusals[want]
	}
	for _, p := range AutoProfiles() {
		if r.ns.Refusals[p] == "" {
			return p, ""
		}
	}
	return "", r.ns.Refusals[ProfileDefault]
}

// securityContext returns that of a profile. All is said, so that nothing of the pod's
// own is inherited.
func securityContext(p Profile, user int64) *corev1.SecurityContext {
	yes, no := true, false
	s := &corev1.SecurityContext{
		Privileged:               &no,
		AllowPrivilegeEscalation: &no,
		ReadOnlyRootFilesystem:   &yes,
		RunAsNonRoot:             &yes,
		RunAsUser:                &user,
		RunAsGroup:               &user,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_RAW"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	switch p {
	case ProfileDefault, ProfileAuto:
	case ProfileBaseline:
		s.Capabilities = nil
	case ProfileOpenShift:
		s.RunAsUser, s.RunAsGroup = nil, nil
	case ProfileRoot:
		root := int64(0)
		s.RunAsNonRoot, s.RunAsUser, s.RunAsGroup = &no, &root, &root
	}
	return s
}
