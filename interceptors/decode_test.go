package interceptors

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// packer sends each message as pack makes it, saying that it is gzip.
type packer struct {
	pack func(w io.Writer, message []byte) error
}

func (packer) Type() string { return "gzip" }

func (p packer) Do(w io.Writer, message []byte) error { return p.pack(w, message) }

func packed(w io.Writer, message []byte) error {
	packing := gzip.NewWriter(w)
	if _, err := packing.Write(message); err != nil {
		return err
	}
	return packing.Close()
}

func TestGzip(t *testing.T) {
	t.Parallel()
	const unreadable = "invalid request: the request is not a protobuf message of the method's type"
	const limit = 1 << 10
	tests := map[string]struct {
		pack    func(w io.Writer, message []byte) error
		code    codes.Code
		message string
	}{
		"packed": {pack: packed},
		"not gzip": {
			pack: func(w io.Writer, message []byte) error {
				_, err := w.Write(message)
				return err
			},
			code: codes.InvalidArgument, message: unreadable,
		},
		"cut short": {
			pack: func(w io.Writer, message []byte) error {
				var whole bytes.Buffer
				if err := packed(&whole, message); err != nil {
					return err
				}
				_, err := w.Write(whole.Bytes()[:whole.Len()-9])
				return err
			},
			code: codes.InvalidArgument, message: unreadable,
		},
		"more than is allowed once it is unpacked": {
			pack: func(w io.Writer, _ []byte) error { return packed(w, make([]byte, 200*limit)) },
			code: codes.ResourceExhausted, message: "grpc: message after decompression larger than max (1025 vs. 1024)",
		},
	}
	for kind, call := range callers() {
		for name, test := range tests {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				got := ""
				conn := serve(t, Config{MaxRequestBytes: limit}, agents{run: func(_ context.Context, message string) error {
					got = message
					return nil
				}}, grpc.WithCompressor(packer{test.pack})) //nolint:staticcheck // the only way to send broken gzip.
				for range 3 { // a reader that has failed is used again
					err := call(t.Context(), conn, request(t, "hello", "alice"))
					if st := status.Convert(err); st.Code() != test.code || st.Message() != test.message {
						t.Fatalf("answer is %v, want %v %q", err, test.code, test.message)
					}
				}
				if test.code == codes.OK && got != "hello" {
					t.Errorf("handler got %q", got)
				}
			})
		}
	}
}

// An oversized request is grpc's to refuse.
func TestOversizedRequest(t *testing.T) {
	t.Parallel()
	for kind, call := range callers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			conn := serve(t, Config{MaxRequestBytes: 100, Log: slog.New(newLines())}, agents{run: behaviour})
			err := call(t.Context(), conn, request(t, strings.Repeat("a", 200), "alice"))
			if status.Code(err) != codes.ResourceExhausted {
				t.Errorf("answer is %v, want RESOURCE_EXHAUSTED", err)
			}
		})
	}
}

// What protobuf can read is read as protobuf reads it; anything else is
// marked, and nothing is both.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x0a\x05hello\x12\x05alice"))
	f.Add([]byte("\x0a\x05hel\xff\xff\x12\x05alice"))
	f.Add([]byte("\x0a\x7fhello"))
	f.Add(mark("user_id"))
	f.Add(append(mark(""), 0xff))
	codec := markingCodec{encoding.GetCodecV2(protocodec.Name)}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want agentv1.RunRequest
		if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &got); err != nil {
			t.Fatal(err)
		}
		field, marked := unreadable(&got)
		if err := proto.Unmarshal(data, &want); err == nil {
			if !proto.Equal(&got, &want) {
				t.Errorf("read %v, want %v", &got, &want)
			}
			return // a caller may send the mark itself, and is refused for it
		}
		if !marked {
			t.Errorf("%q was taken for %v", data, &got)
		}
		if field != "" && got.ProtoReflect().Descriptor().Fields().ByTextName(field) == nil {
			t.Errorf("there is no field %q", field)
		}
	})
}

// The mark is found among fields that are only unknown.
func TestMarkAmongUnknownFields(t *testing.T) {
	t.Parallel()
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 4000, protowire.VarintType), 1)
	tests := map[string]struct {
		unknown []byte
		field   string
		marked  bool
	}{
		"nothing unknown":        {},
		"only unknown":           {unknown: unknown},
		"only the mark":          {unknown: mark("message"), field: "message", marked: true},
		"a mark of no field":     {unknown: mark("hello\xff"), marked: true},
		"the mark after unknown": {unknown: append(bytes.Clone(unknown), mark("")...), marked: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &agentv1.RunRequest{}
			m.ProtoReflect().SetUnknown(test.unknown)
			if field, marked := unreadable(m); field != test.field || marked != test.marked {
				t.Errorf("mark is %q, %v; want %q, %v", field, marked, test.field, test.marked)
			}
		})
	}
}
