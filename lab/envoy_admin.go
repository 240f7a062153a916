package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The pages of an Envoy's admin interface, by their paths without the slash.
const (
	configDumpPage = "config_dump"
	clustersPage   = "clusters"
	listenersPage  = "listeners"
	serverInfoPage = "server_info"
	statsPage      = "stats"
	initDumpPage   = "init_dump"
)

// page prints one page of the admin interface: what the proxy was really sent, and what became of it. ok is false where there
// is no such page.
func (e *envoyClient) page(name string) (b []byte, ok bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var m proto.Message
	switch name {
	case configDumpPage:
		m, err = e.configDump()
	case clustersPage:
		m, err = e.hosts()
	case listenersPage:
		m, err = e.listening()
	case serverInfoPage:
		m = &adminv3.ServerInfo{Version: "d6b0f2a3c1e84f95a7d0b6c8e2f413957a6d8b01/" + e.client.Version + "/Clean/RELEASE/BoringSSL",
			State: e.state(), UptimeCurrentEpoch: durationpb.New(e.age()), UptimeAllEpochs: durationpb.New(e.age()), HotRestartVersion: "11.104", Node: e.node()}
	case initDumpPage:
		m = e.unready()
	case statsPage:
		return e.stats(), true, nil
	default:
		return nil, false, nil
	}
	if err != nil {
		return nil, true, fmt.Errorf("printing /%s of %s: %w", name, e.client.Name, err)
	}
	b, err = protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: " "}.Marshal(m)
	return b, true, err
}

// age is how long ago the proxy was started and sent what it has: the scenario may say so.
func (e *envoyClient) age() time.Duration {
	const started = time.Second // before anybody asks
	return e.scenario.sentAgo(e.client.nodeID()) + started
}

func (e *envoyClient) stamp(r *receipt) *timestamppb.Timestamp {
	return timestamppb.New(r.at.Add(-e.scenario.sentAgo(e.client.nodeID())))
}

// waits says whether the proxy still waits for a type that it needs.
func (e *envoyClient) waits(typeURL string) bool {
	return e.received[typeURL] == nil && withheldType(e.scenario.Fault.Withhold) == typeURL
}

// state is as Envoy has it: it is live once its first listeners came, or once it gave up waiting for them, and each is warm.
func (e *envoyClient) state() adminv3.ServerInfo_State {
	if e.waits(resource.RouteType) {
		return adminv3.ServerInfo_INITIALIZING
	}
	return adminv3.ServerInfo_LIVE
}

// each calls f with the resources of a type, in the order of their names.
func (e *envoyClient) each(typeURL string, f func(r *receipt, a *anypb.Any, m proto.Message) error) error {
	r := e.received[typeURL]
	if r == nil {
		return nil
	}
	list := make([]proto.Message, len(r.resources))
	order := make([]int, len(list))
	for i, a := range r.resources {
		m, err := a.UnmarshalNew()
		if err != nil {
			return err
		}
		list[i], order[i] = m, i
	}
	slices.SortFunc(order, func(i, j int) int {
		return strings.Compare(cache.GetResourceName(list[i]), cache.GetResourceName(list[j]))
	})
	for _, i := range order {
		if err := f(r, r.resources[i], list[i]); err != nil {
			return err
		}
	}
	return nil
}

func (e *envoyClient) configDump() (proto.Message, error) {
	version := func(typeURL string) string {
		if r := e.received[typeURL]; r != nil {
			return r.version
		}
		return ""
	}
	clusters := &adminv3.ClustersConfigDump{VersionInfo: version(resource.ClusterType)}
	listeners := &adminv3.ListenersConfigDump{VersionInfo: version(resource.ListenerType)}
	routes, endpoints := &adminv3.RoutesConfigDump{}, &adminv3.EndpointsConfigDump{}
	err := errors.Join(
		e.each(resource.ClusterType, func(r *receipt, a *anypb.Any, _ proto.Message) error {
			clusters.DynamicActiveClusters = append(clusters.DynamicActiveClusters, &adminv3.ClustersConfigDump_DynamicCluster{VersionInfo: r.version, Cluster: a, LastUpdated: e.stamp(r)})
			return nil
		}),
		e.each(resource.ListenerType, func(r *receipt, a *anypb.Any, m proto.Message) error {
			l := &adminv3.ListenersConfigDump_DynamicListener{Name: cache.GetResourceName(m)}
			state := &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: r.version, Listener: a, LastUpdated: e.stamp(r)}
			switch {
			case e.client.Rejects != "":
				l.ErrorState = &adminv3.UpdateFailureState{FailedConfiguration: a, LastUpdateAttempt: e.stamp(r), Details: e.client.Rejects, VersionInfo: r.version}
			case e.waits(resource.RouteType):
				l.WarmingState = state
			default:
				l.ActiveState = state
			}
			listeners.DynamicListeners = append(listeners.DynamicListeners, l)
			return nil
		}),
		e.each(resource.RouteType, func(r *receipt, a *anypb.Any, _ proto.Message) error {
			routes.DynamicRouteConfigs = append(routes.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{VersionInfo: r.version, RouteConfig: a, LastUpdated: e.stamp(r)})
			return nil
		}),
		e.each(resource.EndpointType, func(r *receipt, a *anypb.Any, _ proto.Message) error {
			endpoints.DynamicEndpointConfigs = append(endpoints.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{VersionInfo: r.version, EndpointConfig: a, LastUpdated: e.stamp(r)})
			return nil
		}))
	out := &adminv3.ConfigDump{}
	boot := &adminv3.BootstrapConfigDump{Bootstrap: e.bootstrap(), LastUpdated: timestamppb.New(time.Now().Add(-e.age()))}
	for _, m := range []proto.Message{boot, clusters, endpoints, listeners, routes} {
		a, aerr := anypb.New(m)
		err = errors.Join(err, aerr)
		out.Configs = append(out.Configs, a)
	}
	return out, err
}

