//! The settings of what HTTP clients, the log and a move of stores meet.

use super::schema::{
    Kind::{Choice, Duration as Time, Flag, List, Number, Size, Text, Url},
    Setting, setting,
};

pub(super) const WEB: &[Setting] = &[
    setting(
        "cors.origins",
        List,
        "",
        "Origins whose scripts may call the API: `https://app.example.com`, `https://*.example.com` for all hosts below it, a pattern `/https:\\/\\/[a-z]+\\.example\\.com/`, or `*`. Empty: none.",
    ),
    setting(
        "cors.credentials",
        Flag,
        "true",
        "Whether they may do so with the session cookie. Not possible with `*`.",
    ),
    setting("cors.methods", List, "GET,HEAD,PUT,PATCH,POST,DELETE", "Methods they may use."),
    setting(
        "cors.allowed_headers",
        List,
        "",
        "Headers they may send. Empty: whatever the preflight asks for.",
    ),
    setting("cors.exposed_headers", List, "", "Response headers their scripts may read."),
    setting("cors.max_age", Time, "5s", "How long browsers remember a preflight."),
    setting(
        "csrf.mode",
        Choice(&["origin", "token"]),
        "origin",
        "`origin`: changes must come from this site or a trusted origin (`Origin`, `Sec-Fetch-Site`, else `Referer`). `token`: they must also carry the session's token from `GET /auth/csrf`.",
    ),
    setting(
        "csrf.trusted_origins",
        List,
        "",
        "Other origins that may make changes; those of `cors.origins` with credentials may anyway.",
    ),
    setting(
        "pages.templates",
        Text,
        "",
        "A folder whose files replace the built-in page templates of the same name.",
    ),
    setting(
        "log.level",
        Text,
        "info",
        "What is logged: `error`, `warn`, `info`, `debug`, or directives such as `info,hallpass_auth=debug`.",
    ),
    setting(
        "log.format",
        Choice(&["auto", "text", "json"]),
        "auto",
        "`auto`: text on a terminal, else JSON.",
    ),
    setting(
        "clock.max_deviation",
        Time,
        "5s",
        "How far this machine's clock may differ from the database's, or jump, before that is logged, `/readyz` says so, and this server stops removing what has expired. 100ms to 1d; raise it to end the doubt about a clock that is right.",
    ),
    setting(
        "clock.not_ready_beyond",
        Time,
        "10m",
        "How far this machine's clock may differ from the database's before `/readyz` says 503. `0s`: it never does.",
    ),
    setting(
        "moving.from",
        Url,
        "",
        "The stores that everything is being moved from: what is not yet in the new ones is fetched there. See `hallpass migrate`.",
    ),
    setting(
        "moving.layout",
        Choice(&["native", "connect"]),
        "native",
        "How sessions are stored there; of `connect`, sessions alone are moved.",
    ),
    setting("moving.sessions_only", Flag, "false", "Only sessions are moved; accounts stay where they are."),
    setting(
        "server.request_timeout",
        Time,
        "15s",
        "How long a request's body may take to arrive, and then the answer to be made.",
    ),
    setting("server.header_timeout", Time, "10s", "How long a client may take to send a request's head."),
    setting(
        "server.keep_alive_timeout",
        Time,
        "25s",
        "How long a connection may stay open between two requests. Trusted proxies have at least 190s, so that they close it first.",
    ),
    setting(
        "server.write_timeout",
        Time,
        "10s",
        "How long a client may leave an answer unread; then its connection is closed. Reading less than 512 bytes a second counts as not reading.",
    ),
    setting(
        "server.max_connections",
        Number,
        "10000",
        "Connections at once. A further one gets 503, but `/healthz` and `/readyz` are answered.",
    ),
    setting(
        "server.max_connections_per_client",
        Number,
        "0",
        "Connections of one client address at once (IPv6: one /64); 0: a quarter of `server.max_connections`. Trusted proxies have no such limit.",
    ),
    setting(
        "server.receive_memory",
        Size,
        "64MiB",
        "Memory for unfinished requests of all connections together, beyond 8 KiB each; one client address gets a quarter. When it is used up, requests with a body get 503, and connections with an unfinished head are closed.",
    ),
    setting(
        "server.drain_delay",
        Time,
        "0s",
        "After SIGTERM, how long new connections are still accepted while /readyz says 503, so that a load balancer can notice.",
    ),
    setting(
        "server.drain_timeout",
        Time,
        "8s",
        "After that, how long requests in flight may take to finish.",
    ),
];
