package kubetest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// User is a client certificate with a name, and a ClusterRole of that name with rules bound to it; without rules it may do what
// every authenticated user may. It returns when the API server knows the rules.
func (c *Cluster) User(t testing.TB, name string, rules ...rbacv1.PolicyRule) *rest.Config {
	t.Helper()
	cfg := rest.CopyConfig(c.Admin)
	cert := c.ca.Issue(t, Certificate{CommonName: name})
	cfg.CertData, cfg.KeyData, cfg.QPS = certPEM(cert), keyPEM(cert), 0
	if len(rules) == 0 {
		return cfg
	}
	var list []any
	for _, r := range rules {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	const group = "rbac.authorization.k8s.io"
	objects := []*unstructured.Unstructured{
		object(group+"/v1", "ClusterRole", "", name, map[string]any{"rules": list}),
		object(group+"/v1", "ClusterRoleBinding", "", name, map[string]any{
			"roleRef":  map[string]any{"apiGroup": group, "kind": "ClusterRole", "name": name},
			"subjects": []any{map[string]any{"apiGroup": group, "kind": "User", "name": name}},
		}),
	}
	for _, o := range objects {
		if _, err := c.apply(t.Context(), o); err != nil {
			t.Fatalf("%s %s: %v", o.GetKind(), name, err)
		}
	}
	for _, r := range rules {
		for _, verb := range r.Verbs {
			for _, resource := range r.Resources {
				for _, g := range r.APIGroups {
					c.WaitAllowed(t, cfg, verb, g, resource)
				}
			}
		}
	}
	return cfg
}

// ServiceAccount is the token of a service account, which is made if missing. What it may do is up to the roles bound to it: see
// WaitAllowed.
func (c *Cluster) ServiceAccount(t testing.TB, namespace, name string) *rest.Config {
	t.Helper()
	err := c.ensureNamespace(t.Context(), namespace)
	if err == nil {
		err = c.ensureAccount(t.Context(), namespace, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	request := object("authentication.k8s.io/v1", "TokenRequest", namespace, name, map[string]any{"spec": map[string]any{}})
	got, err := c.Dynamic.Resource(serviceAccounts).Namespace(namespace).Create(t.Context(), request, createOptions, "token")
	if err != nil {
		t.Fatalf("token of service account %s/%s: %v", namespace, name, err)
	}
	token, _, err := unstructured.NestedString(got.Object, "status", "token")
	if err != nil {
		t.Fatal(err)
	}
	return c.Token(token)
}

// Token is a client with a bearer token. One that the API server doesn't know gets 401.
func (c *Cluster) Token(token string) *rest.Config {
	cfg := rest.AnonymousClientConfig(c.Admin)
	cfg.BearerToken, cfg.QPS, cfg.WarningHandler = token, 0, rest.NoWarnings{}
	return cfg
}

// WaitAllowed returns when RBAC lets a client do verb on resource ("pods", "pods/log") of an API group in every namespace, and ends
// the test if it doesn't come to. The roles view, edit and admin are empty here: a controller would fill them.
func (c *Cluster) WaitAllowed(t testing.TB, cfg *rest.Config, verb, group, resource string) {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // it asks often
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	attributes := map[string]any{"verb": verb, "group": group, "resource": resource}
	if main, sub, ok := strings.Cut(resource, "/"); ok {
		attributes["resource"], attributes["subresource"] = main, sub
	}
	reviews := client.Resource(schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"})
	review := object("authorization.k8s.io/v1", "SelfSubjectAccessReview", "", "", map[string]any{"spec": map[string]any{"resourceAttributes": attributes}})
	ctx, cancel := context.WithTimeout(t.Context(), stepDeadline)
	defer cancel()
	err = poll(ctx, "the right to "+verb+" "+resource, func(ctx context.Context) error {
		got, err := reviews.Create(ctx, review, createOptions)
		if err != nil {
			return err
		}
		if allowed, _, _ := unstructured.NestedBool(got.Object, "status", "allowed"); !allowed {
			return errors.New("not allowed")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Kubeconfig writes a kubeconfig file whose current context, cluster and user are called context, and returns its path.
func (c *Cluster) Kubeconfig(t testing.TB, cfg *rest.Config, context string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{context: {Server: cfg.Host, CertificateAuthorityData: cfg.CAData}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{context: {
			ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData, Token: cfg.BearerToken,
		}},
		Contexts:       map[string]*clientcmdapi.Context{context: {Cluster: context, AuthInfo: context}},
		CurrentContext: context,
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Through is a client of a proxy before the API server, for a cluster that answers wrongly: wrap gets the handler that passes a
// request on, as Admin, and returns the one to serve. A handler that hangs should end with its request's context.
func (c *Cluster) Through(t testing.TB, wrap func(http.Handler) http.Handler) *rest.Config {
	t.Helper()
	target, err := url.Parse(c.Admin.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(c.Admin)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Header.Del("Authorization") },
	}
	s := httptest.NewUnstartedServer(wrap(pass))
	s.TLS = serverTLS(c.ca.Issue(t, Certificate{Names: []string{"127.0.0.1"}}))
	s.Config.ErrorLog = discard()
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	cfg := c.Token("anyone")
	cfg.Host = s.URL
	return cfg
}
