package xdsclient

import (
	"encoding/json"
	"strings"
)

// perXDS reads a PerXdsConfig.
func (j *jsonDecoder) perXDS(at string, m fields) ([]Resource, error) {
	server, err := m.configStatus(at, "status")
	if err != nil {
		return nil, err
	}
	client, err := m.oldClientStatus(at, "clientStatus")
	if err != nil {
		return nil, err
	}
	var out []Resource
	typeURL := ""
	for i := range j.kinds {
		k := &j.kinds[i]
		if !m.has(k.json) {
			continue
		}
		typeURL = k.typeURL
		at := at + "." + k.json
		dump, err := object(at, m[k.json])
		if err != nil {
			return nil, err
		}
		for i := range k.lists {
			l := &k.lists[i]
			if err := each(at, l.json, dump[l.json], func(at string, m fields) error {
				r, err := j.entry(at, m, k, l)
				out = append(out, r)
				return err
			}); err != nil {
				return nil, err
			}
		}
	}
	if len(out) == 0 && (server != ConfigStatusAbsent || client != ClientStatusAbsent) {
		out = []Resource{{TypeURL: typeURL}}
	}
	for i := range out {
		if out[i].ConfigStatus = server; out[i].ClientStatus == ClientStatusAbsent {
			out[i].ClientStatus = client
		}
	}
	return out, nil
}

// entry reads one resource of a config dump.
func (j *jsonDecoder) entry(at string, m fields, k *dump, l *list) (r Resource, err error) {
	r.Static = l.static
	if l.name != 0 {
		if r.Name, err = m.str(at, "name"); err != nil {
			return r, err
		}
	}
	if r.ClientStatus, err = m.clientStatus(at, "clientStatus"); err != nil {
		return r, err
	}
	if r.Error, err = m.failure(at); err != nil {
		return r, err
	}
	state := m
	if l.states != nil {
		state = nil
		for _, name := range l.statesJSON {
			if m.has(name) {
				at += "." + name
				if state, err = object(at, m[name]); err != nil {
					return r, err
				}
				break
			}
		}
	}
	if r.Version, err = state.str(at, "versionInfo"); err != nil {
		return r, err
	}
	if r.LastUpdated, err = state.time(at, "lastUpdated"); err != nil {
		return r, err
	}
	r.TypeURL = k.typeURL
	if !state.has(l.contentsJSON) {
		return r, nil
	}
	at += "." + l.contentsJSON
	raw := state[l.contentsJSON]
	if l.repeated {
		var items []json.RawMessage
		if err := unmarshal(at, raw, &items, "an array"); err != nil || len(items) == 0 {
			return r, err
		}
		raw = items[len(items)-1]
	}
	contents, err := object(at, raw)
	if err != nil {
		return r, err
	}
	typeURL, err := contents.str(at, "@type")
	if err != nil {
		return r, err
	}
	if typeURL != "" {
		r.TypeURL = typeURL
	}
	r.Contents = j.keep(typeURL, raw)
	if r.Name == "" && l.name == 0 && k.holds(r.TypeURL) {
		name := "name"
		if strings.HasSuffix(k.typeURL, ".ClusterLoadAssignment") {
			name = "clusterName"
		}
		var s string
		if contents.has(name) && json.Unmarshal(contents[name], &s) == nil {
			r.Name = s
		}
	}
	return r, nil
}
