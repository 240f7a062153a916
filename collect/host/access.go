package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

// maxAccessPaths bounds the access logs looked at: a proxy has one or two, each listener may name its own.
const maxAccessPaths = 32

// accessPath is where a proxy writes an access log.
type accessPath struct {
	path string // as the proxy calls it
	at   string // as seen from here
	of   process
}

// accessLog notes an access log's path. What isn't a file's path is left out.
func (r *recording) accessLog(path string, p process) {
	if !filepath.IsAbs(path) || len(path) > 1<<10 || strings.ContainsAny(path, "\n\x00") || len(r.access) == maxAccessPaths {
		return
	}
	if p.root == "" {
		p.root = r.cfg.Root
	}
	a := accessPath{path: filepath.Clean(path), at: filepath.Join(p.root, path), of: p}
	if real, err := resolve(p.root, path); err == nil {
		a.at = filepath.Join(p.root, real)
	}
	if !slices.ContainsFunc(r.access, func(b accessPath) bool { return b.at == a.at && (b.of.PID == a.of.PID || a.of.PID == 0) }) {
		r.access = append(r.access, a)
	}
}

var (
	fileAccessLog = regexp.MustCompile(`envoy\.extensions\.access_loggers\.file\.v3\.FileAccessLog|envoy\.config\.accesslog\.v2\.FileAccessLog|envoy\.file_access_log|access_log_path`)
	logPath       = regexp.MustCompile(`["']?\b(?:path|access_log_path)["']?\s*:\s*["']?(/[^"'\s,}]+)`)
	metadataPath  = regexp.MustCompile(`["']?TRAFFICDIRECTOR_ACCESS_LOG_PATH["']?\s*:\s*["']?(/[^"'\s,}]+)`)
)

// findAccessLogs finds the files of access loggers in a configuration in JSON or YAML: the paths that stand near the
// logger's type.
func (r *recording) findAccessLogs(b []byte, p process) {
	const near = 600 // the type and the path are fields of one message, with a format in between at most
	for _, m := range metadataPath.FindAllSubmatch(b, maxAccessPaths) {
		r.accessLog(string(m[1]), p)
	}
	for _, at := range fileAccessLog.FindAllIndex(b, maxAccessPaths*16) {
		window := b[at[0]:min(len(b), at[1]+near)]
		// The next logger's path is the next one's.
		if next := fileAccessLog.FindIndex(window[at[1]-at[0]:]); next != nil {
			window = window[:at[1]-at[0]+next[0]]
		}
		if m := logPath.FindSubmatch(window); m != nil {
			r.accessLog(string(m[1]), p)
		}
	}
}

// pathAccess says whether the proxies' users can write their access logs, by computation: nothing is opened or touched.
func (r *recording) pathAccess() {
	d := bundle.Paths{Head: bundle.Head{Kind: bundle.KindPathAccess, Version: bundle.Version}}
	reason := ""
	for _, a := range r.access {
		if a.path == "/dev/stdout" || a.path == "/dev/stderr" || strings.HasPrefix(a.path, "/proc/") || strings.HasPrefix(a.path, "/dev/fd/") {
			continue // the process's own open files
		}
		if a.of.PID == 0 {
			reason = join(reason, a.path+": whose process writes it isn't known")
			continue
		}
		w := writable(a.path, a.of)
		d.Paths = append(d.Paths, bundle.Path{Path: a.path, User: a.of.User, Writable: w.ok, Unknown: w.unknown, Reason: w.reason})
	}
	switch {
	case len(d.Paths) == 0 && reason != "":
		r.unread(bundle.ItemPathAccess, "%s", reason)
	case len(d.Paths) == 0:
		r.absent(bundle.ItemPathAccess, "no proxy here is known to write an access log to a file")
	default:
		r.finish(bundle.Item{Name: bundle.ItemPathAccess, Status: status(reason), Reason: reason}, "path-access.json", d)
	}
}

// verdict says whether a path can be written.
type verdict struct {
	ok, unknown bool
	reason      string
}

