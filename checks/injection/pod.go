package injection

import (
	"encoding/json"
	"slices"

	"github.com/meshdiag/meshdiag/evidence/kube"
)

// imageAuto is what a gateway's manifest gives as its image, for the injector to fill in.
const imageAuto = "auto"

// hasProxy says whether the pod has its sidecar: in containers or, as a native one, in initContainers; or what the injector's
// templates gave it in its place, as the pod's status annotation lists it.
func hasProxy(p *kube.Pod) bool {
	if c, _ := p.Sidecar(); c != nil {
		return c.Image != imageAuto
	}
	var status struct {
		Containers     []string `json:"containers"`
		InitContainers []string `json:"initContainers"`
	}
	if json.Unmarshal([]byte(p.Annotations[kube.AnnotationStatus]), &status) != nil {
		return false
	}
	there := func(name string) bool {
		c, init := p.Container(name)
		return c != nil && c.Image != imageAuto && (!init || c.Native())
	}
	return slices.ContainsFunc(append(status.Containers, status.InitContainers...), there)
}

// injectedBy gives the revision that injected the pod, as the injector notes it; "" where it doesn't.
func injectedBy(p *kube.Pod) string {
	var status struct {
		Revision string `json:"revision"`
	}
	_ = json.Unmarshal([]byte(p.Annotations[kube.AnnotationStatus]), &status)
	return status.Revision
}

// leftForInjector says whether a container waits for the injector to fill its image in.
func leftForInjector(p *kube.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c kube.Container) bool { return c.Image == imageAuto })
}

// fromCluster says whether the pod was read as it is in a cluster; a manifest has no status, and no time of creation.
func fromCluster(p *kube.Pod) bool {
	return !p.Created.IsZero() || p.UID != "" || p.Status.Phase != "" || len(p.Status.Containers) > 0
}

// onHost says whether the pod is on its node's network. kubectl describe doesn't print it; the addresses tell.
func onHost(p *kube.Pod) bool {
	return p.Spec.HostNetwork || (p.Status.PodIP != "" && p.Status.PodIP == p.Status.HostIP)
}

// proxyless says whether the application speaks xDS itself: it is in the mesh without a sidecar.
func proxyless(p *kube.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c kube.Container) bool {
		return slices.ContainsFunc(c.Env, func(e kube.EnvVar) bool {
			return e.Name == "GRPC_XDS_BOOTSTRAP" || e.Name == "GRPC_XDS_BOOTSTRAP_CONFIG"
		})
	})
}

// controlPlane says whether the pod is istiod's, which is never injected.
func controlPlane(p *kube.Pod) bool {
	return p.Labels["app"] == "istiod" || p.Labels["istio"] == "pilot"
}

// mirror says whether the pod is the API server's picture of one that a kubelet runs from a file: nobody injects these.
func mirror(p *kube.Pod) bool {
	_, ok := p.Annotations["kubernetes.io/config.mirror"]
	return ok
}

// ignoredByInjector are the namespaces in which Istio's injector leaves every pod alone, whatever it is called for.
// https://github.com/istio/istio/blob/master/pkg/kube/inject/webhook.go
var ignoredByInjector = []string{"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}
