import client from "prom-client";

export async function metrics(app) {
  const register = new client.Registry();
  client.collectDefaultMetrics({ register });
  const redirects = new client.Counter({
    name: "links_redirects_total",
    help: "Redirects that were answered",
    registers: [register],
  });
  app.get("/metrics", { schema: { hide: true } }, async (request, reply) => {
    reply.type(register.contentType);
    return register.metrics();
  });
  app.addHook("onResponse", async (request, reply) => {
    if (reply.statusCode === 302) {
      redirects.inc();
    }
  });
}
// The counter sees the whole application, not only this plugin.
metrics[Symbol.for("skip-override")] = true;
