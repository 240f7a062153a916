package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	clientrest "k8s.io/client-go/rest"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/internal/kubetest"
)

// wellShop is a mesh and a namespace that are well.
func wellShop(t *testing.T, c *kubetest.Cluster) {
	t.Helper()
	kubelet(t, c, wellLogs...)
	install(t, c)
	meshNamespace(t, c, map[string]string{"istio-injection": "enabled"})
	shop(t, c)
}

// report gives what was answered.
func (a asked) report(t *testing.T) *pb.Report {
	t.Helper()
	var r pb.Report
	if err := protojson.Unmarshal([]byte(a.stdout), &r); err != nil {
		t.Fatalf("%v: %s%s", err, a.stdout, a.stderr)
	}
	return &r
}

// manifestRoles applies deploy/rbac.yaml, and gives the rules of each of its roles.
func manifestRoles(t *testing.T, c *kubetest.Cluster) map[string][]rbacv1.PolicyRule {
	t.Helper()
	b, err := os.ReadFile("../../deploy/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]rbacv1.PolicyRule{}
	for _, o := range c.Apply(t, string(b)) {
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			t.Fatal(err)
		}
		out[role.Name] = role.Rules
	}
	return out
}

func binding(kind, namespace, role, user string) string {
	return fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":%q,"metadata":{"name":%q,"namespace":%q},
	"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":%q},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":%q}]}`,
		kind, role+"-"+user, namespace, role, user)
}

