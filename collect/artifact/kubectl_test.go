package artifact

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func printed(t testing.TB, name string) diagnose.Artifact {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "kubectl", name))
	if err != nil {
		t.Fatal(err)
	}
	return diagnose.Artifact{Name: name, Data: b}
}

func TestDescribedPod(t *testing.T) {
	set, files := collect(t, printed(t, "describe-pod.txt"))
	if files[0].Note != "1 Pod, 4 Events" || files[0].Kind != "kubernetes" {
		t.Fatalf("%+v", files[0])
	}
	p := items(t, set, evidence.Pods)[0]
	if p.Ref() != "shop/checkout-7d9c5b6f4d-x2x4l" || p.Origin != "describe-pod.txt, line 1" || !p.Described || p.Controller().Kind != "ReplicaSet" || p.Controller().Name != "checkout-7d9c5b6f4d" {
		t.Errorf("metadata %+v", p.Meta)
	}
	if len(p.Labels) != 4 || p.Labels[kube.LabelRevision] != "asm-1260-11" {
		t.Errorf("labels %v", p.Labels)
	}
	if len(p.Annotations) != 3 || p.Annotations["prometheus.io/port"] != "15020" || p.Annotations[kube.AnnotationProxyConfig] != "holdApplicationUntilProxyStarts: true\nproxyMetadata:\nA: b" ||
		!strings.HasPrefix(p.Annotations[kube.AnnotationStatus], `{"initContainers"`) {
		t.Errorf("annotations %q", p.Annotations)
	}
	if p.Spec.HostNetwork || p.Spec.NodeName != "gke-prod-pool-1-4a5b6c7d-k2l3" || p.Spec.ServiceAccount != "checkout" || p.Status.Phase != "Pending" || p.Status.PodIP != "10.84.3.17" ||
		!p.Status.Started.Equal(time.Date(2024, 3, 4, 8, 58, 1, 0, time.UTC)) {
		t.Errorf("pod %+v %+v", p.Spec, p.Status)
	}
	if c := kube.FindCondition(p.Status.Conditions, "Ready"); len(p.Status.Conditions) != 4 || c.Status != "False" {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	if len(p.Spec.Containers) != 2 || len(p.Spec.InitContainers) != 1 || p.Spec.InitContainers[0].Native() {
		t.Fatalf("containers %+v", p.Spec)
	}
	if i := p.Spec.InitContainers[0]; !reflect.DeepEqual(i.Args, []string{"istio-iptables", "-p", "15001", "--log_output_level=default:info"}) || i.Resources.Limits["memory"] != "1Gi" {
		t.Errorf("istio-init %+v", i)
	}
	if s := p.StatusOf("istio-init").State.Terminated; s == nil || s.Reason != "Completed" || s.ExitCode != 0 || s.Finished.Sub(s.Started) != time.Second {
		t.Errorf("istio-init %+v", s)
	}
	app, _ := p.Container("app")
	if v, ok := app.EnvValue("REDIS"); v != "redis.shop:6379" || !ok || len(app.Env) != 3 || app.Ports[0].Port != 8080 || string(app.LivenessProbe.TCPSocket.Port) != "8080" {
		t.Errorf("app %+v", app)
	}
	if _, ok := app.EnvValue("PASSWORD"); ok {
		t.Error("the password's value is known")
	}
	s := p.StatusOf("app")
	if s.State.Waiting.Reason != "CrashLoopBackOff" || s.Restarts != 4 || s.Ready || s.Last.Terminated.ExitCode != 2 || s.Last.Terminated.Message != "panic: dial redis\ngoroutine 1 [running]:" {
		t.Errorf("app %+v %+v", s, s.Last.Terminated)
	}
	proxy, native := p.Sidecar()
	if proxy == nil || native || proxy.ReadinessProbe.HTTPGet.Path != "/healthz/ready" || proxy.ReadinessProbe.HTTPGet.Port != "15021" || proxy.ReadinessProbe.Period != 15 || proxy.ReadinessProbe.FailureThreshold != 4 {
		t.Errorf("proxy %+v", proxy)
	}
	if r := p.StatusOf(kube.ProxyContainer).State.Running; r == nil || r.Started.Unix() != time.Date(2024, 3, 4, 8, 58, 5, 0, time.UTC).Unix() {
		t.Errorf("proxy %+v", r)
	}
	e := items(t, set, evidence.ClusterEvents)
	if len(e) != 4 || e[2].Reason != "Unhealthy" || e[2].Count != 12 || e[2].Type != "Warning" || e[2].Reporter != "kubelet" || e[2].Message != "Readiness probe failed: HTTP probe failed with statuscode: 503" ||
		!e[2].First.IsZero() || !e[2].Last.IsZero() || e[2].Involved.String() != "Pod shop/checkout-7d9c5b6f4d-x2x4l" || e[2].Origin != "describe-pod.txt, line 106" || e[1].Involved.FieldPath != "spec.containers{istio-init}" {
		t.Errorf("events %+v", e)
	}
}

func TestDescribedNativeSidecarAndHostNetwork(t *testing.T) {
	text := string(printed(t, "describe-pod.txt").Data)
	text = strings.Replace(text, "IP:               10.84.3.17", "IP:               10.128.0.14", 1)
	a, b := strings.Index(text, "  istio-proxy:\n"), strings.Index(text, "\nConditions:")
	proxy := text[a:b]
	text = text[:a] + text[b:]
	text = strings.Replace(text, "Containers:\n  app:", proxy+"Containers:\n  app:", 1)
	set, _ := collect(t, file(text))
	p := items(t, set, evidence.Pods)[0]
	if c, native := p.Sidecar(); c == nil || !native || !p.Spec.HostNetwork {
		t.Errorf("%+v", p.Spec)
	}
}

func TestDescribedWorkloads(t *testing.T) {
	set, files := collect(t, printed(t, "describe-replicaset.txt"))
	if files[0].Note != "1 Deployment, 1 ReplicaSet, 1 Event; 1 known message" {
		t.Fatalf("%+v", files[0])
	}
	w := items(t, set, evidence.Workloads)
	rs, d := w[0], w[1]
	if rs.Title() != "ReplicaSet shop/checkout-7d9c5b6f4d" || rs.Controller().Name != "checkout" || *rs.Spec.Replicas != 2 || rs.Status.Replicas != 0 ||
		rs.Spec.Selector.MatchLabels["app"] != "checkout" || kube.FindCondition(rs.Status.Conditions, "ReplicaFailure").Reason != "FailedCreate" {
		t.Errorf("%+v", rs)
	}
	p := rs.Pod()
	if p.Labels[kube.LabelInject] != "true" || len(p.Labels) != 3 || p.Annotations[kube.AnnotationProxyConfig] != `{ "holdApplicationUntilProxyStarts": true }` || len(p.Spec.Containers) != 1 ||
		p.Spec.Containers[0].Image != "example.com/checkout:7" || p.Spec.InitContainers[0].Name != "migrate" || p.Spec.InitContainers[0].Native() || p.Spec.ServiceAccount != "checkout" || !p.Described {
		t.Errorf("template %+v", p)
	}
	if d.Kind != "Deployment" || *d.Spec.Replicas != 2 || d.Status.Replicas != 1 || d.Status.Available != 1 || d.Created.Year() != 2024 || d.Pod().Labels["app"] != "checkout" {
		t.Errorf("%+v", d)
	}
	e := items(t, set, evidence.ClusterEvents)
	if len(e) != 1 || e[0].Count != 16 || e[0].Involved.Kind != "ReplicaSet" || e[0].Reporter != "replicaset-controller" || !strings.HasPrefix(e[0].Message, "Error creating: Internal error occurred: failed calling webhook") {
		t.Errorf("%+v", e)
	}
	m := get(t, set, evidence.LogMessages)
	if len(m) != 1 || m[0].Count != 16 || m[0].Source.Detail != "describe-replicaset.txt (event FailedCreate of ReplicaSet shop/checkout-7d9c5b6f4d)" || !m[0].Last.IsZero() {
		t.Errorf("%+v", m)
	}
}

func TestDescribedWebhooks(t *testing.T) {
	for name, edit := range map[string]func(string) string{
		"as printed":     func(s string) string { return s },
		"blanks lost":    func(s string) string { return strings.ReplaceAll(s, "      \n", "\n") },
		"and lines lost": func(s string) string { return strings.ReplaceAll(s, "      \n", "") },
	} {
		t.Run(name, func(t *testing.T) {
			set, files := collect(t, file(edit(string(printed(t, "describe-webhook.txt").Data))))
			if files[0].Note != "1 MutatingWebhookConfiguration" {
				t.Fatalf("%+v", files[0])
			}
			c := items(t, set, evidence.MutatingWebhooks)[0]
			if c.Name != "istio-sidecar-injector-asm-1260-11" || c.Labels[kube.LabelRevision] != "asm-1260-11" || c.Generation != 5 || c.Created.Day() != 1 || len(c.Webhooks) != 2 {
				t.Fatalf("%+v", c)
			}
			a, b := c.Webhooks[0], c.Webhooks[1]
			if a.Name != "rev.namespace.sidecar-injector.istio.io" || string(a.Client.CABundle.PEM) != "-----BEGIN" || a.Client.Service.Host() != "istiod-asm-1260-11.istio-system.svc" || a.Client.Service.PortNumber() != 443 ||
				a.FailurePolicy != "Fail" || *a.TimeoutSeconds != 10 {
				t.Errorf("%+v", a)
			}
			ns := &kube.Namespace{Meta: kube.Meta{Name: "shop", Labels: map[string]string{"istio.io/rev": "asm-1260-11"}}}
			pod := &kube.Pod{Meta: kube.Meta{Namespace: "shop"}}
			if m := a.Calls(kube.CreatePod(pod, ns), nil); m.Answer != kube.Yes {
				t.Errorf("%+v", m)
			}
			pod.Labels = map[string]string{"sidecar.istio.io/inject": "false"}
			if m := a.Calls(kube.CreatePod(pod, ns), nil); m.Answer != kube.No || m.On != "objectSelector" {
				t.Errorf("%+v", m)
			}
			if b.Client.URL != "https://example.com/inject" || b.Client.Service != nil || len(b.Rules) != 2 || b.Rules[1].Resources[0] != "deployments" || b.Rules[1].APIGroups[0] != "apps" || b.Rules[0].APIGroups[0] != "" ||
				len(b.MatchConditions) != 1 || b.MatchConditions[0].Name != "without-x" || !b.ObjectSelector.Empty() || len(a.MatchConditions) != 0 ||
				!reflect.DeepEqual(b.NamespaceSelector.MatchLabels, map[string]string{"istio-injection": "enabled", "a.b/c": "1"}) {
				t.Errorf("%+v", b)
			}
		})
	}
}

func TestSession(t *testing.T) {
	set, files := collect(t, printed(t, "session.txt"))
	if want := "2 rows of pods, 3 Events, 2 proxies' states in istiod; 1 known message; besides: 1 line with a known message, of 18"; files[0].Note != want {
		t.Errorf("%q", files[0].Note)
	}
	rows := items(t, set, evidence.PodRows)
	if r := rows[0]; r.Name != "checkout-7d9c5b6f4d-x2x4l" || r.Ready != 1 || r.Total != 2 || r.Status != "CrashLoopBackOff" || r.Restarts != 4 || r.Namespace != "" || r.Origin != "session.txt, line 3" {
		t.Errorf("%+v", r)
	}
	if set.Has(evidence.Pods.Name()) {
		t.Error("rows of a table are taken for pods, whose containers are known")
	}
	e := items(t, set, evidence.ClusterEvents)
	if len(e) != 3 || e[0].Reason != "Pulled" || e[2].Reason != "FailedCreate" || e[2].Involved.String() != "ReplicaSet checkout-7d9c5b6f4d" || e[1].Involved.Kind != "Pod" || !e[1].Last.IsZero() {
		t.Errorf("the oldest isn't first, or %+v", e)
	}
	s := get(t, set, evidence.ProxySyncs)
	if len(s) != 2 || s[1].Proxy != "checkout-7d9c5b6f4d-x2x4l.shop" || s[1].Cluster != "Kubernetes" || s[1].Istiod != "istiod-6cf8d4f9cb-wm7x6" || s[1].Version != "1.20.1" || s[1].File != "session.txt" ||
		!reflect.DeepEqual(s[1].Types, map[string]string{"CDS": "SYNCED", "LDS": "STALE", "EDS": "SYNCED", "RDS": "NOT SENT", "ECDS": "NOT SENT"}) {
		t.Errorf("%+v", s)
	}
	m := get(t, set, evidence.LogMessages)
	if len(m) != 2 || m[1].Line != 18 {
		t.Errorf("%+v", m)
	}
}

func TestEventTables(t *testing.T) {
	want := kube.Event{Type: "Warning", Reason: "FailedCreate", Message: "Error creating: x", Count: 4, Involved: kube.Ref{Kind: "ReplicaSet", Name: "checkout-5d"}}
	for _, tc := range []struct {
		name, text string
		want       kube.Event
	}{
		{"all namespaces", "NAMESPACE   LAST SEEN   TYPE      REASON         OBJECT                   MESSAGE\nshop        8s          Warning   FailedCreate   replicaset/checkout-5d   Error creating: x\n",
			kube.Event{Meta: kube.Meta{Namespace: "shop"}, Type: "Warning", Reason: "FailedCreate", Message: "Error creating: x", Count: 1, Involved: kube.Ref{Kind: "ReplicaSet", Namespace: "shop", Name: "checkout-5d"}}},
		{"wide", "LAST SEEN   TYPE      REASON         OBJECT                   SUBOBJECT                      SOURCE                  MESSAGE             FIRST SEEN   COUNT   NAME\n" +
			"8s          Warning   Unhealthy      pod/checkout-5d-x        spec.containers{istio-proxy}   kubelet, gke-node-1     Readiness failed    2m           4       checkout-5d.17b\n",
			kube.Event{Type: "Warning", Reason: "Unhealthy", Message: "Readiness failed", Count: 4, Involved: kube.Ref{Kind: "Pod", Name: "checkout-5d-x", FieldPath: "spec.containers{istio-proxy}"}, Reporter: "kubelet"}},
		{"wide, no part", "LAST SEEN   TYPE      REASON         OBJECT                   SUBOBJECT   SOURCE                  MESSAGE             FIRST SEEN   COUNT   NAME\n" +
			"8s          Warning   FailedCreate   replicaset/checkout-5d               replicaset-controller   Error creating: x   2m           4       checkout-5d.17b\n",
			func() kube.Event { e := want; e.Reporter = "replicaset-controller"; return e }()},
		{"kubectl events", "LAST SEEN          TYPE      REASON         OBJECT                   MESSAGE\n8s (x4 over 2m)    Warning   FailedCreate   ReplicaSet/checkout-5d   Error creating: x\n", want},
		{"blanks lost", "LAST SEEN TYPE REASON OBJECT MESSAGE\n8s (x4 over 2m) Warning FailedCreate replicaset/checkout-5d Error creating: x\n", want},
		{"of Kubernetes 1.13", "LAST SEEN   FIRST SEEN   COUNT   NAME                           KIND         SUBOBJECT   TYPE      REASON         SOURCE                  MESSAGE\n" +
			"8s          2m           4       checkout-5d.15a0b1c2d3e4f5a6   ReplicaSet               Warning   FailedCreate   replicaset-controller   Error creating: x\n",
			func() kube.Event { e := want; e.Reporter = "replicaset-controller"; return e }()},
		{"a message of two lines", "LAST SEEN   TYPE      REASON         OBJECT                   MESSAGE\n8s          Warning   FailedCreate   replicaset/checkout-5d   Error creating: x\nand more\n",
			func() kube.Event { e := want; e.Count, e.Message = 1, "Error creating: x\nand more"; return e }()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, file(tc.text))
			if files[0].Note != "1 Event" {
				t.Fatalf("%+v", files[0])
			}
			got := items(t, set, evidence.ClusterEvents)[0]
			got.Origin = ""
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestPodTables(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       kube.PodRow
	}{
		{"wide, all namespaces", "NAMESPACE   NAME   READY   STATUS     RESTARTS   AGE   IP           NODE     NOMINATED NODE   READINESS GATES\nshop        a-1    0/2     Init:0/1   0          5m    10.84.3.17   node-1   <none>           <none>\n",
			kube.PodRow{Meta: kube.Meta{Name: "a-1", Namespace: "shop"}, Total: 2, Status: "Init:0/1", Node: "node-1"}},
		{"with labels", "NAME   READY   STATUS    RESTARTS     AGE   LABELS\na-1    1/1     Running   3 (2m ago)   5m    app=a,b=c\n", kube.PodRow{Meta: kube.Meta{Name: "a-1", Labels: map[string]string{"app": "a", "b": "c"}}, Ready: 1, Total: 1, Status: "Running", Restarts: 3}},
		{"blanks lost", "NAME READY STATUS RESTARTS AGE\na-1 1/2 CrashLoopBackOff 3 (2m11s ago) 5m\n", kube.PodRow{Meta: kube.Meta{Name: "a-1"}, Ready: 1, Total: 2, Status: "CrashLoopBackOff", Restarts: 3}},
		{"kubectl get all", "NAME        READY   STATUS    RESTARTS   AGE\npod/a-1     2/2     Running   0          5m\n\nNAME          TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)   AGE\nservice/a     ClusterIP   10.0.0.1     <none>        80/TCP    5m\n",
			kube.PodRow{Meta: kube.Meta{Name: "a-1"}, Ready: 2, Total: 2, Status: "Running"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, file(tc.text))
			if files[0].Note != "1 row of a pod" {
				t.Fatalf("%+v", files[0])
			}
			got := items(t, set, evidence.PodRows)[0]
			got.Origin = ""
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestProxySyncs(t *testing.T) {
	synced := map[string]string{"CDS": "SYNCED", "LDS": "SYNCED", "EDS": "SYNCED", "RDS": "NOT SENT"}
	for _, tc := range []struct {
		name, text string
		want       evidence.ProxySync
	}{
		{"of Istio 1.1", "PROXY                     CDS        LDS        EDS               RDS          PILOT                            VERSION\na-1.shop                  SYNCED     SYNCED     SYNCED (100%)     NOT SENT     istio-pilot-75bdf98789-tfdvh     1.1.2\n",
			evidence.ProxySync{Proxy: "a-1.shop", Istiod: "istio-pilot-75bdf98789-tfdvh", Version: "1.1.2", Types: synced}},
		{"of Istio 1.7", "NAME         CDS        LDS        EDS        RDS          ISTIOD                      VERSION\na-1.shop     SYNCED     SYNCED     SYNCED     NOT SENT     istiod-6cf8d4f9cb-wm7x6     1.7.0\n",
			evidence.ProxySync{Proxy: "a-1.shop", Istiod: "istiod-6cf8d4f9cb-wm7x6", Version: "1.7.0", Types: synced}},
		{"with ages", "NAME         CLUSTER        CDS              LDS              EDS              RDS          ISTIOD                      VERSION\na-1.shop     Kubernetes     SYNCED (20m)     SYNCED (20m)     SYNCED (20m)     NOT_SENT     istiod-6cf8d4f9cb-wm7x6     1.24.0\n",
			evidence.ProxySync{Proxy: "a-1.shop", Cluster: "Kubernetes", Istiod: "istiod-6cf8d4f9cb-wm7x6", Version: "1.24.0", Types: synced}},
		{"types alone", "NAME         CLUSTER        ISTIOD                      VERSION     SUBSCRIBED TYPES\na-1.shop     Kubernetes     istiod-7d4f74889d-mb5dh     1.27.1      2 (CDS,LDS)\n",
			evidence.ProxySync{Proxy: "a-1.shop", Cluster: "Kubernetes", Istiod: "istiod-7d4f74889d-mb5dh", Version: "1.27.1", Types: map[string]string{"CDS": "SUBSCRIBED", "LDS": "SUBSCRIBED"}}},
		{"blanks lost", "NAME CDS LDS EDS RDS ISTIOD VERSION\na-1.shop SYNCED SYNCED SYNCED NOT SENT istiod-6cf8d4f9cb-wm7x6 1.7.0\n",
			evidence.ProxySync{Proxy: "a-1.shop", Istiod: "istiod-6cf8d4f9cb-wm7x6", Version: "1.7.0", Types: synced}},
		{"syncz", `[{"proxy":"a-1.shop","proxy_version":"1.10.0","istio_version":"1.10.0","cluster_sent":"x=1","cluster_acked":"x=1","listener_sent":"2","listener_acked":"2","endpoint_sent":"3","endpoint_acked":"3"}]`,
			evidence.ProxySync{Proxy: "a-1.shop", Version: "1.10.0", Types: synced}},
		{"syncz with extensions", `[{"cluster_id":"Kubernetes","proxy":"a-1.shop","istio_version":"1.20","cluster_sent":"1","cluster_acked":"1","listener_sent":"2","listener_acked":"1","route_sent":"4","endpoint_sent":"3","endpoint_acked":"3","extensionconfig_sent":"5","extensionconfig_acked":"5"}]`,
			evidence.ProxySync{Proxy: "a-1.shop", Cluster: "Kubernetes", Version: "1.20", Types: map[string]string{"CDS": "SYNCED", "LDS": "STALE", "EDS": "SYNCED", "RDS": "STALE", "ECDS": "SYNCED"}}},
		{"syncz with statuses", `[{"proxy":"a-1.shop","istio_version":"1.10-dev","statuses":{"CDS":{"nonce_sent":"1","nonce_acked":"1"},"LDS":{"nonce_sent":"1","nonce_acked":"1"},"EDS":{"nonce_sent":"1","nonce_acked":"1"}}}]`,
			evidence.ProxySync{Proxy: "a-1.shop", Version: "1.10-dev", Types: synced}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, file(tc.text))
			if files[0].Note != "1 proxy's state in istiod" {
				t.Fatalf("%+v", files[0])
			}
			got := get(t, set, evidence.ProxySyncs)[0]
			got.File, got.Source = "", evidence.Source{}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%+v\nwant %+v", got, tc.want)
			}
		})
	}
}

// TestNotKubectl holds that what looks a little like kubectl's output stays what it is.
func TestNotKubectl(t *testing.T) {
	for _, text := range []string{
		"NAME READY STATUS\nx 1/1 Running\n",
		"Name: value\nNamespace: other\n",
		"Name:         x\nError: it has not been used in project 12\n",
		"NAME   READY   STATUS   RESTARTS   AGE\n",
		`[{"proxy":"a-1.shop","cluster_acked":"1","listener_acked":"2"}]`,
		`[{"proxy":"a"},{"x":1}]`,
		"LAST SEEN   TYPE   REASON   OBJECT   MESSAGE\nno events here\n",
	} {
		_, files := collect(t, file(text))
		if files[0].Kind == "kubernetes" {
			t.Errorf("%q: %+v", text, files[0])
		}
	}
}

func TestDescribedOthers(t *testing.T) {
	for _, tc := range []struct{ name, text, note string }{
		{"a namespace", "Name:         shop\nLabels:       istio-injection=enabled\n              kubernetes.io/metadata.name=shop\nAnnotations:  <none>\nStatus:       Active\n\nNo resource quota.\n\nNo LimitRange resource.\n", "1 Namespace"},
		{"namespaces with labels", "NAME   STATUS   AGE   LABELS\nshop   Active   5d    istio-injection=enabled,kubernetes.io/metadata.name=shop\nold    Active   9d    <none>\n", "2 Namespaces"},
		{"a manifest behind its command", "[root@master ~]# kubectl get pod a -o yaml\n" + podYAML, "1 Pod"},
		{"JSON behind its command", "$ kubectl get pod a -o json\n" + podJSON, "1 Pod"},
		{"a custom resource", "Name:         asm-managed\nNamespace:    istio-system\nLabels:       <none>\nAnnotations:  <none>\nAPI Version:  mesh.cloud.google.com/v1beta1\nKind:         ControlPlaneRevision\nSpec:\n  Channel:  regular\n  Type:     managed_service\nStatus:\n  Conditions:\n    Last Transition Time:  2024-03-01T10:00:00Z\n    Message:               it has not been used in project 1\n    Reason:                PreconditionFailed\n    Status:                True\n    Type:                  Stalled\n    Last Transition Time:  2024-03-01T10:00:00Z\n    Status:                False\n    Type:                  Reconciled\nEvents:                    <none>\n",
			"1 ControlPlaneRevision; 1 known message"},
		{"a Service beside a pod", "Name:              a\nNamespace:         shop\nLabels:            <none>\nSelector:          app=a\nType:              ClusterIP\nEvents:            <none>\n\n\n" + string(printed(t, "describe-pod.txt").Data),
			"1 Pod, 4 Events; not used: an object that kubectl describes"},
		{"a Job", "Name:             migrate\nNamespace:        shop\nSelector:         batch.kubernetes.io/controller-uid=1\nLabels:           app=migrate\nAnnotations:      <none>\nParallelism:      1\nCompletions:      1\nPods Statuses:    1 Active (0 Ready) / 2 Succeeded / 3 Failed\nPod Template:\n  Labels:  app=migrate\n  Containers:\n   m:\n    Image:  x\nEvents:  <none>\n", "1 Job"},
		{"an old pod", "Name:           a\nNamespace:      shop\nNode:           n/10.0.0.1\nLabels:         app=a\nAnnotations:    kubernetes.io/created-by={}\nStatus:         Running\nIP:             10.1.0.1\nContainers:\n  app:\n    Image:      x\n    State:      Running\n      Started:  Mon, 04 Mar 2018 09:58:05 +0100\n    Ready:      True\nEvents:\n  FirstSeen\tLastSeen\tCount\tFrom\t\t\tSubObjectPath\t\tType\t\tReason\t\tMessage\n  ---------\t--------\t-----\t----\t\t\t-------------\t\t--------\t------\t\t-------\n  1m\t\t1m\t\t1\tdefault-scheduler\t\t\t\tNormal\t\tScheduled\tSuccessfully assigned a to n\n",
			"1 Pod, 1 Event"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, file(tc.text))
			if files[0].Note != tc.note {
				t.Fatalf("%+v", files[0])
			}
			switch tc.name {
			case "a custom resource":
				r := items(t, set, evidence.ControlPlaneRevisions)[0]
				if c := kube.FindCondition(r.Status.Conditions, "Stalled"); len(r.Status.Conditions) != 2 || c.Status != "True" || c.Changed.IsZero() || r.Spec.Channel != "regular" {
					t.Errorf("%+v", r)
				}
			case "namespaces with labels":
				n := items(t, set, evidence.Namespaces)
				if n[0].Labels["istio-injection"] != "enabled" || len(n[0].Labels) != 2 || n[1].Labels != nil {
					t.Errorf("%+v", n)
				}
			case "a Job":
				w := items(t, set, evidence.Workloads)[0]
				if w.Kind != "Job" || w.Status.Active != 1 || w.Status.Succeeded != 2 || w.Status.Failed != 3 {
					t.Errorf("%+v", w)
				}
			case "an old pod":
				if e := items(t, set, evidence.ClusterEvents)[0]; e.Reason != "Scheduled" || e.Message != "Successfully assigned a to n" {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// eventEntry is an event of a pod in Cloud Logging.
const eventEntry = `[{"insertId":"a","logName":"projects/p/logs/events","timestamp":"2024-05-01T10:00:05Z","resource":{"type":"k8s_pod","labels":{"pod_name":"checkout-1","namespace_name":"shop"}},
 "jsonPayload":{"apiVersion":"v1","kind":"Event","involvedObject":{"kind":"Pod","name":"checkout-1","namespace":"shop"},"metadata":{"name":"checkout-1.17","namespace":"shop"},"reason":"Unhealthy","message":"it has not been used in project 12","count":4,"type":"Warning","lastTimestamp":"2024-05-01T10:00:00Z","source":{"component":"kubelet"}}}]`

func TestLoggedEvents(t *testing.T) {
	earlier := strings.NewReplacer(`"count":4`, `"count":2`, "10:00:0", "09:00:0").Replace(eventEntry)
	both := strings.TrimSuffix(eventEntry, "]") + "," + strings.TrimPrefix(earlier, "[")
	line := `,{"insertId":"c","logName":"projects/p/logs/stderr","timestamp":"2024-05-01T10:00:01Z","resource":{"type":"k8s_container"},"jsonPayload":{"message":"gRPC config stream closed: 14, x","reason":"y"}}]`
	for text, note := range map[string]string{
		eventEntry:                           "1 Event; 1 known message",
		both:                                 "1 Event; 1 known message",
		strings.TrimSuffix(both, "]") + line: "1 line with a known message, of 1; 1 Event; 1 known message",
	} {
		set, files := collect(t, file(text))
		if files[0].Kind != "log" || files[0].Note != note {
			t.Errorf("%+v, want %s", files[0], note)
		}
		e := items(t, set, evidence.ClusterEvents)
		if len(e) != 1 || e[0].Count != 4 || e[0].Reporter != "kubelet" || e[0].Last.Format(time.TimeOnly) != "10:00:00" || e[0].Origin != "f, entry 1" {
			t.Errorf("%+v", e)
		}
	}
}
