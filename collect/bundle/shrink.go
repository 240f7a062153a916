package bundle

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
)

// TooLarge is the error of a bundle that can't be made small enough: what is left is needed.
type TooLarge struct {
	Bytes, Most int
	Largest     []string // the files that take most, each with its size
}

func (e *TooLarge) Error() string {
	return fmt.Sprintf("has %s packed, and %s are taken; the largest files, packed: %s", size(e.Bytes), size(e.Most), strings.Join(e.Largest, ", "))
}

// size tells a number of bytes as people do.
func size(n int) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// shorter are what is left of a log where a bundle is too large, one after the other: the end of a log tells most.
func shorter() []int { return []int{256 << 10, 64 << 10} }

// dispensable are the items that may be left out, those that tell least first. The rest is small, or is what the bundle is for.
func dispensable() [][]string {
	return [][]string{{ItemCerts, ItemInitDump, ItemStats}, {ItemClusters, ItemListeners}, {ItemLogs}, {ItemConfigDump}}
}

// Packed gives the bundle as Write writes it, in at most so many bytes. Where it is larger the oldest parts of logs are cut off,
// the largest log first; then whole files are left out, of those that tell least first. The manifest says which.
//
// Where all that isn't enough the error is a [*TooLarge], and packed is as small as it can be.
func (b *Bundle) Packed(most int) (packed []byte, err error) {
	write := func() ([]byte, error) {
		var out bytes.Buffer
		err := b.Write(&out)
		return out.Bytes(), err
	}
	if packed, err = write(); err != nil || len(packed) <= most {
		return packed, err
	}
	s := shrinking{bundle: b, most: most, sizes: map[string]int{}}
	for _, f := range b.Files {
		s.sizes[f.Name] = alone(f.Data)
	}
	for _, step := range s.steps() {
		before := s.sizes[step.name]
		if !step.do() {
			continue
		}
		// Packing all of it takes a second: it is worth trying once the files' own sizes promise that it fits.
		if s.promised += before - s.sizes[step.name]; len(packed)-s.promised > most {
			continue
		}
		if packed, err = write(); err != nil || len(packed) <= most {
			return packed, err
		}
		s.promised = 0
	}
	if packed, err = write(); err != nil || len(packed) <= most {
		return packed, err
	}
	return packed, &TooLarge{Bytes: len(packed), Most: most, Largest: s.largest()}
}

// alone is how many bytes data takes packed by itself.
func alone(data []byte) int {
	n := &counter{}
	z := gzip.NewWriter(n)
	_, _ = z.Write(data) // a counter takes everything
	_ = z.Close()
	return n.n
}

type counter struct{ n int }

func (c *counter) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }

var _ io.Writer = (*counter)(nil)

// shrinking is a bundle that is being made smaller.
type shrinking struct {
	bundle   *Bundle
	most     int
	sizes    map[string]int // packed, by file
	promised int            // bytes that were taken off since it was packed
}

// step makes one file smaller, or leaves it out; do says whether it did.
type step struct {
	name string
	do   func() bool
}

// steps gives what may be done, in order.
func (s *shrinking) steps() []step {
	var out []step
	for _, keep := range shorter() {
		for _, name := range s.of(ItemLogs) {
			out = append(out, step{name, func() bool { return s.cut(name, keep) }})
		}
	}
	for _, items := range dispensable() {
		for _, name := range s.of(items...) {
			out = append(out, step{name, func() bool { return s.drop(name) }})
		}
	}
	return out
}

// of gives the files of some items, the largest first.
func (s *shrinking) of(items ...string) []string {
	var out []string
	for _, i := range s.bundle.Manifest.Items {
		if slices.Contains(items, i.Name) {
			out = append(out, i.Files...)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(s.sizes[b], s.sizes[a]) })
	return out
}

// file finds a file, and the item that it is of.
func (s *shrinking) file(name string) (*File, *Item) {
	f := slices.IndexFunc(s.bundle.Files, func(f File) bool { return f.Name == name })
	i := slices.IndexFunc(s.bundle.Manifest.Items, func(i Item) bool { return slices.Contains(i.Files, name) })
	if f < 0 || i < 0 {
		return nil, nil
	}
	return &s.bundle.Files[f], &s.bundle.Manifest.Items[i]
}

// cut leaves the end of a log, from the start of a line.
func (s *shrinking) cut(name string, keep int) bool {
	f, i := s.file(name)
	if f == nil || len(f.Data) <= keep {
		return false
	}
	rest := f.Data[len(f.Data)-keep:]
	if n := bytes.IndexByte(rest, '\n'); n >= 0 {
		rest = rest[n+1:]
	}
	f.Data = rest
	s.sizes[name] = alone(rest)
	s.say(i, name, fmt.Sprintf("only the last %d KiB of %s are in it", keep>>10, name))
	return true
}

// drop leaves a file out.
func (s *shrinking) drop(name string) bool {
	f, i := s.file(name)
	if f == nil {
		return false
	}
	s.sizes[name] = 0
	s.bundle.Files = slices.DeleteFunc(s.bundle.Files, func(f File) bool { return f.Name == name })
	i.Files = slices.DeleteFunc(slices.Clone(i.Files), func(n string) bool { return n == name })
	s.say(i, name, name+" is left out")
	if len(i.Files) == 0 {
		i.Status = Unread
	}
	return true
}

// say notes on an item what was done to one of its files; what was said of that file before no longer holds.
func (s *shrinking) say(i *Item, name, what string) {
	limit := ", for the bundle to have at most " + size(s.most)
	parts := slices.DeleteFunc(strings.Split(i.Reason, "; "), func(p string) bool {
		return p == "" || strings.HasSuffix(p, limit) && strings.Contains(p, " of "+name+" ")
	})
	i.Reason = strings.Join(append(parts, what+limit), "; ")
	if i.Status == Read {
		i.Status = Partial
	}
}

// largest names the files that take most.
func (s *shrinking) largest() []string {
	const few = 3
	files := slices.Clone(s.bundle.Files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(s.sizes[b.Name], s.sizes[a.Name]) })
	var out []string
	for _, f := range files[:min(few, len(files))] {
		out = append(out, fmt.Sprintf("%s (%s)", f.Name, size(s.sizes[f.Name])))
	}
	return out
}
