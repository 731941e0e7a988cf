package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// cardinalityLimit bounds how many sets of attributes one instrument keeps
// apart; the rest are counted together, as otel_metric_overflow="true".
const cardinalityLimit = 1000

// openDisabled leaves what the Go runtime tells by itself.
func (t *Telemetry) openDisabled() error {
	t.TracerProvider = idProvider{}
	t.MeterProvider = noop.NewMeterProvider()
	registry, err := newRegistry()
	t.MetricsHandler = newMetricsHandler(registry, slog.New(slog.DiscardHandler))
	return err
}

func (t *Telemetry) openMetrics(ctx context.Context, res *resource.Resource, log *slog.Logger) error {
	registry, err := newRegistry()
	if err != nil {
		return err
	}
	scrape, err := otelprometheus.New(
		otelprometheus.WithRegisterer(registry),
		otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		otelprometheus.WithoutScopeInfo(),
	)
	if err != nil {
		return fmt.Errorf("opening the Prometheus exporter: %w", err)
	}
	options := []sdkmetric.Option{
		sdkmetric.WithResource(res),
		sdkmetric.WithReader(scrape),
		sdkmetric.WithCardinalityLimit(cardinalityLimit),
	}
	if exporter := newMetricExporter(ctx, log); exporter != nil {
		telling := tellingMetrics{Exporter: exporter, failures: newFailureLog(log, "metrics")}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(telling)))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	t.MeterProvider = provider
	t.MetricsHandler = newMetricsHandler(registry, log)
	t.closers = append(t.closers, func(ctx context.Context) error {
		if err := provider.Shutdown(ctx); err != nil {
			return fmt.Errorf("sending the last metrics: %w", err)
		}
		return nil
	})
	return nil
}

// newMetricExporter returns nil when none is asked for or it cannot be made.
func newMetricExporter(ctx context.Context, log *slog.Logger) sdkmetric.Exporter {
	protocol, complaints := otlpProtocol(os.Getenv, "METRICS")
	complain(ctx, log, complaints)

	var exporter sdkmetric.Exporter
	var err error
	switch protocol {
	case protocolGRPC:
		exporter, err = otlpmetricgrpc.New(ctx)
	case protocolHTTP:
		exporter, err = otlpmetrichttp.New(ctx)
	default:
		return nil
	}
	if err != nil {
		log.WarnContext(ctx, "metrics are not exported", slog.Any("error", err))
		return nil
	}
	return exporter
}

func newRegistry() (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	for _, collector := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the process's metrics: %w", err)
		}
	}
	return registry, nil
}

func newMetricsHandler(registry *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(unitsOnce{registry}, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling:     promhttp.ContinueOnError,
		EnableOpenMetrics: true, // for exemplars: from a slow bucket to a trace
	})
}

// unitsOnce takes back the unit that the exporter has added to a name which
// ends in the unit's symbol already.
type unitsOnce struct{ prometheus.Gatherer }

func (g unitsOnce) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.Gatherer.Gather()
	doubled := strings.NewReplacer("_ms_milliseconds", "_ms", "_usd_USD", "_usd")
	for _, family := range families {
		family.Name = new(doubled.Replace(family.GetName()))
	}
	return families, err //nolint:wrapcheck // the handler writes it as it stands
}
