// A person signs in with a provider: the real server, the certified oidc-provider in a process of its own, a real Chromium. The server is
// at localhost and the provider at 127.0.0.1, which are different sites to a browser.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { browser as launch, freePort, hasProvider, provider, scratch, start } from "./support.mjs";

const PASSWORD = "correct horse battery staple";
const ready = /"ready":"(http:[^"]+)"/;
const installed = hasProvider();

/** A server that knows two providers; `sameSite` is its session cookie's. */
async function world(sameSite) {
  const [one, two, port] = [await provider(), await provider(), await freePort()];
  const url = `http://localhost:${port}`;
  for (const [idp, name] of [[one, "one"], [two, "two"]]) {
    await idp.control({
      clients: [{
        client_id: "hallpass",
        client_secret: "a secret of the client",
        redirect_uris: [`${url}/auth/oauth/${name}/callback`],
        post_logout_redirect_uris: [`${url}/login`],
      }],
      accounts: {
        ann: { email: "ann@example.com", email_verified: true, name: "Ann Example" },
        "ann-private": { email: "ann@private.example", email_verified: true },
        nina: { email: "nina@example.com", email_verified: true },
      },
    });
  }
  const section = (name, label, issuer, more) =>
    `[providers.${name}]\npreset = "openid"\nlabel = "${label}"\nissuer = "${issuer}"\nclient_id = "hallpass"\nclient_secret = "a secret of the client"\n${more}\n`;
  const data = scratch();
  const config = path.join(data.folder, "hallpass.toml");
  writeFileSync(config, `[session]\nsame_site = "${sameSite}"\n` + section("one", "Example", one.issuer, "") + section("two", "Work & Co", two.issuer, "end_session = true"));
  const server = await start("hallpass", ["serve", "--json", "--config", config, "--listen", `127.0.0.1:${port}`], { ready, cwd: data.folder });
  const stop = async () => {
    assert.equal(await server.stop(), 0);
    one.stop();
    two.stop();
    data.dispose();
  };
  return { url, one, two, server, stop };
}

