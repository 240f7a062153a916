package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	codepb "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshdiag/meshdiag/diagnose"
)

// Domain is the domain of every ErrorInfo: https://google.aip.dev/193.
const Domain = "meshdiag"

// The reasons of ErrorInfo. They are a promise: programs key on them. Errors that grpc-go itself makes, such as for a message
// it can't read, carry their code's name.
const (
	reasonInvalidField     = "INVALID_FIELD"
	reasonNoCheck          = "CHECK_NOT_FOUND"
	reasonNoClient         = "CLIENT_NOT_CONNECTED"
	reasonNoDirectory      = "NO_CONTROL_PLANE"
	reasonUpstreamDenied   = "CONTROL_PLANE_DENIED"
	reasonUpstreamSlow     = "CONTROL_PLANE_TOO_SLOW"
	reasonUpstreamNotFound = "CONTROL_PLANE_NOT_FOUND"
	reasonUpstreamRefused  = "CONTROL_PLANE_REFUSED"
	reasonUpstreamQuota    = "CONTROL_PLANE_QUOTA_EXCEEDED"
	reasonUpstreamFailed   = "CONTROL_PLANE_UNAVAILABLE"
	reasonBusy             = "TOO_MANY_DIAGNOSES"
	reasonDeadline         = "DEADLINE_EXCEEDED"
	reasonCanceled         = "CANCELLED"
	reasonShuttingDown     = "SHUTTING_DOWN"
	reasonInternal         = "INTERNAL"
	reasonUnknownMethod    = "UNKNOWN_METHOD"

	// Of REST alone.
	reasonNoRoute       = "ROUTE_NOT_FOUND"
	reasonMethod        = "METHOD_NOT_ALLOWED"
	reasonPath          = "INVALID_PATH"
	reasonContentType   = "UNSUPPORTED_CONTENT_TYPE"
	reasonEmptyBody     = "EMPTY_BODY"
	reasonBody          = "UNEXPECTED_BODY"
	reasonJSON          = "INVALID_JSON"
	reasonDepth         = "JSON_TOO_DEEP"
	reasonQuery         = "INVALID_QUERY_PARAMETER"
	reasonBodyTooLarge  = "REQUEST_TOO_LARGE"
	reasonBodiesPending = "TOO_MANY_REQUEST_BYTES"
	reasonBodyBroken    = "REQUEST_NOT_READ"
	reasonHost          = "FOREIGN_HOST"
)

// errShutdown is why a request is canceled that the drain could not wait for.
var errShutdown = errors.New("the server is shutting down")

// fail makes an error with exactly one ErrorInfo.
func fail(code codes.Code, reason, message string, details ...protoadapt.MessageV1) error {
	return failure(code, reason, message, details...).Err()
}

func failure(code codes.Code, reason, message string, details ...protoadapt.MessageV1) *status.Status {
	st := status.New(code, utf8Text(message))
	all := append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: Domain}}, details...)
	full, err := st.WithDetails(all...)
	if err != nil { // a detail that can't be marshalled, and every text above is valid
		return st
	}
	return full
}

// badField makes the error for one field that isn't as it should be.
func badField(field, message string) error {
	return badFields([]*errdetails.BadRequest_FieldViolation{{Field: field, Description: message}}).Err()
}

func badFields(v []*errdetails.BadRequest_FieldViolation) *status.Status {
	var lines []string
	for _, f := range v {
		f.Field, f.Description = utf8Text(f.Field), utf8Text(f.Description)
		lines = append(lines, strings.TrimPrefix(f.GetField()+": ", ": ")+f.GetDescription())
	}
	return failure(codes.InvalidArgument, reasonInvalidField, strings.Join(lines, "; "), &errdetails.BadRequest{FieldViolations: v})
}

// retrySoon tells clients that retry when to do so: most diagnoses end within seconds.
func retrySoon() protoadapt.MessageV1 {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)}
}

// violations gives what the API's rules found, by the fields' proto names.
func violations(e *protovalidate.ValidationError) (out []*errdetails.BadRequest_FieldViolation) {
	for _, v := range e.Violations {
		field, message := protovalidate.FieldPathString(v.Proto.GetField()), v.Proto.GetMessage()
		// A rule of a whole message may name the field in its text: "project: must be …".
		if before, after, ok := strings.Cut(message, ": "); ok && fieldName(before) {
			field, message = strings.TrimPrefix(field+"."+before, "."), after
		}
		out = append(out, &errdetails.BadRequest_FieldViolation{Field: field, Description: message})
	}
	return out
}

// fieldName says whether s looks like the name of a field.
func fieldName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// statusOf is the one way out for errors: whatever went wrong, the caller gets a code, exactly one ErrorInfo, and nothing of
// this program's inside.
func (s *Service) statusOf(ctx context.Context, err error) *status.Status {
	var bad *diagnose.BadInput
	var invalid *protovalidate.ValidationError
	st, isStatus := status.FromError(err)
	switch {
	case errors.Is(context.Cause(ctx), errShutdown):
		return failure(codes.Unavailable, reasonShuttingDown, "the server is shutting down: ask again")
	case errors.As(err, &bad):
		return badFields([]*errdetails.BadRequest_FieldViolation{{Field: bad.Field, Description: bad.Message}})
	case errors.As(err, &invalid):
		return badFields(violations(invalid))
	case errors.Is(err, context.DeadlineExceeded):
		return failure(codes.DeadlineExceeded, reasonDeadline, "the deadline came before an answer")
	case errors.Is(err, context.Canceled):
		return failure(codes.Canceled, reasonCanceled, "the request was canceled")
	case isStatus && (st.Code() != codes.Unknown || hasErrorInfo(st)):
		return complete(st)
	default:
		id := requestID(ctx)
		s.log.ErrorContext(ctx, "internal error", "request_id", id, "error", err)
		return internalError(id)
	}
}

// internalError tells the caller nothing but an ID, by which the logs have the rest.
func internalError(id string) *status.Status {
	return failure(codes.Internal, reasonInternal, fmt.Sprintf("internal error; the server's logs have it as request %s", id))
}

func hasErrorInfo(st *status.Status) bool {
	for _, d := range st.Details() {
		if _, ok := d.(*errdetails.ErrorInfo); ok {
			return true
		}
	}
	return false
}

// complete gives a status from elsewhere, such as grpc-go's health service, an ErrorInfo: its code's name.
func complete(st *status.Status) *status.Status {
	if st.Code() == codes.OK || hasErrorInfo(st) {
		return st
	}
	return failure(st.Code(), codeName(st.Code()), st.Message())
}

// codeName gives a code's name as https://google.aip.dev/193 has it: "INVALID_ARGUMENT".
func codeName(c codes.Code) string { return codepb.Code(c).String() }
