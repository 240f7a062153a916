// Package checks is the catalogue: every check that meshdiag knows.
package checks

import (
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/backend"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/checks/controlplane"
	"github.com/meshdiag/meshdiag/checks/injection"
	"github.com/meshdiag/meshdiag/checks/istiod"
	"github.com/meshdiag/meshdiag/checks/proxyless"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/checks/startup"
	"github.com/meshdiag/meshdiag/checks/traffic"
	"github.com/meshdiag/meshdiag/checks/vm"
	"github.com/meshdiag/meshdiag/checks/webhook"
	"github.com/meshdiag/meshdiag/checks/xds"
	"github.com/meshdiag/meshdiag/diagnose"
)

// All gives every check, sorted by ID. An ID that was once given stays: bots key on them.
func All() []diagnose.Check {
	return []diagnose.Check{
		backend.FailOpen,
		backend.HealthCheckBlocked,
		backend.HealthCheckMismatch,
		backend.NoBackends,
		backend.SomeUnhealthy,
		config.BootstrapIncomplete,
		config.BootstrapPlaceholder,
		config.InjectorConfigMapMismatch,
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
		controlplane.APIErrors,
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
		controlplane.TrafficLoopsToProxy,
		controlplane.XDSv2,
		injection.AnnotationHasNoEffect,
		injection.ConflictingLabels,
		injection.Disabled,
		injection.HostNetwork,
		injection.ImageAuto,
		injection.InjectorFailed,
		injection.LabelTypo,
		injection.ManagedControlPlane,
		injection.MultipleWebhooks,
		injection.NotSelected,
		injection.PodPredatesInjection,
		injection.RevisionNotInstalled,
		injection.SidecarMissing,
		injection.WebhookMissing,
		istiod.ConfigNotReceived,
		istiod.ConfigRejected,
		istiod.NotReady,
		istiod.RBACDenied,
		istiod.UnsyncedProxies,
		istiod.WrongDiscoveryAddress,
		proxyless.AuthorityUnknown,
		proxyless.BootstrapInvalid,
		proxyless.BootstrapMissing,
		proxyless.ProducedZeroAddresses,
		proxyless.TargetNotMatched,
		request.EgressBlackholed,
		request.MTLSMismatch,
		request.NoHealthyUpstream,
		request.NoRoute,
		request.RBACDenied,
		request.ShutdownRace,
		request.Timeout,
		request.UpstreamRefused,
		startup.InitContainerBlocked,
		startup.IstioInitFailed,
		startup.JobNeverCompletes,
		startup.ProxyNotReady,
		startup.ProxyOOM,
		startup.ProxyReadinessTimeout,
		startup.ReplicaSetCreateFailed,
		traffic.EndpointUnreachable,
		traffic.ExcludedDestination,
		traffic.InboundPortDropped,
		traffic.InboundPortNotIntercepted,
		traffic.OutboundNotIntercepted,
		traffic.RedirectPortMismatch,
		traffic.ServerFirstProtocol,
		traffic.VIPNotIntercepted,
		vm.AgentDead,
		vm.AgentFailure,
		vm.BootstrapFailed,
		vm.BootstrapInProgress,
		vm.BootstrapNotStarted,
		vm.BootstrapSourceUnreachable,
		vm.EnvoyNotLive,
		vm.EnvoyNotRunning,
		vm.GuestAttributesDisabled,
		vm.IPv6ModulesMissing,
		vm.NotRunning,
		vm.NotServiceProxy,
		vm.SerialLogErrors,
		webhook.CABundleInvalid,
		webhook.CABundleMissing,
		webhook.CannotSwitchToFailClosed,
		webhook.CertificateNameMismatch,
		webhook.ConnectionBroken,
		webhook.Denied,
		webhook.NoEndpoints,
		webhook.ServiceNotFound,
		webhook.StaleWebhook,
		webhook.Unreachable,
		webhook.UntrustedCertificate,
		webhook.UpdateConflict,
		xds.AccessLogUnwritable,
		xds.AddressInUse,
		xds.BaselineDifference,
		xds.ClusterNotFound,
		xds.ConfigNotSent,
		xds.ConfigRejected,
		xds.ConfigStale,
		xds.DestinationNotConfigured,
		xds.EndpointsUnhealthy,
		xds.InboundPortNotConfigured,
		xds.InitialFetchTimeout,
		xds.InvalidEnvoyFilter,
		xds.ListenerWarming,
		xds.NoDynamicConfig,
		xds.NoEndpoints,
		xds.PrivilegedPort,
		xds.ResourceMissing,
		xds.RouteNotFound,
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
