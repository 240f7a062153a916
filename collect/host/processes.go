package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxProcesses bounds the list: a VM runs some hundreds.
	maxProcesses = 8192
	// maxArgs bounds one command line; Envoy's with its whole configuration in it is told by the bootstrap.
	maxArgs = 4 << 10
	// initialPIDs is the PID namespace of the host itself (PROC_PID_INIT_INO in Linux's include/uapi/linux/nsfs.h).
	initialPIDs = "pid:[4026531836]"
	// ticks is the unit of start times in /proc/PID/stat: USER_HZ, which is 100 wherever Linux runs.
	ticks = 100
)

// process is one process of the host.
type process struct {
	bundle.Process
	argv     []string
	groups   []int
	override bool   // may write whatever a file's mode says (CAP_DAC_OVERRIDE)
	root     string // where its files lie, as seen from here
}

// readProcesses lists the processes, and finds the proxies among them.
func (r *recording) readProcesses() {
	entries, err := os.ReadDir(r.path("proc"))
	if err != nil {
		r.unread(bundle.ItemProcesses, "%s", why(err))
		return
	}
	users := r.users()
	boot := r.bootTime()
	r.network = r.networkOf("self")
	reason := ""
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		if len(r.processes) == maxProcesses {
			reason = fmt.Sprintf("only the first %d processes are listed", maxProcesses)
			break
		}
		if p, ok := r.process(pid, users, boot); ok {
			r.processes = append(r.processes, p)
		}
	}
	slices.SortFunc(r.processes, func(a, b process) int { return a.PID - b.PID })
	if len(r.processes) == 0 {
		r.unread(bundle.ItemProcesses, "%s lists no processes", r.path("proc"))
		return
	}
	if ns, err := os.Readlink(r.path("proc/self/ns/pid")); err == nil && ns != initialPIDs {
		reason = join(reason, "recorded inside a container: the host's other processes can't be seen")
	}
	if hidden(r.path("proc/self/mountinfo")) && os.Geteuid() != 0 {
		reason = join(reason, "other users' processes are hidden (hidepid): needs root")
	}
	d := bundle.Processes{Head: bundle.Head{Kind: bundle.KindProcesses, Version: bundle.Version}, Whole: reason == "", Network: r.network}
	for _, p := range r.processes {
		if isEnvoy(p) {
			r.proxies = append(r.proxies, p)
		}
		q := p.Process
		q.Args = redactText(inlineConfig(p.argv))
		if len(q.Args) > maxArgs {
			q.Args = strings.ToValidUTF8(q.Args[:maxArgs], "") + "…"
		}
		d.Processes = append(d.Processes, q)
	}
	if len(r.proxies) > maxProxies {
		reason = join(reason, fmt.Sprintf("%d of %d Envoys looked at", maxProxies, len(r.proxies)))
		r.proxies = r.proxies[:maxProxies]
	}
	r.finish(bundle.Item{Name: bundle.ItemProcesses, Status: status(reason), Reason: reason}, "processes.json", d)
}

// inlineConfig is a command line as ps prints it, without a configuration given in it: that is a file of its own.
func inlineConfig(argv []string) string {
	argv = slices.Clone(argv)
	for i, a := range argv {
		if name, _, ok := strings.Cut(a, "="); ok && name == "--config-yaml" {
			argv[i] = name + "=[bootstrap]"
		} else if a == "--config-yaml" && i+1 < len(argv) {
			argv[i+1] = "[bootstrap]"
		}
	}
	return strings.Join(argv, " ")
}

// process reads one process. Those that end meanwhile, kernel threads and the dead that nobody has buried aren't told.
func (r *recording) process(pid int, users map[int]string, boot time.Time) (process, bool) {
	dir := r.path("proc", strconv.Itoa(pid))
	cmdline, err := readBounded(filepath.Join(dir, "cmdline"), 4<<20)
	if err != nil || len(cmdline) == 0 {
		return process{}, false
	}
	p := process{Process: bundle.Process{PID: pid, UID: -1, GID: -1}, root: r.cfg.Root}
	p.argv = strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	p.Command = filepath.Base(p.argv[0])
	if comm, err := readBounded(filepath.Join(dir, "comm"), 1<<10); err == nil {
		// comm is cut to 15 bytes, and programs that rewrite their command line keep it.
		if c := strings.TrimSpace(string(comm)); !strings.HasPrefix(p.Command, c) || c == "" {
			p.Command = c
		}
	}
	if st, err := readBounded(filepath.Join(dir, "status"), 64<<10); err == nil {
		p.status(st)
	}
	if p.User = users[p.UID]; p.User == "" && p.UID >= 0 {
		p.User = strconv.Itoa(p.UID)
	}
	if st, err := readBounded(filepath.Join(dir, "stat"), 64<<10); err == nil && !boot.IsZero() {
		p.Started = started(st, boot)
	}
	p.Network = r.networkOf(strconv.Itoa(pid))
	own, err1 := os.Readlink(r.path("proc/self/ns/mnt"))
	its, err2 := os.Readlink(filepath.Join(dir, "ns/mnt"))
	if err1 == nil && err2 == nil && own != its {
		p.root = filepath.Join(dir, "root")
	}
	return p, true
}

