package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// envoyClient plays the xDS side of an Envoy: one ADS stream, clusters and listeners asked for at once, endpoints and
// routes by the names these refer to. Unlike Envoy it does not come back after its last attempt was refused: nothing
// about the world changes while the lab runs.
type envoyClient struct {
	*surroundings
	client  *Client
	conn    *grpc.ClientConn
	cancel  context.CancelFunc
	done    sync.WaitGroup
	settled chan error // one value: nil when all was answered or the last attempt refused
	gaveUp  chan error // one value, once it no longer waits for its first listeners; nil where it gets some

	mu       sync.Mutex
	received map[string]*receipt // by type URL
}

// receipt is what an Envoy was last sent of a type.
type receipt struct {
	version   string
	at        time.Time
	resources []*anypb.Any
}

func (s *surroundings) startEnvoy(c *Client) (proxy, error) {
	files := s.artifactsOf(c)
	if err := os.MkdirAll(filepath.Dir(files.bootstrap), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of client %s: %w", c.Name, err)
	}
	b, err := s.scenario.envoyBootstrapYAML(c, trafficDirectorHost+":443", s.caFile)
	if err != nil {
		return nil, err
	}
	for name, b := range map[string][]byte{files.bootstrap: b, files.log: nil} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return nil, fmt.Errorf("writing the files of client %s: %w", c.Name, err)
		}
	}
	if c.Down {
		return stopped{}, nil
	}
	conn, err := grpc.NewClient(s.target, grpc.WithIdleTimeout(0),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: s.ca.pool(), MinVersion: tls.VersionTLS12})),
		grpc.WithPerRPCCredentials(bearer(s.tokenOf(c))))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", c.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &envoyClient{surroundings: s, client: c, conn: conn, cancel: cancel, settled: make(chan error, 1), received: map[string]*receipt{}}
	e.done.Go(func() { e.run(ctx) })
	if s.scenario.Fault.Withhold == "listener" {
		e.gaveUp = make(chan error, 1)
		e.done.Go(func() { e.giveUp(ctx) })
	}
	return e, nil
}

func (e *envoyClient) settle(ctx context.Context) error {
	select {
	case err := <-e.settled:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return fmt.Errorf("client %s: %w", e.client.Name, ctx.Err())
	}
	if e.gaveUp != nil {
		select {
		case err := <-e.gaveUp:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("client %s: %w", e.client.Name, ctx.Err())
		}
	}
	if err := e.controlPlane.await(ctx, e.client.nodeID(), func(st *xdsStream) bool { return st.answeredBut(e.silentTypes()...) }); err != nil {
		return err
	}
	return e.play(ctx)
}

// initialFetchTimeout is how long an Envoy waits for its first listeners where none come: its bootstrap says so. Envoy's own
// is 15 s.
const initialFetchTimeout = 50 * time.Millisecond

// fetchTimeout is what the bootstrap says of it.
func (s *Scenario) fetchTimeout() string {
	if s.Fault.Withhold != "listener" {
		return ""
	}
	return fmt.Sprintf(", initial_fetch_timeout: %gs", initialFetchTimeout.Seconds())
}

// giveUp writes what Envoy does when its first listeners don't come in time.
func (e *envoyClient) giveUp(ctx context.Context) {
	t := time.NewTimer(initialFetchTimeout)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		e.gaveUp <- nil
		return
	}
	e.gaveUp <- e.logLine("warning", "config", "source/extensions/config_subscription/grpc/grpc_subscription_impl.cc:130",
		"gRPC config: initial fetch timed out for "+resource.ListenerType)
}

// logLine writes a line as Envoy does.
func (e *envoyClient) logLine(level, logger, at, text string) error {
	return appendLog(e.artifactsOf(e.client).log, fmt.Sprintf("[%s][1][%s][%s] [./%s] %s", time.Now().UTC().Format("2006-01-02 15:04:05.000"), level, logger, at, text))
}

// silentTypes are the type URLs that the client never answers.
func (e *envoyClient) silentTypes() []string {
	var out []string
	for _, t := range e.client.Silent {
		out = append(out, map[string]string{"cluster": resource.ClusterType, "listener": resource.ListenerType}[t])
	}
	return out
}

func (e *envoyClient) close() {
	e.cancel()
	_ = e.conn.Close()
	e.done.Wait()
}

func (e *envoyClient) run(ctx context.Context) {
	var once sync.Once
	settled := func(err error) { once.Do(func() { e.settled <- err }) }
	for range e.client.Attempts {
		err := e.stream(ctx, settled)
		if ctx.Err() != nil {
			return
		}
		if err := e.logClosed(err); err != nil {
			settled(err)
			return
		}
	}
	settled(nil)
}

// logClosed writes the line that Envoy writes when its stream ends.
func (e *envoyClient) logClosed(err error) error {
	st := status.Convert(err)
	return e.logLine("warning", "config", "source/extensions/config_subscription/grpc/grpc_stream.h:226",
		fmt.Sprintf("StreamAggregatedResources gRPC config stream to %s:443 closed: %d, %s", trafficDirectorHost, st.Code(), st.Message()))
}

