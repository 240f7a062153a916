package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// statsFilter limits /stats to what tells of configuration and health: a proxy has tens of thousands of others.
const statsFilter = `^(control_plane|cluster_manager|listener_manager|server)\.|\.(update_(success|rejected|failure|attempt)|init_fetch_timeout|membership_(total|healthy)|` +
	`no_filter_chain_match|upstream_cx_(connect_fail|none_healthy)|ssl\.connection_error|no_route)$`

// adminPages are what the admin interface is asked for, always with GET.
// https://www.envoyproxy.io/docs/envoy/latest/operations/admin
func adminPages() []struct {
	item, path, file string
	most             int64
} {
	return []struct {
		item, path, file string
		most             int64
	}{
		{bundle.ItemServerInfo, "/server_info", "server_info.json", maxAdmin},
		{bundle.ItemConfigDump, "/config_dump?include_eds", "config_dump.json", maxDump},
		{bundle.ItemClusters, "/clusters?format=json", "clusters.json", maxAdmin},
		{bundle.ItemListeners, "/listeners?format=json", "listeners.json", maxAdmin},
		{bundle.ItemStats, "/stats?filter=" + url.QueryEscape(statsFilter), "stats.txt", maxAdmin},
		{bundle.ItemInitDump, "/init_dump", "init_dump.json", maxAdmin},
		{bundle.ItemCerts, "/certs", "certs.json", maxAdmin},
	}
}

// admin asks the admin interface of every Envoy: where the bootstraps say it is, else at the usual ports.
func (r *recording) admin(ctx context.Context) {
	client := &http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: metadataTimeout}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it might lead off the machine
	}
	for _, p := range r.pipes {
		r.unread(bundle.ItemEnvoyAccess, "the admin interface is the pipe %s, which isn't asked", p)
	}
	told := map[string]bool{}
	asked := 0
	for _, a := range r.addresses {
		address, reason := ask(a.address)
		switch {
		case reason != "":
			r.unread(bundle.ItemEnvoyAccess, "%s", reason)
			asked++
			continue
		case told[address]:
			continue
		}
		told[address] = true
		if own := r.foreign(a.of); own != "" {
			r.unread(bundle.ItemEnvoyAccess, "%s", own)
			asked++
			continue
		}
		if len(told) > maxProxies {
			r.unread(bundle.ItemEnvoyAccess, "%s: only %d admin interfaces are asked", address, maxProxies)
			break
		}
		asked++
		folder := fmt.Sprintf("envoy-%d", a.of.PID)
		if r.belongs(a.of) == evidence.Unclear {
			folder = "envoy-port-" + address[strings.LastIndexByte(address, ':')+1:] // another Envoy may answer there
		}
		if err := r.askEnvoy(ctx, client, address, folder); err != nil {
			r.unread(bundle.ItemEnvoyAccess, "Envoy (process %d) at %s: %s", a.of.PID, address, err)
		}
	}
	if asked > 0 || len(r.pipes) > 0 {
		return
	}
	// No bootstrap told: an Envoy in a container of the same pod is reachable though its process can't be seen.
	reason := ""
	for _, port := range r.cfg.AdminPorts {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		err := r.askEnvoy(ctx, client, address, fmt.Sprintf("envoy-port-%d", port))
		if err == nil {
			return
		}
		reason = join(reason, address+": "+err.Error())
	}
	if len(r.proxies) > 0 {
		r.unread(bundle.ItemEnvoyAccess, "%s", join(reason, r.foreignProxies()))
	} else {
		r.absent(bundle.ItemEnvoyAccess, "no Envoy is seen here; %s", reason)
	}
}

// askEnvoy takes every page of one admin interface. The error says why it is none.
func (r *recording) askEnvoy(ctx context.Context, client *http.Client, address, folder string) error {
	for i, page := range adminPages() {
		body, cut, err := r.get(ctx, client, "http://"+address+page.path, page.most)
		if i == 0 {
			// Whatever else listens there is not asked further.
			if err != nil {
				return err
			}
			if _, err := envoy.ParseServerInfo(body); err != nil {
				return errors.New("what answers there is no Envoy's admin interface")
			}
		}
		switch {
		case err != nil:
			r.unread(page.item, "%s: %s", address, err)
			continue
		case strings.HasPrefix(page.path, "/config_dump"):
			r.findAccessLogs(body, r.proxyAt(folder))
		}
		item := bundle.Item{Name: page.item, Status: bundle.Read}
		if cut {
			item.Status, item.Reason = bundle.Partial, fmt.Sprintf("%s: only the first %d MiB are taken", address, page.most>>20)
		}
		if len(body) == 0 {
			item.Status, item.Reason = bundle.Absent, address+": an empty answer"
			r.item(item)
			continue
		}
		r.item(item, bundle.File{Name: r.unused(folder + "/" + page.file), Data: body})
	}
	return nil
}

// proxyAt gives the proxy whose files lie in a folder of the bundle; where none is known, one without a process.
func (r *recording) proxyAt(folder string) process {
	i := slices.IndexFunc(r.proxies, func(p process) bool { return fmt.Sprintf("envoy-%d", p.PID) == folder })
	if i < 0 {
		return process{}
	}
	return r.proxies[i]
}

// get reads one page, up to most bytes. A page that isn't there is an error.
func (r *recording) get(ctx context.Context, client *http.Client, address string, most int64) (body []byte, cut bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, itemTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, false, plain(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as wanted
	if resp.StatusCode != http.StatusOK {
		return nil, false, fmt.Errorf("HTTP %s", resp.Status)
	}
	if body, err = io.ReadAll(io.LimitReader(resp.Body, most+1)); err != nil {
		return nil, false, plain(err)
	}
	if int64(len(body)) > most {
		return body[:most], true, nil
	}
	return body, false, nil
}

// plain gives a request's error in a few words.
func plain(err error) error {
	var ne net.Error
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("the name %s doesn't resolve", dns.Name)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return errors.New("no answer in time")
	}
	var ue *url.Error
	if errors.As(err, &ue) { // its text repeats the URL
		err = ue.Err
	}
	return errors.New(oneLine(err.Error()))
}
