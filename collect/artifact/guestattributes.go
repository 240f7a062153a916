package artifact

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	kindGuestAttributes = "guest-attributes"
	// guestNamespace is where the set-up and the agent of a service proxy report.
	guestNamespace = "gce-service-proxy"
	// maxGuestTable bounds a text that is looked at as a table of guest attributes, of which a VM has some dozens.
	maxGuestTable = 1 << 20
)

// guestItem is one guest attribute.
type guestItem struct {
	Namespace string `json:"namespace"`
	Key       string `json:"key"`
	Value     string `json:"value"`
}

// isGuestItem recognises an element of what "gcloud compute instances get-guest-attributes" prints as JSON or YAML.
func (m fields) isGuestItem() bool {
	return m.text("namespace") != "" && m.text("key") != "" && (len(m) == 2 || len(m) == 3 && m.has("value"))
}

// isGuestAnswer recognises the answer of the method getGuestAttributes.
func (m fields) isGuestAnswer() bool {
	return m.text("kind") == "compute#guestAttributes" || m.has("queryPath") && m.has("queryValue")
}

// guestAttributes reads guest attributes: the API's answers, or the elements that gcloud prints.
func (in *input) guestAttributes(docs []json.RawMessage, where string) (outcome, error) {
	var items []guestItem
	set := evidence.GuestAttributeSet{}
	path, answers := "", 0
	add := func(raw json.RawMessage, what string) error {
		var i guestItem
		if err := decode(raw, &i, what); err != nil {
			return err
		}
		items = append(items, i)
		return nil
	}
	for n, d := range docs {
		what := fmt.Sprintf("item %d", n+1)
		m, err := object(d, what)
		if err != nil {
			return outcome{}, err
		}
		if m.isGuestItem() {
			if err := add(d, what); err != nil {
				return outcome{}, err
			}
			continue
		}
		answers++
		path = m.text("queryPath")
		link := m.text("selfLink")
		set.Instance, set.Zone = segmentAfter(link, "instances"), segmentAfter(link, "zones")
		for i, raw := range m.object("queryValue").list("items") {
			if err := add(raw, fmt.Sprintf("queryValue.items[%d]", i)); err != nil {
				return outcome{}, err
			}
		}
		if ns, key, ok := strings.Cut(m.text("variableKey"), "/"); ok {
			items = append(items, guestItem{ns, key, m.text("variableValue")})
			path = m.text("variableKey")
		}
	}
	// A query of the whole namespace, or of everything, leaves nothing out.
	whole := answers == 1 && (path == "" || strings.TrimSuffix(path, "/") == guestNamespace)
	return in.putGuestAttributes(items, set, whole, where), nil
}

// putGuestAttributes records the attributes of a service proxy. Unless a query of all is told, a single one may be of a query
// for that one.
func (in *input) putGuestAttributes(items []guestItem, set evidence.GuestAttributeSet, whole bool, where string) outcome {
	set.Values = map[string]string{}
	for _, i := range items {
		if i.Namespace == guestNamespace {
			set.Values[i.Key] = i.Value
		}
	}
	if len(set.Values) == 0 && !whole {
		return used(kindGuestAttributes, "%s, none of them of %s", count(len(items), "guest attribute"), guestNamespace)
	}
	set.Partial = !whole && len(set.Values) == 1
	set.Source = in.source(evidence.FromAPI, where)
	evidence.Put(in.set, evidence.GuestAttributes, set, set.Source)
	return used(kindGuestAttributes, "%s of %s", count(len(set.Values), "guest attribute"), guestNamespace)
}

var (
	guestHeader = regexp.MustCompile(`^\s*NAMESPACE\s+KEY\s+VALUE\s*$`)
	guestRow    = regexp.MustCompile(`^([a-z][a-z0-9_-]*)[ \t]+([A-Za-z][A-Za-z0-9_.-]*)(?:[ \t]+(.*?))?[ \t\r]*$`)
	// guestOneLine is a table that lost its line ends on its way: "NAMESPACE KEY VALUE gce-service-proxy proxy-version …".
	guestOneLine = regexp.MustCompile(`^\s*NAMESPACE\s+KEY\s+VALUE\s+(gce-service-proxy)\s+([a-z][a-z0-9-]*)\s+(\S.*?)\s*$`)
)

// guestTable reads the table that "gcloud compute instances get-guest-attributes" prints. A value of several lines goes on
// below its row.
func (in *input) guestTable(data []byte) (o outcome, ok bool) {
	if len(data) > maxGuestTable {
		return outcome{}, false
	}
	var items []guestItem
	begun := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case !begun && strings.TrimSpace(line) == "":
		case !begun:
			if m := guestOneLine.FindStringSubmatch(line); m != nil {
				items = append(items, guestItem{m[1], m[2], m[3]})
			} else if !guestHeader.MatchString(line) {
				// A prompt with the command itself may stand before the table.
				if !strings.Contains(line, "get-guest-attributes") && !strings.HasPrefix(strings.TrimSpace(line), "--") {
					return outcome{}, false
				}
				continue
			}
			begun = true
		default:
			m := guestRow.FindStringSubmatch(line)
			if m != nil && (m[1] == guestNamespace || len(items) == 0 || m[1] == items[len(items)-1].Namespace || strings.Contains(line, "  ")) {
				items = append(items, guestItem{m[1], m[2], m[3]})
			} else if n := len(items); n > 0 && strings.TrimSpace(line) != "" {
				items[n-1].Value += "\n" + strings.TrimSpace(line)
			}
		}
	}
	if !begun {
		return outcome{}, false
	}
	return in.putGuestAttributes(items, evidence.GuestAttributeSet{}, false, ""), true
}

// segmentAfter gives the path segment that follows the named one: segmentAfter(".../projects/p/global/x", "projects") is "p".
func segmentAfter(url, name string) string {
	_, rest, ok := strings.Cut(url, "/"+name+"/")
	if !ok {
		return ""
	}
	s, _, _ := strings.Cut(rest, "/")
	return s
}
