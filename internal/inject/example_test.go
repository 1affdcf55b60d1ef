package inject_test

import (
	"fmt"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// Tap takes a pod as the API server sends it and returns a JSON Patch that only adds.
func ExampleTap() {
	settings, err := inject.ParseSettings([]byte("env: [{name: TAP_EMIT, value: findings}]"))
	if err != nil {
		fmt.Println(err)
		return
	}

	cfg := inject.Config{Settings: settings, Image: "registry.example/tap:0.1.0"}
	namespace := inject.Namespace{Name: "shop", Labels: map[string]string{inject.Label: inject.Enabled}}
	pod := []byte(`{"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}`)

	result := inject.Tap(&cfg, &namespace, pod, time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	fmt.Printf("%q %s %s\n", result.Reason, result.Mode, result.Image)
	for _, operation := range result.Patch {
		fmt.Println(operation.Op, operation.Path)
	}

	// Output:
	// "" native registry.example/tap:0.1.0
	// add /metadata/annotations
	// add /spec/volumes
	// add /spec/initContainers
}
