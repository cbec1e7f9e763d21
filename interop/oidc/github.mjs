// GitHub's shape: plain OAuth 2.0 with PKCE and `iss`, errors with status 200, numbers as ids, addresses in a list of their own.
// A stand-in, in a process of its own: node github.mjs. Prints `{"ready": "<address>"}`.
// POST /_control with JSON: user { id, login, name }, emails [{ email, primary, verified }], deny true, token_error "…".

import { createServer } from "node:http";
import { createHash, randomBytes } from "node:crypto";

const state = { user: { id: 1, login: "ann", name: null }, emails: [], deny: false, token_error: null };
const codes = new Map();
const tokens = new Set();
let base;

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function authorize(url, response) {
  const query = url.searchParams;
  const back = new URL(query.get("redirect_uri"));
  back.searchParams.set("state", query.get("state"));
  back.searchParams.set("iss", `${base}/login/oauth`);
  if (state.deny) {
    back.searchParams.set("error", "access_denied");
    back.searchParams.set("error_description", "The user has denied your application access.");
  } else {
    const code = randomBytes(10).toString("hex");
    codes.set(code, { challenge: query.get("code_challenge"), redirect: query.get("redirect_uri") });
    back.searchParams.set("code", code);
  }
  response.writeHead(302, { location: back.href }).end();
}

function exchange(fields) {
  if (state.token_error) return { error: state.token_error, error_description: "see the documentation" };
  const known = codes.get(fields.get("code"));
  codes.delete(fields.get("code"));
  const challenge = createHash("sha256").update(fields.get("code_verifier") ?? "").digest("base64url");
  if (fields.get("client_secret") !== "secret") return { error: "incorrect_client_credentials" };
  if (!known || known.challenge !== challenge) return { error: "bad_verification_code", error_description: "The code passed is incorrect or expired." };
  if (known.redirect !== fields.get("redirect_uri")) return { error: "redirect_uri_mismatch" };
  const token = `gho_${randomBytes(12).toString("hex")}`;
  tokens.add(token);
  return { access_token: token, token_type: "bearer", scope: "read:user,user:email" };
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, base);
  const json = (value, status = 200) => response.writeHead(status, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(value));
  if (url.pathname === "/_control") {
    Object.assign(state, JSON.parse(await body(request)));
    return json({});
  }
  if (url.pathname === "/login/oauth/authorize") return authorize(url, response);
  if (url.pathname === "/login/oauth/access_token") {
    const fields = new URLSearchParams(await body(request));
    // Without the header, GitHub answers with a form.
    if (request.headers.accept !== "application/json") return response.end(new URLSearchParams(exchange(fields)).toString());
    return json(exchange(fields));
  }
  if (!request.headers["user-agent"]) return json({ message: "Request forbidden by administrative rules" }, 403);
  if (!url.pathname.startsWith("/api/v3/user")) return json({ message: "Not Found" }, 404);
  if (!tokens.has(request.headers.authorization?.replace("Bearer ", ""))) return json({ message: "Bad credentials" }, 401);
  if (url.pathname === "/api/v3/user") return json({ ...state.user, email: "public@profile.example" });
  if (url.pathname === "/api/v3/user/emails") return json(state.emails);
  return json({ message: "Not Found" }, 404);
});
server.listen(0, "127.0.0.1", () => {
  base = `http://127.0.0.1:${server.address().port}`;
  console.log(JSON.stringify({ ready: base }));
});
