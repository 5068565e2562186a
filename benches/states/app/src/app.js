import Fastify from "fastify";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import fastifyStatic from "@fastify/static";
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import { fileURLToPath } from "node:url";
import { metrics } from "./metrics.js";
import { health } from "./routes/health.js";
import { links } from "./routes/links.js";
import { redirect } from "./routes/redirect.js";

export async function buildApp({ config, store, logger = true }) {
  const app = Fastify({ logger, trustProxy: true });
  app.decorate("config", config);
  app.decorate("store", store);

  await app.register(helmet);
  await app.register(rateLimit, config.rateLimit);
  await app.register(swagger, { openapi: { info: { title: "links", version: "1.0.0" } } });
  await app.register(swaggerUi, { routePrefix: "/docs" });
  await app.register(fastifyStatic, {
    root: fileURLToPath(new URL("../public", import.meta.url)),
    prefix: "/ui/",
  });
  await app.register(metrics);
  await app.register(health);
  await app.register(links, { prefix: "/api" });
  await app.register(redirect);
  return app;
}
