package kubetest

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
)

const (
	istiod     = "istiod.istio-system.svc"
	injectPod  = "apiVersion: v1\nkind: Pod\nmetadata: {name: cart, namespace: shop}\nspec: {containers: [{name: app, image: cart}]}\n"
	failedCall = `Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=`
)

// TestKubeSaysWhyAWebhookFailed holds that the API server itself says each of the reasons for which a pod isn't injected: messages
// are diagnosed by these words, so a new version of Kubernetes that changes them has to fail here.
func TestKubeSaysWhyAWebhookFailed(t *testing.T) {
	good := func(t *testing.T) (*CA, Server) {
		ca := NewCA(t, "istiod-ca")
		return ca, Server{Certificate: ca.Issue(t, Certificate{Names: []string{istiod}}), Handler: Allow()}
	}
	serve := func(change func(t *testing.T, ca *CA, s *Server)) func(*testing.T, *Cluster, *Webhook) {
		return func(t *testing.T, c *Cluster, w *Webhook) {
			ca, s := good(t)
			change(t, ca, &s)
			w.CABundle = ca.PEM()
			c.Route(t, "istio-system", "istiod", 443, c.Serve(t, s))
		}
	}
	answer := func(h http.Handler) func(*testing.T, *Cluster, *Webhook) {
		return serve(func(_ *testing.T, _ *CA, s *Server) { s.Handler = h })
	}
	listen := func(at func(*testing.T, *Cluster) netip.AddrPort) func(*testing.T, *Cluster, *Webhook) {
		return func(t *testing.T, c *Cluster, w *Webhook) {
			w.CABundle = NewCA(t, "istiod-ca").PEM()
			c.Route(t, "istio-system", "istiod", 443, at(t, c))
		}
	}
	cases := []struct {
		name  string
		setup func(*testing.T, *Cluster, *Webhook)
		want  []string // in the error; nil for a pod that is created
	}{
		{"a webhook that answers", answer(Allow()), nil},
		{"an injected container", answer(Patch(`[{"op":"add","path":"/spec/containers/-","value":{"name":"istio-proxy","image":"proxyv2"}}]`)), nil},
		{"unknown authority: another root", func(t *testing.T, c *Cluster, w *Webhook) {
			answer(Allow())(t, c, w)
			w.CABundle = NewCA(t, "another").PEM()
		}, []string{failedCall, "tls: failed to verify certificate: x509: certificate signed by unknown authority"}},
		{"unknown authority: a new root of the same name", func(t *testing.T, c *Cluster, w *Webhook) {
			ca := NewRSACA(t, "cluster.local")
			s := Server{Certificate: ca.Issue(t, Certificate{Names: []string{istiod}}), Handler: Allow()}
			w.CABundle = NewRSACA(t, "cluster.local").PEM()
			c.Route(t, "istio-system", "istiod", 443, c.Serve(t, s))
		}, []string{failedCall, `x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "cluster.local")`}},
		{"unknown authority: an empty bundle", func(t *testing.T, c *Cluster, w *Webhook) {
			answer(Allow())(t, c, w)
			w.CABundle = nil
		}, []string{failedCall, "x509: certificate signed by unknown authority"}},
		{"wrong name", serve(func(t *testing.T, ca *CA, s *Server) {
			s.Certificate = ca.Issue(t, Certificate{Names: []string{"istiod-asm-1234-7.istio-system.svc", "istiod.example.com"}})
		}), []string{failedCall, "x509: certificate is valid for istiod-asm-1234-7.istio-system.svc, istiod.example.com, not " + istiod}},
		{"no name", serve(func(t *testing.T, ca *CA, s *Server) {
			s.Certificate = ca.Issue(t, Certificate{})
		}), []string{failedCall, "x509: certificate is not valid for any names, but wanted to match " + istiod}},
		{"a common name alone", serve(func(t *testing.T, ca *CA, s *Server) {
			s.Certificate = ca.Issue(t, Certificate{CommonName: istiod})
		}), []string{failedCall, "x509: certificate relies on legacy Common Name field, use SANs instead"}},
		{"expired", serve(func(t *testing.T, ca *CA, s *Server) {
			s.Certificate = ca.Issue(t, Certificate{Names: []string{istiod}, NotAfter: time.Now().Add(-time.Minute)})
		}), []string{failedCall, "x509: certificate has expired or is not yet valid: current time ", " is after "}},
		{"not yet valid", serve(func(t *testing.T, ca *CA, s *Server) {
			s.Certificate = ca.Issue(t, Certificate{Names: []string{istiod}, NotBefore: time.Now().Add(time.Hour)})
		}), []string{failedCall, "x509: certificate has expired or is not yet valid: current time ", " is before "}},
		{"connection refused", listen(func(t *testing.T, c *Cluster) netip.AddrPort { return c.Refuse(t, 15017) }),
			[]string{failedCall, "dial tcp ", ":15017: connect: connection refused"}},
		{"deadline: no answer", answer(Hang()), []string{failedCall, "context deadline exceeded"}},
		{"deadline: packets dropped", listen(func(t *testing.T, c *Cluster) netip.AddrPort { return c.Blackhole(t, 15017) }),
			[]string{failedCall, "context deadline exceeded"}},
		{"EOF", listen(func(t *testing.T, c *Cluster) netip.AddrPort { return c.Hangup(t, 0) }), []string{failedCall, ": EOF"}},
		{"no endpoints: no slice", func(t *testing.T, c *Cluster, w *Webhook) {
			c.Route(t, "istio-system", "istiod", 443)
		}, []string{failedCall, `no endpoints available for service "istiod"`}},
		{"no endpoints: none ready", func(t *testing.T, c *Cluster, w *Webhook) {
			c.Route(t, "istio-system", "istiod", 443)
			c.Apply(t, slice("https-webhook", "false"))
		}, []string{failedCall, `no endpoints available for service "istiod"`}},
		{"no endpoints: another port name", func(t *testing.T, c *Cluster, w *Webhook) {
			c.Route(t, "istio-system", "istiod", 443)
			c.Apply(t, slice("https", "true"))
		}, []string{failedCall, `no endpoints available for service "istiod"`}},
		{"service not found", func(*testing.T, *Cluster, *Webhook) {}, []string{failedCall, `service "istiod" not found`}},
		{"no service port", func(t *testing.T, c *Cluster, w *Webhook) {
			c.Route(t, "istio-system", "istiod", 15012)
		}, []string{failedCall, `no service port 443 found for service "istiod"`}},
		{"service of another type", func(t *testing.T, c *Cluster, w *Webhook) {
			c.Apply(t, "apiVersion: v1\nkind: Service\nmetadata: {name: istiod, namespace: istio-system}\nspec: {type: ExternalName, externalName: istiod.example.com}\n")
		}, []string{failedCall, `unsupported service type "ExternalName"`}},
		{"denied", answer(Deny("Pod injection failed: invalid annotation")),
			[]string{`admission webhook "rev.namespace.sidecar-injector.istio.io" denied the request: Pod injection failed: invalid annotation`}},
		{"denied without a reason", answer(Deny("")),
			[]string{`admission webhook "rev.namespace.sidecar-injector.istio.io" denied the request without explanation`}},
		{"HTTP 500", answer(Answer(http.StatusInternalServerError, "no template")),
			[]string{`failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: an error on the server ("no template") has prevented the request from succeeding`}},
		{"HTTP 500 without a text", answer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
		})), []string{`failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding`}},
		{"HTTP 404", answer(http.NotFoundHandler()),
			[]string{`failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: the server could not find the requested resource`}},
		{"HTTP without TLS", serve(func(_ *testing.T, _ *CA, s *Server) { s.Certificate.Certificate = nil }),
			[]string{failedCall, "http: server gave HTTP response to HTTPS client"}},
		{"no answer in the review", answer(Answer(http.StatusOK, "{}")),
			[]string{`failed calling webhook "rev.namespace.sidecar-injector.istio.io": received invalid webhook response: webhook response was absent`}},
		{"an answer to another review", answer(Answer(http.StatusOK, `{"response":{"allowed":true}}`)),
			[]string{`failed calling webhook "rev.namespace.sidecar-injector.istio.io": received invalid webhook response: expected response.uid="`}},
		{"a patch that doesn't apply", answer(Patch(`[{"op":"replace","path":"/spec/none/0","value":1}]`)),
			[]string{"Internal error occurred: "}},
		{"a patch without its type", answer(Review(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte("[]")}
		})), []string{`failed calling webhook "rev.namespace.sidecar-injector.istio.io": `, "webhook returned response.patch but not response.patchType"}},
		{"failures ignored", func(_ *testing.T, _ *Cluster, w *Webhook) { w.FailurePolicy = "Ignore" }, nil},
		{"a pod not selected", func(_ *testing.T, _ *Cluster, w *Webhook) {
			w.ObjectSelector = map[string]any{"matchLabels": map[string]any{"istio.io/rev": "canary"}}
		}, nil},
		{"a namespace not selected", func(_ *testing.T, _ *Cluster, w *Webhook) {
			w.NamespaceSelector = map[string]any{"matchLabels": map[string]any{"istio-injection": "disabled"}}
		}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := kube.Start(t)
			c.Namespace(t, "shop", map[string]string{"istio-injection": "enabled"})
			w := Webhook{
				Config: "istio-sidecar-injector", Name: "rev.namespace.sidecar-injector.istio.io",
				Namespace: "istio-system", Service: "istiod", Path: "/inject",
				TimeoutSeconds:    2,
				NamespaceSelector: map[string]any{"matchLabels": map[string]any{"istio-injection": "enabled"}},
			}
			tc.setup(t, c, &w)
			c.Register(t, w)
			_, err := c.TryCreate(t, injectPod)
			if tc.want == nil {
				if err != nil {
					t.Errorf("the pod isn't created: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("the pod is created")
			}
			t.Log(err)
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the API server says\n%s\nwithout %q", err, want)
				}
			}
		})
	}
}

