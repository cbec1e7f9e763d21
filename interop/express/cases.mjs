// The hand-picked cases: [id, configuration, steps]. goldens.json holds what the real packages showed at each request.

const HOUR = 3_600_000;
/** A session id as express-session makes them. */
export const SID = "0123456789abcdefghijklmnopqrstuv";

/** What is asked of the store and answered with 0.0, whichever store it is. */
const basic = { secret: "s1", resave: false, saveUninitialized: false, cookie: { maxAge: HOUR } };
const session = (more = {}) => ({ session: { ...basic, ...more } });
const get = (...script) => ({ do: "GET /x", script });
const cookieOf = (max) => ({ originalMaxAge: max, expires: max === null ? null : `@+${max / 1000}`, httpOnly: true, path: "/" });
const stored = (data, more = {}) => ({ put: { sid: SID, session: { cookie: cookieOf(60_000), ...data }, ...more } });
/** A request with the cookie of what is stored. */
const known = (...script) => ({ ...get(...script), cookies: `connect.sid={{sign ${SID} s1}}` });

/** What a handler may do with its session. */
const ACTS = {
  nothing: [],
  touch: [["touch"]],
  "same value": [["set", "a", 1]],
  change: [["set", "b", 2]],
  "change and back": [["set", "a", 2], ["set", "a", 1]],
  remove: [["del", "a"]],
  "cookie alone": [["cookie", { maxAge: 30_000 }]],
  "change and cookie": [["set", "b", 2], ["cookie", { maxAge: 30_000 }]],
  regenerate: [["regenerate"]],
  "regenerate and change": [["regenerate"], ["set", "b", 2]],
  "regenerate, change, save": [["regenerate"], ["set", "b", 2], ["save"]],
  save: [["save"]],
  "change and save": [["set", "b", 2], ["save"]],
  "save and change": [["save"], ["set", "b", 2]],
  "change and reload": [["set", "b", 2], ["reload"]],
  destroy: [["destroy"]],
  "change and destroy": [["set", "b", 2], ["destroy"]],
  "let go": [["set", "b", 2], ["unset", "null"]],
  "delete it": [["unset", "delete"]],
};

/** How a request comes to its session. */
const ARRIVALS = {
  new: (acts) => [{ ...get(...acts), cookies: "none" }],
  known: (acts) => [stored({ a: 1 }), known(...acts)],
  unknown: (acts) => [known(...acts)],
};

const POLICIES = {
  base: {},
  resave: { resave: true },
  "save uninitialized": { saveUninitialized: true },
  rolling: { rolling: true },
  "unset destroy": { unset: "destroy" },
  "browser session": { cookie: {} },
  "rolling browser session": { cookie: {}, rolling: true },
  everything: { resave: true, saveUninitialized: true, rolling: true, unset: "destroy" },
};

function* table() {
  for (const [policy, options] of Object.entries(POLICIES)) {
    for (const [arrival, steps] of Object.entries(ARRIVALS)) {
      for (const [act, script] of Object.entries(ACTS)) {
        yield [`table/${policy}/${arrival}/${act}`, session(options), [...steps(script), get()]];
      }
    }
  }
}

/** Every store, in the forms its options give it. */
export const STORES = {
  "mongo objects": { stringify: false, autoRemove: "disabled" },
  "mongo webcrypto": { webcrypto: { secret: "w" }, autoRemove: "disabled" },
  "mongo kruptein": { crypto: { secret: "k" }, autoRemove: "disabled" },
  "mongo touchAfter": { touchAfter: 3600, autoRemove: "disabled" },
  "mongo timestamps and prefix": { timestamps: true, transformIdPrefix: "p:", autoRemove: "disabled" },
  redis: { type: "redis" },
  "redis without touch": { type: "redis", disableTouch: true, prefix: "" },
  "redis without ttl": { type: "redis", disableTTL: true },
  redis10: { type: "redis10", prefix: "other:" },
  pg: { type: "pg" },
  "pg in Tokyo": { type: "pg", timeZone: "Asia/Tokyo", tableName: "tokyo" },
  "pg without touch": { type: "pg", disableTouch: true },
};

