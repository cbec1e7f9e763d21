// The hand-picked cases: what goldens.json recorded of the real packages is what Hallpass shows, and still what they show.
//
// Run with: cargo build -p interop-driver && node --test interop/express/goldens.test.mjs
// One case: CASE='table/base/known' node --test …

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { REASONS, deviating, exact } from "./cases.mjs";
import { difference, play } from "./play.mjs";
import { OURS, REAL, startSides } from "./sides.mjs";

const goldens = JSON.parse(readFileSync(new URL("goldens.json", import.meta.url)));
const chosen = (cases) => cases.filter(({ id }) => id.includes(process.env.CASE ?? ""));

let sides;
let ours;
before(async () => {
  sides = await startSides();
  ours = await sides.hallpass(OURS);
});
after(() => sides?.dispose());

/** What must be seen of us, where that is not what is seen of Express. */
function expected(golden, mine, { ours: changed = {} } = {}) {
  return golden.map((real, at) => (changed[at] ? changed[at](real, golden[at - 1], mine[at]) : real));
}

async function compare(side, cases, expectation) {
  const wrong = [];
  for (const one of cases) {
    const golden = goldens[one.id];
    assert.ok(golden, `${one.id} was never recorded: run node interop/express/record.mjs`);
    const mine = await play(side, one).catch((error) => {
      throw new Error(`${one.id}: ${error.message}`);
    });
    const found = difference(expectation(golden, mine, one.deviation), mine);
    if (found) wrong.push(`${one.id}\n   ${found.map((part) => JSON.stringify(part)).join("\n   ")}`);
  }
  assert.deepEqual(wrong, [], `${wrong.length} of ${cases.length} cases differ:\n${wrong.slice(0, Number(process.env.SHOWN ?? 20)).join("\n")}`);
  console.log(`${side.name}: ${cases.length} cases as recorded`);
}

test("Hallpass shows what the real packages showed", () => compare(ours, chosen(exact), (golden) => golden));

test("Hallpass deviates where it says so, and in nothing else", () => {
  for (const { id, deviation } of deviating) assert.ok(REASONS[deviation.why], `${id} has no reason`);
  return compare(ours, chosen(deviating), expected);
});

test("the recording is what the real packages show", async () => {
  const real = await sides.express(REAL);
  // Every seventh case, and all that deviate: the whole recording is made by record.mjs.
  await compare(real, [...chosen(exact).filter((_, at) => at % 7 === 0), ...chosen(deviating)], (golden) => golden);
});
