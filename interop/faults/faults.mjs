// What goes wrong: each fault is done to a store or a server, and undone.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import path from "node:path";
import { until } from "../express/engines.mjs";
import { program } from "./hallpass.mjs";
import { Process } from "./process.mjs";

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * A fault of the network in front of the database. Whether a change arrived is not known when its answer is lost: then
 * a 503 says so, and what is tried again may have happened already.
 */
const network = (name, breaks, act) => ({
  name,
  breaks,
  isAmbiguous: true,
  begin: ({ store }) => act(store.network),
  end: ({ store }) => {
    store.network.hold({});
    store.network.slow(0);
    store.network.refuses = false;
  },
});

/** One packet in five is lost, between the servers and the database and back. */
const LOSSY = ({ store }) => `
table inet hallpass_faults {
  chain loss {
    type filter hook input priority 0;
    meta l4proto tcp tcp dport ${store.network.target} numgen random mod 100 < 20 drop
    meta l4proto tcp tcp sport ${store.network.target} numgen random mod 100 < 20 drop
  }
}`;

/** Works in the network that run.mjs makes for itself. */
const PACKET_LOSS = {
  name: "packet loss",
  breaks: false,
  isAmbiguous: true,
  begin: (place) => execFileSync("nft", ["-f", "-"], { input: LOSSY(place) }),
  end: () => execFileSync("nft", ["delete", "table", "inet", "hallpass_faults"]),
};

const NETWORK = [
  PACKET_LOSS,
  network("hang", true, (proxy) => proxy.hold({ requests: true, answers: true })),
  network("answers cut", true, (proxy) => proxy.hold({ answers: true })),
  network("requests cut", true, (proxy) => proxy.hold({ requests: true })),
  network("slow", false, (proxy) => proxy.slow(150)),
  network("connections break", false, (proxy) => proxy.cut()),
  network("refused", true, (proxy) => {
    proxy.refuses = true;
    proxy.cut();
  }),
];

/** A process of the database that is killed and started again on its data. */
const killed = (which) => ({
  name: "kill",
  breaks: true,
  isAmbiguous: true,
  begin: ({ store }) => which(store).end("SIGKILL"),
  end: async ({ store }) => which(store).start(which(store).ready),
});

/** One of the two servers dies and comes back. */
const SERVER_KILLED = { name: "server killed", breaks: false, begin: ({ servers }) => servers[1].restart(), end: () => {} };

/** The wall clock of one server is off. */
const clock = (offset) => ({
  name: `clock ${offset}`,
  breaks: false,
  // Its sessions must not live longer than they may, and it must not sweep those of others.
  begin: ({ servers }) => servers[1].restart(offset),
  end: ({ servers }) => servers[1].restart(),
});

const CLOCKS = [clock("+5m"), clock("-5m"), clock("+40d"), clock("-40d")];

const fill = (disk) => {
  const file = path.join(disk, "filler");
  try {
    execFileSync("dd", ["if=/dev/zero", `of=${file}`, "bs=64k"], { stdio: "ignore" });
  } catch {
    // It ends when the disk is full.
  }
  return file;
};

