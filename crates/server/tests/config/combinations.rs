//! Settings that do not fit each other.

use super::told;

#[test]
fn combinations_that_cannot_work_are_refused() {
    for (config, expected) in [
        ("[session]\nsame_site = \"none\"", "none needs csrf.mode = \"token\""),
        (
            "[csrf]\nmode = \"token\"\n[session]\nsame_site = \"none\"",
            "needs secure = on, or browsers drop the cookie (give an https public_url)",
        ),
        ("[session]\npartitioned = true", "give an https public_url"),
        (
            "public_url = \"https://a.example.com\"\n[session]\ncookie_name = \"__Host-x\"\ncookie_domain = \"example.com\"",
            "a __Host- cookie has no domain",
        ),
        ("[session]\nidle_timeout = \"60d\"", "idle_timeout must not be longer than absolute_timeout"),
        ("[session]\nclear_site_data = [\"everything\"]", "none of cache, cookies, storage"),
        ("[pages]\ntemplates = \"/does/not/exist\"", "is no folder"),
        ("public_url = \"https://a.example.com/app?x\"", "has no query"),
        ("public_url = \"https://a.example.com/a;b\"", "its path may hold letters"),
        ("public_url = \"https://a.example.com/a//b\"", "its path may hold letters"),
        ("allowed_hosts = [\"https://a.example.com\"]", "is no host; write auth.example.com without scheme"),
        ("[server]\nwrite_timeout = \"1ms\"", "server.write_timeout: must be at least 100ms"),
        ("[server]\nreceive_memory = \"1KiB\"", "server.receive_memory: must be at least 1MiB"),
        ("[server]\nmax_connections = 0", "from 1 to 1000000"),
        ("[password]\nmax_length = 20", "from 64 to 4096"),
        ("[throttle]\naccount = 3", "write [throttle.account]"),
        ("session = 3", "write [session]"),
        ("listen = [", "line 1"),
        (
            "[cors]\norigins = [\"https://a.test\"]\nallowed_headers = [\"*\"]",
            "cors.allowed_headers: * means nothing",
        ),
        ("[cors]\nmethods = [\"*\"]", "cors.methods: * means nothing"),
        ("[password]\nmax_waiting = 70000", "password.max_waiting: must be from 1 to 65536"),
        ("[session]\nabsolute_timeout = \"11years\"", "session.absolute_timeout: must be at most 3650d"),
        (
            "[session]\nremember_for = \"401d\"",
            "session.remember_for: must be longer than zero, and at most 400d",
        ),
        (
            "public_url = \"https://a.example.com\"\n[session]\ncookie_domain = \"other.com\"",
            "session.cookie_domain: must be the host of public_url or a domain above it",
        ),
        ("database = \"mysql://x\"", "is of no kind this program knows; write sqlite:PATH"),
        ("database = \"redis://x\"", "Redis keeps sessions, not accounts"),
        ("[users]\nlogin = \"username\"", "users.login: does nothing without users.collection"),
        (
            "[users]\ntable = \"a\"\ncollection = \"b\"",
            "users.table: is a table, users.collection one of MongoDB",
        ),
        ("[users]\ncollection = \"a\"", "users.collection: sqlite:hallpass.db has tables; write users.table"),
        ("database = \"mongodb://x\"\n[users]\ntable = \"a\"", "users.table: MongoDB has collections"),
        ("[users]\ntable = \"a\"", "users.table: the application's file is no place for our own tables"),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:hallpass.db\"",
            "users.url: the application's file is no place",
        ),
        (
            "database = \"postgres://x\"\n[users]\ntable = \"users\"",
            "Hallpass makes a table \"users\" of its own here",
        ),
        ("[users]\ntable = \"a\"\nurl = \"redis://x\"", "users.url: Redis keeps no accounts"),
        ("[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nschema = \"b\"", "users.schema: only PostgreSQL"),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nids = \"uuid\"",
            "users.ids: only MongoDB needs it",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nrole = \"r\"\nroles = \"s\"",
            "users.role: and users.roles cannot both",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nenabled = \"r\"\ndisabled = \"s\"",
            "users.enabled: and users.disabled",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\npassword_format = \"argon2id\"",
            "name a field for the session epoch",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nbcrypt_cost = 3",
            "bcrypt costs from 4 to 14, not 3",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nname = \"email\"",
            "\"email\" cannot be the login and the name at once",
        ),
        (
            "[moving]\nfrom = \"sqlite:old.db\"\n[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"",
            "moving.from: would bring accounts into another application's table",
        ),
        ("[store]\nconnections = 0", "store.connections: must be from 1 to 1000"),
        ("database = \"sqlite::memory:\"", "is no path to a file; write sqlite:PATH"),
    ] {
        let printed = told(config);
        assert!(printed.contains(expected), "expected {expected:?} in:\n{printed}");
    }
    let good = told(
        "public_url = \"https://a.example.com\"\n[csrf]\nmode = \"token\"\n[session]\nsame_site = \"none\"",
    );
    assert!(good.contains("session.same_site"), "{good}");
}

