// Plays a case against one side and writes down everything that can be seen from outside, in a form that two sides share: ids become
// labels in the order in which they appear, times become seconds from the answer.

import { createHmac } from "node:crypto";
import { Binary, Double, Int32, Long, ObjectId } from "mongodb";
import { send } from "./sides.mjs";

const YEAR = 365 * 86400;

const hmac = (sid, secret) => createHmac("sha256", secret).update(sid).digest("base64").replace(/=+$/, "");

/** The cookie value of an id, as express-session signs it. */
export const signed = (sid, secret) => encodeURIComponent(`s:${sid}.${hmac(sid, secret)}`);

/** What an answer is known by; other headers are the framework's. */
const HEADERS = /^(location|vary|x-a|access-control-.*)$/;

class Names {
  #sids = new Map();

  label(sid) {
    if (!this.#sids.has(sid)) this.#sids.set(sid, `<id${this.#sids.size + 1}>`);
    return this.#sids.get(sid);
  }

  text(text, at) {
    return text
      .replace(/(?:[+-]\d\d)?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, (time) => moment(new Date(time), at) ?? time)
      .replace(/"originalMaxAge":(-?\d+)(?:\.\d+)?/g, (_, ms) => `"originalMaxAge":${around("ms", ms / 1000)}`)
      .replace(/(?<![\w-])[\w-]{32}(?![\w-])/g, (sid) => this.label(sid));
  }

  value(value, at, key) {
    if (value === null || value === undefined) return null;
    if (value instanceof Date) return { date: moment(value, at) ?? String(value.getTime()) };
    if (value instanceof ObjectId) return { objectId: value.toHexString() };
    if (value instanceof Binary) return { binary: value.toString("base64") };
    if (value instanceof Long || value instanceof Double || value instanceof Int32) return this.value(Number(value), at, key);
    if (typeof value === "number" && (key === "originalMaxAge" || key === "ms")) return around("ms", value / 1000);
    if (typeof value === "string") return this.text(value, at);
    if (Array.isArray(value)) return value.map((one) => this.value(one, at));
    if (typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [this.text(name, at), this.value(one, at, name)]));
  }
}

const around = (unit, seconds) => `<${unit} ${Number(seconds).toFixed(1)}>`;

/** Seconds from the answer; `undefined` for times long past, and for those that are none. */
function moment(date, at, unit = "in") {
  const seconds = (date - at) / 1000;
  return seconds > -YEAR ? around(unit, seconds) : undefined;
}

function setCookie(line, names, at, { name = "connect.sid", secret = [] }) {
  const [pair, ...attributes] = line.split("; ");
  const equals = pair.indexOf("=");
  const seen = { name: pair.slice(0, equals), value: pair.slice(equals + 1) };
  const value = decodeURIComponent(seen.value);
  if (seen.name === name && value.startsWith("s:")) {
    const sid = value.slice(2, value.lastIndexOf("."));
    const by = [secret].flat().findIndex((one) => signed(sid, one) === seen.value);
    seen.value = names.text(sid, at);
    seen.signedBy = by;
  }
  const attribute = (one) => one.replace(/^Expires=(.*)$/, (_, date) => `Expires=${moment(new Date(date), at, "date") ?? date}`);
  return [seen, ...attributes.map(attribute)];
}

class Player {
  names = new Names();
  jar = new Map();
  kept = new Map();

  constructor(side, config) {
    Object.assign(this, { side, config, eye: side.eye(config) });
  }

  get cookieName() {
    return this.config.session?.name ?? "connect.sid";
  }

  /** `{{jar}}`: the value as the browser has it; `{{sid}}`, `{{signature}}`: its parts; `{{plain}}`: not percent-encoded; `{{sign SID SECRET}}`; `{{kept NAME}}`. */
  fill(template) {
    const value = this.jar.get(this.cookieName) ?? "";
    const plain = decodeURIComponent(value);
    const dot = plain.lastIndexOf(".");
    const known = { jar: value, plain, sid: plain.slice(2, dot), signature: plain.slice(dot + 1) };
    return template.replace(/\{\{(\w+)(?: (\S+))?(?: (\S+))?\}\}/g, (_, what, one, two) => {
      if (what === "sign") return signed(one === "sid" ? known.sid : one, two);
      if (what === "kept") return this.kept.get(one) ?? "";
      return known[what];
    });
  }