function* stores() {
  for (const [name, store] of Object.entries(STORES)) {
    const config = (options = {}, more = {}) => ({ ...session(options), store: { ...store, ...more } });
    const id = (what) => `store/${name}/${what}`;
    for (const [arrival, steps] of Object.entries(ARRIVALS)) {
      for (const act of ["nothing", "change", "regenerate, change, save", "change and save", "change and reload", "destroy"]) {
        yield [id(`${arrival}/${act}`), config(), [...steps(ACTS[act]), get()]];
      }
    }
    const life = [get(["set", "cart", { b: [1, "é"], a: null }]), get(["inc", "n"]), get(), get(["destroy"]), get(["peek", "cart"])];
    yield [id("a life"), config(), life];
    yield [id("a life that rolls"), config({ rolling: true }), life];
    yield [id("without a cookie's end the store's ttl counts"), config({ cookie: {} }, { ttl: 120 }), life];
    yield [id("without either its default counts"), config({ cookie: {} }), life];
    yield [id("fractions of a second"), config({ cookie: { maxAge: 12_345 } }), life];
    yield [id("an end that has passed"), config({ cookie: { maxAge: -5_000 } }), [get(["set", "a", 1]), get(["peek", "a"])]];
    // connect-pg-simple rounds ends up to seconds: there it lasts until the second is over, whenever that is.
    const later = store.type === "pg" ? [] : [get(["peek", "a"])];
    yield [id("no lifetime at all"), config({ cookie: { maxAge: 0 } }), [get(["set", "a", 1]), ...later]];
    yield [id("ended in the store"), config(), [stored({ a: 1 }, { ends: -5 }), known(["peek", "a"])]];
    yield [id("a text that ended, in a row that lives"), config(), [
      { put: { sid: SID, session: { cookie: { ...cookieOf(60_000), expires: "@-30" }, a: 1 } } }, known(["peek", "a"]), known(["set", "b", 1])]];
    yield [id("shortened"), config(), [get(["set", "a", 1]), get(["cookie", { maxAge: 20_000 }], ["set", "b", 1]), get()]];
    yield [id("lengthened"), config(), [get(["set", "a", 1]), get(["cookie", { maxAge: 7 * HOUR }], ["set", "b", 1]), get()]];
    yield [id("touched to an end that has passed"), config(), [get(["set", "a", 1]), get(["cookie", { maxAge: -1000 }]), get(["peek", "a"])]];
    yield [id("gone behind its back"), config(), [get(["set", "a", 1]), { remove: "{{sid}}" }, get(["peek", "a"]), get(["set", "c", 1])]];
    yield [id("odd data"), config(), [get(
      ["set", "10", 1], ["set", "2", { 3: 1, b: 2, 1: 3 }], ["set", "é\u2028", "\u0001\n\"\\/"], ["set", "n", [1e21, 1.5, -0, 123456789012, null, true]]), get(["inc", "m"])]];
    if (name !== "mongo objects") {
      yield [id("half a surrogate pair"), config(), [get(["set", "half", "\ud83d"]), get(["peek", "half"], ["inc", "n"]), get()]];
    }
    yield [id("failing get"), config(), [get(["set", "a", 1]), { fail: { get: "down" } }, get(), { fail: {} }, get(["peek", "a"])]];
    yield [id("failing touch"), config(), [get(["set", "a", 1]), { fail: { touch: "down" } }, get(), { fail: {} }, get(["peek", "a"])]];
    if (store.type === "redis") yield [id("an empty text"), config(), [{ put: { sid: SID, text: "" } }, known(["peek", "a"])]];
    if (store.type) yield [id("null"), config(), [{ put: { sid: SID, text: "null" } }, known(["peek", "a"])]];
    if (!store.crypto && !store.webcrypto && store.stringify !== false && store.type !== "pg") {
      yield [id("a text that is no JSON"), config(), [{ put: { sid: SID, text: "{nope" } }, known()], noSession(looks)];
    }
  }
}

