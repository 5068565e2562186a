import { z } from "zod";
import { makeSlug } from "../slug.js";
import { exportLinks } from "../export.js";

const body = z.object({ target: z.string().url() });

export async function links(app) {
  const { config, store } = app;

  app.post("/links", async (request, reply) => {
    const { target } = body.parse(request.body);
    const slug = makeSlug(config.slugLength);
    await store.insert(slug, target);
    reply.code(201);
    return { slug, url: `${config.publicUrl}/${slug}` };
  });

  app.get("/links", async () => store.list(50));

  app.get("/links/:slug", async (request, reply) => {
    const link = await store.find(request.params.slug);
    return link ?? reply.code(404).send({ error: "no such link" });
  });

  app.post("/export", async (request, reply) => {
    if (!config.export.bucket) {
      return reply.code(501).send({ error: "no bucket is configured" });
    }
    return { key: await exportLinks(store, config.export) };
  });
}
