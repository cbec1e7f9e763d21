// node interop/faults/revocation.mjs [--rounds N] [STORE]: how long after an acknowledged sign-out at one server another
// one still accepts the session: the distribution, not only the slowest. Exit code 1 beyond `session.max_staleness`.

import http from "node:http";
import { parseArgs } from "node:util";
import { Hallpass, PASSWORD } from "./hallpass.mjs";
import { STORES } from "./stores.mjs";

const BOUND = 1_000;
const { values, positionals } = parseArgs({
  options: { rounds: { type: "string", default: "200" } },
  allowPositionals: true,
});
const rounds = Number(values.rounds);

/** The status of a check on a connection that stays open, so that little but the check is measured. */
function check(server, agent, cookie) {
  return new Promise((resolve, reject) => {
    const options = { port: server.port, host: "127.0.0.1", path: "/auth/me", headers: { cookie }, agent };
    const request = http.get(options, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
    });
    request.on("error", reject);
  });
}

/** Milliseconds from the acknowledged sign-out at `one` to the last check that `two` began and accepted. */
async function round(one, two, agent, email) {
  const { cookie } = await one.ask("POST", "/auth/login", { body: { email, password: PASSWORD } });
  for (let n = 0; n < 3; n += 1) await check(two, agent, cookie);
  const { status } = await one.ask("POST", "/auth/logout", { cookie });
  if (status !== 200) throw new Error(`sign-out answered ${status}`);
  const ended = performance.now();
  let accepted = 0;
  for (;;) {
    const asked = performance.now();
    if ((await check(two, agent, cookie)) !== 200) return accepted;
    accepted = asked - ended;
  }
}

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(1);

console.log("| store | rounds | p50 ms | p99 ms | slowest ms |\n|---|---|---|---|---|");
let late = false;
for (const name of positionals.length ? positionals : ["sqlite", "postgres", "mongodb", "redis"]) {
  const store = await STORES[name].start();
  const servers = [];
  try {
    for (let n = 0; n < 2; n += 1) servers.push(await Hallpass.start(store.args));
    const agent = new http.Agent({ keepAlive: true });
    const email = "person@example.com";
    await servers[0].ask("POST", "/auth/register", { body: { email, password: PASSWORD } });
    const times = [];
    for (let n = 0; n < rounds; n += 1) times.push(await round(...servers, agent, email));
    times.sort((one, two) => one - two);
    late ||= times.at(-1) > BOUND;
    console.log(`| ${name} | ${rounds} | ${at(times, 0.5)} | ${at(times, 0.99)} | ${at(times, 1)} |`);
    agent.destroy();
  } finally {
    for (const server of servers) await server.stop();
    await store.stop();
  }
}
process.exit(late ? 1 : 0);
