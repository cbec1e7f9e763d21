// Programs that a fault may stop, kill and start again, on data that stays.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import path from "node:path";
import { until } from "../express/engines.mjs";

/** The file of a program; a clear error if it is not installed. */
export function find(names, folders = []) {
  const places = [...(process.env.PATH ?? "").split(path.delimiter), ...folders];
  for (const name of names) {
    const found = places.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
    if (found) return found;
  }
  throw new Error(`${names[0]} is not installed: run scripts/setup`);
}

const idOf = (flag) => Number(execFileSync("id", [flag, "postgres"]).toString());

/** PostgreSQL refuses to run as root; Debian's package brings a user for it. */
export const unprivileged = () => (process.getuid() === 0 ? { uid: idOf("-u"), gid: idOf("-g") } : {});

export class Process {
  constructor(file, args, options = {}) {
    Object.assign(this, { file, args, options, log: "" });
  }

  /** Starts it and waits until `ready` no longer throws. */
  async start(ready = async () => {}) {
    const { env, user = {}, cwd = "/" } = this.options;
    const stdio = ["ignore", "pipe", "pipe"];
    this.child = spawn(this.file, this.args, { ...user, cwd, env: env ?? process.env, stdio });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (chunk) => (this.log = (this.log + chunk).slice(-200_000)));
    }
    const ended = () => (this.runs ? null : this.log.slice(-4000));
    await until(path.basename(this.file), ready, ended);
  }

  get runs() {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  signal(name) {
    if (this.runs) this.child.kill(name);
  }

  /** Ends it with a signal and waits. */
  async end(name) {
    if (!this.runs) return;
    const ended = once(this.child, "exit");
    this.child.kill("SIGCONT");
    this.child.kill(name);
    await ended;
  }
}
