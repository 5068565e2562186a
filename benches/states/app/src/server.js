import { loadConfig } from "./config.js";
import { buildApp } from "./app.js";
import { openStore } from "./store.js";
import { startTracing } from "./tracing.js";

const config = await loadConfig();
const tracing = await startTracing(config);
const store = await openStore(config);
const app = await buildApp({ config, store });

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await app.close();
    await store.close();
    await tracing.shutdown();
  });
}

await app.listen({ host: config.host, port: config.port });
