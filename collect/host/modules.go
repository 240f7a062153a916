package host

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

// maxModuleList bounds the lists of modules: modules.dep of a full distribution has a megabyte.
const maxModuleList = 16 << 20

// interceptionModules are what scripts that set up interception need of the kernel, for both families, with iptables-legacy.
func interceptionModules() []string {
	return []string{
		"ip_tables", "iptable_filter", "iptable_nat", "iptable_mangle", "ip6_tables", "ip6table_filter", "ip6table_nat", "ip6table_mangle",
		"nf_nat", "nf_conntrack", "xt_REDIRECT", "xt_owner", "xt_tcpudp", "xt_multiport", "xt_conntrack",
	}
}

// kernel is what is known of the kernel's modules.
type kernel struct {
	loaded []string // or built in
	onDisk []string // nil where the lists aren't there
	listed bool     // the list of loaded ones was read
}

func (r *recording) kernelModules() (kernel, error) {
	var k kernel
	b, err := readBounded(r.path("proc/modules"), maxModuleList)
	if err == nil {
		k.listed = true
		for line := range strings.Lines(string(b)) {
			if name, _, ok := strings.Cut(line, " "); ok {
				k.loaded = append(k.loaded, name)
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	release, rerr := readBounded(r.path("proc/sys/kernel/osrelease"), 1<<10)
	if rerr != nil {
		return k, err
	}
	dir := r.path("lib/modules", path.Base(strings.TrimSpace(string(release))))
	builtin, berr := readBounded(dir+"/modules.builtin", maxModuleList)
	for line := range strings.Lines(string(builtin)) {
		k.loaded = append(k.loaded, moduleName(line))
	}
	dep, derr := readBounded(dir+"/modules.dep", maxModuleList)
	if berr == nil && derr == nil {
		k.onDisk = []string{}
		for line := range strings.Lines(string(dep)) {
			file, _, _ := strings.Cut(line, ":")
			k.onDisk = append(k.onDisk, moduleName(file))
		}
	}
	slices.Sort(k.loaded)
	k.loaded = slices.Compact(k.loaded)
	return k, err
}

// moduleName gives a module's name of its file's: kernel/net/ipv6/netfilter/ip6table_nat.ko.xz.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(strings.TrimSpace(file)), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// moduleIdle says whether a module is surely not in use: it could be loaded, and isn't.
func (r *recording) moduleIdle(name string) bool {
	k, err := r.kernelModules()
	if err != nil || !k.listed || slices.Contains(k.loaded, name) || !slices.Contains(k.onDisk, name) {
		return false
	}
	_, err = os.Stat(r.path("sys/module", name))
	return errors.Is(err, fs.ErrNotExist)
}

// modules lists the kernel's modules.
func (r *recording) modules() {
	k, err := r.kernelModules()
	if err != nil && len(k.loaded) == 0 {
		r.unread(bundle.ItemModules, "%s", why(err))
		return
	}
	d := bundle.Modules{Head: bundle.Head{Kind: bundle.KindModules, Version: bundle.Version}, Loaded: k.loaded}
	reason := ""
	if k.onDisk == nil {
		reason = "which modules are missing isn't known: the kernel's lists in /lib/modules aren't here (a container, or a kernel of its own)"
	} else {
		for _, m := range interceptionModules() {
			if !slices.Contains(k.loaded, m) && !slices.Contains(k.onDisk, m) {
				d.Missing = append(d.Missing, m)
			}
		}
	}
	r.finish(bundle.Item{Name: bundle.ItemModules, Status: status(reason), Reason: reason}, "kernel-modules.json", d)
}