function* cookies() {
  const begin = get(["set", "a", 1]);
  const look = (cookies) => ({ ...get(["peek", "a"]), cookies });
  const name = "connect.sid";
  const forms = {
    plain: `${name}={{plain}}`,
    quoted: `${name}="{{jar}}"`,
    "lower-case percent encoding": `${name}=s%3a{{sid}}.{{signature}}`,
    unsigned: `${name}={{sid}}`,
    "no prefix": `${name}={{sid}}.{{signature}}`,
    "no signature": `${name}=s:{{sid}}`,
    "empty signature": `${name}=s:{{sid}}.`,
    padded: `${name}=s:{{sid}}.{{signature}}=`,
    "one byte more": `${name}=s:{{sid}}.{{signature}}A`,
    "signed by a stranger": `${name}={{sign sid stranger}}`,
    "an empty id": `${name}={{sign  s1}}`,
    empty: `${name}=`,
    "no equals sign": `${name}; other=1`,
    "bad first, good second": `${name}=bad; ${name}={{jar}}`,
    "good first, bad second": `${name}={{jar}}; ${name}=bad`,
    "empty first": `${name}=; ${name}={{jar}}`,
    "another case": `Connect.sid={{jar}}`,
    "blanks and tabs": `a=1;\t ${name} \t=  {{jar}}\t; b=2`,
    "among others": `a=1; b="x;y"; ${name}={{jar}}; c`,
    "broken percent encoding": `${name}=%E0%A4%A; x=1`,
    "a good one behind a broken one": `x=%E0%A4%A; ${name}={{jar}}`,
  };
  for (const [form, header] of Object.entries(forms)) yield [`cookie/${form}`, session(), [begin, look(header)]];
  for (const options of [{ name: "my.sid" }, { name: "x" }, { name: "bad name" }, { name: "a,b" }]) {
    yield [`cookie/name ${options.name}`, session(options), [begin, get(["peek", "a"])]];
  }
  for (const genid of ["seq", "special"]) {
    yield [`cookie/genid ${genid}`, session({ genid }), [begin, get(["inc", "n"]), get(["regenerate"])]];
  }
  const rotate = (options) => ({ configure: { session: options } });
  yield ["secret/several, signed by the first", session({ secret: ["s1", "s0"] }), [begin, get(["inc", "n"])]];
  yield ["secret/rotated, unchanged", session(), [begin, rotate({ secret: ["s2", "s1"] }), get(["peek", "a"]), get(["inc", "n"]), get(["peek", "a"])]];
  yield ["secret/rotated, rolling", session({ rolling: true }), [begin, rotate({ secret: ["s2", "s1"] }), get(), get()]];
  yield ["secret/rotated, browser session", session({ cookie: {} }), [begin, rotate({ secret: ["s2", "s1"] }), get(["inc", "n"]), get()]];
  yield ["secret/withdrawn", session(), [begin, rotate({ secret: "s2" }), get(["peek", "a"])]];
  yield ["secret/none", { session: { ...basic, secret: undefined } }, [begin]];
  yield ["secret/odd ones", session({ secret: ["", "ü\ud83d\ude00"] }), [begin, get(["peek", "a"])]];
}

