package service

import "time"

// Limits on what one request may hold.
const (
	// MaxArtifactBytes bounds the files of one request together, and the text of Explain: a day's log of one proxy, or the
	// CSDS answer for a few hundred clients.
	MaxArtifactBytes = 16 << 20
	// MaxRequestBytes bounds everything in a request besides its artifacts: names and numbers need a few KiB.
	MaxRequestBytes = 1 << 20
	// MaxMessageBytes bounds a request as it comes in, whatever it holds. Artifacts travel as base64 in JSON, four bytes for
	// three.
	MaxMessageBytes = MaxArtifactBytes/3*4 + 4 + MaxRequestBytes
	// maxAnswerBytes bounds what the gateway takes from the gRPC server in this same process. One client's state can be far
	// above gRPC's default of 4 MiB.
	maxAnswerBytes = 256 << 20
	// MaxJSONDepth bounds how deep a JSON body nests: the API's own messages nest four deep.
	MaxJSONDepth = 64
)

// Limits on time.
const (
	// DefaultTimeout is what a diagnosis may take where the request doesn't say: a person waits for it.
	DefaultTimeout = 30 * time.Second
	// MaxTimeout is the longest that a request may ask for; the API's own rule says the same.
	MaxTimeout = 2 * time.Minute
	// DefaultDrain is how long running requests may take once the server is told to stop: Kubernetes kills after 30 s.
	DefaultDrain = 20 * time.Second
	// watchNotice is how long health watchers have, once told NOT_SERVING, to hang up themselves before their streams are
	// ended: they would hold the drain up to its very end.
	watchNotice = 500 * time.Millisecond
	// farewell is how long requests that the drain cut short have to be told so.
	farewell = time.Second
)

// Limits on all requests together.
const (
	// MaxDiagnoses bounds how many diagnoses run at once: each holds its artifacts, and asks a dozen APIs that have quotas.
	MaxDiagnoses = 32
)

// Limits bounds connections and bodies. A zero field takes the default.
type Limits struct {
	// BodyBytes bounds one request's body; MaxMessageBytes by default.
	BodyBytes int64
	// PendingBytes bounds the bodies of all requests under way together; 512 MiB by default, what a small VM or pod has.
	PendingBytes int64
	// HeaderBytes bounds one request's header, the path included; 32 KiB by default: node ids are long, tokens longer.
	HeaderBytes int
	// Streams bounds concurrent requests on one HTTP/2 connection; 100 by default, the least that RFC 9113 recommends.
	Streams int
	// Connections bounds open connections; 1,024 by default, the usual limit of open files.
	Connections int
	// ReadHeader bounds a TLS handshake and an HTTP/1.1 request's header, each; 10 s by default: neither needs more than a few
	// round trips.
	ReadHeader time.Duration
	// Read bounds a whole request's arrival; 1 min by default: 22 MiB at 3 Mbit/s.
	Read time.Duration
	// Write bounds a request from its header to the answer's last byte, streams included; MaxTimeout and 30 s to send by
	// default. Health watches and reflection are exempt.
	Write time.Duration
	// Idle bounds how long a connection may stay open unused; 2 min by default, a little above what load balancers keep.
	Idle time.Duration
	// Ping is after how much silence an HTTP/2 connection is asked whether it lives; 30 s by default. Unanswered for 15 s it is
	// closed.
	Ping time.Duration
}

func (l Limits) withDefaults() Limits {
	or(&l.BodyBytes, MaxMessageBytes)
	or(&l.PendingBytes, 512<<20)
	or(&l.HeaderBytes, 32<<10)
	or(&l.Streams, 100)
	or(&l.Connections, 1024)
	or(&l.ReadHeader, 10*time.Second)
	or(&l.Read, time.Minute)
	or(&l.Write, MaxTimeout+30*time.Second)
	or(&l.Idle, 2*time.Minute)
	or(&l.Ping, 30*time.Second)
	return l
}

func or[T int | int64 | time.Duration](p *T, fallback T) {
	if *p <= 0 {
		*p = fallback
	}
}
