package artifact

import (
	"path"
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/collect/envoyfacts"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// emptyInitDump is what /init_dump prints where nothing is waited for.
var emptyInitDump = regexp.MustCompile(`^\s*\{\s*\}\s*$`)

// envoyAdmin reads what Envoy's admin interface prints. ok is false where the file is nothing of that.
func (in *input) envoyAdmin(data []byte) (o outcome, ok bool) {
	k := envoy.Recognise(data)
	if k == envoy.Unrecognised && emptyInitDump.Match(data) && strings.Contains(path.Base(in.name), "init_dump") {
		k = envoy.InitDumpOut // a proxy that waits for nothing: only the file's name tells what it is
	}
	if k == envoy.Unrecognised {
		return outcome{}, false
	}
	src := in.source(evidence.FromWorkload, "")
	note, err := envoyfacts.Put(in.set, k, data, in.name, in.baseline, src)
	if err != nil {
		return in.broken(kind{name: string(k), title: "Envoy " + strings.TrimPrefix(string(k), "envoy-"), facts: envoyfacts.Facts(k), vantage: evidence.FromWorkload}, err), true
	}
	if k == envoy.ConfigDump && !in.baseline {
		// The bootstrap in it is judged as one that was handed in by itself.
		if raw, err := documents(data); err == nil && raw[0] == '{' {
			if b, err := in.configDump(raw, ""); err == nil && b.used {
				note += "; " + b.note
			}
		}
	}
	return used(string(k), "%s", note), true
}
