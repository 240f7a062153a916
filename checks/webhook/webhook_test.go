package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// seen is when the evidence of the tests was read.
var (
	seen   = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	live   = evidence.Source{Collector: "kube", Detail: "list", Vantage: evidence.FromAPI, Time: seen}
	pasted = evidence.Source{Collector: "file", Detail: "paste.yaml", Vantage: evidence.FromAPI, Time: seen, Pasted: true}

	ofShop = diagnose.Request{Target: diagnose.Target{Namespace: "shop"}}
)

const (
	hookName  = "rev.namespace.sidecar-injector.istio.io"
	call      = `Internal error occurred: failed calling webhook "` + hookName + `": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": `
	certCall  = `Internal error occurred: failed calling webhook "webhook.cert-manager.io": failed to call webhook: Post "https://cert-manager-webhook.cert-manager.svc:443/mutate?timeout=10s": `
	ofIstiod  = "webhook " + hookName + " of service istio-system/istiod"
	ofManager = "webhook webhook.cert-manager.io of service cert-manager/cert-manager-webhook"
)

type put = func(*evidence.Set)

func all(list ...checkstest.Put) checkstest.Put { return checkstest.All(list...) }

// signatures are those of all checks of the area.
var signatures = []diagnose.Signature{
	messages.WebhookCallFailed, messages.WebhookCallReason, messages.WebhookDenied, messages.WebhookPatchUnusable, messages.TLSRejectedByClient, messages.WebhookPatchFailed,
	messages.ValidationNotSwitched, messages.ValidationSwitched, messages.WebhookUpdateConflict,
}

// text is a pasted log: what the area's signatures find in its lines.
func text(lines ...string) put { return logOf(pasted, time.Time{}, lines...) }

// logOf is a log with each line's time, a second apart.
func logOf(src evidence.Source, from time.Time, lines ...string) put {
	var out []evidence.LogMessage
	for i, l := range lines {
		for _, sig := range signatures {
			f := fieldsOf(regexp.MustCompile(sig.Pattern), l)
			if f == nil {
				continue
			}
			m := evidence.LogMessage{Signature: sig.ID, Fields: f, File: "istiod.log", Line: i + 1, LastLine: i + 1, Text: l, Count: 1, Source: src}
			m.Source.Detail = fmt.Sprintf("istiod.log line %d", m.Line) // as the scan of logs has it
			if !from.IsZero() {
				m.First = from.Add(time.Duration(i) * time.Second)
				m.Last = m.First
			}
			out = append(out, m)
		}
	}
	return func(s *evidence.Set) { evidence.Put(s, evidence.LogMessages, out, src) }
}

// event is a FailedCreate event of a ReplicaSet in the live cluster.
func event(ago time.Duration, message string) put {
	e := kube.Event{
		Meta: kube.Meta{Namespace: "shop", Name: "cart-5d.17b"}, Involved: kube.Ref{Kind: "ReplicaSet", Namespace: "shop", Name: "cart-5d"},
		Type: "Warning", Reason: "FailedCreate", Message: "Error creating: " + message, Count: 12, First: seen.Add(-ago - time.Minute), Last: seen.Add(-ago), Reporter: "replicaset-controller",
	}
	return whole(evidence.ClusterEvents, "shop", e)
}

// whole puts all objects of a namespace, as the API server gives them.
func whole[T any](k evidence.Key[[]evidence.Objects[T]], namespace string, items ...T) put {
	return func(s *evidence.Set) {
		evidence.Put(s, k, []evidence.Objects[T]{{Items: items, Namespace: namespace, Whole: true, Source: live}}, live)
	}
}

// file puts objects of a file.
func file[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) put {
	return func(s *evidence.Set) {
		evidence.Put(s, k, []evidence.Objects[T]{{Items: items, Source: pasted}}, pasted)
	}
}

func fail(names ...evidence.Name) put {
	return func(s *evidence.Set) {
		for _, n := range names {
			s.Fail(n, live, &evidence.Denied{What: "the " + string(n), Permission: "list", Err: errors.New("403")})
		}
	}
}

func late(names ...evidence.Name) put {
	return func(s *evidence.Set) {
		for _, n := range names {
			s.FailLate(n, live, nil)
		}
	}
}

type change[T any] func(*T)

func with[T any](x T, changes []change[T]) T {
	for _, c := range changes {
		c(&x)
	}
	return x
}