// status reads /proc/PID/status: whose the process is, and what it may.
func (p *process) status(b []byte) {
	const dacOverride = 1 // CAP_DAC_OVERRIDE of include/uapi/linux/capability.h
	known := false
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		number := func(i int) int {
			if i < len(f) {
				if n, err := strconv.Atoi(f[i]); err == nil {
					return n
				}
			}
			return -1
		}
		switch key {
		case "Uid":
			p.UID = number(1) // real, effective, saved, file system
		case "Gid":
			p.GID = number(1)
		case "Groups":
			for i := range f {
				p.groups = append(p.groups, number(i))
			}
		case "CapEff":
			if len(f) > 0 {
				if caps, err := strconv.ParseUint(f[0], 16, 64); err == nil {
					known, p.override = true, caps&(1<<dacOverride) != 0
				}
			}
		}
	}
	if !known {
		p.override = p.UID == 0
	}
}

// started gives when a process began: field 22 of /proc/PID/stat, behind the name in brackets.
func started(stat []byte, boot time.Time) time.Time {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return time.Time{}
	}
	f := strings.Fields(string(stat[i+1:]))
	const at = 22 - 3 // the first field behind the bracket is the third
	if len(f) <= at {
		return time.Time{}
	}
	n, err := strconv.ParseInt(f[at], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return boot.Add(time.Duration(n) * (time.Second / ticks)).UTC().Truncate(time.Second)
}

func (r *recording) bootTime() time.Time {
	b, err := readBounded(r.path("proc/stat"), 1<<20)
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				return time.Unix(n, 0)
			}
		}
	}
	return time.Time{}
}

// users reads names of users from /etc/passwd. Others keep their number.
func (r *recording) users() map[int]string {
	out := map[int]string{}
	b, err := readBounded(r.path("etc/passwd"), 1<<20)
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.SplitN(line, ":", 4); len(f) == 4 {
			if uid, err := strconv.Atoi(f[2]); err == nil && out[uid] == "" {
				out[uid] = f[0]
			}
		}
	}
	return out
}

// hidden says whether proc is mounted so that other users' processes aren't shown (hidepid of proc(5)).
func hidden(mountinfo string) bool {
	b, err := readBounded(mountinfo, 1<<20)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/proc" && strings.Contains(line, "hidepid=") && !strings.Contains(line, "hidepid=0") {
			return true
		}
	}
	return false
}

// isEnvoy says whether a process is an Envoy: by its name, or a name of its own with Envoy's flags.
func isEnvoy(p process) bool {
	if len(p.argv) == 0 {
		return false
	}
	base := filepath.Base(p.argv[0])
	if base == "envoy" || p.Command == "envoy" {
		return true
	}
	if !strings.HasPrefix(base, "envoy") {
		return false
	}
	return slices.ContainsFunc(p.argv[1:], func(a string) bool {
		return a == "-c" || strings.HasPrefix(a, "--config-path") || strings.HasPrefix(a, "--config-yaml")
	})
}

// networkOf gives the network namespace of a process ("self" for this one) by the inode that its link names: "net:[4026531840]"
// (namespaces(7)). It is 0 where the link can't be read, which for other users' processes takes root.
func (r *recording) networkOf(pid string) uint64 {
	link, err := os.Readlink(r.path("proc", pid, "ns/net"))
	if err != nil {
		return 0
	}
	inode, ok := strings.CutPrefix(strings.TrimSuffix(link, "]"), "net:[")
	n, err := strconv.ParseUint(inode, 10, 64)
	if !ok || err != nil {
		return 0
	}
	return n
}

// belongs says whether a process has the network that is recorded.
func (r *recording) belongs(p process) evidence.Belonging {
	return evidence.ProcessList{Network: r.network}.Belongs(evidence.Process{Network: p.Network})
}

// foreign says why what is seen of the network here isn't what a process sees; "" where it is, or may be.
func (r *recording) foreign(p process) string {
	if r.belongs(p) != evidence.Elsewhere {
		return ""
	}
	return fmt.Sprintf("Envoy (process %d) has a network of its own: record there too (nsenter -t %d -n meshdiag collect …)", p.PID, p.PID)
}

// foreignProxies says why what is seen of the network here may not be what the host's proxies see: "" where one of them has
// this network, since those in containers are none of the host's then, and where there is none.
func (r *recording) foreignProxies() string {
	out := ""
	for _, p := range r.proxies {
		switch r.belongs(p) {
		case evidence.Here:
			return ""
		case evidence.Elsewhere:
			out = join(out, r.foreign(p))
		case evidence.Unclear:
			out = join(out, fmt.Sprintf("whether Envoy (process %d) has this network can't be told: needs root", p.PID))
		}
	}
	return out
}
