package kube

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/time/rate"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/meshdiag/meshdiag/diagnose"
)

const (
	// qps and burst are what one meshdiag asks of a cluster's API server at most. A diagnosis makes some fifty requests; the API
	// server's own priority and fairness looks after the rest.
	qps, burst = 50, 100
	// maxContexts bounds the contexts that an error lists.
	maxContexts = 20
)

// clusters are the clusters that a kubeconfig names, or the one that the program runs in.
type clusters struct {
	kubeconfig *clientcmdapi.Config // without contexts where there is none
	err        error                // why it can't be read
	inside     *rest.Config         // of the cluster that the program runs in; nil where it runs in none

	mu        sync.Mutex
	connected map[string]*cluster // by context
}

// cluster is one API server.
type cluster struct {
	context string // "" for the cluster that the program runs in
	inside  bool   // the program runs in it
	login   string // a command that makes new credentials; "" where none is known
	base    *url.URL
	http    *http.Client
	rest    *rest.Config
	limit   *rate.Limiter
	cfg     Config
}

// load reads the kubeconfig.
func (a *API) load(file string) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.WarnIfAllMissing = false
	rules.ExplicitPath = file
	cfg, err := rules.Load()
	var unreadable *fs.PathError
	switch {
	case err == nil || file == "":
	case errors.As(err, &unreadable):
		return fmt.Errorf("the kubeconfig %s: %w", file, unreadable.Err)
	default:
		// What the decoder says speaks of its own types.
		return fmt.Errorf("%s is not a kubeconfig: YAML with apiVersion: v1, kind: Config, and contexts was expected", file)
	}
	if err != nil {
		a.err = fmt.Errorf("reading the kubeconfig: %w", err)
		return nil
	}
	if file != "" && len(cfg.Contexts) == 0 {
		return fmt.Errorf("the kubeconfig %s has no contexts", file)
	}
	a.kubeconfig = cfg
	if len(cfg.Contexts) > 0 {
		return nil
	}
	a.inside, err = rest.InClusterConfig()
	if err != nil && !errors.Is(err, rest.ErrNotInCluster) {
		a.err = fmt.Errorf("reading the pod's own service account: %w", err)
	}
	return nil
}

// Configured says whether there is a cluster to ask.
func (a *API) Configured() bool {
	return a.err != nil || a.inside != nil || len(a.kubeconfig.Contexts) > 0
}

// contexts lists the kubeconfig's contexts, sorted.
func (a *API) contexts() []string {
	var out []string
	if a.kubeconfig != nil {
		for name := range a.kubeconfig.Contexts {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Validate refuses a request whose cluster isn't among those that are configured. The error is a [*diagnose.BadInput].
func (a *API) Validate(r diagnose.Request) error {
	bad := func(format string, v ...any) error {
		return &diagnose.BadInput{Field: "target.kubernetes.cluster", Message: fmt.Sprintf(format, v...)}
	}
	t, names := r.Target, a.contexts()
	list := strings.Join(names[:min(len(names), maxContexts)], ", ")
	if n := len(names) - maxContexts; n > 0 {
		list += fmt.Sprintf(" and %d more", n)
	}
	switch {
	case !t.Kubernetes() || a.err != nil:
		return nil
	case t.Cluster != "" && len(names) == 0:
		return bad("%q is a context of no kubeconfig: none is configured", t.Cluster)
	case t.Cluster != "" && !slices.Contains(names, t.Cluster):
		return bad("%q is not a context of the kubeconfig, which has: %s", t.Cluster, list)
	case t.Cluster == "" && len(names) > 0 && !slices.Contains(names, a.kubeconfig.CurrentContext):
		return bad("the kubeconfig has no current context; name one of: %s", list)
	}
	return nil
}

// cluster gives the cluster of a context, "" for the current one or the one that the program runs in.
func (a *API) cluster(context string) (*cluster, error) {
	if a.err != nil {
		return nil, a.err
	}
	if a.inside == nil {
		context = cmp.Or(context, a.kubeconfig.CurrentContext)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.connected[context]; c != nil {
		return c, nil
	}
	c, err := a.connect(context)
	if err != nil {
		return nil, err
	}
	if a.connected == nil {
		a.connected = map[string]*cluster{}
	}
	a.connected[context] = c
	return c, nil
}

func (a *API) connect(context string) (_ *cluster, err error) {
	c := &cluster{context: context, cfg: a.cfg, limit: rate.NewLimiter(qps, burst)}
	if a.inside != nil {
		c.inside, c.rest = true, rest.CopyConfig(a.inside)
	} else {
		c.rest, err = clientcmd.NewNonInteractiveClientConfig(*a.kubeconfig, context, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("the kubeconfig's context %q: %w", context, err)
		}
	}
	c.rest.UserAgent = "meshdiag"
	if e := c.rest.ExecProvider; e != nil && filepath.Base(e.Command) == "gke-gcloud-auth-plugin" {
		c.login = "gcloud auth login"
	}
	if c.base, _, err = rest.DefaultServerUrlFor(c.rest); err != nil {
		return nil, fmt.Errorf("the address of the API server of context %q: %w", context, err)
	}
	if c.http, err = rest.HTTPClientFor(c.rest); err != nil {
		return nil, fmt.Errorf("the credentials of context %q: %w", context, err)
	}
	own := *c.http // http.DefaultClient, where nothing is special
	c.http = &own
	// An API server redirects nobody, and a token must not follow somebody else's redirection.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// Close drops idle connections.
func (a *API) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.connected {
		c.http.CloseIdleConnections()
	}
}

// kubectl gives the start of a command for the cluster.
func (c *cluster) kubectl() string {
	if c.context == "" {
		return "kubectl"
	}
	return "kubectl --context " + quote(c.context)
}
