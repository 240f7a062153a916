package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// maxAttempts bounds the tries of one request: a server that fails three times in a row is reported as failing.
	maxAttempts = 3
	// maxErrorBody bounds what is read of an answer that says no: a Status is some hundred bytes.
	maxErrorBody = 64 << 10
	// maxMessage bounds an API server's message: a line or three on a terminal.
	maxMessage = 300
)

// access is one request: what it reads, and what it takes to be allowed to.
type access struct {
	what      string // "the pods of namespace shop"
	verb      string // "list"
	group     string // "" for the core group
	version   string // "v1"
	resource  string // "pods"
	sub       string // "log"; "" for the object itself
	namespace string // "" for all, or for kinds that are in none
	name      string // of the object; "" for a list
	role      string // the ClusterRole of deploy/rbac.yaml that allows it; "" is meshdiag-reader
	url       string // of what is no resource: "/apis"; "" for resources
}

// kind gives the resource as RBAC and kubectl write it: "pods", "pods/log", "envoyfilters.networking.istio.io".
func (a access) kind() string {
	if a.url != "" {
		return a.url
	}
	s := a.resource
	if a.group != "" {
		s += "." + a.group
	}
	if a.sub != "" {
		s += "/" + a.sub
	}
	return s
}

// permission says what has to be allowed: "list pods in namespace shop".
func (a access) permission() string {
	s := a.verb + " " + a.kind()
	if a.name != "" {
		s += " " + a.name
	}
	if a.namespace != "" {
		s += " in namespace " + a.namespace
	}
	return s
}

// path gives the path below the API server's address.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
func (a access) path() string {
	p := "api/" + a.version
	if a.group != "" {
		p = "apis/" + a.group + "/" + a.version
	}
	if a.namespace != "" {
		p += "/namespaces/" + url.PathEscape(a.namespace)
	}
	p += "/" + a.resource
	if a.name != "" {
		p += "/" + url.PathEscape(a.name)
	}
	if a.sub != "" {
		p += "/" + a.sub
	}
	return p
}

// statusError is an answer other than 200.
type statusError struct {
	code       int
	status     bool // it is a Status of the Kubernetes API: no other server's, and no proxy's
	reason     string
	message    string
	retryAfter time.Duration
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("HTTP %d", e.code)
	if text := http.StatusText(e.code); text != "" {
		s += " " + text
	}
	if e.message != "" {
		s += ": " + e.message
	}
	return s
}

// hasCode says whether the API server answered with a code.
func hasCode(err error, code int) bool {
	var se *statusError
	return errors.As(err, &se) && se.code == code
}

// get asks for an access' path, and lets read have the answer's body; again where that may help. read may be called several
// times, each for the whole answer.
func (c *cluster) get(ctx context.Context, acc access, q url.Values, read func(io.Reader) error) error {
	return c.fetch(ctx, acc, acc.path(), q, read)
}

// fetch does the same for any path.
func (c *cluster) fetch(ctx context.Context, acc access, path string, q url.Values, read func(io.Reader) error) error {
	delay := c.cfg.RetryDelay
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, request{path: path, query: q}, read)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || attempt == maxAttempts || !retryable(err) {
			return c.explain(acc, err)
		}
		wait := max(delay, retryAfter(err))
		if dl, ok := ctx.Deadline(); ok && time.Until(dl) <= wait {
			return c.explain(acc, err) // it would come too late
		}
		delay *= 2
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return c.explain(acc, err)
		}
	}
}

// request is a GET, or with a body a POST.
type request struct {
	path  string
	query url.Values
	body  []byte
}

// once makes one request.
func (c *cluster) once(ctx context.Context, r request, read func(io.Reader) error) (err error) {
	if err := c.limit.Wait(ctx); err != nil {
		return fmt.Errorf("waiting to ask: %w", err)
	}
	tctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	code := "error"
	defer func() {
		if c.cfg.Observe != nil {
			c.cfg.Observe("kubernetes", code)
		}
		if err != nil && tctx.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("no whole answer within %s: %w", c.cfg.CallTimeout, err)
		}
	}()
	u := *c.base
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+"/"+r.path, ""
	u.RawQuery = r.query.Encode()
	method, want := http.MethodGet, http.StatusOK
	if r.body != nil {
		method, want = http.MethodPost, http.StatusCreated
	}
	req, err := http.NewRequestWithContext(tctx, method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, */*") // a log is text
	res, err := c.do(tctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	code = strconv.Itoa(res.StatusCode)
	if res.StatusCode != want {
		return newStatusError(res)
	}
	if err := read(res.Body); err != nil {
		code = "error"
		return err
	}
	return nil
}

// do sends a request and ends with ctx, which a credential plugin that is running doesn't know of.
func (c *cluster) do(ctx context.Context, req *http.Request) (*http.Response, error) {
	type answer struct {
		res *http.Response
		err error
	}
	got := make(chan answer)
	go func() {
		res, err := c.http.Do(req) //nolint:gosec // the host is the kubeconfig's, and names in the path are checked
		select {
		case got <- answer{res, err}:
		case <-ctx.Done():
			if err == nil {
				_ = res.Body.Close()
			}
		}
	}()
	select {
	case a := <-got:
		var ue *url.Error
		if errors.As(a.err, &ue) { // its text repeats the whole URL
			a.err = ue.Err
		}
		return a.res, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newStatusError(res *http.Response) *statusError {
	e := &statusError{code: res.StatusCode}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody)) // what came of it tells enough
	var m struct {
		Kind    string `json:"kind"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Details struct {
			RetryAfter int `json:"retryAfterSeconds"`
		} `json:"details"`
	}
	if json.Unmarshal(body, &m) == nil && m.Kind == "Status" {
		e.status, e.reason, e.message = true, m.Reason, line(m.Message)
		e.retryAfter = time.Duration(m.Details.RetryAfter) * time.Second
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e.retryAfter = time.Duration(s) * time.Second
	}
	return e
}

// line makes one line of sane length of a message.
func line(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

// retryable says whether another try may go better. What hung isn't tried again: someone is waiting.
func retryable(err error) bool {
	var se *statusError
	if errors.As(err, &se) {
		switch se.code {
		case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	var ne *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		(errors.As(err, &ne) && ne.Op == "read") || strings.Contains(err.Error(), "http2: ") || strings.Contains(err.Error(), "stream error: ")
}

func retryAfter(err error) time.Duration {
	var se *statusError
	if errors.As(err, &se) {
		return se.retryAfter
	}
	return 0
}
