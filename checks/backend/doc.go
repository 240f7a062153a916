// Package backend finds faults of what is behind the mesh's services: backend services without backends, endpoints that
// fail their health checks, and health checks that can't come through.
package backend
