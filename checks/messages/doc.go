// Package messages holds the signatures of log messages that more than one check reads. It is data alone: where the
// messages come from is said beside each, and what follows from them is for the checks to say.
package messages
