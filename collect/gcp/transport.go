package gcp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// maxBody bounds one answer: a page of 500 rules is about a megabyte.
const maxBody = 32 << 20

// transport adds what Google's APIs want to each request: the token, and the project to charge.
type transport struct {
	api          string
	base         http.RoundTripper
	tokens       *tokens
	quotaProject string
	observe      func(api, code string)
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context()) // a RoundTripper must not change the request it is given
	token, err := t.tokens.get(r.Context())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // a RoundTripper closes the body, also on errors
		}
		t.count("error")
		return nil, err
	}
	if token != nil {
		token.SetAuthHeader(r)
	}
	if t.quotaProject != "" {
		r.Header.Set("X-Goog-User-Project", t.quotaProject)
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		t.count("error")
		return nil, err
	}
	t.count(strconv.Itoa(resp.StatusCode))
	resp.Body = &limited{ReadCloser: resp.Body, left: maxBody}
	return resp, nil
}

func (t *transport) count(code string) {
	if t.observe != nil {
		t.observe(t.api, code)
	}
}

// limited fails a body that is larger than any honest answer: cutting it off would turn a long list into a short one.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the answer is larger than %d MiB", maxBody>>20)
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// tokens gets access tokens with a deadline, which a TokenSource by itself doesn't know, and one at a time.
type tokens struct {
	source oauth2.TokenSource
	flight singleflight.Group
}

func newTokens(s oauth2.TokenSource) *tokens {
	if s != nil {
		s = oauth2.ReuseTokenSource(nil, s)
	}
	return &tokens{source: s}
}

// tokenError says that there was no token to send.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "no access token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

func (t *tokens) get(ctx context.Context) (*oauth2.Token, error) {
	if t.source == nil {
		return nil, nil
	}
	got := t.flight.DoChan("", func() (any, error) { return t.source.Token() })
	select {
	case r := <-got:
		if r.Err != nil {
			return nil, &tokenError{r.Err}
		}
		return r.Val.(*oauth2.Token), nil
	case <-ctx.Done():
		return nil, &tokenError{ctx.Err()}
	}
}
