//go:build !unix

package main

// ignorePipe does nothing where no signal comes of a broken pipe.
func ignorePipe() {}
