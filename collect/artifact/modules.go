package artifact

import (
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	kindModules = "kernel-modules"
	// maxModules bounds a list of kernel modules; a host has a few hundred.
	maxModules = 20_000
	// maxHostText bounds what is looked at as a list of processes or of modules: ten thousand lines of ps.
	maxHostText = 8 << 20
)

var (
	lsmodHeader = regexp.MustCompile(`^Module\s+Size\s+Used by\s*$`)
	lsmodRow    = regexp.MustCompile(`^(\w+)\s+\d+\s+-?\d+(?:\s+\S+)?$`)
	// procModule is a line of /proc/modules: name, size, uses, users, state, address.
	procModule = regexp.MustCompile(`^(\w+) \d+ \d+ \S+ (?:Live|Loading|Unloading) 0x[0-9a-f]+(?: \(\w+\))?$`)
	// modMissing is modinfo's word of a module that is neither built in nor on disk.
	modMissing = regexp.MustCompile(`^(?:modinfo: ERROR: Module (\w+) not found\.|modinfo: could not find module (\w+))$`)
	// modInfo are the fields that modinfo prints of a module that is there. A file name tells them from YAML.
	modInfo = regexp.MustCompile(`^(filename|name|description|license|author|depends|retpoline|intree|vermagic|sig_id|signer|sig_key|sig_hashalgo|signature|alias|srcversion|parm|version|softdep|import_ns):\s*(.*)$`)
	modFile = regexp.MustCompile(`^(?:/\S+\.ko(?:\.\w+)?|\(builtin\))$`)
	hexLine = regexp.MustCompile(`^\s+[0-9A-F]{2}(?::[0-9A-F]{2})+:?$`) // a signature
)

// modules reads lists of kernel modules: what lsmod prints, /proc/modules, what modinfo says of single ones. ok is false where
// the text holds anything else.
func (in *input) modules(data []byte) (o outcome, ok bool) {
	if len(data) > maxHostText {
		return outcome{}, false
	}
	var l evidence.ModuleList
	var table, file, builtin bool
	name := "" // modinfo prints a built-in module's name before its file, others after it
	n := 0
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n \t")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if n++; n > maxModules {
			return outcome{}, false
		}
		if m := modMissing.FindStringSubmatch(line); m != nil {
			l.Missing = append(l.Missing, m[1]+m[2])
		} else if lsmodHeader.MatchString(line) {
			table = true
		} else if m := procModule.FindStringSubmatch(line); m != nil {
			l.Loaded = append(l.Loaded, m[1])
		} else if m := lsmodRow.FindStringSubmatch(line); m != nil && table {
			l.Loaded = append(l.Loaded, m[1])
		} else if m := modInfo.FindStringSubmatch(line); m != nil {
			switch m[1] {
			case "filename":
				if !modFile.MatchString(m[2]) {
					return outcome{}, false
				}
				file, builtin = true, m[2] == "(builtin)"
			case "name":
				name = m[2]
			}
			if builtin && name != "" {
				l.Loaded = append(l.Loaded, name)
				builtin, name = false, ""
			}
		} else if !file || !hexLine.MatchString(line) {
			return outcome{}, false
		}
	}
	if !table && !file && len(l.Loaded)+len(l.Missing) == 0 {
		return outcome{}, false
	}
	slices.Sort(l.Missing)
	l.Missing = slices.Compact(l.Missing)
	l.Source = in.source(evidence.FromWorkload, "")
	evidence.Put(in.set, evidence.KernelModules, []evidence.ModuleList{l}, l.Source)
	note := count(len(l.Loaded), "kernel module")
	if len(l.Missing) > 0 {
		note += ", missing " + strings.Join(l.Missing[:min(len(l.Missing), maxKeys)], ", ")
	}
	return used(kindModules, "%s", note), true
}

// vmText reads what a VM's tools print of it. ok is false where the text is nothing of that.
func (in *input) vmText(data []byte) (o outcome, ok bool) {
	for _, read := range []func([]byte) (outcome, bool){in.guestTable, in.processes, in.modules, in.serialText} {
		if o, ok := read(data); ok {
			return o, true
		}
	}
	return outcome{}, false
}
