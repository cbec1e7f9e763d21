// What clients were told, and what of it was not so.

/** How long after an acknowledged end a server may still accept the session: `session.max_staleness` and some room. */
const BOUND = 1_500;

const KINDS = ["lost", "resurrected", "lostChanges", "wrong404", "wrong409", "half"];

/** One session as its client knows it. */
class Session {
  constructor(name, cookie) {
    Object.assign(this, { name, cookie, state: "live", endedAt: Infinity });
  }
}

export class History {
  /** `isAmbiguous`: the fault may swallow the answer to a change that has happened. */
  constructor(isAmbiguous = false) {
    this.isAmbiguous = isAmbiguous;
    this.acknowledged = 0;
    this.refused = 0;
    this.sessions = [];
    /** The name of each account that was acknowledged last, or several that are possible. */
    this.names = new Map();
    this.faults = [];
  }

  /** A server contradicts what was acknowledged. */
  blame(kind, text) {
    this.faults.push({ kind, text });
  }

  count(kind) {
    return this.faults.filter((fault) => fault.kind === kind).length;
  }

  summary() {
    return Object.fromEntries(KINDS.map((kind) => [kind, this.count(kind)]));
  }

  note(answer) {
    if (answer.status === 0 || answer.status >= 500) this.refused += 1;
    else this.acknowledged += 1;
    if (answer.status >= 500 && answer.cookie) this.blame("half", `a ${answer.status} set a cookie`);
    return answer;
  }

  opened(name, cookie) {
    const session = new Session(name, cookie);
    this.sessions.push(session);
    return session;
  }

  /** The end of a session was asked for. */
  ending(session, answer) {
    if (answer.status === 200) {
      session.state = "ended";
      session.endedAt = Math.min(session.endedAt, Date.now());
    } else if (session.state === "live") session.state = "unknown";
  }

  /** What a server says of a session; `sent` is when it was asked. */
  seen(session, answer, where) {
    if (answer.status === 401 && session.state === "live") {
      this.blame("lost", `${session.name}: 401 at ${where}, and nobody ended the session`);
    }
    if (answer.status === 200 && session.state === "ended" && answer.sent > session.endedAt + BOUND) {
      const late = answer.sent - session.endedAt;
      this.blame("resurrected", `${session.name}: 200 at ${where}, ${late} ms after its end was acknowledged`);
    }
  }
}
