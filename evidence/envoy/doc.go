// Package envoy reads what an Envoy proxy's admin interface prints, follows one destination through a configuration dump
// the way Envoy does (Walk), and compares two dumps (Diff).
//
// Every decoder takes the bytes as printed and survives unknown fields, wrong types and a file that's cut off: what was
// read is kept, and the error names the place. Field names may be in snake_case, as Envoy prints them, or camelCase, as
// istioctl does. Private keys and certificates are never kept.
//
// The forms are those of https://www.envoyproxy.io/docs/envoy/latest/operations/admin.
package envoy
