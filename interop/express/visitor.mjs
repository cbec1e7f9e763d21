// A browser that visits Express and Hallpass with the one cookie both set.

import assert from "node:assert/strict";
import { send } from "./sides.mjs";

const NAME = "connect.sid";

const ascii = (script) => JSON.stringify(script).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

export class Visitor {
  constructor({ express, hallpass, userPath }) {
    Object.assign(this, { servers: { express, hallpass }, userPath });
  }

  /** Another request of the same browser, at the same time. */
  copy() {
    const { express, hallpass } = this.servers;
    const copy = new Visitor({ express, hallpass, userPath: this.userPath });
    copy.cookie = this.cookie;
    return copy;
  }

  get sid() {
    return decodeURIComponent(this.cookie.split("=")[1]).slice(2).split(".")[0];
  }

  async #visit(server, script) {
    const headers = { "x-script": ascii(script) };
    if (this.cookie) headers.cookie = this.cookie;
    const answer = await send(this.servers[server].base, { method: "POST", url: "/x", headers });
    assert.equal(answer.status, 200, `${server} answers ${answer.status} ${answer.body} to ${ascii(script)}`);
    const set = (answer.headers["set-cookie"] ?? []).find((line) => line.startsWith(`${NAME}=`));
    if (set) this.cookie = /Expires=Thu, 01 Jan 1970/.test(set) ? undefined : set.split(";")[0];
    return JSON.parse(answer.body);
  }

  /** Runs a script on Express; its report. */
  express(...script) {
    return this.#visit("express", script);
  }

  /** Runs a script on Hallpass; its report. */
  hallpass(...script) {
    return this.#visit("hallpass", script);
  }

  async logInAtExpress(user) {
    if (this.userPath === "userId") await this.express(["regenerate"], ["set", "userId", user]);
    else assert.deepEqual((await this.express(["login", user, {}])).results, ["ok"]);
  }

  async logOutAtExpress() {
    const script = this.userPath === "userId" ? [["destroy"]] : [["logout", {}], ["destroy"]];
    await this.express(...script);
  }

  /** Whom Express takes this visitor for. */
  async userAtExpress() {
    const seen = await this.express();
    return this.userPath === "userId" ? seen.session?.userId : seen.user?.id;
  }
}