// slice is an endpoint slice of istiod with one address.
func slice(port, ready string) string {
	return `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: istiod-x, namespace: istio-system, labels: {kubernetes.io/service-name: istiod}}
addressType: IPv4
endpoints: [{addresses: [10.4.0.7], conditions: {ready: ` + ready + `}}]
ports: [{name: ` + port + `, port: 15017}]
`
}

func TestKubeClearsWhatATestLeft(t *testing.T) {
	var before int
	t.Run("leaves", func(t *testing.T) {
		c := kube.Start(t)
		before = len(c.asNew.objects)
		c.CustomResource(t, "mesh.cloud.google.com", "v1beta1", "ControlPlaneRevision", "controlplanerevisions", true)
		c.Apply(t, `
apiVersion: mesh.cloud.google.com/v1beta1
kind: ControlPlaneRevision
metadata: {name: asm-managed, namespace: istio-system, finalizers: [example.com/kept]}
spec: {channel: regular}
---
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop, finalizers: [example.com/kept]}
spec: {nodeName: node-1, containers: [{name: app, image: cart}]}
status: {phase: Running, podIP: 10.4.0.9}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: default}
spec: {nodeName: node-1, containers: [{name: app, image: cart}]}
`)
		c.Event(t, Event{Namespace: "shop", Kind: "Pod", Name: "cart", Type: "Warning", Reason: "FailedCreate", Message: "m", Component: "replicaset-controller"})
		c.Register(t, Webhook{Config: "w", Name: "w.example.com", URL: "https://127.0.0.1:1/", TimeoutSeconds: 1}, Webhook{Validating: true, Config: "w", Name: "w.example.com", URL: "https://127.0.0.1:1/"})
	})
	c := kube.Start(t)
	now, err := c.snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for uid := range now.objects {
		if !c.asNew.objects[uid] {
			t.Errorf("an object with uid %s is left", uid)
		}
	}
	if len(now.objects) != before {
		t.Errorf("%d objects, %d in a new cluster", len(now.objects), before)
	}
	for name, labels := range now.labels {
		if len(labels) != len(c.asNew.labels[name]) {
			t.Errorf("namespace %s has labels %v, had %v", name, labels, c.asNew.labels[name])
		}
	}
	c.Apply(t, injectPod) // and no webhook is called for it
}
