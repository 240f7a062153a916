package report

import (
	"slices"
	"strings"
	"unicode"
)

const (
	// DefaultWidth is the width of text: wider lines wrap in the terminals and chats that people paste reports into.
	DefaultWidth = 100
	// leastWidth keeps indented text readable on a terminal that is narrow, or says it is.
	leastWidth = 40
)

// wide are the ranges whose characters take two columns: the larger blocks that Unicode's EastAsianWidth.txt calls W or F.
var wide = [][2]rune{
	{0x1100, 0x115f}, {0x231a, 0x231b}, {0x23e9, 0x23ec}, {0x2614, 0x2615}, {0x2648, 0x2653}, {0x26f2, 0x26f5}, {0x2705, 0x2705},
	{0x270a, 0x270b}, {0x2728, 0x2728}, {0x274c, 0x274e}, {0x2753, 0x2757}, {0x2795, 0x2797}, {0x2b1b, 0x2b1c}, {0x2b50, 0x2b55},
	{0x2e80, 0x303e}, {0x3041, 0x33ff}, {0x3400, 0x4dbf}, {0x4e00, 0xa4cf}, {0xa960, 0xa97f}, {0xac00, 0xd7a3}, {0xf900, 0xfaff},
	{0xfe10, 0xfe19}, {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x16fe0, 0x18cff}, {0x1aff0, 0x1b2ff}, {0x1f004, 0x1f004},
	{0x1f0cf, 0x1f0cf}, {0x1f18e, 0x1f19a}, {0x1f200, 0x1f320}, {0x1f32d, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f7e0, 0x1f7eb},
	{0x1f90c, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
}

func isWide(r rune) bool {
	if r < wide[0][0] {
		return false
	}
	_, ok := slices.BinarySearchFunc(wide, r, func(w [2]rune, r rune) int {
		switch {
		case w[1] < r:
			return -1
		case w[0] > r:
			return 1
		}
		return 0
	})
	return ok
}

// columns gives how many columns a text without control characters takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
		case isWide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// piece is text that stays on one line. A space goes before it where it stood there.
type piece struct {
	text  string
	space bool
}

// pieces takes a line apart at its spaces, and between wide characters, as scripts that have those write without spaces.
func pieces(s string) []piece {
	var out []piece
	for _, w := range strings.Fields(s) {
		space := true
		start := 0
		last := rune(0)
		for i, r := range w {
			if i > start && (isWide(r) || isWide(last)) && !unicode.In(r, unicode.Mn, unicode.Me) && !unicode.IsPunct(r) {
				out = append(out, piece{w[start:i], space})
				start, space = i, false
			}
			last = r
		}
		out = append(out, piece{w[start:], space})
	}
	return out
}

// wrap breaks a line so that each part takes at most width columns, except where a single word is longer. Words are never
// broken: they are copied out of reports.
func wrap(s string, width int) []string {
	if columns(s) <= width {
		return []string{s}
	}
	var out []string
	line, n := "", 0
	for _, p := range pieces(s) {
		c := columns(p.text)
		gap := 0
		if p.space && line != "" {
			gap = 1
		}
		if line != "" && n+gap+c > width {
			out = append(out, line)
			line, n, gap = "", 0, 0
		}
		line += strings.Repeat(" ", gap) + p.text
		n += gap + c
	}
	return append(out, line)
}