func no(format string, a ...any) verdict { return verdict{reason: fmt.Sprintf(format, a...)} }
func unknown(format string, a ...any) verdict {
	return verdict{unknown: true, reason: fmt.Sprintf(format, a...)}
}

// resolve follows the links in an absolute path, as a process does whose files lie below root. Where a part doesn't exist the
// error is fs.ErrNotExist, and real is the path up to there.
func resolve(root, path string) (real string, err error) {
	const most = 40 // as many as Linux follows
	rest := parts(path)
	real = "/"
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			real = filepath.Dir(real)
			continue
		}
		next := filepath.Join(real, part)
		st, err := os.Lstat(filepath.Join(root, next))
		if err != nil {
			return next, err
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			real = next
			continue
		}
		if links++; links > most {
			return next, errors.New("too many links")
		}
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			return next, err
		}
		if filepath.IsAbs(target) {
			real = "/"
		}
		rest = append(parts(target), rest...)
	}
	return real, nil
}

// parts splits a path; ".." stays, since what it leads to depends on links.
func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

// writable computes whether a process may write a file, or make it where there is none: search permission on every folder
// above, then write permission on the file, or on the folder that it would be made in (path_resolution(7)).
func writable(path string, p process) verdict {
	if p.UID < 0 || p.GID < 0 {
		return unknown("the process's user isn't known")
	}
	real, err := resolve(p.root, path)
	exists := err == nil
	last := real
	switch {
	case errors.Is(err, fs.ErrNotExist):
		last = filepath.Dir(real)
		if filepath.Base(real) != filepath.Base(path) || len(parts(real)) == 0 {
			return no("%s doesn't exist", real)
		}
		if folder, ferr := resolve(p.root, filepath.Dir(path)); ferr != nil || filepath.Join(folder, filepath.Base(path)) != real {
			return no("%s doesn't exist", real)
		}
	case err != nil:
		return unknown("%s: %s", real, why(err))
	}
	if readOnly(filepath.Join(p.root, last)) {
		return no("%s lies on a file system that is mounted read-only", last)
	}
	const write, search = 2, 1
	above := []string{}
	for dir := filepath.Dir(real); ; dir = filepath.Dir(dir) {
		above = append(above, dir)
		if dir == "/" {
			break
		}
	}
	slices.Reverse(above)
	for _, dir := range above {
		bits := fs.FileMode(search)
		if !exists && dir == last {
			bits |= write
		}
		if v := p.may(dir, bits); !v.ok {
			return v
		}
	}
	if !exists {
		return verdict{ok: true, reason: "there is no file yet, and it can be made"}
	}
	st, err := os.Stat(filepath.Join(p.root, real))
	if err != nil {
		return unknown("%s: %s", real, why(err))
	}
	if st.IsDir() {
		return no("%s is a folder", real)
	}
	return p.may(real, write)
}

// may says whether a process has the permission bits (rwx as 4, 2, 1) on one file or folder.
func (p process) may(path string, bits fs.FileMode) verdict {
	at := filepath.Join(p.root, path)
	st, err := os.Stat(at)
	if err != nil {
		return unknown("%s: %s", path, why(err))
	}
	if p.override {
		return verdict{ok: true}
	}
	uid, gid, ok := owner(st)
	if !ok {
		return unknown("%s: whose it is can't be told here", path)
	}
	mode := st.Mode().Perm()
	have := mode & 7
	switch {
	case uid == p.UID:
		have = mode >> 6 & 7
	case gid == p.GID || slices.Contains(p.groups, gid):
		have = mode >> 3 & 7
	}
	if hasACL(at) {
		return unknown("%s has an access control list, which isn't read", path)
	}
	if have&bits == bits {
		return verdict{ok: true}
	}
	what := "write"
	if bits == 1 {
		what = "search"
	}
	return no("user %s (uid %d, gid %d) may not %s %s (mode %04o, owner uid %d, gid %d)", p.User, p.UID, p.GID, what, path, mode, uid, gid)
}