for (const sameSite of ["lax", "strict"]) {
  describe(`providers in Chromium, SameSite=${sameSite}`, { timeout: 240_000, skip: !installed }, () => {
    let browser, here;

    before(async () => {
      here = await world(sameSite);
      browser = await launch();
    });

    after(async () => {
      await browser.close();
      await here.stop();
    });

    /** A private window that fails the test when the page's policy blocks something. */
    async function window(options) {
      const context = await browser.newContext(options);
      const page = await context.newPage();
      const complaints = [];
      page.on("console", (message) => {
        if (/Content Security Policy|Refused to/.test(message.text())) complaints.push(message.text());
      });
      const close = async () => {
        assert.deepEqual(complaints, []);
        await context.close();
      };
      return { page, context, close };
    }

    async function agree(page, login) {
      await page.getByLabel("Login").fill(login);
      await page.getByRole("button", { name: "Sign in" }).click();
    }

    test("there and back by keyboard, without JavaScript, to the page that asked", async () => {
      const { page, context, close } = await window({ javaScriptEnabled: false });
      await page.goto(`${here.url}/account?from=mail`);
      await page.waitForURL("**/login?next=**");
      await page.getByRole("link", { name: "Continue with Example" }).focus();
      await page.keyboard.press("Enter");
      await page.waitForURL(`${here.one.issuer}/**`);
      await agree(page, "ann");
      await page.waitForURL("**/account?from=mail");
      assert.equal(await page.textContent("h1"), "Ann Example");
      const cookies = await context.cookies(here.url);
      const known = cookies.filter(({ name }) => name.startsWith("hallpass-device-"));
      assert.equal(known.length, 1, "the account knows this browser");
      const attempts = cookies.filter(({ name }) => name.startsWith("hallpass-oauth-"));
      const left = attempts.map(({ expires }) => expires - Date.now() / 1000);
      assert.ok(left.length === 1 && left[0] <= 60, `the attempt is forgotten within a minute: ${left}`);
      const others = cookies.filter((cookie) => !known.includes(cookie) && !attempts.includes(cookie));
      assert.deepEqual(others.map(({ name }) => name), ["hallpass"], "nothing else is left behind");
      assert.equal(others[0].sameSite.toLowerCase(), sameSite);
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.waitForURL("**/login?done=logout");
      await close();
    });

    test("the new account's page offers what the person can do", async () => {
      const { page, close } = await window();
      await page.goto(`${here.url}/register`);
      await page.getByRole("link", { name: "Continue with Example" }).click();
      await agree(page, "nina");
      await page.waitForURL("**/account");
      await page.getByRole("button", { name: "Disconnect Example (nina@example.com)" }).click();
      assert.match(await page.textContent("[role=alert]"), /your only way to sign in/);
      await page.getByLabel("New password").fill(PASSWORD);
      await page.getByRole("button", { name: "Set password" }).click();
      await page.waitForURL("**/account?done=password");
      await page.getByRole("button", { name: "Disconnect Example (nina@example.com)" }).click();
      await page.waitForURL("**/account?done=unlinked");
      assert.ok(await page.getByRole("button", { name: "Connect Example" }).isVisible());
      await close();
    });

    test("an account is connected, opens the same account, and signing out reaches the provider", async () => {
      const { page, close } = await window();
      await page.goto(`${here.url}/register`);
      await page.getByLabel("E-mail address").fill(`zoe-${sameSite}@example.com`);
      await page.getByLabel("Password").fill(PASSWORD);
      await page.getByRole("button", { name: "Create account" }).click();
      await page.waitForURL("**/account");
      await page.getByRole("button", { name: "Connect Work & Co" }).click();
      await page.waitForURL(`${here.two.issuer}/**`);
      await agree(page, "ann-private");
      await page.waitForURL("**/account?done=linked");
      assert.match(await page.textContent("[role=status]"), /The account is connected/);

      const other = await window();
      await other.page.goto(`${here.url}/login`);
      await other.page.getByRole("link", { name: "Continue with Work & Co" }).click();
      await agree(other.page, "ann-private");
      await other.page.waitForURL("**/account");
      assert.match(await other.page.textContent("body"), new RegExp(`zoe-${sameSite}@example.com`));
      await other.page.getByRole("button", { name: "Sign out", exact: true }).click();
      await other.page.waitForURL(`${here.two.issuer}/session/end**`);
      await other.page.getByRole("button", { name: /yes/i }).click();
      await other.page.waitForURL("**/login**");
      await other.close();
      await close();
    });

    test("whoever says no is told so, and can go on at once", async () => {
      const { page, close } = await window();
      await page.goto(`${here.url}/login`);
      await page.getByRole("link", { name: "Continue with Example" }).click();
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.waitForURL("**/login?failed=denied**");
      assert.match(await page.textContent("[role=alert]"), /You did not let Example tell us who you are/);
      assert.match(await page.title(), /^Error: /);
      await page.getByRole("link", { name: "Continue with Example" }).click();
      await agree(page, "ann");
      await page.waitForURL("**/account");
      await close();
    });

    test("two tabs, two providers, in any order", async () => {
      const { page, context, close } = await window();
      const second = await context.newPage();
      await page.goto(`${here.url}/login`);
      await second.goto(`${here.url}/login`);
      await page.getByRole("link", { name: "Continue with Example" }).click();
      await second.getByRole("link", { name: "Continue with Work & Co" }).click();
      await page.waitForURL(`${here.one.issuer}/**`);
      await second.waitForURL(`${here.two.issuer}/**`);
      await agree(second, "ann-private");
      await second.waitForURL("**/account");
      await agree(page, "ann");
      await page.waitForURL("**/account");
      await close();
    });

    test("a posted answer, as Apple sends it, brings the same result", async () => {
      const { page, close } = await window();
      await page.goto(`${here.url}/login`);
      // Ask the provider for Apple's way of answering, on the way there.
      await page.route(`${here.url}/auth/oauth/one`, async (route) => {
        const response = await route.fetch({ maxRedirects: 0 });
        const headers = response.headers();
        await route.fulfill({ status: 303, headers: { ...headers, location: `${headers.location}&response_mode=form_post` } });
      });
      const posted = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/callback"));
      await page.getByRole("link", { name: "Continue with Example" }).click();
      await agree(page, "ann");
      const request = await posted;
      assert.ok(!("cookie" in (await request.allHeaders())), "a post from another site brings no cookie");
      await page.waitForURL("**/account");
      await close();
    });

    test("no other site can begin or finish anything in this browser", async () => {
      const { page, close } = await window();
      // The attacker's own answer, made in another browser.
      const attacker = await window();
      await attacker.page.route(`${here.url}/auth/oauth/one/callback?*`, (route) => route.abort());
      await attacker.page.goto(`${here.url}/login`);
      const caught = attacker.page.waitForRequest(/\/callback\?/);
      await attacker.page.getByRole("link", { name: "Continue with Example" }).click();
      await agree(attacker.page, "ann-private");
      const stolen = (await caught).url();
      await page.goto(stolen);
      await page.waitForURL("**/login?failed=unexpected**");
      await page.goto(`${here.one.issuer}/nothing`);
      const images = await page.evaluate(async (url) => {
        const load = (src) => new Promise((resolve) => Object.assign(new Image(), { onload: () => resolve("loaded"), onerror: () => resolve("refused"), src }));
        return load(`${url}/auth/oauth/one`);
      }, here.url);
      assert.equal(images, "refused");
      await page.goto(`${here.url}/account`);
      assert.match(page.url(), /\/login/);
      await page.goto("about:blank");
      await close();
      await attacker.page.goto("about:blank");
      await attacker.context.close();
    });

    test("the buttons are legible in light and dark, and fit a small phone", async () => {
      for (const colorScheme of ["light", "dark"]) {
        const { page, close } = await window({ colorScheme, viewport: { width: 320, height: 568 } });
        await page.goto(`${here.url}/login`);
        const found = await page.evaluate(() => ({
          overflow: document.documentElement.scrollWidth - innerWidth,
          small: [...document.querySelectorAll(".providers a")].filter((link) => link.getBoundingClientRect().height < 44).length,
          links: document.querySelectorAll("nav[aria-label] a").length,
        }));
        assert.deepEqual(found, { overflow: 0, small: 0, links: 2 }, colorScheme);
        await close();
      }
    });
  });
}
