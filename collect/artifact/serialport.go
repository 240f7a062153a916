package artifact

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	kindSerialPort = "serial-port"
	// maxSerial is how much of a serial port's output is kept, its end: Compute Engine keeps a megabyte, and the last start of
	// a system writes a tenth of that.
	maxSerial = 256 << 10
	// serialSample is how much of a text's start is looked at to tell whether it is a serial port's output.
	serialSample = 64 << 10
	// leastKernelLines is from how many of the kernel's own lines on a text is a console's, whatever else it holds.
	leastKernelLines = 5
)

var (
	kernelLine = regexp.MustCompile(`(?m)^(?:\x1b\[[0-9;]*m)*\[ *\d{1,8}\.\d{6}\] `)
	// consoleMark is what firmware, boot loaders and Compute Engine's own programs write to a VM's console.
	consoleMark = regexp.MustCompile(`(?m)^(?:.*\b)?(?:SeaBIOS \(version|UEFI: Attempting to start image|BdsDxe: |Booting from Hard Disk 0|Linux version \d|GCEMetadataScripts|google_metadata_script_runner|GCEGuestAgent|OSConfigAgent|startup-script(?: exit status|: )|cloud-init\[\d+\]|service-proxy-agent-bootstrap)`)
	portNumber  = regexp.MustCompile(`[?&]port=(\d)`)
)

// isSerialAnswer recognises the answer of the method getSerialPortOutput.
func (m fields) isSerialAnswer() bool {
	return m.text("kind") == "compute#serialPortOutput" || len(m.get("contents")) > 0 && m.has("next") && m.has("start") && len(m) <= 5
}

// serialAnswer reads the API's answer. Its numbers are strings, as the API writes 64-bit ones, or not, as YAML tools do.
func (in *input) serialAnswer(doc json.RawMessage, where string) (outcome, error) {
	m, err := object(doc, "answer")
	if err != nil {
		return outcome{}, err
	}
	var answer struct {
		Contents string `json:"contents"`
	}
	if err := decode(doc, &answer, "answer"); err != nil {
		return outcome{}, err
	}
	link := m.text("selfLink")
	p := evidence.SerialPort{Instance: segmentAfter(link, "instances"), Port: 1}
	if n := portNumber.FindStringSubmatch(link); n != nil {
		p.Port = int(n[1][0] - '0')
	}
	if start, err := strconv.ParseInt(strings.Trim(string(m.get("start")), `"`), 10, 64); err == nil && start > 0 {
		p.Cut = true
	}
	return in.putSerial(p, []byte(answer.Contents), where), nil
}

// serialText reads a serial port's output as "gcloud compute instances get-serial-port-output" prints it. ok is false where a
// text doesn't look like a console's.
func (in *input) serialText(data []byte) (o outcome, ok bool) {
	head := data[:min(len(data), serialSample)]
	kernel := len(kernelLine.FindAllIndex(head, leastKernelLines))
	if kernel < leastKernelLines && (kernel == 0 || !consoleMark.Match(head)) && len(consoleMark.FindAllIndex(head, 2)) < 2 {
		return outcome{}, false
	}
	return in.putSerial(evidence.SerialPort{Port: 1}, data, ""), true
}

// putSerial records the end of a serial port's output, and looks for known messages in all of it.
func (in *input) putSerial(p evidence.SerialPort, data []byte, where string) outcome {
	p.Source = in.source(evidence.FromWorkload, where)
	note := count(bytes.Count(data, []byte{'\n'}), "line") + " of a serial port"
	if o, ok := in.logIfKnown(data); ok {
		note += "; " + o.note
	}
	if len(data) > maxSerial {
		p.Cut = true
		data = data[len(data)-maxSerial:]
		if _, rest, ok := bytes.Cut(data, []byte{'\n'}); ok {
			data = rest // the first line isn't whole
		}
	}
	p.Text = strings.ToValidUTF8(string(data), "\uFFFD")
	evidence.Put(in.set, evidence.SerialPorts, []evidence.SerialPort{p}, p.Source)
	return used(kindSerialPort, "%s", note)
}
