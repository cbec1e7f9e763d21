// One store, one cookie, two servers: the real Express and Hallpass, in both directions, on every store that express-session has in use.
//
// Hallpass runs twice: with the Express-exact layer, and with its ordinary one over the same layout. The matrix is printed at the end.
// Run with: cargo build -p interop-driver && node --test interop/express/shared.test.mjs

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Visitor } from "./visitor.mjs";
import { SHARED, startSides } from "./sides.mjs";

const STORES = {
  "connect-mongo 6": { collectionName: "plain" },
  "connect-mongo 6, stringify: false": { collectionName: "objects", stringify: false },
  "connect-mongo 6, webcrypto": { collectionName: "web", webcrypto: { secret: "w" } },
  "connect-mongo 6, kruptein": { collectionName: "kruptein", crypto: { secret: "k" } },
  "connect-redis 9": { type: "redis", prefix: "nine:" },
  "connect-redis 10": { type: "redis10", prefix: "ten:" },
  "connect-pg-simple 10, UTC": { type: "pg", tableName: "utc", timeZone: "UTC" },
  "connect-pg-simple 10, Asia/Tokyo": { type: "pg", tableName: "tokyo", timeZone: "Asia/Tokyo" },
};

/** Layers of ours, and where the application names its user. */
const LAYERS = {
  "exact, passport.user": { layer: "express", userPath: "passport.user" },
  "exact, userId": { layer: "express", userPath: "userId" },
  "ordinary, passport.user": { layer: "ordinary", userPath: "passport.user" },
  "ordinary, userId": { layer: "ordinary", userPath: "userId" },
};

const HOUR = 3_600_000;
/** Written by Express, understood by nobody here: number forms, key order, odd names. */
const ODD = { 2: "two", b: [1, 1.5, 1e21, null], a: { z: "é\u2028", 10: true }, "": "empty", "x.y": -0.5 };

const matrix = new Map();
let sides;
let express;
let hallpass;
before(async () => {
  sides = await startSides();
  [express, hallpass] = await Promise.all([sides.express(SHARED), sides.hallpass(SHARED)]);
});
after(async () => {
  await sides?.dispose();
  const columns = [...new Set([...matrix.values()].flatMap((row) => [...row.keys()]))];
  console.log(["store and layer", ...columns].join(" | "));
  for (const [name, row] of matrix) console.log([name, ...columns.map((column) => row.get(column) ?? "-")].join(" | "));
});

/** Does one thing of the matrix and notes that it held. */
async function cell(row, column, check) {
  if (!matrix.has(row)) matrix.set(row, new Map());
  matrix.get(row).set(column, "FAILS");
  await check();
  matrix.get(row).set(column, "yes");
}

async function configure(store, own) {
  const passport = own.userPath === "passport.user";
  const config = { session: { secret: ["new", "old"], resave: false, saveUninitialized: false, cookie: { maxAge: HOUR } }, store, passport };
  if (store.type === "pg") config.store = { ...store, createTableIfMissing: true, triggers: true };
  const eye = express.eye(config);
  await eye.clear();
  await express.control("config", config);
  await hallpass.control("config", { ...config, hallpass: { handlers: "plain", races: "settled", ...own } });
  /** A visitor whose requests go wherever they are sent. */
  const visitor = () => new Visitor({ express, hallpass, userPath: own.userPath });
  return { eye, visitor };
}

