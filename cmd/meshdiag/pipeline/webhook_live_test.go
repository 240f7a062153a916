package pipeline

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/internal/kubetest"
)

const (
	istiodHost = "istiod.istio-system.svc"
	cartPod    = "apiVersion: v1\nkind: Pod\nmetadata: {name: cart, namespace: shop}\nspec: {containers: [{name: app, image: cart}]}\n"
	injectorID = "rev.namespace.sidecar-injector.istio.io"
)

// TestKubeWebhookFailures lets the API server itself say each of the reasons for which a pod isn't made, and holds what is found:
// in the live cluster with the event that a controller would write of it, in the live cluster without one, and in the text alone.
func TestKubeWebhookFailures(t *testing.T) {
	const (
		brokenConnection = diagnose.CheckID("webhook/connection-broken")
		timeout          = diagnose.CheckID("webhook/unreachable")
		noEndpoints      = diagnose.CheckID("webhook/no-endpoints")
		noService        = diagnose.CheckID("webhook/service-not-found")
		untrusted        = diagnose.CheckID("webhook/untrusted-certificate")
		wrongName        = diagnose.CheckID("webhook/certificate-name-mismatch")
		badBundle        = diagnose.CheckID("webhook/ca-bundle-invalid")
		noBundle         = diagnose.CheckID("webhook/ca-bundle-missing")
		injectorFailed   = diagnose.CheckID("injection/injector-failed")
		deniedBy         = diagnose.CheckID("webhook/denied")
	)
	type setup = func(*testing.T, *kubetest.Cluster, *kubetest.Webhook)
	serve := func(change func(*testing.T, *kubetest.CA, *kubetest.Server)) setup {
		return func(t *testing.T, c *kubetest.Cluster, w *kubetest.Webhook) {
			ca := kubetest.NewCA(t, "istiod-ca")
			s := kubetest.Server{Certificate: ca.Issue(t, kubetest.Certificate{Names: []string{istiodHost}}), Handler: kubetest.Allow()}
			change(t, ca, &s)
			w.CABundle = ca.PEM()
			c.Route(t, "istio-system", "istiod", 443, c.Serve(t, s))
		}
	}
	answer := func(h http.Handler) setup {
		return serve(func(_ *testing.T, _ *kubetest.CA, s *kubetest.Server) { s.Handler = h })
	}
	issue := func(cert kubetest.Certificate) setup {
		return serve(func(t *testing.T, ca *kubetest.CA, s *kubetest.Server) { s.Certificate = ca.Issue(t, cert) })
	}
	listen := func(at func(*testing.T, *kubetest.Cluster) netip.AddrPort) setup {
		return func(t *testing.T, c *kubetest.Cluster, w *kubetest.Webhook) {
			w.CABundle = kubetest.NewCA(t, "istiod-ca").PEM()
			c.Route(t, "istio-system", "istiod", 443, at(t, c))
		}
	}
	bundle := func(ca *kubetest.CA) []byte {
		if ca == nil {
			return nil
		}
		return ca.PEM()
	}
	trusting := func(other func(*testing.T) *kubetest.CA, own string) setup {
		return func(t *testing.T, c *kubetest.Cluster, w *kubetest.Webhook) {
			ca := kubetest.NewRSACA(t, own)
			s := kubetest.Server{Certificate: ca.Issue(t, kubetest.Certificate{Names: []string{istiodHost}}), Handler: kubetest.Allow()}
			w.CABundle = bundle(other(t))
			c.Route(t, "istio-system", "istiod", 443, c.Serve(t, s))
		}
	}
	// foreign makes the webhook that fails another one's, beside an injector that works.
	foreign := func(h http.Handler) setup {
		return func(t *testing.T, c *kubetest.Cluster, w *kubetest.Webhook) {
			answer(kubetest.Allow())(t, c, w)
			c.Register(t, *w)
			w.Config, w.Name, w.Labels, w.Validating, w.Namespace, w.Service = "policy", "policy.example.com", nil, true, "policy", "policy"
			if h == nil {
				c.Route(t, "policy", "policy", 443)
				return
			}
			ca := kubetest.NewCA(t, "policy-ca")
			w.CABundle = ca.PEM()
			c.Route(t, "policy", "policy", 443, c.Serve(t, kubetest.Server{Certificate: ca.Issue(t, kubetest.Certificate{Names: []string{"policy.policy.svc"}}), Handler: h}))
		}
	}
	cases := []struct {
		name  string
		setup setup
		// what is found first; "" for nothing
		withEvent, objects, text diagnose.CheckID
		subject                  string // that of the webhook of istiod's, where empty
	}{
		{"unknown authority", trusting(func(t *testing.T) *kubetest.CA { return kubetest.NewCA(t, "another") }, "istiod-ca"), badBundle, badBundle, untrusted, ""},
		{"unknown authority of the same name", trusting(func(t *testing.T) *kubetest.CA { return kubetest.NewRSACA(t, "cluster.local") }, "cluster.local"), badBundle, badBundle, untrusted, ""},
		{"an empty bundle", trusting(func(*testing.T) *kubetest.CA { return nil }, "istiod-ca"), noBundle, noBundle, untrusted, ""},
		{"wrong name", issue(kubetest.Certificate{Names: []string{"istiod-asm-1234-7.istio-system.svc", "istiod.example.com"}}), wrongName, "", wrongName, ""},
		{"no name", issue(kubetest.Certificate{}), wrongName, "", wrongName, ""},
		{"a common name alone", issue(kubetest.Certificate{CommonName: istiodHost}), wrongName, "", wrongName, ""},
		{"expired", issue(kubetest.Certificate{Names: []string{istiodHost}, NotAfter: time.Now().Add(-time.Minute)}), untrusted, untrusted, untrusted, ""},
		{"not yet valid", issue(kubetest.Certificate{Names: []string{istiodHost}, NotBefore: time.Now().Add(time.Hour)}), untrusted, untrusted, untrusted, ""},
		{"connection refused", listen(func(t *testing.T, c *kubetest.Cluster) netip.AddrPort { return c.Refuse(t, 15017) }), brokenConnection, "", brokenConnection, ""},
		{"no answer", answer(kubetest.Hang()), timeout, "", timeout, ""},
		{"packets dropped", listen(func(t *testing.T, c *kubetest.Cluster) netip.AddrPort { return c.Blackhole(t, 15017) }), timeout, "", timeout, ""},
		{"EOF", listen(func(t *testing.T, c *kubetest.Cluster) netip.AddrPort { return c.Hangup(t, 0) }), brokenConnection, "", brokenConnection, ""},
		{"no endpoints", func(t *testing.T, c *kubetest.Cluster, _ *kubetest.Webhook) {
			c.Route(t, "istio-system", "istiod", 443)
		}, noEndpoints, noEndpoints, noEndpoints, ""},
		{"none ready", func(t *testing.T, c *kubetest.Cluster, _ *kubetest.Webhook) {
			c.Route(t, "istio-system", "istiod", 443)
			c.Apply(t, istiodSlice("https-webhook", "false"))
		}, noEndpoints, noEndpoints, noEndpoints, ""},
		{"another port name", func(t *testing.T, c *kubetest.Cluster, _ *kubetest.Webhook) {
			c.Route(t, "istio-system", "istiod", 443)
			c.Apply(t, istiodSlice("https", "true"))
		}, noEndpoints, noEndpoints, noEndpoints, ""},
		{"no Service", func(*testing.T, *kubetest.Cluster, *kubetest.Webhook) {}, noService, noService, noService, ""},
		{"no such port", func(t *testing.T, c *kubetest.Cluster, _ *kubetest.Webhook) {
			c.Route(t, "istio-system", "istiod", 15012)
		}, noService, noService, noService, ""},
		{"a Service of another type", func(t *testing.T, c *kubetest.Cluster, _ *kubetest.Webhook) {
			c.Apply(t, "apiVersion: v1\nkind: Service\nmetadata: {name: istiod, namespace: istio-system}\nspec: {type: ExternalName, externalName: istiod.example.com}\n")
		}, noService, noService, noService, ""},
		{"injection failed", answer(kubetest.Deny("Pod injection failed: invalid annotation")), injectorFailed, "", injectorFailed, "the sidecar injector"},
		{"refused without a reason", answer(kubetest.Deny("")), injectorFailed, "", injectorFailed, "the sidecar injector"},
		{"another webhook refuses", foreign(kubetest.Deny("images must come from the registry")), deniedBy, "", deniedBy, "webhook policy.example.com"},
		{"another webhook that doesn't answer", foreign(kubetest.Hang()), timeout, "", timeout, "webhook policy.example.com of service policy/policy"},
		{"another webhook that nothing is behind", foreign(nil), noEndpoints, noEndpoints, noEndpoints, "webhook policy.example.com of service policy/policy"},
		{"HTTP 500", answer(kubetest.Answer(http.StatusInternalServerError, "no template")), brokenConnection, "", brokenConnection, "webhook " + injectorID},
		{"HTTP 404", answer(http.NotFoundHandler()), brokenConnection, "", brokenConnection, "webhook " + injectorID},
		{"no TLS", serve(func(_ *testing.T, _ *kubetest.CA, s *kubetest.Server) { s.Certificate.Certificate = nil }), brokenConnection, "", brokenConnection, ""},
		{"a review without an answer", answer(kubetest.Answer(http.StatusOK, "{}")), brokenConnection, "", brokenConnection, "webhook " + injectorID},
		{"an answer to another review", answer(kubetest.Answer(http.StatusOK, `{"response":{"allowed":true}}`)), brokenConnection, "", brokenConnection, "webhook " + injectorID},
		{"a patch that doesn't apply", answer(kubetest.Patch(`[{"op":"replace","path":"/spec/none/0","value":1}]`)), brokenConnection, "", brokenConnection, "the mutating webhooks"},
		{"a patch without its type", answer(kubetest.Review(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte("[]")}
		})), brokenConnection, "", brokenConnection, "webhook " + injectorID},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := realKube.Start(t)
			c.Namespace(t, "shop", map[string]string{"istio-injection": "enabled"})
			w := kubetest.Webhook{
				Config: "istio-sidecar-injector", Name: injectorID, Labels: map[string]string{"app": "sidecar-injector", "istio.io/rev": "default"},
				Namespace: "istio-system", Service: "istiod", Path: "/inject", TimeoutSeconds: 1,
				CABundle:          kubetest.NewCA(t, "istiod-ca").PEM(),
				NamespaceSelector: map[string]any{"matchLabels": map[string]any{"istio-injection": "enabled"}},
			}
			tc.setup(t, c, &w)
			c.Register(t, w)
			_, err := c.TryCreate(t, cartPod)
			if err == nil {
				t.Fatal("the pod is created")
			}
			said := err.Error()
			if tc.subject == "" {
				tc.subject = "webhook " + injectorID + " of service istio-system/istiod"
			}
			engine := liveEngine(t, c)
			ask := func() *diagnose.Report {
				rep, err := engine.Diagnose(t.Context(), diagnose.Request{Target: diagnose.Target{Namespace: "shop"}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				return rep
			}
			holds(t, "from the objects alone", ask(), tc.objects, tc.subject)
			c.Event(t, kubetest.Event{
				Namespace: "shop", Kind: "ReplicaSet", Name: "cart-5d", Type: "Warning", Reason: "FailedCreate",
				Message: "Error creating: " + said, Component: "replicaset-controller", Count: 12,
			})
			holds(t, "with the event", ask(), tc.withEvent, tc.subject)
			text, err := Explain(t.Context(), "paste", strings.NewReader("Error from server: error when creating \"cart.yaml\": "+said+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			holds(t, "from the text alone", text, tc.text, tc.subject)
		})
	}
}

