package xdsclient

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The deprecated form of ClientConfig, PerXdsConfig, holds one config dump of envoy.admin.v3 for each type of resource.
// They are alike but for field numbers and names; these tables say in what they differ, for both encodings.

// dump describes one member of PerXdsConfig's oneof.
type dump struct {
	num     protowire.Number // in PerXdsConfig
	json    string
	typeURL string // of the resources, where nothing else says it
	lists   []list
}

// list describes one repeated field of a dump.
type list struct {
	num    protowire.Number
	json   string
	static bool
	// The entry's fields: 0 and "" where it has none.
	name, version, contents, updated, failure, status protowire.Number
	contentsJSON                                      string
	// states are the fields of a DynamicListener that hold version, contents and time, the one to show first.
	states     []protowire.Number
	statesJSON []string
	repeated   bool // contents is
}

const resourceTypes = "type.googleapis.com/envoy.config."

// dumpKinds gives the members of PerXdsConfig's oneof.
func dumpKinds() []dump {
	listener := list{version: 1, contents: 2, updated: 3, contentsJSON: "listener"}
	dynamic := list{version: 1, contents: 2, updated: 3, failure: 4, status: 5}
	static := list{contents: 1, updated: 2, static: true}
	as := func(l list, num protowire.Number, json, contentsJSON string) list {
		l.num, l.json, l.contentsJSON = num, json, contentsJSON
		return l
	}
	listener.num, listener.json, listener.name, listener.failure, listener.status = 3, "dynamicListeners", 1, 5, 6
	listener.states, listener.statesJSON = []protowire.Number{2, 3, 4}, []string{"activeState", "warmingState", "drainingState"}
	return []dump{
		{2, "listenerConfig", resourceTypes + "listener.v3.Listener", []list{
			listener, as(static, 2, "staticListeners", "listener")}},
		{3, "clusterConfig", resourceTypes + "cluster.v3.Cluster", []list{
			as(dynamic, 3, "dynamicActiveClusters", "cluster"),
			as(dynamic, 4, "dynamicWarmingClusters", "cluster"),
			as(static, 2, "staticClusters", "cluster")}},
		{4, "routeConfig", resourceTypes + "route.v3.RouteConfiguration", []list{
			as(dynamic, 3, "dynamicRouteConfigs", "routeConfig"),
			as(static, 2, "staticRouteConfigs", "routeConfig")}},
		{5, "scopedRouteConfig", resourceTypes + "route.v3.ScopedRouteConfiguration", []list{
			{num: 2, json: "dynamicScopedRouteConfigs", name: 1, version: 2, contents: 3, updated: 4, failure: 5, status: 6,
				contentsJSON: "scopedRouteConfigs", repeated: true},
			{num: 1, json: "inlineScopedRouteConfigs", name: 1, contents: 2, updated: 3, static: true,
				contentsJSON: "scopedRouteConfigs", repeated: true}}},
		{6, "endpointConfig", resourceTypes + "endpoint.v3.ClusterLoadAssignment", []list{
			as(dynamic, 3, "dynamicEndpointConfigs", "endpointConfig"),
			as(static, 2, "staticEndpointConfigs", "endpointConfig")}},
	}
}

// holds says whether contents of the given type are what the dump is of, in whatever version of the API: then the first
// field of the message is its name.
func (k *dump) holds(typeURL string) bool {
	return typeURL[strings.LastIndexByte(typeURL, '.')+1:] == k.typeURL[strings.LastIndexByte(k.typeURL, '.')+1:]
}
