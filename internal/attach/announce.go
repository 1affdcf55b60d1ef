package attach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// Announce returns sentences that describe what the plan will do and what the user should know beforehand. Pods to which the same
// applies share a sentence.
func (p *Plan) Announce() []string {
	var added, reused, refused said
	var noted said
	for i := range p.Pods {
		x := &p.Pods[i]
		name := x.Pod.Namespace + "/" + x.Pod.Name
		switch {
		case x.Refusal != "":
			refused.add(x.Refusal, name)
		case x.Reuse != nil:
			reused.add("", name)
		default:
			added.add(string(x.Profile), name)
		}
		if x.Refusal != "" {
			continue // notes are about the container that would have been added
		}
		for _, n := range x.Notes {
			noted.add(n, name)
		}
	}
	var out []string
	for _, s := range added.list {
		it, pods := "Each", "The pods are"
		if len(s.pods) == 1 {
			it, pods = "It", "The pod is"
		}
		out = append(out, fmt.Sprintf("Will add an ephemeral container to %s: %s. %s runs as %s, and ends after %s or when this command ends. %s not restarted.",
			count(len(s.pods), "pod"), s.names(), it, profileText(inject.Profile(s.text)), short(p.Options.For), pods))
	}
	if len(added.list) > 0 {
		out = append(out, "Kubernetes keeps an ephemeral container in the pod's spec until the pod is deleted, even after the container has ended.")
	}
	for _, s := range reused.list {
		what := "taps that already run"
		if len(s.pods) == 1 {
			what = "tap that already runs"
		}
		out = append(out, fmt.Sprintf("Will read the records of the %s in %s: %s.", what, count(len(s.pods), "pod"), s.names()))
	}
	for _, s := range noted.list {
		out = append(out, fmt.Sprintf("%s: %s.", s.names(), s.text))
	}
	for _, s := range refused.list {
		out = append(out, fmt.Sprintf("Not tapped: %s: %s.", s.names(), strings.TrimSuffix(s.text, ".")))
	}
	for _, n := range p.notes {
		out = append(out, strings.ToUpper(n[:1])+n[1:]+".")
	}
	return out
}

// Title names the tapped pods: the first one, and the number of the others.
func (p *Plan) Title() string {
	var names []string
	for i := range p.Pods {
		if x := &p.Pods[i]; x.Refusal == "" {
			names = append(names, x.Pod.Namespace+"/"+x.Pod.Name)
		}
	}
	switch n := len(names); n {
	case 0:
		return "no pod"
	case 1:
		return names[0]
	default:
		return fmt.Sprintf("%s and %d more", names[0], n-1)
	}
}

// said is a list of texts, each with the pods that it is about.
type said struct{ list []sentence }

type sentence struct {
	text string
	pods []string
}

func (s *said) add(text, pod string) {
	i := slices.IndexFunc(s.list, func(x sentence) bool { return x.text == text })
	if i < 0 {
		i = len(s.list)
		s.list = append(s.list, sentence{text: text})
	}
	s.list[i].pods = append(s.list[i].pods, pod)
}

// shown is the number of names of pods in a sentence.
const shown = 20

func (s *sentence) names() string {
	if n := len(s.pods) - shown; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(s.pods[:shown], ", "), n)
	}
	return strings.Join(s.pods, ", ")
}
