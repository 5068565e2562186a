// Asks the service on this machine whether it is well: exit code 1 where it isn't.

import { get } from "node:http";
import { readConfig } from "./config.js";

const request = get({ host: "127.0.0.1", port: readConfig().port, path: "/health" }, (response) => {
  response.resume();
  process.exitCode = response.statusCode === 200 ? 0 : 1;
});
request.setTimeout(3000, () => request.destroy(new Error("the service doesn't answer")));
request.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
