package chart_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// accepted lists the findings of kube-score that are accepted, each with the reason.
var accepted = map[string]string{
	"CPU limit is not set":                                "a limit would slow down answers that the API server waits 3 s for; requests share a busy node fairly",
	"Ephemeral Storage limit is not set":                  "the root is read-only and no emptyDir is mounted: nothing is written but the log, which the kubelet rotates",
	"Ephemeral Storage request is not set":                "the same",
	"ImagePullPolicy is not set to Always":                "a registry that is away must not keep the webhook from starting; a digest (webhook.image.digest) says more",
	"The pod does not have a matching NetworkPolicy":      "webhook.networkPolicy is off by default: no selector matches an API server. The pod of `helm test` lives for seconds and is called by nobody",
	"Deployment does not have a host podAntiAffinity set": "topologySpreadConstraints spread over nodes and zones",
	"The container is running with a low user ID":         "OpenShift gives the user, of the namespace's range",
	"The container running with a low group ID":           "the same",
	"Deployment few replicas":                             "the set cautious has one",
	"Deployment update strategy":                          "the set peers has Recreate",
}

var finding = regexp.MustCompile(`(?m)^\[(CRITICAL|WARNING)\] (\S+ \S+): (?:\(\S+\) )?(.*)$`)

// TestScore: the findings of kube-score, over all sets together, are exactly the accepted ones.
func TestScore(t *testing.T) {
	met := map[string]bool{}
	for _, set := range sets {
		rendered, err := template(t, "helm4", set)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(tools(t), "bin", "kube-score"), "score", "--output-format", "ci", "--kubernetes-version", "v1.32", "-")
		cmd.Stdin = strings.NewReader(rendered)
		out, err := cmd.Output() // the command returns an error if it has findings
		if !strings.Contains(string(out), "[OK]") {
			t.Fatalf("%s: kube-score printed %q, %v", set, out, err)
		}
		for _, m := range finding.FindAllStringSubmatch(string(out), -1) {
			met[m[3]] = true
			if accepted[m[3]] == "" {
				t.Errorf("%s: kube-score: %s %s: %s", set, m[1], m[2], m[3])
			}
		}
	}
	for text, why := range accepted {
		if !met[text] {
			t.Errorf("kube-score finds %q nowhere any more: drop it (%s)", text, why)
		}
	}
}
