// Package request holds the checks of single requests that fail, as the access logs of proxies tell of them.
//
// An access log says how a request ended and not why the mesh is as it is: causes found by it alone are likely at most. What a
// cluster's objects say of the Service, its pods and policies is added as far as it is known.
package request
