// The real stack: express, express-session with connect-mongo, connect-redis or connect-pg-simple, passport, cors.
//
// Requests carry a script in X-Script, a JSON array of [op, ...arguments] that one handler runs behind the middleware; /__ctl/* configures
// it. interop/driver does the same with Hallpass; docs/express.md says what is compared.
//
// Run with: node server.mjs --mongo URL --db NAME --redis URL --postgres URL

import http from "node:http";
import { parseArgs } from "node:util";
import { MongoStore, createWebCryptoAdapter } from "connect-mongo";
import connectPg from "connect-pg-simple";
import { RedisStore } from "connect-redis";
import { RedisStore as RedisStore10 } from "connect-redis-10";
import cors from "cors";
import express from "express";
import session from "express-session";
import { MongoClient } from "mongodb";
import { Passport } from "passport";
import pg from "pg";
import { createClient } from "redis";

const text = { type: "string" };
const { values: args } = parseArgs({ options: { listen: text, mongo: text, db: text, redis: text, postgres: text } });
const [host, port] = (args.listen ?? "127.0.0.1:0").split(":");

/** What the store is asked, and what it is told to do wrong. */
const notes = { asked: [], failing: {}, slow: {}, pending: 0 };

/** Connections outlive a configuration. */
const mongo = args.mongo && (await MongoClient.connect(args.mongo));
const redis = args.redis && (await createClient({ url: args.redis }).connect());
const pools = new Map();

function pool(zone) {
  if (!pools.has(zone)) {
    const options = zone && `-c TimeZone=${zone}`;
    pools.set(zone, new pg.Pool({ connectionString: args.postgres, options }));
  }
  return pools.get(zone);
}

async function storeOf(config) {
  const { type = "mongo", transformIdPrefix, webcrypto, timeZone, ...options } = config;
  switch (type) {
    case "mongo": {
      const store = MongoStore.create({
        client: mongo,
        dbName: args.db,
        ...options,
        ...(transformIdPrefix && { transformId: (sid) => transformIdPrefix + sid }),
        ...(webcrypto && { cryptoAdapter: createWebCryptoAdapter(webcrypto) }),
      });
      await store.collectionP;
      return store;
    }
    case "redis":
      return new RedisStore({ client: redis, ...options });
    case "redis10":
      return new RedisStore10({ client: redis, ...options });
    case "pg": {
      const Store = connectPg(session);
      return new Store({ pool: pool(timeZone), pruneSessionInterval: false, ...options });
    }
    default:
      throw new Error(`there is no store of type ${type}`);
  }
}

/** A store that notes what the middleware asks of it. */
class Spy extends session.Store {
  constructor(store) {
    super();
    for (const operation of ["get", "set", "touch", "destroy"]) {
      this[operation] = (...given) => {
        const answer = typeof given.at(-1) === "function" ? given.pop() : () => {};
        notes.asked.push(operation);
        notes.pending += 1;
        const done = (...results) => {
          notes.pending -= 1;
          answer(...results);
        };
        const failure = notes.failing[operation];
        if (failure) return void setImmediate(done, new Error(failure));
        const ask = () => store[operation](...given, done);
        if (notes.slow[operation]) setTimeout(ask, notes.slow[operation]);
        else ask();
      };
    }
  }
}

const ids = {
  seq: (n) => `id${n}`,
  special: (n) => `a b;é/+="${n}`,
};

function sessionOptions({ cookieFn, genid, cookie, ...given }, store) {
  const options = { ...given, store };
  if (cookie) {
    options.cookie = { ...cookie };
    if (cookie.expiresInMs !== undefined) {
      delete options.cookie.expiresInMs;
      options.cookie.expires = new Date(Date.now() + cookie.expiresInMs);
    }
  }
  if (cookieFn) options.cookie = () => ({ ...cookieFn });
  let count = 0;
  if (genid) options.genid = () => ids[genid]((count += 1));
  return options;
}

function passportOf() {
  const passport = new Passport();
  passport.serializeUser((user, done) => {
    if (user.id === "noserial") done(new Error("cannot serialize"));
    else done(null, user.id);
  });
  passport.deserializeUser((id, done) => {
    if (id === "boom") done(new Error("deserialize failed"));
    else done(null, id === "gone" ? null : { id });
  });
  return passport;
}

const pattern = (origin) => (origin?.regex ? new RegExp(origin.regex) : origin);

async function stackOf(config) {
  const app = express();
  app.disable("etag").disable("x-powered-by").set("env", "test");
  if (config.app?.trustProxy !== undefined) app.set("trust proxy", config.app.trustProxy);
  if (config.cors) {
    const { origin, ...others } = config.cors;
    const origins = Array.isArray(origin) ? origin.map(pattern) : pattern(origin);
    app.use(cors(origin === undefined ? others : { ...others, origin: origins }));
  }
  const store = new Spy(await storeOf(config.store ?? {}));
  app.use(session(sessionOptions(config.session ?? {}, store)));
  if (config.doubleMount) app.use(session({ secret: "other", name: "second.sid", resave: true, saveUninitialized: true }));
  if (config.passport) {
    const passport = passportOf();
    app.use(passport.initialize(), passport.session());
  }
  app.all("/{*path}", handle);
  app.use((error, _request, response, _next) => {
    if (!response.headersSent) response.status(error.statusCode ?? 500).json({ error: error.message });
  });
  return { app, store };
}

