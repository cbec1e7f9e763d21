// A session that is ended at Hallpass while Express serves requests of it: is it honoured again, where, and for how long?
//
// The real hallpass server and real Express apps on connect-mongo, connect-redis and connect-pg-simple share sessions. A tab polls a page of
// Express that saves the session; meanwhile the person signs out, another of their sessions ends it, the password changes, or an operator
// disables the account. Afterwards both sides are asked, and the store itself is watched for what Express would honour.
//
// The ending side is the server, or an application on the library's Express profile, which also ends sessions as Express does.
//
// Run with: cargo build --workspace --bins && node interop/express/ended.mjs [--program server|profile] [rounds [store [act]]]; prints a table.

import { execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { MongoClient } from "mongodb";
import pg from "pg";
import { createClient } from "redis";
import { startMongo, startPostgres, startRedis } from "./engines.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(HERE, "../../target");
const HALLPASS = process.env.HALLPASS_BIN ?? path.join(TARGET, "debug/hallpass");
const PROFILE = path.join(TARGET, "debug/express-app");
const SECRET = "0123456789abcdef0123456789abcdef";
const PASSWORDS = ["correct horse battery staple", "another horse, another battery"];

/** How long the tab goes on after the session has ended, and how long it is then watched, in milliseconds. */
const POLLING = 120;
const QUIET = 250;

/** Who ends sessions, and how. `destroy` and `regenerate` are those of `req.session`. */
export const ACTS = {
  server: ["sign-out", "revoke", "password", "disable"],
  profile: ["sign-out", "destroy", "regenerate", "revoke", "password"],
};

/** How Express runs: whether it saves every session, and in how many processes. */
export const MODES = [
  { name: "resave, one process", resave: true, apps: 1, workers: 1 },
  { name: "changes, one process", resave: false, apps: 1, workers: 1 },
  { name: "resave, two processes", resave: true, apps: 2, workers: 1 },
  { name: "changes, two processes", resave: false, apps: 2, workers: 1 },
  { name: "resave, cluster", resave: true, apps: 1, workers: 2 },
  { name: "changes, cluster", resave: false, apps: 1, workers: 2 },
];

/** Each store: its server, what Hallpass is told, and whether Express would honour a session now. */
export const STORES = {
  mongo: async () => {
    const engine = await startMongo();
    const url = `mongodb://127.0.0.1:${engine.port}/shop?directConnection=true`;
    const client = await MongoClient.connect(url);
    const rows = client.db().collection("sessions");
    const isAlive = async (sid) => (await rows.countDocuments({ _id: sid, expires: { $gt: new Date() } })) > 0;
    const args = ["--database", url];
    return { engine, url, toml: `database = "${url}"`, args, isAlive, close: () => client.close() };
  },
  pg: async () => {
    const engine = await startPostgres(["shop"]);
    const url = engine.url("shop");
    const pool = new pg.Pool({ connectionString: url });
    // The server may end before its connections do.
    pool.on("error", () => {});
    const isAlive = async (sid) =>
      (await pool.query("select 1 from session where sid = $1 and expire > now()", [sid])).rowCount > 0;
    const toml = `database = "${url}"\n[connect.pg]\ncreate_table_if_missing = true`;
    return { engine, url, toml, args: ["--database", url], isAlive, close: () => pool.end() };
  },
  redis: async () => {
    const engine = await startRedis();
    const client = await createClient({ url: engine.url }).connect();
    const isAlive = async (sid) => (await client.exists(`sess:${sid}`)) > 0;
    const toml = `database = "sqlite:hallpass.db"\nsessions = "${engine.url}"`;
    const args = ["--database", "sqlite:hallpass.db", "--sessions", engine.url];
    return { engine, url: engine.url, toml, args, isAlive, close: () => client.close() };
  },
};

/** A program that prints its address when it is ready. */
async function program(file, args, cwd, ready) {
  const child = spawn(file, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk) => (said = (said + chunk).slice(-4000)));
  const found = await new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk) => ready(String(chunk)) && resolve(ready(String(chunk))));
    child.once("exit", (code) => reject(new Error(`${file} ended with ${code}: ${said}`)));
  });
  const stop = () => new Promise((resolve) => (child.removeAllListeners("exit"), child.once("exit", resolve), child.kill("SIGTERM")));
  return { found, stop };
}

