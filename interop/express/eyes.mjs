// What is really stored, read and written past both servers. A row is { id, session, ends, …fields }.

import { MongoClient } from "mongodb";
import pg from "pg";
import { createClient } from "redis";
import { cipher } from "./ciphers.mjs";

/** `"@+60"` in a session is the time 60 seconds from now. */
export function timed(value) {
  if (Array.isArray(value)) return value.map(timed);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, timed(v)]));
  const match = typeof value === "string" && value.match(/^@([+-]\d+)$/);
  return match ? new Date(Date.now() + match[1] * 1000).toISOString() : value;
}

const inSeconds = (seconds) => new Date(Date.now() + seconds * 1000);

export class MongoEye {
  static async open({ mongo, db }) {
    const eye = new MongoEye();
    eye.client = await MongoClient.connect(mongo);
    eye.database = eye.client.db(db);
    return eye;
  }

  on(store) {
    const on = Object.create(this);
    on.collection = this.database.collection(store.collectionName ?? "sessions");
    on.store = store;
    on.cipher = cipher(store);
    return on;
  }

  /** Also forgets which sessions Hallpass has ended: cases use one ID again and again. */
  async clear() {
    const { deletedCount } = await this.database.collection("hallpass_ended_sessions").deleteMany({});
    // What read the notes before removes an ended session within milliseconds; the next one may have its ID.
    if (deletedCount > 0) await new Promise((resolve) => setTimeout(resolve, 30));
    await this.collection.deleteMany({});
  }

  async put({ sid, session, text, ends = 60, fields = {} }) {
    const whole = text ?? (this.store.stringify === false && !this.cipher ? timed(session) : JSON.stringify(timed(session)));
    const stored = this.cipher && typeof whole === "string" ? this.cipher.seal(whole) : whole;
    const end = ends === null ? {} : { expires: inSeconds(ends) };
    const more = Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, typeof v === "number" ? inSeconds(v) : v]));
    await this.collection.replaceOne({ _id: (this.store.transformIdPrefix ?? "") + sid }, { session: stored, ...end, ...more }, { upsert: true });
  }

  async remove(sid) {
    await this.collection.deleteOne({ _id: (this.store.transformIdPrefix ?? "") + sid });
  }

  async rows() {
    const found = await this.collection.find().sort({ $natural: 1 }).toArray();
    return found.map(({ _id, session, expires, ...fields }) => {
      const opened = this.cipher && typeof session === "string" ? this.cipher.open(session) : session;
      return { id: String(_id), session: opened, ends: expires, ...fields };
    });
  }

  close() {
    return this.client.close();
  }
}

export class RedisEye {
  static async open({ redis }) {
    const eye = new RedisEye();
    eye.client = await createClient({ url: redis }).connect();
    return eye;
  }

  on(store) {
    const on = Object.create(this);
    on.prefix = store.prefix ?? "sess:";
    return on;
  }

  async clear() {
    await this.client.flushDb();
  }

  async put({ sid, session, text, ends = 60 }) {
    const whole = text ?? JSON.stringify(timed(session));
    const key = this.prefix + sid;
    if (ends === null) await this.client.set(key, whole);
    else if (ends > 0) await this.client.set(key, whole, { expiration: { type: "PX", value: ends * 1000 } });
  }

  async remove(sid) {
    await this.client.del(this.prefix + sid);
  }

  async rows() {
    // That a session has ended is remembered beside the sessions.
    const keys = (await this.client.keys("*")).filter((key) => !key.startsWith("hallpass:ended:")).sort();
    const rows = keys.map(async (id) => {
      const [kind, left] = await Promise.all([this.client.type(id), this.client.pTTL(id)]);
      // A hash is a note of ours beside a session.
      const session = kind === "string" ? await this.client.get(id) : null;
      return { id, session, ends: left < 0 ? null : new Date(Date.now() + left) };
    });
    return Promise.all(rows);
  }

  close() {
    return this.client.close();
  }
}

function zoned(url, zone) {
  const pool = new pg.Pool({ connectionString: url, options: zone && `-c TimeZone=${zone}` });
  // The server is stopped while connections idle.
  return pool.on("error", () => {});
}

export class PgEye {
  static async open({ postgres }) {
    const eye = new PgEye();
    Object.assign(eye, { url: postgres, pools: new Map() });
    return eye;
  }

  on(store) {
    const on = Object.create(this);
    const table = store.tableName ?? "session";
    Object.assign(on, { table: `"${table}"`, ended: `"hallpass_ended_${table}"` });
    const zone = store.timeZone;
    if (!this.pools.has(zone)) this.pools.set(zone, zoned(this.url, zone));
    on.pool = this.pools.get(zone);
    return on;
  }

  async clear() {
    await this.pool.query(
      `CREATE TABLE IF NOT EXISTS ${this.table} (sid varchar PRIMARY KEY, sess json NOT NULL, expire timestamp(6) NOT NULL)`,
    );
    const { rows } = await this.pool.query("SELECT to_regclass($1) IS NOT NULL AS remembers", [this.ended]);
    if (rows[0].remembers) await this.pool.query(`DELETE FROM ${this.ended}`);
    await this.pool.query(`DELETE FROM ${this.table}`);
  }

  async put({ sid, session, text, ends = 60 }) {
    const values = [sid, text ?? JSON.stringify(timed(session)), ends];
    await this.pool.query(`INSERT INTO ${this.table} VALUES ($1, $2, now() + make_interval(secs => $3))`, values);
  }

  async remove(sid) {
    await this.pool.query(`DELETE FROM ${this.table} WHERE sid = $1`, [sid]);
  }

  async rows() {
    const { rows } = await this.pool.query(
      `SELECT sid AS id, sess::text AS session, expire::timestamptz AS ends FROM ${this.table} ORDER BY sid`,
    );
    return rows;
  }

  async close() {
    await Promise.all([...this.pools.values()].map((pool) => pool.end()));
  }
}
