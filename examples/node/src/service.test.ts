// Tests of the answers and of the configuration that ships: `node --test dist/service.test.js`.

import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { readConfig } from "./config.js";
import { service } from "./service.js";

const server = service({ port: 0, greeting: "good day" });
let address = "";

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());

test("it greets", async () => {
  assert.equal(await (await fetch(`${address}/`)).text(), "good day\n");
});

test("it tells of its health", async () => {
  assert.equal((await fetch(`${address}/health`)).status, 200);
});

test("there is nothing else", async () => {
  assert.equal((await fetch(`${address}/elsewhere`)).status, 404);
  assert.equal((await fetch(`${address}/`, { method: "DELETE" })).status, 405);
});

test("the configuration that ships is understood", () => {
  assert.ok(readConfig("config/production.yaml").greeting);
});
