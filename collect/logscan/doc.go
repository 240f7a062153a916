// Package logscan looks for known messages in logs and error texts.
//
// A signature has literal anchors and a pattern. Lines are searched for the anchors alone, which costs a fraction of a
// nanosecond a byte; the pattern is run on the few lines that have one, and once only on lines that differ in their time
// alone. Messages of the same signature and fields are counted as one. Blocks of lines are looked at by several goroutines
// at once, and told in their order. Memory is constant, whatever the length of the log and of its lines, besides the
// distinct messages, which are bounded.
//
// The text may be UTF-8 or UTF-16 with a byte order mark, may hold ANSI colours and CRLF, and may be structured: where a
// line is JSON, the pattern is run on the string that holds the anchor, unescaped.
package logscan