// waitConfigMaps returns when a user may read the mesh's ConfigMaps, and no others.
func waitConfigMaps(t *testing.T, cfg *clientrest.Config) {
	t.Helper()
	own := clientrest.CopyConfig(cfg)
	own.QPS = -1 // it asks often
	client, err := dynamic.NewForConfig(own)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	maps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	for {
		if _, err = client.Resource(maps).Namespace("istio-system").List(ctx, metav1.ListOptions{}); err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestKubeManifestIsEnough holds that who has the roles of deploy/rbac.yaml and nothing else gets the answer that an administrator
// gets, of a mesh that is well and of one that isn't.
func TestKubeManifestIsEnough(t *testing.T) {
	c := kube.Start(t)
	wellShop(t, c)
	manifestRoles(t, c)
	c.Apply(t, binding("RoleBinding", "istio-system", "meshdiag-mesh-config", "alice"), binding("ClusterRoleBinding", "", "meshdiag-reader", "alice"))
	alice := c.User(t, "alice")
	waitConfigMaps(t, alice)
	c.WaitAllowed(t, alice, "list", "rbac.authorization.k8s.io", "clusterroles")
	same := func(want outcome) {
		t.Helper()
		for name, cfg := range map[string]*clientrest.Config{"admin": c.Admin, "alice": alice} {
			got := askCluster(t, c.Kubeconfig(t, cfg, kubeContext), "--namespace", "shop")
			if !got.equal(want) {
				t.Errorf("%s gets %+v, want %+v\n%s", name, got.outcome, want, got.stdout)
			}
			for _, u := range got.report(t).GetUnseen() {
				t.Errorf("%s: %s could not be seen: %s", name, u.GetFact(), u.GetReason())
			}
		}
	}
	same(expect())
	c.Delete(t, "v1", "Service", "istio-system", "istiod")
	c.Apply(t, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"istiod","namespace":"istio-system"},"spec":{"selector":{"app":"pilot"},"ports":[{"name":"https-webhook","port":443},{"name":"https-dns","port":15012}]}}`)
	c.Delete(t, "discovery.k8s.io/v1", "EndpointSlice", "istio-system", "istiod-x7k2p")
	same(expect("webhook/no-endpoints"))
}

// TestKubeOneRightLess takes each rule of the manifest away in turn: the mesh isn't called healthy any more, and what is missing is
// named with the role that has it.
func TestKubeOneRightLess(t *testing.T) {
	c := kube.Start(t)
	wellShop(t, c)
	roles := manifestRoles(t, c)
	all := slices.Concat(roles["meshdiag-reader"], roles["meshdiag-mesh-config"])
	// What one right of them is for alone is another's to take its place: GET of a namespace where they can't be listed.
	n := 0
	for i, r := range all {
		for j, resource := range r.Resources {
			if strings.HasPrefix(r.APIGroups[0], "mesh.") || strings.HasSuffix(r.APIGroups[0], ".istio.io") || resource == "selfsubjectaccessreviews" {
				continue // kinds that aren't there; and everybody may ask about oneself
			}
			n++
			user := fmt.Sprintf("without-%d", n)
			t.Run(resource, func(t *testing.T) {
				less := slices.Clone(all)
				less[i].Resources = slices.Delete(slices.Clone(r.Resources), j, j+1)
				if len(less[i].Resources) == 0 {
					less = slices.Delete(less, i, i+1)
				}
				got := askCluster(t, c.Kubeconfig(t, c.User(t, user, less...), kubeContext), "--namespace", "shop")
				named := false
				for _, u := range got.report(t).GetUnseen() {
					named = named || strings.Contains(u.GetPermission(), resource) && strings.Contains(u.GetRole(), "ClusterRole meshdiag-") && strings.Contains(u.GetCommand(), "deploy/rbac.yaml")
				}
				if got.exit != exitInconclusive || !named {
					t.Errorf("got %+v, and the right is named: %v\n%s", got.outcome, named, got.stdout)
				}
			})
		}
	}
}

// TestKubeUnanswered asks API servers that don't answer as they should: the mesh behind them is never called healthy, and what is
// the matter is told.
func TestKubeUnanswered(t *testing.T) {
	c := kube.Start(t)
	wellShop(t, c)
	answer := func(code int, reason, message string) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(code)
				_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
			})
		}
	}
	cut := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	// after passes n requests on, and then does something else.
	after := func(n int64, then func(http.ResponseWriter)) func(http.Handler) http.Handler {
		var seen atomic.Int64
		return func(pass http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if seen.Add(1) > n {
					then(w)
					return
				}
				pass.ServeHTTP(w, r)
			})
		}
	}
	for name, tc := range map[string]struct {
		cfg  *clientrest.Config
		says string // of what could not be seen
	}{
		"no rights":          {c.User(t, "nobody"), "needs list pods in namespace shop"},
		"401":                {c.Token("forgotten"), "did not accept the credentials"},
		"403":                {c.Through(t, answer(403, "Forbidden", `pods is forbidden: User "eve" cannot list resource "pods"`)), "eve"},
		"429":                {c.Through(t, answer(429, "TooManyRequests", "too many requests, please try again later")), "429"},
		"500":                {c.Through(t, answer(500, "InternalError", "etcdserver: leader changed")), "leader changed"},
		"hangs":              {c.Through(t, func(http.Handler) http.Handler { return kubetest.Hang() }), "deadline"},
		"never there":        {c.Through(t, after(0, cut)), "EOF"},
		"goes away":          {c.Through(t, after(6, cut)), "EOF"},
		"a page of a portal": {c.Through(t, func(http.Handler) http.Handler { return kubetest.Answer(200, "<html>Please log in</html>") }), "no list of the Kubernetes API"},
		"another CA":         {otherCA(t, c), "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			got := askCluster(t, c.Kubeconfig(t, tc.cfg, kubeContext), "--namespace", "shop", "--timeout", "5s")
			if got.exit != exitInconclusive || got.verdict != "INCONCLUSIVE" {
				t.Fatalf("got %+v\n%s%s", got.outcome, got.stdout, got.stderr)
			}
			said := ""
			for _, u := range got.report(t).GetUnseen() {
				said += u.GetReason() + "\n"
			}
			if !strings.Contains(said, tc.says) {
				t.Errorf("nothing says %q:\n%s", tc.says, said)
			}
		})
	}
}

// otherCA is a client that trusts another CA than the API server's.
func otherCA(t *testing.T, c *kubetest.Cluster) *clientrest.Config {
	t.Helper()
	cfg := clientrest.CopyConfig(c.Admin)
	cfg.CAData = kubetest.NewCA(t, "another").PEM()
	return cfg
}

// TestKubeBadInput asks about what isn't there: one line says so, and what there is.
func TestKubeBadInput(t *testing.T) {
	c := kube.Start(t)
	wellShop(t, c)
	config := c.Kubeconfig(t, c.Admin, kubeContext)
	odd := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(odd, []byte("apiVersion: v1\nkind: Config\nclusters: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		config string
		args   []string
		exit   int
		says   string // on standard error, or as the headline
	}{
		{config, []string{"--context", "staging", "--namespace", "shop"}, exitUsage, `--context: "staging" is not a context of the kubeconfig, which has: prod`},
		{odd, []string{"--namespace", "shop"}, exitUsage, odd},
		{odd + "-not-there", []string{"--namespace", "shop"}, exitUsage, odd + "-not-there"},
		{config, []string{"--namespace", "Shop!"}, exitUsage, "--namespace"},
		{config, []string{"--namespace", "shop", "--workload", "gizmo/checkout"}, exitUsage, "--workload"},
		{config, []string{"--pod", "checkout-1"}, exitUsage, "--namespace"},
		{config, []string{"--namespace", "shpo"}, exitInconclusive, "There is no namespace shpo in the cluster: of the 6 that there are, the most alike are shop,"},
		{config, []string{"--namespace", "shop", "--pod", "checkout-1"}, exitInconclusive, "There is no pod checkout-1 in namespace shop: there is checkout-"},
		{config, []string{"--namespace", "shop", "--deployment", "chekout"}, exitInconclusive, "There is no Deployment chekout in namespace shop: there is checkout."},
		{config, []string{"--namespace", "shop", "--workload", "statefulset/checkout"}, exitInconclusive, "There is no StatefulSet checkout in namespace shop."},
		{config, []string{"--revision", "asm-1187-3"}, exitCausesFound, "No injector serves revision asm-1187-3"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			got := askCluster(t, tc.config, tc.args...)
			line := got.stderr
			if got.stdout != "" {
				line = got.report(t).GetHeadline()
			}
			if got.exit != tc.exit || !strings.Contains(line, tc.says) || strings.Count(strings.TrimSpace(line), "\n") > 0 {
				t.Errorf("exit status %d, and it says: %s", got.exit, line)
			}
		})
	}
}

// TestKubeNotReady asks about pods that don't run, for which the mesh isn't to blame as far as can be seen: they aren't called healthy.
func TestKubeNotReady(t *testing.T) {
	const name = "checkout-" + hash + "-aaaaa"
	for title, tc := range map[string]struct{ app, says string }{
		"crashes":      {`"restartCount":9,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":2,"reason":"Error","startedAt":"STARTED","finishedAt":"STARTED"}}`, "Pod " + name + " is not ready: container app is in CrashLoopBackOff"},
		"doesn't come": {`"restartCount":0,"state":{"running":{"startedAt":"STARTED"}}`, "Pod " + name + " is not ready: container app is not"},
	} {
		t.Run(title, func(t *testing.T) {
			c := kube.Start(t)
			kubelet(t, c, wellLogs...)
			install(t, c)
			meshNamespace(t, c, map[string]string{"istio-injection": "enabled"})
			app := `{"name":"app","image":"shop/checkout:1.4","imageID":"","ready":false,"started":true,` + tc.app + "}"
			c.Apply(t, checkout(0, ""), pod{containers: "[" + app + "," + proxyRuns + "]", ready: "False", startedBefore: time.Hour}.manifest())
			got := askCluster(t, c.Kubeconfig(t, c.Admin, kubeContext), "--namespace", "shop")
			if got.exit == exitHealthy || !strings.HasPrefix(got.report(t).GetHeadline(), tc.says) {
				t.Errorf("got %+v: %s\n%s", got.outcome, got.report(t).GetHeadline(), got.stdout)
			}
		})
	}
}
