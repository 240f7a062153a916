package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// scribble is text that packs to three quarters of its size, in lines of 100 bytes.
func scribble(n int) []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	r := rand.New(rand.NewPCG(1, uint64(n))) // #nosec G404 -- no secret
	out := make([]byte, n)
	for i := range out {
		if out[i] = letters[r.IntN(len(letters))]; i%100 == 99 {
			out[i] = '\n'
		}
	}
	return out
}

// hoard is a bundle with the files given by size in KiB, each of an item.
func hoard(files ...any) *Bundle {
	b := &Bundle{Manifest: Manifest{Kind: KindManifest, Version: Version}}
	for i := 0; i < len(files); i += 3 {
		item, name, kib := files[i].(string), files[i+1].(string), files[i+2].(int)
		b.Files = append(b.Files, File{Name: name, Data: scribble(kib << 10)})
		if n := slices.IndexFunc(b.Manifest.Items, func(x Item) bool { return x.Name == item }); n >= 0 {
			b.Manifest.Items[n].Files = append(b.Manifest.Items[n].Files, name)
			continue
		}
		b.Manifest.Items = append(b.Manifest.Items, Item{Name: item, Status: Read, Files: []string{name}})
	}
	return b
}

func TestPacked(t *testing.T) {
	const logs, rules = "logs/var/log/envoy/", "packet-rules.txt"
	full := []any{
		ItemRules, rules, 20, ItemProcesses, "processes.json", 10, ItemConfigDump, "envoy-8/config_dump.json", 100, ItemCerts, "envoy-8/certs.json", 30,
		ItemStats, "envoy-8/stats.txt", 50, ItemClusters, "envoy-8/clusters.json", 60, ItemLogs, logs + "envoy.log", 300, ItemLogs, logs + "access.log", 280,
	}
	for _, tc := range []struct {
		name  string
		files []any
		most  int // KiB
		told  []string
		gone  []string
		large string
	}{
		{name: "small enough", files: full, most: 1024},
		{name: "the oldest part of the largest log", files: full, most: 620, told: []string{"logs: only the last 256 KiB of " + logs + "envoy.log are in it, for the bundle to have at most 620 KiB"}},
		{name: "of both logs", files: full, most: 600, told: []string{"logs: only the last 256 KiB of " + logs + "envoy.log are in it, for the bundle to have at most 600 KiB; only the last 256 KiB of " + logs + "access.log are"}},
		{name: "of both, further", files: full, most: 320, told: []string{"only the last 64 KiB of " + logs + "envoy.log are", "only the last 64 KiB of " + logs + "access.log are"}},
		{name: "the page that tells least, the largest first", files: full, most: 270, told: []string{"Envoy /stats: not read: envoy-8/stats.txt is left out"}, gone: []string{"envoy-8/stats.txt"}},
		{name: "and more", files: full, most: 200, told: []string{"Envoy /certs: not read", "Envoy /clusters: not read"}, gone: []string{"envoy-8/stats.txt", "envoy-8/certs.json", "envoy-8/clusters.json"}},
		{name: "the dump last", files: full, most: 50, told: []string{"Envoy /config_dump: not read", "logs: not read: " + logs + "envoy.log is left out"},
			gone: []string{"envoy-8/stats.txt", "envoy-8/certs.json", "envoy-8/clusters.json", "envoy-8/config_dump.json", logs + "envoy.log", logs + "access.log"}},
		{name: "what is needed stays", files: full, most: 15, large: "has 24 KiB packed, and 15 KiB are taken; the largest files, packed: packet-rules.txt (16 KiB), processes.json (8 KiB)",
			gone: []string{"envoy-8/stats.txt", "envoy-8/certs.json", "envoy-8/clusters.json", "envoy-8/config_dump.json", logs + "envoy.log", logs + "access.log"}},
		{name: "one of two proxies' pages", files: []any{ItemStats, "envoy-8/stats.txt", 60, ItemStats, "envoy-9/stats.txt", 40}, most: 40,
			told: []string{"Envoy /stats: envoy-8/stats.txt is left out, for the bundle to have at most 40 KiB"}, gone: []string{"envoy-8/stats.txt"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := hoard(tc.files...)
			packed, err := b.Packed(tc.most << 10)
			var large *TooLarge
			if errors.As(err, &large) != (tc.large != "") || large == nil && (err != nil || len(packed) > tc.most<<10) || large != nil && large.Error() != tc.large {
				t.Fatalf("%d bytes, error %v", len(packed), err)
			}
			members, err := Open(packed, MaxBytes)
			if err != nil || len(members) != len(b.Files)+1 {
				t.Fatalf("%d members, error %v", len(members), err)
			}
			told := strings.Join(b.Manifest.Unread(), "\n")
			for _, want := range tc.told {
				if !strings.Contains(told, want) {
					t.Errorf("told\n%s\nwant\n%s", told, want)
				}
			}
			if tc.told == nil && tc.gone == nil && told != "" {
				t.Errorf("told %s", told)
			}
			for _, m := range members[1:] {
				if slices.Contains(tc.gone, m.Name) || !b.Manifest.Lists(m.Name) {
					t.Errorf("%s is in it", m.Name)
				}
				if i := bytes.IndexByte(m.Data, '\n'); strings.HasPrefix(m.Name, logs) && i != 99 {
					t.Errorf("%s begins in the middle of a line: %d", m.Name, i)
				}
			}
			for _, i := range b.Manifest.Items {
				for _, f := range i.Files {
					if !slices.ContainsFunc(b.Files, func(x File) bool { return x.Name == f }) {
						t.Errorf("the manifest lists %s, which isn't there", f)
					}
				}
			}
			if n := len(tc.files)/3 - len(tc.gone); len(b.Files) != n {
				t.Errorf("%d files are left, want %d: %s", len(b.Files), n, fmt.Sprint(told))
			}
		})
	}
}