/** What a callback-taking method came to. */
const outcome = (method) =>
  new Promise((resolve) => {
    const done = (error) => resolve(error ? `err:${error.message}` : "ok");
    try {
      method(done);
    } catch (error) {
      done(error);
    }
  });

const report = (request, results) => ({
  results,
  sessionID: request.sessionID ?? null,
  session: request.session ? JSON.parse(JSON.stringify(request.session)) : null,
  ...(request.isAuthenticated && { auth: request.isAuthenticated(), user: request.user ?? null }),
});

function peek(of, name) {
  if (name === "cookie.maxAge") return { ms: of.cookie.maxAge };
  return name === "id" ? of.id : (of[name] ?? null);
}

function assign(cookie, { expiresInMs, ...properties }) {
  if (expiresInMs !== undefined) cookie.expires = new Date(Date.now() + expiresInMs);
  Object.assign(cookie, properties);
}

/** Steps that need a session. */
const onSession = {
  set: (of, _results, name, value) => void (of[name] = value),
  del: (of, _results, name) => void delete of[name],
  inc: (of, _results, name) => void (of[name] = (of[name] || 0) + 1),
  cookie: (of, _results, properties) => assign(of.cookie, properties),
  peek: (of, results, name) => void results.push(peek(of, name)),
  touch: (of) => void of.touch(),
};
for (const method of ["save", "reload", "regenerate", "destroy"]) {
  onSession[method] = async (of, results) => void results.push(await outcome((done) => of[method](done)));
}

/** Steps that do not. `true`: the response has ended. */
const onRequest = {
  unset(request, _response, _results, how) {
    if (how === "delete") delete request.session;
    else request.session = how === "null" ? null : undefined;
  },
  async login(request, _response, results, id, options = {}) {
    results.push(await outcome((done) => request.logIn({ id }, options, done)));
  },
  async logout(request, _response, results, options = {}) {
    results.push(await outcome((done) => request.logOut(options, done)));
  },
  net(request, _response, results) {
    const { ip, ips, secure, protocol, host = null, hostname = null } = request;
    results.push({ ip, ips, secure, protocol, host, hostname });
  },
  sleep: (_request, _response, _results, ms) => new Promise((resolve) => setTimeout(() => resolve(), ms)),
  status: (_request, response, _results, status) => void response.status(status),
  header: (_request, response, _results, name, value) => void response.setHeader(name, value),
  rescookie: (_request, response, _results, name, value, options = {}) => void response.cookie(name, value, options),
  clearCookie: (_request, response, _results, name, options = {}) => void response.clearCookie(name, options),
  flush: (_request, response) => void response.flushHeaders(),
  write: (_request, response, _results, piece) => void response.write(piece),
  end: (_request, response, _results, ...piece) => (response.end(...piece), true),
  send: (_request, response, _results, body) => (response.send(body), true),
  redirect: (_request, response, _results, to) => (response.redirect(to), true),
  throw(_request, _response, _results, message) {
    throw new Error(message);
  },
  json: (request, response, results) => (response.json(report(request, results)), true),
};

async function handle(request, response) {
  const results = [];
  let ended = false;
  for (const [op, ...given] of JSON.parse(request.get("x-script") ?? "[]")) {
    if (op in onSession) {
      if (request.session) await onSession[op](request.session, results, ...given);
      else results.push("err:no session");
    } else if (op in onRequest) {
      ended = (await onRequest[op](request, response, results, ...given)) === true || ended;
    } else {
      throw new Error(`unknown op ${op}`);
    }
  }
  if (!ended) response.json(report(request, results));
}

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || "{}");
}

let stack;

const controls = {
  async config(config) {
    stack = await stackOf(config);
    Object.assign(notes, { asked: [], failing: {}, slow: {} });
    return { ok: true };
  },
  async ops() {
    while (notes.pending > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    return notes.asked.splice(0);
  },
  fail: (failing) => (Object.assign(notes, { failing }), { ok: true }),
  delay: (slow) => (Object.assign(notes, { slow }), { ok: true }),
  emit: ({ event }) => (stack.store.emit(event), { ok: true }),
};

async function control(request, response) {
  const answer = (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  try {
    const what = controls[request.url.slice("/__ctl/".length)];
    if (what) answer(200, await what(await bodyOf(request)));
    else answer(404, { error: "no such control" });
  } catch (error) {
    answer(500, { error: error.message });
  }
}

// Express takes a failed write after the response for the socket's fault; nothing here may end the program.
process.on("unhandledRejection", (error) => console.error(error));
process.on("uncaughtException", (error) => console.error(error));

const server = http.createServer((request, response) => {
  if (request.url.startsWith("/__ctl/")) control(request, response);
  else stack.app(request, response);
});
server.listen(Number(port), host, () => console.log(`express listens on http://${host}:${server.address().port}`));