function* attributes() {
  const begin = get(["set", "a", 1]);
  const lives = [begin, get(["peek", "cookie.maxAge"]), get(["inc", "n"])];
  const options = {
    "all of them": { maxAge: HOUR, domain: "d.com", path: "/x", httpOnly: true, secure: false, partitioned: true, priority: "high", sameSite: "lax" },
    "domain with a dot": { domain: ".d.com" },
    "not a domain": { domain: "a b", maxAge: HOUR },
    "not a path": { path: "/a;b", maxAge: HOUR },
    "empty domain and path": { domain: "", path: "" },
    "readable by scripts": { httpOnly: false },
    "max age and then expires": { maxAge: HOUR, expiresInMs: 60_000 },
    "expires and then max age": { expiresInMs: 60_000, maxAge: HOUR },
    expires: { expiresInMs: 60_000 },
    "expires in the past": { expiresInMs: -60_000 },
    "max age null": { maxAge: null },
    "max age with a fraction": { maxAge: 60_000.7 },
    "for ever": { maxAge: 1e15 },
    unknown: { colour: "blue", maxAge: HOUR },
  };
  for (const sameSite of [true, false, "lax", "Strict", "NONE", "auto", "bogus", ""]) options[`same site ${sameSite}`] = { sameSite };
  for (const priority of ["low", "Medium", "HIGH", "bogus"]) options[`priority ${priority}`] = { priority, maxAge: HOUR };
  for (const partitioned of [true, false]) options[`partitioned ${partitioned}`] = { partitioned };
  for (const [name, cookie] of Object.entries(options)) {
    yield [`attribute/${name}`, session({ cookie }), lives];
    yield [`attribute/by a function/${name}`, { session: { ...basic, cookie: undefined, cookieFn: { ...cookie, expiresInMs: undefined } } }, lives];
  }
  const assignments = [
    { maxAge: 30_000 }, { maxAge: null }, { maxAge: 0 }, { maxAge: false }, { expires: false }, { expires: null }, { expiresInMs: 45_000 }, { originalMaxAge: 20_000 },
    { sameSite: "strict" }, { httpOnly: false }, { path: "/zz" }, { domain: "q.com" }, { priority: "high" }, { secure: true }, { colour: "red" },
  ];
  for (const assigned of assignments) {
    const name = JSON.stringify(assigned);
    yield [`attribute/assigned to a new session ${name}`, session(), [get(["set", "a", 1], ["cookie", assigned]), get()]];
    yield [`attribute/assigned to a known session ${name}`, session(), [begin, get(["cookie", assigned], ["set", "b", 1]), get()]];
  }
  yield ["attribute/the session's own, not the configuration's", session(), [
    begin, { configure: { session: { cookie: { maxAge: 2 * HOUR, sameSite: "strict" } } } }, get(["inc", "n"]), get(["regenerate"], ["set", "a", 1])]];
}

function* connections() {
  const from = (proto, ...script) => ({ ...get(...script), headers: { "x-forwarded-proto": proto } });
  for (const secure of [true, false, "auto"]) {
    for (const [name, more] of Object.entries({
      "no proxy": {}, "the app trusts": { app: { trustProxy: 1 } }, "the app does not": { app: { trustProxy: false } },
      "proxy true": { proxy: true }, "proxy false": { proxy: false, app: { trustProxy: true } },
    })) {
      const { app, ...options } = more;
      const config = { ...session({ ...options, cookie: { maxAge: HOUR, secure, sameSite: "auto" } }), ...(app && { app }) };
      for (const proto of ["https", "http", "HTTPS", "https, http", "http, https"]) {
        yield [`connection/secure ${secure}/${name}/${proto}`, config, [from(proto, ["set", "a", 1]), from("https", ["inc", "n"]), from("http", ["inc", "n"])]];
      }
    }
  }
  for (const path of ["/", "/x", "/x/", "/xy", "/X", "/x?y"]) {
    const visit = ["/", "/x", "/x/y", "/xyz"].map((url) => ({ do: `GET ${url}`, script: [["inc", "n"]] }));
    yield [`path/${path}`, session({ cookie: { path } }), visit];
  }
}