for (const [name, store] of Object.entries(STORES)) {
  for (const [layer, own] of Object.entries(LAYERS)) {
    const row = `${name}: ${layer}`;
    describe(row, () => {
      let set;
      before(async () => {
        set = await configure(store, own);
      });

      /** What is stored under an id; beside it connect-redis's keys have notes of ours. */
      const rowsOf = async (sid) => (await set.eye.rows()).filter(({ id, session }) => id.endsWith(sid) && session !== null);

      test("in on Express is in on Hallpass, and the other way round", async () => {
        await cell(row, "log in there, in here", async () => {
          const ann = set.visitor();
          await ann.logInAtExpress("ann");
          assert.equal((await ann.hallpass()).user, "ann");
        });
        await cell(row, "log in here, in there", async () => {
          const ben = set.visitor();
          await ben.hallpass(["set", "cart", ["tea"]], ["login", "ben"]);
          assert.equal(await ben.userAtExpress(), "ben");
          assert.deepEqual((await ben.express()).session.cart, ["tea"], "what an anonymous visitor had comes along");
        });
      });

      test("a cart is changed on either side and seen on the other", async () => {
        await cell(row, "cart both ways", async () => {
          const ann = set.visitor();
          await ann.logInAtExpress("ann");
          await ann.hallpass(["set", "cart", [{ tea: 1 }]], ["inc", "n"]);
          assert.deepEqual((await ann.express(["set", "cart", [{ tea: 2 }]], ["inc", "n"])).session.n, 2);
          const here = await ann.hallpass(["inc", "n"]);
          assert.deepEqual(here.session.cart, [{ tea: 2 }]);
          assert.equal((await ann.express()).session.n, 3);
        });
      });

      test("keys that nobody here knows survive byte for byte", async () => {
        await cell(row, "unknown keys kept", async () => {
          const ann = set.visitor();
          await ann.logInAtExpress("ann");
          await ann.express(...Object.entries(ODD).map(([key, value]) => ["set", key, value]));
          const before = data((await rowsOf(ann.sid))[0].session);
          await ann.hallpass(["set", "ours", 1]);
          await ann.hallpass(["del", "ours"]);
          const after = data((await rowsOf(ann.sid))[0].session);
          assert.equal(after, before);
          const seen = await ann.express();
          for (const [key, value] of Object.entries(ODD)) assert.deepEqual(seen.session[key], value);
        });
      });

      test("out on either side is out on both", async () => {
        await cell(row, "log out there, out here", async () => {
          const ann = set.visitor();
          await ann.hallpass(["login", "ann"]);
          const old = ann.cookie;
          await ann.logOutAtExpress();
          ann.cookie = old;
          assert.equal((await ann.hallpass()).user, null);
        });
        await cell(row, "log out here, out there", async () => {
          const ann = set.visitor();
          await ann.logInAtExpress("ann");
          const old = ann.cookie;
          await ann.hallpass(["logout"]);
          assert.equal(ann.cookie, undefined, "the browser is told to forget the cookie");
          ann.cookie = old;
          assert.equal(await ann.userAtExpress(), undefined);
        });
      });

      test("a login that changes hands leaves the old id dead on both sides", async () => {
        await cell(row, "new id at login", async () => {
          const ann = set.visitor();
          await ann.express(["set", "cart", [1]]);
          const old = ann.cookie;
          await ann.hallpass(["login", "ann"]);
          assert.notEqual(ann.cookie, old);
          const thief = set.visitor();
          thief.cookie = old;
          assert.equal(await thief.userAtExpress(), undefined);
          assert.equal((await thief.hallpass()).user, null);
        });
      });

      test("no request of ours brings back a session that has ended", async () => {
        await cell(row, "logout during our requests", async () => {
          for (const logOut of [(visitor) => visitor.hallpass(["logout"]), (visitor) => visitor.logOutAtExpress()]) {
            const ann = set.visitor();
            await ann.logInAtExpress("ann");
            const old = ann.cookie;
            const slow = Array.from({ length: 4 }, (_, at) => ann.copy().hallpass(["set", `slow${at}`, 1], ["sleep", 150]));
            await new Promise((resolve) => setTimeout(resolve, 50));
            await logOut(ann);
            await Promise.all(slow);
            assert.deepEqual(await rowsOf(sidOf(old)), [], "nothing is stored under the id that was logged out");
            ann.cookie = old;
            assert.equal((await ann.hallpass()).user, null);
          }
        });
      });

      test("requests that change different things all last", async () => {
        await cell(row, "our crossing changes", async () => {
          const ann = set.visitor();
          await ann.logInAtExpress("ann");
          await Promise.all(Array.from({ length: 8 }, (_, at) => ann.copy().hallpass(["set", `k${at}`, at], ["sleep", 20])));
          const seen = await ann.express();
          for (let at = 0; at < 8; at += 1) assert.equal(seen.session[`k${at}`], at);
        });
      });

      test("what Express saves over a session that ended here opens nothing", async () => {
        await cell(row, "stale save there, out on both", async () => {
          const ann = set.visitor();
          await ann.logInAtExpress("ann");
          const old = ann.cookie;
          // Express has read the session before it ends, and writes it whole afterwards.
          const slow = ann.copy().express(["sleep", 150], ["set", "slow", 1]);
          await new Promise((resolve) => setTimeout(resolve, 50));
          await ann.hallpass(["logout"]);
          await slow;
          ann.cookie = old;
          assert.equal((await ann.hallpass()).user, null, "Hallpass refuses it from the first moment on");
          const end = Date.now() + 20_000;
          while ((await rowsOf(sidOf(old))).length > 0) {
            assert.ok(Date.now() < end, "what was saved over it is not removed");
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
          assert.equal(await ann.userAtExpress(), undefined);
        });
      });
    });
  }
}

const sidOf = (cookie) => decodeURIComponent(cookie.split("=")[1]).slice(2).split(".")[0];

/** The data of a stored session in its own bytes: all but the cookie and what is ours. */
function data(session) {
  if (typeof session !== "string") {
    const { cookie: _, _hallpass: __, ...rest } = session;
    return JSON.stringify(rest);
  }
  return session.replace(/"cookie":\{[^}]*\},?/, "").replace(/,?"_hallpass":\{[^}]*\}/, "");
}
