//go:build !race

package pipeline_test

import "testing"

const raced = false

func norace(*testing.T) {}