function* documents() {
  const cookie = cookieOf(60_000);
  const odd = {
    "cookie in the middle": { z: 1, cookie, y: 2 },
    "numbers for names": { 3: 1, cookie, 1: 2, b: 3 },
    "names that sessions have": { cookie, id: "x", save: 1, touch: 2, req: 3, toString: 4, regenerate: 5, kept: 6 },
    "a nested cookie": { cookie, nested: { cookie: { path: "/q" } } },
    "no cookie": { a: 1 },
    "null for a cookie": { cookie: null, a: 1 },
    "an empty cookie": { cookie: {}, a: 1 },
    "a cookie without originalMaxAge": { cookie: { expires: "@+60", httpOnly: true, path: "/" }, a: 1 },
    "a cookie with more": { cookie: { ...cookie, colour: "blue", data: 1 }, a: 1 },
    "a browser session": { cookie: cookieOf(null), a: 1 },
    "an end that is no date": { cookie: { ...cookie, expires: "garbage" }, a: 1 },
    "false for an end": { cookie: { originalMaxAge: false, expires: false, path: "/" }, a: 1 },
    "an end long ago": { cookie: { ...cookie, expires: "1960-02-29T01:02:03.004Z" }, a: 1 },
    "no end that matters": { cookie: { ...cookie, originalMaxAge: 1e15 }, a: 1 },
    "a secure one": { cookie: { ...cookie, secure: true }, a: 1 },
    "an attribute that cannot be": { cookie: { ...cookie, sameSite: "bogus" }, a: 1 },
    "of a domain": { cookie: { ...cookie, domain: "e.com", path: "/x", partitioned: true, priority: "low" }, a: 1 },
    "signed in by passport": { cookie, passport: { user: "u1" } },
    "signed in by hand": { cookie, userId: "u1" },
  };
  for (const [name, whole] of Object.entries(odd)) {
    const put = { put: { sid: SID, session: whole } };
    const [plain, rolling] = makesNone(name) ? [noSession(looks, begins, goesOn), noSession(looks, begins)] : [];
    yield [`document/${name}`, session(), [put, known(), known(["inc", "n"]), known(["reload"], ["save"])], plain];
    yield [`document/${name}, rolling`, session({ rolling: true, resave: true }), [put, known(), known(["inc", "n"])], rolling];
  }
  for (const text of ['{"cookie":{"originalMaxAge":60000,"expires":null,"path":"/"},"a":1.0,"b":1e2,"c":"\\u00e9\\ud83d","a":2}', "null", "0", "false", "5", '"text"', "[]", "", "{"]) {
    const deviation = makesNone(`text ${text}`) ? noSession(looks, begins) : undefined;
    yield [`document/text ${text.slice(0, 9)}`, session(), [{ put: { sid: SID, text } }, known(["peek", "a"]), known(["inc", "n"])], deviation];
  }
  yield ["document/fields of others", session(), [stored({ a: 1 }, { fields: { uid: "u7", seen: 5 } }), known(["inc", "n"]), known()]];
  yield ["document/without an end", session(), [stored({ a: 1 }, { ends: null }), known(["peek", "a"])]];
  yield ["document/touched a while ago", { ...session(), store: { touchAfter: 60 } }, [
    stored({ a: 1 }, { fields: { lastModified: -100 } }), known(["peek", "lastModified"]), known(["save"]), known(["inc", "n"])]];
  yield ["document/touched just now", { ...session(), store: { touchAfter: 60 } }, [stored({ a: 1 }, { fields: { lastModified: -1 } }), known(), known(["inc", "n"]), known()]];
  yield ["document/never noted", { ...session(), store: { touchAfter: 60 } }, [stored({ a: 1 }), known(), known()]];
}

function* responses() {
  const begin = get(["set", "a", 1]);
  for (const [name, end] of Object.entries({
    send: [["send", "hello"]], "end with a piece": [["end", "x"]], "end without": [["end"]], redirect: [["redirect", "/to"]],
    "no content": [["status", 204], ["end"]], "not found": [["status", 404]], failed: [["status", 500]], exception: [["throw", "oops"]],
    "a head first": [["write", "a"], ["end", "z"]], "a change behind the head": [["write", "a"], ["set", "late", 1], ["end", "z"]],
    "a save behind the head": [["write", "a"], ["save"], ["end", "z"]], "destroyed behind the head": [["write", "a"], ["destroy"], ["end", "z"]],
    "another cookie": [["rescookie", "c", "v 1", { maxAge: 1000 }]], "the cookie cleared": [["clearCookie", "connect.sid"]],
  })) {
    const change = { do: "POST /x", script: [["set", "b", 2], ...end] };
    yield [`response/${name}/new`, session(), [change, get(["peek", "b"])]];
    yield [`response/${name}/known`, session(), [begin, change, get(["peek", "b"], ["peek", "late"])]];
    yield [`response/${name}/untouched`, session({ rolling: true }), [begin, { do: "GET /x", script: end }, get()]];
  }
  yield ["response/HEAD", session(), [{ do: "HEAD /x", script: [["set", "a", 1]] }, get(["peek", "a"])]];
  yield ["mount/twice", { ...session(), doubleMount: true }, [begin, get(["inc", "n"])]];
  yield ["error/disconnected and back", session(), [begin, { emit: "disconnect" }, get(["peek", "a"]), { emit: "connect" }, get(["peek", "a"])]];
  yield ["error/regenerate", session(), [begin, { fail: { destroy: "down" } }, get(["regenerate"], ["set", "b", 1]), { fail: {} }, get(["peek", "b"])]];
  yield ["error/destroy", session(), [begin, { fail: { destroy: "down" } }, get(["destroy"]), { fail: {} }, get(["peek", "a"])]];
  yield ["error/reload", session(), [begin, get(["set", "b", 1], ["destroy"], ["reload"])]];
  yield ["error/explicit save", session(), [begin, { fail: { set: "down" } }, get(["set", "b", 1], ["save"]), { fail: {} }, get(["peek", "b"])]];
}

