import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { HttpInstrumentation } from "@opentelemetry/instrumentation-http";
import { NodeSDK } from "@opentelemetry/sdk-node";

/** Sends traces where the configuration says so. */
export async function startTracing(config) {
  if (!config.tracesUrl) {
    return { shutdown: async () => {} };
  }
  const sdk = new NodeSDK({
    serviceName: "links",
    traceExporter: new OTLPTraceExporter({ url: config.tracesUrl }),
    instrumentations: [new HttpInstrumentation()],
  });
  sdk.start();
  return sdk;
}
