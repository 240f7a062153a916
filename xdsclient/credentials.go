package xdsclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ScopeCloudPlatform is the OAuth scope that Traffic Director and the other Google Cloud APIs ask for.
const ScopeCloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// tokenTimeout bounds one fetch of a token, where the HTTP client has no bound of its own.
const tokenTimeout = 15 * time.Second

// CredentialsConfig says where access tokens come from.
type CredentialsConfig struct {
	// File is a credentials file as Google's tools write it: a service account's key, a user's credentials, or the
	// configuration of workload identity federation. Such a file names the URLs that it is used with: it must be trusted.
	// "" means Application Default Credentials.
	File string
	// MetadataServer asks the metadata server of the VM alone, and looks for no file. Not allowed with File.
	MetadataServer bool
	// HTTPClient fetches the tokens, except from the metadata server, which needs none; nil is a plain one.
	HTTPClient *http.Client
	// Scopes default to ScopeCloudPlatform.
	Scopes []string
}

// Credentials give access tokens.
type Credentials struct {
	TokenSource oauth2.TokenSource
	// Source says where they are from: the file's name or "metadata server".
	Source string
	// Type is that of the credentials file: "service_account", "authorized_user" and so on; "" for the metadata server.
	Type string
	// Account is the service account's email where the file says it.
	Account string
	// ProjectID and QuotaProject are those of the file, if any.
	ProjectID, QuotaProject string
}

// FindCredentials gives the credentials of a file, of the metadata server, or else Application Default Credentials
// (https://cloud.google.com/docs/authentication/application-default-credentials). It reads files but fetches no token.
// Errors are one line, and name the file.
func FindCredentials(ctx context.Context, c CredentialsConfig) (*Credentials, error) {
	if len(c.Scopes) == 0 {
		c.Scopes = []string{ScopeCloudPlatform}
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Timeout: tokenTimeout}
	}
	// Tokens are fetched long after this call, so its cancellation must not stop them.
	ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, c.HTTPClient)
	metadataServer := &Credentials{TokenSource: google.ComputeTokenSource("", c.Scopes...), Source: "metadata server"}
	switch {
	case c.File != "" && c.MetadataServer:
		return nil, errors.New("credentials: a file and the metadata server: only one of the two is allowed")
	case c.MetadataServer:
		return metadataServer, nil
	case c.File != "":
		return fileCredentials(ctx, c.File, "credentials file", c.Scopes)
	}
	const variable = "GOOGLE_APPLICATION_CREDENTIALS"
	if file := os.Getenv(variable); file != "" {
		return fileCredentials(ctx, file, variable, c.Scopes)
	}
	// google.FindDefaultCredentials looks here too, but its errors do not say where.
	if file := gcloudFile(); file != "" {
		return fileCredentials(ctx, file, "application default credentials", c.Scopes)
	}
	found, err := google.FindDefaultCredentials(ctx, c.Scopes...)
	if err != nil {
		return nil, fmt.Errorf("finding application default credentials: %s", oneLine(err))
	}
	metadataServer.ProjectID = found.ProjectID
	return metadataServer, nil
}

// gcloudFile gives the file that "gcloud auth application-default login" writes, or "" where there is none.
func gcloudFile() string {
	dir := filepath.Join(os.Getenv("HOME"), ".config")
	if runtime.GOOS == "windows" {
		dir = os.Getenv("APPDATA")
	}
	file := filepath.Join(dir, "gcloud", "application_default_credentials.json")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return file
}

// credentialTypes are the types of credentials files that are understood.
func credentialTypes() []google.CredentialsType {
	return []google.CredentialsType{google.ServiceAccount, google.AuthorizedUser, google.ExternalAccount,
		google.ExternalAccountAuthorizedUser, google.ImpersonatedServiceAccount}
}

// maxCredentials bounds a credentials file; real ones are a few kilobytes.
const maxCredentials = 1 << 20

func fileCredentials(ctx context.Context, name, what string, scopes []string) (*Credentials, error) {
	b, err := readBounded(name, maxCredentials)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, name, err)
	}
	var f struct {
		Type *string `json:"type"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("%s %s: not the JSON of a credentials file: %s", what, name, oneLine(err))
	}
	if f.Type == nil {
		return nil, fmt.Errorf("%s %s: it has no \"type\": want a key or configuration as gcloud writes it", what, name)
	}
	typ := google.CredentialsType(*f.Type)
	if !slices.Contains(credentialTypes(), typ) {
		return nil, fmt.Errorf("%s %s: type %q: want one of %v", what, name, typ, credentialTypes())
	}
	found, err := google.CredentialsFromJSONWithType(ctx, b, typ, scopes...)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %s", what, name, oneLine(err))
	}
	out := describe(b)
	out.TokenSource, out.ProjectID, out.Source = found.TokenSource, found.ProjectID, name
	return out, nil
}

// describe reads what a credentials file says of itself.
func describe(b []byte) *Credentials {
	var f struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		QuotaProject string `json:"quota_project_id"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return &Credentials{}
	}
	return &Credentials{Type: f.Type, Account: f.ClientEmail, QuotaProject: f.QuotaProject}
}

// maxCAFile bounds a file of CA certificates; a system's whole bundle has less than 300 KiB.
const maxCAFile = 16 << 20

// TLSConfig trusts the certificates of a PEM file beside the system's. "" gives nil, which is the system's alone.
func TLSConfig(caFile string) (*tls.Config, error) {
	if caFile == "" {
		return nil, nil
	}
	b, err := readBounded(caFile, maxCAFile)
	if err != nil {
		return nil, fmt.Errorf("CA file %s: %w", caFile, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("CA file %s: it holds no PEM certificate", caFile)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

func readBounded(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > limit) {
		return nil, fmt.Errorf("want a regular file of at most %d bytes", limit)
	}
	b, err := os.ReadFile(name)
	if p := new(os.PathError); errors.As(err, &p) {
		return nil, p.Err // the caller names the file
	}
	return b, err
}

// maxText bounds what an error quotes of somebody's answer, which may be a whole page.
const maxText = 500

func oneLine(err error) string { return oneLineOf(err.Error()) }

func oneLineOf(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

// tokenCredentials put an access token on every stream.
type tokenCredentials struct{ source oauth2.TokenSource }

func (t tokenCredentials) RequireTransportSecurity() bool { return true }

func (t tokenCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := fetchToken(ctx, t.source)
	if err != nil {
		// gRPC passes a status on as it is, which keeps the reason readable.
		st, detailErr := status.New(codes.Unauthenticated, err.Error()).
			WithDetails(&errdetails.ErrorInfo{Reason: ReasonTokenUnavailable})
		if detailErr != nil {
			return nil, err
		}
		return nil, st.Err()
	}
	return map[string]string{"authorization": token.Type() + " " + token.AccessToken}, nil
}

// fetchToken bounds the wait by the context, which oauth2's interface does not take; an abandoned fetch is bounded by its
// HTTP client.
func fetchToken(ctx context.Context, source oauth2.TokenSource) (*oauth2.Token, error) {
	type result struct {
		token *oauth2.Token
		err   error
	}
	done := make(chan result, 1)
	go func() {
		token, err := source.Token()
		done <- result{token, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("fetching an access token: %s", oneLine(r.err))
		}
		return r.token, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("fetching an access token: %w", context.Cause(ctx))
	}
}
