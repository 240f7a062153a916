package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/evidence"
)

// recordedKind gives the kind of a document that a recorder wrote, "" for what is none.
func (m fields) recordedKind() bundle.Kind {
	k := bundle.Kind(m.text("kind"))
	if !slices.Contains(bundle.Kinds(), k) || !m.has("version") {
		return ""
	}
	return k
}

// recorded reads a document that a recorder wrote. ok is false where it is none.
func (in *input) recorded(raw json.RawMessage) (o outcome, ok bool) {
	var m fields
	if !bytes.Contains(raw, []byte(`"meshdiag-`)) || json.Unmarshal(raw, &m) != nil {
		return outcome{}, false
	}
	k := m.recordedKind()
	src := in.source(evidence.FromWorkload, "")
	var err error
	switch k {
	case "":
		return outcome{}, false
	case bundle.KindManifest:
		return unused("a bundle's manifest: hand in the whole bundle"), true
	case bundle.KindProcesses:
		var n int
		if n, err = putOne(in, raw, evidence.Processes, src, bundle.Processes.Fact, func(f evidence.ProcessList) int { return len(f.List) }); err == nil {
			return used(string(k), "%s", plural(n, "process", "processes")), true
		}
	case bundle.KindSockets:
		var n int
		if n, err = putOne(in, raw, evidence.Sockets, src, bundle.Sockets.Fact, func(f evidence.SocketList) int { return len(f.List) }); err == nil {
			return used(string(k), "%s", count(n, "listening socket")), true
		}
	case bundle.KindInterfaces:
		var n int
		if n, err = putOne(in, raw, evidence.Interfaces, src, bundle.Interfaces.Fact, func(f evidence.InterfaceList) int { return len(f.List) }); err == nil {
			return used(string(k), "%s", count(n, "network interface")), true
		}
	case bundle.KindModules:
		var n int
		if n, err = putOne(in, raw, evidence.KernelModules, src, bundle.Modules.Fact, func(f evidence.ModuleList) int { return len(f.Loaded) }); err == nil {
			return used(string(k), "%s", count(n, "kernel module")), true
		}
	case bundle.KindIdentity:
		if _, err = putOne(in, raw, evidence.Identities, src, bundle.Identity.Fact, func(evidence.WorkloadIdentity) int { return 1 }); err == nil {
			return used(string(k), "the workload's identity"), true
		}
	case bundle.KindPathAccess:
		var d bundle.Paths
		var list []evidence.PathAccess
		if err = json.Unmarshal(raw, &d); err == nil {
			if list, err = d.Fact(src); err == nil {
				evidence.Put(in.set, evidence.PathAccesses, list, src)
				return used(string(k), "%s", count(len(list), "path")), true
			}
		}
	case bundle.KindProbes:
		var d bundle.Probes
		if err = json.Unmarshal(raw, &d); err == nil {
			if err = d.Put(in.set, src); err == nil {
				return used(string(k), "probes of %.200s", d.Endpoint), true
			}
		}
	}
	return in.broken(recordedAs(k), err), true
}

func recordedAs(k bundle.Kind) kind {
	title := "recorded " + strings.ReplaceAll(strings.TrimPrefix(string(k), "meshdiag-"), "-", " ")
	return kind{name: string(k), title: title, facts: documentFacts(k), vantage: evidence.FromWorkload}
}

// recordedHead is how a recorder's documents begin.
var recordedHead = regexp.MustCompile(`^\s*\{\s*"kind":\s*"(meshdiag-[a-z-]+)"`)

// recordedStart gives the kind of a document that a recorder wrote, and that can't be read to its end.
func recordedStart(data []byte) (kind, bool) {
	m := recordedHead.FindSubmatch(data[:min(len(data), maxKeysSeen)])
	if m == nil || !slices.Contains(bundle.Kinds(), bundle.Kind(m[1])) {
		return kind{}, false
	}
	return recordedAs(bundle.Kind(m[1])), true
}

// putOne records a document that is one element of a list fact, and gives its size.
func putOne[D, F any](in *input, raw json.RawMessage, k evidence.Key[[]F], src evidence.Source, fact func(D, evidence.Source) (F, error), size func(F) int) (int, error) {
	var d D
	if err := json.Unmarshal(raw, &d); err != nil {
		return 0, fmt.Errorf("not of its kind: %w", err)
	}
	f, err := fact(d, src)
	if err != nil {
		return 0, err
	}
	evidence.Put(in.set, k, []F{f}, src)
	return size(f), nil
}

func documentFacts(k bundle.Kind) []evidence.Name {
	switch k {
	case bundle.KindProcesses:
		return itemFacts(bundle.ItemProcesses)
	case bundle.KindSockets:
		return itemFacts(bundle.ItemSockets)
	case bundle.KindInterfaces:
		return itemFacts(bundle.ItemInterfaces)
	case bundle.KindModules:
		return itemFacts(bundle.ItemModules)
	case bundle.KindPathAccess:
		return itemFacts(bundle.ItemPathAccess)
	case bundle.KindIdentity:
		return itemFacts(bundle.ItemIdentity)
	case bundle.KindProbes:
		return probeFacts()
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