// injector is the injector of a revision, as istiod has filled it in; "" is the default revision.
func injector(rev string, changes ...change[kube.WebhookConfiguration]) kube.WebhookConfiguration {
	c := kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration"}
	c.Name, c.UID, c.Created = "istio-sidecar-injector", "u-1", seen.Add(-48*time.Hour)
	service, label := "istiod", "default"
	if rev != "" {
		c.Name, service, label = c.Name+"-"+rev, "istiod-"+rev, rev
	}
	c.Labels = map[string]string{"app": "sidecar-injector", "istio.io/rev": label}
	entry := func(name string, selector kube.Selector) kube.Webhook {
		return kube.Webhook{
			Name: name, Client: kube.ClientConfig{Service: &kube.ServiceReference{Namespace: "istio-system", Name: service, Path: "/inject"}, CABundle: kube.Bundle{PEM: authority().pem}},
			NamespaceSelector: &selector, FailurePolicy: "Fail",
			Rules: []kube.Rule{{Operations: []string{"CREATE"}, APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}},
		}
	}
	c.Webhooks = []kube.Webhook{entry(hookName, kube.Selector{MatchLabels: map[string]string{"istio.io/rev": label}})}
	if rev == "" {
		c.Webhooks = append(c.Webhooks, entry("namespace.sidecar-injector.istio.io", kube.Selector{MatchLabels: map[string]string{"istio-injection": "enabled"}}))
	}
	return with(c, changes)
}

// validator is the validating webhook of a revision.
func validator(rev string, changes ...change[kube.WebhookConfiguration]) kube.WebhookConfiguration {
	c := kube.WebhookConfiguration{Kind: "ValidatingWebhookConfiguration"}
	c.Name, c.UID, c.Created = "istio-validator-istio-system", "u-2", seen.Add(-48*time.Hour)
	service, label := "istiod", "default"
	if rev != "" {
		c.Name, service, label = "istio-validator-"+rev+"-istio-system", "istiod-"+rev, rev
	}
	c.Labels = map[string]string{"app": "istiod", "istio.io/rev": label}
	c.Webhooks = []kube.Webhook{{
		Name: "rev.validation.istio.io", FailurePolicy: "Fail",
		Client: kube.ClientConfig{Service: &kube.ServiceReference{Namespace: "istio-system", Name: service, Path: "/validate"}, CABundle: kube.Bundle{PEM: authority().pem}},
		Rules:  []kube.Rule{{Operations: []string{"CREATE", "UPDATE"}, APIGroups: []string{"networking.istio.io"}, APIVersions: []string{"*"}, Resources: []string{"*"}}},
	}}
	return with(c, changes)
}

// certManager is another one's webhook; for pods it is one that keeps every pod from being made.
func certManager(resource string, changes ...change[kube.WebhookConfiguration]) kube.WebhookConfiguration {
	c := kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration"}
	c.Name, c.UID = "cert-manager-webhook", "u-3"
	group := "cert-manager.io"
	if resource == "pods" {
		group = ""
	}
	c.Webhooks = []kube.Webhook{{
		Name: "webhook.cert-manager.io", FailurePolicy: "Fail",
		Client: kube.ClientConfig{Service: &kube.ServiceReference{Namespace: "cert-manager", Name: "cert-manager-webhook"}, CABundle: kube.Bundle{PEM: authority().pem}},
		Rules:  []kube.Rule{{Operations: []string{"CREATE"}, APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}}},
	}}
	return with(c, changes)
}

// managedInjector is the managed control plane's: a URL, without a caBundle.
func managedInjector() kube.WebhookConfiguration {
	return injector("asm-managed", entriesWith(func(w *kube.Webhook) {
		w.Client = kube.ClientConfig{URL: "https://istiod-asm-managed.example.run.app:443/inject/ISTIO_META_CLOUDRUN_ADDR/x"}
	}))
}

// entriesWith changes every entry.
func entriesWith(f func(*kube.Webhook)) change[kube.WebhookConfiguration] {
	return func(c *kube.WebhookConfiguration) {
		for i := range c.Webhooks {
			f(&c.Webhooks[i])
		}
	}
}

func empty(w *kube.Webhook)   { w.Client.CABundle = kube.Bundle{} }
func ignored(w *kube.Webhook) { w.FailurePolicy = "Ignore" }

func bundled(b kube.Bundle) change[kube.WebhookConfiguration] {
	return entriesWith(func(w *kube.Webhook) { w.Client.CABundle = b })
}

// template makes a configuration one that was written to be applied.
func template(c *kube.WebhookConfiguration) { c.UID, c.Created = "", time.Time{} }

