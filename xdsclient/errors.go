package xdsclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Reasons that this package gives itself, where no server does. They stand in Error.Reason beside those of Google's
// ErrorInfo, which are in upper case too.
const (
	ReasonNoAnswer         = "STREAM_ENDED_WITHOUT_ANSWER" // the stream ended, even with OK, before the answer came
	ReasonMalformed        = "MALFORMED_ANSWER"            // the answer is not what the protocol allows
	ReasonWrongNode        = "ANSWER_ABOUT_ANOTHER_NODE"   // one node was asked for and others came
	ReasonNotConnected     = "CLIENT_NOT_CONNECTED"        // one node was asked for and the answer was empty
	ReasonTokenUnavailable = "ACCESS_TOKEN_UNAVAILABLE"    // no access token could be had; the server was not asked
	ReasonAnswerTooLarge   = "ANSWER_TOO_LARGE"            // more than maxAnswer bytes
	ReasonNotAsked         = "NOT_ASKED"                   // given up, because the asks before it failed alike
)

// Reasons of Google's ErrorInfo, https://cloud.google.com/apis/design/errors, that callers tell apart.
const (
	ReasonServiceDisabled   = "SERVICE_DISABLED"
	ReasonInsufficientScope = "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
)

// Error is why a call gave no answer. Code tells UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND, UNAVAILABLE,
// DEADLINE_EXCEEDED and so on apart, for both transports; Reason tells apart what shares a code.
type Error struct {
	Op      string // what was being done: "listing the clients of network default"
	Code    codes.Code
	Message string // the server's own words, where it said any
	Reason  string // google.rpc.ErrorInfo's reason, or one of this package's; "" when there is none
	// Domain and Metadata are the rest of ErrorInfo: for SERVICE_DISABLED, metadata holds "service" and "consumer".
	Domain   string
	Metadata map[string]string
	// Details are the other details, each as "type: JSON" on one line.
	Details []string

	cause error
}

// Error gives one line: what was being done, the code, and the server's words.
func (e *Error) Error() string {
	msg := strings.Join(strings.Fields(e.Message), " ")
	if e.Reason != "" && !strings.Contains(msg, e.Reason) {
		msg += " (" + e.Reason + ")"
	}
	return e.Op + ": " + codeName(e.Code) + ": " + msg
}

// Unwrap gives the cause, if there is another error behind it: ErrMalformed, a context's error, a failed token.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus lets status.Code and status.FromError see the code.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// ServiceDisabled says that the API is switched off in the project: by ErrorInfo's reason, or where that is missing by the
// text that Google's front end sends.
func (e *Error) ServiceDisabled() bool {
	return e.Reason == ReasonServiceDisabled ||
		e.Code == codes.PermissionDenied && strings.Contains(e.Message, "before or it is disabled")
}

// InsufficientScopes says that the access token lacks the OAuth scope, whatever the permissions of its owner: by
// ErrorInfo's reason, or by the text that Google's front end sends.
func (e *Error) InsufficientScopes() bool {
	return e.Reason == ReasonInsufficientScope ||
		e.Code == codes.PermissionDenied && strings.Contains(e.Message, "insufficient authentication scopes")
}

// codeName gives a code's name as google.rpc.Code writes it.
func codeName(c codes.Code) string {
	if c == codes.Canceled {
		return "CANCELLED" // google.rpc.Code has two Ls
	}
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' && c != codes.OK {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// invalid is the error of a request that was never sent.
func invalid(format string, args ...any) *Error {
	return &Error{Op: "checking the request", Code: codes.InvalidArgument, Message: fmt.Sprintf(format, args...)}
}

// grpcError gives the Error of a failed stream.
func grpcError(op string, err error) *Error {
	if e := new(Error); errors.As(err, &e) {
		out := *e
		out.Op = op
		return &out
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Error{Op: op, Code: status.FromContextError(err).Code(), Message: err.Error(), cause: err}
	}
	st, _ := status.FromError(err)
	out := &Error{Op: op, Code: st.Code(), Message: st.Message()}
	switch {
	case out.Code == codes.DeadlineExceeded:
		out.cause = context.DeadlineExceeded
	case out.Code == codes.Canceled:
		out.cause = context.Canceled
	case out.Code == codes.ResourceExhausted && strings.HasPrefix(out.Message, "grpc: received message"):
		out.Reason = ReasonAnswerTooLarge
	}
	for _, d := range st.Details() {
		out.addDetail(d)
	}
	return out
}

func (e *Error) addDetail(d any) {
	switch d := d.(type) {
	case *errdetails.ErrorInfo:
		e.Reason, e.Domain, e.Metadata = d.GetReason(), d.GetDomain(), d.GetMetadata()
	case proto.Message:
		b, err := protojson.Marshal(d)
		if err == nil {
			b = compact(b)
		}
		e.Details = append(e.Details, string(d.ProtoReflect().Descriptor().FullName())+": "+string(b))
	case error: // a type that is not linked in: status.Details gives why it could not be read
		e.Details = append(e.Details, d.Error())
	}
}

// addJSONDetail is addDetail for an entry of "details" in a Google API's JSON error.
func (e *Error) addJSONDetail(raw json.RawMessage) {
	var d struct {
		Type     string            `json:"@type"`
		Reason   string            `json:"reason"`
		Domain   string            `json:"domain"`
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &d); err == nil && strings.HasSuffix(d.Type, "/google.rpc.ErrorInfo") {
		e.Reason, e.Domain, e.Metadata = d.Reason, d.Domain, d.Metadata
		return
	}
	e.Details = append(e.Details, d.Type[strings.LastIndexByte(d.Type, '/')+1:]+": "+string(compact(raw)))
}

// malformed is the Error of an answer that could not be read.
func malformed(op string, err error) *Error {
	return &Error{Op: op, Code: codes.Internal, Message: err.Error(), Reason: ReasonMalformed, cause: err}
}
