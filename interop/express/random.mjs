// Random configurations and sequences of requests, each made from a seed of its own.

import { SID } from "./cases.mjs";

/** mulberry32: a small generator whose numbers are the same everywhere. */
export class Chance {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  is(probability) {
    return this.next() < probability;
  }

  of(choices) {
    return choices[Math.floor(this.next() * choices.length)];
  }

  upTo(most) {
    return Math.floor(this.next() * (most + 1));
  }

  /** Each of the options with its probability, in any order. */
  some(options) {
    const chosen = Object.entries(options).filter(([, [probability]]) => this.is(probability));
    chosen.sort(() => this.next() - 0.5);
    return Object.fromEntries(chosen.map(([name, [, choices]]) => [name, this.of(choices)]));
  }
}

const NAMES = ["v", "a", "b", "cart", "10", "2", "é", "x.y", "nested", "__x", "Cookie"];
const VALUES = [1, 0, -1, 1.5, "x", "", null, true, false, [], {}, [1, { a: null }], { b: 1, a: 2 }, "é\u2028\"\\", 1e21, 123456789012,
  { 10: 1, 2: 2, x: 3 }, "\u0001\n\t", { cookie: { a: 1 } }, "0123456789".repeat(20)];
const ASSIGNED = [{ maxAge: 30_000 }, { maxAge: null }, { maxAge: 0 }, { maxAge: false }, { expires: false }, { expiresInMs: 45_000 }, { sameSite: "strict" },
  { sameSite: "bogus" }, { httpOnly: false }, { path: "/zz" }, { domain: "q.com" }, { secure: true }, { priority: "high" }, { maxAge: 90_000, path: "/" },
  { originalMaxAge: 20_000 }];

/** Lifetimes are none, or so long that a busy machine does not outlast them between two requests. */
const cookieOptions = (chance) => chance.some({
  maxAge: [0.6, [60_000, 3_600_000, 86_400_000, 0, null, 600_000.7, -5000]],
  path: [0.2, ["/", "/x", "", "/a"]],
  domain: [0.15, ["d.com", ".d.com", "a b", "x_y.com", ""]],
  httpOnly: [0.3, [true, false]],
  secure: [0.3, [true, false, "auto"]],
  sameSite: [0.4, [true, false, "lax", "Strict", "NONE", "auto", "bogus", ""]],
  priority: [0.15, ["low", "High", "medium", "bogus"]],
  partitioned: [0.15, [true, false]],
  expiresInMs: [0.1, [60_000, -1000, 500_000]],
});

function sessionOptions(chance) {
  const options = { secret: chance.of(["s1", ["s1"], ["new", "s1"]]), resave: chance.is(0.3), saveUninitialized: chance.is(0.3) };
  if (chance.is(0.7)) options.cookie = cookieOptions(chance);
  else if (chance.is(0.3)) options.cookieFn = { ...cookieOptions(chance), expiresInMs: undefined };
  const more = { rolling: [0.3, [true]], unset: [0.3, ["keep", "destroy"]], name: [0.1, ["my.sid", "x", "bad name"]], proxy: [0.15, [true, false]], genid: [0.08, ["seq", "special"]] };
  return { ...options, ...chance.some(more) };
}

function storeOptions(chance) {
  const ttl = { ttl: [0.3, [1000, 3600]] };
  switch (chance.of(["mongo", "mongo", "mongo", "redis", "redis10", "pg"])) {
    case "redis":
      return { type: "redis", ...chance.some({ ...ttl, disableTouch: [0.2, [true]], disableTTL: [0.15, [true]], prefix: [0.2, ["", "p:"]] }) };
    case "redis10":
      return { type: "redis10", ...chance.some({ ...ttl, disableTouch: [0.2, [true]], prefix: [0.2, ["", "p:"]] }) };
    case "pg":
      return { type: "pg", ...chance.some({ ...ttl, disableTouch: [0.2, [true]], timeZone: [0.4, ["Asia/Tokyo", "America/St_Johns"]] }) };
    default:
      return { collectionName: "sessions", autoRemove: "disabled", ...chance.some({ ...ttl, touchAfter: [0.3, [60, 3600]], stringify: [0.2, [false]],
        timestamps: [0.15, [true]], transformIdPrefix: [0.1, ["p:"]], webcrypto: [0.08, [{ secret: "w" }]] }) };
  }
}

function act(chance, passport) {
  const acts = [
    [25, () => ["set", chance.of(NAMES), chance.of(VALUES)]],
    [7, () => ["del", chance.of(NAMES)]],
    [10, () => ["inc", chance.of(["n", "m"])]],
    [8, () => ["cookie", chance.of(ASSIGNED)]],
    [8, () => ["peek", chance.of(["v", "id", "cookie.maxAge", "cart", "nope", "10"])]],
    [4, () => ["touch"]],
    [8, () => ["save"]],
    [5, () => ["reload"]],
    [7, () => ["regenerate"]],
    [4, () => ["destroy"]],
    [3, () => ["unset", chance.of(["null", "undefined", "delete"])]],
    [2, () => ["clearCookie", "connect.sid", {}]],
    [2, () => ["rescookie", "c", "v 1", {}]],
    [2, () => ["status", chance.of([200, 404, 500])]],
    [2, () => ["net"]],
    [passport ? 12 : 0, () => ["login", chance.of(["u1", "u2", 0, "", "noserial", "gone", "boom", 5]), chance.of([{}, { keepSessionInfo: true }, { session: false }])]],
    [passport ? 6 : 0, () => ["logout", chance.of([{}, { keepSessionInfo: true }])]],
  ];
  let at = chance.next() * acts.reduce((sum, [weight]) => sum + weight, 0);
  return acts.find(([weight]) => (at -= weight) < 0)[1]();
}

