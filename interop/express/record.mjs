// Records what the real packages show at every hand-picked case. Run with: node interop/express/record.mjs

import { writeFileSync } from "node:fs";
import { deviating, exact } from "./cases.mjs";
import { play } from "./play.mjs";
import { REAL, startSides } from "./sides.mjs";

const sides = await startSides();
try {
  const real = await sides.express(REAL);
  const lines = [];
  for (const one of [...exact, ...deviating]) {
    lines.push(`${JSON.stringify(one.id)}: ${JSON.stringify(await play(real, one))}`);
  }
  writeFileSync(new URL("goldens.json", import.meta.url), `{\n${lines.join(",\n")}\n}\n`);
  console.log(`recorded ${lines.length} cases`);
} finally {
  await sides.dispose();
}
