// Starts the real server on throw-away data and a real Chromium, and stops both.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, "target");

/** The built program of this name; a clear error when it is not built. */
function program(name) {
  const file = path.join(target, "debug", name);
  if (!existsSync(file)) throw new Error(`${file} is missing: run "cargo build --workspace --bins" first`);
  return file;
}

/** A folder that is removed again with `dispose`. */
export function scratch() {
  const folder = mkdtempSync(path.join(tmpdir(), "hallpass-"));
  return { folder, dispose: () => rmSync(folder, { recursive: true, force: true }) };
}

/**
 * Starts a program and waits for a line that matches `ready`, whose first group is its address.
 * `stop` sends SIGTERM and resolves to the exit code.
 */
export async function start(name, args, { ready, env = {}, cwd }) {
  const child = spawn(program(name), args, { cwd, env: { PATH: process.env.PATH, ...env } });
  const lines = [];
  const address = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      readline.createInterface({ input: stream }).on("line", (line) => {
        lines.push(line);
        const match = line.match(ready);
        if (match) resolve(match[1]);
      });
    }
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${name} ended with ${code}:\n${lines.join("\n")}`)));
  });
  const stop = async () => {
    if (child.exitCode !== null) return child.exitCode;
    child.kill("SIGTERM");
    const [code] = await once(child, "exit");
    return code;
  };
  return { address, lines, stop, child };
}

const launch = {
  get executablePath() {
    const candidates = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    const found = candidates.find((candidate) => candidate && existsSync(candidate));
    if (!found) throw new Error("no Chromium found: run scripts/setup, or set CHROMIUM to its path");
    return found;
  },
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
  ],
};

/** Chromium, headless. Each `newContext()` is a private window, with cookies of its own. */
export const browser = () => chromium.launch({ ...launch, executablePath: launch.executablePath });

/** A window on an empty profile in which third-party cookies are allowed; Debian's Chromium and private windows block them. */
export function permissiveWindow(profile, options = {}) {
  mkdirSync(path.join(profile, "Default"), { recursive: true });
  const preferences = { profile: { cookie_controls_mode: 0, block_third_party_cookies: false } };
  writeFileSync(path.join(profile, "Default", "Preferences"), JSON.stringify(preferences));
  return chromium.launchPersistentContext(profile, { ...launch, ...options, executablePath: launch.executablePath });
}

const oidc = path.join(root, "interop", "oidc");

/** Whether the certified OpenID provider is there; says so loudly when it is not. */
export function hasProvider() {
  const installed = existsSync(path.join(oidc, "node_modules", "oidc-provider"));
  if (!installed) {
    if (process.env.HALLPASS_ALL_ENGINES) throw new Error("oidc-provider is not installed: run scripts/setup");
    console.error("NOT RUN: oidc-provider is not installed; scripts/setup installs it");
  }
  return installed;
}

/** The certified OpenID provider in a process of its own. */
export async function provider() {
  const child = spawn(process.execPath, [path.join(oidc, "provider.mjs")], { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = await once(readline.createInterface({ input: child.stdout }), "line");
  const issuer = JSON.parse(line).ready;
  const control = (change) => fetch(`${issuer}/_control`, { method: "POST", body: JSON.stringify(change) });
  return { issuer, control, stop: () => child.kill() };
}

export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
