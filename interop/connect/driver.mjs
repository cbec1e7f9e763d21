// express-session's own stores, driven by one JSON line for each question; crates/stores/tests/interop.rs asks.
//
// A question is {op, sid, ...}; the answer {answer} or {error}. `code` is JavaScript that sees the session, so that tests can put into it
// what only JavaScript can make, and look at it as JavaScript does.

import { createHash } from "node:crypto";
import readline from "node:readline";

import MongoStore, { createKrupteinAdapter, createWebCryptoAdapter } from "connect-mongo";
import connectPg from "connect-pg-simple";
import { RedisStore as Redis9 } from "connect-redis";
import { RedisStore as Redis10 } from "connect-redis-10";
import expressSession from "express-session";
import { BSON, ObjectId } from "mongodb";
import { Pool } from "pg";
import { createClient } from "redis";

const sha256 = (text) => createHash("sha256").update(text).digest("hex");

/** Runs JavaScript with these things in sight. */
function run(code, things) {
  const all = { ObjectId, sha256, createKrupteinAdapter, createWebCryptoAdapter, ...things };
  return new Function(...Object.keys(all), `return (${code});`)(...Object.values(all));
}

const kinds = {
  /** connect-mongo; what is stored beside the session comes along. */
  async mongo(url, options) {
    const store = MongoStore.create({ mongoUrl: url, ...options });
    const rows = await store.collectionP;
    const id = options.transformId ?? ((sid) => sid);
    const raw = async (sid) => {
      const row = await rows.findOne({ _id: id(sid) });
      return row && { text: row.session, expires: row.expires.getTime(), row: JSON.parse(BSON.EJSON.stringify(row)) };
    };
    return { store, raw };
  },

  async pg(url, { pool: more, ...options }) {
    const pool = new Pool({ connectionString: url, ...more });
    const store = new (connectPg(expressSession))({ pool, ...options });
    const { tableName = "session" } = options;
    const raw = async (sid) => {
      const { rows } = await pool.query(
        `select sess::text as text, extract(epoch from expire::timestamptz) * 1000 as expires from "${tableName}" where sid = $1`,
        [sid],
      );
      return rows[0] && { text: rows[0].text, expires: Number(rows[0].expires) };
    };
    return { store, raw };
  },

  async redis(url, { version, ...options }) {
    const client = await createClient({ url }).connect();
    const store = new (version === 10 ? Redis10 : Redis9)({ client, ...options });
    const raw = async (sid) => {
      const key = (options.prefix ?? "sess:") + sid;
      const [text, left] = [await client.get(key), await client.pTTL(key)];
      return text && { text, expires: left < 0 ? null : Date.now() + left };
    };
    return { store, raw };
  },
};

let store;
let raw;

/** A method of a store as a promise. */
const ask = (method, ...args) =>
  new Promise((resolve, reject) =>
    store[method](...args, (error, answer) => (error ? reject(error) : resolve(answer ?? null))),
  );

async function loaded(sid) {
  const session = await ask("load", sid);
  if (!session) throw new Error("there is no such session");
  return session;
}

const ops = {
  async open({ kind, url, options }) {
    ({ store, raw } = await kinds[kind](url, run(options, {})));
  },

  /** As a request does that begins a session. */
  async create({ sid, maxAge, code }) {
    const cookie = new expressSession.Cookie({ maxAge });
    const session = store.createSession({ sessionID: sid, sessionStore: store }, { cookie });
    Object.assign(session, run(code, {}));
    await ask("set", sid, session);
  },

  /** As a request does that changes one. */
  async change({ sid, code }) {
    const session = await loaded(sid);
    run(code, { session });
    await ask("set", sid, session);
  },

  /** As a request does that only uses one, for `maxAge` from now on. */
  async touch({ sid, maxAge }) {
    const session = await loaded(sid);
    session.cookie.maxAge = maxAge;
    await ask("touch", sid, session);
  },

  /** What JavaScript sees; null when there is no session. */
  async look({ sid, code }) {
    const session = await ask("load", sid);
    return session && run(code, { session });
  },

  destroy: ({ sid }) => ask("destroy", sid),

  /** What is stored. */
  raw: async ({ sid }) => (await raw(sid)) ?? null,
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { op, ...question } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ answer: (await ops[op](question)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error?.stack ?? error) }));
  }
}
// Connections would keep the process alive.
process.exit(0);
