package netfilter

// connect takes the reply to a packet that arrived back to where it came from. Rewriting is undone where it was done:
// what this host answers leaves with the address that was asked for only behind POSTROUTING.
func (w *walk) connect() {
	asked := *w.p
	if w.out.Forwarded {
		w.assumed = merge(w.assumed, []string{"the reply to a forwarded packet isn't followed"})
		return
	}
	r := &packet{
		host: asked.host, family: asked.family, protocol: asked.protocol, orig: asked.orig, origPort: asked.origPort,
		src: asked.dst, sport: asked.dport, dst: asked.src, dport: asked.sport,
		uid: NoID, gid: NoID, markSure: true, connmark: asked.connmark, connSure: asked.connSure,
		state: Established, reply: true, dnat: asked.dnat, snat: asked.snat, flags: flagSYN | flagACK,
	}
	if asked.untracked {
		r.state = Invalid
	}
	w.p = r
	w.dstDone, w.srcDone = true, true
	f := w.back(&asked)
	if f == fateAccept {
		return
	}
	if f == fateUnknown {
		w.out = Outcome{}
		return
	}
	w.out.Reply = true
	if w.out.Verdict = Dropped; f == fateReject {
		w.out.Verdict, w.out.With = Rejected, w.with
	}
}

func (w *walk) back(asked *packet) fate {
	r := w.p
	here := asked.inbound || asked.in.name == "lo"
	if here {
		r.socket = true
		if r.out = asked.in; asked.inbound && r.out.name == "" {
			r.out = link{external: true}
		}
		if f := w.pass("OUTPUT"); f != fateAccept {
			return f
		}
		if f := w.pass("POSTROUTING"); f != fateAccept {
			return f
		}
		if asked.inbound {
			return fateAccept
		}
		r.src, r.sport = place{Addr: asked.orig, sure: true}, span{asked.origPort, asked.origPort}
		r.in, r.out, r.socket = link{name: "lo"}, link{}, false
	} else {
		r.in, r.inbound = asked.out, true
	}
	if f := w.pass("PREROUTING"); f != fateAccept {
		return f
	}
	return w.pass("INPUT")
}
