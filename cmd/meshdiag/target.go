package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshdiag/meshdiag/cmd/meshdiag/pipeline"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

const (
	// maxArtifacts is what all files of a request may have together; the service takes no more.
	maxArtifacts = 16 << 20
	// defaultTimeout is how long a diagnosis may take.
	defaultTimeout = 30 * time.Second
)

// targetFlags say what is to be diagnosed.
type targetFlags struct {
	project, network, mesh, nodeID, zone, instance, symptom string
	destination                                             string
	servingPort                                             int32
	cluster, namespace, pod, workload, deployment, revision string
	files, baseline                                         []string
	timeout                                                 time.Duration
}

func (f *targetFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.project, "project", "", "project ID or number")
	fs.StringVar(&f.network, "network", "", "VPC network that the forwarding rules are on")
	fs.StringVar(&f.mesh, "mesh", "", "Mesh that the proxies use, or scope:NAME for a Gateway scope")
	fs.StringVar(&f.nodeID, "node-id", "", "one proxy: projects/NUMBER/networks/NETWORK/nodes/ID")
	fs.StringVar(&f.zone, "zone", "", "zone of --instance")
	fs.StringVar(&f.instance, "instance", "", "one VM")
	fs.StringVar(&f.symptom, "symptom", "", "what you see: "+strings.Join(symptomNames(), ", "))
	fs.StringArrayVarP(&f.files, "file", "f", nil,
		"`FILE` to read: bootstrap, CSDS answer, forwarding rules, instances, log, or an archive or a folder of such; its kind is found by content; - is standard input; repeatable")
	fs.StringArrayVar(&f.baseline, "baseline", nil, "config dump `FILE` of a proxy that works, to compare with; repeatable")
	fs.StringVar(&f.destination, "destination", "", "what a client in the mesh can't reach: IP:PORT, HOST:PORT or a service's name")
	fs.Int32Var(&f.servingPort, "serving-port", 0, "port that the proxy's own application serves on, for traffic that comes in")
	fs.StringVar(&f.cluster, "context", "", "Kubernetes cluster: a context of the kubeconfig (default its current one, or the cluster that meshdiag runs in)")
	fs.StringVar(&f.namespace, "namespace", "", "namespace of a Kubernetes cluster: why do its pods have no sidecar, or not start?")
	fs.StringVar(&f.pod, "pod", "", "one pod of --namespace")
	fs.StringVar(&f.deployment, "deployment", "", "one Deployment of --namespace; the same as --workload deployment/NAME")
	fs.StringVar(&f.workload, "workload", "", "what makes the pods of --namespace, `KIND/NAME`: deployment, replicaset, statefulset, daemonset, job or cronjob")
	fs.StringVar(&f.revision, "revision", "", "revision of the mesh's control plane in the cluster, or a revision tag")
	fs.DurationVar(&f.timeout, "timeout", defaultTimeout, "how long the diagnosis may take")
	_ = cmd.RegisterFlagCompletionFunc("symptom", cobra.FixedCompletions(symptomNames(), cobra.ShellCompDirectiveNoFileComp))
}

const symptomPrefix = "SYMPTOM_"

func symptomNames() []string {
	var out []string
	for n, name := range pb.Symptom_name {
		if n != 0 {
			out = append(out, strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, symptomPrefix), "_", "-")))
		}
	}
	slices.Sort(out)
	return out
}