func age(d time.Duration) change[kube.WebhookConfiguration] {
	return func(c *kube.WebhookConfiguration) { c.Created = seen.Add(-d) }
}

// hooks puts all webhooks of the cluster.
func hooks(list ...kube.WebhookConfiguration) put {
	m, v := split(list)
	return all(whole(evidence.MutatingWebhooks, "", m...), whole(evidence.ValidatingWebhooks, "", v...))
}

func hookFile(list ...kube.WebhookConfiguration) put {
	m, v := split(list)
	return all(file(evidence.MutatingWebhooks, m...), file(evidence.ValidatingWebhooks, v...))
}

func split(list []kube.WebhookConfiguration) (m, v []kube.WebhookConfiguration) {
	for _, c := range list {
		if c.Mutating() {
			m = append(m, c)
		} else {
			v = append(v, c)
		}
	}
	return m, v
}

// service is a Service of the control plane's kind.
func service(namespace, name string, changes ...change[kube.Service]) kube.Service {
	s := kube.Service{Meta: kube.Meta{Namespace: namespace, Name: name}}
	s.Spec.Selector = map[string]string{"app": "istiod"}
	s.Spec.Ports = []kube.ServicePort{{Name: "grpc-xds", Port: 15010}, {Name: "https-webhook", Port: 443, TargetPort: "15017"}}
	return with(s, changes)
}

// endpoints is the slice of a Service, with so many ready and so many others.
func endpoints(namespace, name, port string, ready, notReady int) kube.EndpointSlice {
	x := kube.EndpointSlice{Meta: kube.Meta{Namespace: namespace, Name: name + "-x", Labels: map[string]string{"kubernetes.io/service-name": name}}}
	x.Ports = append(x.Ports, struct {
		Name     string `json:"name,omitempty"`
		Port     int    `json:"port,omitempty"`
		Protocol string `json:"protocol,omitempty"`
	}{Name: port, Port: 15017})
	for i := range ready + notReady {
		is := i < ready
		e := kube.Endpoint{Addresses: []string{"10.4.0.7"}}
		e.Conditions.Ready = &is
		x.Endpoints = append(x.Endpoints, e)
	}
	return x
}

const webhookPort = "https-webhook"

// plane puts the istiod of a revision, well.
func plane(revs ...string) put {
	var svcs []kube.Service
	var ends []kube.EndpointSlice
	var deps []kube.Workload
	var pods []kube.Pod
	for _, rev := range revs {
		name, label := "istiod", "default"
		if rev != "" {
			name, label = name+"-"+rev, rev
		}
		svcs = append(svcs, service("istio-system", name))
		ends = append(ends, endpoints("istio-system", name, webhookPort, 2, 0))
		deps = append(deps, deployment(name, label))
		pods = append(pods, istiod(name+"-1", nil))
	}
	return all(whole(evidence.ClusterServices, "istio-system", svcs...), whole(evidence.EndpointSlices, "istio-system", ends...),
		whole(evidence.ControlPlaneWorkloads, "", deps...), whole(evidence.ControlPlanePods, "", pods...))
}

func deployment(name, rev string) kube.Workload {
	w := kube.Workload{Kind: "Deployment"}
	w.Name, w.Namespace, w.Labels = name, "istio-system", map[string]string{"app": "istiod", "istio.io/rev": rev}
	one := 1
	w.Spec.Replicas = &one
	w.Spec.Template.Labels = map[string]string{"app": "istiod", "istio.io/rev": rev}
	return w
}

// toApply makes an object one that was read in a file, and is to be applied.
func toApply(w kube.Workload) kube.Workload {
	w.Origin = "istiod.yaml, document 7"
	return w
}

func istiod(name string, change func(*kube.Pod)) kube.Pod {
	p := kube.Pod{Meta: kube.Meta{Name: name, Namespace: "istio-system", Labels: map[string]string{"app": "istiod"}}}
	p.Status.Phase = "Running"
	p.Status.Containers = []kube.ContainerStatus{{Name: "discovery", Ready: true}}
	if change != nil {
		change(&p)
	}
	return p
}

func waiting(reason, message string) func(*kube.Pod) {
	return func(p *kube.Pod) {
		p.Status.Containers[0].Ready = false
		p.Status.Containers[0].State.Waiting = &struct {
			Reason  string `json:"reason,omitempty"`
			Message string `json:"message,omitempty"`
		}{reason, message}
	}
}

