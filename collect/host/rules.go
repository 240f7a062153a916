package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

// rules takes the packet filter rules, of both of the kernel's engines and both families. A family is complete where both
// engines told all they hold, or are known to hold nothing.
func (r *recording) rules(ctx context.Context) {
	var text bytes.Buffer
	reason := ""
	ran, need := 0, 0
	var complete []string
	nftIdle := r.moduleIdle("nf_tables")
	for _, f := range []struct{ prefix, family, names string }{{"iptables", "IPv4", "ip_tables_names"}, {"ip6tables", "IPv6", "ip6_tables_names"}} {
		whole := true
		fail := func(format string, a ...any) {
			whole = false
			reason = join(reason, fmt.Sprintf(format, a...))
		}
		legacy, err := r.legacyTables(f.names)
		command := f.prefix + "-legacy-save"
		switch {
		case err != nil:
			fail("%s: %s", command, why(err))
			need++
		case len(legacy) == 0: // running the command would load the module
			fmt.Fprintf(&text, "# %s: not run: the kernel holds no such tables\n", command)
		default:
			need++
			ran += r.run(ctx, &text, fail, []string{command, f.prefix + "-save"}, "-c")
		}
		command = f.prefix + "-nft-save"
		if nftIdle {
			fmt.Fprintf(&text, "# %s: not run: the kernel's module nf_tables isn't loaded\n", command)
		} else {
			need++
			ran += r.run(ctx, &text, fail, []string{command, f.prefix + "-save"}, "-c")
		}
		if whole {
			complete = append(complete, f.family)
		}
	}
	files := []bundle.File{{Name: "packet-rules.txt", Data: text.Bytes()}}
	if !nftIdle && r.command("nft") != "" {
		var nft bytes.Buffer
		if r.run(ctx, &nft, func(format string, a ...any) { reason = join(reason, fmt.Sprintf(format, a...)) }, []string{"nft"}, "list", "ruleset") > 0 {
			files = append(files, bundle.File{Name: "nft-ruleset.txt", Data: nft.Bytes()})
		}
	}
	if need > 0 && ran == 0 {
		r.unread(bundle.ItemRules, "%s", reason)
		return
	}
	reason = join(reason, r.foreignProxies())
	r.item(bundle.Item{Name: bundle.ItemRules, Status: status(reason), Reason: reason, Complete: complete}, files...)
}

// legacyTables gives the names of the tables that iptables-legacy has made.
func (r *recording) legacyTables(name string) ([]string, error) {
	b, err := readBounded(r.path("proc/self/net", name), 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = readBounded(r.path("proc/net", name), 64<<10)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the module isn't there
	}
	return strings.Fields(string(b)), err
}

// run runs the first of some commands that there is, and writes its output behind a line that names it. It gives how many
// commands succeeded.
func (r *recording) run(ctx context.Context, text *bytes.Buffer, fail func(string, ...any), names []string, args ...string) int {
	i := slices.IndexFunc(names, func(n string) bool { return r.command(n) != "" })
	if i < 0 {
		fail("%s: no such command here", names[0])
		return 0
	}
	out, err := r.output(ctx, r.command(names[i]), args...)
	if err != nil {
		fail("%s: %s", names[i], err)
		return 0
	}
	if names[i] != names[0] && bytes.Contains(text.Bytes(), out) && len(out) > 0 {
		return 1 // the plain name is one of the two engines, and was asked before
	}
	fmt.Fprintf(text, "# %s\n", strings.Join(append([]string{names[i]}, args...), " "))
	text.Write(out)
	// A plain iptables-save is that of one engine, and says which in its first line.
	engine := map[bool]string{true: "legacy", false: "nf_tables"}[strings.Contains(names[0], "legacy")]
	if names[i] != names[0] && len(bytes.TrimSpace(out)) > 0 && !bytes.Contains(out, []byte("("+engine+")")) {
		fail("%s: no such command here, and %s is of the other engine", names[0], names[i])
	}
	return 1
}

// command finds a command, "" where there is none.
func (r *recording) command(name string) string {
	for _, d := range r.cfg.CommandPath {
		p := filepath.Join(d, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// output runs a command without input, and gives what it prints. One that prints too much is killed at once, with whatever
// it started: what came till then would tell of some rules and not of others. The error is one line.
func (r *recording) output(ctx context.Context, path string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, itemTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...) // #nosec G204 -- one of a few names, from folders that the operator chose
	cmd.Env = []string{"PATH=" + strings.Join(r.cfg.CommandPath, string(os.PathListSeparator)), "LC_ALL=C"}
	cmd.WaitDelay = time.Second // a child that keeps the output open mustn't hold us
	killGroup := ownGroup(cmd)
	cmd.Cancel = killGroup
	stdout, stderr := &bounded{most: maxCommand, full: cancel}, &bounded{most: maxComplaint}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		_ = killGroup() // the command ended, and a child of its didn't
	}
	said := oneLine(stderr.String())
	switch {
	case stdout.over:
		return nil, fmt.Errorf("prints more than %d MiB: stopped, and not used", maxCommand>>20)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no answer within %s", itemTimeout)
	case err != nil && os.Geteuid() != 0:
		return nil, fmt.Errorf("needs root (%s)", joinOr(said, err.Error()))
	case err != nil:
		return nil, errors.New(joinOr(said, err.Error()))
	}
	return stdout.Bytes(), nil
}

func joinOr(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// bounded keeps the start of what is written.
type bounded struct {
	bytes.Buffer
	most int
	over bool
	full func() // called when more was written; may be nil
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.most - b.Len(); len(p) > room {
		b.over = true
		if b.full != nil {
			b.full()
		}
		b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// ReadFrom would go around the limit.
func (b *bounded) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{b}, src)
}
