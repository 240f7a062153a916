package lab

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// identity is who calls: a service account, by the part of its e-mail address before @, and the scopes of its token.
type identity struct {
	Account string
	Scopes  []string // last path segments
}

func (id identity) hasScope(anyOf ...string) bool {
	return slices.ContainsFunc(id.Scopes, func(s string) bool { return slices.Contains(anyOf, s) })
}

// rolePermissions are the permissions of the predefined roles that scenarios grant, as far as the lab checks them
// (https://cloud.google.com/iam/docs/roles-permissions). roles/viewer is the basic role.
func rolePermissions() map[string][]string {
	trafficDirector := []string{"trafficdirector.networks.getConfigs", "trafficdirector.networks.reportMetrics"}
	projects := []string{"resourcemanager.projects.get", "resourcemanager.projects.list"}
	compute := []string{
		"compute.backendServices.get", "compute.backendServices.list", "compute.forwardingRules.list",
		"compute.globalForwardingRules.list", "compute.instances.get", "compute.projects.get",
		"compute.targetGrpcProxies.list", "compute.targetHttpProxies.list", "compute.targetHttpsProxies.list",
		"compute.targetTcpProxies.list", "compute.urlMaps.get", "compute.urlMaps.list", "compute.healthChecks.list",
		"compute.instanceGroups.get", "compute.networkEndpointGroups.get", "compute.networks.get",
	}
	vms := []string{
		"compute.instances.getEffectiveFirewalls", "compute.instances.getGuestAttributes",
		"compute.instances.getSerialPortOutput", "compute.networks.getEffectiveFirewalls",
	}
	logging, monitoring := []string{"logging.logEntries.list"}, []string{"monitoring.timeSeries.list"}
	networkServices := []string{
		"networkservices.gateways.get", "networkservices.gateways.list", "networkservices.gatewayRouteViews.list",
		"networkservices.grpcRoutes.list", "networkservices.httpRoutes.list", "networkservices.meshes.get",
		"networkservices.meshes.list", "networkservices.meshRouteViews.list", "networkservices.tcpRoutes.list",
		"networkservices.tlsRoutes.list",
	}
	serviceUsage := []string{"serviceusage.services.get", "serviceusage.services.list"}
	return map[string][]string{
		"roles/trafficdirector.client": trafficDirector,
		"roles/trafficdirector.viewer": slices.Concat(trafficDirector[:1], projects),
		"roles/viewer":                 slices.Concat(trafficDirector[:1], projects, compute, vms, networkServices, serviceUsage, logging, monitoring),
		"roles/compute.viewer":         slices.Concat(projects[:1], compute, vms, serviceUsage[:1]),
		"roles/compute.networkViewer":  slices.Concat(trafficDirector[:1], projects[:1], compute, serviceUsage),
		"roles/iam.securityReviewer": {
			"resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy", "iam.roles.get", "iam.roles.list"},
		"roles/serviceusage.serviceUsageConsumer": append([]string{"serviceusage.services.use"}, serviceUsage...),
		"roles/logging.logWriter":                 {"logging.logEntries.create"},
		"roles/monitoring.metricWriter":           {"monitoring.timeSeries.create"},
		"roles/logging.viewer":                    logging,
		"roles/monitoring.viewer":                 monitoring,
		"roles/browser":                           projects,
	}
}

// holds says whether the project's IAM policy gives the account the permission.
func (s *Scenario) holds(account, permission string) bool {
	a := s.account(account)
	if a == nil {
		return false
	}
	roles := rolePermissions()
	return slices.ContainsFunc(a.Roles, func(r string) bool { return slices.Contains(roles[r], permission) })
}

func (s *Scenario) email(account string) string {
	return account + "@" + s.Project.ID + ".iam.gserviceaccount.com"
}

func (s *Scenario) accountOf(email string) (string, bool) {
	name, ok := strings.CutSuffix(email, "@"+s.Project.ID+".iam.gserviceaccount.com")
	return name, ok && s.account(name) != nil
}

// tokenLifetime is what Google's token endpoint gives.
const tokenLifetime = time.Hour

// tokens issues and knows OAuth access tokens.
type tokens struct {
	mu    sync.Mutex
	known map[string]issued
}

type issued struct {
	identity
	expires time.Time
}

