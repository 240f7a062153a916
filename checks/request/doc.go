// Package request holds the checks of single requests that fail, as the access logs of proxies tell of them.
//
// An access log says how a request ended and not why the mesh is as it is: causes found here are likely at most.
package request
