// What SameSite and the CSRF layer keep out, each alone and together: docs/cross-site.md holds this table for people.
// Two sites (bank.localhost, evil.localhost), a real Chromium, and the playground of examples/cross-site.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { describe, test } from "node:test";
import { permissiveWindow, scratch, start } from "./support.mjs";

// Does the request arrive signed in? Columns: typed address, link from evil, image on evil, form posted from evil
// (`transferred`: the transfer really happened), fetch from evil with credentials.
const expected = {
  "strict, csrf off": { typed: true, link: false, image: false, form: false, fetch: false },
  "strict, csrf on": { typed: true, link: false, image: false, form: false, fetch: false },
  "lax, csrf off": { typed: true, link: true, image: false, form: false, fetch: false },
  "lax, csrf on": { typed: true, link: true, image: false, form: false, fetch: false },
  "none, csrf off": { typed: true, link: true, image: true, form: true, fetch: true },
  "none, csrf on": { typed: true, link: true, image: true, form: false, fetch: false },
};

/** The attacker's site: pages that link to, embed, post to and fetch from the bank. */
function attacker(bank) {
  const pages = {
    "/link": `<a href="${bank}/who">free money</a>`,
    "/image": `<img src="${bank}/who">`,
    "/form": `<form method="post" action="${bank}/transfer"><button>free money</button></form>`,
    "/fetch": `<script>
      fetch("${bank}/transfer", { method: "POST", mode: "no-cors", credentials: "include" })
        .finally(() => (document.title = "done"));
    </script>`,
  };
  const server = createServer((request, response) => {
    response.setHeader("content-type", "text/html");
    response.end(`<!doctype html><title>evil</title>${pages[request.url] ?? ""}`);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

describe("SameSite and CSRF", { timeout: 240_000 }, () => {
  for (const [name, row] of Object.entries(expected)) {
    test(name, async () => {
      const [sameSite, csrf] = [name.split(",")[0], name.endsWith("on") ? "on" : "off"];
      const program = await start("cross-site", ["--same-site", sameSite, "--csrf", csrf], { ready: /open (http:\S+)\/sign-in/ });
      const bank = program.address;
      const evilServer = await attacker(bank);
      const evil = `http://evil.localhost:${evilServer.address().port}`;
      const profile = scratch();
      const context = await permissiveWindow(profile.folder);
      try {
        const page = await context.newPage();
        const transfers = async () => Number(await (await fetch(bank.replace("bank.localhost", "127.0.0.1") + "/transferred")).text());
        await page.goto(`${bank}/sign-in`);
        const [cookie] = await context.cookies(bank);
        assert.equal(cookie.sameSite.toLowerCase(), sameSite);
        assert.ok(cookie.httpOnly && cookie.secure);

        const seen = {};
        await page.goto(`${bank}/who`);
        seen.typed = (await page.textContent("body")) === "ann";

        await page.goto(`${evil}/link`);
        await Promise.all([page.waitForURL(`${bank}/who`), page.click("a")]);
        seen.link = (await page.textContent("body")) === "ann";

        const image = page.waitForResponse(`${bank}/who`);
        await page.goto(`${evil}/image`);
        const headers = await (await image).request().allHeaders();
        seen.image = "cookie" in headers;

        // A page of its own: a refused post leaves an error page behind.
        const posting = await context.newPage();
        await posting.goto(`${evil}/form`);
        await Promise.all([posting.waitForResponse(`${bank}/transfer`), posting.click("button")]);
        seen.form = (await transfers()) === 1;

        const before = await transfers();
        await page.goto(`${evil}/fetch`);
        await page.waitForFunction(() => document.title === "done");
        seen.fetch = (await transfers()) === before + 1;

        assert.deepEqual(seen, row);
      } finally {
        await context.close();
        profile.dispose();
        evilServer.close();
        await program.stop();
      }
    });
  }
});