const SQLITE = [
  SERVER_KILLED,
  {
    name: "full",
    breaks: true,
    begin: ({ store }) => void (store.filler = fill(store.disk)),
    end: ({ store }) => rmSync(store.filler),
  },
  {
    name: "hang",
    breaks: true,
    begin: async ({ store }) => {
      const file = path.join(store.disk, "hallpass.db");
      const script = `import sqlite3,time\nc=sqlite3.connect(${JSON.stringify(file)},timeout=30,isolation_level=None)\nc.execute("begin immediate")\nprint("held",flush=True)\ntime.sleep(600)`;
      store.holder = spawn("python3", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
      await once(store.holder.stdout, "data");
    },
    end: async ({ store }) => {
      const ended = once(store.holder, "exit");
      store.holder.kill("SIGKILL");
      await ended;
    },
  },
];

/** Settings are changed in a session that may write whatever the default is. */
const setting = (store, name, value) => {
  const change = `alter system set ${name} = ${value}`;
  store.sql(store.primary, `set default_transaction_read_only = off`, change, "select pg_reload_conf()");
};

const POSTGRES = [
  SERVER_KILLED,
  killed((store) => store.primary),
  ...NETWORK,
  {
    name: "read-only",
    breaks: true,
    begin: ({ store }) => setting(store, "default_transaction_read_only", "on"),
    end: ({ store }) => setting(store, "default_transaction_read_only", "off"),
  },
  {
    name: "failover",
    isAmbiguous: true,
    breaks: false,
    options: { standby: true },
    begin: async ({ store }) => {
      await store.primary.end("SIGKILL");
      store.sql(store.standby, "select pg_promote(true, 30)");
      store.network.lead(store.standby.port);
    },
    end: () => {},
  },
  ...CLOCKS,
];

const MONGODB = [
  SERVER_KILLED,
  killed((store) => store.members[0]),
  ...NETWORK,
  {
    name: "failover",
    isAmbiguous: true,
    breaks: false,
    options: { members: 3 },
    begin: async ({ store }) => {
      store.lost = await store.primary();
      await store.lost.end("SIGKILL");
      await until("another primary", () => store.primary());
    },
    end: ({ store }) => store.lost.start(store.lost.ready),
  },
  {
    name: "step-down",
    isAmbiguous: true,
    breaks: false,
    options: { members: 3 },
    begin: async ({ store }) => {
      const primary = await store.primary();
      await store.command(primary, { replSetStepDown: 5, secondaryCatchUpPeriodSecs: 3 });
    },
    end: () => {},
  },
  {
    name: "primary hangs",
    isAmbiguous: true,
    breaks: false,
    options: { members: 3 },
    begin: async ({ store }) => {
      store.lost = await store.primary();
      store.lost.signal("SIGSTOP");
    },
    end: ({ store }) => store.lost.signal("SIGCONT"),
  },
  {
    // Then the primary dies and a member that has missed everything since is elected.
    name: "no majority",
    isAmbiguous: true,
    breaks: true,
    // The primary goes on for a while although it is alone.
    options: { members: 3, election: 8000 },
    begin: async ({ store }) => {
      const primary = await store.primary();
      store.lost = primary;
      store.behind = store.members.filter((member) => member !== primary);
      store.behind.forEach((member) => member.signal("SIGSTOP"));
    },
    end: async ({ store }) => {
      await store.lost.end("SIGKILL");
      store.behind.forEach((member) => member.signal("SIGCONT"));
      await until("another primary", () => store.command(store.behind[0], { replSetStepUp: 1 }));
      await store.lost.start(store.lost.ready);
    },
  },
  ...CLOCKS,
];

const REDIS = [
  SERVER_KILLED,
  killed((store) => store.nodes[0]),
  ...NETWORK,
  {
    name: "full",
    breaks: true,
    begin: ({ store }) => store.cli(store.nodes[0], "config", "set", "maxmemory", "1mb"),
    end: ({ store }) => store.cli(store.nodes[0], "config", "set", "maxmemory", "0"),
  },
  {
    name: "read-only",
    breaks: true,
    begin: ({ store }) => store.cli(store.nodes[0], "replicaof", "127.0.0.1", "1"),
    end: ({ store }) => store.cli(store.nodes[0], "replicaof", "no", "one"),
  },
  {
    name: "failover",
    isAmbiguous: true,
    breaks: false,
    options: { sentinel: true },
    begin: async ({ store }) => {
      await store.nodes[0].end("SIGKILL");
      await until("another master", () => {
        if (!/role:master/.test(store.cli(store.nodes[1], "info", "replication"))) throw new Error("none yet");
      });
    },
    end: ({ store }) => store.nodes[0].start(store.nodes[0].ready),
  },
  {
    name: "cluster failover",
    isAmbiguous: true,
    breaks: false,
    options: { cluster: true },
    begin: async ({ store }) => {
      await store.nodes[0].end("SIGKILL");
      await until("the cluster", () => {
        const info = store.cli(store.nodes[1], "cluster", "info");
        if (!info.includes("cluster_state:ok")) throw new Error("not yet");
      });
      await pause(500);
    },
    end: ({ store }) => store.nodes[0].start(store.nodes[0].ready),
  },
  ...CLOCKS,
];

const migrate = ({ args, environment, own }, store) => {
  const env = { PATH: process.env.PATH, ...environment };
  return new Process(program, store.migrateArgs, { env, cwd: own });
};

/** `hallpass migrate` is killed again and again while clients are at work and the new store's network stands still. */
const MOVING = [
  {
    name: "migrate is killed",
    breaks: false,
    isAmbiguous: true,
    begin: async ({ store, servers }) => {
      // No server may still be on the old store alone when the first thing moves.
      await Promise.all(servers.map((server) => server.process.end("SIGTERM")));
      for (const server of servers) server.args = store.nextArgs;
      await Promise.all(servers.map((server) => server.run()));
      for (let times = 0; times < 3; times += 1) {
        const command = migrate(servers[0], store);
        await command.start();
        await pause(200);
        store.network.hold({ requests: true, answers: true });
        await pause(300);
        await command.end("SIGKILL");
        store.network.hold({});
      }
    },
    end: async ({ store, servers }) => {
      const command = migrate(servers[0], store);
      await command.start();
      if (command.runs) await once(command.child, "exit");
      if (command.child.exitCode !== 0) throw new Error(`migrate ended with ${command.child.exitCode}: ${command.log}`);
    },
  },
];

export const FAULTS = { sqlite: SQLITE, postgres: POSTGRES, mongodb: MONGODB, redis: REDIS, moving: MOVING };
