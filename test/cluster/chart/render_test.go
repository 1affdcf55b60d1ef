package chart_test

import (
	"bytes"
	"os"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// render returns the rendered templates by name, such as tap/templates/settings.yaml. It does in this process what
// `helm template` of Helm 4 does (pkg/action/install.go). Starting a program for each of hundreds of cases would take
// too long.
func render(t *testing.T, folder, valuesFile string) (map[string]string, error) {
	t.Helper()
	text, err := os.ReadFile(valuesFile)
	if err != nil {
		t.Fatal(err)
	}
	values, err := loader.LoadValues(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	version, err := common.ParseKubeVersion("v1.37.0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := loader.Load(folder) // the chart is loaded for each call, because rendering may change it
	if err != nil {
		t.Fatal(err)
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: release, Namespace: release, Revision: 1, IsInstall: true}, capabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}
