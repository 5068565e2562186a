// What the service is told by its file, read when it starts.

import { readFileSync } from "node:fs";
import { parse } from "yaml";

export interface Config {
  readonly port: number;
  readonly greeting: string;
}

/** Reads the file given, or the one that the environment names. */
export function readConfig(path = process.env["API_CONFIG"] ?? "/app/config.yaml"): Config {
  const { port = 3000, greeting = "hello", ...others } = parse(readFileSync(path, "utf8")) ?? {};
  if (!Number.isInteger(port) || typeof greeting !== "string") {
    throw new Error(`${path}: \`port\` is a whole number, \`greeting\` a text`);
  }
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw new Error(`${path}: \`${unknown}\` isn't known`);
  }
  return { port, greeting };
}
