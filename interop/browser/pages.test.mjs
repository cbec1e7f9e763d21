// A person with a browser: registers, signs in and out, looks at the account, ends another browser's session.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browser as launch, scratch, start } from "./support.mjs";

const PASSWORD = "correct horse battery staple";
const ready = /"ready":"(http:[^"]+)"/;

describe("the pages in Chromium", { timeout: 240_000 }, () => {
  let browser, data, server, url;

  before(async () => {
    data = scratch();
    server = await start("hallpass", ["serve", "--json", "--listen", "127.0.0.1:0"], { ready, cwd: data.folder });
    url = server.address;
    browser = await launch();
  });

  after(async () => {
    await browser.close();
    assert.equal(await server.stop(), 0);
    data.dispose();
  });

  /** A browser of its own, whose pages must not log errors or break the content security policy. */
  async function window(options = {}) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const complaints = [];
    page.on("console", (message) => {
      // Chromium calls every 4xx answer an error; those are what some tests are about.
      if (message.type() === "error" && !message.text().includes("the server responded with a status of 4")) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    return { context, page, close: async () => { assert.deepEqual(complaints, []); await context.close(); } };
  }

  async function fill(page, fields) {
    for (const [label, text] of Object.entries(fields)) await page.getByLabel(label).fill(text);
  }

  async function register(page, name, email) {
    await page.goto(`${url}/register`);
    await fill(page, { Name: name, "E-mail address": email, Password: PASSWORD });
    await page.getByRole("button", { name: "Create account" }).click();
    await page.waitForURL("**/account");
  }

  async function signIn(page, email, password = PASSWORD) {
    await page.goto(`${url}/login`);
    await fill(page, { "E-mail address": email, Password: password });
    await page.getByRole("button", { name: "Sign in" }).click();
  }

  test("register, see the account, sign out, and the back button shows nothing", async () => {
    const { page, context, close } = await window();
    await page.goto(url);
    assert.match(page.url(), /\/login$/);
    await page.getByRole("link", { name: "Create an account" }).click();
    await fill(page, { Name: "Ann", "E-mail address": "ann@example.com", Password: PASSWORD });
    await page.getByRole("button", { name: "Create account" }).click();
    await page.waitForURL("**/account");
    assert.equal(await page.textContent("h1"), "Ann");
    assert.match(await page.textContent("header"), /Signed in as ann@example\.com/);
    assert.match(await page.textContent("main"), /Chrome on Linux This device/);

    const cookies = await context.cookies();
    const cookie = cookies.find(({ name }) => name === "hallpass");
    const device = cookies.find(({ name }) => name.startsWith("hallpass-device-"));
    assert.ok(device.httpOnly && device.sameSite === "Lax", "the account knows this browser");
    assert.deepEqual(
      { name: cookie.name, httpOnly: cookie.httpOnly, sameSite: cookie.sameSite, path: cookie.path, expires: cookie.expires },
      { name: "hallpass", httpOnly: true, sameSite: "Lax", path: "/", expires: -1 },
    );
    assert.equal(await page.evaluate(() => document.cookie), "", "no script can read it");

    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.waitForURL("**/login?done=logout");
    assert.match(await page.textContent("[role=status]"), /You are signed out/);
    const left = (await context.cookies()).map(({ name }) => name);
    assert.deepEqual(left, [device.name], "the browser has forgotten the session's cookie");
    await page.goBack();
    await page.waitForURL("**/login**");
    assert.ok(!(await page.textContent("body")).includes("ann@example.com"), "the back button does not show the account");
    await close();
  });

  test("a wrong password is told in words, and what was typed is kept", async () => {
    const { page, close } = await window();
    await register(page, "Bob", "bob@example.com");
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await signIn(page, "bob@example.com", "not the right one");
    assert.equal(await page.textContent("[role=alert]"), "The address or the password is not right.");
    assert.equal(await page.getByLabel("E-mail address").inputValue(), "bob@example.com");
    assert.equal(await page.getByLabel("Password").inputValue(), "");
    assert.ok(await page.getByLabel("Password").evaluate((field) => field === document.activeElement), "ready to type");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/account");
    await close();
  });

  test("signing in leads back to the page that asked for it", async () => {
    const { page, close } = await window();
    await register(page, "Dan", "dan@example.com");
    await page.context().clearCookies();
    await page.goto(`${url}/account?from=mail`);
    assert.match(page.url(), /\/login\?next=/);
    await fill(page, { "E-mail address": "dan@example.com", Password: PASSWORD });
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL("**/account?from=mail");
    await close();
  });

  test("\"keep me signed in\" outlives the browser", async () => {
    const { page, context, close } = await window();
    await register(page, "Eve", "eve@example.com");
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.goto(`${url}/login`);
    await fill(page, { "E-mail address": "eve@example.com", Password: PASSWORD });
    await page.getByLabel("Keep me signed in").check();
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL("**/account");
    const cookie = (await context.cookies()).find(({ name }) => name === "hallpass");
    const days = (cookie.expires - Date.now() / 1000) / 86_400;
    assert.ok(days > 29.9 && days <= 30, `${days} days`);
    await close();
  });

  test("one browser ends the other's session", async () => {
    const laptop = await window();
    const phone = await window({ userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1" });
    await register(laptop.page, "Cleo", "cleo@example.com");
    await signIn(phone.page, "cleo@example.com");
    await phone.page.waitForURL("**/account");
    await laptop.page.reload();
    await laptop.page.getByRole("button", { name: "Sign out Safari on iPhone" }).click();
    await laptop.page.waitForURL("**/account?done=ended");
    assert.match(await laptop.page.textContent("[role=status]"), /You are signed out there/);
    await phone.page.reload();
    assert.match(phone.page.url(), /\/login\?next=/, "the other browser is out");
    assert.match(await phone.page.textContent("[role=status]"), /signed out here from another browser/);
    await laptop.page.reload();
    assert.equal(await laptop.page.textContent("h1"), "Cleo", "this one is not");
    await laptop.close();
    await phone.close();
  });

  test("name and password change on the account page", async () => {
    const { page, close } = await window();
    await register(page, "Finn", "finn@example.com");
    await page.getByLabel("What should we call you?").fill("Finn the <Human>");
    await page.getByRole("button", { name: "Save name" }).click();
    await page.waitForURL("**/account?done=name");
    assert.equal(await page.textContent("h1"), "Finn the <Human>");
    await fill(page, { "Current password": "wrong", "New password": "another horse battery staple" });
    await page.getByRole("button", { name: "Change password" }).click();
    assert.equal(await page.textContent("[role=alert]"), "The current password is not right.");
    await fill(page, { "Current password": PASSWORD, "New password": "another horse battery staple" });
    await page.getByRole("button", { name: "Change password" }).click();
    await page.waitForURL("**/account?done=password");
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await signIn(page, "finn@example.com");
    assert.match(await page.textContent("[role=alert]"), /not right/, "the old password no longer works");
    await signIn(page, "finn@example.com", "another horse battery staple");
    await page.waitForURL("**/account");
    await close();
  });

  test("everything works without JavaScript and by keyboard alone", async () => {
    const { page, close } = await window({ javaScriptEnabled: false });
    await page.goto(`${url}/register`);
    // The first field that matters has the focus already.
    await page.keyboard.type("gil@example.com");
    await page.keyboard.press("Tab");
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/account");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/login?done=logout");
    await close();
  });

  test("every page is usable on a small phone and tells assistive technology what is what", async () => {
    const { page, close } = await window({ viewport: { width: 320, height: 568 } });
    await register(page, "Hal", "a-rather-long-address-that-does-not-fit@subdomain.example.com");
    for (const place of ["/account", "/register", "/login"]) {
      if (place === "/register") await page.context().clearCookies();
      await page.goto(url + place);
      const found = await page.evaluate(() => ({
        overflow: document.documentElement.scrollWidth - innerWidth,
        unlabelled: [...document.querySelectorAll("input:not([type=hidden]):not([hidden])")].filter((field) => !field.labels.length).length,
        headings: document.querySelectorAll("h1").length,
        language: document.documentElement.lang,
        autocomplete: [...document.querySelectorAll("input:not([type=hidden]):not([type=checkbox])")].every((field) => field.autocomplete),
        small: [...document.querySelectorAll("button")].filter((button) => button.getBoundingClientRect().height < 24).length,
      }));
      assert.deepEqual(found, { overflow: 0, unlabelled: 0, headings: 1, language: "en", autocomplete: true, small: 0 }, place);
    }
    await close();
  });

  test("a long name of the service leaves its mark a square", async () => {
    const long = await start("hallpass", ["serve", "--json", "--listen", "127.0.0.1:0"], {
      ready, cwd: data.folder, env: { HALLPASS__SERVICE_NAME: "Donaudampfschifffahrtsgesellschaftsmütze" },
    });
    const { page, close } = await window({ viewport: { width: 320, height: 568 } });
    await page.goto(`${long.address}/login`);
    const mark = await page.locator(".mark").boundingBox();
    assert.deepEqual([mark.width, mark.height], [32, 32]);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
    await close();
    assert.equal(await long.stop(), 0);
  });

  test("the browser's own bars take the colour of the page", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const { page, close } = await window({ colorScheme });
      await page.goto(`${url}/login`);
      const { bars, ground } = await page.evaluate(() => {
        const theme = [...document.querySelectorAll("meta[name=theme-color]")].find(({ media }) => matchMedia(media).matches);
        return { bars: theme?.content, ground: getComputedStyle(document.documentElement).getPropertyValue("--ground") };
      });
      assert.equal(bars, ground, colorScheme);
      await close();
    }
  });

  test("a user who is asked to sign in again confirms with the password alone", async () => {
    const { page, close } = await window();
    await register(page, "Jo", "jo@example.com");
    await page.goto(`${url}/login?again=1&next=/account`);
    assert.equal(await page.textContent("h1"), "Confirm it’s you");
    assert.match(await page.textContent("main"), /Signed in as jo@example\.com/);
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press("Enter");
    await page.waitForURL(`${url}/account`);
    await page.goto(`${url}/login?again=1`);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL("**/login?done=logout");
    await close();
  });

  test("borders of buttons and fields stand out from what is around them", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const { page, close } = await window({ colorScheme });
      await register(page, "Kim", `kim-${colorScheme}@example.com`);
      const account = await borders(page);
      await page.context().clearCookies();
      await page.goto(`${url}/login`);
      for (const { what, ratio } of [...account, ...(await borders(page))]) {
        assert.ok(ratio >= 3, `${colorScheme}: the border of "${what}" has a contrast of ${ratio.toFixed(2)} : 1 only (WCAG 2.2 AA wants 3)`);
      }
      await close();
    }
  });

  test("text stands out from its ground, in light and in dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const { page, close } = await window({ colorScheme });
      await register(page, "Ida", `ida-${colorScheme}@example.com`);
      const account = await contrasts(page);
      await page.context().clearCookies();
      await signIn(page, "ida@example.com", "wrong");
      for (const { text, ratio } of [...account, ...(await contrasts(page))]) {
        assert.ok(ratio >= 4.5, `${colorScheme}: "${text}" has a contrast of ${ratio.toFixed(2)} : 1 only (WCAG 2.2 AA wants 4.5)`);
      }
      await close();
    }
  });
});

