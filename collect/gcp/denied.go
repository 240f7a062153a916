package gcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"google.golang.org/api/googleapi"

	"github.com/meshdiag/meshdiag/evidence"
)

// info is google.rpc.ErrorInfo as it comes in an error's details.
// https://docs.cloud.google.com/apis/design/errors#error_info
type info struct {
	Type     string            `json:"@type"`
	Reason   string            `json:"reason"`
	Metadata map[string]string `json:"metadata"`
}

func errorInfo(ge *googleapi.Error) info {
	for _, d := range ge.Details {
		raw, err := json.Marshal(d)
		if err != nil {
			continue
		}
		var i info
		if json.Unmarshal(raw, &i) == nil && strings.HasSuffix(i.Type, "/google.rpc.ErrorInfo") {
			return i
		}
	}
	return info{}
}

// The reasons of google.api.ErrorReason that need another remedy than a role.
// https://docs.cloud.google.com/service-infrastructure/docs/service-control/reference/rpc/google.api
const (
	reasonServiceDisabled = "SERVICE_DISABLED"
	reasonScope           = "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
	reasonUserProject     = "USER_PROJECT_DENIED"
	reasonPerimeter       = "SECURITY_POLICY_VIOLATED"
	reasonNotConfigured   = "accessNotConfigured" // the older form of SERVICE_DISABLED, in errors[].reason
)

// The projects of gcloud's and Application Default Credentials' own OAuth clients: a disabled API "in" them means that the
// credentials name no project of the caller's to charge.
var googleOwnProjects = map[string]bool{"764086051850": true, "32555940559": true}

// requiredPermission is how compute names what is missing: "Required 'compute.urlMaps.list' permission for 'projects/p'".
var requiredPermission = regexp.MustCompile(`Required '([A-Za-z]+(?:\.[A-Za-z_]+){2})' permission`)

// explain says what was being read when err came, and makes a refusal an evidence.Denied with its remedy.
func (a *API) explain(acc access, err error) error {
	var ge *googleapi.Error
	if !errors.As(err, &ge) {
		return fmt.Errorf("reading %s with %s: %w", acc.what, acc.method, err)
	}
	if (ge.Code != http.StatusForbidden && ge.Code != http.StatusUnauthorized) || rateLimited(ge) {
		return fmt.Errorf("reading %s with %s: HTTP %d: %w", acc.what, acc.method, ge.Code, &apiError{ge})
	}
	d := &evidence.Denied{What: acc.what, Err: &apiError{ge}}
	i := errorInfo(ge)
	reason := i.Reason
	if reason == "" && len(ge.Errors) > 0 {
		reason = ge.Errors[0].Reason
	}
	switch {
	case ge.Code == http.StatusUnauthorized:
		d.What += ": the credentials were not accepted"
		if !strings.HasSuffix(a.cfg.Principal, ".gserviceaccount.com") {
			d.Command = "gcloud auth application-default login"
		}
	case reason == reasonServiceDisabled || reason == reasonNotConfigured:
		service := i.Metadata["service"]
		if service == "" {
			service, _, _ = strings.Cut(acc.method, ".")
			service += ".googleapis.com"
		}
		project := strings.TrimPrefix(i.Metadata["consumer"], "projects/")
		if project == "" {
			project = acc.project
		}
		d.What += fmt.Sprintf(": %s is not enabled in project %s", service, project)
		d.Command = "gcloud services enable " + quote(service) + " --project=" + quote(project)
		if googleOwnProjects[project] {
			d.Command = "gcloud auth application-default set-quota-project " + quote(acc.project)
		}
	case reason == reasonScope:
		d.What += ": the credentials lack the OAuth scope https://www.googleapis.com/auth/cloud-platform"
		if !strings.HasSuffix(a.cfg.Principal, ".gserviceaccount.com") {
			d.Command = "gcloud auth application-default login --scopes=https://www.googleapis.com/auth/cloud-platform"
		}
	case reason == reasonUserProject:
		project := strings.TrimPrefix(i.Metadata["consumer"], "projects/")
		if project == "" {
			project = a.cfg.QuotaProject
		}
		d.What += fmt.Sprintf(": project %s may not be charged for the call", project)
		d.Permission, d.Role = "serviceusage.services.use", "roles/serviceusage.serviceUsageConsumer"
		d.Command = a.grant(project, d.Role)
	case reason == reasonPerimeter:
		d.What += ": a VPC Service Controls perimeter refuses it"
	default:
		d.Permission, d.Role = acc.permission, acc.role
		named := i.Metadata["permission"]
		if m := requiredPermission.FindStringSubmatch(ge.Message); named == "" && m != nil {
			named = m[1]
		}
		if named != "" && named != acc.permission {
			d.Permission = named
			if service(named) != service(acc.permission) {
				d.Role = "" // which role has it isn't known here
			}
		}
		if d.Role != "" {
			d.Command = a.grant(acc.project, d.Role)
		}
	}
	return d
}

func service(permission string) string { s, _, _ := strings.Cut(permission, "."); return s }

// apiError is an API's error in one line; its own text would be several, with every detail.
type apiError struct{ api *googleapi.Error }

func (e *apiError) Error() string {
	msg, _, _ := strings.Cut(e.api.Message, "\n")
	if msg == "" {
		msg = http.StatusText(e.api.Code)
	}
	const sane = 300 // a line or three on a terminal
	if len(msg) > sane {
		msg = strings.ToValidUTF8(msg[:sane], "") + "…"
	}
	return msg
}

// Unwrap gives the error as the API's client made it.
func (e *apiError) Unwrap() error { return e.api }

// grant gives the command that grants the caller a role on a project.
func (a *API) grant(project, role string) string {
	// --condition=None keeps gcloud from asking where the policy holds conditions.
	return "gcloud projects add-iam-policy-binding " + quote(project) + " --member=" + quote(a.member()) + " --role=" + role + " --condition=None"
}

func (a *API) member() string {
	p := a.cfg.Principal
	switch {
	case p == "":
		return "user:YOU"
	case strings.Contains(p, ":"):
		return p
	case strings.HasSuffix(p, ".gserviceaccount.com"):
		return "serviceAccount:" + p
	default:
		return "user:" + p
	}
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,~][A-Za-z0-9_./:@%+=,~-]*$`)

// quote makes one word of s for a POSIX shell.
func quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// notFound says whether an API answered 404.
func notFound(err error) bool { return hasCode(err, http.StatusNotFound) }

func hasCode(err error, codes ...int) bool {
	var ge *googleapi.Error
	if !errors.As(err, &ge) {
		return false
	}
	for _, c := range codes {
		if ge.Code == c {
			return true
		}
	}
	return false
}
