// The network between a server and its database: it can be held, in one direction too, slowed and cut.

import { once } from "node:events";
import net from "node:net";

/** One direction of one connection. */
class Direction {
  constructor(from, to, isHeld, delay) {
    Object.assign(this, { from, to, isHeld, delay, waiting: 0, queue: Promise.resolve() });
    from.on("data", (chunk) => this.pass(chunk));
    from.on("end", () => (this.queue = this.queue.then(() => to.end())));
    from.on("close", () => to.destroy());
    from.on("error", () => to.destroy());
    this.obey();
  }

  /** Bytes arrive in order, each as late as the network is slow when it is sent. */
  pass(chunk) {
    const wait = this.delay();
    const write = () => this.to.destroyed || this.to.write(chunk);
    if (!wait && !this.waiting) return write();
    this.waiting += 1;
    const late = new Promise((resolve) => setTimeout(resolve, wait));
    this.queue = Promise.all([this.queue, late]).then(() => {
      this.waiting -= 1;
      write();
    });
  }

  obey() {
    if (this.isHeld()) this.from.pause();
    else this.from.resume();
  }
}

export class Proxy {
  static async to(target) {
    const proxy = new Proxy();
    Object.assign(proxy, { target, held: { requests: false, answers: false }, delay: 0, refuses: false });
    proxy.connections = new Set();
    proxy.server = net.createServer((client) => proxy.connect(client));
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  connect(client) {
    if (this.refuses) return client.destroy();
    const server = net.connect(this.target, "127.0.0.1");
    client.setNoDelay(true);
    server.setNoDelay(true);
    const delay = () => this.delay;
    const directions = [
      new Direction(client, server, () => this.held.requests, delay),
      new Direction(server, client, () => this.held.answers, delay),
    ];
    const connection = { client, server, directions };
    this.connections.add(connection);
    client.on("close", () => this.connections.delete(connection));
  }

  /** What is held arrives later, as it does when packets are lost until the network is back. */
  hold({ requests = false, answers = false }) {
    this.held = { requests, answers };
    for (const { directions } of this.connections) directions.forEach((direction) => direction.obey());
  }

  slow(milliseconds) {
    this.delay = milliseconds;
  }

  cut() {
    for (const { client, server } of this.connections) {
      client.resetAndDestroy();
      server.destroy();
    }
  }

  /** New connections go to another server; the old ones break. */
  lead(target) {
    this.target = target;
    this.cut();
  }

  close() {
    this.cut();
    this.server.close();
  }
}
