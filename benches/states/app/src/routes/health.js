export async function health(app) {
  app.get("/healthz", { schema: { hide: true } }, async () => ({ status: "ok" }));
  app.get("/readyz", { schema: { hide: true } }, async () => {
    await app.store.ready();
    return { status: "ready" };
  });
}
