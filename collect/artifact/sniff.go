package artifact

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const (
	// maxStructured bounds what is parsed as JSON, and what is unpacked: three times the CSDS answer of a thousand clients with
	// fifty resources each.
	maxStructured = 64 << 20
	// maxYAML bounds what is parsed as YAML, which costs some fifty times its size in memory. The largest bootstrap seen has
	// half a megabyte.
	maxYAML = 8 << 20
	// sampleSize is how much of a file is looked at to tell text from binary.
	sampleSize = 64 << 10
	// maxControl is the share of control characters and broken UTF-8, one in so many, up to which a file counts as text:
	// crashing programs do write some.
	maxControl = 20
)

// read finds out what the file is, and reads it.
func (in *input) read(data []byte, text bool) outcome {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		unpacked, err := gunzip(data, maxStructured)
		if err != nil {
			return unused("gzip: %v", err)
		}
		data = unpacked
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(data)) == 0 {
		return unused("empty")
	}
	if text {
		return in.log(bytes.NewReader(data))
	}
	utf16 := hasUTF16Mark(data)
	if !utf16 && !isText(data) {
		return unused("not recognised: binary")
	}
	if utf16 {
		if len(data) > maxStructured {
			return in.log(bytes.NewReader(data))
		}
		plain, err := io.ReadAll(transform.NewReader(bytes.NewReader(data), unicode.BOMOverride(transform.Nop)))
		if err != nil {
			return unused("not recognised: broken UTF-16")
		}
		if data = bytes.TrimSpace(plain); len(data) == 0 {
			return unused("empty")
		}
	}
	if o, ok := in.envoyAdmin(data); ok {
		return o
	}
	if in.baseline {
		return unused("a baseline must be the config dump of an Envoy that works")
	}
	if data = withoutPrompt(data); len(bytes.TrimSpace(data)) == 0 {
		return unused("a command without what it printed")
	}
	switch bytes.TrimSpace(data)[0] {
	case '{', '[':
		return in.json(data)
	}
	if o, ok := in.packetRules(data); ok {
		return o
	}
	return in.text(data)
}

// gunzip unpacks a gzip file, up to most bytes.
func gunzip(data []byte, most int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not readable: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(z, most+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("ends in the middle (cut off?)")
	case err != nil:
		return nil, fmt.Errorf("not readable: %w", err)
	case int64(len(out)) > most:
		return nil, fmt.Errorf("holds more than %d MiB", most>>20)
	}
	return out, nil
}

func hasUTF16Mark(b []byte) bool {
	return bytes.HasPrefix(b, []byte{0xff, 0xfe}) || bytes.HasPrefix(b, []byte{0xfe, 0xff})
}

// isText says whether the file's start is text: no NUL, and hardly any control characters or broken UTF-8.
func isText(b []byte) bool {
	b = b[:min(len(b), sampleSize)]
	bad := 0
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			switch {
			case c == 0:
				return false
			case c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\b' && c != 0x1b || c == 0x7f:
				bad++
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 && len(b)-i >= utf8.UTFMax {
			bad++
		}
		i += n
	}
	return bad*maxControl <= len(b)
}
