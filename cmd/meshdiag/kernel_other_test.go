//go:build !linux

package main

// playRole does nothing where there are no network namespaces.
func playRole() bool { return false }