func (e *envoyClient) node() *corev3.Node {
	var major, minor, patch uint32
	if _, err := fmt.Sscanf(e.client.Version, "%d.%d.%d", &major, &minor, &patch); err != nil {
		major, minor, patch = 0, 0, 0 // a number beyond 32 bits
	}
	return &corev3.Node{
		Id: e.client.nodeID(), Cluster: "cluster", Metadata: e.scenario.envoyMetadataStruct(e.client),
		Locality: &corev3.Locality{Zone: e.scenario.Zone}, UserAgentName: "envoy",
		UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{UserAgentBuildVersion: &corev3.BuildVersion{
			Version: &typev3.SemanticVersion{MajorNumber: major, MinorNumber: minor, Patch: patch},
			Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
				"build.type": structpb.NewStringValue("RELEASE"), "revision.status": structpb.NewStringValue("Clean"),
				"ssl.version": structpb.NewStringValue("BoringSSL")}},
		}},
	}
}

// stream runs one ADS stream until it ends, and calls settled once every type it asks for was answered.
func (e *envoyClient) stream(ctx context.Context, settled func(error)) error {
	st, err := discoveryv3.NewAggregatedDiscoveryServiceClient(e.conn).StreamAggregatedResources(ctx)
	if err != nil {
		return err
	}
	asked := map[string][]string{resource.ClusterType: nil, resource.ListenerType: nil}
	answered := map[string]bool{}
	for _, t := range []string{resource.ClusterType, resource.ListenerType} {
		if err := st.Send(&discoveryv3.DiscoveryRequest{Node: e.node(), TypeUrl: t}); err != nil {
			return streamError(st, err)
		}
	}
	for {
		r, err := st.Recv()
		if err != nil {
			return err
		}
		answered[r.GetTypeUrl()] = true
		e.mu.Lock()
		e.received[r.GetTypeUrl()] = &receipt{r.GetVersionInfo(), time.Now(), r.GetResources()}
		e.mu.Unlock()
		var next string
		var names []string
		if e.client.Rejects != "" && r.GetTypeUrl() == resource.ListenerType {
			if err := e.reject(st, r); err != nil {
				return err
			}
		} else if !slices.Contains(e.silentTypes(), r.GetTypeUrl()) {
			if err := st.Send(&discoveryv3.DiscoveryRequest{TypeUrl: r.GetTypeUrl(), VersionInfo: r.GetVersionInfo(),
				ResponseNonce: r.GetNonce(), ResourceNames: asked[r.GetTypeUrl()]}); err != nil {
				return streamError(st, err)
			}
			if next, names, err = references(r); err != nil {
				return err
			}
		}
		if next != "" {
			asked[next] = names
			if err := st.Send(&discoveryv3.DiscoveryRequest{TypeUrl: next, ResourceNames: names}); err != nil {
				return streamError(st, err)
			}
		}
		if len(answered) == len(asked)-e.withheld(asked) {
			settled(nil)
		}
	}
}

// withheld counts the types asked for that the control plane sends nobody.
func (e *envoyClient) withheld(asked map[string][]string) int {
	if _, ok := asked[withheldType(e.scenario.Fault.Withhold)]; ok {
		return 1
	}
	return 0
}

// reject refuses a response, as Envoy does one that it can't apply.
func (e *envoyClient) reject(st discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient, r *discoveryv3.DiscoveryResponse) error {
	if err := e.logLine("warning", "config", "source/extensions/config_subscription/grpc/grpc_subscription_impl.cc:138",
		"gRPC config for "+r.GetTypeUrl()+" rejected: "+e.client.Rejects); err != nil {
		return err
	}
	err := st.Send(&discoveryv3.DiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(),
		ErrorDetail: &spb.Status{Code: int32(codes.Internal), Message: e.client.Rejects}})
	if err != nil {
		return streamError(st, err)
	}
	return nil
}

// streamError gets the status behind a failed Send, which is only io.EOF.
func streamError(st discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient, err error) error {
	if _, rerr := st.Recv(); rerr != nil {
		return rerr
	}
	return err
}

// references says which resources of which type a response makes an Envoy ask for.
func references(r *discoveryv3.DiscoveryResponse) (typeURL string, names []string, err error) {
	for _, a := range r.GetResources() {
		m, err := a.UnmarshalNew()
		if err != nil {
			return "", nil, status.Errorf(codes.InvalidArgument, "unreadable resource: %v", err)
		}
		switch m := m.(type) {
		case *clusterv3.Cluster:
			typeURL, names = resource.EndpointType, append(names, m.GetName())
		case *listenerv3.Listener:
			more, err := routeNames(m)
			if err != nil {
				return "", nil, err
			}
			typeURL, names = resource.RouteType, append(names, more...)
		}
	}
	return typeURL, names, nil
}
