package service

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"

	"github.com/meshdiag/meshdiag/diagnose"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// StreamDiagnose answers like Diagnose, and tells of each collector and check as it ends.
func (s *Service) StreamDiagnose(r *pb.StreamDiagnoseRequest, stream grpc.ServerStreamingServer[pb.StreamDiagnoseResponse]) error {
	req, err := requestFromProto(r.GetRequest())
	if err != nil {
		return under("request", err)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	q := newEventQueue()
	sent := make(chan error, 1)
	go func() {
		err := q.sendTo(ctx, stream.Send)
		if err != nil {
			cancel() // nobody listens any more: the engine may stop
		}
		sent <- err
		close(sent)
	}()
	// The sender ends before this method does, even where the engine panics: a stream must not be used after that.
	defer func() {
		cancel()
		for range sent { // what it failed with was taken below, or the engine panicked
		}
	}()
	rep, err := s.diagnose(ctx, req, timeoutOf(r.GetRequest()), q.push)
	q.close()
	if serr := <-sent; serr != nil {
		return serr
	}
	if err != nil {
		return under("request", err)
	}
	return stream.Send(&pb.StreamDiagnoseResponse{Event: &pb.StreamDiagnoseResponse_Report{Report: rep}})
}

// under puts a field's name before the field that a bad input names.
func under(field string, err error) error {
	var bad *diagnose.BadInput
	if errors.As(err, &bad) {
		return &diagnose.BadInput{Field: field + "." + bad.Field, Message: bad.Message}
	}
	return err
}

// eventQueue stands between the engine and a caller who may be slow: the engine never waits for the network. It holds at
// most what one diagnosis tells: two events a collector and one a check.
type eventQueue struct {
	mu     sync.Mutex
	events []diagnose.Event
	closed bool
	wake   chan struct{}
}

func newEventQueue() *eventQueue { return &eventQueue{wake: make(chan struct{}, 1)} }

func (q *eventQueue) push(e diagnose.Event) {
	q.mu.Lock()
	q.events = append(q.events, e)
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// sendTo sends events as they come, until the queue is closed and empty, a send fails or ctx ends.
func (q *eventQueue) sendTo(ctx context.Context, send func(*pb.StreamDiagnoseResponse) error) error {
	for {
		q.mu.Lock()
		events, closed := q.events, q.closed
		q.events = nil
		q.mu.Unlock()
		for _, e := range events {
			if m := eventToProto(e); m != nil {
				if err := send(m); err != nil {
					return err
				}
			}
		}
		if len(events) > 0 {
			continue
		}
		if closed {
			return nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
