package inject

import (
	corev1 "k8s.io/api/core/v1"
)

// Profile names a security context that gives the tap NET_RAW.
type Profile string

// The profiles.
const (
	// ProfileDefault runs as a user that is not root and adds the capability to the container. The binary in the image
	// also has the capability, as a file capability.
	ProfileDefault Profile = "default"
	// ProfileOpenShift is ProfileDefault without a user, so that the cluster chooses one.
	ProfileOpenShift Profile = "openshift"
	// ProfileBaseline does not mention capabilities. Pod Security's level baseline does not allow pods to add
	// NET_RAW, but the default set of container runtimes usually has it.
	ProfileBaseline Profile = "baseline"
	// ProfileRoot runs as root with only NET_RAW, for image stores that drop file capabilities.
	ProfileRoot Profile = "root"
	// ProfileAuto is the first of default, openshift and baseline that the namespace admits.
	ProfileAuto Profile = "auto"
)

// Profiles returns all profiles except ProfileAuto.
func Profiles() []Profile {
	return []Profile{ProfileDefault, ProfileOpenShift, ProfileBaseline, ProfileRoot}
}

// AutoProfiles returns the profiles that ProfileAuto chooses from, the best first.
func AutoProfiles() []Profile { return Profiles()[:3] }

// profile returns the profile to use. If the namespace refuses it, the second result is the reason, otherwise "".
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

// SecurityContext returns the security context of the tap for a profile. user is its user and group. It sets every field that would otherwise be inherited
// from the pod.
func SecurityContext(p Profile, user int64) *corev1.SecurityContext {
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
