// Real MongoDB, Redis and PostgreSQL on free ports with throw-away data.

import { execFileSync, spawn } from "node:child_process";
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import net from "node:net";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { MongoClient } from "mongodb";

const PATIENCE = 60_000;

/** A program on PATH or in one of these folders; a clear error when it is nowhere. */
function find(names, folders = []) {
  const places = [...(process.env.PATH ?? "").split(path.delimiter), ...folders];
  for (const name of names) {
    const found = places.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
    if (found) return found;
  }
  throw new Error(`${names[0]} is not installed: run scripts/setup`);
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Asks again and again until `ready` stops throwing. */
export async function until(what, ready, ended = () => null) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await ready();
    } catch (error) {
      if (ended()) throw new Error(`${what} has ended: ${ended()}`);
      if (Date.now() > end) throw new Error(`waited in vain for ${what}: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const answers = (port) =>
  new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => (socket.destroy(), resolve()));
    socket.once("error", reject);
  });

/** PostgreSQL refuses to run as root; Debian's package brings a user for it. */
const idOf = (flag) => Number(execFileSync("id", [flag, "postgres"]).toString());
const unprivileged = () => (process.getuid() === 0 ? { uid: idOf("-u"), gid: idOf("-g") } : {});

class Engine {
  constructor(file, user = {}) {
    this.file = file;
    this.user = user;
    this.folder = mkdtempSync(path.join(tmpdir(), "hallpass-"));
    this.data = path.join(this.folder, "data");
    mkdirSync(this.data);
    if (user.uid) [this.folder, this.data].forEach((folder) => chownSync(folder, user.uid, user.gid));
  }

  async start(args, ready = answers) {
    this.log = "";
    this.child = spawn(this.file, args, { ...this.user, cwd: "/", stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (chunk) => (this.log = (this.log + chunk).slice(-4000)));
    }
    const ended = () => (this.child.exitCode === null ? null : this.log);
    await until(path.basename(this.file), () => ready(this.port), ended);
    return this;
  }

  async stop() {
    if (this.child && this.child.exitCode === null) {
      const ended = new Promise((resolve) => this.child.once("exit", resolve));
      this.child.kill("SIGINT");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function startMongo() {
  const cache = process.env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache");
  const engine = new Engine(find(["mongod"], [path.join(cache, "hallpass")]));
  engine.port = await freePort();
  engine.url = `mongodb://127.0.0.1:${engine.port}/?directConnection=true`;
  // A replica set of one, because change streams need one.
  const config = { _id: "rs", members: [{ _id: 0, host: `127.0.0.1:${engine.port}` }] };
  const ready = async () => {
    const client = await MongoClient.connect(engine.url, { serverSelectionTimeoutMS: 500 });
    try {
      const admin = client.db("admin");
      await admin.command({ replSetInitiate: config }).catch(() => {});
      if (!(await admin.command({ hello: 1 })).isWritablePrimary) throw new Error("there is no primary yet");
    } finally {
      await client.close();
    }
  };
  return engine.start(
    ["--dbpath", engine.data, "--port", `${engine.port}`, "--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "rs"],
    ready,
  );
}

export async function startRedis() {
  const engine = new Engine(find(["redis-server", "valkey-server"]));
  engine.port = await freePort();
  engine.url = `redis://127.0.0.1:${engine.port}`;
  return engine.start(["--port", `${engine.port}`, "--bind", "127.0.0.1", "--dir", engine.data, "--save", ""]);
}

/** `databases` are made in it; the server's own time zone is neither UTC nor a test's. */
export async function startPostgres(databases) {
  const versions = existsSync("/usr/lib/postgresql") ? readdirSync("/usr/lib/postgresql") : [];
  const folders = versions.map((version) => `/usr/lib/postgresql/${version}/bin`);
  const user = unprivileged();
  const engine = new Engine(find(["postgres"], folders), user);
  engine.port = await freePort();
  engine.url = (database) => `postgres://hallpass@127.0.0.1:${engine.port}/${database}?sslmode=disable`;
  const tool = (name, args) =>
    execFileSync(find([name], folders), args, { ...user, cwd: "/", stdio: ["ignore", "ignore", "pipe"] });
  tool("initdb", ["-D", engine.data, "-U", "hallpass", "-A", "trust", "--no-sync", "-E", "UTF8"]);
  const settings = ["max_connections=200", "dynamic_shared_memory_type=mmap", "fsync=off", "timezone=Pacific/Auckland"];
  const to = ["-h", "127.0.0.1", "-p", `${engine.port}`, "-U", "hallpass"];
  await engine.start(
    ["-D", engine.data, "-p", `${engine.port}`, "-h", "127.0.0.1", "-k", engine.data, ...settings.flatMap((one) => ["-c", one])],
    () => tool("pg_isready", ["-q", ...to]),
  );
  for (const database of databases) tool("createdb", [...to, database]);
  return engine;
}