#[test]
fn layouts_that_cannot_be_and_options_that_nobody_heeds_are_told() {
    for (config, expected) in [
        ("[session]\nlayout = \"connect\"", "session.layout: sessions in SQLite have the native layout"),
        (
            "sessions = \"redis://x\"\n[session]\nlayout = \"connect\"\n[connect.mongo]\nstringify = false",
            "connect.mongo.stringify: is only for sessions that are shared with connect-mongo",
        ),
        ("[connect]\nuser_path = \"a\"", "connect.user_path: is only for sessions that are shared"),
        (
            "[connect.mongo]\ncrypto = \"kruptein\"\ncrypto_salt = \"s\"",
            "connect.mongo.crypto_salt: is only for connect.mongo.crypto = \"webcrypto\"",
        ),
        ("[connect.mongo]\ncrypto = \"webcrypto\"", "connect.mongo.crypto_secret: is empty"),
        ("[connect.mongo]\ncrypto_secret = \"hunter2\"", "connect.mongo.crypto_secret: is only for"),
        (
            "[connect.mongo]\nauto_remove_interval = \"5m\"",
            "is only for connect.mongo.auto_remove = \"interval\"",
        ),
        ("[connect.mongo]\ntransform_id = \"prefix\"", "connect.mongo.transform_prefix: is empty"),
        ("[connect.pg]\ncolumn_names = [\"a\", \"a\", \"b\"]", "are three different names"),
        ("[connect.redis]\nttl = \"0s\"", "connect.redis.ttl: must be at least 1s"),
        ("[connect.redis]\nprefix = \"hallpass:\"", "must not begin with hallpass:"),
        ("[connect.redis]\nprefx = \"x\"", "did you mean connect.redis.prefix?"),
        ("[moving]\nlayout = \"connect\"", "moving.layout: is only for a move"),
        ("[moving]\nfrom = \"sqlite:hallpass.db\"", "moving.from: is where sessions are kept already"),
        (
            "sessions = \"redis://x\"\n[moving]\nfrom = \"sqlite:hallpass.db\"",
            "moving.from: is where accounts are kept already; give moving.sessions_only = true",
        ),
    ] {
        let printed = told(config);
        assert!(printed.contains(expected), "expected {expected:?} of\n{config}\nin:\n{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
    for config in [
        "sessions = \"redis://x\"\n[session]\nlayout = \"connect\"\n[connect.redis]\nprefix = \"\"\ndisable_touch = true",
        "database = \"postgres://x\"\n[moving]\nfrom = \"mongodb://y\"\nlayout = \"connect\"\n[connect.mongo]\ncrypto = \"kruptein\"\ncrypto_secret = \"hunter2\"",
        "database = \"mongodb://y\"\n[moving]\nfrom = \"mongodb://y\"\nlayout = \"connect\"",
    ] {
        let printed = told(config);
        assert!(!printed.contains("cannot be used") && !printed.contains("hunter2"), "{config}:\n{printed}");
    }
}
