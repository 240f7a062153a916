package gcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	cloudresourcemanager "google.golang.org/api/cloudresourcemanager/v3"
	policytroubleshooter "google.golang.org/api/policytroubleshooter/v1"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The permissions of a proxy: to get its configuration, and to report load.
// https://docs.cloud.google.com/iam/docs/roles-permissions/anthosservicemesh
const (
	getConfigs    = "trafficdirector.networks.getConfigs"
	reportMetrics = "trafficdirector.networks.reportMetrics"
)

// The predefined roles that hold both permissions, and those that hold getConfigs alone (same page).
var (
	rolesWithBoth = []string{
		"roles/owner", "roles/editor", "roles/trafficdirector.client", "roles/trafficdirector.admin",
		"roles/compute.networkAdmin", "roles/compute.networkViewer",
		"roles/iam.infrastructureAdmin", "roles/iam.networkAdmin", "roles/iam.securityAuditor",
		"roles/anthosservicemesh.serviceAgent", "roles/cloudtpu.serviceAgent", "roles/composer.serviceAgent",
		"roles/container.defaultNodeServiceAgent", "roles/container.serviceAgent", "roles/dataflow.serviceAgent",
		"roles/datafusion.serviceAgent", "roles/meshcontrolplane.serviceAgent",
	}
	rolesWithGetConfigs = []string{"roles/viewer", "roles/trafficdirector.viewer", "roles/iam.supportUser"}
)

// How a permission was found out.
const (
	byTroubleshooter = "policy-troubleshooter"
	byPolicy         = "project-policy"
)

// collectPermissions finds out whether the VM's service account may do what a proxy must: by Policy Troubleshooter, which
// sees folders, the organisation and groups; where that is refused, by the project's own policy.
func (a *API) collectPermissions(ctx context.Context, req diagnose.Request, view *evidence.View, set *evidence.Set) error {
	name := evidence.ProxyPermissions.Name()
	account, err := serviceAccount(req, view)
	if err != nil {
		a.fail(ctx, set, name, "compute.instances.get", err)
		return nil
	}
	project := req.Target.Project
	if p, err := evidence.Get(view, evidence.ProjectFact); err == nil && p.ID != "" {
		project = p.ID // full resource names of projects hold the id
	}
	permissions := []string{getConfigs, reportMetrics}
	states := make([]evidence.PermissionState, len(permissions))
	errs := make([]error, len(permissions))
	policy := sync.OnceValues(func() (*cloudresourcemanager.Policy, error) { return a.policy(ctx, project) })
	var g errgroup.Group
	for i, p := range permissions {
		g.Go(func() error {
			states[i], errs[i] = a.permission(ctx, project, account, p, policy)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	var known []evidence.PermissionState
	for _, s := range states {
		if s.Method != "" {
			known = append(known, s)
		}
	}
	if len(known) > 0 {
		evidence.Put(set, evidence.ProxyPermissions, known, known[0].Source)
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		a.fail(ctx, set, name, troubleshootMethod, errs[i])
	}
	return nil
}

// serviceAccount gives the email of the VM's service account; a VM has one at most.
func serviceAccount(req diagnose.Request, view *evidence.View) (string, error) {
	t := req.Target
	vms, err := evidence.Get(view, evidence.Instances)
	if err != nil {
		return "", fmt.Errorf("the service account of VM %s isn't known: %w", t.Instance, err)
	}
	for _, vm := range vms {
		if vm.Name != t.Instance || (vm.Zone != "" && t.Zone != "" && vm.Zone != t.Zone) {
			continue
		}
		if len(vm.ServiceAccounts) == 0 {
			return "", fmt.Errorf("VM %s has no service account", t.Instance)
		}
		return vm.ServiceAccounts[0].Email, nil
	}
	return "", fmt.Errorf("the service account of VM %s isn't known", t.Instance)
}

const troubleshootMethod = "policytroubleshooter.iam.troubleshoot"

// permission finds out about one permission. The error says what kept the answer from being a full one; the state's Method
// is empty where there is no answer at all.
func (a *API) permission(ctx context.Context, project, account, permission string, policy func() (*cloudresourcemanager.Policy, error)) (evidence.PermissionState, error) {
	state := evidence.PermissionState{Principal: account, Permission: permission, Project: project}
	access, err := a.troubleshoot(ctx, project, account, permission)
	if err == nil {
		state.Access, state.Method, state.Source = access, byTroubleshooter, a.source(troubleshootMethod)
		return state, nil
	}
	p, perr := policy()
	if perr != nil {
		return state, fmt.Errorf("%w; and %w", err, perr)
	}
	state.Access, state.Method, state.Source = inPolicy(p, account, permission), byPolicy, a.source(policyMethod)
	if state.Access == evidence.AccessGranted {
		return state, nil
	}
	return state, err
}

// troubleshoot asks Policy Troubleshooter. It is an error where the caller may not see enough for an answer.
func (a *API) troubleshoot(ctx context.Context, project, account, permission string) (evidence.Access, error) {
	acc := access{
		what: "whether " + account + " has " + permission, method: troubleshootMethod, project: project,
		// Policy Troubleshooter reads the policies with the caller's rights:
		// https://docs.cloud.google.com/policy-intelligence/docs/troubleshoot-access
		permission: "resourcemanager.projects.getIamPolicy", role: "roles/iam.securityReviewer",
	}
	var state string
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.troubleshooter()
		if err != nil {
			return err
		}
		r, err := c.Iam.Troubleshoot(&policytroubleshooter.GoogleCloudPolicytroubleshooterV1TroubleshootIamPolicyRequest{
			AccessTuple: &policytroubleshooter.GoogleCloudPolicytroubleshooterV1AccessTuple{
				FullResourceName: "//cloudresourcemanager.googleapis.com/projects/" + project,
				Permission:       permission,
				Principal:        account,
			},
		}).Context(ctx).Do()
		if err != nil {
			return err
		}
		state = r.Access
		return nil
	})
	switch {
	case err != nil:
		return evidence.AccessUnknown, err
	case state == "GRANTED":
		return evidence.AccessGranted, nil
	case state == "NOT_GRANTED":
		return evidence.AccessDenied, nil
	case state == "UNKNOWN_CONDITIONAL":
		return evidence.AccessUnknown, nil
	case state == "UNKNOWN_INFO_DENIED":
		return evidence.AccessUnknown, &evidence.Denied{
			What: "every policy that decides " + acc.what, Permission: acc.permission, Role: acc.role, Command: a.grant(project, acc.role),
			Err: errors.New("Policy Troubleshooter answered UNKNOWN_INFO_DENIED"),
		}
	default:
		return evidence.AccessUnknown, fmt.Errorf("Policy Troubleshooter answered %.60q for %s", state, permission)
	}
}

const policyMethod = "cloudresourcemanager.projects.getIamPolicy"

func (a *API) policy(ctx context.Context, project string) (*cloudresourcemanager.Policy, error) {
	acc := access{
		what: "the IAM policy of project " + project, method: policyMethod, project: project,
		permission: "resourcemanager.projects.getIamPolicy", role: "roles/browser",
	}
	var out *cloudresourcemanager.Policy
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.resourceManager()
		if err != nil {
			return err
		}
		// Version 3 shows conditions; an older one would show a conditional binding as if it held always.
		out, err = c.Projects.GetIamPolicy("projects/"+project, &cloudresourcemanager.GetIamPolicyRequest{
			Options: &cloudresourcemanager.GetPolicyOptions{RequestedPolicyVersion: 3},
		}).Context(ctx).Do()
		return err
	})
	return out, err
}

