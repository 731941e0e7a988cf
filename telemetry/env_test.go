package telemetry

import (
	"strings"
	"testing"
)

func TestOTLPProtocol(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env        map[string]string
		want       string
		complaints string
	}{
		"nothing set":            {},
		"an endpoint":            {env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, want: "http/protobuf"},
		"the signal's endpoint":  {env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"}, want: "http/protobuf"},
		"another's endpoint":     {env: map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318"}},
		"blank is unset":         {env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "OTEL_TRACES_EXPORTER": " "}},
		"asked for by name":      {env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, want: "http/protobuf"},
		"one of several":         {env: map[string]string{"OTEL_TRACES_EXPORTER": "prometheus, OTLP"}, want: "http/protobuf"},
		"none beats an endpoint": {env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}},
		"another's exporter":     {env: map[string]string{"OTEL_METRICS_EXPORTER": "otlp"}},
		"unknown exporter": {
			env:        map[string]string{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"},
			complaints: `OTEL_TRACES_EXPORTER: "zipkin" is not supported; otlp and none are`,
		},
		"protocol": {
			env:  map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
			want: "grpc",
		},
		"the signal's protocol wins": {
			env: map[string]string{
				"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
				"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "HTTP/protobuf",
			},
			want: "http/protobuf",
		},
		"unknown protocol": {
			env:        map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
			want:       "http/protobuf",
			complaints: `OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" is not supported; http/protobuf and grpc are`,
		},
		"a protocol alone asks for nothing": {env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "tcp"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, complaints := otlpProtocol(func(key string) string { return test.env[key] }, "TRACES")
			if got != test.want || strings.Join(complaints, "\n") != test.complaints {
				t.Errorf("got %q, %q; want %q, %q", got, complaints, test.want, test.complaints)
			}
		})
	}
}
