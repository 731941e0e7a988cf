package interceptors

import (
	"compress/gzip"
	"io"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A request that cannot be read is a caller's mistake like any other, and
// should be answered like one. grpc answers INTERNAL on the spot, for unary
// calls before any interceptor has run. So nothing here fails: what cannot be
// read becomes an empty message with a mark, which validation finds and answers.

// markField is the number of the unknown field that is the mark; its content
// is the name of the field that could not be read, or nothing. Protobuf
// reserves the number, so no message of a contract has it.
const markField protowire.Number = 19999

// defaultMaxRequestBytes is grpc's own.
const defaultMaxRequestBytes = 4 << 20

// decoding is how requests are read.
func decoding(maxBytes int) []grpc.ServerOption {
	if maxBytes <= 0 {
		maxBytes = defaultMaxRequestBytes
	}
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxBytes),
		grpc.ForceServerCodecV2(markingCodec{encoding.GetCodecV2(protocodec.Name)}),
		//nolint:staticcheck // The alternative is a registry that all servers of the process share.
		grpc.RPCDecompressor(&markingGzip{maxBytes: int64(maxBytes)}),
	}
}

// unreadable returns whether a message is marked as one that could not be
// read, and the field that was at fault, if one was.
func unreadable(m proto.Message) (field string, marked bool) {
	unknown := m.ProtoReflect().GetUnknown()
	if len(unknown) == 0 {
		return "", false
	}
	for len(unknown) > 0 {
		number, kind, n := protowire.ConsumeTag(unknown)
		if n < 0 {
			return "", false
		}
		length := protowire.ConsumeFieldValue(number, kind, unknown[n:])
		if length < 0 {
			return "", false
		}
		if number == markField && kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(unknown[n:])
			// A caller may send the field itself: it is told no more than the
			// name of a field there is.
			named := m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(content))
			if named == nil {
				return "", true
			}
			return string(named.Name()), true
		}
		unknown = unknown[n+length:]
	}
	return "", false
}

func mark(field string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, markField, protowire.BytesType), field)
}

// markingCodec is protobuf, with a mark instead of an error.
type markingCodec struct{ encoding.CodecV2 }

// Unmarshal reads data into v, or marks v. It fails only for a v that is no
// protobuf message.
func (c markingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	m, ok := v.(proto.Message)
	if err == nil || !ok {
		return err
	}
	proto.Reset(m)
	m.ProtoReflect().SetUnknown(mark(brokenText(m.ProtoReflect().Descriptor(), data.Materialize())))
	return nil
}

// brokenText returns the name of the first field of text in data that is not
// UTF-8, and "" when that is not what is wrong.
func brokenText(message protoreflect.MessageDescriptor, data []byte) string {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return ""
		}
		length := protowire.ConsumeFieldValue(number, kind, data[n:])
		if length < 0 {
			return ""
		}
		field := message.Fields().ByNumber(number)
		if field != nil && field.Kind() == protoreflect.StringKind && kind == protowire.BytesType {
			if text, _ := protowire.ConsumeBytes(data[n:]); !utf8.Valid(text) {
				return string(field.Name())
			}
		}
		data = data[n+length:]
	}
	return ""
}

// markingGzip unpacks requests, with a mark instead of an error.
type markingGzip struct {
	maxBytes int64
	readers  sync.Pool // of *gzip.Reader, each of which holds some 40 KiB
}

// Type is the name under which callers ask for it.
func (*markingGzip) Type() string { return "gzip" }

// Do unpacks r, to one byte more than is allowed at most: grpc refuses that.
func (g *markingGzip) Do(r io.Reader) ([]byte, error) {
	if unpacked, ok := g.unpack(r); ok {
		return unpacked, nil
	}
	return mark(""), nil
}

func (g *markingGzip) unpack(r io.Reader) (unpacked []byte, ok bool) {
	reader, ok := g.readers.Get().(*gzip.Reader)
	if !ok {
		reader = &gzip.Reader{}
	}
	defer g.readers.Put(reader)
	if reader.Reset(r) != nil {
		return nil, false
	}
	unpacked, err := io.ReadAll(io.LimitReader(reader, g.maxBytes+1))
	return unpacked, err == nil
}
