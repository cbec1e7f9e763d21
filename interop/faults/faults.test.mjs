// The table of faults in a short form: one fault of each kind. The whole table: node interop/faults/run.mjs

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const SECONDS = "3";
const RUN = fileURLToPath(new URL("run.mjs", import.meta.url));

const SHORT = {
  sqlite: ["server killed", "full"],
  postgres: ["kill", "answers cut", "packet loss", "read-only", "failover", "clock +40d"],
  mongodb: ["hang", "failover", "no majority"],
  redis: ["full", "failover"],
  moving: ["migrate is killed"],
};

/** An application on the library's Express profile. */
const PROFILE = {
  postgres: ["server killed"],
  redis: ["hang"],
};

for (const [program, cells] of Object.entries({ server: SHORT, profile: PROFILE })) {
  for (const [store, names] of Object.entries(cells)) {
    for (const name of names) {
      test(`${program}, ${store}: ${name}`, async () => {
        const child = spawn(process.execPath, [RUN, "--seconds", SECONDS, "--program", program, store, name]);
        const [table, found] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
        assert.equal(child.exitCode, 0, found);
        assert.ok(table.includes(`| ${program} | ${store} | ${name} |`), table);
      });
    }
  }
}
