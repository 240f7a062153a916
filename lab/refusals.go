package lab

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// The refusals that Google APIs share, with the reasons of google.api.ErrorReason
// (https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto). Domain of all of them:
const errorDomain = "googleapis.com"

func refusal(code codes.Code, message, reason string, meta map[string]string, more ...protoadapt.MessageV1) error {
	details := append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: errorDomain, Metadata: meta}}, more...)
	st, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		return status.Error(code, message)
	}
	return st.Err()
}

func errUnauthenticated(service, method string) error {
	return refusal(codes.Unauthenticated, "Request had invalid authentication credentials. Expected OAuth 2 access token, "+
		"login cookie or other valid authentication credential. See "+
		"https://developers.google.com/identity/sign-in/web/devconsole-project.",
		"ACCESS_TOKEN_INVALID", map[string]string{"service": service, "method": method})
}

func errInsufficientScopes(service, method string) error {
	return refusal(codes.PermissionDenied, "Request had insufficient authentication scopes.",
		"ACCESS_TOKEN_SCOPE_INSUFFICIENT", map[string]string{"service": service, "method": method})
}

func errPermission(permission, resource string) error {
	service, _, _ := strings.Cut(strings.TrimPrefix(resource, "//"), "/")
	return refusal(codes.PermissionDenied, fmt.Sprintf("Permission '%s' denied on resource '%s' (or it may not exist).", permission, resource),
		"IAM_PERMISSION_DENIED", map[string]string{"permission": permission, "resource": strings.TrimPrefix(resource, "//"+service+"/"), "service": service})
}

func errServiceDisabled(service, number string) error {
	url := "https://console.developers.google.com/apis/api/" + service + "/overview?project=" + number
	title := apiTitle(service)
	return refusal(codes.PermissionDenied, fmt.Sprintf("%s has not been used in project %s before or it is disabled. "+
		"Enable it by visiting %s then retry. If you enabled this API recently, wait a few minutes for the action to "+
		"propagate to our systems and retry.", title, number, url),
		"SERVICE_DISABLED", map[string]string{"service": service, "serviceTitle": title, "consumer": "projects/" + number,
			"containerInfo": number, "activationUrl": url},
		&errdetails.Help{Links: []*errdetails.Help_Link{{Description: "Google developers console API activation", Url: url}}})
}

func errUnavailable() error {
	return status.Error(codes.Unavailable, "The service is currently unavailable.")
}

func (s *Scenario) checkQuotaProject(id identity, project, service string) error {
	if project == "" {
		return nil
	}
	if !s.isProject(project) || !s.holds(id.Account, "serviceusage.services.use") {
		return refusal(codes.PermissionDenied, fmt.Sprintf("Caller does not have required permission to use project %s. "+
			"Grant the caller the roles/serviceusage.serviceUsageConsumer role, or a custom role with the "+
			"serviceusage.services.use permission.", project),
			"USER_PROJECT_DENIED", map[string]string{"consumer": "projects/" + project, "service": service})
	}
	return nil
}

func (s *Scenario) isProject(idOrNumber string) bool {
	return idOrNumber == s.Project.ID || idOrNumber == s.Project.Number
}

func (s *Scenario) apiDisabled(service string) bool {
	return slices.Contains(s.Project.DisabledAPIs, service)
}

// apiTitle is the name under which a service is listed in the console.
func apiTitle(service string) string {
	switch service {
	case trafficDirectorHost:
		return "Traffic Director API"
	case networkServicesHost:
		return "Network Services API"
	case computeHost:
		return "Compute Engine API"
	case serviceUsageHost:
		return "Service Usage API"
	case resourceManagerHost:
		return "Cloud Resource Manager API"
	case troubleshooterHost:
		return "Policy Troubleshooter API"
	case loggingHost:
		return "Cloud Logging API"
	case monitoringHost:
		return "Cloud Monitoring API"
	}
	return service
}

// Service names of the APIs that the lab plays.
const (
	computeHost         = "compute.googleapis.com"
	loggingHost         = "logging.googleapis.com"
	monitoringHost      = "monitoring.googleapis.com"
	networkServicesHost = "networkservices.googleapis.com"
	serviceUsageHost    = "serviceusage.googleapis.com"
	resourceManagerHost = "cloudresourcemanager.googleapis.com"
	troubleshooterHost  = "policytroubleshooter.googleapis.com"
)

// errQuota is the refusal of who asks too often.
func errQuota(number string) error {
	return status.Errorf(codes.ResourceExhausted, "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service '%s' for consumer 'project_number:%s'.",
		trafficDirectorHost, number)
}
