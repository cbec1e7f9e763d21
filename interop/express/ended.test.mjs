// What ended.mjs measures, in a short form: a session that ended at Hallpass opens nothing there again, and soon nothing at Express.
//
// Run with: cargo build --bin hallpass && node --test interop/express/ended.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTS, MODES, STORES, play } from "./ended.mjs";

for (const store of Object.keys(STORES)) {
  test(`what ends at Hallpass stays ended beside Express: ${store}`, async () => {
    for (const row of await play(store, ACTS, MODES.length)) {
      const what = `${store}, ${row.act}: ${JSON.stringify(row)}`;
      assert.ok(row.served > 0, `Express served the person: ${what}`);
      assert.equal(row.here, 0, `alive again at Hallpass: ${what}`);
      assert.equal(row.there, 0, `alive at Express at the end: ${what}`);
      if (store === "pg") assert.equal(row.revived, 0, `PostgreSQL lets nothing in again: ${what}`);
    }
  });
}
