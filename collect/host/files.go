package host

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

// openRegular opens a plain file for reading. Anything else might block, or be changed by being read: pipes, devices.
func openRegular(name string) (*os.File, os.FileInfo, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is no plain file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	return f, st, nil
}

// readBounded reads a plain file that isn't larger than most bytes.
func readBounded(name string, most int64) ([]byte, error) {
	f, _, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(b)) > most:
		return nil, fmt.Errorf("%s is larger than %d KiB", name, most>>10)
	}
	return b, nil
}

// readTail reads the last bytes of a file, from the start of a line.
func readTail(name string, most int64) (b []byte, cut bool, err error) {
	f, st, err := openRegular(name)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }() // only read
	start := max(0, st.Size()-most)
	if start > 0 {
		if _, err := f.Seek(start, io.SeekStart); err != nil {
			return nil, false, fmt.Errorf("reading the end of %s: %w", name, err)
		}
	}
	if b, err = io.ReadAll(io.LimitReader(f, most)); err != nil {
		return nil, false, err
	}
	if start > 0 {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			b = b[i+1:]
		}
	}
	return b, start > 0, nil
}

// logs takes the ends of Envoy's logs, and of the access logs.
func (r *recording) logs() {
	type source struct{ path, at string }
	var list []source
	add := func(path, at string) {
		if !slices.ContainsFunc(list, func(s source) bool { return s.at == at }) {
			list = append(list, source{path, at})
		}
	}
	globs := []string{"var/log/envoy/*.log"}
	for _, d := range r.logDirs() {
		globs = append(globs, filepath.Join(strings.TrimPrefix(filepath.Clean("/"+d), "/"), "envoy*.log"))
	}
	reason := ""
	for _, g := range globs {
		names, _ := filepath.Glob(r.path(g)) // the pattern is well formed but for a folder with brackets in its name
		for _, n := range names {
			rel, err := filepath.Rel(r.cfg.Root, n)
			if err == nil {
				add("/"+rel, n)
			}
		}
		// A folder that only root may look into yields no names, and no error.
		if _, err := os.ReadDir(r.path(filepath.Dir(g))); err != nil && os.IsPermission(err) {
			reason = join(reason, "/"+filepath.Dir(g)+": "+why(err))
		}
	}
	for _, a := range r.access {
		if strings.HasPrefix(a.path, "/dev/") || strings.HasPrefix(a.path, "/proc/") {
			continue
		}
		if st, err := os.Stat(a.at); err == nil && st.Mode().IsRegular() {
			add(a.path, a.at)
		}
	}
	if len(list) > maxLogs {
		reason = join(reason, fmt.Sprintf("%d of %d logs taken", maxLogs, len(list)))
		list = list[:maxLogs]
	}
	var files []bundle.File
	for _, s := range list {
		b, cut, err := readTail(s.at, maxTail)
		switch {
		case err != nil:
			reason = join(reason, s.path+": "+why(err))
			continue
		case len(bytes.TrimSpace(b)) == 0:
			continue
		case cut:
			r.cfg.Logger.Debug("log cut", "file", s.path, "bytes", len(b))
		}
		files = append(files, bundle.File{Name: r.unused("logs" + memberName(s.path)), Data: b})
	}
	switch {
	case len(files) > 0:
		r.item(bundle.Item{Name: bundle.ItemLogs, Status: status(reason), Reason: reason}, files...)
	case reason != "":
		r.unread(bundle.ItemLogs, "%s", reason)
	default:
		r.absent(bundle.ItemLogs, "no logs in /var/log/envoy")
	}
}

// unused gives a name that no file of the bundle has yet.
func (r *recording) unused(name string) string {
	for n, try := 2, name; ; n++ {
		if !slices.ContainsFunc(r.out.Files, func(f bundle.File) bool { return f.Name == try }) {
			return try
		}
		try = fmt.Sprintf("%s-%d", name, n)
	}
}

// memberName makes an absolute path a name that a bundle takes.
func memberName(path string) string {
	clean := filepath.ToSlash(filepath.Clean("/" + path))
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == '\\' || c == ':' || c == 0x7f {
			return '_'
		}
		return c
	}, clean)
}
