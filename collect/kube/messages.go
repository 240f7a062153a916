package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/collect/kubefacts"
	"github.com/meshdiag/meshdiag/evidence"
)

// said are the facts whose objects say something in words.
func said() []evidence.Name {
	return []evidence.Name{
		evidence.ClusterEvents.Name(), evidence.Pods.Name(), evidence.Workloads.Name(), evidence.ControlPlaneRevisions.Name(), evidence.DataPlaneControls.Name(),
	}
}

// messages looks for known messages in what objects say: events, conditions, and why containers wait or ended.
func (s *step) messages(ctx context.Context) error {
	var o kubefacts.Objects
	var missing error
	o.Events, missing = known(s, evidence.ClusterEvents, missing)
	o.Pods, missing = known(s, evidence.Pods, missing)
	o.Workloads, missing = known(s, evidence.Workloads, missing)
	o.Revisions, missing = known(s, evidence.ControlPlaneRevisions, missing)
	o.DataPlanes, missing = known(s, evidence.DataPlaneControls, missing)
	src := evidence.Source{Collector: collectorName, Detail: "what objects say", Vantage: evidence.FromAPI, Time: s.cfg.Now()}
	if missing != nil {
		s.fail(ctx, evidence.LogMessages.Name(), src, without("what all objects say", missing))
	}
	distinct, text, of := lines(o.Messages())
	found, _, err := s.cfg.Scanner.Scan(strings.NewReader(text), src.Detail, src)
	if err != nil {
		return fmt.Errorf("looking for messages in what objects say: %w", err)
	}
	for i := range found {
		f := &found[i]
		first, last := distinct[of[f.Line-1]], distinct[of[max(f.Line, f.LastLine)-1]]
		f.Count = max(f.Count, first.Count)
		f.First, f.Last = first.First, last.Last
		if f.Last.Before(f.First) {
			f.First, f.Last = last.First, first.Last
		}
		f.Line, f.LastLine = 0, 0 // they are no lines of a file
		f.Source = evidence.Source{Collector: collectorName, Detail: first.Object, Vantage: evidence.FromAPI, Time: src.Time}
		f.File = first.Object
	}
	evidence.Put(s.set, evidence.LogMessages, found, src)
	return nil
}

// known gives the objects of a fact; missing grows by why it isn't wholly known, where it was asked for.
func known[T any](s *step, key evidence.Key[[]evidence.Objects[T]], missing error) ([]T, error) {
	batches, err := evidence.Whole(s.view, key)
	var m *evidence.Missing
	if errors.As(err, &m) && m.Why == evidence.NotAsked {
		err = nil
	}
	return evidence.All(batches), errors.Join(missing, err)
}

// lines makes a text of messages, each of which stands there once; of gives the message of each line.
func lines(all []kubefacts.Message) (distinct []kubefacts.Message, text string, of []int) {
	at := map[string]int{}
	for _, m := range all {
		key := strings.TrimRight(m.Text, "\r\n")
		i, again := at[key]
		if !again {
			at[key] = len(distinct)
			m.Text = key
			distinct = append(distinct, m)
			continue
		}
		d := &distinct[i]
		d.Count += m.Count
		d.First, d.Last = earlier(d.First, m.First), later(d.Last, m.Last)
	}
	var b strings.Builder
	for i, m := range distinct {
		b.WriteString(m.Text + "\n")
		for range 1 + strings.Count(m.Text, "\n") {
			of = append(of, i)
		}
	}
	return distinct, b.String(), of
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
