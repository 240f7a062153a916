package lab

import (
	"fmt"
	"net"
	"sync"

	"github.com/miekg/dns"
)

// nameServer answers for trafficdirector.googleapis.com, on UDP and TCP: with 127.0.0.1, or with the scenario's fault.
type nameServer struct {
	fault string
	addr  string
	udp   *dns.Server
	tcp   *dns.Server
	done  sync.WaitGroup
}

const (
	answerTTL = 300 // seconds; what Google's own records have
	// portAttempts bounds the search for a port that is free for both UDP and TCP.
	portAttempts = 20
)

func startNameServer(fault string) (*nameServer, error) {
	n := &nameServer{fault: fault}
	packets, listener, err := listenBoth()
	if err != nil {
		return nil, fmt.Errorf("starting the DNS server: %w", err)
	}
	n.addr = listener.Addr().String()
	var ready sync.WaitGroup
	ready.Add(2) // Shutdown before a server runs is an error, so wait for both
	n.udp = &dns.Server{PacketConn: packets, Handler: n, NotifyStartedFunc: ready.Done}
	n.tcp = &dns.Server{Listener: listener, Handler: n, NotifyStartedFunc: ready.Done}
	for _, s := range []*dns.Server{n.udp, n.tcp} {
		n.done.Go(func() { _ = s.ActivateAndServe() }) // ends with Shutdown's error
	}
	ready.Wait()
	return n, nil
}

func listenBoth() (net.PacketConn, net.Listener, error) {
	var last error
	for range portAttempts {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return p, l, nil
		}
		last = err
		_ = l.Close()
	}
	return nil, nil, last
}

// ServeDNS implements dns.Handler.
func (n *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		_ = w.WriteMsg(m)
		return
	}
	switch question := q.Question[0]; {
	case dns.CanonicalName(question.Name) != trafficDirectorHost+".":
		m.Rcode = dns.RcodeNameError
		m.Ns = startOfAuthority()
	case n.fault == "timeout":
		return
	case n.fault == "nxdomain":
		m.Rcode = dns.RcodeNameError
		m.Ns = startOfAuthority()
	case n.fault == "servfail":
		m.Rcode = dns.RcodeServerFailure
	case question.Qtype == dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: answerTTL},
			A: n.address()}}
	default: // the name exists, and has nothing of that type
		m.Ns = startOfAuthority()
	}
	_ = w.WriteMsg(m) // the caller has gone away
}

// address is the control plane's, or where nobody said that it is: nothing listens there.
func (n *nameServer) address() net.IP {
	if n.fault == "unexpected" {
		return net.IPv4(127, 0, 0, 53)
	}
	return net.IPv4(127, 0, 0, 1)
}

func startOfAuthority() []dns.RR {
	return []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "googleapis.com.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
		Ns: "ns1.google.com.", Mbox: "dns-admin.google.com.", Serial: 1, Refresh: 900, Retry: 900, Expire: 1800, Minttl: 60}}
}

func (n *nameServer) close() {
	_ = n.udp.Shutdown()
	_ = n.tcp.Shutdown()
	n.done.Wait()
}
