package kubetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

var kube Shared

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

var (
	pods   = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	nodes  = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	events = schema.GroupVersionResource{Version: "v1", Resource: "events"}
)

func TestKubeListsNamespaces(t *testing.T) {
	c := kube.Start(t)
	t.Logf("ready after %v", c.StartTime)
	list, err := c.Dynamic.Resource(namespaces).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 4 {
		t.Errorf("a new cluster has %d namespaces, want the 4 that the API server makes", len(list.Items))
	}
}

func TestKubeApply(t *testing.T) {
	c := kube.Start(t)
	const manifests = `
# A comment alone.
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: cart-7d4b9, namespace: shop, uid: not-mine, resourceVersion: "7"}
  spec: {serviceAccountName: cart, nodeName: node-1, containers: [{name: app, image: cart}]}
  status:
    phase: Pending
    podIP: 10.4.0.9
    initContainerStatuses: [{name: istio-init, image: proxyv2, imageID: "", ready: false, restartCount: 4, state: {waiting: {reason: CrashLoopBackOff}}}]
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/rev: asm-managed}}}
`
	c.Apply(t, manifests)
	c.Apply(t, manifests) // changes nothing
	pod, err := c.Dynamic.Resource(pods).Namespace("shop").Get(t.Context(), "cart-7d4b9", getOptions)
	if err != nil {
		t.Fatal(err)
	}
	if v, _, _ := unstructured.NestedString(pod.Object, "status", "podIP"); v != "10.4.0.9" {
		t.Errorf("status isn't stored: %v", pod.Object["status"])
	}
	if v, _, _ := unstructured.NestedSlice(pod.Object, "spec", "volumes"); len(v) != 0 {
		t.Errorf("the pod got volumes: %v", v)
	}
	c.Event(t, Event{
		Namespace: "shop", Kind: "ReplicaSet", Name: "cart", Type: "Warning", Reason: "FailedCreate",
		Message: "Error creating: …", Component: "replicaset-controller", Count: 7,
	})
	list, err := c.Dynamic.Resource(events).Namespace("shop").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=cart"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("events of cart: %v, %v", list, err)
	}
	c.Delete(t, "v1", "Namespace", "", "shop")
	if _, err := c.Dynamic.Resource(namespaces).Get(t.Context(), "shop", getOptions); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is still there: %v", err)
	}
}

