// One cell of the table: a store, a fault, two servers, clients at work, and what came of it.

import { Client, Leaver, verify } from "./clients.mjs";
import { Hallpass, PASSWORD } from "./hallpass.mjs";
import { History } from "./history.mjs";
import { STORES } from "./stores.mjs";

const CLIENTS = 8;
const LEAVERS = 8;
const WARM_UP = 1_000;
const COOL_DOWN = 2_000;

/** How soon after the fault both servers must work again. */
const HEALS = 3_000;

/** How long to wait for that. */
const PATIENCE = 30_000;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What `/readyz` says, asked again and again. */
class Readiness {
  constructor(server) {
    Object.assign(this, { server, seen: [], ended: false });
    this.done = this.watch();
  }

  async watch() {
    while (!this.ended) {
      const { status } = await this.server.ask("GET", "/readyz");
      this.seen.push({ at: Date.now(), status });
      await pause(50);
    }
  }

  between(from, to) {
    return this.seen.filter(({ at }) => at >= from && at < to);
  }

  async end() {
    this.ended = true;
    await this.done;
  }
}

let probes = 0;

/** Milliseconds until a change succeeds at this server. */
async function healed(server, since) {
  for (;;) {
    const body = { email: `probe${(probes += 1)}@example.com`, password: PASSWORD };
    const { status } = await server.ask("POST", "/auth/register", { body });
    if (status === 201) return Date.now() - since;
    if (Date.now() - since > PATIENCE) return Infinity;
    await pause(50);
  }
}

/** The share of the fault during which `/readyz` said something else than 200, and how soon it did. */
function readiness(watches, begun, ended) {
  const seen = watches.flatMap((watch) => watch.between(begun, ended));
  const not = seen.filter(({ status }) => status !== 200);
  const first = not.length ? Math.min(...not.map(({ at }) => at)) - begun : Infinity;
  return { first, share: seen.length ? not.length / seen.length : 0 };
}

/** What `/readyz` says in the end: a member that is back may become the primary again, which takes a moment. */
async function settled(watches) {
  const end = Date.now() + HEALS;
  for (;;) {
    const last = watches.map((watch) => watch.seen.at(-1).status);
    if (last.every((status) => status === 200) || Date.now() > end) return last;
    await pause(50);
  }
}

/** Runs one fault for so long with a kind of program; what happened. */
export async function run(name, fault, seconds, kind = "server") {
  const store = await STORES[name].start(fault.options);
  const servers = [];
  const history = new History(fault.isAmbiguous);
  const stop = { now: false };
  try {
    for (let n = 0; n < 2; n += 1) servers.push(await Hallpass.start(store.args, { kind }));
    const watches = servers.map((server) => new Readiness(server));
    const many = (count, make) => Promise.all(Array.from({ length: count }, make));
    const leavers = await many(LEAVERS, () => new Leaver(servers, history, stop).arrive());
    const clients = many(CLIENTS, () => new Client(servers, history, stop).run());
    await pause(WARM_UP);
    const begun = Date.now();
    await fault.begin({ store, servers });
    const broken = Date.now();
    const left = Promise.all(leavers.map((leaver) => leaver.leave()));
    await pause(seconds * 1000);
    const mended = Date.now();
    await fault.end({ store, servers });
    const over = Date.now();
    const heal = Math.max(...(await Promise.all(servers.map((server) => healed(server, over)))));
    await pause(COOL_DOWN);
    stop.now = true;
    await Promise.all([clients, left]);
    const last = await settled(watches);
    await Promise.all(watches.map((watch) => watch.end()));
    await verify(servers, history);
    const ready = readiness(watches, begun, mended);
    return { store: name, fault: fault.name, history, heal, ready, last, broken: broken - begun, log: logs(servers) };
  } finally {
    stop.now = true;
    for (const server of servers) await server.stop();
    await store.stop();
  }
}

const logs = (servers) => servers.map((server) => server.process.log).join("\n--\n");

/** Everything that must not be. */
export function complaints({ history, heal, ready, last }, fault, seconds) {
  const found = history.faults.map(({ kind, text }) => `${kind}: ${text}`);
  if (heal > HEALS) found.push(`a server does not work again within ${HEALS} ms`);
  if (last.some((status) => status !== 200)) found.push(`/readyz still says ${last}`);
  if (history.acknowledged < 50) found.push(`only ${history.acknowledged} answers, so nothing is shown`);
  if (fault.breaks && seconds >= 3 && ready.share < 0.3) {
    found.push(`/readyz hides that changes fail: not 200 in ${Math.round(ready.share * 100)} % of its answers`);
  }
  return found;
}
