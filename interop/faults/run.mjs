// node interop/faults/run.mjs [--seconds N] [--program server|profile] [STORE [FAULT]]: the table of faults; exit code 1 if a
// promise does not hold. `profile` is an application on the library's Express profile; without the option both run.
// Needs what scripts/setup installs, root, and `cargo build --workspace --bins`; HALLPASS_BIN names another program.
// Runs in a network of its own, so that packets can be lost and nothing outside can be reached.

import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { complaints, run } from "./cell.mjs";
import { FAULTS } from "./faults.mjs";
import { PROGRAMS } from "./hallpass.mjs";

const { values, positionals } = parseArgs({
  options: {
    seconds: { type: "string", default: "5" },
    log: { type: "boolean", default: false },
    program: { type: "string" },
  },
  allowPositionals: true,
});
const ISOLATED = "HALLPASS_FAULTS_ISOLATED";
if (!process.env[ISOLATED]) {
  const script = 'ip link set lo up && exec "$0" "$@"';
  const args = ["--net", "sh", "-c", script, process.execPath, ...process.argv.slice(1)];
  const env = { ...process.env, [ISOLATED]: "1" };
  const { status, error } = spawnSync("unshare", args, { env, stdio: "inherit" });
  if (error) throw error;
  process.exit(status ?? 1);
}

const seconds = Number(values.seconds);
const [wantedStore, wantedFault] = positionals;
const duration = (milliseconds) => (milliseconds === Infinity ? "never" : `${(milliseconds / 1000).toFixed(1)} s`);

/** SQLite has no layout of Express, and nothing moves within one. */
const runs = (kind, store) => kind === "server" || !["sqlite", "moving"].includes(store);
const cells = Object.keys(PROGRAMS)
  .filter((kind) => !values.program || kind === values.program)
  .flatMap((kind) => Object.entries(FAULTS).filter(([store]) => runs(kind, store)).map(([store, faults]) => [kind, store, faults]));

console.log(`| program | store | fault of ${seconds} s | acknowledged | refused | lost | resurrected | lost changes | wrong 404 | wrong 409 | half | heals in | \`/readyz\` not 200 |`);
console.log("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
let failed = 0;
for (const [kind, store, faults] of cells) {
  for (const fault of faults) {
    if ((wantedStore && store !== wantedStore) || (wantedFault && fault.name !== wantedFault)) continue;
    try {
      const result = await run(store, fault, seconds, kind);
      const { acknowledged, refused } = result.history;
      const counts = Object.values(result.history.summary());
      const ready = `${Math.round(result.ready.share * 100)} %, after ${duration(result.ready.first)}`;
      console.log(`| ${[kind, store, fault.name, acknowledged, refused, ...counts, duration(result.heal), ready].join(" | ")} |`);
      const found = complaints(result, fault, seconds);
      failed += found.length;
      for (const text of found.slice(0, 8)) console.error(`${kind}, ${store}, ${fault.name}: ${text}`);
      if (values.log) console.error(result.log);
    } catch (error) {
      failed += 1;
      console.error(`${kind}, ${store}, ${fault.name}: ${error.stack}`);
    }
  }
}
process.exit(failed ? 1 : 0);
