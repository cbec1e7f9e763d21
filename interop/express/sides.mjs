// Two servers behind the same contract, the real stack and Hallpass's driver, each with databases of its own on the same engines.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import { MongoEye, PgEye, RedisEye } from "./eyes.mjs";
import { startMongo, startPostgres, startRedis } from "./engines.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, "target");
const driver = path.join(target, "debug", "interop-driver");

/** So long may an answer take on a machine that has much to do. */
const PATIENCE = 60_000;

async function start(file, args, ready) {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
  const lines = [];
  const address = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      readline.createInterface({ input: stream }).on("line", (line) => {
        lines.push(line);
        const match = line.match(ready);
        if (match) resolve(match[1]);
      });
    }
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${file} ended with ${code}:\n${lines.join("\n")}`)));
  });
  const stop = async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  };
  return { address, stop, lines };
}

/** One request; `{ hangs: true }` when nothing comes back in so many milliseconds. */
export function send(base, { method = "GET", url, headers = {}, body }, patience = PATIENCE) {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(base);
    const request = http.request({ hostname, port, method, path: url, headers, agent: false }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", () => resolve({ hangs: true, at: Date.now() }));
      response.on("end", () => {
        const { statusCode: status, headers } = response;
        resolve({ status, headers, body: Buffer.concat(chunks).toString(), at: Date.now() });
      });
    });
    request.setTimeout(patience, () => request.destroy());
    request.on("error", () => resolve({ hangs: true, at: Date.now() }));
    request.end(body);
  });
}

/** A server under test, and eyes on its databases. */
class Side {
  constructor(name, program, eyes) {
    Object.assign(this, { name, program, eyes, base: program.address });
  }

  async control(what, body = {}) {
    const answer = await send(this.base, { method: "POST", url: `/__ctl/${what}`, body: JSON.stringify(body) });
    if (answer.status !== 200) throw new Error(`${this.name}: ${what} failed: ${answer.status} ${answer.body}`);
    return JSON.parse(answer.body);
  }

  /** The eye on the store of a configuration. */
  eye({ store = {} }) {
    return this.eyes[store.type ?? "mongo"].on(store);
  }
}

/** Starts the engines and both servers; `dispose` ends them all. */
export async function startSides() {
  if (!existsSync(driver)) throw new Error(`${driver} is missing: run "cargo build -p interop-driver" first`);
  const [mongo, redis, postgres] = await Promise.all([startMongo(), startRedis(), startPostgres(["real", "ours", "shared"])]);
  const open = [];
  const side = async (name, file, args, ready, places) => {
    const urls = { mongo: mongo.url, db: places.database, redis: `${redis.url}/${places.number}`, postgres: postgres.url(places.database) };
    const listen = ["--listen", "127.0.0.1:0"];
    const options = Object.entries(urls).flatMap(([option, value]) => [`--${option}`, value]);
    const program = await start(file, [...args, ...listen, ...options], ready);
    const eyes = { mongo: await MongoEye.open(urls), redis: await RedisEye.open(urls), pg: await PgEye.open(urls) };
    eyes.redis10 = eyes.redis;
    open.push(program.stop, ...["mongo", "redis", "pg"].map((name) => () => eyes[name].close()));
    return new Side(name, program, eyes);
  };
  const script = fileURLToPath(new URL("server.mjs", import.meta.url));
  const express = (places) => side("express", process.execPath, [script], /express listens on (http:\S+)/, places);
  const hallpass = (places) => side("hallpass", driver, [], /interop-driver listens on (http:\S+)/, places);
  const dispose = async () => {
    for (const close of open) await close();
    await Promise.all([mongo, redis, postgres].map((engine) => engine.stop()));
  };
  return { express, hallpass, dispose };
}

export const REAL = { database: "real", number: 0 };
export const OURS = { database: "ours", number: 1 };
export const SHARED = { database: "shared", number: 2 };