/** What computes contrasts as WCAG does, for use in the page. */
const wcag = `
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (one, other) => {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
`;

/** The contrast of every text on the page with what is behind it. */
function contrasts(page) {
  return page.evaluate(`(() => { ${wcag}
    const texts = [...document.querySelectorAll("body *")].filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
    return texts.map((element) => ({ text: element.textContent.trim().slice(0, 40), ratio: ratio(rgba(getComputedStyle(element).color), ground(element)) }));
  })()`);
}

/** The contrast of each border of a button or field with what is around it, where the border is what shows its shape. */
function borders(page) {
  return page.evaluate(`(() => { ${wcag}
    const parts = [...document.querySelectorAll("button, .button, input:not([type=hidden]):not([type=checkbox]):not([hidden])")];
    const bordered = parts.filter((part) => rgba(getComputedStyle(part).borderTopColor)[3] === 255);
    // At the top of the page the ground is tinted with the accent: the strongest tint counts.
    const accent = rgba(getComputedStyle(document.documentElement).getPropertyValue("--accent"));
    const tinted = (color) => color.map((value, index) => 0.16 * accent[index] + 0.84 * value);
    return bordered.map((part) => {
      const around = ground(part.parentElement);
      const behind = part.closest(".card") ? around : tinted(around);
      return { what: part.textContent.trim() || part.name, ratio: ratio(rgba(getComputedStyle(part).borderTopColor), behind) };
    });
  })()`);
}
