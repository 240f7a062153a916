// Package checks is the catalogue: every check that meshdiag knows.
package checks

import (
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/checks/controlplane"
	"github.com/meshdiag/meshdiag/checks/xds"
	"github.com/meshdiag/meshdiag/diagnose"
)

// All gives every check, sorted by ID. An ID that was once given stays: bots key on them.
func All() []diagnose.Check {
	return []diagnose.Check{
		config.BootstrapIncomplete,
		config.BootstrapPlaceholder,
		config.InterceptionPortMissing,
		config.MeshHasNoRoutes,
		config.MeshNotFound,
		config.MetadataFilterMismatch,
		config.NetworkMismatch,
		config.NoForwardingRule,
		config.NotFoundLogged,
		config.ProjectNumberMismatch,
		config.ProxylessValidation,
		config.ServiceProxyNetworkMismatch,
		controlplane.APIDisabled,
		controlplane.ClientNotConnected,
		controlplane.ClockSkew,
		controlplane.DNSFailure,
		controlplane.DNSUnexpectedAddress,
		controlplane.EnvoyTooOld,
		controlplane.GRPCBlocked,
		controlplane.InvalidCredentials,
		controlplane.MissingOAuthScope,
		controlplane.MissingPermission,
		controlplane.NoClientConnected,
		controlplane.NoServiceAccount,
		controlplane.QuotaExhausted,
		controlplane.StreamErrors,
		controlplane.TCPBlocked,
		controlplane.TLSFailure,
		controlplane.XDSv2,
		xds.AccessLogUnwritable,
		xds.AddressInUse,
		xds.ConfigNotSent,
		xds.ConfigRejected,
		xds.ConfigStale,
		xds.PrivilegedPort,
		xds.ResourceMissing,
	}
}

// Signatures gives the log messages that the checks know, each once, sorted by ID.
func Signatures() []diagnose.Signature {
	var out []diagnose.Signature
	for _, c := range All() {
		out = append(out, c.Signatures...)
	}
	slices.SortStableFunc(out, func(a, b diagnose.Signature) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(out, func(a, b diagnose.Signature) bool { return a.ID == b.ID })
}
