// Random sequences of requests to the real express-session and to Hallpass: everything that can be seen is the same.
//
// Run with: cargo build -p interop-driver && node --test interop/express/random.test.mjs
// One sequence: SEED=7 COUNT=1 node --test … ; going on: SEED=1000 COUNT=5000 node --test …

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { difference, play } from "./play.mjs";
import { random } from "./random.mjs";
import { OURS, REAL, startSides } from "./sides.mjs";

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const COUNT = Number(process.env.COUNT ?? 300);

let sides;
let real;
let ours;
before(async () => {
  sides = await startSides();
  [real, ours] = await Promise.all([sides.express(REAL), sides.hallpass(OURS)]);
  // Express never answers some requests.
  real.patience = 5000;
});
after(() => sides?.dispose());

/** What comes before the first request that Express never answers. By us it must be answered all the same. */
function answered(theirs, mine, id) {
  assert.ok(!mine.some((seen) => seen.hangs), `${id}: Hallpass does not answer`);
  const hung = theirs.findIndex((seen) => seen.hangs);
  return hung < 0 ? [theirs, mine, 0] : [theirs.slice(0, hung), mine.slice(0, hung), 1];
}

test(`${COUNT} random sequences from SEED=${SEED} show the same`, async () => {
  const wrong = [];
  let [requests, hung] = [0, 0];
  for (let seed = SEED; seed < SEED + COUNT; seed += 1) {
    const one = random(seed);
    const [theirs, mine, hangs] = answered(...(await Promise.all([play(real, one), play(ours, one)])), one.id);
    [requests, hung] = [requests + theirs.length, hung + hangs];
    const found = difference(theirs, mine);
    if (found) wrong.push(`SEED=${seed} COUNT=1 shows ${found.map((part) => JSON.stringify(part)).join("\n   ")}\n   ${JSON.stringify(one)}`);
  }
  assert.ok(hung <= COUNT / 20, `too many sequences (${hung}) are compared only up to a request that Express does not answer`);
  assert.equal(wrong.length, 0, wrong.slice(0, 10).join("\n"));
  console.log(`SEED=${SEED}: ${COUNT} sequences, ${requests} requests the same; Express left ${hung} without an answer`);
});
