package xdsclient_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshdiag/meshdiag/xdsclient"
	"github.com/meshdiag/meshdiag/xdsclient/xdsclienttest"
)

func wantError(t *testing.T, err error, code codes.Code, reason, text string) {
	t.Helper()
	var e *xdsclient.Error
	if !errors.As(err, &e) || e.Code != code || e.Reason != reason || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v\nwant %v, reason %q, one line with %q", err, code, reason, text)
	}
	if status.Code(err) != code {
		t.Errorf("status.Code is %v", status.Code(err))
	}
}

// statusError is an error as Google's front end sends them.
func statusError(c codes.Code, msg, reason string) error {
	st := status.New(c, msg)
	if reason != "" {
		st, _ = st.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "googleapis.com", Metadata: map[string]string{"service": "x"}},
			&errdetails.Help{Links: []*errdetails.Help_Link{{Url: "https://a"}}})
	}
	return st.Err()
}

func TestRefusals(t *testing.T) {
	for _, row := range []struct {
		code             codes.Code
		msg, reason      string
		disabled, scopes bool
	}{
		{codes.Unauthenticated, "Request had invalid authentication credentials.", "", false, false},
		{codes.PermissionDenied, "denied", "IAM_PERMISSION_DENIED", false, false},
		{codes.PermissionDenied, "API off", "SERVICE_DISABLED", true, false},
		{codes.PermissionDenied, "X API has not been used in project 1 before or it is disabled. Enable it", "", true, false},
		{codes.PermissionDenied, "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", false, true},
		{codes.PermissionDenied, "Request had insufficient authentication scopes.", "", false, true},
		{codes.NotFound, "Requested entity was not found.", "", false, false},
		{codes.Unavailable, "down", "", false, false},
		{codes.ResourceExhausted, "quota", "RATE_LIMIT_EXCEEDED", false, false},
		{codes.Unimplemented, "no", "", false, false},
	} {
		t.Run(row.code.String()+" "+row.reason, func(t *testing.T) {
			overBoth(t, xdsclient.Config{}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
				s.Behave(xdsclienttest.Behaviour{Refuse: func(*statusv3.ClientStatusRequest) error {
					return statusError(row.code, row.msg, row.reason)
				}})
				_, err := d.List(t.Context(), network)
				wantError(t, err, row.code, row.reason, row.msg)
				var e *xdsclient.Error
				if !errors.As(err, &e) || e.ServiceDisabled() != row.disabled || e.InsufficientScopes() != row.scopes {
					t.Errorf("%v: disabled %v, scopes %v", err, e.ServiceDisabled(), e.InsufficientScopes())
				}
				if row.reason != "" && (e.Metadata["service"] != "x" || len(e.Details) != 1 || !strings.HasPrefix(e.Details[0], "google.rpc.Help: {")) {
					t.Errorf("metadata %v, details %q", e.Metadata, e.Details)
				}
				if n := s.Stats().Requests; n != 1 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

func TestTimeouts(t *testing.T) {
	overBoth(t, xdsclient.Config{AskTimeout: 50 * time.Millisecond}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
		s.Behave(xdsclienttest.Behaviour{Silent: true})
		_, err := d.List(t.Context(), network)
		wantError(t, err, codes.DeadlineExceeded, "", "no answer")
	})
	overBoth(t, xdsclient.Config{}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
		s.Behave(xdsclienttest.Behaviour{Silent: true})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := d.Status(ctx, network, "n")
		wantError(t, err, codes.DeadlineExceeded, "", "n: DEADLINE_EXCEEDED")
		<-ctx.Done() // the server may have ended the call a moment before
		_, err = d.List(ctx, network)
		wantError(t, err, codes.DeadlineExceeded, "", "")
		asked := 0
		err = d.Statuses(ctx, network, []string{"a", "b"}, func(c xdsclient.ClientConfig, err error) {
			asked++
			wantError(t, err, codes.DeadlineExceeded, xdsclient.ReasonNotAsked, c.Node.ID)
		})
		if wantError(t, err, codes.DeadlineExceeded, "", ""); asked != 2 {
			t.Errorf("told of %d nodes", asked)
		}
	})
}

func TestNoAnswerIsAnError(t *testing.T) {
	overBoth(t, xdsclient.Config{}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
		fleet(s, 1)
		s.Behave(xdsclienttest.Behaviour{EndFirst: true})
		nodes, err := d.List(t.Context(), network)
		if wantError(t, err, codes.Internal, xdsclient.ReasonNoAnswer, ""); nodes != nil {
			t.Errorf("nodes %v", nodes)
		}
	})
}

func TestMalformedAnswer(t *testing.T) {
	overBoth(t, xdsclient.Config{}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
		s.Behave(xdsclienttest.Behaviour{Answer: func(*statusv3.ClientStatusRequest, *statusv3.ClientStatusResponse) []byte {
			return []byte("<html>")
		}})
		_, err := d.List(t.Context(), network)
		if wantError(t, err, codes.Internal, xdsclient.ReasonMalformed, "malformed"); !errors.Is(err, xdsclient.ErrMalformed) {
			t.Errorf("%v is not ErrMalformed", err)
		}
	})
}

func TestAnswerAboutAnother(t *testing.T) {
	overBoth(t, xdsclient.Config{}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
		s.Behave(xdsclienttest.Behaviour{Change: func(_ *statusv3.ClientStatusRequest, r *statusv3.ClientStatusResponse) {
			r.Config = []*statusv3.ClientConfig{client("other")}
		}})
		_, err := d.Status(t.Context(), network, "mine")
		wantError(t, err, codes.Internal, xdsclient.ReasonWrongNode, "other")
	})
}
