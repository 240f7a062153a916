package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// kindBundle is what an archive with a manifest is told as; one without is told by its files alone.
const kindBundle = string(bundle.KindManifest)

// maxNote bounds what an entry says of a manifest: a few lines on a terminal.
const maxNote = 600

// archive reads every file of a tar archive as if it had been handed in by itself, under the name ARCHIVE/FILE; ok is false
// where the file is no archive. left is what the request's archives may still unpack to.
func (in *input) archive(data []byte, left *int64) (files []evidence.ArtifactFile, ok bool) {
	if !bundle.IsArchive(data) {
		return nil, false
	}
	members, err := bundle.Open(data, *left)
	name := in.name
	manifest := in.manifest(members)
	var own map[string]bool // files read with the manifest
	if manifest != nil {
		in.now, in.recording = manifest.Taken, name
		var entry evidence.ArtifactFile
		entry, own = in.bundle(name, *manifest, members, err)
		files = append(files, entry)
	} else if err != nil || len(members) == 0 {
		if err == nil {
			err = errors.New("holds no files")
		}
		files = append(files, evidence.ArtifactFile{Name: name, Note: "archive: " + err.Error()})
	}
	for _, m := range members {
		*left -= int64(len(m.Data))
		if manifest != nil && own[m.Name] && m.Refused == "" {
			continue
		}
		sub := *in
		sub.name = name + "/" + m.Name
		if manifest != nil && !manifest.Lists(m.Name) {
			sub.recording = "" // added by somebody, or another bundle's in the same archive
		}
		files = append(files, sub.member(m, left))
	}
	if manifest != nil && !in.baseline {
		in.recorder(*manifest)
	}
	return files, true
}

// recorder tells whose recording a bundle is, once all of it is read: what its identity, its bootstraps and its proxies say.
func (in *input) recorder(d bundle.Manifest) {
	v := evidence.NewView(in.set)
	own := func(s evidence.Source) bool { return s.Recording == in.recording }
	r := evidence.Recording{File: in.recording, Hostname: d.Hostname, Taken: d.Taken, Source: in.source(evidence.FromWorkload, "")}
	node := func(id string, s evidence.Source) {
		if id != "" && own(s) && !slices.Contains(r.NodeIDs, id) {
			r.NodeIDs = append(r.NodeIDs, id)
		}
	}
	// What the bundle doesn't tell stays empty.
	identities, _ := evidence.Get(v, evidence.Identities)
	for _, i := range identities {
		if own(i.Source) {
			r.Identity = i
		}
	}
	boots, _ := evidence.Get(v, evidence.Bootstraps)
	for _, b := range boots {
		node(b.NodeID, b.Source)
	}
	infos, _ := evidence.Get(v, evidence.EnvoyInfos)
	for _, i := range infos {
		node(i.Info.Node.ID, i.Source)
	}
	clocks, _ := evidence.Get(v, evidence.ClockFact)
	for _, c := range clocks {
		if own(c.Source) {
			r.Ahead, r.ClockKnown = c.Offset, true
		}
	}
	evidence.Put(in.set, evidence.Recordings, []evidence.Recording{r}, r.Source)
}

// member reads one file of an archive.
func (in *input) member(m bundle.Member, left *int64) evidence.ArtifactFile {
	entry := evidence.ArtifactFile{Name: in.name}
	data := m.Data
	switch {
	case m.Refused != "":
		entry.Note = "refused: " + m.Refused
		return entry
	case in.ctx.Err() != nil:
		entry.Note = notInTime
		return entry
	case bundle.IsArchive(data):
		entry.Note = "not read: an archive in an archive"
		return entry
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		unpacked, err := gunzip(data, *left)
		if err != nil {
			entry.Note = "gzip: " + err.Error()
			return entry
		}
		*left -= int64(len(unpacked))
		data = unpacked
	}
	return in.one(data, false)
}

// manifest gives an archive's manifest, nil where it has none that can be read.
func (in *input) manifest(members []bundle.Member) *bundle.Manifest {
	for _, m := range members {
		// A bundle that was unpacked and packed again lies in a folder.
		if m.Refused != "" || m.Name != bundle.ManifestName && !strings.HasSuffix(m.Name, "/"+bundle.ManifestName) {
			continue
		}
		var d bundle.Manifest
		if tooDeep(m.Data) < 0 && json.Unmarshal(m.Data, &d) == nil && d.Kind == bundle.KindManifest && len(d.Items) <= maxFiles {
			folder := strings.TrimSuffix(m.Name, bundle.ManifestName)
			for i := range d.Items {
				for j, f := range d.Items[i].Files {
					d.Items[i].Files[j] = folder + f
				}
			}
			d.Items = append(d.Items, bundle.Item{Name: "manifest", Status: bundle.Absent, Files: []string{m.Name}})
			return &d
		}
	}
	return nil
}