// request makes the request; it reads the files. more are files that were read already.
func (f *targetFlags) request(stdin io.Reader, more ...*pb.Artifact) (*pb.DiagnoseRequest, error) {
	r := &pb.DiagnoseRequest{Timeout: durationpb.New(f.timeout), Destination: f.destination, ServingPort: f.servingPort}
	t := &pb.Target{Project: f.project, Network: f.network, Mesh: f.mesh, NodeId: f.nodeID}
	switch {
	case f.instance != "" && f.zone == "":
		return nil, usage("--instance needs --zone, the zone that the VM is in")
	case f.zone != "" && f.instance == "":
		return nil, usage("--zone needs --instance, the VM in it")
	case f.instance != "":
		t.Vm = &pb.Vm{Zone: f.zone, Instance: f.instance}
	}
	k, err := f.kubernetes()
	if err != nil {
		return nil, err
	}
	t.Kubernetes = k
	if f.project != "" || f.network != "" || f.mesh != "" || f.nodeID != "" || t.Vm != nil || k != nil {
		r.Target = t
	}
	if r.Target == nil && len(f.files) == 0 && len(more) == 0 {
		return nil, usage("what is to be diagnosed? Name --project with --network or --mesh, or --namespace, or a file with -f")
	}
	if f.symptom != "" {
		if err := oneOf("symptom", f.symptom, symptomNames()); err != nil {
			return nil, err
		}
		r.Symptom = pb.Symptom(pb.Symptom_value[symptomPrefix+strings.ToUpper(strings.ReplaceAll(f.symptom, "-", "_"))])
	}
	left := int64(maxArtifacts)
	for _, a := range more {
		left -= int64(len(a.GetData()))
	}
	read := func(names []string) (out []*pb.Artifact, err error) {
		for _, name := range names {
			b, err := readArtifact(name, stdin, left)
			if errors.Is(err, pipeline.ErrEmpty) && len(f.files)+len(more) > 1 {
				// Programs that have nothing to tell print nothing, as ip6tables-save does: the report lists it beside the others.
				// An artifact without any content is refused.
				b, err = []byte("\n"), nil
			}
			if err != nil {
				return nil, &exitError{code: exitUsage, err: err}
			}
			left -= int64(len(b))
			out = append(out, &pb.Artifact{Name: shortName(name), Data: b})
		}
		return out, nil
	}
	if r.Artifacts, err = read(f.files); err != nil {
		return nil, err
	}
	r.Artifacts = append(more, r.Artifacts...)
	if r.Baseline, err = read(f.baseline); err != nil {
		return nil, err
	}
	return r, nil
}

// kubernetes gives the part of a cluster that the flags name, nil for none.
func (f *targetFlags) kubernetes() (*pb.Kubernetes, error) {
	workload := f.workload
	if f.deployment != "" {
		if workload != "" {
			return nil, usage("--deployment and --workload exclude each other")
		}
		workload = "deployment/" + f.deployment
	}
	k := &pb.Kubernetes{Cluster: f.cluster, Namespace: f.namespace, Pod: f.pod, Workload: workload, Revision: f.revision}
	switch {
	case f.namespace != "" || f.revision != "":
		return k, nil
	case f.pod != "" || workload != "":
		return nil, usage("--pod, --deployment and --workload need --namespace, the one that they are in")
	case f.cluster != "":
		return nil, usage("--context needs --namespace or --revision: what in that cluster?")
	}
	return nil, nil
}

func readArtifact(name string, stdin io.Reader, most int64) (b []byte, err error) {
	if name == "-" {
		b, err = io.ReadAll(io.LimitReader(stdin, most+1))
		if err == nil && int64(len(b)) > most {
			err = fmt.Errorf("standard input is larger than the %d MiB that all files may have together", maxArtifacts>>20)
		}
	} else if st, serr := os.Stat(name); serr == nil && st.IsDir() {
		if b, err = packFolder(name); err == nil && int64(len(b)) > most {
			err = fmt.Errorf("the folder %s has %d MiB packed; all files together may have %d", name, len(b)>>20, maxArtifacts>>20)
		}
	} else {
		if st, serr := os.Stat(name); serr == nil && st.Mode().IsRegular() && st.Size() > most {
			return nil, fmt.Errorf("%s has %d MiB; all files together may have %d", name, st.Size()>>20, maxArtifacts>>20)
		}
		b, err = readFile(name, most)
	}
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%s %w", name, pipeline.ErrEmpty)
	}
	return b, err
}

// shortName is how reports call a file: its path as given where that is short, else its last part.
func shortName(name string) string {
	if name == "-" {
		return "standard input"
	}
	const longest = 60 // leaves room for the rest of a line of 100 columns
	if len(name) > longest {
		return filepath.Base(name)
	}
	return name
}

// flagOf gives the flag behind a field of the request, for messages to people at a command line.
func flagOf(field string) string {
	if flag, ok := map[string]string{
		"target.project": "--project", "target.network": "--network", "target.mesh": "--mesh", "target.node_id": "--node-id",
		"target.vm.zone": "--zone", "target.vm.instance": "--instance", "timeout": "--timeout", "destination": "--destination", "serving_port": "--serving-port", "symptom": "--symptom",
		"target": "--project, --network, --mesh", "target.kubernetes": "--namespace, --pod, --workload, --revision",
		"target.kubernetes.cluster": "--context", "target.kubernetes.namespace": "--namespace", "target.kubernetes.pod": "--pod",
		"target.kubernetes.workload": "--workload", "target.kubernetes.revision": "--revision",
	}[strings.TrimPrefix(field, "request.")]; ok {
		return flag
	}
	return field
}
