// A real OpenID provider (the certified npm package oidc-provider) in a process of its own: node provider.mjs [PORT [ISSUER CERT KEY]]
//
// Prints `{"ready": "<issuer>"}`. With an issuer and files of a certificate it calls itself that and listens for TLS too: prints the port as `tls`. POST /_control with JSON sets it up and changes it while it runs:
//   clients   as oidc-provider takes them
//   accounts  { "<login>": { claims } }; whoever types a login is that account
//   age       whoever signs in from now on did so this many seconds ago
//   rotate    true: a new signing key; the one before stays published, as providers do it
// GET /_control tells how often keys and tokens were asked for.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider, errors } from "oidc-provider";

const state = { clients: [], accounts: {}, age: 0, keys: [], seen: { jwks: 0, token: 0 } };
let provider, issuer;

function newKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), alg: "RS256", use: "sig" };
}

const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** The page on which somebody says who they are, or no. */
function page(uid, client) {
  const form = (action, inside) => `<form method="post" action="/interaction/${uid}/${action}">${inside}</form>`;
  return `<!doctype html><html lang="en"><title>Provider</title><h1>Sign in to ${escape(client)}</h1>
    ${form("login", '<label>Login <input name="login" autofocus></label> <button>Sign in</button>')}
    ${form("abort", "<button>Cancel</button>")}</html>`;
}

function build() {
  const configuration = {
    clients: state.clients,
    jwks: { keys: state.keys },
    cookies: { keys: ["a secret of the provider's own cookies"] },
    claims: { email: ["email", "email_verified"], profile: ["name"] },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, id) => state.accounts[id] && { accountId: id, claims: () => ({ sub: id, ...state.accounts[id] }) },
    // Its own guards against addresses of this machine would keep it from reaching the server under test.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    // Everybody agrees to everything that is asked for.
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope("openid email profile offline_access");
      await grant.save();
      return grant;
    },
    issueRefreshToken: async () => true,
    ttl: { Interaction: 600, Session: 86400, Grant: 86400, AccessToken: 90, IdToken: 600, RefreshToken: 3600, AuthorizationCode: 60 },
  };
  const built = new Provider(issuer, configuration);
  built.on("server_error", (_, error) => console.error(error));
  built.on("backchannel.error", (_, error) => console.error(error));
  return built;
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function control(request, response) {
  if (request.method === "POST") {
    const { rotate, ...changes } = JSON.parse(await body(request));
    Object.assign(state, changes);
    if (rotate || state.keys.length === 0) state.keys = [newKey(), ...state.keys].slice(0, 2);
    // A new one has forgotten who is signed in.
    if (rotate || changes.clients || !provider) provider = build();
  }
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ seen: state.seen, kid: state.keys[0]?.kid }));
}

async function interaction(request, response, uid, action) {
  if (!action) {
    const { params } = await provider.interactionDetails(request, response);
    response.setHeader("content-type", "text/html; charset=utf-8");
    return response.end(page(uid, params.client_id));
  }
  const fields = new URLSearchParams(await body(request));
  const result =
    action === "login"
      ? { login: { accountId: fields.get("login"), ts: Math.floor(Date.now() / 1000) - state.age } }
      : { error: "access_denied", error_description: "the person said no" };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

async function answer(request, response) {
  const { pathname } = new URL(request.url, issuer);
  if (pathname === "/_control") return control(request, response);
  const [, uid, action] = pathname.match(/^\/interaction\/([^/]+)(?:\/(login|abort))?$/) ?? [];
  if (uid) return interaction(request, response, uid, action);
  if (pathname === "/jwks") state.seen.jwks += 1;
  if (pathname === "/token") state.seen.token += 1;
  return provider.callback()(request, response);
}

const [port = 0, name, cert, key] = process.argv.slice(2);

function serve(request, response) {
  answer(request, response).catch((error) => {
    response.statusCode = error instanceof errors.OIDCProviderError ? error.statusCode : 500;
    response.end(String(error));
  });
}

const listen = (server, port) => new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server.address().port)));

const here = `http://127.0.0.1:${await listen(createServer(serve), Number(port))}`;
issuer = name ?? here;
const tls = name && (await listen(createTlsServer({ cert: readFileSync(cert), key: readFileSync(key) }, serve), 0));
console.log(JSON.stringify({ ready: here, tls }));
