export async function redirect(app) {
  app.get("/:slug", { schema: { hide: true } }, async (request, reply) => {
    const link = await app.store.find(request.params.slug);
    if (!link) {
      return reply.code(404).send({ error: "no such link" });
    }
    await app.store.hit(link.slug);
    return reply.redirect(link.target);
  });
}
