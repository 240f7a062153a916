package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	blockSize = 512 // of tar
	// maxOverhead is what headers and padding may add to the files' own bytes: some KiB a member.
	maxOverhead = MaxMembers * 8 * blockSize
	// maxName bounds a member's name; file systems take 255 bytes a part.
	maxName = 1 << 10
)

// Member is one file of an archive.
type Member struct {
	Name    string // cleaned; as the archive has it, made printable, where Refused
	Data    []byte
	Refused string // why it wasn't read; empty for one that was
}

// errTooLarge ends reading an archive that unpacks to more than it may.
var errTooLarge = errors.New("too large")

func tooLarge(most int64) error {
	if most == MaxBytes {
		return fmt.Errorf("unpacks to more than %d MiB", MaxBytes>>20)
	}
	return fmt.Errorf("unpacks to more than %d KiB, which is what was left of %d MiB", max(most, 0)>>10, MaxBytes>>20)
}

// IsArchive says whether data is a tar archive, gzipped or not. An empty tar isn't one.
func IsArchive(data []byte) bool {
	if !isGzip(data) {
		return isTar(data)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return false
	}
	head := make([]byte, blockSize)
	n, err := io.ReadFull(z, head)
	return err == nil && isTar(head[:n])
}

func isGzip(data []byte) bool { return bytes.HasPrefix(data, []byte{0x1f, 0x8b}) }

// isTar looks at the first header. Its checksum tells it from anything else; the magic is missing in the oldest form.
func isTar(data []byte) bool {
	if len(data) < blockSize || data[0] == 0 {
		return false
	}
	h, err := tar.NewReader(bytes.NewReader(data[:blockSize])).Next()
	// A long name or a sparse map follows in the next block, which isn't there.
	return err == nil && h != nil || errors.Is(err, io.ErrUnexpectedEOF) && bytes.Equal(data[257:262], []byte("ustar"))
}

// Open reads an archive into memory, up to most bytes unpacked (MaxBytes where most is larger): nothing is written anywhere.
//
// Members that a bundle has no use for, and that might do harm to who unpacks it (links, devices, names that lead outside),
// are in the result as refused. An archive that holds too much is an error and gives no members; one that ends in the middle
// is an error, and gives those that came whole.
func Open(data []byte, most int64) ([]Member, error) {
	most = min(most, MaxBytes)
	var r io.Reader = bytes.NewReader(data)
	if isGzip(data) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("not readable as gzip: %w", err)
		}
		r = z
	}
	left := most
	t := tar.NewReader(bufio.NewReader(&limited{r: r, left: most + maxOverhead}))
	var out []Member
	seen := map[string]bool{}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return whole(out, most, err)
		}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader || strings.HasPrefix(path.Base(h.Name), "._") {
			continue // the last are a Mac's notes on the file beside them
		}
		if len(out) == MaxMembers {
			return nil, fmt.Errorf("holds more than %d files", MaxMembers)
		}
		name, why := clean(h)
		if why == "" && seen[name] {
			why = "a file of this name came before"
		}
		if why != "" {
			out = append(out, Member{Name: printable(h.Name), Refused: why})
			continue
		}
		seen[name] = true
		if h.Size > left {
			return nil, tooLarge(most)
		}
		left -= h.Size
		b, err := io.ReadAll(t)
		if err != nil {
			return whole(out, most, err)
		}
		out = append(out, Member{Name: name, Data: b})
	}
}

// whole gives the members before an error that only ends the archive.
func whole(out []Member, most int64, err error) ([]Member, error) {
	switch {
	case errors.Is(err, errTooLarge):
		return nil, tooLarge(most)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return out, errors.New("ends in the middle (cut off?)")
	default:
		return out, fmt.Errorf("not readable after %d files: %w", len(out), err)
	}
}

// clean gives a member's name, or why the member is refused.
func clean(h *tar.Header) (name, why string) {
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeSymlink, tar.TypeLink:
		return "", "a link"
	case tar.TypeChar, tar.TypeBlock:
		return "", "a device"
	case tar.TypeFifo:
		return "", "a pipe"
	default:
		return "", "not a plain file"
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") { // holes would count as bytes that the archive doesn't hold
			return "", "a sparse file"
		}
	}
	return CleanName(h.Name)
}

// CleanName gives a member's name without "./" and the like, or why it can't be one: it would lead outside the folder that
// the archive is unpacked in.
func CleanName(raw string) (name, why string) {
	switch {
	case len(raw) > maxName:
		return "", fmt.Sprintf("its name is longer than %d bytes", maxName)
	case strings.HasPrefix(raw, "/"), strings.HasPrefix(raw, `\`), len(raw) > 1 && raw[1] == ':':
		return "", "its name is an absolute path"
	}
	for part := range strings.FieldsFuncSeq(raw, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." {
			return "", "its name leads outside the archive"
		}
	}
	if printable(raw) != raw {
		return "", "its name holds control characters"
	}
	if name = path.Clean(raw); name == "." {
		return "", "it has no name"
	}
	return name, ""
}

// printable makes a name safe to show, and short.
func printable(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// limited ends a stream that goes on for too long: what is packed well may unpack to a thousand times its size.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
