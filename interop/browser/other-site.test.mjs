// A front end on another site, whose script asks the server: session.same_site = "none". The real server behind TLS at auth.localhost, the
// front end at front.localhost, the certified oidc-provider at 127.0.0.1: three sites to a real Chromium.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import path from "node:path";
import { test } from "node:test";
import { freePort, hasProvider, permissiveWindow, provider, scratch, start } from "./support.mjs";

const listen = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

/** A certificate that nobody trusts. */
function certificate(folder) {
  const [key, cert] = ["key.pem", "cert.pem"].map((name) => path.join(folder, name));
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=auth.localhost"];
  execFileSync("openssl", ["req", "-x509", ...kind, "-keyout", key, "-out", cert], { stdio: "ignore" });
  return { key: readFileSync(key), cert: readFileSync(cert) };
}

/** TLS in front of the server, as a proxy speaks it. */
function tls(files, port) {
  return https.createServer(files, (request, response) => {
    const { method, url, headers } = request;
    const onward = http.request({ host: "127.0.0.1", port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
}

test("a script of another site connects an account and signs out", { timeout: 120_000, skip: !hasProvider() }, async () => {
  const [idp, port, data] = [await provider(), await freePort(), scratch()];
  const front = http.createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><title>front</title>"));
  const proxy = tls(certificate(data.folder), port);
  const [site, auth] = [`http://front.localhost:${await listen(front)}`, `https://auth.localhost:${await listen(proxy)}`];
  await idp.control({
    clients: [{
      client_id: "hallpass",
      client_secret: "a secret of the client",
      redirect_uris: [`${auth}/auth/oauth/one/callback`],
      post_logout_redirect_uris: [`${auth}/login`],
    }],
    accounts: { ann: { email: "ann@example.com", email_verified: true } },
  });
  const config = path.join(data.folder, "hallpass.toml");
  writeFileSync(config, `public_url = "${auth}"
[session]
same_site = "none"
[csrf]
mode = "token"
[cors]
origins = ["${site}"]
[providers.one]
preset = "openid"
issuer = "${idp.issuer}"
client_id = "hallpass"
client_secret = "a secret of the client"
end_session = true
`);
  const server = await start("hallpass", ["serve", "--json", "--config", config, "--listen", `127.0.0.1:${port}`], { ready: /"ready":"(https:[^"]+)"/, cwd: data.folder });
  const context = await permissiveWindow(path.join(data.folder, "profile"), { ignoreHTTPSErrors: true });
  try {
    const page = await context.newPage();
    /** What the front end's script gets. */
    const ask = async (method, path) => {
      await page.goto(site);
      return page.evaluate(async ({ method, auth, path }) => {
        const { token } = await (await fetch(`${auth}/auth/csrf`, { credentials: "include" })).json();
        const headers = { "content-type": "application/json", "x-csrf-token": token };
        const response = await fetch(auth + path, { method, credentials: "include", headers, body: method === "POST" ? "{}" : undefined });
        return { status: response.status, ...(await response.json()) };
      }, { method, auth, path });
    };

    await page.goto(`${auth}/auth/oauth/one`);
    await page.getByLabel("Login").fill("ann");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(`${auth}/account`);
    assert.equal((await ask("GET", "/auth/me")).user.email, "ann@example.com");

    const link = await ask("POST", "/auth/oauth/one/link");
    assert.equal(link.status, 200);
    await page.goto(link.location);
    await page.waitForURL(`${auth}/account?done=linked`);

    const out = await ask("POST", "/auth/logout");
    assert.ok(out.location.startsWith(`${auth}/auth/oauth/one/end-session?ticket=`), out.location);
    const script = await page.evaluate(async (url) => (await fetch(url, { credentials: "include" })).status, out.location);
    assert.equal(script, 403, "no script follows it");
    await page.goto(out.location);
    await page.waitForURL(`${idp.issuer}/session/end**`);
    await page.getByRole("button", { name: /yes/i }).click();
    await page.waitForURL(`${auth}/login**`);
    assert.equal((await ask("GET", "/auth/me")).status, 401);
  } finally {
    await context.close();
    assert.equal(await server.stop(), 0);
    for (const one of [front, proxy]) {
      one.closeAllConnections();
      one.close();
    }
    idp.stop();
    data.dispose();
  }
});
