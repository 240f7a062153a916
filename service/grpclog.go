package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"google.golang.org/grpc/grpclog"
)

// GRPCLog gives a logger for grpclog.SetLoggerV2, by which a program has what grpc-go and the gateway say in its own log:
// their errors, mostly of callers who hung up, as warnings, and the rest for debugging.
func GRPCLog(l *slog.Logger) grpclog.LoggerV2 { return grpcLogger{l} }

type grpcLogger struct{ log *slog.Logger }

func (g grpcLogger) write(level slog.Level, text string) {
	g.log.Log(context.Background(), level, "grpc", "message", strings.TrimSpace(text))
}

func (g grpcLogger) Info(a ...any)               { g.debug(fmt.Sprint, a) }
func (g grpcLogger) Infoln(a ...any)             { g.debug(fmt.Sprintln, a) }
func (g grpcLogger) Infof(f string, a ...any)    { g.debug(formatted(f), a) }
func (g grpcLogger) Warning(a ...any)            { g.debug(fmt.Sprint, a) }
func (g grpcLogger) Warningln(a ...any)          { g.debug(fmt.Sprintln, a) }
func (g grpcLogger) Warningf(f string, a ...any) { g.debug(formatted(f), a) }
func (g grpcLogger) Error(a ...any)              { g.write(slog.LevelWarn, fmt.Sprint(a...)) }
func (g grpcLogger) Errorln(a ...any)            { g.write(slog.LevelWarn, fmt.Sprintln(a...)) }
func (g grpcLogger) Errorf(f string, a ...any)   { g.write(slog.LevelWarn, fmt.Sprintf(f, a...)) }
func (g grpcLogger) Fatal(a ...any)              { g.fatal(fmt.Sprint(a...)) }
func (g grpcLogger) Fatalln(a ...any)            { g.fatal(fmt.Sprintln(a...)) }
func (g grpcLogger) Fatalf(f string, a ...any)   { g.fatal(fmt.Sprintf(f, a...)) }

// V says which verbose messages are wanted: none unless someone debugs.
func (g grpcLogger) V(level int) bool {
	return level <= 0 && g.log.Enabled(context.Background(), slog.LevelDebug)
}

// debug puts a text together only where someone reads it: grpc-go says much.
func (g grpcLogger) debug(text func(...any) string, a []any) {
	if g.log.Enabled(context.Background(), slog.LevelDebug) {
		g.write(slog.LevelDebug, text(a...))
	}
}

func formatted(format string) func(...any) string {
	return func(a ...any) string { return fmt.Sprintf(format, a...) }
}

// fatal ends the program, as grpclog demands.
func (g grpcLogger) fatal(text string) {
	g.write(slog.LevelError, text)
	os.Exit(1)
}
