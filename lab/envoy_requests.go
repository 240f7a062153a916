package lab

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	rbacFilter = "envoy.filters.http.rbac"
	// routeTimeout and connectTimeout are Envoy's own, for routes and clusters that name none.
	routeTimeout   = 15 * time.Second
	connectTimeout = 5 * time.Second
	// shortConnectTimeout is what the control plane sends for a service whose packets are dropped: nobody waits for it in vain.
	shortConnectTimeout = 100 * time.Millisecond
)

// outcome is how Envoy ends a request, in the words of its access log.
type outcome struct {
	code                                  int
	flags, details, transport, host, name string // name is the cluster's
}

// play makes the requests of the client's application the way Envoy does: by what it was sent, and over real connections.
func (e *envoyClient) play(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, authority := range e.client.Requests {
		began := time.Now()
		out, err := e.request(ctx, authority)
		if err != nil {
			return fmt.Errorf("client %s: request to %s: %w", e.client.Name, authority, err)
		}
		line, err := json.Marshal(map[string]any{
			"start_time": began.UTC().Format("2006-01-02T15:04:05.000Z"), "method": "POST", "path": healthpb.Health_Check_FullMethodName, "protocol": "HTTP/2",
			"authority": authority, "response_code": out.code, "response_flags": dash(out.flags), "response_code_details": out.details,
			"upstream_transport_failure_reason": dash(out.transport), "upstream_host": dash(out.host), "upstream_cluster": dash(out.name),
			"duration": time.Since(began).Milliseconds(),
		})
		if err == nil {
			err = appendLog(e.artifactsOf(e.client).page("access_log"), string(line))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// request follows a request through what the proxy was sent, and sends it on.
func (e *envoyClient) request(ctx context.Context, authority string) (outcome, error) {
	hcm, err := e.connectionManager(authority)
	if err != nil {
		return outcome{}, err
	}
	if slices.ContainsFunc(hcm.GetHttpFilters(), func(f *hcmv3.HttpFilter) bool { return f.GetName() == rbacFilter }) {
		return outcome{code: 403, details: "rbac_access_denied_matched_policy[none]"}, nil // the lab's policies admit nobody
	}
	var routes *routev3.RouteConfiguration
	var host *routev3.VirtualHost
	err = e.find(resource.RouteType, hcm.GetRds().GetRouteConfigName(), &routes)
	for _, h := range routes.GetVirtualHosts() {
		if slices.Contains(h.GetDomains(), authority) {
			host = h
		}
	}
	if err != nil || host == nil {
		return outcome{code: 404, flags: "NR", details: "route_not_found"}, err
	}
	action := host.GetRoutes()[0].GetRoute()
	out := outcome{name: action.GetCluster()}
	var cluster *clusterv3.Cluster
	var list *endpointv3.ClusterLoadAssignment
	if err := errors.Join(e.find(resource.ClusterType, out.name, &cluster), e.find(resource.EndpointType, out.name, &list)); err != nil {
		return out, err
	}
	if cluster == nil {
		out.code, out.flags, out.details = 503, "NC", "cluster_not_found"
		return out, nil
	}
	for _, in := range list.GetEndpoints() {
		for _, h := range in.GetLbEndpoints() {
			if a := h.GetEndpoint().GetAddress().GetSocketAddress(); usable(h.GetHealthStatus()) {
				timeout := routeTimeout
				if action.GetTimeout() != nil {
					timeout = action.GetTimeout().AsDuration()
				}
				return e.send(ctx, out, hostPort{a.GetAddress(), int(a.GetPortValue())}, cluster, timeout)
			}
		}
	}
	out.code, out.flags, out.details = 503, "UH", "no_healthy_upstream"
	return out, nil
}

// connectionManager gives that of the filter chain that takes what is sent to the authority's port.
func (e *envoyClient) connectionManager(authority string) (*hcmv3.HttpConnectionManager, error) {
	_, text, _ := strings.Cut(authority, ":")
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	var out *hcmv3.HttpConnectionManager
	err = e.each(resource.ListenerType, func(_ *receipt, _ *anypb.Any, m proto.Message) error {
		for _, chain := range m.(*listenerv3.Listener).GetFilterChains() {
			if uint64(chain.GetFilterChainMatch().GetDestinationPort().GetValue()) == port {
				out = &hcmv3.HttpConnectionManager{}
				return chain.GetFilters()[0].GetTypedConfig().UnmarshalTo(out)
			}
		}
		return nil
	})
	if err == nil && out == nil {
		err = errors.New("no filter chain is for its port")
	}
	return out, err
}

// find gives the resource of a name, if there is one.
func (e *envoyClient) find(typeURL, name string, to any) error {
	return e.each(typeURL, func(_ *receipt, _ *anypb.Any, m proto.Message) error {
		switch m := m.(type) {
		case *routev3.RouteConfiguration:
			if m.GetName() == name {
				*to.(**routev3.RouteConfiguration) = m
			}
		case *clusterv3.Cluster:
			if m.GetName() == name {
				*to.(**clusterv3.Cluster) = m
			}
		case *endpointv3.ClusterLoadAssignment:
			if m.GetClusterName() == name {
				*to.(**endpointv3.ClusterLoadAssignment) = m
			}
		}
		return nil
	})
}

// send makes a call on a connection of its own, and says how that went in Envoy's words.
func (e *envoyClient) send(ctx context.Context, out outcome, to hostPort, cluster *clusterv3.Cluster, timeout time.Duration) (outcome, error) {
	out.host = to.String()
	failed := func(details, transport string) (outcome, error) {
		out.code, out.flags, out.details, out.transport = 503, "UF", "upstream_reset_before_response_started{"+details+"}", transport
		return out, nil
	}
	limit := connectTimeout
	if d := cluster.GetConnectTimeout(); d != nil {
		limit = d.AsDuration()
	}
	conn, err := (&net.Dialer{Timeout: limit}).DialContext(ctx, "tcp", e.wayTo(to))
	var nerr net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return failed("remote_connection_failure,delayed_connect_error:_Connection_refused", "delayed_connect_error:_Connection_refused")
	case errors.As(err, &nerr) && nerr.Timeout() && ctx.Err() == nil:
		return failed("connection_timeout", "")
	case err != nil:
		return out, err
	}
	defer func() { _ = conn.Close() }()
	if cluster.GetTransportSocket() != nil {
		err := tls.Client(conn, &tls.Config{ServerName: trafficDirectorHost, RootCAs: e.ca.pool(), MinVersion: tls.VersionTLS12}).HandshakeContext(ctx)
		var plain tls.RecordHeaderError
		if !errors.As(err, &plain) {
			return out, fmt.Errorf("a TLS handshake with a server that speaks none: %w", err)
		}
		const wrong = "TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"
		return failed("remote_connection_failure,"+wrong, wrong)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	once := make(chan net.Conn, 1)
	once <- conn
	cc, err := grpc.NewClient("passthrough:///"+out.host, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("the connection was used")
			}
		}))
	if err != nil {
		return out, err
	}
	defer func() { _ = cc.Close() }()
	_, err = healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.OK:
		out.code, out.details = 200, "via_upstream"
		return out, nil
	case codes.DeadlineExceeded:
		out.code, out.flags, out.details = 504, "UT", "response_timeout"
		return out, nil
	}
	return out, err
}

// routeNames gives the route configurations that a listener refers to.
func routeNames(l *listenerv3.Listener) ([]string, error) {
	var names []string
	for _, chain := range l.GetFilterChains() {
		for _, f := range chain.GetFilters() {
			hcm := &hcmv3.HttpConnectionManager{}
			if err := f.GetTypedConfig().UnmarshalTo(hcm); err != nil {
				return nil, errors.Join(status.Error(codes.InvalidArgument, "unreadable filter"), err)
			}
			names = append(names, hcm.GetRds().GetRouteConfigName())
		}
	}
	return names, nil
}
