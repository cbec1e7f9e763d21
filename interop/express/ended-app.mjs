// An Express app with one page, as ended.mjs wants it: node ended-app.mjs '{"store":"mongo","url":"…","resave":true,"workers":1,"secret":"…"}'
//
// The page takes 30 ms between reading the session and saving it, so it saves a stale copy if the session is ended meanwhile.

import cluster from "node:cluster";
import { MongoStore } from "connect-mongo";
import connectPg from "connect-pg-simple";
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import pg from "pg";
import { createClient } from "redis";

const { store, url, resave, workers, secret } = JSON.parse(process.argv[2]);

const stores = {
  mongo: () => MongoStore.create({ mongoUrl: url, collectionName: "sessions" }),
  redis: async () => new RedisStore({ client: await createClient({ url }).connect() }),
  pg: () => {
    const pool = new pg.Pool({ connectionString: url });
    pool.on("error", () => {});
    return new (connectPg(session))({ pool, createTableIfMissing: true });
  },
};

async function serve() {
  const app = express();
  app.use(session({ name: "connect.sid", secret, resave, saveUninitialized: false, store: await stores[store]() }));
  app.get("/page", (request, response) => {
    const user = request.session.userId;
    if (user && !resave) request.session.shown = (request.session.shown ?? 0) + 1;
    setTimeout(() => response.send(user ?? "nobody"), 30);
  });
  const server = app.listen(0, "127.0.0.1", () => tell(server.address().port));
}

function tell(port) {
  if (cluster.isWorker) process.send(port);
  else console.log(`port ${port}`);
}

if (workers > 1 && cluster.isPrimary) {
  let open = 0;
  for (let at = 0; at < workers; at += 1) {
    cluster.fork().on("message", (port) => ++open === workers && console.log(`port ${port}`));
  }
} else {
  await serve();
}
