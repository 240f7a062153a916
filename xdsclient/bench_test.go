package xdsclient

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meshdiag/meshdiag/xdsclient/xdsclienttest"
)

// What the rows are about.
const (
	benchClients, benchResources = 1000, 50
	fleetClients, fleetResources = 10000, 10
	fleetLatency                 = 20 * time.Millisecond
	benchProject                 = "123456789012"
)

// benchClient is a proxy with clusters and the endpoints of each, as a mesh has them.
func benchClient(i, resources int) (*statusv3.ClientConfig, error) {
	md, err := structpb.NewStruct(map[string]any{"TRAFFICDIRECTOR_NETWORK_NAME": "default",
		"TRAFFICDIRECTOR_GCP_PROJECT_NUMBER": benchProject, "INSTANCE_IP": fmt.Sprintf("10.0.%d.%d", i/256, i%256)})
	if err != nil {
		return nil, err
	}
	c := &statusv3.ClientConfig{Node: &corev3.Node{Metadata: md,
		Id: fmt.Sprintf("projects/%s/networks/default/nodes/%08d-aaaa-bbbb-cccc-dddddddddddd", benchProject, i)}}
	endpoint := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "10.128.0.5",
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 8080}}}}}}}
	for j := range resources {
		name := fmt.Sprintf("cloud-internal-istio:cloud_mp_%s_%d", benchProject, j/2)
		var m proto.Message = &clusterv3.Cluster{Name: name, AltStatName: "x", OutlierDetection: &clusterv3.OutlierDetection{}}
		if j%2 == 1 {
			cla := &endpointv3.ClusterLoadAssignment{ClusterName: name}
			for range 5 {
				cla.Endpoints = append(cla.Endpoints, &endpointv3.LocalityLbEndpoints{LbEndpoints: []*endpointv3.LbEndpoint{endpoint},
					Locality: &corev3.Locality{Region: "us-central1", Zone: "us-central1-a"}})
			}
			m = cla
		}
		a, err := anypb.New(m)
		if err != nil {
			return nil, err
		}
		s := statusv3.ConfigStatus_SYNCED
		if (i*resources+j)%97 == 0 {
			s = statusv3.ConfigStatus_ERROR
		}
		c.GenericXdsConfigs = append(c.GenericXdsConfigs, &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: a.GetTypeUrl(), Name: name,
			VersionInfo: "1763640000000000000", XdsConfig: a, LastUpdated: timestamppb.New(time.Unix(1763640000, 0)), ConfigStatus: s})
	}
	return c, nil
}

