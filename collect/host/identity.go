package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/collect/probe"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// errNotThere is the metadata server's answer for what the VM doesn't have.
var errNotThere = errors.New("not there")

// identity asks the metadata server who the workload is. It never asks for a token.
// https://docs.cloud.google.com/compute/docs/metadata/predefined-metadata-keys
func (r *recording) identity(ctx context.Context) ([]bundle.Item, any) {
	item := bundle.Item{Name: bundle.ItemIdentity, Status: bundle.Read}
	client := &http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	d := bundle.Identity{Head: bundle.Head{Kind: bundle.KindIdentity, Version: bundle.Version}}
	number, err := r.metadata(ctx, client, "project/numeric-project-id")
	if err != nil {
		item.Status, item.Reason = bundle.Unread, fmt.Sprintf("the metadata server (%s): %s", r.cfg.MetadataURL, err)
		return []bundle.Item{item}, nil
	}
	d.Number = number
	fail := func(what string, err error) {
		if err != nil {
			item.Status, item.Reason = bundle.Partial, join(item.Reason, what+": "+err.Error())
		}
	}
	d.Project, err = r.metadata(ctx, client, "project/project-id")
	fail("project ID", err)
	r.machine(ctx, client, &d, fail)
	d.Email, err = r.metadata(ctx, client, "instance/service-accounts/default/email")
	if errors.Is(err, errNotThere) {
		return []bundle.Item{item}, d // a VM without a service account
	}
	if err != nil {
		item.Status, item.Reason = bundle.Unread, "service account: "+err.Error() // an empty address would tell that there is none
		return []bundle.Item{item}, nil
	}
	scopes, err := r.metadata(ctx, client, "instance/service-accounts/default/scopes")
	if err != nil && !errors.Is(err, errNotThere) {
		item.Status, item.Reason = bundle.Unread, "scopes: "+err.Error()
		return []bundle.Item{item}, nil
	}
	d.Scopes = slices.Sorted(strings.FieldsSeq(scopes))
	return []bundle.Item{item}, d
}

// machine reads which VM this is. What the server doesn't have, as GKE's doesn't in a pod, stays empty.
func (r *recording) machine(ctx context.Context, client *http.Client, d *bundle.Identity, fail func(string, error)) {
	read := func(what, key string) string {
		v, err := r.metadata(ctx, client, key)
		if !errors.Is(err, errNotThere) {
			fail(what, err)
		}
		return v
	}
	d.Zone = evidence.LastSegment(read("zone", "instance/zone")) // "projects/NUMBER/zones/ZONE"
	d.Instance = read("VM's name", "instance/name")
	d.InstanceID = read("VM's number", "instance/id")
	if a, err := netip.ParseAddr(read("VM's address", "instance/network-interfaces/0/ip")); err == nil {
		d.Address = a
	}
}

// metadata reads one value. What doesn't answer with the server's own header isn't it.
func (r *recording) metadata(ctx context.Context, client *http.Client, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(r.cfg.MetadataURL, "/")+"/computeMetadata/v1/"+key, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Metadata-Flavor", "Google")
	resp, err := client.Do(req)
	if err != nil {
		return "", plain(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as wanted
	switch {
	case resp.Header.Get("Metadata-Flavor") != "Google":
		return "", errors.New("what answers there is no metadata server")
	case resp.StatusCode == http.StatusNotFound:
		return "", errNotThere
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("HTTP %s", resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // a list of scopes has a few hundred bytes
	if err != nil {
		return "", plain(err)
	}
	return strings.TrimSpace(string(b)), nil
}

// probes tries the way to the control plane from here, as the service does from where it runs.
func (r *recording) probes(ctx context.Context) ([]bundle.Item, any) {
	set := evidence.NewSet()
	for _, c := range r.prober.Collectors() {
		r.probeOnce(ctx, c, set)
	}
	d := bundle.NewProbes(cmp.Or(r.cfg.Probe.Endpoint, probe.DefaultEndpoint), set)
	item := bundle.Item{Name: bundle.ItemProbes, Status: bundle.Read}
	var late []string
	for _, o := range set.Observations() {
		if !o.Known() {
			late = append(late, string(o.Name))
		}
	}
	if len(late) > 0 {
		// Mostly they are those behind a first one that failed, whose result says why; the document has every reason.
		item.Status, item.Reason = bundle.Partial, "could not be made: "+strings.Join(late, ", ")
	}
	return []bundle.Item{item}, d
}

// probeOnce runs one collector as the engine would.
func (r *recording) probeOnce(ctx context.Context, c diagnose.Collector, set *evidence.Set) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	err := c.Collect(ctx, diagnose.Request{}, evidence.NewView(set), set)
	if err == nil {
		return
	}
	for _, n := range c.Provides {
		if !set.Has(n) {
			set.Fail(n, evidence.Source{Collector: c.Name, Vantage: evidence.FromWorkload, Time: r.cfg.Now()}, err)
		}
	}
}
