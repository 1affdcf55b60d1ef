//go:build !race

package pipeline_test

import "testing"

func norace(*testing.T) {}
