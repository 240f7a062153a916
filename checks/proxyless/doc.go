// Package proxyless holds the checks of gRPC clients that dial xds:/// without a proxy: of their bootstrap, and of what they
// dial.
package proxyless
