// What is answered.

import { createServer, type Server } from "node:http";
import type { Config } from "./config.js";

/** Makes the server, which doesn't listen yet. */
export function service(config: Config): Server {
  return createServer((request, response) => {
    const [code, body] = answer(config, request.method, request.url);
    response.writeHead(code, { "content-type": "text/plain; charset=utf-8" }).end(`${body}\n`);
  });
}

function answer(config: Config, method = "", path = ""): [number, string] {
  if (method !== "GET") {
    return [405, "only GET is understood"];
  }
  switch (path) {
    case "/":
      return [200, config.greeting];
    case "/health":
      return [200, "ok"];
    default:
      return [404, "there is nothing here"];
  }
}
