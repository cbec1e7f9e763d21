// The databases, each with the arguments that make Hallpass use it, and with what can go wrong with it.

import { execFileSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { freePort, until } from "../express/engines.mjs";
import { Process, find, unprivileged } from "./process.mjs";
import { Proxy } from "./proxy.mjs";

const { MongoClient } = createRequire(new URL("../express/", import.meta.url))("mongodb");

const scratch = (user = {}) => {
  const folder = mkdtempSync(path.join(tmpdir(), "hallpass-"));
  if (user.uid) chownSync(folder, user.uid, user.gid);
  return folder;
};

/** What all databases have in common: processes, a proxy in front, folders that go. */
class Store {
  constructor() {
    Object.assign(this, { processes: [], folders: [], proxies: [], environment: {} });
  }

  folder(user) {
    const folder = scratch(user);
    this.folders.push(folder);
    return folder;
  }

  async process(file, args, ready, options) {
    const process = new Process(file, args, options);
    process.ready = ready;
    this.processes.push(process);
    await process.start(ready);
    return process;
  }

  async proxy(port) {
    const proxy = await Proxy.to(port);
    this.proxies.push(proxy);
    return proxy;
  }

  async stop() {
    this.proxies.forEach((proxy) => proxy.close());
    for (const process of this.processes) await process.end("SIGKILL");
    this.folders.forEach((folder) => rmSync(folder, { recursive: true, force: true }));
  }
}

export class Sqlite extends Store {
  static async start() {
    const store = new Sqlite();
    store.data = store.folder();
    const mounted = path.join(store.data, "disk");
    mkdirSync(mounted);
    if (process.getuid() !== 0) throw new Error("the faults of a disk need root: they mount a small one");
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", mounted]);
    store.disk = mounted;
    store.args = ["--database", `sqlite:${path.join(mounted, "hallpass.db")}`];
    return store;
  }

  async stop() {
    execFileSync("umount", ["-l", this.disk]);
    await super.stop();
  }
}

const postgresTools = () => {
  const versions = existsSync("/usr/lib/postgresql") ? readdirSync("/usr/lib/postgresql") : [];
  return versions.map((version) => `/usr/lib/postgresql/${version}/bin`);
};

export class Postgres extends Store {
  static async start({ standby = false } = {}) {
    const store = new Postgres();
    store.user = unprivileged();
    const data = path.join(store.folder(store.user), "data");
    const arguments_ = ["-D", data, "-U", "hallpass", "-A", "trust", "--no-sync", "-E", "UTF8"];
    store.tool("initdb", arguments_);
    store.primary = await store.server(data);
    if (standby) await store.follow();
    store.network = await store.proxy(store.primary.port);
    store.args = ["--database", `postgres://hallpass@127.0.0.1:${store.network.port}/postgres?sslmode=disable`];
    return store;
  }

  tool(name, args) {
    const options = { ...this.user, cwd: "/", stdio: ["ignore", "pipe", "pipe"] };
    return execFileSync(find([name], postgresTools()), args, options).toString();
  }

  async server(data, more = []) {
    const port = await freePort();
    const settings = ["max_connections=200", "dynamic_shared_memory_type=mmap", ...more].flatMap((one) => ["-c", one]);
    const ready = () => this.tool("pg_isready", ["-q", "-h", "127.0.0.1", "-p", `${port}`]);
    const args = ["-D", data, "-p", `${port}`, "-h", "127.0.0.1", "-k", data, ...settings];
    const server = await this.process(find(["postgres"], postgresTools()), args, ready, { user: this.user });
    return Object.assign(server, { port, data });
  }

  /** Statements, one after the other in one session. */
  sql(server, ...statements) {
    const to = ["-h", "127.0.0.1", "-p", `${server.port}`, "-U", "hallpass", "-d", "postgres"];
    return this.tool("psql", [...to, "-qAt", ...statements.flatMap((text) => ["-c", text])]).trim();
  }

  /** A standby that the primary waits for, so that a failover loses nothing. */
  async follow() {
    const data = path.join(this.folder(this.user), "data");
    const from = ["-h", "127.0.0.1", "-p", `${this.primary.port}`, "-U", "hallpass"];
    this.tool("pg_basebackup", [...from, "-D", data, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"]);
    this.standby = await this.server(data, ["hot_standby=on"]);
    this.sql(this.primary, "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()");
    await until("the standby follows", () => {
      const state = this.sql(this.primary, "select sync_state from pg_stat_replication");
      if (state !== "sync") throw new Error(`it is ${state}`);
    });
  }
}

const mongod = () => {
  const cache = process.env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache");
  return find(["mongod"], [path.join(cache, "hallpass")]);
};

export class Mongo extends Store {
  static async start({ members = 1, election = 1000 } = {}) {
    const store = new Mongo();
    store.members = [];
    for (let n = 0; n < members; n += 1) store.members.push(await store.member());
    const hosts = store.members.map(({ port }) => `127.0.0.1:${port}`);
    const settings = { electionTimeoutMillis: election, heartbeatIntervalMillis: 300 };
    const config = { _id: "rs", members: hosts.map((host, _id) => ({ _id, host, priority: _id ? 1 : 2 })), settings };
    await store.command(store.members[0], { replSetInitiate: config });
    await until("a primary", async () => {
      const hello = await store.command(store.members[0], { hello: 1 });
      if (!hello.isWritablePrimary) throw new Error("none yet");
    });
    if (members > 1) {
      store.args = ["--database", `mongodb://${hosts.join(",")}/test?replicaSet=rs`];
    } else {
      store.network = await store.proxy(store.members[0].port);
      store.args = ["--database", `mongodb://127.0.0.1:${store.network.port}/test?directConnection=true`];
    }
    return store;
  }

  async member() {
    const port = await freePort();
    const place = ["--dbpath", this.folder(), "--port", `${port}`, "--bind_ip", "127.0.0.1"];
    const args = [...place, "--replSet", "rs", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"];
    const ready = () => this.command({ port }, { ping: 1 });
    return Object.assign(await this.process(mongod(), args, ready), { port });
  }

  async command({ port }, command) {
    const url = `mongodb://127.0.0.1:${port}/?directConnection=true`;
    const client = await MongoClient.connect(url, { serverSelectionTimeoutMS: 500 });
    try {
      return await client.db("admin").command(command);
    } finally {
      await client.close();
    }
  }

  async primary() {
    for (const member of this.members) {
      const hello = await this.command(member, { hello: 1 }).catch(() => ({}));
      if (hello.isWritablePrimary) return member;
    }
    throw new Error("there is no primary");
  }
}

const DURABLE = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"];

export class Redis extends Store {
  static async start({ sentinel = false, cluster = false } = {}) {
    const store = new Redis();
    store.database = path.join(store.folder(), "hallpass.db");
    store.nodes = [];
    let sessions;
    if (cluster) sessions = await store.cluster();
    else if (sentinel) sessions = await store.sentinel();
    else {
      store.network = await store.proxy((await store.node()).port);
      sessions = `redis://127.0.0.1:${store.network.port}`;
    }
    store.args = ["--database", `sqlite:${store.database}`, "--sessions", sessions];
    return store;
  }

  cli({ port }, ...args) {
    return execFileSync(find(["redis-cli"]), ["-p", `${port}`, ...args]).toString();
  }

  ready(port) {
    return () => {
      if (!this.cli({ port }, "ping").includes("PONG")) throw new Error("no PONG yet");
    };
  }

  async node(more = []) {
    const port = await freePort();
    const args = ["--port", `${port}`, "--dir", this.folder(), ...DURABLE, ...more];
    const node = await this.process(find(["redis-server", "valkey-server"]), args, this.ready(port));
    this.nodes.push(Object.assign(node, { port }));
    return node;
  }

  async sentinel() {
    const master = await this.node();
    const replica = await this.node(["--replicaof", "127.0.0.1", `${master.port}`]);
    const port = await freePort();
    const file = path.join(this.folder(), "sentinel.conf");
    const lines = [
      `port ${port}`,
      "bind 127.0.0.1",
      `sentinel monitor main 127.0.0.1 ${master.port} 1`,
      "sentinel down-after-milliseconds main 500",
      "sentinel failover-timeout main 2000",
    ];
    writeFileSync(file, lines.join("\n"));
    await this.process(find(["redis-server", "valkey-server"]), [file, "--sentinel"], this.ready(port));
    await until("the sentinel and the replica", () => {
      const watches = this.cli({ port }, "info", "sentinel");
      const follows = this.cli(replica, "info", "replication");
      if (!/slaves=1/.test(watches) || !/master_link_status:up/.test(follows)) throw new Error("not yet");
    });
    return `redis-sentinel://127.0.0.1:${port}?master=main`;
  }

  /** Three masters, each with a replica. */
  async cluster() {
    const enabled = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
    for (let n = 0; n < 6; n += 1) await this.node(enabled);
    const hosts = this.nodes.map(({ port }) => `127.0.0.1:${port}`);
    execFileSync(find(["redis-cli"]), ["--cluster", "create", ...hosts, "--cluster-replicas", "1", "--cluster-yes"]);
    await until("the cluster", () => {
      const up = this.nodes.every((node) => this.cli(node, "cluster", "info").includes("cluster_state:ok"));
      const follow = this.nodes.filter((node) => /master_link_status:up/.test(this.cli(node, "info", "replication")));
      if (!up || follow.length < 3) throw new Error("not yet");
    });
    return `redis-cluster://${hosts.join(",")}`;
  }
}

/** Everything is in MongoDB and moves to PostgreSQL. */
export class Moving extends Store {
  static async start() {
    const store = new Moving();
    [store.old, store.next] = await Promise.all([Mongo.start(), Postgres.start()]);
    store.network = store.next.network;
    store.args = store.old.args;
    const from = store.old.args[1];
    store.nextArgs = [...store.next.args, "--moving-from", from];
    store.migrateArgs = ["migrate", ...store.next.args, "--from", from];
    return store;
  }

  async stop() {
    await Promise.all([this.old.stop(), this.next.stop()]);
  }
}

export const STORES = { sqlite: Sqlite, postgres: Postgres, mongodb: Mongo, redis: Redis, moving: Moving };