// shop is the namespace asked about, with labels.
func shop(labels ...string) put {
	ns := kube.Namespace{Meta: kube.Meta{Name: "shop", Labels: map[string]string{}}}
	for i := 0; i+1 < len(labels); i += 2 {
		ns.Labels[labels[i]] = labels[i+1]
	}
	return all(whole(evidence.Namespaces, "", ns), whole[kube.Pod](evidence.Pods, "shop"), whole[kube.Workload](evidence.Workloads, "shop"))
}

var injected = shop("istio-injection", "enabled")

func quiet() put {
	return all(whole[kube.Event](evidence.ClusterEvents, "shop"), func(s *evidence.Set) { evidence.Put(s, evidence.LogMessages, nil, live) })
}

// well is a live cluster in which all is well, but for the webhooks given.
func well(list ...kube.WebhookConfiguration) put {
	return all(hooks(list...), plane(""), injected, quiet())
}

// A certificate authority, and what it signs.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var authorities = map[string]ca{}

func authority() ca {
	return authorityOf("cluster.local", seen.Add(-24*time.Hour), seen.Add(3650*24*time.Hour))
}

func authorityOf(name string, from, until time.Time) ca {
	id := name + until.String()
	if a, ok := authorities[id]; ok {
		return a
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{name}}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	cert := signed(t, t, key, key)
	a := ca{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})}
	authorities[id] = a
	return a
}

func signed(t, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, by)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

