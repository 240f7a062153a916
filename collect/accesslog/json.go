package accesslog

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxWraps bounds the JSON that is within a string or an object of other JSON: Docker's line within Cloud Logging's entry
// makes two.
const maxWraps = 3

// object is a JSON object by its keys in a form that spells them all alike: "response_flags", "responseFlags" and "Response
// Flags" are one.
type object map[string]json.RawMessage

func readObject(raw json.RawMessage) object {
	var m map[string]json.RawMessage
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &m) != nil {
		return nil
	}
	o := make(object, len(m))
	for k, v := range m {
		o[plain(k)] = v
	}
	return o
}

func plain(k string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, k)
}

func (o object) has(keys ...string) bool {
	for _, k := range keys {
		if _, ok := o[k]; ok {
			return true
		}
	}
	return false
}

// text gives the first of the fields that is a string or a number and not empty or "-".
func (o object) text(keys ...string) string {
	for _, k := range keys {
		raw := o[k]
		var s string
		if len(raw) > 0 && raw[0] != '"' && raw[0] != 'n' && raw[0] != '{' && raw[0] != '[' {
			s = string(raw)
		} else if json.Unmarshal(raw, &s) != nil {
			continue
		}
		if s = field(s); s != "" {
			return s
		}
	}
	return ""
}

// json reads a JSON line: the entry itself, or a log shipper's or Cloud Logging's entry around it.
func (p *parser) json(line []byte, depth int) (Entry, bool) {
	o := readObject(line)
	if o == nil || depth > maxWraps {
		return Entry{}, false
	}
	if name := o.text("logname"); strings.HasSuffix(name, "-accesslog-stackdriver") {
		return trafficLog(o, name)
	}
	if e, ok := named(o); ok {
		return e, true
	}
	for _, k := range []string{"textpayload", "log", "message", "msg", "body"} {
		var s string
		if json.Unmarshal(o[k], &s) != nil {
			continue
		}
		s = strings.TrimSpace(s)
		if strings.HasPrefix(s, "{") {
			if e, ok := p.json([]byte(s), depth+1); ok {
				return e, true
			}
		} else if e, ok := p.text([]byte(s)); ok {
			return e, true
		}
	}
	for _, k := range []string{"jsonpayload", "accesslog", "fields", "attributes", "message", "log"} {
		inner := o[k]
		if len(inner) == 0 || inner[0] != '{' {
			continue
		}
		if e, ok := p.json(inner, depth+1); ok {
			if e.Time.IsZero() {
				e.Time = o.time()
			}
			return e, true
		}
	}
	return Entry{}, false
}

// time gives the first field that is a time.
func (o object) time() time.Time {
	for _, k := range []string{"starttime", "timestamp", "time", "ts"} {
		if t, err := time.Parse(time.RFC3339Nano, o.text(k)); err == nil {
			return t
		}
	}
	return time.Time{}
}

// named reads an object whose fields are named after Envoy's command operators. One that doesn't name the flags or the
// details, and so is as likely an application's, isn't taken for one unless it names the code and the cluster.
func named(o object) (Entry, bool) {
	if !o.has("responseflags", "responseflagslong", "responseflag", "responsecodedetails") && !(o.has("responsecode") && o.has("upstreamcluster", "upstreamclusterraw")) {
		return Entry{}, false
	}
	if !o.has("responsecode", "status", "statuscode", "code", "upstreamcluster", "upstreamhost", "duration") {
		return Entry{}, false
	}
	flags, ok := parseFlags(o.text("responseflags", "responseflagslong", "responseflag"))
	if !ok {
		return Entry{}, false
	}
	e := Entry{
		Time: o.time(), Flags: flags,
		Details:     strings.ReplaceAll(o.text("responsecodedetails", "responsedetails"), " ", "_"),
		Termination: o.text("connectionterminationdetails"),
		Transport:   o.text("upstreamtransportfailurereason"),
		Cluster:     o.text("upstreamcluster", "upstreamclusterraw"),
		Upstream:    o.text("upstreamhost", "upstreamremoteaddress"),
		Route:       o.text("routename"),
		Authority:   o.text("authority", "authorityfor", "host", "reqauthority"),
	}
	e.Code = code(o.text("responsecode", "status", "statuscode", "code"))
	if ms, err := strconv.ParseFloat(o.text("duration", "durationms", "responseduration"), 64); err == nil {
		e.Duration = milliseconds(ms)
	}
	if e.Authority == "" && !inbound(e.Cluster) {
		e.Authority = o.text("requestedservername", "downstreamlocaladdress")
	}
	return e, true
}

func code(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 999 {
		return 0
	}
	return n
}

// maxDuration bounds a duration that a line gives: no proxy runs for longer.
const maxDuration = 10 * 365 * 24 * time.Hour

func milliseconds(ms float64) time.Duration {
	if ms > 0 && ms < float64(maxDuration/time.Millisecond) {
		return time.Duration(ms * float64(time.Millisecond))
	}
	return 0
}

// trafficLog reads an entry of Cloud Service Mesh's traffic logs: httpRequest of Cloud Logging, and labels. Of a denial the
// labels name the policy.
func trafficLog(o object, name string) (Entry, bool) {
	request, labels := readObject(o["httprequest"]), readObject(o["labels"])
	if request == nil && labels == nil {
		return Entry{}, false
	}
	flags, ok := parseFlags(labels.text("responseflag", "responseflags"))
	if !ok {
		flags = nil
	}
	e := Entry{
		Time: o.time(), Flags: flags,
		Code:      code(request.text("status")),
		Details:   strings.ReplaceAll(labels.text("responsedetails", "responsecodedetails"), " ", "_"),
		Transport: labels.text("upstreamtransportfailurereason"),
		Cluster:   labels.text("upstreamcluster"),
		Upstream:  labels.text("upstreamhost"),
		Route:     labels.text("routename"),
		Authority: labels.text("destinationservicehost"),
		Reporter:  "server",
	}
	if strings.HasSuffix(name, "client-accesslog-stackdriver") {
		e.Reporter = "client"
	}
	if p := labels.text("policyname"); p != "" && e.Details != "" {
		e.Details = cut(e.Details+"[policy["+p+"]-rule["+labels.text("policyrule")+"]]", maxField)
	}
	if u, err := url.Parse(request.text("requesturl")); e.Authority == "" && err == nil {
		e.Authority = field(u.Host)
	}
	if e.Authority == "" && e.Reporter == "client" {
		e.Authority = labels.text("requestedservername")
	}
	if d, err := time.ParseDuration(request.text("latency")); err == nil && d > 0 && d < maxDuration {
		e.Duration = d
	}
	return e, true
}