// benchChild serves both rows from a process of its own: a client's own endpoint with one large answer, and a control
// plane with a fleet. It prints both addresses, and the size of the large answer.
func benchChild() {
	large := &statusv3.ClientStatusResponse{}
	for i := range benchClients {
		c, err := benchClient(i, benchResources)
		if err != nil {
			childFail(err)
		}
		large.Config = append(large.Config, c)
	}
	b, err := proto.Marshal(large)
	if err != nil {
		childFail(err)
	}
	local, _, err := xdsclienttest.Run(xdsclienttest.Config{Local: true})
	if err != nil {
		childFail(err)
	}
	local.Behave(xdsclienttest.Behaviour{Answer: func(*statusv3.ClientStatusRequest, *statusv3.ClientStatusResponse) []byte { return b }})
	fleet, _, err := xdsclienttest.Run(xdsclienttest.Config{})
	if err != nil {
		childFail(err)
	}
	fleet.Behave(xdsclienttest.Behaviour{Latency: fleetLatency})
	for i := range fleetClients {
		c, err := benchClient(i, fleetResources)
		if err != nil {
			childFail(err)
		}
		fleet.Connect(xdsclienttest.Client{ProjectNumber: benchProject, Network: "default", Config: c})
	}
	fmt.Println(local.Addr, fleet.Addr, len(b))
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func startBench(b *testing.B) (local, fleet string, size int) {
	b.Helper()
	line := startChild(b, "bench", "GOMAXPROCS=1") // leaves the other core to what is measured
	if _, err := fmt.Sscan(line, &local, &fleet, &size); err != nil {
		b.Fatal(err)
	}
	return local, fleet, size
}

// yardstick receives an answer without reading it, or with protobuf's own decoder.
type yardstick struct {
	unmarshal bool
	size      int
	message   *statusv3.ClientStatusResponse
}

type yardstickCodec struct{ encoding.CodecV2 }

func (c yardstickCodec) Unmarshal(s mem.BufferSlice, v any) error {
	y, ok := v.(*yardstick)
	if !ok {
		return c.CodecV2.Unmarshal(s, v)
	}
	if y.size = s.Len(); !y.unmarshal {
		return nil
	}
	y.message = &statusv3.ClientStatusResponse{}
	return c.CodecV2.Unmarshal(s, y.message)
}

// BenchmarkDecode asks for one large answer three ways in turn: as Local does; by a codec that only takes its length; and
// with protobuf's decoder. It reports the median time of the others divided by ours, what was allocated besides the
// records kept, in percent of the answer, and the size of the records.
func BenchmarkDecode(b *testing.B) {
	addr, _, size := startBench(b)
	client, err := New(Config{Endpoint: addr, Insecure: true})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	yard := func(unmarshal bool) func() any {
		return func() any {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			s, err := client.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, streamMethod,
				grpc.ForceCodecV2(yardstickCodec{encoding.GetCodecV2(protocodec.Name)}))
			if err != nil {
				b.Fatal(err)
			}
			y := &yardstick{unmarshal: unmarshal}
			if err := s.SendMsg(&statusv3.ClientStatusRequest{}); err != nil {
				b.Fatal(err)
			}
			if err := s.RecvMsg(y); err != nil || y.size != size {
				b.Fatal(y.size, err)
			}
			return y
		}
	}
	walk := func() any {
		clients, err := client.Local(b.Context())
		if err != nil || len(clients) != benchClients || len(clients[benchClients-1].Resources) != benchResources {
			b.Fatal(len(clients), err)
		}
		return clients
	}
	ways := []func() any{walk, yard(false), yard(true)}
	times := make([][]time.Duration, len(ways))
	for _, way := range ways { // connects, and fills the pools
		way()
	}
	for b.Loop() {
		for i, way := range ways {
			runtime.GC() // nobody pays for another's garbage
			start := time.Now()
			result := way()
			times[i] = append(times[i], time.Since(start))
			runtime.KeepAlive(result)
		}
	}
	ours := median(times[0])
	b.ReportMetric(float64(median(times[1]))/float64(ours), "of_raw")
	b.ReportMetric(float64(median(times[2]))/float64(ours), "x_unmarshal")
	b.ReportMetric(float64(size)/(1<<20)/ours.Seconds(), "MiB/s")

	var before, after runtime.MemStats
	collect()
	runtime.ReadMemStats(&before)
	result := walk()
	collect()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(result)
	kept := float64(after.HeapAlloc) - float64(before.HeapAlloc)
	var allocated []uint64
	for range 9 {
		ways[1]() // fills the pools of the transport
		runtime.ReadMemStats(&before)
		walk()
		runtime.ReadMemStats(&after)
		allocated = append(allocated, after.TotalAlloc-before.TotalAlloc)
	}
	b.ReportMetric(100*(float64(median(allocated))-kept)/float64(size), "alloc_pct")
	b.ReportMetric(kept/(benchClients*benchResources), "B_kept/resource")
}

// collect frees what nobody holds. Buffer pools outlive one collection.
func collect() {
	runtime.GC()
	runtime.GC()
}

func median[T interface{ ~int64 | ~uint64 }](v []T) T {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// BenchmarkFleet asks for a whole fleet in two steps, each request answered after fleetLatency, and keeps every answer.
// It reports the time divided by the least possible, and the bytes kept for each proxy.
func BenchmarkFleet(b *testing.B) {
	_, addr, _ := startBench(b)
	client, err := New(Config{Endpoint: addr, Insecure: true, Streams: MaxStreams})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	scope := Scope{ProjectNumber: benchProject, Network: "default"}
	var took []time.Duration
	var kept []uint64
	for b.Loop() {
		var before, after runtime.MemStats
		collect()
		runtime.ReadMemStats(&before)
		start := time.Now()
		nodes, err := client.List(b.Context(), scope)
		if err != nil || len(nodes) != fleetClients {
			b.Fatal(len(nodes), err)
		}
		ids := make([]string, len(nodes))
		for i, n := range nodes {
			ids[i] = n.ID
		}
		clients := make([]ClientConfig, 0, len(ids))
		if err := client.Statuses(b.Context(), scope, ids, func(c ClientConfig, err error) {
			if err != nil || len(c.Resources) != fleetResources {
				b.Fatal(c.Node.ID, err)
			}
			clients = append(clients, c)
		}); err != nil || len(clients) != fleetClients {
			b.Fatal(len(clients), err)
		}
		took = append(took, time.Since(start))
		collect()
		runtime.ReadMemStats(&after)
		kept = append(kept, after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))
		runtime.KeepAlive(clients)
	}
	ideal := fleetLatency + fleetClients/MaxStreams*fleetLatency
	b.ReportMetric(float64(median(took))/float64(ideal), "x_ideal")
	b.ReportMetric(float64(median(kept))/fleetClients, "B_kept/proxy")
}
