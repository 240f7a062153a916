package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// archived collects one archive of files; ok entries are told as "name kind note".
func archived(t testing.TB, data []byte) (*evidence.Set, []string) {
	t.Helper()
	set := evidence.NewSet()
	if err := reader(t).Collector().Collect(t.Context(), diagnose.Request{Artifacts: []diagnose.Artifact{{Name: "b.tar.gz", Data: data}}}, evidence.NewView(set), set); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range get(t, set, evidence.Artifacts) {
		if f.Note == "" || f.Used != (f.Kind != "") {
			t.Fatalf("entry %+v", f)
		}
		out = append(out, strings.Join(strings.Fields(f.Name+" "+f.Kind+": "+f.Note), " "))
	}
	return set, out
}

func pack(t testing.TB, files ...bundle.File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := bundle.Pack(&b, files, time.Time{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchives(t *testing.T) {
	log := []byte("gRPC config stream closed: 7, x\n")
	boot := bundle.File{Name: "etc/boot.yaml", Data: []byte(envoyYAML)}
	many := make([]bundle.File, bundle.MaxMembers+1)
	for i := range many {
		many[i].Name = fmt.Sprint("f", i)
	}
	plain, err := gunzip(pack(t, boot), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		data []byte
		want []string
	}{
		{"tar.gz", pack(t, boot, bundle.File{Name: "envoy.log", Data: log}), []string{"b.tar.gz/etc/boot.yaml envoy-bootstrap: node id in the file", "b.tar.gz/envoy.log log: 1 line with a known message, of 1"}},
		{"tar", plain, []string{"b.tar.gz/etc/boot.yaml envoy-bootstrap: node id in the file"}},
		{"a gzipped log in it", pack(t, bundle.File{Name: "envoy.log.1.gz", Data: gz(t, log)}), []string{"b.tar.gz/envoy.log.1.gz log: 1 line with a known message, of 1"}},
		{"an archive in it", pack(t, bundle.File{Name: "in.tar.gz", Data: pack(t, boot)}, boot), []string{"b.tar.gz/in.tar.gz : not read: an archive in an archive", "b.tar.gz/etc/boot.yaml envoy-bootstrap: node id in the file"}},
		{"what isn't recognised, what leads outside and a link", pack(t, bundle.File{Name: "a.json", Data: []byte(`{"a":1}`)}, bundle.File{Name: "../b", Data: log}, bundle.File{Name: "c", Link: true}),
			[]string{"b.tar.gz/a.json : not recognised: JSON object with keys a", "b.tar.gz/../b : refused: its name leads outside the archive", "b.tar.gz/c : refused: a link"}},
		{"too many files", pack(t, many...), []string{"b.tar.gz : archive: holds more than 1000 files"}},
		{"folders alone", gz(t, folderTar(t)), []string{"b.tar.gz : archive: holds no files"}},
		{"a bomb within", pack(t, bundle.File{Name: "a.gz", Data: gz(t, make([]byte, bundle.MaxBytes+1))}), []string{"b.tar.gz/a.gz : gzip: holds more than 63 MiB"}},
		{"an empty file", pack(t, bundle.File{Name: "a"}), []string{"b.tar.gz/a : empty"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, got := archived(t, tc.data); strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func folderTar(t testing.TB) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "d/", Typeflag: tar.TypeDir}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var manifest = bundle.Manifest{
	Kind: bundle.KindManifest, Version: bundle.Version, Taken: now.Add(-time.Hour), Hostname: "vm-1",
	Items: []bundle.Item{
		{Name: bundle.ItemRules, Status: bundle.Partial, Reason: "ip6tables-save: not root", Files: []string{"packet-rules.txt"}, Complete: []string{"IPv4"}},
		{Name: bundle.ItemIdentity, Status: bundle.Unread, Reason: "no metadata server"},
		{Name: bundle.ItemSockets, Status: bundle.Read, Files: []string{"sockets.json"}},
	},
}

func TestBundleManifest(t *testing.T) {
	files := []bundle.File{{Name: "packet-rules.txt", Data: []byte("# nothing\n")}, {Name: "sockets.json", Data: []byte(`{"kind":"meshdiag-sockets","version":1,"whole":true,"sockets":[{"address":"0.0.0.0","port":15001,"uid":101}]}`)}}
	var whole bytes.Buffer
	if err := (&bundle.Bundle{Manifest: manifest, Files: files}).Write(&whole); err != nil {
		t.Fatal(err)
	}
	text, err := bundle.Encode(manifest)
	if err != nil {
		t.Fatal(err)
	}
	moved := []bundle.File{{Name: "b/manifest.json", Data: text}, {Name: "b/packet-rules.txt", Data: files[0].Data}, {Name: "b/sockets.json", Data: files[1].Data}}
	for name, data := range map[string][]byte{"as written": whole.Bytes(), "unpacked and packed again": pack(t, moved...)} {
		set, got := archived(t, data)
		if len(got) != 2 || !strings.Contains(got[0], "recorded on vm-1 at 2024-05-01 11:00:00Z; packet rules: ip6tables-save: not root; identity: not read") {
			t.Errorf("%s: %q", name, got)
		}
		r := get(t, set, evidence.PacketRules)[0]
		if r.Unread != "ip6tables-save: not root" || len(r.Set.Complete) != 2 || !r.Set.Complete[4] || r.Set.Complete[6] || !r.Source.Time.Equal(manifest.Taken) {
			t.Errorf("%s: %+v", name, r)
		}
		if s := get(t, set, evidence.Sockets)[0]; len(s.List) != 1 || s.List[0].UID != 101 || !s.Whole || !s.Source.Time.Equal(manifest.Taken) {
			t.Errorf("%s: %+v", name, s)
		}
		if _, err := evidence.Get(evidence.NewView(set), evidence.Identities); err == nil || !strings.Contains(err.Error(), "no metadata server") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What the manifest names and the bundle doesn't hold any more is failed.
	set, _ := archived(t, pack(t, moved[:2]...))
	if _, err := evidence.Get(evidence.NewView(set), evidence.Sockets); err == nil || !strings.Contains(err.Error(), "doesn't hold") {
		t.Errorf("%v", err)
	}
}

func TestRecordedDocuments(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`{"kind":"meshdiag-processes","version":1,"whole":true,"processes":[{"pid":1,"uid":0,"command":"envoy"}]}`, "meshdiag-processes: 1 process"},
		{`{"kind":"meshdiag-kernel-modules","version":1,"loaded":["nf_nat"]}`, "meshdiag-kernel-modules: 1 kernel module"},
		{`{"kind":"meshdiag-interfaces","version":1,"interfaces":[{"name":"eth0","up":true,"addresses":["10.128.0.5/32","fe80::1/64"]}]}`, "meshdiag-interfaces: 1 network interface"},
		{`{"kind":"meshdiag-interfaces","version":1,"interfaces":[{"up":true}]}`, ": recorded interfaces: interfaces: one has no name"},
		{`{"kind":"meshdiag-interfaces","version":1,"interfaces":[{"name":"eth0","addresses":["10.128.0.5"]}]}`, ": recorded interfaces: not of its kind"},
		{`{"kind":"meshdiag-interfaces","version":1,"interfaces":[{"name":"eth0","addresses":[""]}]}`, `: recorded interfaces: interface "eth0": an address is missing`},
		{`{"kind":"meshdiag-identity","version":1,"address":"x"}`, ": recorded identity: not of its kind"},
		{`{"kind":"meshdiag-path-access","version":1,"paths":[{"path":"/a"}]}`, "meshdiag-path-access: 1 path"},
		{`{"kind":"meshdiag-identity","version":1,"email":"x"}`, "meshdiag-identity: the workload's identity"},
		{`{"kind":"meshdiag-probes","version":1,"endpoint":"e:443"}`, "meshdiag-probes: probes of e:443"},
		{`{"kind":"meshdiag-bundle","version":1}`, ": a bundle's manifest: hand in the whole bundle"},
		{`{"kind":"meshdiag-sockets","version":1,"sockets":[{"address":"x","port":1}]}`, `: recorded sockets: sockets: "x" is no IP address`},
		{`{"kind":"meshdiag-sockets","version":1,"sockets":[{"address":"::","port":0}]}`, ": recorded sockets: sockets: 0 is no port"},
		{`{"kind":"meshdiag-processes","version":1,"processes":[{"pid":"x"}]}`, ": recorded processes: not of its kind"},
		{`{"kind":"meshdiag-processes","version":1,"proc`, ": recorded processes: JSON ends in the middle"},
		{`{"kind":"meshdiag-probes","version":1,"tcp":[` + strings.TrimSuffix(strings.Repeat(`{"host":"h"},`, 100), ",") + `]}`, ": recorded probes: lists 100 results of one probe"},
	} {
		_, files := collect(t, file(tc.text))
		if got := files[0].Kind + ": " + files[0].Note; !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s\ngot  %s\nwant %s", tc.text, got, tc.want)
		}
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(pack(f, bundle.File{Name: "a", Data: []byte(envoyYAML)}, bundle.File{Name: "../b"}))
	text, err := bundle.Encode(manifest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pack(f, bundle.File{Name: "manifest.json", Data: text}))
	f.Add(text)
	f.Add([]byte(`{"kind":"meshdiag-probes","version":1,"dns":[{"host":"h","addresses":["10.0.0.1"]}],"failed":{"tcp-probe":"x"}}`))
	r := reader(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		// Most inputs are no archive: as a manifest and as a member they say more.
		for _, d := range [][]byte{data, pack(t, bundle.File{Name: "manifest.json", Data: data}, bundle.File{Name: "m", Data: data})} {
			left := int64(1 << 20)
			for _, got := range r.file(t.Context(), diagnose.Artifact{Name: "f", Data: d}, evidence.NewSet(), &left, &looseRules{}) {
				if got.Note == "" || strings.HasPrefix(got.Note, "internal") || got.Used != (got.Kind != "") || len(got.Note) > 2000 {
					t.Fatalf("%+v", got)
				}
			}
		}
	})
}
