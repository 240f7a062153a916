package gcp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// computeViewer is the narrowest predefined role that may read everything of a VM and its effective firewall.
	// https://docs.cloud.google.com/iam/docs/roles-permissions/compute#compute.viewer
	computeViewer = "roles/compute.viewer"
	// guestNamespace is where the agent of Cloud Service Mesh reports.
	guestNamespace = "gce-service-proxy"
	// firstSerialPort is where the system and start-up scripts write.
	firstSerialPort = 1
	// maxSerial bounds what is read of a serial port's output, of which a megabyte is kept: the last start-up and what came
	// after it.
	maxSerial = 64 << 10
)

// vmAccess is a call about the VM asked about.
func vmAccess(t diagnose.Target, what, method string) access {
	return access{
		what: fmt.Sprintf("%s of VM %s/%s of project %s", what, t.Zone, t.Instance, t.Project), method: "compute.instances." + method,
		project: t.Project, permission: "compute.instances." + method, role: computeViewer,
	}
}

func checkZone(t diagnose.Target) error {
	if t.Zone == "" {
		return fmt.Errorf("target.zone: the zone of VM %s is needed", t.Instance)
	}
	return nil
}

// noInstance says whether a 404 is about the VM itself, and not about something of it.
func noInstance(err error, instance string) bool {
	return notFound(err) && strings.Contains(err.Error(), "/instances/"+instance+"' was not found")
}

// collectGuestAttributes reads what the VM's agent reports of itself. 404 is the answer where nothing was reported, and where
// guest attributes are off: a set without values.
func (a *API) collectGuestAttributes(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	t := req.Target
	if err := checkZone(t); err != nil {
		return err
	}
	acc := vmAccess(t, "the guest attributes", "getGuestAttributes")
	out := evidence.GuestAttributeSet{Instance: t.Instance, Zone: t.Zone, Source: a.source(acc.method)}
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		got, err := c.Instances.GetGuestAttributes(t.Project, t.Zone, t.Instance).QueryPath(guestNamespace + "/").Context(ctx).Do()
		if err != nil {
			return err
		}
		if got.QueryValue == nil {
			return errors.New("the answer holds no queryValue")
		}
		out.Values = map[string]string{}
		for _, i := range got.QueryValue.Items {
			if i != nil && (i.Namespace == "" || i.Namespace == guestNamespace) {
				out.Values[i.Key] = i.Value
			}
		}
		return nil
	})
	switch {
	case noInstance(err, t.Instance):
		err = fmt.Errorf("there is no VM %s in zone %s of project %s: %w", t.Instance, t.Zone, t.Project, err)
	case notFound(err):
		out.Values, err = nil, nil
	}
	put(ctx, a, set, evidence.GuestAttributes, out, acc.method, err)
	return nil
}

// collectProjectMetadata reads the metadata that all VMs of the project share.
func (a *API) collectProjectMetadata(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	project := req.Target.Project
	acc := access{
		what: "the common instance metadata of project " + project, method: "compute.projects.get", project: project,
		permission: "compute.projects.get", role: networkViewer,
	}
	out := map[string]string{}
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		p, err := c.Projects.Get(project).Context(ctx).Do()
		if err != nil {
			return err
		}
		if p.Name == "" {
			return errors.New("the answer names no project")
		}
		if p.CommonInstanceMetadata == nil {
			return nil
		}
		for _, i := range p.CommonInstanceMetadata.Items {
			if i == nil {
				continue
			}
			out[i.Key] = ""
			if i.Value != nil {
				out[i.Key] = *i.Value
			}
		}
		return nil
	})
	put(ctx, a, set, evidence.ProjectMetadata, out, acc.method, err)
	return nil
}

// collectSerialPort reads the end of what the VM wrote to its first serial port, and looks for known messages in it.
func (a *API) collectSerialPort(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	t := req.Target
	if err := checkZone(t); err != nil {
		return err
	}
	acc := vmAccess(t, "the serial port output", "getSerialPortOutput")
	out := evidence.SerialPort{Instance: t.Instance, Port: firstSerialPort, Source: a.source(acc.method)}
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		// A negative start counts from the end.
		got, err := c.Instances.GetSerialPortOutput(t.Project, t.Zone, t.Instance).Port(firstSerialPort).Start(-maxSerial).Context(ctx).Do()
		if err != nil {
			return err
		}
		out.Text, out.Cut = got.Contents, got.Start > 0
		return nil
	})
	if err != nil {
		a.fail(ctx, set, evidence.SerialPorts.Name(), acc.method, err)
		return nil
	}
	if len(out.Text) > maxSerial {
		out.Text, out.Cut = out.Text[len(out.Text)-maxSerial:], true
	}
	if out.Cut { // the first line isn't whole
		if _, rest, ok := strings.Cut(out.Text, "\n"); ok {
			out.Text = rest
		}
	}
	out.Text = strings.ToValidUTF8(out.Text, "\uFFFD")
	evidence.Put(set, evidence.SerialPorts, []evidence.SerialPort{out}, out.Source)
	if a.cfg.Scanner == nil {
		return nil
	}
	file := fmt.Sprintf("serial port %d of VM %s", firstSerialPort, t.Instance)
	found, _, err := a.cfg.Scanner.Scan(strings.NewReader(out.Text), file, out.Source)
	if err != nil {
		return fmt.Errorf("looking for messages: %w", err)
	}
	if len(found) > 0 { // without any it says nothing of logs: a proxy doesn't write here
		evidence.Put(set, evidence.LogMessages, found, out.Source)
	}
	return nil
}
