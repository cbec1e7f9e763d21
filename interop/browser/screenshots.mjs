// Takes the pictures of docs/images: cargo build --workspace --bins && node interop/browser/screenshots.mjs

import { writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { browser as launch, scratch, start } from "./support.mjs";

const images = fileURLToPath(new URL("../../docs/images", import.meta.url));
const data = scratch();
const server = await start("hallpass", ["serve", "--json", "--listen", "127.0.0.1:0"], { ready: /"ready":"(http:[^"]+)"/, cwd: data.folder });
const browser = await launch();

async function window(options) {
  const context = await browser.newContext({ viewport: { width: 900, height: 620 }, ...options });
  return context.newPage();
}

async function submit(page, place, button, fields) {
  await page.goto(server.address + place);
  for (const [label, text] of Object.entries(fields)) await page.getByLabel(label).fill(text);
  await page.getByRole("button", { name: button }).click();
  await page.waitForURL("**/account");
}

const person = { "E-mail address": "ann@example.com", Password: "correct horse battery staple" };
const light = await window({ colorScheme: "light" });
await light.goto(`${server.address}/login`);
await light.screenshot({ path: path.join(images, "sign-in.png") });
await submit(light, "/register", "Create account", { Name: "Ann Example", ...person });
const phone = await window({ userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1" });
await submit(phone, "/login", "Sign in", person);
const dark = await window({ colorScheme: "dark" });
await submit(dark, "/login", "Sign in", person);
await dark.screenshot({ path: path.join(images, "account.png"), fullPage: true });
// The buttons need nobody at the other end.
const config = path.join(data.folder, "providers.toml");
const section = (name) => `[providers.${name}]\nclient_id = "id"\nclient_secret = "secret"\n`;
writeFileSync(config, ["google", "github", "microsoft"].map(section).join(""));
const more = await start("hallpass", ["serve", "--json", "--listen", "127.0.0.1:0", "--config", config], { ready: /"ready":"(http:[^"]+)"/, cwd: data.folder });
const providers = await window({ colorScheme: "light", viewport: { width: 900, height: 820 } });
await providers.goto(`${more.address}/login`);
await providers.screenshot({ path: path.join(images, "providers.png") });
await more.stop();
await browser.close();
await server.stop();
data.dispose();
