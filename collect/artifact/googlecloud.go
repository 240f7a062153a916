package artifact

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	compute "google.golang.org/api/compute/v1"
	serviceusage "google.golang.org/api/serviceusage/v1"

	"github.com/meshdiag/meshdiag/collect/gcp/convert"
	"github.com/meshdiag/meshdiag/evidence"
)

// serviceName is a service as Service Usage names it.
var serviceName = regexp.MustCompile(`^projects/[^/]+/services/[a-z0-9.-]+$`)

// collection is a type of Compute Engine resource: as the API's list, its aggregated list, and gcloud print it.
type collection struct {
	kind   string // the file's
	typ    string // compute#forwardingRule, …List, …AggregatedList
	plural string // in URLs, and in the scopes of an aggregated list
	// fields are those that are converted. What else an item holds can't spoil it.
	fields []string
	looks  func(fields) bool // an item without kind and selfLink
}

func collections() []collection {
	return []collection{
		{"forwarding-rules", "compute#forwardingRule", "forwardingRules",
			[]string{"name", "region", "selfLink", "loadBalancingScheme", "network", "IPAddress", "IPProtocol", "portRange", "target", "metadataFilters"},
			func(m fields) bool {
				return m.has("IPProtocol", "loadBalancingScheme") && m.has("IPAddress", "portRange") && m.has("target", "backendService")
			}},
		{"instances", "compute#instance", "instances",
			[]string{"id", "name", "zone", "selfLink", "status", "labels", "tags", "creationTimestamp", "serviceAccounts", "networkInterfaces", "metadata"},
			func(m fields) bool { return m.has("networkInterfaces") && m.has("machineType", "disks") }},
		{"backend-services", "compute#backendService", "backendServices",
			[]string{"name", "selfLink", "protocol", "loadBalancingScheme", "portName", "healthChecks", "backends"},
			func(m fields) bool {
				return m.has("loadBalancingScheme") && m.has("sessionAffinity", "backends") && !m.has("IPAddress")
			}},
		{"health-checks", "compute#healthCheck", "healthChecks",
			[]string{"name", "selfLink", "type", "httpHealthCheck", "httpsHealthCheck", "http2HealthCheck", "grpcHealthCheck", "grpcTlsHealthCheck", "tcpHealthCheck", "sslHealthCheck"},
			func(m fields) bool { return m.has("type") && m.has("checkIntervalSec", "healthyThreshold") }},
	}
}

// googleCloud gives the kind of a Google Cloud API's answer, or of one of its items; "" for what is none that is read.
func (m fields) googleCloud() string {
	for _, c := range collections() {
		if m.isList(c) || m.isItem(c) {
			return c.kind
		}
	}
	switch {
	case m.isServiceList() || m.isService():
		return "services"
	case m.text("kind") == "compute#backendServiceGroupHealth", len(m) == 1 && m.list("healthStatus") != nil:
		return "backend-health"
	case m.isFirewall():
		return kindFirewall
	case m.isGuestItem() || m.isGuestAnswer():
		return kindGuestAttributes
	case m.isSerialAnswer():
		return kindSerialPort
	}
	return ""
}

// isItem recognises one resource.
func (m fields) isItem(c collection) bool {
	switch typ, link := m.text("kind"), m.text("selfLink"); {
	case typ != "":
		return typ == c.typ
	case link != "":
		return strings.Contains(link, "/"+c.plural+"/")
	}
	return c.looks(m)
}

// isList recognises a list or an aggregated list, also an empty one, of nothing but such resources.
func (m fields) isList(c collection) bool {
	if typ := m.text("kind"); typ != "" && typ != c.typ+"List" && typ != c.typ+"AggregatedList" {
		return false
	}
	items, other := m.items(c)
	if other {
		return false
	}
	for _, i := range items {
		var e fields
		if json.Unmarshal(i, &e) != nil || !e.isItem(c) {
			return false
		}
	}
	return len(items) > 0 || m.text("kind") != "" || strings.HasSuffix(strings.TrimSuffix(m.text("id"), "/"), "/"+c.plural)
}

// items gives what a list or an aggregated list holds. other says that it is none, or one of something else.
func (m fields) items(c collection) (items []json.RawMessage, other bool) {
	raw, ok := m["items"]
	if !ok {
		return nil, m.text("kind") == c.typ
	}
	if json.Unmarshal(raw, &items) == nil {
		return items, false
	}
	var scopes map[string]fields
	if json.Unmarshal(raw, &scopes) != nil {
		return nil, true
	}
	names := make([]string, 0, len(scopes))
	for n := range scopes {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		for k := range scopes[n] {
			if k != c.plural && k != "warning" {
				return nil, true
			}
		}
		items = append(items, scopes[n].list(c.plural)...)
	}
	return items, false
}