// inPolicy says what a project's own policy tells of a permission: granted where a binding without condition gives it to the
// account itself or to everybody; unknown where a custom role, a condition or a group might; else not in the policy.
func inPolicy(p *cloudresourcemanager.Policy, account, permission string) evidence.Access {
	out := evidence.AccessNotInPolicy
	for _, b := range p.Bindings {
		if b == nil {
			continue
		}
		carries, mayCarry := roleCarries(b.Role, permission)
		if !mayCarry {
			continue
		}
		for _, m := range b.Members {
			is, mayBe := memberIs(m, account)
			switch {
			case is && carries && b.Condition == nil:
				return evidence.AccessGranted
			case mayBe:
				out = evidence.AccessUnknown
			}
		}
	}
	return out
}

// roleCarries says whether a role holds a permission, and whether it may: what a custom role holds isn't looked up.
func roleCarries(role, permission string) (carries, mayCarry bool) {
	if !strings.HasPrefix(role, "roles/") {
		return false, true
	}
	carries = slices.Contains(rolesWithBoth, role) || (permission == getConfigs && slices.Contains(rolesWithGetConfigs, role))
	return carries, carries
}

// memberIs says whether a member of a binding is the service account, and whether it may be: groups, domains and
// principal sets don't show who is in them. "deleted:" is nobody any more.
// https://docs.cloud.google.com/iam/docs/principal-identifiers
func memberIs(member, account string) (is, mayBe bool) {
	kind, value, _ := strings.Cut(member, ":")
	switch kind {
	case "allUsers", "allAuthenticatedUsers":
		return true, true
	case "serviceAccount":
		is = strings.EqualFold(value, account)
		return is, is
	case "group", "domain", "principalSet", "projectOwner", "projectEditor", "projectViewer":
		return false, true
	}
	return false, false
}
