package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	xdsbootstrap "google.golang.org/grpc/xds/bootstrap"
)

// channelCredsType is what the bootstraps of the lab's gRPC clients name instead of google_default. Why another:
// google_default trusts the system's roots and fetches its tokens from Google, so it cannot be used on loopback;
// grpc-go's "tls" carries no token, and its "call_creds" are behind an environment variable that is read before main.
const channelCredsType = "lab_google"

// channelCredsConfig is the configuration of that type in a bootstrap.
type channelCredsConfig struct {
	CAFile    string `json:"ca_certificate_file"`
	TokenFile string `json:"token_file"`
}

var registerOnce sync.Once // grpc-go's registry is global and not locked: write it once

// registerChannelCreds makes the type known to grpc-go. It must run before the first bootstrap is parsed; nothing else
// in a process that uses the lab parses bootstraps at that time.
func registerChannelCreds() {
	registerOnce.Do(func() { xdsbootstrap.RegisterChannelCredentials(channelCredsBuilder{}) })
}

type channelCredsBuilder struct{}

func (channelCredsBuilder) Name() string { return channelCredsType }

func (channelCredsBuilder) Build(raw json.RawMessage) (credentials.Bundle, func(), error) {
	var cfg channelCredsConfig
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return nil, nil, fmt.Errorf("reading channel_creds: %w", err)
	}
	ca, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return nil, nil, fmt.Errorf("reading ca_certificate_file: %w", err)
	}
	token, err := os.ReadFile(cfg.TokenFile)
	if err != nil {
		return nil, nil, fmt.Errorf("reading token_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, nil, fmt.Errorf("%s: no certificate in it", cfg.CAFile)
	}
	return &channelCreds{credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}), bearer(token)}, func() {}, nil
}

type channelCreds struct {
	transport credentials.TransportCredentials
	token     bearer
}

func (c *channelCreds) TransportCredentials() credentials.TransportCredentials { return c.transport }
func (c *channelCreds) PerRPCCredentials() credentials.PerRPCCredentials       { return c.token }
func (c *channelCreds) NewWithMode(string) (credentials.Bundle, error) {
	return nil, errors.New("channel credentials of the lab have one mode")
}

// bearer is an OAuth token sent with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

// fleetTokenLifetime is longer than a lab runs: on a VM the metadata server would renew the token.
const fleetTokenLifetime = 30 * 24 * time.Hour

// tokenOf is what the metadata server of the client's VM would give it.
func (s *surroundings) tokenOf(c *Client) string {
	lifetime := fleetTokenLifetime
	if c.BadToken {
		lifetime = -time.Minute // it ran out, and was not renewed
	}
	return s.tokens.issue(s.scenario.identityOf(c), lifetime)
}