function* logins() {
  const passport = { ...session(), passport: true };
  const login = (id, ...options) => get(["set", "cart", 1], ["login", id, ...options]);
  for (const [name, id] of Object.entries({ text: "u1", zero: 0, number: 5, empty: "", "that cannot be serialised": "noserial", "that is gone": "gone", "that breaks": "boom" })) {
    yield [`passport/an id ${name}`, passport, [login(id), get(["peek", "cart"]), get(["inc", "n"])]];
  }
  for (const options of [{}, { keepSessionInfo: true }, { session: false }]) {
    const name = JSON.stringify(options);
    yield [`passport/new visitor ${name}`, passport, [login("u1", options), get()]];
    yield [`passport/known visitor ${name}`, passport, [get(["set", "cart", [1]]), login("u1", options), get(["peek", "cart"])]];
    yield [`passport/another user ${name}`, passport, [login("u1"), login("u2", options), get(["peek", "cart"])]];
    yield [`passport/logout ${name}`, passport, [login("u1"), get(["set", "b", 1], ["logout", options]), get(["peek", "b"])]];
    yield [`passport/logout of nobody ${name}`, passport, [get(["logout", options]), get()]];
  }
  yield ["passport/login and out", passport, [get(["login", "u1"], ["logout"], ["login", "u2"]), get()]];
  yield ["passport/login and destroy", passport, [login("u1"), get(["logout"], ["destroy"], ["clearCookie", "connect.sid"]), get()]];
  yield ["passport/the old cookie after a login", passport, [get(["set", "a", 1]), { ...login("u1"), keepAs: "old" }, { ...get(), cookies: "connect.sid={{kept old}}" }]];
  yield ["passport/rolling, unset destroy", { ...session({ rolling: true, unset: "destroy" }), passport: true }, [login("u1"), get(), get(["unset", "null"]), get()]];
}

/** Stored sessions that Express answers with 500. */
const makesNone = (name) => ["no cookie", "null for a cookie", "text 5", 'text "text"', "text []", "text ", "text {"].includes(name);

/** What we show where Express answers with 500: a request that only looks finds no session and leaves what is stored, */
const looks = (real, _, mine) => ({ ...real, status: 200, body: mine.body, stored: renumbered(real.stored, mine) });

/** IDs are numbered as they are seen, and ours is seen in a body that Express does not send. */
const renumbered = (rows, mine) => rows.map((row, at) => ({ ...row, id: mine.stored[at]?.id }));

/** one that begins a session replaces it, */
const begins = (_, __, mine) => ({ ...mine, status: 200, asked: ["get", "destroy", "set"], stored: mine.stored.slice(0, 1) });

/** and its ID opens nothing afterwards. */
const goesOn = (_, __, mine) => ({ ...mine, status: 200 });

const noSession = (...ours) => ({ why: "no session", ours });

