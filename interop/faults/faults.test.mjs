// The table of faults in a short form: one fault of each kind. The whole table: node interop/faults/run.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { complaints, run } from "./cell.mjs";
import { FAULTS } from "./faults.mjs";

const SECONDS = 3;

const SHORT = {
  sqlite: ["server killed"],
  postgres: ["kill", "answers cut", "failover"],
  mongodb: ["kill", "failover"],
  redis: ["hang", "failover"],
  moving: ["migrate is killed"],
};

for (const [store, names] of Object.entries(SHORT)) {
  for (const name of names) {
    test(`${store}: ${name}`, async () => {
      const fault = FAULTS[store].find((fault) => fault.name === name);
      const result = await run(store, fault, SECONDS);
      assert.deepEqual(complaints(result, fault, SECONDS), []);
    });
  }
}
