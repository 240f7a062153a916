package service

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

const (
	checkPrefix = "checks/"
	// maxPage is the most that a page holds; the API's own rule says the same.
	maxPage = 1000
	// maxNear is how many checks are named where the one asked for isn't there: more than a few help nobody.
	maxNear = 3
)

// checkToProto gives a check as the catalogue shows it: every step of the remedy, whatever the condition for it.
func checkToProto(c diagnose.Check) *pb.Check {
	steps := slices.Clone(c.Doc.Remedy)
	for i := range steps {
		steps[i].If, steps[i].Unless = "", ""
	}
	m := &pb.Check{
		Name: checkPrefix + string(c.ID), CheckId: string(c.ID), Title: c.Doc.Title, Severity: severities[c.Severity],
		Explanation: c.Doc.Explanation, Quiet: c.Doc.Quiet, Remediation: stepsToProto(diagnose.Render(steps, nil)),
		References: slices.Clone(c.Doc.References), Facts: texts(c.Needs), Explains: texts(c.Explains),
	}
	for _, s := range c.Signatures {
		m.Signatures = append(m.Signatures, &pb.MessageSignature{Id: s.ID, Meaning: s.Meaning, Examples: slices.Clone(s.Examples)})
	}
	return valid(m)
}

// ListChecks lists the checks, sorted by ID.
func (s *Service) ListChecks(_ context.Context, r *pb.ListChecksRequest) (*pb.ListChecksResponse, error) {
	after, err := pageAfter(r.GetPageToken(), checkPrefix)
	if err != nil {
		return nil, err
	}
	page, next := paginate(s.catalog, (*pb.Check).GetCheckId, after, int(r.GetPageSize()), maxPage)
	return &pb.ListChecksResponse{Checks: page, NextPageToken: pageToken(checkPrefix, next)}, nil
}

// GetCheck gives one check.
func (s *Service) GetCheck(_ context.Context, r *pb.GetCheckRequest) (*pb.Check, error) {
	for _, c := range s.catalog {
		if c.GetName() == r.GetName() {
			return c, nil
		}
	}
	id := strings.TrimPrefix(r.GetName(), checkPrefix)
	msg := fmt.Sprintf("there is no check %s", id)
	if near := s.near(id); len(near) > 0 {
		msg += "; near it: " + strings.Join(near, ", ")
	}
	return nil, fail(codes.NotFound, reasonNoCheck, msg)
}

// near gives the IDs that look most like one, best first.
func (s *Service) near(id string) []string {
	type candidate struct {
		id       string
		distance int
	}
	var c []candidate
	for _, k := range s.catalog {
		d := evidence.Edits(id, k.GetCheckId())
		_, condition, _ := strings.Cut(id, "/")
		// The same condition in another area, or a few slips of the keyboard.
		if strings.HasSuffix(k.GetCheckId(), "/"+condition) || d <= max(3, len(id)/3) {
			c = append(c, candidate{k.GetCheckId(), d})
		}
	}
	slices.SortFunc(c, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.id, b.id))
	})
	var out []string
	for _, x := range c[:min(len(c), maxNear)] {
		out = append(out, x.id)
	}
	return out
}

// paginate gives up to size of the sorted items whose key comes after a key, and the key to go on from, "" at the end. Size
// 0 takes the fallback.
func paginate[T any](items []T, key func(T) string, after string, size, fallback int) (page []T, next string) {
	if size == 0 {
		size = fallback
	}
	size = min(size, maxPage)
	from := 0
	if after != "" {
		from, _ = slices.BinarySearchFunc(items, after, func(t T, k string) int {
			if key(t) <= k {
				return -1
			}
			return 1
		})
	}
	page = items[from:min(from+size, len(items))]
	if from+size < len(items) {
		next = key(page[len(page)-1])
	}
	return page, next
}

// pageToken makes an opaque token that only the same list takes back (AIP-158).
func pageToken(list, last string) string {
	if last == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(list + "\x00" + last))
}

func pageAfter(token, list string) (string, error) {
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	of, last, ok := strings.Cut(string(raw), "\x00")
	if err != nil || !ok || of != list || last == "" {
		return "", badField("page_token", "is not the next_page_token of an answer to this same list")
	}
	return last, nil
}
