package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// restPath is CSDS by REST (https://trafficdirector.googleapis.com/$discovery/rest?version=v3).
	restPath = "/v3/discovery:client_status"
	// maxAnswer bounds the answer: an empty question gets a refusal of a few hundred bytes.
	maxAnswer = 1 << 20
)

// collectREST asks the control plane an empty question by REST. Any answer of its own will do; the Date header tells how
// far off the clock is.
func (p *Prober) collectREST(ctx context.Context, _ diagnose.Request, view *evidence.View, set *evidence.Set) error {
	addresses, err := p.connected(view)
	if err != nil {
		return err
	}
	src := p.source("POST https://" + p.cfg.Endpoint + restPath)
	tctx, cancel := context.WithTimeout(ctx, p.cfg.CallTimeout)
	defer cancel()
	result, clock := p.postStatus(tctx, addresses)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("calling %s by REST: %w", p.cfg.Endpoint, err)
	}
	result.Source = src
	evidence.Put(set, evidence.RESTProbe, []evidence.CallResult{result}, src)
	if clock == nil {
		set.Fail(evidence.ClockFact.Name(), src, errors.New("no answer of the control plane's shows its time"))
		return nil
	}
	clock.Source = src
	evidence.Put(set, evidence.ClockFact, []evidence.ClockOffset{*clock}, src)
	return nil
}

// moments notes when a request went out and its answer came in. The HTTP client tells of it from goroutines of its own.
type moments struct {
	mu             sync.Mutex
	address        string
	sent, received time.Time
}

func (m *moments) trace(now func() time.Time) *httptrace.ClientTrace {
	note := func(f func()) {
		m.mu.Lock()
		defer m.mu.Unlock()
		f()
	}
	return &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			note(func() { m.address, m.sent = i.Conn.RemoteAddr().String(), now() })
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			note(func() {
				if m.received.IsZero() { // the answer may come before this is told
					m.sent = now()
				}
			})
		},
		GotFirstResponseByte: func() { note(func() { m.received = now() }) },
	}
}

func (m *moments) read() (address string, sent, received time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.address, m.sent, m.received
}

func (p *Prober) postStatus(ctx context.Context, addresses []string) (evidence.CallResult, *evidence.ClockOffset) {
	out := evidence.CallResult{Host: p.host, Address: addresses[0]}
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, addresses) },
		TLSClientConfig:   &tls.Config{RootCAs: p.cfg.RootCAs, MinVersion: tls.VersionTLS12, Time: p.cfg.Now},
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token stays where it was meant for
	}
	var m moments
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, m.trace(p.cfg.Now)), http.MethodPost, "https://"+p.cfg.Endpoint+restPath, strings.NewReader("{}"))
	if err != nil {
		out.Message = line(err.Error())
		return out, nil
	}
	req.Header.Set("Content-Type", "application/json")
	if t := p.token(ctx); t != "" {
		req.Header.Set("Authorization", "Bearer "+t)
		if p.cfg.QuotaProject != "" {
			req.Header.Set("X-Goog-User-Project", p.cfg.QuotaProject)
		}
	}
	resp, err := client.Do(req)
	address, sent, received := m.read()
	if address != "" {
		out.Address = address
	}
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // its text repeats the whole URL
			err = ue.Err
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", p.cfg.CallTimeout)
		}
		out.Message = line(err.Error())
		return out, nil
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as wanted
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		out.Code, out.Message = strconv.Itoa(resp.StatusCode), line("reading the answer: "+err.Error())
		return out, nil
	}
	readAnswer(&out, resp, body)
	if !out.Answered {
		return out, nil
	}
	return out, clockOffset(resp.Header.Get("Date"), sent, received)
}

// readAnswer tells the control plane's answer from that of a middle box: Google's APIs answer and refuse in JSON of a known
// shape (https://google.aip.dev/193), boxes in between with pages.
func readAnswer(out *evidence.CallResult, resp *http.Response, body []byte) {
	out.Code = strconv.Itoa(resp.StatusCode)
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var a struct {
		Error *struct {
			Code    int    `json:"code"`
			Status  string `json:"status"`
			Message string `json:"message"`
			Details []struct {
				Type   string `json:"@type"`
				Reason string `json:"reason"`
			} `json:"details"`
		} `json:"error"`
		Config json.RawMessage `json:"config"`
	}
	decoded := json.Unmarshal(body, &a) == nil && bytes.HasPrefix(bytes.TrimSpace(body), []byte("{"))
	switch {
	case kind == "application/json" && decoded && resp.StatusCode == http.StatusOK && a.Error == nil:
		out.Answered, out.Code = true, "OK"
	case kind == "application/json" && decoded && a.Error != nil && a.Error.Status != "" && a.Error.Code == resp.StatusCode:
		out.Answered, out.Code, out.Message = true, a.Error.Status, line(a.Error.Message)
		for _, d := range a.Error.Details {
			if strings.HasSuffix(d.Type, "/google.rpc.ErrorInfo") {
				out.Reason = d.Reason
				break
			}
		}
	default:
		from := ""
		for _, h := range []string{"Via", "Server"} {
			if v := resp.Header.Get(h); v != "" {
				from = " from " + v
				break
			}
		}
		if kind == "" {
			kind = "unnamed content"
		}
		out.Message = line(fmt.Sprintf("HTTP %d with %s%s: %s", resp.StatusCode, kind, from, strings.ToValidUTF8(string(body[:min(len(body), saneMessage)]), "")))
	}
}

// clockOffset compares this clock with a Date header, which was written between sent and received, and shows whole seconds
// (RFC 9110, section 6.6.1). nil where there is nothing to compare.
func clockOffset(date string, sent, received time.Time) *evidence.ClockOffset {
	d, err := http.ParseTime(date)
	if err != nil || sent.IsZero() || received.Before(sent) {
		return nil
	}
	const half = time.Second / 2
	trip := received.Sub(sent)
	return &evidence.ClockOffset{Offset: sent.Add(trip / 2).Sub(d.Add(half)), Within: trip/2 + half}
}