/** A cookie that cannot be serialised, and then an exception: Express answers nothing. */
const NEVER_SENT = /"(bogus|a b|x_y\.com|bad name)"/;

function script(chance, { passport, session }) {
  const acts = Array.from({ length: chance.of([0, 0, 1, 1, 1, 2, 2, 3, 4]) }, () => act(chance, passport));
  if (chance.is(0.6)) return acts;
  const fails = NEVER_SENT.test(JSON.stringify([session, acts]));
  const end = chance.of([["json"], ["send", "hello"], ["end"], ["end", "x"], ["redirect", "/to"], ["throw", "oops"], ["write", "a"]]);
  if (end[0] === "throw" && fails) return acts;
  if (end[0] !== "write") return [...acts, end];
  // What comes behind the head cannot change it.
  const behind = Array.from({ length: chance.upTo(2) }, () => act(chance, false));
  return [...acts, end, ...behind.filter(([op]) => !["clearCookie", "rescookie", "status"].includes(op)), ["end", "z"]];
}

const STORED = [
  { cookie: { originalMaxAge: 60_000, expires: "@+60", httpOnly: true, path: "/" }, a: 1 },
  { cookie: { originalMaxAge: null, expires: null, httpOnly: true, path: "/" }, passport: { user: "u9" } },
  { z: 1, cookie: { path: "/", expires: "@+30", originalMaxAge: 3_600_000, secure: false, weird: 5 }, y: 2 },
  { cookie: { originalMaxAge: 60_000, expires: "@-60", httpOnly: true, path: "/", sameSite: "lax" }, n: 1 },
  { cookie: { originalMaxAge: false, expires: false, httpOnly: true, path: "/" }, q: 1 },
  { cookie: {}, u: 1 }, { cookie: { expires: "@+60" } },
  { cookie: { originalMaxAge: 60_000, expires: "@+60", httpOnly: true, path: "/" }, save: 1, id: "x", toString: 2 },
  { cookie: { originalMaxAge: 60_000, expires: "@+60", httpOnly: true, path: "/", partitioned: true, domain: "e.com" }, 3: 1, b: 2, 1: 3 },
];

function request(chance, config) {
  const step = { do: `${chance.of(["GET", "GET", "POST"])} ${chance.of(["/x", "/x", "/x", "/a/b", "/xy", "/"])}`, script: script(chance, config) };
  step.headers = chance.some({ "x-forwarded-proto": [0.25, ["https", "HTTPS", "http", "https, http"]], "x-forwarded-for": [0.1, ["1.1.1.1", "10.0.0.1, 9.9.9.9"]] });
  step.headers.host = "h.test:80";
  const name = config.session.name ?? "connect.sid";
  const others = ["none", `${name}={{sign ${SID} s1}}`, `${name}=bad; ${name}={{jar}}`, `${name}={{plain}}`, `x=1; ${name}={{jar}}`];
  if (chance.is(0.1)) step.cookies = chance.of(others);
  return step;
}

/** The case of a seed. */
export function random(seed) {
  const chance = new Chance(seed);
  const config = { session: sessionOptions(chance), store: storeOptions(chance) };
  if (chance.is(0.35)) config.passport = true;
  if (chance.is(0.2)) config.app = { trustProxy: chance.of([1, true, "loopback", false, 2, "10.0.0.0/8"]) };
  const steps = [];
  const known = chance.is(0.35);
  // What Hallpass does otherwise on purpose, when saving, ending or reading fails, stands in cases.mjs.
  const ends = config.session.unset === "destroy";
  const stored = ends ? STORED.filter(({ cookie }) => cookie) : STORED;
  // A row that has expired is not put: Hallpass removes it with the session that takes its place.
  if (known) steps.push({ put: { sid: SID, session: chance.of(stored), ends: 60 } });
  for (let left = 1 + chance.upTo(4); left > 0; left -= 1) {
    if (chance.is(0.08)) steps.push({ fail: chance.of(ends ? [{ touch: "t" }, {}] : [{ get: "g" }, { touch: "t" }, {}]) });
    steps.push(request(chance, config));
  }
  if (known) steps.find((step) => step.do).cookies = `${config.session.name ?? "connect.sid"}={{sign ${SID} s1}}`;
  const one = { id: `seed ${seed}`, config, steps };
  // connect-pg-simple rounds ends up to seconds: a lifetime of nothing lasts until the second is over, whenever that is.
  return config.store.type === "pg" ? JSON.parse(JSON.stringify(one).replace(/"maxAge":0(?=[,}])/g, '"maxAge":null')) : one;
}
