package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"
)

// packed makes a tar of headers; those of plain files with a size get that many bytes.
func packed(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOpen(t *testing.T) {
	many := make([]tar.Header, 10_000)
	for i := range many {
		many[i] = tar.Header{Name: fmt.Sprintf("f%d", i), Size: 1}
	}
	deep := strings.Repeat("d/", 60) + "f"
	for _, tc := range []struct {
		name string
		data []byte
		want string // names, with "!" and the reason where refused
		err  string
	}{
		{"plain", packed(t, tar.Header{Name: "./a", Size: 3}, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "d//b"}), "a d/b", ""},
		{"a long name", packed(t, tar.Header{Name: deep, Size: 1}), deep, ""},
		{"leads outside", packed(t, tar.Header{Name: "../a", Size: 1}, tar.Header{Name: "b", Size: 1}, tar.Header{Name: "c/../../d"}), "../a!its name leads outside the archive b c/../../d!its name leads outside the archive", ""},
		{"leads outside, as Windows writes it", packed(t, tar.Header{Name: `a\..\..\b`}), `a\..\..\b!its name leads outside the archive`, ""},
		{"absolute", packed(t, tar.Header{Name: "/etc/passwd"}, tar.Header{Name: `C:\x`}), `/etc/passwd!its name is an absolute path C:\x!its name is an absolute path`, ""},
		{"links", packed(t, tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "s"}), "s!a link h!a link", ""},
		{"devices", packed(t, tar.Header{Name: "c", Typeflag: tar.TypeChar}, tar.Header{Name: "b", Typeflag: tar.TypeBlock}, tar.Header{Name: "p", Typeflag: tar.TypeFifo}), "c!a device b!a device p!a pipe", ""},
		{"twice", packed(t, tar.Header{Name: "a"}, tar.Header{Name: "./a"}), "a ./a!a file of this name came before", ""},
		{"control characters", packed(t, tar.Header{Name: "a\x1b[31m"}), "a?[31m!its name holds control characters", ""},
		{"a Mac's notes", packed(t, tar.Header{Name: "a/._b"}, tar.Header{Name: "a/b"}), "a/b", ""},
		{"10,000 members", packed(t, many...), "", "more than 1000 files"},
		{"too large", packed(t, tar.Header{Name: "a", Size: 700 << 10}, tar.Header{Name: "b", Size: 700 << 10}), "", "more than 1024 KiB"},
		{"cut off in a file", packed(t, tar.Header{Name: "a", Size: 1}, tar.Header{Name: "b", Size: 5000})[:3000], "a", "ends in the middle"},
		{"cut off in gzip", cut(gzipped(t, append(packed(t, tar.Header{Name: "a", Size: 1}, tar.Header{Name: "b", Size: 70_000}), noise(1<<20)...))), "a b", ""},
	} {
		for form, data := range map[string][]byte{"tar": tc.data, "tar.gz": gzipped(t, tc.data)} {
			if form == "tar.gz" && isGzip(tc.data) {
				continue
			}
			t.Run(tc.name+" "+form, func(t *testing.T) {
				if !IsArchive(data) {
					t.Fatal("not taken for an archive")
				}
				members, err := Open(data, 1<<20)
				var got []string
				for _, m := range members {
					if m.Refused != "" {
						m.Name += "!" + m.Refused
					}
					got = append(got, m.Name)
				}
				if s := strings.Join(got, " "); s != tc.want {
					t.Errorf("got %q, want %q", s, tc.want)
				}
				if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
			})
		}
	}
}

// cut takes the second half off what comes after a tar's end.
func cut(b []byte) []byte { return b[:len(b)*3/4] }

// noise is bytes that don't pack.
func noise(n int) []byte {
	out, x := make([]byte, n), uint64(1)
	for i := range out {
		x = x*6364136223846793005 + 1442695040888963407
		out[i] = byte(x >> 56)
	}
	return out
}

// A small file that unpacks to gigabytes ends where the limit is, whether the bytes are a member's or lie between members.
func TestBombs(t *testing.T) {
	const most = 1 << 20
	member := packed(t, tar.Header{Name: "zeros", Size: most + 1})
	var skipped bytes.Buffer
	w := tar.NewWriter(&skipped)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeFifo, Name: "p"}); err != nil {
		t.Fatal(err)
	}
	empty := append(skipped.Bytes(), bytes.Repeat(packed(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir})[:512], (most+2*maxOverhead)/512)...)
	for name, data := range map[string][]byte{"one large file": member, "folders without end": empty} {
		z := gzipped(t, data)
		if members, err := Open(z, most); err == nil || !strings.Contains(err.Error(), "more than 1024 KiB") || members != nil {
			t.Errorf("%s (%d bytes packed): %d members, %v", name, len(z), len(members), err)
		}
	}
	if _, err := Open(packed(t, tar.Header{Name: "a", Size: 100}), 50); err == nil {
		t.Error("the caller's own limit isn't kept")
	}
}

func TestIsArchive(t *testing.T) {
	for name, data := range map[string][]byte{"empty": nil, "text": []byte(strings.Repeat("a line of a log\n", 100)), "zeros": make([]byte, 4096), "gzipped text": gzipped(t, bytes.Repeat([]byte("x"), 4096)), "an empty tar": packed(t), "half a gzip header": {0x1f, 0x8b, 8}} {
		if IsArchive(data) {
			t.Errorf("%s is taken for an archive", name)
		}
	}
}

func TestWrite(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	b := Bundle{Manifest: Manifest{Kind: KindManifest, Version: Version, Taken: at, Hostname: "vm-1", Items: []Item{{Name: ItemRules, Status: Unread, Reason: "not root"}}},
		Files: []File{{Name: "b/x", Data: []byte("2")}, {Name: "a", Data: []byte("1")}}}
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	members, err := Open(out.Bytes(), MaxBytes)
	if err != nil || len(members) != 3 || members[0].Name != ManifestName || members[1].Name != "a" || string(members[2].Data) != "2" {
		t.Errorf("%v %+v", err, members)
	}
	if got := b.Manifest.Unread(); len(got) != 1 || got[0] != "packet rules: not read: not root" {
		t.Errorf("%q", got)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(packed(f, tar.Header{Name: "a", Size: 3}, tar.Header{Name: "../b", Size: 3}))
	f.Add(gzipped(f, packed(f, tar.Header{Name: strings.Repeat("d/", 80) + "f", Size: 600}, tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "a"})))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 20
		IsArchive(data)
		members, _ := Open(data, most)
		total := 0
		for _, m := range members {
			total += len(m.Data)
			if m.Refused != "" {
				if m.Data != nil {
					t.Fatalf("%q is refused, and was read", m.Name)
				}
				continue
			}
			if n, why := CleanName(m.Name); why != "" || n != m.Name {
				t.Fatalf("name %q: %q %s", m.Name, n, why)
			}
		}
		if total > most || len(members) > MaxMembers {
			t.Fatalf("%d members of %d bytes", len(members), total)
		}
	})
}
