// A service that greets, until it's told to stop.

import { readConfig } from "./config.js";
import { service } from "./service.js";

const config = readConfig();
const server = service(config);
server.listen(config.port, () => console.log(`listening on port ${config.port}`));

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => {
    // What is being answered is finished; connections that only wait are closed.
    server.close(() => console.log("stopped"));
    server.closeIdleConnections();
  });
}
