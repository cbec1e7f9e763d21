// The program under test, and what a browser that remembers one cookie asks of it.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../express/engines.mjs";
import { Process } from "./process.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, "target");
export const program = process.env.HALLPASS_BIN ?? path.join(target, "debug", "hallpass");

/** What runs: the server, or an application on the library's Express profile. */
export const PROGRAMS = {
  server: { file: program, command: ["serve"], cookie: "hallpass" },
  profile: { file: path.join(target, "debug", "express-app"), command: [], cookie: "connect.sid" },
};

const SECRET = "a-secret-of-several-servers-that-is-long";
export const PASSWORD = "correct horse battery staple";

/** How long a request may take before the client gives up. */
const PATIENCE = 10_000;

const library = () => ["x86_64", "aarch64"].map((kind) => `/usr/lib/${kind}-linux-gnu/faketime/libfaketimeMT.so.1`);

/** The environment of a program whose wall clock is off by so much, such as "+5m". */
function clock(offset) {
  if (!offset) return {};
  const found = library().find((file) => existsSync(file));
  if (!found) throw new Error("libfaketime is not installed: run scripts/setup");
  return { LD_PRELOAD: found, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: "1", DONT_FAKE_MONOTONIC: "1" };
}

export class Hallpass {
  static async start(args, { folder, environment = {}, kind = "server" } = {}) {
    const { file } = PROGRAMS[kind];
    if (!existsSync(file)) throw new Error(`${file} is missing: run "cargo build --workspace --bins" first`);
    const server = new Hallpass();
    const port = await freePort();
    server.own = folder ?? mkdtempSync(path.join(tmpdir(), "hallpass-"));
    Object.assign(server, { base: `http://127.0.0.1:${port}`, port, args, environment, folder, kind });
    await server.run();
    return server;
  }

  /** Starts the program, on a wall clock that is off if an offset is given. */
  async run(offset) {
    const env = {
      PATH: process.env.PATH,
      HALLPASS__SESSION__SECRETS: SECRET,
      HALLPASS__STORE__TIMEOUT: "1s",
      HALLPASS__THROTTLE__REGISTER__FREE: "1000000",
      HALLPASS__THROTTLE__ADDRESS__FREE: "1000000",
      HALLPASS__PASSWORD__ARGON2_MEMORY_KIB: "19456",
      ...this.environment,
      ...clock(offset),
    };
    const { file, command } = PROGRAMS[this.kind];
    const args = [...command, "--listen", `127.0.0.1:${this.port}`, ...this.args];
    this.process = new Process(file, args, { env, cwd: this.own });
    await this.process.start(async () => {
      const answer = await this.ask("GET", "/healthz");
      if (answer.status !== 200) throw new Error(`/healthz says ${answer.status}`);
    });
  }

  /** One request. `status` is 0 when no answer came. */
  async ask(method, url, { cookie, body } = {}) {
    const headers = { accept: "application/json", connection: "close" };
    if (cookie) headers.cookie = cookie;
    if (body) headers["content-type"] = "application/json";
    const signal = AbortSignal.timeout(PATIENCE);
    const sent = Date.now();
    try {
      const response = await fetch(this.base + url, { method, headers, body: body && JSON.stringify(body), signal });
      const text = await response.text();
      const set = response.headers.getSetCookie().map((line) => line.split(";")[0]);
      const isJson = response.headers.get("content-type")?.includes("json");
      const json = text && isJson ? JSON.parse(text) : {};
      const name = `${PROGRAMS[this.kind].cookie}=`;
      return { status: response.status, json, cookie: set.find((pair) => pair.startsWith(name)), sent };
    } catch {
      return { status: 0, json: {}, sent };
    }
  }

  async restart(offset) {
    await this.process.end("SIGKILL");
    await this.run(offset);
  }

  async stop() {
    await this.process.end("SIGTERM");
    if (!this.folder) rmSync(this.own, { recursive: true, force: true });
  }
}
