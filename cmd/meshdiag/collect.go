package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/collect/host"
	"github.com/meshdiag/meshdiag/collect/probe"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/xdsclient"
)

// collectFlags say where a recording is made, and where it goes.
type collectFlags struct {
	bundle, send  string
	diagnose      bool
	root          string
	metadata      string
	adminPorts    []int
	recordTimeout time.Duration
}

func (f *collectFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.bundle, "bundle", "o", "", "write the recording to `FILE`, a tar.gz that diagnose -f takes")
	fs.StringVar(&f.send, "send", "", "have it diagnosed by the meshdiag at `HOST:PORT`")
	fs.BoolVar(&f.diagnose, "diagnose", false, "diagnose it here and now")
	fs.StringVar(&f.root, "root", "/", "`FOLDER` where the host's files are mounted")
	fs.StringVar(&f.metadata, "metadata-server", host.DefaultMetadataURL, "base `URL` of the metadata server")
	fs.IntSliceVar(&f.adminPorts, "admin-port", nil, "`PORT` of Envoy's admin interface on loopback where no bootstrap tells (default 15000 and 9901); repeatable")
	fs.DurationVar(&f.recordTimeout, "record-timeout", host.DefaultTimeout, "how long the recording may take")
}

func newCollect() *cobra.Command {
	var from collectFlags
	var target targetFlags
	var conn connectionFlags
	var server serverFlags
	var out outputFlags
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Record what a VM or a pod shows of its mesh; run it there",
		Long: `collect records what can be seen of a mesh from the VM, or from inside the pod's network, that it runs on: processes and
listening sockets, packet filter rules, Envoy's admin interface, bootstraps, logs, and the way to the control plane.

It changes nothing, and needs root only for what only root may read: what it couldn't read is listed. Tokens, passwords and
private keys are taken out before anything is written or sent. A recording that is too large for a diagnosis is made smaller: the
oldest parts of logs go first, then pages of Envoy's that tell least; it says which.`,
		Example: `  sudo meshdiag collect -o bundle.tar.gz
  sudo meshdiag collect --send meshdiag.example.com:443 --project mesh-prod --network mesh-vpc
  sudo meshdiag collect --diagnose --destination 10.0.0.1:80`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case from.bundle == "" && from.send == "" && !from.diagnose:
				return usage("where does the recording go? Name a file with -o, a server with --send, or --diagnose")
			case from.send != "" && from.diagnose:
				return usage("--send and --diagnose exclude each other")
			}
			server.address = from.send
			if err := out.check(); err != nil {
				return err
			}
			// What is wrong with the flags is told before anything is recorded.
			recording := &pb.Artifact{}
			var req *pb.DiagnoseRequest
			connect := func(ctx context.Context) (*connected, error) {
				c, err := conn.connection()
				if err != nil {
					return nil, err
				}
				return inProcess(ctx, c)
			}
			if from.send != "" || from.diagnose {
				var err error
				if req, err = target.request(cmd.InOrStdin(), recording); err != nil {
					return err
				}
			}
			if from.send != "" {
				c, err := server.connect(cmd.Context())
				if err != nil {
					return asExit(err)
				}
				connect = func(context.Context) (*connected, error) { return c, nil }
			}
			// Other files of the request take their part of what a request may hold.
			most := maxArtifacts
			for _, a := range append(req.GetArtifacts(), req.GetBaseline()...) {
				most -= len(a.GetData())
			}
			b, err := from.record(cmd, conn)
			if err != nil {
				return err
			}
			packed, err := b.Packed(most)
			var large *bundle.TooLarge
			if err != nil && !errors.As(err, &large) {
				return failed(err)
			}
			fmt.Fprint(cmd.ErrOrStderr(), told(b))
			if from.bundle != "" {
				if err := writePrivately(from.bundle, packed); err != nil {
					return failed(fmt.Errorf("writing the recording: %w", err))
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s, %d KiB\n", from.bundle, fmt.Sprint(len(b.Files)+1, " files"), (len(packed)+1023)>>10)
			}
			if large != nil {
				advice := "unpack it, and hand in the folder with diagnose -f, without the largest"
				if from.bundle == "" {
					advice = "write it with -o, " + advice
				}
				if req != nil && len(req.GetArtifacts())+len(req.GetBaseline()) > 1 {
					advice = "hand in fewer files beside it, or " + advice
				}
				return failed(fmt.Errorf("the recording is too large for a diagnosis: it %w: %s", large, advice))
			}
			if req == nil {
				return nil
			}
			recording.Name, recording.Data = b.Manifest.Hostname+".tar.gz", packed
			return diagnoseAndPrint(cmd, connect, req, out, nil)
		},
	}
	from.add(cmd)
	target.add(cmd)
	conn.add(cmd)
	server.name = "send"
	server.addTLS(cmd)
	out.addAs(cmd, "format", "")
	return cmd
}

// probing says how the control plane is probed, by the connection's flags.
func probing(conn connectionFlags) (probe.Config, error) {
	c, err := conn.connection()
	if err != nil {
		return probe.Config{}, err
	}
	tlsConfig, err := xdsclient.TLSConfig(c.CAFile)
	if err != nil {
		return probe.Config{}, usage("--ca-file: %v", err)
	}
	var roots *x509.CertPool
	if tlsConfig != nil {
		roots = tlsConfig.RootCAs
	}
	out := probe.Config{Endpoint: c.TrafficDirectorEndpoint, ExpectedRanges: c.Ranges, RootCAs: roots}
	if c.DNSServer != "" {
		out.Resolvers = []string{c.DNSServer}
	}
	return out, nil
}

// record makes the recording.
func (f *collectFlags) record(cmd *cobra.Command, conn connectionFlags) (*bundle.Bundle, error) {
	probes, err := probing(conn)
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(f.root); err != nil || !st.IsDir() {
		return nil, usage("--root %q is not a folder", f.root)
	}
	r, err := host.New(host.Config{Root: f.root, MetadataURL: f.metadata, AdminPorts: f.adminPorts, Probe: probes, Timeout: f.recordTimeout, Program: "meshdiag " + version()})
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	b, err := r.Record(cmd.Context())
	if err != nil {
		return nil, failed(err)
	}
	return b, nil
}

// told says what could not be read.
func told(b *bundle.Bundle) string {
	unread := b.Manifest.Unread()
	if len(unread) == 0 {
		return ""
	}
	out := "Not read, or not wholly:\n"
	for _, u := range unread {
		out += "  " + u + "\n"
	}
	return out
}

// writePrivately writes a file that only its owner may read, all at once: whoever looks sees the old file or the new one.
func writePrivately(name string, data []byte) (err error) {
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no plain file", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
