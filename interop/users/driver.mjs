// Another application's accounts, as mongoose, bcryptjs and pg keep them. Reads a question a line, answers a line.
//   {"op":"open","kind":"mongoose","url":…} then {"op":…,…} -> {"answer":…} or {"error":…}
import readline from 'node:readline';
import bcrypt from 'bcryptjs';
import mongoose from 'mongoose';
import pg from 'pg';

const COST = 10;

/** The model of an application of some age: defaults, nested things, timestamps, a validator, things that are no strings. */
function model() {
  const schema = new mongoose.Schema(
    {
      email: { type: String, unique: true, required: true },
      password: { type: String, required: true },
      name: String,
      roles: { type: [String], default: ['user'] },
      isActive: { type: Boolean, default: true },
      visits: { type: Number, default: 0 },
      exact: { type: mongoose.Schema.Types.Decimal128 },
      large: BigInt,
      address: { street: String, geo: { type: [Number] } },
      orders: [{ sku: String, at: Date, tags: [String] }],
      anything: mongoose.Schema.Types.Mixed,
      emailVerified: Date,
      oidcId: String,
    },
    { timestamps: true },
  );
  schema.index({ 'orders.sku': 1 });
  return mongoose.model('User', schema);
}

/** People in MongoDB. */
async function openMongoose({ url }) {
  await mongoose.connect(url);
  const User = model();
  await User.init(); // its indexes are there
  return {
    create: async ({ email, password, more }) => {
      const user = await User.create({ email, password: await bcrypt.hash(password, COST), ...more });
      return String(user._id);
    },
    /** An old document with everything BSON has, past the model. */
    insert: async ({ email, password }) => {
      const { Long, Double, Int32, Decimal128, Binary, Timestamp } = mongoose.mongo;
      await User.collection.insertOne({
        legacy: [1, [2.5, { deep: null }], 'x'], int: new Int32(5), long: Long.fromNumber(5), double: new Double(5), nan: NaN,
        decimal: Decimal128.fromString('1.50'), bytes: new Binary(Buffer.from([0, 255])), born: new Date(-86400000), re: /a+/i,
        stamp: new Timestamp({ t: 1, i: 2 }), email, password: await bcrypt.hash(password, COST), roles: ['a', 'b'], isActive: true, empty: {}, __v: 7,
      });
    },
    /** Every field with its type and bytes, in order. */
    raw: async ({ email }) => {
      const { BSON } = mongoose.mongo;
      const found = await User.collection.findOne({ email }, { raw: true });
      const bytes = found instanceof Uint8Array ? found : BSON.serialize(found);
      return BSON.onDemand.parseToElements(bytes).map(([type, nameAt, nameLength, at, length]) => [
        Buffer.from(bytes.slice(nameAt, nameAt + nameLength)).toString(), `${type}:${Buffer.from(bytes.slice(at, at + length)).toString('hex')}`,
      ]);
    },
    find: async ({ email }) => {
      const user = await User.findOne({ email });
      return user && { id: String(user._id), name: user.name ?? null, roles: user.roles, isActive: user.isActive, v: user.__v, hash: user.password, verified: user.emailVerified ?? null };
    },
    verify: async ({ email, password }) => {
      const user = await User.findOne({ email });
      return user !== null && bcrypt.compare(password, user.password);
    },
    /** As an application does it: load, set, save with all validators. */
    setPassword: async ({ email, password }) => {
      const user = await User.findOne({ email });
      user.password = await bcrypt.hash(password, COST);
      user.roles.push('changed');
      await user.save();
    },
    /** Something else is changed; all validators look at the whole. */
    touch: async ({ email }) => {
      const user = await User.findOne({ email });
      user.visits += 1;
      await user.save();
    },
    count: ({ email }) => User.countDocuments({ email }),
    dropIndex: () => User.collection.dropIndex('email_1'),
    close: () => mongoose.disconnect(),
  };
}

/** People in PostgreSQL: `accounts`, with numbers for ids. */
async function openPg({ url }) {
  const pool = new pg.Pool({ connectionString: url });
  const one = async (sql, values) => (await pool.query(sql, values)).rows[0] ?? null;
  await pool.query('create schema hallpass_own'); // for what is not the application's
  await pool.query(`create table accounts (id serial primary key, username text not null unique, pass varchar(60) not null, full_name text,
    role text not null default 'user', banned boolean not null default false, kept numeric(9, 3) not null default 1.5, made timestamptz not null default now(),
    verified_at timestamptz, oidc_id text)`);
  return {
    create: async ({ email, password, more }) => {
      const values = [email, await bcrypt.hash(password, COST), more?.emailVerified, more?.oidcId];
      return String((await one('insert into accounts (username, pass, verified_at, oidc_id) values ($1, $2, $3, $4) returning id', values)).id);
    },
    raw: async ({ email }) => Object.entries(await one('select * from accounts where username = $1', [email])).map(([name, value]) => [name, String(value)]),
    find: ({ email }) => one('select id, full_name as name, role, banned, pass as hash, verified_at as verified from accounts where username = $1', [email]),
    verify: async ({ email, password }) => bcrypt.compare(password, (await one('select pass from accounts where username = $1', [email])).pass),
    setPassword: async ({ email, password }) => {
      await pool.query('update accounts set pass = $2 where username = $1', [email, await bcrypt.hash(password, COST)]);
    },
    touch: ({ email }) => pool.query('update accounts set kept = kept + 1 where username = $1', [email]),
    count: async ({ email }) => Number((await one('select count(*) from accounts where username = $1', [email])).count),
    close: () => pool.end(),
  };
}

/** So many at once; how many accounts were made. */
async function race(people, question) {
  const made = await Promise.allSettled(Array.from({ length: question.times }, () => people.create(question)));
  return made.filter((one) => one.status === 'fulfilled').length;
}

let people;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  try {
    let answer = null;
    if (question.op === 'open') people = await { mongoose: openMongoose, pg: openPg }[question.kind](question);
    else if (question.op === 'truncates') answer = bcrypt.truncates(question.password);
    else if (question.op === 'race') answer = await race(people, question);
    else answer = (await people[question.op](question)) ?? null;
    console.log(JSON.stringify({ answer }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error?.stack ?? error) }));
  }
}
await people?.close();