// bundle reads what a manifest says: what the recorder couldn't read is failed, not absent; so is all that a bundle which was
// cut off doesn't hold any more. It reads the packet rules itself, since the manifest tells whether they are whole. own are
// the files that are done with.
func (in *input) bundle(name string, d bundle.Manifest, members []bundle.Member, cut error) (entry evidence.ArtifactFile, own map[string]bool) {
	own = map[string]bool{}
	there := map[string][]byte{}
	for _, m := range members {
		if m.Refused == "" {
			there[m.Name] = m.Data
		}
	}
	in.name = name + "/" + bundle.ManifestName
	defer func() { in.name = name }()
	for _, item := range d.Items {
		if item.Name == "manifest" {
			own[item.Files[0]] = true
			continue
		}
		for _, f := range item.Files {
			if _, ok := there[f]; !ok && item.Status != bundle.Unread {
				item.Status, item.Reason = bundle.Unread, "the bundle doesn't hold "+f
			}
		}
		if in.baseline {
			continue
		}
		switch {
		case item.Name == bundle.ItemRules && item.Status != bundle.Unread:
			in.rules(name, item, there)
			for _, f := range item.Files {
				own[f] = true
			}
		case item.Status == bundle.Unread:
			for _, f := range itemFacts(item.Name) {
				in.set.Fail(f, in.source(evidence.FromWorkload, ""), fmt.Errorf("%s: could not be read on %s: %s", in.name, d.Hostname, item.Reason))
			}
		}
	}
	note := fmt.Sprintf("recorded on %s at %s", d.Hostname, d.Taken.UTC().Format("2006-01-02 15:04:05Z"))
	if d.Version > bundle.Version {
		note += fmt.Sprintf("; of form %d, read as form %d", d.Version, bundle.Version)
	}
	if unread := d.Unread(); len(unread) > 0 {
		note += "; " + strings.Join(unread, "; ")
	}
	if cut != nil {
		note = "archive: " + cut.Error() + "; " + note
	}
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote], "") + "…"
	}
	return evidence.ArtifactFile{Name: name, Kind: kindBundle, Note: note, Used: true}, own
}

// rules reads the packet filter rules of the host that a bundle was recorded on.
func (in *input) rules(name string, item bundle.Item, there map[string][]byte) {
	src := in.source(evidence.FromWorkload, "")
	fact := evidence.HostRules{Source: src}
	if item.Status == bundle.Partial {
		fact.Unread = item.Reason
	}
	var sets []netfilter.Set
	for _, f := range item.Files {
		set, err := netfilter.Parse(there[f])
		if err != nil {
			fact.Problem = strings.Join(strings.Fields(err.Error()), " ")
			if len(fact.Problem) > maxNote {
				fact.Problem = strings.ToValidUTF8(fact.Problem[:maxNote], "") + "…"
			}
		}
		sets = append(sets, set)
		fact.Files = append(fact.Files, name+"/"+f)
	}
	fact.Set = netfilter.Merge(sets...)
	fact.Set.Complete = map[netfilter.Family]bool{}
	for _, f := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		for _, c := range item.Complete {
			fact.Set.Complete[f] = fact.Set.Complete[f] || c == f.String()
		}
	}
	evidence.Put(in.set, evidence.PacketRules, []evidence.HostRules{fact}, src)
	if why := fact.Doubt(); why != "" {
		in.set.Fail(evidence.PacketRules.Name(), src, fmt.Errorf("%s: %s", in.name, why)) // known in part
	}
}

// itemFacts gives the facts that an item of a bundle tells.
func itemFacts(item string) []evidence.Name {
	switch item {
	case bundle.ItemProcesses:
		return []evidence.Name{evidence.Processes.Name()}
	case bundle.ItemSockets:
		return []evidence.Name{evidence.Sockets.Name()}
	case bundle.ItemInterfaces:
		return []evidence.Name{evidence.Interfaces.Name()}
	case bundle.ItemRules:
		return []evidence.Name{evidence.PacketRules.Name()}
	case bundle.ItemModules:
		return []evidence.Name{evidence.KernelModules.Name()}
	case bundle.ItemPathAccess:
		return []evidence.Name{evidence.PathAccesses.Name()}
	case bundle.ItemIdentity:
		return []evidence.Name{evidence.Identities.Name()}
	case bundle.ItemProbes:
		return probeFacts()
	case bundle.ItemBootstrap, bundle.ItemGRPC, bundle.ItemSidecarEnv:
		return []evidence.Name{evidence.Bootstraps.Name()}
	case bundle.ItemLogs:
		return []evidence.Name{evidence.LogMessages.Name()}
	case bundle.ItemServerInfo:
		return []evidence.Name{evidence.EnvoyInfos.Name()}
	case bundle.ItemConfigDump:
		return []evidence.Name{evidence.EnvoyDumps.Name()}
	case bundle.ItemClusters:
		return []evidence.Name{evidence.EnvoyHosts.Name()}
	case bundle.ItemListeners:
		return []evidence.Name{evidence.EnvoyListeners.Name()}
	case bundle.ItemStats:
		return []evidence.Name{evidence.EnvoyStats.Name()}
	case bundle.ItemInitDump:
		return []evidence.Name{evidence.EnvoyPending.Name()}
	case bundle.ItemEnvoyAccess:
		return []evidence.Name{
			evidence.EnvoyInfos.Name(), evidence.EnvoyDumps.Name(), evidence.EnvoyHosts.Name(), evidence.EnvoyListeners.Name(),
			evidence.EnvoyStats.Name(), evidence.EnvoyPending.Name(),
		}
	}
	return nil
}

func probeFacts() []evidence.Name {
	return []evidence.Name{
		evidence.DNSProbe.Name(), evidence.TCPProbe.Name(), evidence.TLSProbe.Name(), evidence.RESTProbe.Name(), evidence.GRPCProbe.Name(), evidence.ClockFact.Name(),
	}
}

// hostFacts are the facts that documents of a recorder tell.
func hostFacts() []evidence.Name {
	return append(probeFacts(), evidence.Recordings.Name(), evidence.Processes.Name(), evidence.Sockets.Name(), evidence.Interfaces.Name(), evidence.KernelModules.Name(), evidence.PathAccesses.Name(),
		evidence.Identities.Name(), evidence.PacketRules.Name())
}