// holds holds a report to its first cause, and to no other one of a webhook.
func holds(t *testing.T, how string, rep *diagnose.Report, check diagnose.CheckID, subject string) {
	t.Helper()
	if check == "" {
		if len(rep.Causes) > 0 || rep.Verdict == diagnose.CausesFound {
			t.Errorf("%s: found %s: %s", how, rep.Causes[0].Check, rep.Causes[0].Summary)
		}
		return
	}
	if len(rep.Causes) == 0 {
		t.Errorf("%s: nothing is found (%s), want %s", how, rep.Headline, check)
		return
	}
	first := rep.Causes[0]
	t.Logf("%s: %s [%s, %s] %s", how, first.Check, first.Severity, first.Confidence, first.Summary)
	if first.Check != check {
		t.Errorf("%s: found %s: %s; want %s", how, first.Check, first.Summary, check)
	}
	if how != "from the text alone" && !strings.HasPrefix(first.Subject, subject) {
		t.Errorf("%s: it is about %q, want %q", how, first.Subject, subject)
	}
	for _, o := range rep.Causes[1:] {
		t.Errorf("%s: besides, %s: %s", how, o.Check, o.Summary)
	}
}

// istiodSlice is an endpoint slice of istiod with one address.
func istiodSlice(port, ready string) string {
	return `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: istiod-x, namespace: istio-system, labels: {kubernetes.io/service-name: istiod}}
addressType: IPv4
endpoints: [{addresses: [10.4.0.7], conditions: {ready: ` + ready + `}}]
ports: [{name: ` + port + `, port: 15017}]
`
}
