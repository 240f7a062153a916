// Package discovery holds REST exchanges against Google's own descriptions of its APIs: the discovery documents that
// ship inside the Go module google.golang.org/api. It is for tests, so that a fake API, and the client that calls it,
// cannot drift from the real one.
package discovery

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Checker knows the APIs that a diagnosis calls.
type Checker struct{ docs []*document }

// apis are the documents that Load reads, as <api>/<version>.
func apis() []string {
	return []string{"cloudresourcemanager/v3", "compute/v1", "logging/v2", "monitoring/v3", "networkservices/v1",
		"policytroubleshooter/v1", "serviceusage/v1", "trafficdirector/v3"}
}

// Load reads the discovery documents from the module cache. It runs `go list`, so it needs the Go tool and works only
// inside a module that requires google.golang.org/api.
func Load() (*Checker, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "google.golang.org/api").Output()
	if err != nil {
		return nil, fmt.Errorf("finding google.golang.org/api: %w", err)
	}
	c := &Checker{}
	for _, a := range apis() {
		name, _, _ := strings.Cut(a, "/")
		d, err := load(filepath.Join(strings.TrimSpace(string(out)), filepath.FromSlash(a), name+"-api.json"))
		if err != nil {
			return nil, err
		}
		c.docs = append(c.docs, d)
	}
	return c, nil
}

// Check returns what in an exchange the documents do not allow, one line a fault, and the id of the method called.
// The method is empty, and that a fault, where no document describes the path.
func (c *Checker) Check(httpMethod, pathAndQuery string, request []byte, status int, response []byte) (methodID string, faults []string) {
	u, err := url.ParseRequestURI(pathAndQuery)
	if err != nil {
		return "", []string{fmt.Sprintf("path: %v", err)}
	}
	for _, d := range c.docs {
		m := d.match(httpMethod, u.Path)
		if m == nil {
			continue
		}
		faults := d.query(m, u.Query())
		switch {
		case m.Request != nil && len(request) > 0:
			faults = append(faults, d.body("request", m.Request, request)...)
		case m.Request == nil && len(request) > 0:
			faults = append(faults, "request: a body, where the method takes none")
		}
		const firstError = 400
		if status < firstError {
			faults = append(faults, d.body("response", m.Response, response)...)
		} else {
			faults = append(faults, errorBody(status, response)...)
		}
		return m.ID, faults
	}
	return "", []string{fmt.Sprintf("no method %s %s in any document", httpMethod, u.Path)}
}

// errorBody holds an error answer against https://google.aip.dev/193.
func errorBody(status int, b []byte) []string {
	var v struct {
		Error *struct {
			Code    int
			Message string
			Details []map[string]any
		}
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return []string{fmt.Sprintf("error answer: %v", err)}
	}
	var faults []string
	switch {
	case v.Error == nil:
		return []string{"error answer: no field error"}
	case v.Error.Code != status:
		faults = append(faults, fmt.Sprintf("error answer: code %d in an answer with status %d", v.Error.Code, status))
	case v.Error.Message == "":
		faults = append(faults, "error answer: no message")
	}
	for i, d := range v.Error.Details {
		if t, ok := d["@type"].(string); !ok || !strings.HasPrefix(t, "type.googleapis.com/google.rpc.") {
			faults = append(faults, fmt.Sprintf("error answer: details[%d] has @type %q", i, t))
		}
	}
	return faults
}

// document is a discovery document (https://developers.google.com/discovery/v1/reference/apis), as far as it is used.
type document struct {
	Name, ServicePath string
	Parameters        map[string]*schema
	Schemas           map[string]*schema
	Resources         map[string]*resource
	methods           []*method
}

type resource struct {
	Methods   map[string]*method
	Resources map[string]*resource
}

type method struct {
	ID, Path, FlatPath, HTTPMethod string
	Parameters                     map[string]*schema
	Request, Response              *schema
	pattern                        *regexp.Regexp
}

type schema struct {
	ID                   string             `json:"id"`
	Ref                  string             `json:"$ref"`
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Pattern              string             `json:"pattern"`
	Enum                 []string           `json:"enum"`
	Items                *schema            `json:"items"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties *schema            `json:"additionalProperties"`
	Location             string             `json:"location"`
	Repeated             bool               `json:"repeated"`
}

func load(file string) (*document, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a discovery document: %w", err)
	}
	d := &document{}
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	variable := regexp.MustCompile(`\\\{\\?\+?[A-Za-z0-9_]+\\\}`)
	var walk func(map[string]*resource)
	walk = func(rs map[string]*resource) {
		for _, r := range rs {
			for _, m := range r.Methods {
				path := m.FlatPath
				if path == "" {
					path = m.Path
				}
				quoted := regexp.QuoteMeta("/" + d.ServicePath + path)
				m.pattern = regexp.MustCompile("^" + variable.ReplaceAllString(quoted, `[^/:]+`) + "$")
				d.methods = append(d.methods, m)
			}
			walk(r.Resources)
		}
	}
	walk(d.Resources)
	return d, nil
}

func (d *document) match(httpMethod, path string) *method {
	for _, m := range d.methods {
		if m.HTTPMethod == httpMethod && m.pattern.MatchString(path) {
			return m
		}
	}
	return nil
}
