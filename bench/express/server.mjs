// `node server.mjs STORE [URL] [--rolling] [--processes N]`: Express with express-session on `memory`, `mongo` or `redis`; prints its port. Routes as in
// bench-hallpass.
import cluster from "node:cluster";
import { once } from "node:events";
import { createServer } from "node:net";
import express from "express";
import session from "express-session";

const [store, url] = process.argv.slice(2);
const processes = Number(process.argv[process.argv.indexOf("--processes") + 1] || 1);

if (cluster.isPrimary && process.argv.includes("--processes") && processes > 1) {
  // All workers share one port, which must be known before.
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  for (let number = 0; number < processes; number += 1) {
    await once(cluster.fork({ PORT: String(port) }), "message");
  }
  console.log(port);
} else {
  await serve();
}

async function open() {
  if (store === "mongo") {
    const { default: MongoStore } = await import("connect-mongo");
    return MongoStore.create({ mongoUrl: url, touchAfter: 60 });
  }
  if (store === "redis") {
    const { createClient } = await import("redis");
    const { RedisStore } = await import("connect-redis");
    const client = createClient({ url });
    await client.connect();
    return new RedisStore({ client });
  }
  return undefined;
}

async function serve() {
  const app = express();
  app.disable("x-powered-by");
  app.set("etag", false);
  app.use(session({
    store: await open(),
    secret: "a secret of at least 32 bytes, for measuring",
    resave: false,
    saveUninitialized: false,
    rolling: process.argv.includes("--rolling"),
    cookie: { maxAge: 24 * 3600 * 1000 },
  }));
  app.get("/anonymous", (request, response) => response.send("hello ann"));
  app.get("/read", (request, response) => {
    if (request.session.userId) response.send("hello ann");
    else response.sendStatus(401);
  });
  app.post("/write", (request, response) => {
    request.session.count = (request.session.count ?? 0) + 1;
    response.send(String(request.session.count));
  });
  app.post("/login", (request, response, next) => request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.userId = "1";
    response.send("hello ann");
  }));
  app.post("/logout", (request, response, next) => request.session.destroy((error) => (error ? next(error) : response.sendStatus(200))));
  const server = app.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
    const { port } = server.address();
    if (cluster.isWorker) process.send(port);
    else console.log(port);
  });
}