func TestKubeUsers(t *testing.T) {
	c := kube.Start(t)
	c.Apply(t, injectPod)
	list := func(cfg *rest.Config, r schema.GroupVersionResource) error {
		client, err := dynamic.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Resource(r).List(t.Context(), metav1.ListOptions{})
		return err
	}
	reader := c.User(t, "reader", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods", "pods/log"}, Verbs: []string{"get", "list"}})
	if err := list(reader, pods); err != nil {
		t.Error(err)
	}
	if err := list(reader, nodes); !apierrors.IsForbidden(err) {
		t.Errorf("nodes: %v", err)
	} else {
		t.Log(err)
	}
	if err := list(c.Token("nonsense"), pods); !apierrors.IsUnauthorized(err) {
		t.Errorf("an unknown token: %v", err)
	}

	loaded, err := clientcmd.LoadFromFile(c.Kubeconfig(t, reader, "test"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.NewDefaultClientConfig(*loaded, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := list(cfg, pods); err != nil {
		t.Errorf("through the kubeconfig file: %v", err)
	}

	account := c.ServiceAccount(t, "meshdiag", "meshdiag")
	if err := list(account, pods); !apierrors.IsForbidden(err) {
		t.Errorf("a service account without roles: %v", err)
	}
	c.Apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: pods}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: meshdiag}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pods}
subjects: [{kind: ServiceAccount, namespace: meshdiag, name: meshdiag}]
`)
	c.WaitAllowed(t, account, "list", "", "pods")
	if err := list(account, pods); err != nil {
		t.Error(err)
	}

	busy := c.Through(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/nodes") {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	if err := list(busy, pods); err != nil {
		t.Errorf("through a proxy: %v", err)
	}
	if err := list(busy, nodes); !apierrors.IsForbidden(err) {
		t.Errorf("through a proxy that refuses: %v", err)
	}
}

func TestKubeLogs(t *testing.T) {
	c := kube.Start(t)
	c.Node(t, "node-1", Kubelet{Logs: []Log{{Namespace: "shop", Pod: "cart", Container: "app", Text: "one\ntwo\nthree\n"}}})
	c.Apply(t, strings.Replace(injectPod, "{containers:", "{nodeName: node-1, containers:", 1))
	tr, err := rest.HTTPClientFor(c.Admin)
	if err != nil {
		t.Fatal(err)
	}
	get := func(query string) (int, string) {
		resp, err := tr.Get(c.Admin.Host + "/api/v1/namespaces/shop/pods/cart/log?" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, text := get("container=app&tailLines=2"); code != http.StatusOK || text != "two\nthree\n" {
		t.Errorf("%d %q", code, text)
	}
	if code, text := get("container=app&previous=true"); code != http.StatusBadRequest || !strings.Contains(text, "is waiting to start") {
		t.Errorf("%d %q", code, text)
	}
}

func TestKubeExec(t *testing.T) {
	c := kube.Start(t)
	c.Node(t, "node-1", Kubelet{Exec: func(namespace, pod, container string, command []string) (string, string, int) {
		if command[0] == "false" {
			return "", "no\n", 3
		}
		return fmt.Sprintln(namespace, pod, container, command), "", 0
	}})
	c.Apply(t, strings.Replace(injectPod, "{containers:", "{nodeName: node-1, containers:", 1))
	for _, upgrade := range []string{"websocket", "spdy"} {
		run := func(command ...string) (string, error) {
			q := url.Values{"container": {"app"}, "stdout": {"true"}, "stderr": {"true"}, "command": command}
			u, err := url.Parse(c.Admin.Host + "/api/v1/namespaces/shop/pods/cart/exec?" + q.Encode())
			if err != nil {
				t.Fatal(err)
			}
			executor, err := remotecommand.NewWebSocketExecutor(c.Admin, http.MethodGet, u.String())
			if upgrade == "spdy" {
				executor, err = remotecommand.NewSPDYExecutor(c.Admin, http.MethodPost, u)
			}
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), stepDeadline)
			defer cancel()
			var out strings.Builder
			err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &out})
			return out.String(), err
		}
		if out, err := run("pilot-agent", "request", "GET", "stats"); err != nil || out != "shop cart app [pilot-agent request GET stats]\n" {
			t.Errorf("%s: %q, %v", upgrade, out, err)
		}
		if out, err := run("false"); err == nil || !strings.Contains(err.Error(), "exit code 3") || out != "no\n" {
			t.Errorf("%s: %q, %v", upgrade, out, err)
		}
	}
}

// TestKubeThousands is the size that later tests need: it holds that filling and clearing stay affordable.
func TestKubeThousands(t *testing.T) {
	c := kube.Start(t)
	manifests := make([]string, 1000)
	for i := range manifests {
		manifests[i] = strings.Replace(injectPod, "name: cart", fmt.Sprintf("name: cart-%d", i), 1)
	}
	c.Namespace(t, "shop", nil)
	c.ApplyMany(t, manifests)
	list, err := c.Dynamic.Resource(pods).Namespace("shop").List(t.Context(), metav1.ListOptions{Limit: 500})
	if err != nil || len(list.Items) != 500 || *list.GetRemainingItemCount() != 500 {
		t.Fatalf("a page of %d pods: %v", len(list.Items), err)
	}
}

// childVar marks the process that TestKubeServersDieWithTheTests starts and kills.
const childVar = "KUBETEST_CHILD"

func TestKubeServersDieWithTheTests(t *testing.T) {
	if os.Getenv(childVar) != "" {
		c := kube.Start(t)
		for _, p := range c.processes {
			fmt.Println("server", p.cmd.Process.Pid)
		}
		fmt.Println("end")
		select {} // until killed
	}
	locate(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKubeServersDieWithTheTests$")
	cmd.Env = append(os.Environ(), childVar+"=1", "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var servers []string
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "end" {
		if pid, ok := strings.CutPrefix(lines.Text(), "server "); ok {
			servers = append(servers, pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if len(servers) != 2 {
		t.Fatalf("the child started servers %v, want etcd and kube-apiserver", servers)
	}
	for _, pid := range servers {
		err := poll(t.Context(), "the end of process "+pid, func(context.Context) error {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			if err != nil || strings.Contains(string(stat), ") Z ") { // gone, or waiting for init to collect it
				return nil
			}
			return errors.New("it runs")
		})
		if err != nil {
			t.Error(err)
		}
	}
}
