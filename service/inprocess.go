package service

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// InProcess serves the methods to this process alone, through memory: with the same rules and limits as a server's, and no port
// that another user of the machine could reach. close ends it.
func (s *Service) InProcess() (conn *grpc.ClientConn, closeAll func(), err error) {
	in := &interceptors{svc: s, known: map[string]bool{}}
	var stopAll, stopWatches context.CancelFunc
	in.stop, stopAll = context.WithCancel(context.Background())
	in.stopWatches, stopWatches = context.WithCancel(context.Background())
	server := s.grpcServer(in)
	in.learn(server)
	pipe := bufconn.Listen(pipeBytes)
	conn, err = dialPipe(pipe)
	if err != nil {
		stopAll()
		stopWatches()
		return nil, nil, fmt.Errorf("connecting to the service in this process: %w", err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(pipe) // ends with the Stop below, and with nothing else
	}()
	return conn, func() {
		stopAll()
		stopWatches()
		_ = conn.Close()
		server.Stop()
		<-served
	}, nil
}

// grpcServer makes a gRPC server of the methods, behind the interceptors.
func (s *Service) grpcServer(in *interceptors, more ...grpc.ServerOption) *grpc.Server {
	server := grpc.NewServer(append(append(in.options(), grpc.MaxRecvMsgSize(MaxMessageBytes)), more...)...)
	pb.RegisterDiagnosisServiceServer(server, s)
	pb.RegisterClientServiceServer(server, s)
	pb.RegisterCatalogServiceServer(server, s)
	return server
}

// pipeBytes is the buffer of a connection through memory: a few HTTP/2 frames; larger ones only cost memory.
const pipeBytes = 256 << 10

// dialPipe connects through memory. The connection is never idle long enough to be closed: there is nothing to save.
func dialPipe(pipe *bufconn.Listener) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///in-process",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
		grpc.WithIdleTimeout(0))
}