// serving puts the certificate that istiod's Service serves.
func serving(by ca, until time.Time, names ...string) put {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	leaf := signed(&x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: seen.Add(-12 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, by.cert, key, by.key)
	src := live
	src.Detail = "TLS handshake with 10.4.0.7:15017"
	return func(s *evidence.Set) {
		evidence.Put(s, evidence.ServingCertificates, []evidence.ServingCertificate{{
			Namespace: "istio-system", Service: "istiod", Port: 443, Chain: []*x509.Certificate{leaf, by.cert}, From: src.Detail, Source: src,
		}}, src)
	}
}

const istiodName = "istiod.istio-system.svc"

func TestKinds(t *testing.T) {
	for reason, want := range map[string]kind{
		``: callUnknown,
		`tls: failed to verify certificate: x509: certificate signed by unknown authority`:                                                                                            untrusted,
		`x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "cluster.local")`: untrusted,
		`tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-20T16:33:43Z is after 2026-11-19T00:00:00Z`:                       untrusted,
		`tls: failed to verify certificate: x509: certificate is valid for istiod-asm-1234-7.istio-system.svc, istiod.example.com, not istiod.istio-system.svc`:                       wrongName,
		`tls: failed to verify certificate: x509: certificate is not valid for any names, but wanted to match istiod.istio-system.svc`:                                                wrongName,
		`tls: failed to verify certificate: x509: certificate relies on legacy Common Name field, use SANs instead`:                                                                   wrongName,
		`x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs`:                                                                                       wrongName,
		`dial tcp 192.0.2.2:15017: connect: connection refused`:                                                                                                                       broken,
		`dial tcp 10.254.156.130:443: getsockopt: connection refused`:                                                                                                                 broken,
		`EOF`: broken, `unexpected EOF`: broken, `read tcp 10.0.0.2:4433->10.60.1.5:15017: read: connection reset by peer`: broken,
		`http: server gave HTTP response to HTTPS client`:                                                          broken,
		`an error on the server ("unknown") has prevented the request from succeeding`:                             broken,
		`the server could not find the requested resource`:                                                         broken,
		`received invalid webhook response: webhook response was absent`:                                           broken,
		`received invalid webhook response: webhook returned response.patch but not response.patchType`:            broken,
		`remote error: tls: bad certificate`:                                                                       broken,
		`context deadline exceeded`:                                                                                unreachable,
		`net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)`: unreachable,
		`net/http: TLS handshake timeout`:                                                                          unreachable, `dial tcp 10.129.45.155:15017: i/o timeout`: unreachable,
		`dial tcp 10.60.1.5:15017: connect: no route to host`: unreachable, `proxyconnect tcp: dial tcp 10.0.0.9:3128: i/o timeout`: unreachable,
		`dial tcp: lookup istiod.istio-system.svc on 10.64.0.10:53: no such host`: unreachable, `Timeout: request did not complete within requested timeout 30s`: unreachable,
		`dial tcp 10.60.1.5:15017: connect: connection timed out`: unreachable,
		`no endpoints available for service "istiod"`:             noEndpoints, `endpoints "istiod" not found`: noEndpoints,
		`service "istiod" not found`: serviceMissing, `no service port 443 found for service "istiod"`: serviceMissing, `unsupported service type "ExternalName"`: serviceMissing,
		`services "istiod" not found`: serviceMissing, `Service "istiod" not found`: serviceMissing, `service 'istiod' not found`: serviceMissing,
		`no endpoints available for service 'istiod'`:                                                     noEndpoints,
		`could not get REST client: unable to load root certificates: unable to parse bytes as PEM block`: badBundle,
	} {
		if got := kindOf(reason); got != want {
			t.Errorf("%q is of kind %d, want %d", reason, got, want)
		}
	}
}

// TestDescriptions holds what is said of pods that aren't ready.
func TestDescriptions(t *testing.T) {
	for _, tc := range []struct {
		want   string
		change func(*kube.Pod)
	}{
		{"is in ImagePullBackOff (container discovery): Back-off pulling image \"gcr.io/x\"", waiting("ImagePullBackOff", `Back-off pulling image "gcr.io/x"`)},
		{"is in CrashLoopBackOff (container discovery): OOMKilled, exit code 137", func(p *kube.Pod) {
			waiting("CrashLoopBackOff", "back-off 5m0s")(p)
			p.Status.Containers[0].Last.Terminated = &kube.Terminated{ExitCode: 137, Reason: "OOMKilled"}
		}},
		{"is not scheduled: 0/3 nodes are available: insufficient memory", func(p *kube.Pod) {
			p.Status = kube.PodStatus{Phase: "Pending", Conditions: []kube.Condition{{Type: "PodScheduled", Status: "False", Message: "0/3 nodes are available: insufficient memory"}}}
		}},
		{"runs, and its container discovery is not ready", func(p *kube.Pod) { p.Status.Containers[0].Ready = false }},
		{"runs, and is not among the endpoints", nil},
		{"is being deleted", func(p *kube.Pod) { p.Deleted = seen }},
		{"is Pending", func(p *kube.Pod) { p.Status = kube.PodStatus{Phase: "Pending"} }},
		{"is Failed: Evicted", func(p *kube.Pod) { p.Status = kube.PodStatus{Phase: "Failed", Reason: "Evicted"} }},
		{"is Pending", func(p *kube.Pod) { waiting("ContainerCreating", "")(p); p.Status.Phase = "Pending" }},
	} {
		p := istiod("istiod-1", tc.change)
		if got := condition(&p); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

func TestBundles(t *testing.T) {
	a := authority()
	old := authorityOf("old", seen.Add(-48*time.Hour), seen.Add(-time.Hour))
	next := authorityOf("next", seen.Add(time.Hour), seen.Add(48*time.Hour))
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	junk := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	for _, tc := range []struct {
		name string
		b    kube.Bundle
		want string
	}{
		{"good", kube.Bundle{PEM: a.pem}, ""},
		{"text around it", kube.Bundle{PEM: []byte("# root\n" + string(a.pem) + "\n\n")}, ""},
		{"an old one beside it", kube.Bundle{PEM: append(append([]byte{}, old.pem...), a.pem...)}, ""},
		{"a broken one beside it", kube.Bundle{PEM: append(append([]byte{}, junk...), a.pem...)}, ""},
		{"not base64", kube.Bundle{Raw: "LS0t*"}, "isn't base64: LS0t*"},
		{"a placeholder", kube.Bundle{Raw: "CA_BUNDLE"}, "isn't base64: CA_BUNDLE"},
		{"not PEM", kube.Bundle{PEM: []byte("hello")}, `isn't PEM: it begins with "hello"`},
		{"a key", kube.Bundle{PEM: key}, "holds no certificate, but another kind of PEM block"},
		{"broken", kube.Bundle{PEM: junk}, "holds a certificate that can't be parsed: "},
		{"expired", kube.Bundle{PEM: old.pem}, "has expired: O=old was valid until 2026-11-20T11:00:00Z"},
		{"not yet valid", kube.Bundle{PEM: next.pem}, "holds certificates that aren't valid before 2026-11-20T13:00:00Z alone"},
	} {
		if got := readBundle(tc.b, seen).problem; got != tc.want && (tc.want == "" || !strings.HasPrefix(got, tc.want)) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	if b := readBundle(kube.Bundle{PEM: old.pem}, time.Time{}); b.problem != "" {
		t.Errorf("without a time: %q", b.problem)
	}
}