// partial says why a list doesn't hold all that its project has, "" where it does as far as it tells.
func (m fields) partial(c collection) string {
	switch {
	case m.text("nextPageToken") != "":
		return "one page of several"
	case len(m.list("unreachables")) > 0:
		return "some regions couldn't be reached when it was made"
	case strings.Contains(m.text("id"), "/regions/") || strings.Contains(m.text("id"), "/zones/"):
		return "of one region or zone"
	}
	var scopes map[string]struct {
		Warning struct {
			Code string `json:"code"`
		} `json:"warning"`
	}
	if json.Unmarshal(m["items"], &scopes) == nil {
		for _, s := range scopes {
			if c := s.Warning.Code; c != "" && c != "NO_RESULTS_ON_PAGE" {
				return "with the warning " + c
			}
		}
	}
	return ""
}

func (m fields) isService() bool {
	return serviceName.MatchString(m.text("name")) && m.has("state")
}

func (m fields) isServiceList() bool {
	list := m.list("services")
	for _, s := range list {
		var e fields
		if json.Unmarshal(s, &e) != nil || !e.isService() {
			return false
		}
	}
	return len(list) > 0
}

// gcloudHealth recognises an element of what "gcloud compute backend-services get-health" prints.
func (m fields) gcloudHealth() bool {
	return m.has("backend") && m.object("status") != nil && (len(m) == 2 || m.object("status").text("kind") == "compute#backendServiceGroupHealth")
}

// googleCloud reads answers of Google Cloud APIs: one, or those of an array (list), all of the kind given.
func (in *input) googleCloud(kind string, docs []json.RawMessage, list bool, where string) (outcome, error) {
	switch kind {
	case "services":
		return in.services(docs, where)
	case "backend-health":
		return in.health(docs, where)
	case kindFirewall:
		return in.firewalls(docs, where)
	case kindGuestAttributes:
		return in.guestAttributes(docs, where)
	case kindSerialPort:
		return in.serialAnswer(docs[0], where)
	}
	cs := collections()
	c := cs[slices.IndexFunc(cs, func(c collection) bool { return c.kind == kind })]
	var items []json.RawMessage
	partial := ""
	for _, d := range docs {
		m, err := object(d, c.typ)
		if err != nil {
			return outcome{}, err
		}
		if m.isItem(c) {
			items = append(items, d)
		} else {
			some, _ := m.items(c)
			items = append(items, some...)
		}
		// An array is a list that gcloud printed; a single resource was described alone.
		switch p := m.partial(c); {
		case m.isItem(c) && !list:
			partial = "a single one"
		case !m.isItem(c) && p != "":
			partial = p
		}
	}
	n, err := in.compute(c, items, where)
	if err != nil {
		return outcome{}, err
	}
	o := used("", "%s", count(n, strings.TrimSuffix(strings.ReplaceAll(kind, "-", " "), "s")))
	if partial != "" {
		o.note += ", " + partial
		if c.kind == "forwarding-rules" {
			// What isn't in it may exist all the same.
			in.set.Fail(evidence.ForwardingRules.Name(), in.source(evidence.FromAPI, where), fmt.Errorf("%s doesn't hold all forwarding rules: it is %s", in.name, strings.TrimPrefix(partial, "with ")))
		}
	}
	return o, nil
}

// compute converts resources of Compute Engine.
func (in *input) compute(c collection, items []json.RawMessage, where string) (int, error) {
	src := in.source(evidence.FromAPI, where)
	lean := make([]leanItem, len(items))
	for i, raw := range items {
		what := fmt.Sprintf("item %d", i+1)
		m, err := object(raw, what)
		if err != nil {
			return 0, err
		}
		few := fields{}
		for _, f := range c.fields {
			if v, ok := m[f]; ok {
				few[f] = v
			}
		}
		if id := few["id"]; len(id) > 0 && id[0] != '"' {
			// The API writes 64-bit numbers as strings; YAML tools take the quotes away.
			few["id"] = json.RawMessage(`"` + string(id) + `"`)
		}
		b, err := json.Marshal(few)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", what, err)
		}
		// What the API gives, and gcloud prints whole, names its kind or itself.
		lean[i] = leanItem{b, what, !m.has("kind", "self_link")}
	}
	var err error
	switch c.kind {
	case "instances":
		err = putItems(in, lean, evidence.Instances, src, func(x *compute.Instance, _ bool) evidence.Instance { return convert.Instance(x, src) })
	case "backend-services":
		err = putItems(in, lean, evidence.BackendServices, src, func(x *compute.BackendService, cut bool) evidence.BackendService {
			s := convert.BackendService(x)
			s.Cut, s.Source = cut, src
			return s
		})
	case "health-checks":
		err = putItems(in, lean, evidence.HealthChecks, src, func(x *compute.HealthCheck, _ bool) evidence.HealthCheck {
			h := convert.HealthCheck(x)
			h.Source = src
			return h
		})
	default:
		err = putItems(in, lean, evidence.ForwardingRules, src, func(x *compute.ForwardingRule, _ bool) evidence.ForwardingRule { return convert.ForwardingRule(x, src) })
	}
	return len(items), err
}

