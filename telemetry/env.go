package telemetry

import (
	"fmt"
	"strings"
)

// The protocols of OTLP that are spoken.
const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// otlpProtocol is how a signal, `TRACES` or `METRICS`, is to be exported over
// OTLP, or empty when the variables do not ask for that. Each complaint is a
// variable that asks for something else than can be had.
func otlpProtocol(getenv func(string) string, signal string) (protocol string, complaints []string) {
	get := func(name string) string { return strings.TrimSpace(getenv(name)) }

	wanted := get("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || get("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
	variable := "OTEL_" + signal + "_EXPORTER"
	if exporters := get(variable); exporters != "" {
		wanted = false
		for name := range strings.SplitSeq(exporters, ",") {
			switch name = strings.ToLower(strings.TrimSpace(name)); name {
			case "otlp":
				wanted = true
			case "none", "prometheus", "":
			default:
				complaints = append(complaints, fmt.Sprintf("%s: %q is not supported; otlp and none are", variable, name))
			}
		}
	}
	if !wanted {
		return "", complaints
	}

	for _, variable := range []string{"OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch protocol = strings.ToLower(get(variable)); protocol {
		case protocolGRPC, protocolHTTP:
			return protocol, complaints
		case "":
		default:
			complaints = append(complaints, fmt.Sprintf("%s: %q is not supported; %s and %s are",
				variable, protocol, protocolHTTP, protocolGRPC))
		}
	}
	return protocolHTTP, complaints
}