/** Unlike Express on purpose: `ours` makes what we must show out of what Express shows, `at` a step. */
function* deviations() {
  const unsaved = (real) => ({
    status: 503, setCookie: [], body: { message: "Service Unavailable", code: "unavailable" }, asked: real.asked, stored: real.stored,
  });
  const begin = get(["set", "a", 1]);
  const failing = (what) => [{ fail: { [what]: "down" } }];
  const saved = { why: "unsaved", ours: { 1: unsaved } };
  yield ["deviation/a new session cannot be saved", session(), [...failing("set"), begin], { why: "unsaved", ours: { 0: unsaved } }];
  yield ["deviation/a change cannot be saved", session(), [begin, ...failing("set"), get(["inc", "n"])], saved];
  yield ["deviation/a session that was let go of cannot be ended", session({ unset: "destroy" }), [begin, ...failing("destroy"), get(["unset", "null"])], saved];
  const kept = { why: "unreadable", ours: { 1: (real, before) => ({ ...real, asked: ["get"], stored: before.stored }) } };
  const left = (real, before, mine) => ({ ...looks(real, before, mine), asked: ["get"], stored: renumbered(before.stored, mine) });
  yield ["deviation/a session cannot be read, unset destroy", session({ unset: "destroy" }), [begin, ...failing("get"), get()], kept];
  yield ["deviation/a stored session makes none, unset destroy", session({ unset: "destroy" }), [
    { put: { sid: SID, session: { a: 1 } } }, { ...get(), cookies: "none" }, known()], { why: "no session", ours: { 1: left } }];
  const found = (_, __, mine) => ({ ...mine, status: 200, setCookie: [], asked: ["get"], stored: mine.stored.slice(0, 1) });
  const answers = { why: "hangs", ours: { 0: (_, __, mine) => ({ ...unsaved(mine), asked: mine.asked, stored: mine.stored }) } };
  yield ["deviation/a lifetime that is a text", session(), [
    { put: { sid: SID, session: { cookie: { originalMaxAge: "60000", expires: "@+60", path: "/" }, a: 1 } } }, { ...known(), patience: 3000 }], noSession(found)];
  yield ["deviation/a cookie assigned a lifetime that is a text", session(), [{ ...get(["set", "a", 1], ["cookie", { originalMaxAge: "1000" }]), patience: 3000 }], answers];

  const lives = (real) => ({ ...real, stored: real.stored.map((row) => ({ ...row, ends: { date: "<in 1209600.0>" } })) });
  yield ["deviation/a lifetime longer than dates reach", session({ cookie: { maxAge: 9e15 } }), [begin], { why: "no date", ours: { 0: lives } }];

  const slow = { do: "GET /x", script: [["sleep", 250], ["set", "slow", 1]] };
  const settled = { ...session(), hallpass: { races: "settled" } };
  const seen = (answers, asked, stored) => ({ answers, asked, stored });
  const both = (real, mine) => seen(real.answers, mine.asked, real.stored.map((row) => ({ ...row, session: row.session.replace(',"slow":1', ',"quick":1,"slow":1') })));
  yield ["deviation/two changes cross", settled, [begin, { together: [slow, { ...get(["set", "quick", 1]), after: 80 }] }],
    { why: "races", ours: { 1: (real, _, mine) => both(real, mine) } }];
  const ended = (real, mine) => seen([{ ...real.answers[0], setCookie: [] }, real.answers[1]], mine.asked, []);
  yield ["deviation/a logout during a request that changes", settled, [begin, { together: [slow, { ...get(["destroy"]), after: 80 }] }],
    { why: "races", ours: { 1: (real, _, mine) => ended(real, mine) } }];
}

/** Why; the names are those of docs/express.md. */
export const REASONS = {
  unsaved: "nobody is told of what did not happen: a session that cannot be saved or ended is a 503 without a cookie, not a success",
  unreadable: "a store that cannot be read ends no session; express-session destroys it with unset: 'destroy'",
  "no session": "a stored session that cannot be read counts as missing; express-session answers 500 until the row expires",
  hangs: "express-session never answers, because its own end() throws; ours is a 503",
  "no date": "a lifetime that no date can hold ends after the store's ttl; connect-mongo stores 1970 as its end, connect-redis nothing at all",
  races: "requests that cross lose nothing, and none brings back a session that has ended",
};

const all = [table, stores, cookies, attributes, connections, documents, responses, logins, deviations].flatMap((cases) => [...cases()]).map(named);

export const exact = all.filter(({ deviation }) => !deviation);
export const deviating = all.filter(({ deviation }) => deviation);

function named([id, config, steps, deviation]) {
  const store = { collectionName: "sessions", ...(config.store ?? { autoRemove: "disabled" }) };
  if (store.type) delete store.collectionName;
  if (store.type === "redis10" || store.type === "redis" || store.type === "pg") delete store.autoRemove;
  return { id, config: { ...config, store }, steps, deviation };
}
