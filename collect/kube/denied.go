package kube

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// The ClusterRoles of deploy/rbac.yaml.
const (
	roleReader = "meshdiag-reader"         // bound for the whole cluster
	roleConfig = "meshdiag-mesh-config"    // bound in the mesh's namespaces
	roleSecret = "meshdiag-webhook-secret" //nolint:gosec // a name; opt-in, bound in the mesh's namespace
	roleExec   = "meshdiag-pod-exec"       // opt-in, bound in the namespaces of the pods
	manifest   = "deploy/rbac.yaml"
)

// explain says what was being read when err came, and makes a refusal an evidence.Denied with its remedy.
func (c *cluster) explain(acc access, err error) error {
	var se *statusError
	if errors.As(err, &se) {
		switch se.code {
		case http.StatusUnauthorized:
			return &evidence.Denied{What: acc.what + ": the API server did not accept the credentials", Command: c.login, Err: err}
		case http.StatusForbidden:
			return c.forbidden(acc, se)
		}
	}
	return fmt.Errorf("reading %s: %w", acc.what, err)
}

func (c *cluster) forbidden(acc access, se *statusError) *evidence.Denied {
	d := &evidence.Denied{What: acc.what, Permission: acc.permission(), Err: se}
	if !se.status {
		d.What += ": refused by what is before the API server"
		d.Permission = ""
		return d
	}
	role := cmp.Or(acc.role, roleReader)
	d.Role = fmt.Sprintf("ClusterRole %s of %s", role, manifest)
	kubectl, subject := c.kubectl(), subject(se.message)
	bind := fmt.Sprintf("%s create clusterrolebinding %s --clusterrole=%s %s", kubectl, role, role, subject)
	if role != roleReader {
		bind = fmt.Sprintf("%s -n %s create rolebinding %s --clusterrole=%s %s", kubectl, acc.namespace, role, role, subject)
	}
	d.Command = fmt.Sprintf("%s apply -f %s && %s", kubectl, manifest, bind)
	return d
}

// forbiddenUser is how an API server says who was refused: `pods is forbidden: User "alice" cannot list resource "pods" …`.
// https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go
var forbiddenUser = regexp.MustCompile(`User "([^"]+)" cannot `)

// dependentError says that something can't be known without other facts. Why those aren't known is told of them.
type dependentError struct {
	what string
	err  error
}

func (d *dependentError) Error() string {
	names := missingNames(d.err)
	if len(names) == 0 {
		return fmt.Sprintf("%s isn't known: %v", d.what, d.err)
	}
	return fmt.Sprintf("%s isn't known without %s", d.what, strings.Join(names, " and "))
}

func (d *dependentError) Unwrap() error { return d.err }

// without makes an error of what isn't known for want of other facts; nil stays nil.
func without(what string, err error) error {
	if err == nil {
		return nil
	}
	return &dependentError{what, err}
}

// missingNames gives the facts whose lack an error tells of.
func missingNames(err error) (names []string) {
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case *evidence.Missing:
		return []string{string(e.Name)}
	case interface{ Unwrap() []error }:
		for _, x := range e.Unwrap() {
			names = append(names, missingNames(x)...)
		}
	case interface{ Unwrap() error }:
		return missingNames(e.Unwrap())
	}
	return names
}

// subject gives the option of kubectl create rolebinding that names who was refused.
func subject(message string) string {
	m := forbiddenUser.FindStringSubmatch(message)
	if m == nil {
		return "--user=USER"
	}
	if account, ok := strings.CutPrefix(m[1], "system:serviceaccount:"); ok {
		return "--serviceaccount=" + quote(account)
	}
	return "--user=" + quote(m[1])
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,~][A-Za-z0-9_./:@%+=,~-]*$`)

// quote makes one word of s for a POSIX shell.
func quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
