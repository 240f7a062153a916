// Package bundle is the form in which what was seen on a VM or in a pod travels: an archive of plain files, and a manifest
// that says what was looked for and what could not be read.
//
// Files that some program prints are kept as it prints them (iptables-save, Envoy's admin interface, logs). What no program
// prints as it is needed is a JSON document of one of the kinds in this package; its field "kind" says which.
package bundle

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	// Version of the manifest and the documents. A reader reads what it knows of a later one.
	Version = 1
	// ManifestName is the manifest's name in the bundle, where it comes first: a bundle that was cut off still says what it is.
	ManifestName = "manifest.json"
	// MaxMembers bounds the files of an archive. A bundle has some thirty, a support archive some hundreds.
	MaxMembers = 1000
	// MaxBytes bounds all files of an archive together, unpacked: they are held in memory.
	MaxBytes = 64 << 20
)

// Kind is the kind of a JSON document of meshdiag's own, as its field "kind" says it.
type Kind string

// The kinds.
const (
	KindManifest   Kind = "meshdiag-bundle"
	KindProcesses  Kind = "meshdiag-processes"
	KindSockets    Kind = "meshdiag-sockets"
	KindInterfaces Kind = "meshdiag-interfaces"
	KindModules    Kind = "meshdiag-kernel-modules"
	KindPathAccess Kind = "meshdiag-path-access"
	KindIdentity   Kind = "meshdiag-identity"
	KindProbes     Kind = "meshdiag-probes"
)

// Kinds lists the kinds of documents.
func Kinds() []Kind {
	return []Kind{KindManifest, KindProcesses, KindSockets, KindInterfaces, KindModules, KindPathAccess, KindIdentity, KindProbes}
}

// Status says what became of an item.
type Status string

// What becomes of an item.
const (
	Read    Status = "read"
	Partial Status = "partial" // read, but for what Reason says
	Absent  Status = "absent"  // looked for, and there is none
	Unread  Status = "unread"  // could not be read
)

// Manifest says what a bundle holds.
type Manifest struct {
	Kind     Kind      `json:"kind"`
	Version  int       `json:"version"`
	Program  string    `json:"program"` // what wrote it, with its version
	Taken    time.Time `json:"taken"`
	Hostname string    `json:"hostname"`
	Items    []Item    `json:"items"`
}

// Item is one thing that was looked for.
type Item struct {
	Name   string   `json:"name"` // one of the Item constants
	Status Status   `json:"status"`
	Reason string   `json:"reason,omitempty"` // why it isn't there, or not whole
	Files  []string `json:"files,omitempty"`
	// Complete names the families ("IPv4", "IPv6") all of whose packet filter tables are in the files.
	Complete []string `json:"complete,omitempty"`
}

// The items.
const (
	ItemProcesses   = "processes"
	ItemSockets     = "listening sockets"
	ItemInterfaces  = "network interfaces"
	ItemRules       = "packet rules"
	ItemModules     = "kernel modules"
	ItemPathAccess  = "access log path"
	ItemIdentity    = "identity"
	ItemProbes      = "control plane probes"
	ItemBootstrap   = "bootstrap"
	ItemGRPC        = "gRPC bootstrap"
	ItemSidecarEnv  = "sidecar.env"
	ItemLogs        = "logs"
	ItemServerInfo  = "Envoy /server_info"
	ItemConfigDump  = "Envoy /config_dump"
	ItemClusters    = "Envoy /clusters"
	ItemListeners   = "Envoy /listeners"
	ItemStats       = "Envoy /stats"
	ItemInitDump    = "Envoy /init_dump"
	ItemCerts       = "Envoy /certs"
	ItemEnvoyAccess = "Envoy admin interface"
)

// Lists says whether the recorder wrote a file.
func (m Manifest) Lists(name string) bool {
	return slices.ContainsFunc(m.Items, func(i Item) bool { return slices.Contains(i.Files, name) })
}

// Unread gives the items that could not be read, or not wholly, each in one line.
func (m Manifest) Unread() []string {
	var out []string
	for _, i := range m.Items {
		switch i.Status {
		case Unread:
			out = append(out, i.Name+": not read: "+i.Reason)
		case Partial:
			out = append(out, i.Name+": "+i.Reason)
		}
	}
	return out
}

// Bundle is a manifest and its files.
type Bundle struct {
	Manifest Manifest
	Files    []File
}

// File is one file of a bundle.
type File struct {
	Name string // relative, with forward slashes
	Data []byte
	// Link says that it is no plain file: it is packed without content, and whoever reads the archive refuses it by name.
	Link bool
}

// Write writes the bundle as a gzipped tar: the manifest, then the files by name.
func (b *Bundle) Write(w io.Writer) error {
	manifest, err := Encode(b.Manifest)
	if err != nil {
		return err
	}
	files := slices.Clone(b.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return Pack(w, append([]File{{Name: ManifestName, Data: manifest}}, files...), b.Manifest.Taken)
}

// Pack writes files as a gzipped tar, in the order given. Only their owner may read them once unpacked.
func Pack(w io.Writer, files []File, at time.Time) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: int64(len(f.Data)), Mode: 0o600, ModTime: at.Truncate(time.Second)}
		if f.Link {
			h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, "not-followed"
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("packing %s: %w", f.Name, err)
		}
		if _, err := t.Write(f.Data[:h.Size]); err != nil {
			return fmt.Errorf("packing %s: %w", f.Name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("packing: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("packing: %w", err)
	}
	return nil
}

// Encode makes a document's text.
func Encode(document any) ([]byte, error) {
	out, err := json.MarshalIndent(document, "", " ")
	if err != nil {
		return nil, fmt.Errorf("writing a document: %w", err)
	}
	return append(out, '\n'), nil
}
