package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/internal/kubetest"
)

// fault is a cluster with something wrong, and what has to be found in it.
type fault struct {
	labels map[string]string // of namespace shop; istio-injection=enabled unless set
	mesh   func(*testing.T, *kubetest.Cluster)
	pods   func(*testing.T, *kubetest.Cluster) // after admission knows the mesh
	logs   func() []kubetest.Log               // made when the test runs: their times count
	ask    []string                            // besides --namespace shop
	causes []string
	says   string // in the first cause's summary
}

// refusedPods lets Deployment checkout want pods that the API server refuses, and reports it in its own words as a ReplicaSet's
// controller does.
func refusedPods(t *testing.T, c *kubetest.Cluster) {
	t.Helper()
	c.Apply(t, checkout(0, ""))
	_, err := c.TryCreate(t, pod{}.manifest())
	if err == nil {
		t.Fatal("the API server took a pod that it should have refused")
	}
	t.Logf("the API server says: %v", err)
	c.Event(t, kubetest.Event{Namespace: "shop", Kind: "ReplicaSet", Name: "checkout-" + hash, Type: "Warning", Reason: "FailedCreate",
		Component: "replicaset-controller", Count: 5, Message: "Error creating: " + err.Error()})
}

// barePods gives pods that were made without a sidecar.
func barePods(t *testing.T, c *kubetest.Cluster) {
	t.Helper()
	c.Apply(t, checkout(2, ""), pod{containers: withoutOne, init: "[]"}.manifest(), pod{name: "checkout-" + hash + "-bbbbb", containers: withoutOne, init: "[]"}.manifest())
}

