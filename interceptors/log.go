package interceptors

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// accessLog writes one line at a call's end. A user's id is in it, because
// limits count by it and an operator must see whose they are; nothing that a
// user said is. Quiet methods are logged at debug while they succeed.
func accessLog(log *slog.Logger, quiet func(method string) bool) wrap {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return func(ctx context.Context, p *passage) error {
		begin := time.Now()
		c := &call{}
		ctx = context.WithValue(ctx, callKey{}, c)
		err := p.next(ctx)
		code := status.Code(err)
		level := c.level(code)
		if level == slog.LevelInfo && quiet(p.method) {
			level = slog.LevelDebug
		}
		if log.Enabled(ctx, level) {
			var room [12]slog.Attr // on the stack
			log.LogAttrs(ctx, level, "rpc", c.line(ctx, room[:0], p.method, code, time.Since(begin))...)
		}
		return err
	}
}

// level is how much a call's end matters to the operator: what a caller did
// wrong does not.
func (c *call) level(code codes.Code) slog.Level {
	switch code {
	case codes.ResourceExhausted, codes.Unavailable:
		return slog.LevelWarn
	case codes.Unknown, codes.DataLoss:
		return slog.LevelError
	case codes.Internal:
		if c.cause == nil { // grpc's word for a caller that breaks its protocol
			return slog.LevelInfo
		}
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// address is an address as it writes itself, without its detours.
func address(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	port := tcp.AddrPort()
	return netip.AddrPortFrom(port.Addr().Unmap(), port.Port()).String()
}

// line appends what the log says of the call.
func (c *call) line(ctx context.Context, attrs []slog.Attr, method string, rpcCode codes.Code, took time.Duration) []slog.Attr {
	attrs = append(attrs,
		slog.String("method", method),
		slog.String("code", code.Code(rpcCode).String()), //nolint:gosec // status codes are small.
		slog.Float64("duration_ms", float64(took)/float64(time.Millisecond)),
	)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	if p, ok := peer.FromContext(ctx); ok {
		add("peer", address(p.Addr))
	}
	if c.identity != nil {
		add("tenant", c.identity.Tenant)
		add("key", c.identity.Key)
	}
	add("user", c.user)
	add("run_id", c.runID)
	add("agent", c.agent)
	if c.cause != nil {
		add("error", c.cause.Error())
	}
	add("stack", string(c.stack))
	return attrs
}