// leanItem is a resource with the fields alone that are converted.
type leanItem struct {
	raw  json.RawMessage
	what string
	cut  bool // the file leaves fields out
}

// putItems decodes resources and records them; the first that can't be decoded spoils all.
func putItems[G, E any](in *input, items []leanItem, k evidence.Key[[]E], src evidence.Source, as func(x *G, cut bool) E) error {
	out := []E{}
	for _, i := range items {
		var x G
		if err := decode(i.raw, &x, i.what); err != nil {
			return err
		}
		out = append(out, as(&x, i.cut))
	}
	evidence.Put(in.set, k, out, src)
	return nil
}

// services reads Service Usage's answers.
func (in *input) services(docs []json.RawMessage, where string) (outcome, error) {
	var items []json.RawMessage
	note := ""
	for _, d := range docs {
		m, err := object(d, "item")
		if err != nil {
			return outcome{}, err
		}
		if m.isServiceList() {
			items = append(items, m.list("services")...)
			if m.text("nextPageToken") != "" {
				note = ", one page of several"
			}
		} else {
			items = append(items, d)
		}
	}
	out := make([]evidence.APIService, 0, len(items))
	for i, raw := range items {
		what := fmt.Sprintf("service %d", i+1)
		m, err := object(raw, what)
		if err != nil {
			return outcome{}, err
		}
		b, err := json.Marshal(fields{"name": m["name"], "state": m["state"]})
		if err != nil {
			return outcome{}, fmt.Errorf("%s: %w", what, err)
		}
		var s serviceusage.GoogleApiServiceusageV1Service
		if err := decode(b, &s, what); err != nil {
			return outcome{}, err
		}
		out = append(out, convert.Service(&s))
	}
	evidence.Put(in.set, evidence.Services, out, in.source(evidence.FromAPI, where))
	return used("", "%s%s", count(len(out), "service"), note), nil
}

// health reads the answers of a backend service's getHealth, one a backend.
func (in *input) health(docs []json.RawMessage, where string) (outcome, error) {
	src := in.source(evidence.FromAPI, where)
	out := []evidence.EndpointHealth{}
	for i, d := range docs {
		what := fmt.Sprintf("backend %d", i+1)
		m, err := object(d, what)
		if err != nil {
			return outcome{}, err
		}
		group := ""
		if m.gcloudHealth() {
			group = m.text("backend")
			d = m["status"]
		}
		var h compute.BackendServiceGroupHealth
		if err := decode(d, &h, what); err != nil {
			return outcome{}, err
		}
		for _, e := range convert.Health(&h, src) {
			e.Group = group
			e.Zone = cmp.Or(e.Zone, segmentAfter(group, "zones"), segmentAfter(group, "regions"))
			out = append(out, e)
		}
	}
	evidence.Put(in.set, evidence.BackendHealth, out, src)
	return used("", "health of %s", count(len(out), "endpoint")), nil
}

// object decodes an object without its values.
func object(raw json.RawMessage, what string) (fields, error) {
	var m fields
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return nil, fmt.Errorf("%s is no object", what)
	}
	return m, nil
}

// decode decodes into one of Google's types; the error names the field of the wrong type.
func decode(raw json.RawMessage, into any, what string) error {
	err := json.Unmarshal(raw, into)
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typ):
		want := typ.Type.String()
		switch typ.Type.Kind() {
		case reflect.Slice:
			want = "array"
		case reflect.Struct, reflect.Map, reflect.Pointer:
			want = "object"
		}
		// The generated types decode by way of a local one, whose name shows.
		field := strings.TrimPrefix(typ.Field, "NoMethod.")
		return fmt.Errorf("%s: %s is of type %s, expected %s", what, field, typ.Value, want)
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