var faults = map[string]fault{
	// Injection.
	"namespace without a label": {labels: map[string]string{"team": "shop"}, pods: barePods, causes: []string{"injection/not-selected"}, says: "istio-injection=enabled on namespace shop"},
	"label with a typing error": {labels: map[string]string{"istio-injection": "enable"}, pods: barePods, causes: []string{"injection/label-typo"}, says: "enable"},
	"a revision that was never": {labels: map[string]string{"istio.io/rev": "asm-1187-3"}, pods: barePods, causes: []string{"injection/revision-not-installed"}, says: "asm-1187-3"},
	"injection disabled":        {labels: map[string]string{"istio-injection": "disabled"}, pods: barePods, ask: []string{"--deployment", "checkout"}, causes: []string{"injection/not-selected"}, says: "istio-injection=disabled"},
	"a pod that says no": {
		pods: func(t *testing.T, c *kubetest.Cluster) {
			c.Apply(t, checkout(2, `"sidecar.istio.io/inject": "false", `), pod{labels: `"sidecar.istio.io/inject":"false",`, containers: withoutOne, init: "[]"}.manifest())
		},
		ask: []string{"--pod", "checkout-" + hash + "-aaaaa"}, causes: []string{"injection/disabled"}, says: "sidecar.istio.io/inject",
	},
	"two labels that contradict": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c)
			p := newPlane(t, "canary").start(t, c)
			c.Apply(t, p.control(), injector("istio-sidecar-injector-canary", p.revision, "", p.target("/inject")), p.validator())
		},
		labels: map[string]string{"istio-injection": "enabled", "istio.io/rev": "canary"}, pods: shop,
		causes: []string{"injection/conflicting-labels"}, says: "not revision canary",
	},
	"two injectors": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			p := install(t, c)
			c.Apply(t, strings.ReplaceAll(injector("my-injector", "default", "", p.target("/nothing")), `"reinvocationPolicy":"Never"`, `"reinvocationPolicy":"IfNeeded"`))
		},
		pods: shop, causes: []string{"injection/multiple-webhooks"}, says: "my-injector",
	},
	"a pod on its node's network": {
		pods: func(t *testing.T, c *kubetest.Cluster) {
			c.Apply(t, checkout(2, ""), pod{spec: `"hostNetwork":true,`, containers: withoutOne, init: "[]"}.manifest())
		},
		ask: []string{"--pod", "checkout-" + hash + "-aaaaa"}, causes: []string{"injection/host-network"}, says: "network",
	},
	"an annotation instead of a label": {
		labels: map[string]string{"team": "shop"},
		pods: func(t *testing.T, c *kubetest.Cluster) {
			c.Apply(t, checkout(2, ""), strings.Replace(pod{containers: withoutOne, init: "[]"}.manifest(), `"annotations":{`, `"annotations":{"sidecar.istio.io/inject":"true",`, 1))
		},
		causes: []string{"injection/annotation-has-no-effect"}, says: "sidecar.istio.io/inject",
	},
	"an image that waits for the injector": {
		labels: map[string]string{"team": "shop"},
		pods: func(t *testing.T, c *kubetest.Cluster) {
			gateway := strings.Replace(pod{init: "[]", ready: "False", containers: `[{"name":"istio-proxy","image":"auto","imageID":"","ready":false,"started":false,"restartCount":0,"state":{"waiting":{"reason":"ImagePullBackOff","message":"Back-off pulling image \"auto\""}}}]`}.manifest(),
				`{"name":"app","image":"shop/checkout:1.4","ports":[{"containerPort":8080}]}`, `{"name":"istio-proxy","image":"auto"}`, 1)
			c.Apply(t, gateway)
		},
		causes: []string{"injection/image-auto"}, says: "auto",
	},
	"an injector that does nothing": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) { p.handler = kubetest.Allow() })
		},
		pods: barePods, causes: []string{"injection/sidecar-missing"}, says: "no sidecar",
	},
	"a managed control plane that isn't provisioned": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			managed(t, c)
			c.Apply(t, `
apiVersion: mesh.cloud.google.com/v1beta1
kind: ControlPlaneRevision
metadata: {name: asm-managed, namespace: istio-system}
spec: {type: managed_service, channel: regular}
status:
  conditions:
  - {type: Reconciled, status: "False", reason: PreconditionFailed, message: "Workload Identity is off.", lastTransitionTime: "2026-05-04T09:00:00Z"}
  - {type: Stalled, status: "True", reason: PreconditionFailed, message: "Workload Identity is off.", lastTransitionTime: "2026-05-04T09:00:00Z"}
`)
		},
		labels: map[string]string{"istio.io/rev": "asm-managed"}, pods: shop, causes: []string{"injection/managed-control-plane"}, says: "Workload Identity is off",
	},
	"no injector": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			p := newPlane(t, "default").start(t, c)
			c.Apply(t, p.control(), p.validator())
		},
		pods: barePods, causes: []string{"injection/webhook-missing"},
	},

	// Webhooks. The API server itself says what is wrong.
	"istiod scaled to nothing": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) {
				p.edit = strings.NewReplacer("replicas: 1\n  selector", "replicas: 0\n  selector", "\n  replicas: 1\n  readyReplicas: 1\n  updatedReplicas: 1\n  availableReplicas: 1", "",
					"endpoints: [{", "endpoints: []\n# [{")
			})
			c.Delete(t, "v1", "Pod", "istio-system", "istiod-5d8f9c7b6d-q7x2p")
		},
		pods: refusedPods, causes: []string{"istiod/not-ready"}, says: "scaled to 0",
	},
	"a Service that selects nothing": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) {
				p.edit = strings.NewReplacer("selector: {app: istiod, istio.io/rev: default}\n  ports", "selector: {app: pilot}\n  ports", "endpoints: [{", "endpoints: []\n# [{")
			})
		},
		pods: refusedPods, causes: []string{"webhook/no-endpoints"}, says: "istiod",
	},
	"a Service that isn't there": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c)
			c.Register(t, kubetest.Webhook{Config: "vault-agent-injector-cfg", Name: "vault.hashicorp.com", Namespace: "vault", Service: "vault-agent-injector-svc", Path: "/mutate",
				CABundle: kubetest.NewCA(t, "vault").PEM()})
		},
		pods: refusedPods, causes: []string{"webhook/service-not-found"}, says: "vault-agent-injector-svc",
	},
	"an injector that was left behind": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c)
			old := newPlane(t, "1-27-4")
			c.Apply(t, injector("istio-sidecar-injector-1-27-4", old.revision, "", old.target("/inject")))
		},
		labels: map[string]string{"istio.io/rev": "1-27-4"}, pods: refusedPods, causes: []string{"webhook/stale-webhook"}, says: "istiod-1-27-4",
	},
	"a caBundle of another CA": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) { p.bundle = kubetest.NewRSACA(t, "cluster.local").PEM() })
		},
		pods: refusedPods, causes: []string{"webhook/ca-bundle-invalid"},
	},
	"an empty caBundle": {
		mesh: func(t *testing.T, c *kubetest.Cluster) { install(t, c, func(p *plane) { p.bundle = nil }) },
		pods: refusedPods, causes: []string{"webhook/ca-bundle-missing"},
	},
	"a certificate for another name": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) { p.names = []string{"istio-pilot.istio-system.svc"} })
		},
		pods: refusedPods, causes: []string{"webhook/certificate-name-mismatch"}, says: "istio-pilot",
	},
	"nothing listens": {
		mesh: func(t *testing.T, c *kubetest.Cluster) { install(t, c, func(p *plane) { p.at = c.Refuse(t, 0) }) },
		pods: refusedPods, causes: []string{"webhook/connection-broken"}, says: "refused",
	},
	"a firewall that drops": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) {
				p.at, p.edit = c.Blackhole(t, 0), strings.NewReplacer(`"failurePolicy":"Fail"`, `"failurePolicy":"Fail","timeoutSeconds":1`)
			})
		},
		pods: refusedPods, causes: []string{"webhook/unreachable"}, says: "",
	},
	"a server that hangs up": {
		mesh: func(t *testing.T, c *kubetest.Cluster) { install(t, c, func(p *plane) { p.at = c.Hangup(t, 0) }) },
		pods: refusedPods, causes: []string{"webhook/connection-broken"},
	},
	"an injector that says no": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) { p.handler = kubetest.Deny("strconv.ParseInt: parsing \"many\"") })
		},
		pods: refusedPods, causes: []string{"injection/injector-failed"}, says: "strconv.ParseInt",
	},
	"a policy that says no": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c)
			ca := kubetest.NewCA(t, "gatekeeper")
			cert := ca.Issue(t, kubetest.Certificate{Names: []string{"gatekeeper-webhook-service.gatekeeper-system.svc"}})
			c.Route(t, "gatekeeper-system", "gatekeeper-webhook-service", 443, c.Serve(t, kubetest.Server{Certificate: cert, Handler: kubetest.Deny("[containers-must-not-run-as-root] container istio-init may not run as root")}))
			c.Register(t, kubetest.Webhook{Validating: true, Config: "gatekeeper-validating-webhook-configuration", Name: "validation.gatekeeper.sh",
				Namespace: "gatekeeper-system", Service: "gatekeeper-webhook-service", Path: "/v1/admit", CABundle: ca.PEM(), FailurePolicy: "Ignore"})
		},
		pods: refusedPods, causes: []string{"webhook/denied"}, says: "containers-must-not-run-as-root",
	},

	// istiod.
	"istiod may not read": {
		pods: shop, logs: func() []kubetest.Log {
			return []kubetest.Log{{Namespace: "istio-system", Pod: "istiod-5d8f9c7b6d-q7x2p", Container: "discovery",
				Text: ago(time.Minute) + "\terror\twatch error in cluster Kubernetes: failed to list *v1.EndpointSlice: endpointslices.discovery.k8s.io is forbidden: User \"system:serviceaccount:istio-system:istiod\" cannot list resource \"endpointslices\" in API group \"discovery.k8s.io\" at the cluster scope\n"}}
		},
		causes: []string{"istiod/rbac-denied"}, says: "endpointslices",
	},
	"istiod crashes": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) {
				p.edit = strings.NewReplacer("\n  readyReplicas: 1\n  updatedReplicas: 1\n  availableReplicas: 1", "\n  unavailableReplicas: 1", "ready: true, serving: true", "ready: false, serving: false",
					`{type: Ready, status: "True"`, `{type: Ready, status: "False"`,
					"ready: true, started: true, restartCount: 0, state: {running: {startedAt: "+p.started+"}}",
					`ready: false, started: false, restartCount: 12, state: {waiting: {reason: CrashLoopBackOff, message: "back-off 5m0s restarting failed container=discovery"}}, lastState: {terminated: {exitCode: 1, reason: Error, startedAt: `+p.started+`, finishedAt: `+p.started+`}}`)
			})
		},
		pods: refusedPods, causes: []string{"istiod/not-ready"}, says: "was restarted 12 times",
	},
	"the address of an istiod that is gone": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) {
				p.edit = strings.NewReplacer("istiod.istio-system.svc:15012", "istiod-1-27-4.istio-system.svc:15012")
			})
		},
		pods: shop, causes: []string{"istiod/wrong-discovery-address"}, says: "istiod-1-27-4",
	},

	"a proxy without configuration": {
		pods: func(t *testing.T, c *kubetest.Cluster) {
			c.Apply(t, checkout(0, ""), pod{containers: "[" + appRuns + "," + strings.Replace(proxyRuns, `"ready":true`, `"ready":false`, 1) + "]", ready: "False", startedBefore: 10 * time.Minute}.manifest())
		},
		logs: func() []kubetest.Log {
			var text strings.Builder
			for i := range 20 {
				fmt.Fprintf(&text, "%[1]s %[1]s\twarn\tEnvoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected\n",
					ago(5*time.Minute-time.Duration(i)*15*time.Second))
			}
			return []kubetest.Log{{Namespace: "shop", Pod: "checkout-" + hash + "-aaaaa", Container: "istio-proxy", Timed: true, Text: text.String()}}
		},
		causes: []string{"istiod/config-not-received"}, says: "received nothing from istiod",
	},

	// Starting.
	"an init container without a network": {
		mesh: func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) {
				p.handler = admission(strings.Replace(sidecarPatch("default", false), "["+compact(initContainer)+"]", "["+compact(initContainer)+`,{"name":"migrate","image":"shop/migrate:1"}]`, 1))
			})
		},
		pods: func(t *testing.T, c *kubetest.Cluster) {
			fails := `{"name":"migrate","image":"shop/migrate:1","imageID":"","ready":false,"started":false,"restartCount":6,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
				"lastState":{"terminated":{"exitCode":1,"reason":"Error","startedAt":"STARTED","finishedAt":"STARTED"}}}`
			c.Apply(t, checkout(0, ""), pod{init: "[" + initRan + "," + fails + "]", containers: waiting, phase: "Pending", ready: "False", startedBefore: 10 * time.Minute}.manifest())
		},
		logs: func() []kubetest.Log {
			return []kubetest.Log{{Namespace: "shop", Pod: "checkout-" + hash + "-aaaaa", Container: "migrate", Previous: true, Timed: true,
				Text: ago(9*time.Minute) + " dial tcp 10.84.12.7:5432: connect: connection refused\n"}}
		},
		causes: []string{"startup/init-container-blocked"}, says: "migrate",
	},
	"a proxy without memory": {
		pods: func(t *testing.T, c *kubetest.Cluster) {
			killed := `{"name":"istio-proxy","image":"proxyv2","imageID":"","ready":false,"started":false,"restartCount":7,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
				"lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled","startedAt":"STARTED","finishedAt":"STARTED"}}}`
			c.Apply(t, checkout(0, ""), pod{containers: "[" + appRuns + "," + killed + "]", ready: "False", startedBefore: time.Hour}.manifest())
		},
		causes: []string{"startup/proxy-oom"}, says: "want of memory",
	},
	"an istio-init that may not": {
		pods: func(t *testing.T, c *kubetest.Cluster) {
			fails := `[{"name":"istio-init","image":"proxyv2","imageID":"","ready":false,"started":false,"restartCount":6,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
				"lastState":{"terminated":{"exitCode":1,"reason":"Error","startedAt":"STARTED","finishedAt":"STARTED"}}}]`
			c.Apply(t, checkout(0, ""), pod{init: fails, containers: waiting, phase: "Pending", ready: "False", startedBefore: time.Hour}.manifest())
		},
		logs: func() []kubetest.Log {
			return []kubetest.Log{{Namespace: "shop", Pod: "checkout-" + hash + "-aaaaa", Container: "istio-init", Previous: true,
				Text: ago(time.Minute) + "\terror\tFailed to execute: /usr/sbin/iptables-restore --noflush, exit status 4: Fatal: can't open lock file /run/xtables.lock: Permission denied (you must be root)\n"}}
		},
		causes: []string{"startup/istio-init-failed"}, says: "istio-init",
	},
	"a job that never ends": {
		pods: func(t *testing.T, c *kubetest.Cluster) {
			done := `{"name":"app","image":"shop/report:1","imageID":"","ready":false,"started":false,"restartCount":0,"state":{"terminated":{"exitCode":0,"reason":"Completed","startedAt":"STARTED","finishedAt":"STARTED"}}}`
			job := pod{name: "report-x7k2p", containers: "[" + done + "," + proxyRuns + "]", spec: `"restartPolicy":"Never",`, ready: "False", startedBefore: time.Hour}.manifest()
			c.Apply(t, strings.NewReplacer(`"apiVersion":"apps/v1","kind":"ReplicaSet","name":"checkout-`+hash+`"`, `"apiVersion":"batch/v1","kind":"Job","name":"report"`, `,"pod-template-hash":"`+hash+`"`, "", `"app":"checkout"`, `"app":"report"`).Replace(job), `
apiVersion: batch/v1
kind: Job
metadata: {name: report, namespace: shop}
spec: {template: {metadata: {labels: {app: report}}, spec: {restartPolicy: Never, containers: [{name: app, image: "shop/report:1"}]}}}
`)
		},
		causes: []string{"startup/job-never-completes"}, says: "Job",
	},
	"an application that is faster than its proxy": {
		pods: func(t *testing.T, c *kubetest.Cluster) {
			again := `{"name":"app","image":"shop/checkout:1.4","imageID":"","ready":true,"started":true,"restartCount":1,"state":{"running":{"startedAt":"` + ago(time.Minute) + `"}},
				"lastState":{"terminated":{"exitCode":1,"reason":"Error","startedAt":"STARTED","finishedAt":"` + ago(2*time.Minute-2*time.Second) + `"}}}`
			c.Apply(t, checkout(1, ""), pod{containers: "[" + again + "," + proxyRuns + "]", startedBefore: 2 * time.Minute}.manifest())
		},
		logs: func() []kubetest.Log {
			return []kubetest.Log{
				{Namespace: "shop", Pod: "checkout-" + hash + "-aaaaa", Container: "app", Previous: true, Timed: true, Text: ago(2*time.Minute-time.Second) + " dial tcp 10.84.12.7:6379: connect: connection refused\n"},
				{Namespace: "shop", Pod: "checkout-" + hash + "-aaaaa", Container: "istio-proxy", Timed: true, Text: ago(2*time.Minute-4*time.Second) + " " + ago(2*time.Minute-4*time.Second) + "\tinfo\tEnvoy proxy is ready\n"},
			}
		},
		ask: []string{"--pod", "checkout-" + hash + "-aaaaa"}, causes: []string{"startup/proxy-not-ready"}, says: "10.84.12.7:6379",
	},
}

// TestKubeFaults makes each fault in a cluster, and holds that it is found, and nothing else.
func TestKubeFaults(t *testing.T) {
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			c := kube.Start(t)
			logs := wellLogs
			if f.logs != nil {
				logs = append(f.logs(), wellLogs...)
			}
			kubelet(t, c, logs...)
			if f.mesh == nil {
				f.mesh = func(t *testing.T, c *kubetest.Cluster) { install(t, c) }
			}
			f.mesh(t, c)
			labels := f.labels
			if labels == nil {
				labels = map[string]string{"istio-injection": "enabled"}
			}
			meshNamespace(t, c, labels)
			f.pods(t, c)
			config := c.Kubeconfig(t, c.Admin, kubeContext)
			got := askCluster(t, config, append([]string{"--namespace", "shop"}, f.ask...)...)
			if !got.equal(expect(f.causes...)) || !strings.Contains(got.first(t), f.says) {
				t.Errorf("got %+v: %s\n%s%s", got.outcome, got.first(t), got.stdout, got.stderr)
			}
		})
	}
}
