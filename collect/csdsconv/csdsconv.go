// Package csdsconv turns CSDS answers into evidence, the same way for those of a live control plane and those from a file.
package csdsconv

import (
	"maps"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/xdsclient"
)

// Client converts the node that a client introduced itself with.
func Client(n xdsclient.Node) evidence.Client {
	return evidence.Client{
		NodeID:           n.ID,
		Cluster:          n.Cluster,
		UserAgentName:    n.UserAgentName,
		UserAgentVersion: n.UserAgentVersion,
		Metadata:         maps.Clone(n.Metadata),
		Region:           n.Locality.Region,
		Zone:             n.Locality.Zone,
	}
}

// ClientStatus converts one sample of one client's resources. It was taken at src.Time.
func ClientStatus(c xdsclient.ClientConfig, src evidence.Source) evidence.ClientStatus {
	out := evidence.ClientStatus{Client: Client(c.Node), ClientScope: c.ClientScope, Asked: src.Time, Source: src}
	for _, r := range c.Resources {
		e := evidence.Resource{
			TypeURL:     r.TypeURL,
			Name:        r.Name,
			Version:     r.Version,
			Server:      serverView(r.ConfigStatus),
			Client:      clientView(r.ClientStatus),
			LastUpdated: r.LastUpdated,
			Static:      r.Static,
			Samples:     1,
		}
		if r.Error != nil {
			e.Reason, e.ReasonTime = r.Error.Details, r.Error.LastAttempt
		}
		out.Resources = append(out.Resources, e)
	}
	return out
}

// serverView maps the control plane's view. A value from a later version of the API tells nothing, like UNKNOWN.
func serverView(s xdsclient.ConfigStatus) evidence.ConfigStatus {
	switch s {
	case xdsclient.ConfigStatusAbsent:
		return evidence.ServerViewAbsent
	case xdsclient.ConfigStatusSynced:
		return evidence.Synced
	case xdsclient.ConfigStatusNotSent:
		return evidence.NotSent
	case xdsclient.ConfigStatusStale:
		return evidence.Stale
	case xdsclient.ConfigStatusError:
		return evidence.Error
	}
	return evidence.ServerUnknown
}

// clientView maps the client's own view. A value from a later version of the API tells nothing, like UNKNOWN.
func clientView(s xdsclient.ClientStatus) evidence.ResourceStatus {
	switch s {
	case xdsclient.ClientStatusAbsent:
		return evidence.ClientViewAbsent
	case xdsclient.ClientStatusRequested:
		return evidence.Requested
	case xdsclient.ClientStatusDoesNotExist:
		return evidence.DoesNotExist
	case xdsclient.ClientStatusAcked:
		return evidence.Acked
	case xdsclient.ClientStatusNacked:
		return evidence.Nacked
	case xdsclient.ClientStatusReceivedError:
		return evidence.ReceivedError
	case xdsclient.ClientStatusTimeout:
		return evidence.TimedOut
	}
	return evidence.ClientUnknown
}