  request({ do: line = "GET /", script, headers = {}, cookies = "jar", body, patience = this.side.patience }) {
    const [method, url] = line.split(" ");
    const all = { ...headers };
    const sent = [...this.jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const cookie = cookies === "jar" ? sent : cookies !== "none" && this.fill(cookies);
    if (cookie) all.cookie = cookie;
    if (script) {
      all["x-script"] = JSON.stringify(script).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
    }
    if (body !== undefined) all["content-type"] = "application/json";
    // Some requests express-session never answers; for those one waits only where a case says so.
    return send(this.side.base, { method, url, headers: all, body: body === undefined ? undefined : JSON.stringify(body) }, patience);
  }

  /** As a browser that goes by names alone. */
  keep({ headers = {} }) {
    for (const line of headers["set-cookie"] ?? []) {
      const [pair] = line.split(";");
      const equals = pair.indexOf("=");
      if (/Expires=Thu, 01 Jan 1970/.test(line)) this.jar.delete(pair.slice(0, equals));
      else this.jar.set(pair.slice(0, equals), pair.slice(equals + 1));
    }
  }

  seen(answer) {
    if (answer.hangs) return { hangs: true };
    const seen = { status: answer.status };
    const headers = Object.entries(answer.headers).filter(([name]) => HEADERS.test(name));
    if (headers.length > 0) seen.headers = Object.fromEntries(headers.sort());
    const cookies = answer.headers["set-cookie"] ?? [];
    seen.setCookie = cookies.map((line) => setCookie(line, this.names, answer.at, this.config.session ?? {}));
    seen.body = this.body(answer);
    return seen;
  }

  body({ body, at }) {
    let parsed;
    try {
      parsed = JSON.parse(body);
    } catch {
      return this.names.text(body, at);
    }
    return this.names.value(parsed, at);
  }

  async stored(at) {
    const rows = await this.eye.rows();
    // Ids that no answer has shown yet get their label in an order that does not depend on chance.
    const blind = new Names();
    const order = rows.map((row) => [JSON.stringify(blind.value({ ...row, id: row.id.replace(/[\w-]{32}/, "") }, at)), row]);
    order.sort(([one], [two]) => (one < two ? -1 : one > two ? 1 : 0));
    const named = order.map(([, row]) => this.names.value(row, at));
    return named.sort((one, two) => (one.id < two.id ? -1 : 1));
  }

  async step(step) {
    if (step.put) return void (await this.eye.put(step.put));
    if (step.remove) return void (await this.eye.remove(this.fill(step.remove)));
    if (step.sleep) return void (await new Promise((resolve) => setTimeout(resolve, step.sleep)));
    if (step.fail) return void (await this.side.control("fail", step.fail));
    if (step.emit) return void (await this.side.control("emit", { event: step.emit }));
    if (step.delay) return void (await this.side.control("delay", step.delay));
    if (step.configure) return this.configure(step.configure);
    const together = step.together ?? [step];
    const answers = await Promise.all(
      together.map(async (one) => {
        if (one.after) await new Promise((resolve) => setTimeout(resolve, one.after));
        return this.request(one);
      }),
    );
    const seen = answers.map((answer) => this.seen(answer));
    if (step.keepAs) this.kept.set(step.keepAs, this.jar.get(this.cookieName));
    answers.forEach((answer) => this.keep(answer));
    const asked = await this.side.control("ops");
    const stored = await this.stored(answers.at(-1).at);
    return step.together ? { answers: seen, asked: asked.sort(), stored } : { ...seen[0], asked, stored };
  }

  async configure({ session = {}, ...others }) {
    this.config = { ...this.config, ...others, session: { ...this.config.session, ...session } };
    await this.side.control("config", this.config);
  }
}

/** What is seen at each request of a case. */
export async function play(side, { config, steps }) {
  const player = new Player(side, config);
  await player.eye.clear();
  await side.control("config", config);
  const seen = [];
  for (const step of steps) {
    const one = await player.step(step);
    if (one) seen.push(one);
    if (one?.hangs) break;
  }
  return seen;
}

/** So much may two clocks, or two loads of the machine, differ. HTTP dates and PostgreSQL's ends are whole seconds. */
const TOLERANCE = 2.1;
const TIME = /<(in|ms|date) (-?\d+\.\d)>/g;

function sameText(one, two) {
  if (one.replace(TIME, "<$1>") !== two.replace(TIME, "<$1>")) return false;
  const times = [one, two].map((text) => [...text.matchAll(TIME)].map(([, , seconds]) => Number(seconds)));
  return times[0].every((seconds, at) => Math.abs(seconds - times[1][at]) <= TOLERANCE);
}

/** The first difference between what two sides showed, as `[path, one, two]`. */
export function difference(one, two, at = "") {
  if (typeof one === "string" && typeof two === "string") return sameText(one, two) ? null : [at, one, two];
  if (!one || !two || typeof one !== "object" || typeof two !== "object") return one === two ? null : [at, one, two];
  if (Array.isArray(one) !== Array.isArray(two)) return [at, one, two];
  if (Array.isArray(one) && one.length !== two.length) return [at, one, two];
  // The order of keys counts: it is the order in which things are stored.
  const keys = [Object.keys(one), Object.keys(two)];
  if (keys[0].join() !== keys[1].join()) return [at, one, two];
  for (const key of keys[0]) {
    const found = difference(one[key], two[key], `${at}/${key}`);
    if (found) return found;
  }
  return null;
}