// bootstrap is what the proxy was started with.
func (e *envoyClient) bootstrap() *bootstrapv3.Bootstrap {
	return &bootstrapv3.Bootstrap{Node: e.node(), DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{LdsConfig: ads(), CdsConfig: ads(),
		AdsConfig: &corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{
				TargetUri: trafficDirectorHost + ":443", StatPrefix: "trafficdirector"}}}}}}}
}

func (e *envoyClient) hosts() (proto.Message, error) {
	out := &adminv3.Clusters{}
	known := map[string]bool{}
	err := e.each(resource.ClusterType, func(_ *receipt, _ *anypb.Any, m proto.Message) error {
		known[m.(*clusterv3.Cluster).GetName()] = true
		return nil
	})
	return out, errors.Join(err, e.each(resource.EndpointType, func(_ *receipt, _ *anypb.Any, m proto.Message) error {
		list := m.(*endpointv3.ClusterLoadAssignment)
		if !known[list.GetClusterName()] {
			return nil
		}
		c := &adminv3.ClusterStatus{Name: list.GetClusterName(), AddedViaApi: true}
		for _, in := range list.GetEndpoints() {
			for _, h := range in.GetLbEndpoints() {
				c.HostStatuses = append(c.HostStatuses, &adminv3.HostStatus{Address: h.GetEndpoint().GetAddress(), Weight: 1, Locality: in.GetLocality(),
					HealthStatus: &adminv3.HostHealthStatus{EdsHealthStatus: h.GetHealthStatus()}})
			}
		}
		out.ClusterStatuses = append(out.ClusterStatuses, c)
		return nil
	}))
}

func (e *envoyClient) listening() (proto.Message, error) {
	out := &adminv3.Listeners{}
	if e.client.Rejects != "" || e.waits(resource.RouteType) {
		return out, nil // not bound
	}
	return out, e.each(resource.ListenerType, func(_ *receipt, _ *anypb.Any, m proto.Message) error {
		l := m.(*listenerv3.Listener)
		out.ListenerStatuses = append(out.ListenerStatuses, &adminv3.ListenerStatus{Name: l.GetName(), LocalAddress: l.GetAddress()})
		return nil
	})
}

func (e *envoyClient) unready() proto.Message {
	out := &adminv3.UnreadyTargetsDumps{}
	if !e.waits(resource.RouteType) {
		return out
	}
	_ = e.each(resource.ListenerType, func(_ *receipt, _ *anypb.Any, m proto.Message) error { // it was read before
		d := &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{Name: "init manager Listener-local-init-manager " + cache.GetResourceName(m) + " 1"}
		names, _ := routeNames(m.(*listenerv3.Listener))
		for _, n := range names {
			d.TargetNames = append(d.TargetNames, "RdsRouteConfigSubscription local-init-target "+n)
		}
		out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps, d)
		return nil
	})
	return out
}

func (e *envoyClient) stats() []byte {
	var b bytes.Buffer
	connected := 0
	if len(e.received) > 0 {
		connected = 1
	}
	rejected := 0
	if e.client.Rejects != "" {
		rejected = 1
	}
	fmt.Fprintf(&b, "control_plane.connected_state: %d\nlistener_manager.lds.update_rejected: %d\nserver.live: %d\n", connected, rejected, e.state())
	return b.Bytes()
}

// writePages writes pages to the client's folder; other artifacts are there already.
func (e *envoyClient) writePages(names ...string) error {
	for _, n := range names {
		b, ok, err := e.page(n)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := os.WriteFile(e.artifactsOf(e.client).page(n), b, 0o600); err != nil {
			return fmt.Errorf("writing /%s of client %s: %w", n, e.client.Name, err)
		}
	}
	return nil
}

// adminServer is an Envoy's admin interface.
type adminServer struct {
	addr   string
	server *http.Server
	done   sync.WaitGroup
}

func startAdmin(e *envoyClient) (*adminServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the admin interface of client %s: %w", e.client.Name, err)
	}
	a := &adminServer{addr: l.Addr().String()}
	a.server = &http.Server{ReadHeaderTimeout: headerTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok, err := e.page(strings.TrimPrefix(r.URL.Path, "/"))
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case !ok:
			http.Error(w, "invalid path. admin commands are:\n", http.StatusNotFound)
		case r.Method != http.MethodGet:
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		default:
			w.Write(b) //nolint:errcheck // the caller has gone away
		}
	})}
	a.done.Go(func() { _ = a.server.Serve(l) }) // ends with Shutdown
	return a, nil
}

func (a *adminServer) close() {
	_ = a.server.Shutdown(context.Background())
	a.done.Wait()
}

// usable says whether Envoy sends to an endpoint.
func usable(s corev3.HealthStatus) bool {
	return s == corev3.HealthStatus_HEALTHY || s == corev3.HealthStatus_UNKNOWN || s == corev3.HealthStatus_DEGRADED
}
