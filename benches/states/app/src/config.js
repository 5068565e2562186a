import { readFile } from "node:fs/promises";
import { z } from "zod";

const schema = z.object({
  port: z.coerce.number().int().min(0).max(65535),
  host: z.string(),
  publicUrl: z.string().url(),
  slugLength: z.coerce.number().int().min(4).max(32),
  rateLimit: z.object({ max: z.coerce.number().int().positive(), timeWindow: z.string() }),
  export: z.object({ bucket: z.string(), prefix: z.string() }),
  databaseUrl: z.string().optional(),
  tracesUrl: z.string().optional(),
});

/** Reads the defaults, and what the environment says over them. */
export async function loadConfig(environment = process.env) {
  const file = new URL("../config/default.json", import.meta.url);
  const defaults = JSON.parse(await readFile(file, "utf8"));
  return schema.parse({
    ...defaults,
    port: environment.PORT ?? defaults.port,
    publicUrl: environment.PUBLIC_URL ?? defaults.publicUrl,
    databaseUrl: environment.DATABASE_URL,
    tracesUrl: environment.TRACES_URL,
  });
}
