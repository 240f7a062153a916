package request_test

import (
	"errors"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

var (
	file = evidence.Source{Collector: "file", Detail: "proxy.log", Pasted: true, Vantage: evidence.FromWorkload}
	noon = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)

	onNetwork = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod-4f2a", Network: "mesh-vpc"}}
	denied    = &evidence.Denied{What: "the logs of project mesh-prod-4f2a", Permission: "logging.logEntries.list", Err: errors.New("403")}
)

const (
	cart  = "outbound|8080||cart.shop.svc.cluster.local"
	local = "inbound|8080||"
)

// group makes the requests of one kind: by cluster, code, flags and details, from noon on for ten minutes.
func group(cluster string, code int, details string, flags ...string) evidence.AccessGroup {
	return evidence.AccessGroup{
		File: "proxy.log", Cluster: cluster, Code: code, Details: details, Flags: flags, Count: 5, Authority: "cart:8080", Upstream: "10.8.2.4:8080",
		First: noon, Last: noon.Add(10 * time.Minute), Sample: `[2026-11-03T12:00:00.000Z] "GET / HTTP/1.1" …`, Source: file,
	}
}

func with(g evidence.AccessGroup, change func(*evidence.AccessGroup)) evidence.AccessGroup {
	change(&g)
	return g
}

func message(s diagnose.Signature, text string, fields map[string]string) evidence.LogMessage {
	return evidence.LogMessage{Signature: s.ID, Fields: fields, File: "proxy.log", Text: text, Count: 1, Line: 1, LastLine: 1, Source: file}
}

func connectError(transport string) evidence.LogMessage {
	return message(messages.UpstreamConnectError, "upstream connect error or disconnect/reset before headers. reset reason: connection failure, transport failure reason: "+transport,
		map[string]string{"reason": "connection failure", "transport": transport, "stream": ""})
}

func access(groups ...evidence.AccessGroup) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, evidence.AccessLogs, groups, file) }
}

func logs(list ...evidence.LogMessage) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, evidence.LogMessages, list, file) }
}

func sockets(lists ...evidence.SocketList) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, evidence.Sockets, lists, file) }
}

func fail(names ...evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) {
		for _, n := range names {
			s.Fail(n, file, denied)
		}
	}
}

func late(n evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) { s.FailLate(n, file, nil) }
}

func puts(list ...checkstest.Put) checkstest.Put { return checkstest.All(list...) }

var (
	requests = evidence.AccessLogs.Name()
	logFact  = evidence.LogMessages.Name()
)
