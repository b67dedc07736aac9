/**
 * Traces by OpenTelemetry: a span a request, never one a record. Off unless an OTLP endpoint is named;
 * then the library is loaded, and until then it costs neither memory nor time. A collector that is
 * away loses spans, never requests: the queue is bounded and drops.
 */
import type { IncomingMessage } from "node:http";
import type { Log } from "../../lib/log.ts";
import { SkerryError } from "../../lib/errors.ts";

export type SpanKind = "server" | "client" | "internal";
export type Attributes = Readonly<Record<string, string | number | boolean>>;

export interface Span {
  /** What to send on so that the next hop's spans join this trace (W3C Trace Context). */
  readonly traceparent: string | undefined;
  set(attributes: Attributes): void;
  /** Once. `error` marks the span as failed. */
  end(outcome?: { readonly error?: unknown }): void;
}

export interface Tracer {
  /** `parent` is a `traceparent` header as it came; one that is malformed starts a new trace. */
  start(
    name: string,
    options: { kind: SpanKind; parent?: string | undefined; attributes?: Attributes },
  ): Span;
  /** Sends what is queued, for at most a few seconds. */
  stop(): Promise<void>;
}

const noSpan: Span = { traceparent: undefined, set() {}, end() {} };

/** Makes nothing and sends nothing. */
export const noTracer: Tracer = { start: () => noSpan, stop: async () => {} };

export type TracerOptions = {
  /** Base URL of an OTLP/HTTP collector, as in OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:4318`. */
  readonly endpoint: string;
  /** `service.name` */
  readonly service: string;
  /** Further resource attributes. */
  readonly attributes: Attributes;
  /** Share of new traces that are kept, 0 to 1; a caller's decision is followed. */
  readonly share: number;
};

const queueSpansMax = 2048;
const stopPatienceMs = 3000;

/**
 * Throws `tracing-unavailable` when the optional packages are not installed. Source: OpenTelemetry
 * protocol 1.x over HTTP (opentelemetry.io/docs/specs/otlp), W3C Trace Context level 1.
 */
export async function createTracer({ log }: { log: Log }, options: TracerOptions): Promise<Tracer> {
  const { api, sdk, exporter, resources } = await load();
  api.diag.setLogger(diagnosticsTo(log), api.DiagLogLevel.WARN);
  const provider = new sdk.TracerProvider({
    resource: resources.resourceFromAttributes({
      ...options.attributes,
      "service.name": options.service,
    }),
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(options.share) }),
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter: new exporter.OTLPTraceExporter({
          url: new URL("/v1/traces", options.endpoint).href,
          timeoutMillis: stopPatienceMs,
        }),
        maxQueueSize: queueSpansMax,
        exportTimeoutMillis: stopPatienceMs,
      }),
    ],
    forceFlushTimeoutMillis: stopPatienceMs,
  });
  const tracer = provider.getTracer("skerry");
  const kinds = {
    server: api.SpanKind.SERVER,
    client: api.SpanKind.CLIENT,
    internal: api.SpanKind.INTERNAL,
  };
  return {
    start(name, { kind, parent, attributes }) {
      const caller = parseTraceparent(parent);
      const context = caller
        ? api.trace.setSpanContext(api.ROOT_CONTEXT, { ...caller, isRemote: true })
        : api.ROOT_CONTEXT;
      const span = tracer.startSpan(
        name,
        { kind: kinds[kind], ...(attributes ? { attributes } : {}) },
        context,
      );
      const { traceId, spanId, traceFlags } = span.spanContext();
      return {
        traceparent: `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`,
        set: (more) => void span.setAttributes(more),
        end(outcome) {
          if (outcome?.error !== undefined) {
            const message =
              outcome.error instanceof Error ? outcome.error.message : String(outcome.error);
            span.setStatus({ code: api.SpanStatusCode.ERROR, message });
          }
          span.end();
        },
      };
    },
    async stop() {
      try {
        await provider.shutdown();
      } catch (error) {
        log.warn("the last spans were not taken by the collector", { error });
      }
    },
  };
}

/** A server's span for a request as it came; named by its route, or by the method where there is none. */
export function spanOfRequest(
  tracer: Tracer,
  { method = "GET", url = "/", headers }: Pick<IncomingMessage, "method" | "url" | "headers">,
  route?: string,
): Span {
  if (tracer === noTracer) return noSpan;
  const { traceparent } = headers;
  return tracer.start(route === undefined ? method : `${method} ${route}`, {
    kind: "server",
    parent: typeof traceparent === "string" ? traceparent : undefined,
    attributes: {
      "http.request.method": method,
      "url.path": url.split("?")[0] ?? url,
      ...(route === undefined ? {} : { "http.route": route }),
    },
  });
}

/** Failed is what the server failed at, 500 and above (OpenTelemetry semantic conventions for HTTP). */
export function endSpan(span: Span, status: number, attributes: Attributes = {}): void {
  span.set({ ...attributes, "http.response.status_code": status });
  span.end(status >= 500 ? { error: `status ${status}` } : {});
}

/** `00-TRACE-SPAN-FLAGS`; undefined for what is not one, all-zero ids included. */
export function parseTraceparent(
  header: string | undefined,
): { traceId: string; spanId: string; traceFlags: number } | undefined {
  const match = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/.exec(
    header ?? "",
  );
  const [, traceId = "", spanId = "", flags = ""] = match ?? [];
  if (!match || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1 };
}

async function load() {
  try {
    const [api, sdk, exporter, resources] = await Promise.all([
      import("@opentelemetry/api"),
      import("@opentelemetry/sdk-trace"),
      import("@opentelemetry/exporter-trace-otlp-http"),
      import("@opentelemetry/resources"),
    ]);
    return { api, sdk, exporter, resources };
  } catch (cause) {
    throw new SkerryError({
      code: "tracing-unavailable",
      message: "an OTLP endpoint is named, but the OpenTelemetry packages are not installed",
      hint: "install the package with its optional dependencies (no --omit=optional), or unset OTEL_EXPORTER_OTLP_ENDPOINT",
      cause,
    });
  }
}

function diagnosticsTo(log: Log) {
  const note = (text: string) => log.warn("tracing", { text });
  return { error: note, warn: note, info() {}, debug() {}, verbose() {} };
}
