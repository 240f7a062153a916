package gcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/api/googleapi"
)

const (
	// maxAttempts bounds the tries of one call: a service that fails three times in a row is reported as failing.
	maxAttempts = 3
	// maxRetryWait bounds one pause, whatever Retry-After asks for: a person is waiting.
	maxRetryWait = 2 * time.Second
	// pageSize is the most that compute lists return at once.
	pageSize = 500
	// maxPages bounds a list, and ends one whose pages go on for ever: 50,000 rules are more than a project may have.
	maxPages = 100
)

// access is one call: what it reads, and what it takes to be allowed to.
type access struct {
	what       string // "the forwarding rules of project p"
	method     string // the API's method: "compute.globalForwardingRules.list"
	permission string // "compute.globalForwardingRules.list"
	role       string // the narrowest predefined role that has it
	project    string // where it is to be granted
}

// call makes one call, again where that may help, and explains a refusal.
func (a *API) call(ctx context.Context, acc access, do func(context.Context) error) error {
	delay := a.cfg.RetryDelay
	for attempt := 1; ; attempt++ {
		tctx, cancel := context.WithTimeout(ctx, a.cfg.CallTimeout)
		err := do(tctx)
		late := tctx.Err() != nil
		cancel()
		if err == nil {
			return nil
		}
		var ue *url.Error
		if errors.As(err, &ue) { // its text repeats the whole URL
			err = ue.Err
		}
		if late && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %s: %w", a.cfg.CallTimeout, err)
		}
		if ctx.Err() != nil || attempt == maxAttempts || !(late || retryable(err)) {
			return a.explain(acc, err)
		}
		wait := time.NewTimer(min(max(delay, retryAfter(err)), maxRetryWait))
		delay *= 2
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return a.explain(acc, err)
		}
	}
}

// retryable says whether a second try may go better.
func retryable(err error) bool {
	var te *tokenError
	if errors.As(err, &te) {
		return false
	}
	var ge *googleapi.Error
	if !errors.As(err, &ge) {
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
	}
	switch ge.Code {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusForbidden:
		return rateLimited(ge)
	}
	return false
}

// rateLimited finds the quota errors that come as 403 (https://docs.cloud.google.com/compute/docs/api/rate-limits).
func rateLimited(ge *googleapi.Error) bool {
	for _, e := range ge.Errors {
		switch e.Reason {
		case "rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded":
			return true
		}
	}
	return errorInfo(ge).Reason == "RATE_LIMIT_EXCEEDED"
}

func retryAfter(err error) time.Duration {
	var ge *googleapi.Error
	if !errors.As(err, &ge) {
		return 0
	}
	s, err := strconv.Atoi(ge.Header.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, maxRetryWait)
}

// pages reads a list to its end. get reads the page of a token and gives the next one's, "" at the end.
func (a *API) pages(ctx context.Context, acc access, get func(ctx context.Context, token string) (next string, err error)) error {
	token := ""
	for range maxPages {
		var next string
		err := a.call(ctx, acc, func(ctx context.Context) (err error) {
			next, err = get(ctx, token)
			return err
		})
		switch {
		case err != nil:
			return err
		case next == "":
			return nil
		case next == token:
			return fmt.Errorf("reading %s: %s gave the same page twice", acc.what, acc.method)
		}
		token = next
	}
	return fmt.Errorf("reading %s: more than %d pages", acc.what, maxPages)
}

// partialError says that an answer left something out: known in part, and so not known.
type partialError struct{ what, missing string }

func (p *partialError) Error() string {
	return fmt.Sprintf("%s could be read only in part: %s", p.what, p.missing)
}