const express = (options, cwd) =>
  program(process.execPath, [path.join(HERE, "ended-app.mjs"), JSON.stringify({ ...options, secret: SECRET })], cwd, (line) => {
    const port = /port (\d+)/.exec(line)?.[1];
    return port && `http://127.0.0.1:${port}`;
  });

const readyAt = (line) => {
  try {
    return JSON.parse(line).ready;
  } catch {
    return undefined;
  }
};

function startServer(made, folder) {
  const tables = made.toml.split("\n[");
  const toml = [
    `listen = "127.0.0.1:0"\nkey_file = "key"\n${tables[0]}`,
    `[session]\nlayout = "connect"\nsecrets = ["${SECRET}"]\ncookie_name = "connect.sid"`,
    `[throttle.register]\nfree = 1000000`,
    ...tables.slice(1).map((table) => `[${table}`),
  ].join("\n");
  writeFileSync(path.join(folder, "hallpass.toml"), toml);
  return program(HALLPASS, ["serve", "--config", "hallpass.toml", "--json"], folder, readyAt);
}

const startProfile = (made, folder) =>
  program(PROFILE, ["--listen", "127.0.0.1:0", "--secret", SECRET, ...made.args], folder, readyAt);

/** One server and one store. */
async function site(store, kind) {
  const folder = mkdtempSync(path.join(tmpdir(), "hallpass-ended-"));
  const made = await STORES[store]();
  const server = await (kind === "server" ? startServer : startProfile)(made, folder);
  const url = server.found.replace(/\/$/, "");
  const ask = async (method, where, cookie, body) => {
    const headers = { accept: "application/json", "content-type": "application/json", ...(cookie && { cookie }) };
    const answer = await fetch(url + where, { method, headers, redirect: "manual", body: body && JSON.stringify(body) });
    const set = answer.headers.getSetCookie().find((line) => line.startsWith("connect.sid="));
    return { status: answer.status, cookie: set?.split(";")[0], body: await answer.json().catch(() => null) };
  };
  const disable = (email) => promisify(execFile)(HALLPASS, ["user", "disable", email, "--config", "hallpass.toml"], { cwd: folder });
  const dispose = async () => {
    await server.stop();
    await made.close();
    await made.engine.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { ...made, folder, ask, disable, dispose };
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const sidOf = (cookie) => decodeURIComponent(cookie.split("=")[1]).slice(2).split(".")[0];
const sessionsOf = async (site, cookie) => (await site.ask("GET", "/auth/sessions", cookie)).body.sessions;

/** Ends the session of `victim`, from `actor` where another one does it. */
async function end(site, act, email, victim, actor, handle) {
  const done = {
    "sign-out": () => site.ask("POST", "/auth/logout", victim),
    destroy: () => site.ask("POST", "/auth/destroy", victim),
    regenerate: () => site.ask("POST", "/auth/regenerate", victim),
    revoke: () => site.ask("DELETE", `/auth/sessions/${handle}`, actor),
    password: () => site.ask("POST", "/auth/password", actor, { current_password: PASSWORDS[0], new_password: PASSWORDS[1] }),
    disable: () => site.disable(email),
  };
  const answer = await done[act]();
  if (answer.status >= 400) throw new Error(`${act} was answered with ${answer.status}: ${JSON.stringify(answer.body)}`);
}

/** One person, one end. Returns whether it is honoured afterwards, and how long the store had what Express would honour. */
async function round(site, apps, act, number) {
  const email = `ann${number}@example.com`;
  const account = { email, password: PASSWORDS[0] };
  const { cookie: victim, status } = await site.ask("POST", "/auth/register", undefined, account);
  if (!victim) throw new Error(`register was answered with ${status}`);
  const needsActor = act === "revoke" || act === "password";
  const actor = needsActor ? (await site.ask("POST", "/auth/login", undefined, account)).cookie : undefined;
  const handle = act === "revoke" ? (await sessionsOf(site, actor)).find((one) => !one.current).handle : undefined;

  let [isOpen, served, at] = [true, 0, 0];
  const tab = async () => {
    while (isOpen) {
      const app = apps[at++ % apps.length];
      const user = await (await fetch(`${app}/page`, { headers: { cookie: victim } })).text();
      if (user !== "nobody") served += 1;
    }
  };
  const tabs = [tab(), tab(), tab()];
  await pause(40 + Math.random() * 30);
  await end(site, act, email, victim, actor, handle);
  const ended = performance.now();
  const isHere = async () => (await site.ask("GET", "/auth/me", victim)).status === 200;
  let here = await isHere();
  pause(POLLING).then(() => (isOpen = false));

  let [alive, times, previous] = [0, 0, ended];
  // How long each stale save was there.
  const saves = [];
  // The time between two looks, which is the precision of all that.
  const looks = [];
  let wasAlive = false;
  const asked = [];
  while (performance.now() < ended + POLLING + QUIET) {
    const isAlive = await site.isAlive(sidOf(victim));
    const now = performance.now();
    if (isAlive) {
      // Since the look before, so rather too long than too short.
      alive += now - previous;
      times += 1;
      if (wasAlive) saves[saves.length - 1] += now - previous;
      else saves.push(now - previous);
      asked.push(isHere());
    }
    wasAlive = isAlive;
    looks.push(now - previous);
    previous = now;
    await pause(1);
  }
  here ||= (await Promise.all(asked)).includes(true);
  await Promise.all(tabs);
  await pause(30);
  here ||= await isHere();
  const there = (await (await fetch(`${apps[0]}/page`, { headers: { cookie: victim } })).text()) !== "nobody";
  return { here, there, served, alive, times, saves, looks };
}

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

/** Plays `rounds` of each act of a program on a store, spread over the modes; `show` gets each row when it is there. */
export async function play(store, kind, acts, rounds, show = () => {}, modes = MODES) {
  const here = await site(store, kind);
  const table = [];
  const running = [];
  let number = 0;
  try {
    const start = (mode) => Promise.all(Array.from({ length: mode.apps }, () => express({ store, url: here.url, ...mode }, HERE)));
    // connect-pg-simple makes its table when it is first used: where several do at once, all but one fail.
    running.push({ mode: modes[0], apps: await start(modes[0]) });
    await (await fetch(`${running[0].apps[0].found}/page`)).text();
    running.push(...(await Promise.all(modes.slice(1).map(async (mode) => ({ mode, apps: await start(mode) })))));
    for (const act of acts) {
      const seen = [];
      for (let count = 0; count < rounds; count += 1) {
        const { apps } = running[count % running.length];
        seen.push(await round(here, apps.map(({ found }) => found), act, number++));
      }
      const alive = seen.map((one) => one.alive).sort((a, b) => a - b);
      const saves = seen.flatMap((one) => one.saves).sort((a, b) => a - b);
      const looks = seen.flatMap((one) => one.looks).sort((a, b) => a - b);
      const count = (key) => seen.filter((one) => one[key]).length;
      table.push({
        store, kind, act, rounds,
        served: seen.reduce((sum, one) => sum + one.served, 0),
        revived: count("times"),
        here: count("here"),
        there: count("there"),
        p50: at(alive, 0.5), p99: at(alive, 0.99), max: alive.at(-1) ?? 0,
        saves: saves.length, each: at(saves, 0.99), look: at(looks, 0.99),
      });
      show(table.at(-1));
    }
  } finally {
    await Promise.all(running.flatMap(({ apps }) => apps.map(({ stop }) => stop())));
    await here.dispose();
  }
  return table;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({ options: { program: { type: "string" } }, allowPositionals: true });
  const [rounds = "200", store, act] = positionals;
  console.log("| program | store | ended by | rounds | pages served | saved again | alive at Hallpass | alive at Express at the end | in the store p50 | p99 | longest | saves | each p99 | look p99 |");
  console.log("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
  const show = (row) => {
    const times = [row.p50, row.p99, row.max].map((time) => `${time.toFixed(1)} ms`).join(" | ");
    console.log(`| ${row.kind} | ${row.store} | ${row.act} | ${row.rounds} | ${row.served} | ${row.revived} | ${row.here} | ${row.there} | ${times} | ${row.saves} | ${row.each.toFixed(1)} ms | ${row.look.toFixed(1)} ms |`);
  };
  for (const kind of Object.keys(ACTS).filter((kind) => !values.program || kind === values.program)) {
    for (const name of store ? [store] : Object.keys(STORES)) await play(name, kind, act ? [act] : ACTS[kind], Number(rounds), show);
  }
}