func (t *tokens) issue(id identity, lifetime time.Duration) string {
	var b [24]byte
	rand.Read(b[:]) // never fails
	token := "ya29." + base64.RawURLEncoding.EncodeToString(b[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = map[string]issued{}
	}
	t.known[token] = issued{id, time.Now().Add(lifetime)}
	return token
}

// check returns the identity behind an Authorization header, or nothing where it is absent, unknown or expired.
func (t *tokens) check(authorization string) (identity, bool) {
	scheme, token, _ := strings.Cut(authorization, " ")
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.known[token]
	return i.identity, ok && strings.EqualFold(scheme, "Bearer") && time.Now().Before(i.expires)
}

// tokenPath is where the lab's OAuth server listens on the Google endpoint.
const tokenPath = "/token"

// tokenServer is the OAuth 2.0 token endpoint for the JWT bearer grant (RFC 7523), which Google's service account
// key files use. It knows one key: that of the credentials file it wrote.
type tokenServer struct {
	tokens  *tokens
	key     *rsa.PrivateKey
	keyID   string
	email   string
	account string
	uri     string // its own URL: the audience a JWT must name
}

const rsaKeyBits = 2048 // the size of Google's service account keys

func newTokenServer(s *Scenario, tok *tokens, uri string) (*tokenServer, error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaKeyBits)
	if err != nil {
		return nil, fmt.Errorf("making a service account key: %w", err)
	}
	sum := sha256.Sum256(key.N.Bytes())
	return &tokenServer{tokens: tok, key: key, keyID: hex.EncodeToString(sum[:20]), email: s.email(diagnosticAccount),
		account: diagnosticAccount, uri: uri}, nil
}

// credentialsFile is the JSON key file of the account, in the form the Cloud Console downloads.
func (t *tokenServer) credentialsFile(projectID string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(t.key)
	if err != nil {
		return nil, fmt.Errorf("encoding the service account key: %w", err)
	}
	return json.MarshalIndent(map[string]string{
		"type":           "service_account",
		"project_id":     projectID,
		"private_key_id": t.keyID,
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email":   t.email,
		"client_id":      "104857600000000000001",
		"auth_uri":       "https://accounts.google.com/o/oauth2/auth",
		"token_uri":      t.uri,
	}, "", "  ")
}

func (t *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(code, text string) {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": text})
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
		refuse("invalid_request", "Bad Request")
		return
	}
	if r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refuse("unsupported_grant_type", "Invalid grant_type: "+url.QueryEscape(r.PostForm.Get("grant_type")))
		return
	}
	scopes, err := t.verify(r.PostForm.Get("assertion"), time.Now())
	if err != nil {
		refuse("invalid_grant", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": t.tokens.issue(identity{t.account, scopes}, tokenLifetime),
		"expires_in":   int(tokenLifetime.Seconds()),
		"token_type":   "Bearer",
	})
}

// verify checks a JWT's signature and claims (RFC 7519) and returns the scopes it asks for.
func (t *tokenServer) verify(assertion string, now time.Time) ([]string, error) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("invalid JWT: three parts are needed")
	}
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss, Aud, Scope string
		Iat, Exp        int64
	}
	for i, v := range []any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, fmt.Errorf("invalid JWT: part %d is not base64url", i+1)
		}
		if err := json.Unmarshal(b, v); err != nil {
			return nil, fmt.Errorf("invalid JWT: part %d is not JSON", i+1)
		}
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, fmt.Errorf("invalid JWT: signature is not base64url")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if header.Alg != "RS256" || rsa.VerifyPKCS1v15(&t.key.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return nil, fmt.Errorf("Invalid JWT Signature.") //nolint:staticcheck // Google's own words
	}
	const leeway = 5 * time.Minute // clocks may differ by this much
	switch {
	case claims.Iss != t.email:
		return nil, fmt.Errorf("Invalid grant: account not found") //nolint:staticcheck // Google's own words
	case claims.Aud != t.uri:
		return nil, fmt.Errorf("invalid JWT: aud must be %s", t.uri)
	case now.Add(leeway).Before(time.Unix(claims.Iat, 0)), now.Add(-leeway).After(time.Unix(claims.Exp, 0)),
		claims.Exp-claims.Iat > int64(tokenLifetime.Seconds()):
		return nil, fmt.Errorf("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.") //nolint:staticcheck // Google's own words
	}
	var scopes []string
	for _, s := range strings.Fields(claims.Scope) {
		name, ok := strings.CutPrefix(s, scopePrefix)
		if !ok {
			return nil, fmt.Errorf("invalid scope %q", s)
		}
		scopes = append(scopes, name)
	}
	if len(scopes) == 0 {
		return nil, fmt.Errorf("invalid JWT: scope is empty")
	}
	return scopes, nil
}
