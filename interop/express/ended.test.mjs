// What ended.mjs measures, in a short form: a session that ended at Hallpass opens nothing there again, and soon nothing at Express.
//
// Run with: cargo build --workspace --bins && node --test interop/express/ended.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTS, MODES, STORES, play } from "./ended.mjs";

/** With the profile only what the server has not, in half of the modes. */
const SHORT = { server: { acts: ACTS.server, rounds: MODES.length }, profile: { acts: ["destroy", "regenerate"], rounds: 3 } };

for (const store of Object.keys(STORES)) {
  for (const [kind, { acts, rounds }] of Object.entries(SHORT)) {
    test(`what ends at Hallpass stays ended beside Express: ${store}, ${kind}`, async () => {
      for (const row of await play(store, kind, acts, rounds, undefined, MODES.slice(0, rounds))) {
        const what = `${store}, ${row.act}: ${JSON.stringify(row)}`;
        assert.ok(row.served > 0, `Express served the person: ${what}`);
        assert.equal(row.here, 0, `alive again at Hallpass: ${what}`);
        assert.equal(row.there, 0, `alive at Express at the end: ${what}`);
        if (store === "pg") assert.equal(row.revived, 0, `PostgreSQL lets nothing in again: ${what}`);
      }
    });
  }
}
