// Package accesslog reads Envoy's access logs and counts the requests in them by how they ended.
//
// It knows Envoy's and Istio's default text formats of every release, JSON lines with the fields named as Envoy's command
// operators are (response_flags, responseCodeDetails, upstream-cluster …), and the traffic logs that Cloud Service Mesh
// writes to Cloud Logging (client-accesslog-stackdriver and server-accesslog-stackdriver). Lines may be wrapped: by a
// container runtime, by kubectl's prefix, by Docker's or Cloud Logging's JSON. A text format of a user's own is read where it
// names its fields so (response_flags=UH); where it has no names, only what stands where the default formats have it is read.
// Lines that are no access log are passed over, so that it can be given the whole log of a proxy; which lines are worth a look is said by [Anchors].
//
// https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
// https://istio.io/latest/docs/tasks/observability/logs/access-log/
// https://docs.cloud.google.com/service-mesh/docs/observability/access-logs
package accesslog

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unsafe"
)

// Entry is one request, or one TCP connection, as a proxy logged it. What the line doesn't tell is empty; Envoy's "-" is
// empty too.
type Entry struct {
	Time time.Time
	// Flags are the response flags in their short form ("UF", "URX"), in the line's order.
	Flags       []string
	Code        int    // 0 where no response was sent, and for TCP
	Details     string // response code details, with underscores for blanks as Envoy writes them since 1.21
	Termination string // connection termination details
	Transport   string // upstream transport failure reason
	Cluster     string
	Upstream    string // address of the upstream host
	Route       string
	// Authority is the host that was asked for; for TCP the server name of TLS, else the address that was dialled.
	Authority string
	Reporter  string // "client" or "server": whose proxy logged it; "" where the log doesn't tell
	Duration  time.Duration
}

// maxField bounds one field's value: routes and failure reasons are shorter by far.
const maxField = 500

// Anchors gives literal texts of which one is in every line of an access log, so that [Parse] needs to be asked about no
// other. Where a line is within a JSON string its quotes may be escaped, and the escapes escaped again.
//
// Of a text format it is the end of "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" and what follows, of which
// TCP and requests that could not be read have "- - -". Of JSON it is the key of the response flags, their code, or its
// details, in the spellings that configurations are written with; of Cloud Logging's traffic logs their name.
func Anchors() []string {
	out := []string{"accesslog-stackdriver", `\"- - -\`}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/1.0", "HTTP/2", "HTTP/3"} {
		out = append(out, protocol+`" `, " "+protocol+`\`)
	}
	for code := range 10 {
		out = append(out, fmt.Sprintf(`- - -" %d`, code))
	}
	for _, between := range []string{"", "_", "-", " ", "."} {
		for _, word := range []string{"flag", "Flag", "code", "Code"} {
			out = append(out, "esponse"+between+word)
		}
	}
	return out
}

// Parse reads one line. ok says whether it is of an access log.
func Parse(line []byte) (e Entry, ok bool) {
	if e, ok = new(parser).parse(line); ok {
		e.own()
	}
	return e, ok
}

// parser reads lines, and keeps its room from one to the next: a busy gateway writes millions.
type parser struct {
	fields, tail []token
}

// view gives bytes as a string, without copying them: it is good as long as they stay what they are.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // nothing keeps it beyond the line: see Entry.own
}

// own gives an entry texts of its own: those of a parser are views of its line.
func (e *Entry) own() {
	for _, s := range []*string{&e.Details, &e.Termination, &e.Transport, &e.Cluster, &e.Upstream, &e.Route, &e.Authority, &e.Reporter} {
		*s = strings.Clone(*s)
	}
	for i, f := range e.Flags {
		e.Flags[i] = strings.Clone(f)
	}
}

// parse reads a line. What it gives is good as long as the line stays what it is: see [Entry.own].
func (p *parser) parse(line []byte) (e Entry, ok bool) {
	line = bytes.TrimSpace(line)
	if len(line) > 0 && line[0] == '{' {
		return p.json(line, 0)
	}
	if e, ok = p.text(line); ok {
		return e, true
	}
	// A container runtime's or kubectl's prefix may stand before JSON.
	if i := bytes.Index(line[:min(len(line), maxPrefix)], []byte(" {")); i >= 0 && line[len(line)-1] == '}' {
		return p.json(line[i+1:], 0)
	}
	return p.pairs(line)
}

// maxPrefix bounds what stands before a JSON object: "[pod/shop-6f…/istio-proxy] ", "2024-05-01T10:11:12.1Z stdout F ".
const maxPrefix = 300

func field(s string) string {
	if s == "-" {
		return ""
	}
	return cut(s, maxField)
}

// cut shortens a text to at most n bytes, at the start of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
