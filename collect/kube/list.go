package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	// pageSize is what kubectl asks for at once.
	pageSize = 500
	// maxObjects bounds a list: four times the namespace of 5,000 pods that is meant to be answered for.
	maxObjects = 20_000
	// maxPageBytes bounds one page: 500 pods of 100 KiB, ten times what they have.
	maxPageBytes = 64 << 20
	// maxObjectBytes bounds one object: etcd takes 1.5 MiB.
	maxObjectBytes = 4 << 20
)

// partialError says that a list was read in part: what was read is known, and what is beyond isn't.
type partialError struct{ what, missing string }

func (p *partialError) Error() string {
	return fmt.Sprintf("%s were read in part: %s", p.what, p.missing)
}

// selectors narrow a list at the API server.
type selectors struct{ label, field string }

// list reads a list to its end. keep, if not nil, may change an object, and says whether it is kept. Where the error is a
// [*partialError], the objects are those that were read.
func list[T any](ctx context.Context, c *cluster, acc access, sel selectors, keep func(*T) bool) ([]T, error) {
	items, err := listOnce(ctx, c, acc, sel, keep)
	if hasCode(err, http.StatusGone) {
		// The page token is older than what the API server remembers: the list has to be read anew.
		// https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses
		items, err = listOnce(ctx, c, acc, sel, keep)
	}
	return items, err
}

func listOnce[T any](ctx context.Context, c *cluster, acc access, sel selectors, keep func(*T) bool) ([]T, error) {
	q := url.Values{"limit": {strconv.Itoa(pageSize)}}
	if sel.label != "" {
		q.Set("labelSelector", sel.label)
	}
	if sel.field != "" {
		q.Set("fieldSelector", sel.field)
	}
	var items []T
	seen, odd := 0, 0
	var oddErr error
	for {
		var p page[T]
		err := c.get(ctx, acc, q, func(r io.Reader) (err error) {
			p, err = readPage(r, keep)
			return err
		})
		if err != nil {
			return nil, err
		}
		items, seen, odd = append(items, p.items...), seen+p.seen, odd+p.odd
		if oddErr == nil {
			oddErr = p.oddErr
		}
		next := p.meta.Continue
		switch {
		case next == "" && odd > 0:
			return items, &partialError{acc.what, fmt.Sprintf("%d of %d can't be understood: %v", odd, seen, oddErr)}
		case next == "":
			return items, nil
		case next == q.Get("continue"):
			return nil, fmt.Errorf("reading %s: the API server gave the same page twice", acc.what)
		case seen >= maxObjects:
			left := "more"
			if n := p.meta.Remaining; n != nil {
				left = fmt.Sprintf("%d more", *n)
			}
			return items, &partialError{acc.what, fmt.Sprintf("the first %d were looked at, and there are %s", seen, left)}
		}
		q.Set("continue", next)
	}
}

// page is one answer to a list.
type page[T any] struct {
	items     []T
	seen, odd int // objects, and those of them that hold what isn't expected
	oddErr    error
	meta      struct {
		Continue  string `json:"continue"`
		Remaining *int64 `json:"remainingItemCount"`
	}
}

var errNoList = errors.New("the answer is no list of the Kubernetes API")

// readPage reads a list object by object: a page is never held as a whole.
func readPage[T any](r io.Reader, keep func(*T) bool) (page[T], error) {
	var p page[T]
	whole := &io.LimitedReader{R: r, N: maxPageBytes}
	one := &io.LimitedReader{R: whole, N: maxObjectBytes}
	err := p.read(json.NewDecoder(one), one, keep)
	var syntax *json.SyntaxError
	switch {
	case err == nil:
	case whole.N <= 0:
		err = fmt.Errorf("the answer is larger than %d MiB", maxPageBytes>>20)
	case one.N <= 0:
		err = fmt.Errorf("an object of it is larger than %d MiB", maxObjectBytes>>20)
	case errors.As(err, &syntax):
		err = fmt.Errorf("%w: %w", errNoList, err)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF // cut, which another try may mend
	}
	return p, err
}

func (p *page[T]) read(dec *json.Decoder, one *io.LimitedReader, keep func(*T) bool) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return errNoList
	}
	var kind string
	items := false
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		switch key {
		case "kind":
			err = dec.Decode(&kind)
		case "metadata":
			err = dec.Decode(&p.meta)
		case "items":
			items = true
			err = p.readItems(dec, one, keep)
		default:
			var skipped json.RawMessage
			err = dec.Decode(&skipped)
		}
		if err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return err
	}
	if !items || !strings.HasSuffix(kind, "List") {
		return errNoList
	}
	return nil
}

func (p *page[T]) readItems(dec *json.Decoder, one *io.LimitedReader, keep func(*T) bool) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t == nil { // null
		return nil
	}
	if t != json.Delim('[') {
		return errNoList
	}
	for one.N = maxObjectBytes; dec.More(); one.N = maxObjectBytes {
		var item T
		err := dec.Decode(&item)
		p.seen++
		switch {
		case err != nil && broken(err):
			return err
		case err != nil:
			p.odd++
			if p.oddErr == nil {
				p.oddErr = err
			}
			continue
		case keep == nil || keep(&item):
			p.items = append(p.items, item)
		}
	}
	_, err = dec.Token() // the closing bracket
	return err
}

// broken says whether the text itself can't be read on, rather than one object not be as expected.
func broken(err error) bool {
	var syntax *json.SyntaxError
	var odd *json.UnmarshalTypeError
	if errors.As(err, &odd) {
		return false
	}
	if errors.As(err, &syntax) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	return !strings.Contains(err.Error(), "parsing time") // a field's own decoder
}

// object reads one object.
func (c *cluster) object(ctx context.Context, acc access, into any) error {
	return c.get(ctx, acc, nil, func(r io.Reader) error {
		limited := &io.LimitedReader{R: r, N: maxObjectBytes}
		var syntax *json.SyntaxError
		err := json.NewDecoder(limited).Decode(into)
		switch {
		case err == nil:
			return nil
		case limited.N <= 0:
			return fmt.Errorf("the answer is larger than %d MiB", maxObjectBytes>>20)
		case errors.As(err, &syntax):
			return fmt.Errorf("the answer is no object of the Kubernetes API: %w", err)
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		}
		return err
	})
}
