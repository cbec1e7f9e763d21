// People who register, sign in, look at their account, change it and sign out, at two servers by turns.

import { createHash } from "node:crypto";
import { PASSWORD } from "./hallpass.mjs";

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const isUnknown = (answer) => answer.status === 0 || answer.status >= 500;

/** What a list of sessions calls the one of this cookie. */
function handleOf(cookie) {
  const id = decodeURIComponent(cookie.split("=")[1]).slice(2).split(".")[0];
  return createHash("sha256").update(id).digest("hex").slice(0, 32);
}

let people = 0;

export class Client {
  constructor(servers, history, stop) {
    Object.assign(this, { servers, history, stop });
  }

  async run() {
    while (!this.stop.now) await this.round();
  }

  async ask(method, url, options) {
    const server = pick(this.servers);
    const answer = this.history.note(await server.ask(method, url, options));
    if (isUnknown(answer)) await pause(30);
    return { ...answer, where: server.base, kind: server.kind };
  }

  /** Asks again until there is an answer or the run is over. */
  async insist(method, url, options) {
    for (;;) {
      const answer = await this.ask(method, url, options);
      if (!isUnknown(answer) || this.stop.now) return answer;
    }
  }

  async round() {
    const name = `person${(people += 1)}`;
    const first = await this.register(name);
    if (!first) return;
    await this.look(first);
    await this.rename(name, first);
    const second = await this.signIn(name);
    if (!second) return;
    await this.end(name, first, second);
    await this.look(first);
    await this.look(second);
  }

  async register(name) {
    const body = { email: `${name}@example.com`, password: PASSWORD, name: "0" };
    let said503 = false;
    let unheard = false;
    while (!this.stop.now) {
      const answer = await this.ask("POST", "/auth/register", { body });
      if (answer.status === 201) {
        this.history.names.set(name, new Set(["0"]));
        return answer.cookie ? this.history.opened(name, answer.cookie) : this.signIn(name);
      }
      if (answer.status === 409) {
        if (said503 && !unheard && !this.history.isAmbiguous) this.history.blame("half", `${name}: 409 after a 503`);
        if (!said503 && !unheard) this.history.blame("wrong409", `${name}: 409 at ${answer.where} for a new address`);
        this.history.names.set(name, new Set(["0"]));
        return this.signIn(name);
      }
      said503 ||= answer.status >= 500;
      unheard ||= answer.status === 0;
    }
    return null;
  }

  async signIn(name) {
    const body = { email: `${name}@example.com`, password: PASSWORD };
    const answer = await this.insist("POST", "/auth/login", { body });
    if (answer.status === 200) return this.history.opened(name, answer.cookie);
    if (answer.status < 500 && answer.status > 0) {
      this.history.blame("lostChanges", `${name}: sign-in ${answer.status} ${answer.json.code} at ${answer.where}`);
    }
    return null;
  }

  async look(session) {
    const answer = await this.ask("GET", "/auth/me", { cookie: session.cookie });
    this.history.seen(session, answer, answer.where);
    return answer;
  }

  async rename(name, session) {
    const possible = this.history.names.get(name);
    const next = String(Math.random());
    possible.add(next);
    const answer = await this.ask("PATCH", "/auth/me", { cookie: session.cookie, body: { name: next } });
    if (answer.status === 200) this.history.names.set(name, new Set([next]));
    this.history.seen(session, answer, answer.where);
  }

  /** Ends the first session by signing out, or from the second one; again if the outcome is unknown. */
  async end(name, first, second) {
    if (Math.random() < 0.5) {
      const answer = await this.insist("POST", "/auth/logout", { cookie: first.cookie });
      this.history.ending(first, answer);
      return;
    }
    const listed = await this.insist("GET", "/auth/sessions", { cookie: second.cookie });
    this.history.seen(second, listed, listed.where);
    const handle = handleOf(first.cookie);
    if (!listed.json.sessions?.some((session) => session.handle === handle)) {
      // Beside Express a list may lack for a minute what another server opened (docs/stores.md).
      if (listed.status === 200 && first.state === "live" && listed.kind === "server") {
        this.history.blame("lost", `${name}: the list of sessions at ${listed.where} lacks one`);
      }
      return;
    }
    const again = first.state !== "live";
    const answer = await this.ask("DELETE", `/auth/sessions/${handle}`, { cookie: second.cookie });
    if (answer.status === 404 && !again) this.history.blame("wrong404", `${name}: 404 at ${answer.where}`);
    this.history.ending(first, answer);
  }
}

/** Somebody who is signed in before the fault and signs out during it, again and again until it is acknowledged. */
export class Leaver extends Client {
  async arrive() {
    this.session = await this.register(`leaver${(people += 1)}`);
    return this;
  }

  async leave() {
    const answer = await this.insist("POST", "/auth/logout", { cookie: this.session.cookie });
    this.history.ending(this.session, answer);
    await this.look(this.session);
  }
}

/** Asks both servers for everything that was acknowledged. */
export async function verify(servers, history) {
  const persist = async (server, cookie) => {
    for (let tries = 0; ; tries += 1) {
      const answer = await server.ask("GET", "/auth/me", { cookie });
      if (!isUnknown(answer) || tries === 50) return answer;
      await pause(100);
    }
  };
  for (const session of history.sessions) {
    for (const server of servers) {
      const answer = await persist(server, session.cookie);
      if (isUnknown(answer)) history.blame("lost", `${session.name}: ${server.base} does not answer any more`);
      history.seen(session, answer, server.base);
      const names = history.names.get(session.name);
      if (answer.status === 200 && !names.has(answer.json.user.name)) {
        history.blame("lostChanges", `${session.name}: the name is not the one acknowledged`);
      }
    }
  }
}
