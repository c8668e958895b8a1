//! Tables of good and bad configurations. Every text that is shown is searched for secrets.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::given::Given;
use super::*;
use crate::auth::token::KeyError;
use crate::limits::{EDIT_FOR_EVER_S, NAME_BYTES_MAX};

const SECRET: &str = "hunter2-9GkXo0fXcQm1mUqv3T2bJ7yqkq8WcR5hZ4nVtA6s";

/// The public key of RFC 8032's first test, so that nobody needs to look for its private half.
const ED_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// A start with a file, an environment and flags, all pretended.
#[derive(Default)]
struct Start<'a> {
    file: Option<&'a str>,
    variables: &'a [(&'a str, &'a str)],
    set: &'a [&'a str],
    named: &'a [(&'static str, &'static str, &'a str)],
}

impl Start<'_> {
    fn load(&self) -> Result<Config, String> {
        self.load_all().map(|loaded| loaded.config)
    }

    fn load_all(&self) -> Result<Loaded, String> {
        let read = |path: &Path| match path.to_str() {
            Some("c.toml") => Ok(self.file.unwrap_or_default().to_owned()),
            Some("ed.pem" | "./a=b.pem") => Ok(ED_PEM.to_owned()),
            Some("text.pem") => Ok("no key".to_owned()),
            Some("words.txt") => Ok("# animals\n\ncat\nD\u{f6}g\n".to_owned()),
            Some("bad.txt") => Ok(format!("cat\n\nd\u{0}g\n{}\n", "x".repeat(300))),
            Some("bytes.txt") => Err(io::ErrorKind::InvalidData.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let variables: Vec<(OsString, OsString)> =
            self.variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let flags = Flags {
            config: self.file.map(|_| "c.toml".into()),
            set: self.set.iter().map(ToString::to_string).collect(),
            named: self
                .named
                .iter()
                .map(|(key, flag, value)| (*key, *flag, (*value).to_owned()))
                .collect(),
        };
        let loaded = Config::load(&flags, &Surroundings { variables: &variables, read: &read });
        loaded.map_err(|problems| {
            let text = problems.to_string();
            assert!(!text.contains("hunter2"), "a secret is shown: {text}");
            assert!(
                !format!("{problems:?}").contains("hunter2"),
                "a secret is shown: {problems:?}"
            );
            text
        })
    }

    /// That exactly these problems are found, in this order.
    #[track_caller]
    fn check(&self, expected: &[&str]) {
        let text = self.load().expect_err("there should be problems");
        let found: Vec<&str> =
            text.lines().skip(1).map(|line| line.strip_prefix("  ").unwrap()).collect();
        assert_eq!(found.len(), expected.len(), "{text}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "\n   found: {found}\nexpected: {expected}");
        }
    }
}

#[track_caller]
fn from_file(file: &str) -> Config {
    Start { file: Some(file), ..Start::default() }.load().unwrap()
}

#[track_caller]
fn check_file(file: &str, expected: &[&str]) {
    Start { file: Some(file), ..Start::default() }.check(expected);
}

#[track_caller]
fn from_set(set: &[&str]) -> Config {
    Start { set, ..Start::default() }.load().unwrap()
}

#[track_caller]
fn check_set(set: &[&str], expected: &[&str]) {
    Start { set, ..Start::default() }.check(expected);
}

#[test]
fn without_any_source_the_defaults_stand_and_fit_together() {
    assert_eq!(from_set(&[]), Config::default());
    assert_eq!(from_file(""), Config::default());
}

#[test]
fn every_default_is_allowed_where_it_stands() {
    for key in keys::ALL {
        let default = keys::default_text(key);
        if !default.is_empty() {
            let setting = format!("{}={default}", key.name);
            let mut expected = Config::default();
            // Setting the guests' default is a choice, and the same one.
            expected.auth.guests = true;
            assert_eq!(from_set(&[&setting]), expected, "{setting}");
        }
    }
}

#[test]
fn later_sources_count_more() {
    let start = |variables, set, named| {
        let file = Some("shards = 1\n[limits]\nidle_ms = 1_001\nhandshake_ms = 101\n");
        let config = Start { file, variables, set, named }.load().unwrap();
        (config.shards, config.limits.idle_ms, config.limits.handshake_ms)
    };
    let variables = [("CHINWAG_SHARDS", "2"), ("CHINWAG_LIMITS__IDLE_MS", "1002")];
    assert_eq!(start(&[], &[], &[]), (1, 1_001, 101));
    assert_eq!(start(&variables, &[], &[]), (2, 1_002, 101));
    assert_eq!(start(&variables, &["shards=3", "shards=4"], &[]), (4, 1_002, 101));
    assert_eq!(start(&variables, &["shards=3"], &[("shards", "--shards", "5")]), (5, 1_002, 101));
}

#[test]
fn a_file_may_use_all_of_toml() {
    let config =
        from_file("listen = '[::1]:0' # a free port\necho = true\nlimits.publish_per_s = 0\n");
    assert!(config.echo);
    assert_eq!((config.listen.port(), config.limits.publish_per_s), (0, 0));
    let config = from_file(
        "limits = { rooms = 0x10, idle_ms = 60_000 }\nhttp.origins = 'https://a.example'\n",
    );
    assert_eq!((config.limits.rooms, config.limits.idle_ms), (16, 60_000));
    assert_eq!(config.http.origins, ["https://a.example"]);
    let config = from_file(
        "[http]\norigins = ['https://a.example', 'http://b.example:8080']\n[limits]\n[log]\nlevel='debug'",
    );
    assert_eq!(config.http.origins.len(), 2);
    assert_eq!(config.log.level, tracing::Level::DEBUG);
}

#[test]
fn a_time_without_an_end_is_another_one_than_none() {
    for (set, edit_s) in [("-1", EDIT_FOR_EVER_S), ("0", 0), ("60", 60)] {
        assert_eq!(from_file(&format!("chat.edit_s = {set}")).chat.edit_s, edit_s);
        assert_eq!(from_set(&[&format!("chat.edit_s={set}")]).chat.edit_s, edit_s);
    }
}

#[test]
fn variables_and_flags_are_read_as_the_key_needs_it() {
    let variables = [
        ("CHINWAG_HTTP__ORIGINS", "https://a.example, tauri://localhost"),
        ("CHINWAG_LIMITS__CONNECTIONS", "1_000"),
        ("CHINWAG_AUTH__GUESTS", "false"),
        ("CHINWAG_AUTH__SECRET", SECRET),
        ("HOME", "/"),
    ];
    let config = Start { variables: &variables, ..Start::default() }.load().unwrap();
    assert_eq!(config.http.origins, ["https://a.example", "tauri://localhost"]);
    assert_eq!((config.limits.connections, config.auth.guests), (1_000, false));
    assert_eq!(config.auth.secret.unwrap().as_bytes(), SECRET.as_bytes());
    assert!(from_set(&["http.origins="]).http.origins.is_empty());
    let networks = from_set(&["http.trusted_proxies=10.0.0.0/8, ::1"]).http.trusted_proxies;
    assert_eq!(networks, ["10.0.0.0/8", "::1"].map(|network| network.parse().unwrap()));
    // Only the first `=` parts key and value.
    assert_eq!(from_set(&["auth.issuer=a=b"]).auth.issuer.as_deref(), Some("a=b"));
}

#[test]
fn what_kubernetes_puts_into_the_environment_is_nobodys_mistake() {
    for service in ["CHINWAG", "CHINWAG_WEB", "CHINWAG_LIMITS", "CHINWAG_SERVICE", "CHINWAG_PORT"] {
        let names = [
            ("_SERVICE_HOST", "10.0.0.1"),
            ("_SERVICE_PORT", "4000"),
            ("_SERVICE_PORT_HTTP_METRICS", "4000"),
            ("_PORT", "tcp://10.0.0.1:4000"),
            ("_PORT_4000_TCP", "tcp://10.0.0.1:4000"),
            ("_PORT_4000_TCP_PROTO", "tcp"),
            ("_PORT_4000_TCP_PORT", "4000"),
            ("_PORT_4000_UDP_ADDR", "10.0.0.1"),
        ];
        for (end, value) in names {
            let name = format!("{service}{end}");
            let variables = &[(name.as_str(), value)];
            let loaded = Start { variables, ..Start::default() }.load_all().unwrap();
            assert_eq!(loaded.warnings, [], "{name}");
            assert!(loaded.flawless().is_ok());
        }
    }
}

#[test]
fn a_variable_that_is_no_key_does_not_keep_a_server_from_starting_and_is_told() {
    for (name, value, expected) in [
        ("CHINWAG_BIN", "/usr/bin/chinwag", "no such key; chinwag --help lists them"),
        ("CHINWAG_IDLE_MS", "1", "no such key; did you mean CHINWAG_LIMITS__IDLE_MS?"),
        ("CHINWAG_LIMITS_IDLE_MS", "1", "no such key; did you mean CHINWAG_LIMITS__IDLE_MS?"),
        ("CHINWAG_SECRET", SECRET, "no such key; did you mean CHINWAG_AUTH__SECRET?"),
        ("CHINWAG_", "", "no such key"),
        // What only looks like a variable of a service.
        ("CHINWAG_PORT", "4000", "no such key"),
        ("CHINWAG_PORT_HTTP", "tcp://10.0.0.1:4000", "no such key"),
        ("CHINWAG_PORT_4000", "tcp://10.0.0.1:4000", "no such key"),
        ("CHINWAG_EXPORT_4000_TCP", "tcp://10.0.0.1:4000", "no such key"),
        ("CHINWAG_PORT_4000_HTTP", "tcp://10.0.0.1:4000", "no such key"),
        ("CHINWAG_PORT_4000_TCP_NAME", "tcp://10.0.0.1:4000", "no such key"),
        ("CHINWAG_PORT_4000_TCP_ADDR_6", "tcp://10.0.0.1:4000", "no such key"),
    ] {
        let variables = &[(name, value)];
        let loaded = Start { variables, ..Start::default() }.load_all().unwrap();
        assert_eq!(loaded.config, Config::default(), "{name}");
        let problems = loaded.flawless().expect_err(name);
        let text = problems.to_string();
        assert!(text.starts_with("chinwag: 1 problem in the configuration, with which"), "{text}");
        assert!(text.contains(&format!("  {name}: {expected}")), "{text}");
        assert!(!text.contains("hunter2"), "a secret is shown: {text}");
        // Beside a mistake it is told together with it.
        Start { variables, set: &["shards=999"], ..Start::default() }
            .check(&[&format!("{name}: no such key"), "--set: shards"]);
    }
}

#[test]
fn a_secret_with_something_unseen_at_an_end_is_refused() {
    let allowed =
        "must be text of at least 32 bytes from a generator, without white space at its ends";
    for key in ["auth.secret", "auth.previous_secret"] {
        let set = |secret: String| format!("{key}={secret}");
        let good = [format!("auth.secret={SECRET}"), set(format!("{SECRET}\n a"))];
        from_set(&[&good[0], &good[1]]);
        for unseen in ["\n", "\r\n", " ", "\t", "\0", "\u{a0}", "\u{feff}"] {
            for secret in [format!("{SECRET}{unseen}"), format!("{unseen}{SECRET}")] {
                let expected = format!("--set: {key}: {allowed}; this has some");
                check_set(&[&good[0], &set(secret)], &[&expected]);
            }
        }
        check_set(&[&good[0], &set("hunter2".to_owned())], &[&format!("--set: {key}: {allowed}")]);
    }
    check_set(&["auth.issuer=me "], &["--set: auth.issuer = \"me \": must be 1 to 256 bytes"]);
    check_set(&["auth.audience= me"], &["--set: auth.audience = \" me\": must be"]);
}

#[test]
fn a_secret_that_can_be_guessed_is_refused_with_what_to_do() {
    let remedy = "take what `openssl rand -base64 48` writes";
    for key in ["auth.secret", "auth.previous_secret"] {
        for (secret, why) in [
            ("hunter2".to_owned(), "is too short"),
            ("a".repeat(32), "is one character again and again"),
            ("hunter2 ".repeat(5) + "hunter2", "is the same 8 characters again and again"),
            ("01".repeat(15) + "11", "has only 2 different characters"),
            ("abcdefghijklmnopqrstuvwxyz012345".to_owned(), "follows the alphabet"),
            ("a secret of at least 32 bytes ...".to_owned(), "is made of words"),
        ] {
            let good = format!("auth.secret={SECRET}");
            let text = Start { set: &[&good, &format!("{key}={secret}")], ..Start::default() };
            let text = text.load().unwrap_err();
            let expected = format!(
                "  --set: {key}: must be text of at least 32 bytes from a generator, without white \
                 space at its ends; this {why}"
            );
            assert!(text.contains(&expected) && text.contains(remedy), "{secret}: {text}");
        }
    }
}

#[test]
fn no_secret_of_the_pages_is_one_that_a_server_takes() {
    let pages = [
        include_str!("../../../README.md"),
        include_str!("../../../docs/configuration.md"),
        include_str!("../../../docs/access.md"),
    ]
    .concat();
    let secrets = pages.lines().filter_map(|line| line.trim().strip_prefix("secret = "));
    let secrets: Vec<_> = secrets.collect();
    assert!(secrets.len() >= 2, "they are found: {secrets:?}");
    for secret in secrets {
        let file = format!("[auth]\nsecret = {secret}\n");
        let refused = Start { file: Some(&file), ..Start::default() }.load().unwrap_err();
        assert!(refused.contains("c.toml:2: auth.secret: must be text"), "{secret}: {refused}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    Start {
        file: Some("shards = 999\n\n[limits]\nrooms = 'many'\nidle_m = 5\n[history]\ntotal_bytes = 2_000\nroom_bytes = 20_000\n"),
        variables: &[("CHINWAG_LOG__LEVEL", "trace"), ("CHINWAG_LIMITS_IDLE_MS", "1")],
        set: &["drain_s=-1", "nonsense"],
        named: &[("listen", "--listen", "4000")],
    }
    .check(&[
        "c.toml:5: limits.idle_m: no such key; did you mean limits.idle_ms?",
        "CHINWAG_LIMITS_IDLE_MS: no such key; did you mean CHINWAG_LIMITS__IDLE_MS?",
        "--set: must be KEY=VALUE",
        "c.toml:1: shards = 999: must be 1 to 128, or 0 (as many as cores)",
        "c.toml:4: limits.rooms = \"many\": must be 1 to 10_000_000",
        "CHINWAG_LOG__LEVEL: log.level = \"trace\": must be error, warn, info or debug",
        "--set: drain_s = \"-1\": must be 0 to 3_600 s",
        "--listen: listen = \"4000\": must be ADDRESS:PORT",
        "c.toml:7: history.total_bytes = 2_000: must be at least 20_000, because all rooms together are at least one, and \
         history.room_bytes = 20_000 (c.toml:8)",
    ]);
}

#[test]
fn bad_values_are_refused() {
    for (file, expected) in [
        ("shards = -1", "c.toml:1: shards = -1: must be"),
        ("shards = 1.5", "c.toml:1: shards = (float): must be"),
        ("shards = '1'", "c.toml:1: shards = \"1\": must be"),
        ("shards = true", "c.toml:1: shards = true: must be"),
        ("shards = 1e3", "c.toml:1: shards = (float): must be"),
        ("shards = 99999999999999999999", "c.toml:1: "),
        ("echo = 1", "c.toml:1: echo = 1: must be true or false"),
        ("echo = 'true'", "c.toml:1: echo = \"true\": must be true or false"),
        ("listen = 4000", "c.toml:1: listen = 4000: must be ADDRESS:PORT"),
        ("listen = ':4000'", "c.toml:1: listen = \":4000\": must be"),
        ("listen = 'localhost:4000'", "c.toml:1: listen = "),
        ("listen = '127.0.0.1:99999'", "c.toml:1: listen = "),
        ("[limits]\n\nidle_ms = 0", "c.toml:3: limits.idle_ms = 0: must be 1_000 to 86_400_000 ms"),
        (
            "chat.edit_s = -2",
            "c.toml:1: chat.edit_s = -2: must be 0 to 1_000_000_000 s, or -1 (for ever)",
        ),
        ("limits.rooms = {}", "c.toml:1: limits.rooms = (table): must be"),
        ("limits.rooms.most = 1", "c.toml:1: limits.rooms = (table): must be"),
        ("limits = 1", "c.toml:1: limits is a section: write [limits]"),
        ("[[limits]]\nrooms = 1", "c.toml:1: limits is a section"),
        (
            "log.level = 'INFO'",
            "c.toml:1: log.level = \"INFO\": must be error, warn, info or debug",
        ),
        (
            "auth.algorithm = 'none'",
            "c.toml:1: auth.algorithm = \"none\": must be HS256, RS256, ES256 or EdDSA",
        ),
        ("auth.algorithm = 'hs256'", "c.toml:1: auth.algorithm = \"hs256\": must be"),
        ("auth.issuer = ''", "c.toml:1: auth.issuer = \"\": must be 1 to 256 bytes"),
        ("auth.audience = \"a\\nb\"", "c.toml:1: auth.audience = \"a\\nb\": must be"),
        ("http.origins = [1]", "c.toml:1: http.origins = (array): must be SCHEME"),
        ("http.origins = ['*']", "c.toml:1: http.origins = [\"*\"]: must be SCHEME"),
        (
            "chat.create_rooms = 'none'",
            "c.toml:1: chat.create_rooms = \"none\": must be all or keys",
        ),
        ("echo = 2026-01-01", "c.toml:1: echo = (datetime): must be true or false"),
        ("date = 2026-01-01", "c.toml:1: date: no such key; chinwag --help lists them"),
        ("[empty]", "c.toml:1: empty: no such key"),
    ] {
        check_file(file, &[expected]);
    }
    let long = format!("log.level = '{}'", "x".repeat(1_000));
    let text = Start { file: Some(&long), ..Start::default() }.load().unwrap_err();
    assert!(text.len() < 300 && text.contains("xxx...: must be"), "{text}");
}

#[test]
fn a_bad_value_is_said_although_a_later_source_overrides_it() {
    Start { file: Some("shards = 999"), set: &["shards=2"], ..Start::default() }
        .check(&["c.toml:1: shards = 999"]);
}

#[test]
fn unknown_keys_are_told_the_nearest() {
    for (set, expected) in [
        ("idle_ms=1", "--set: idle_ms: no such key; did you mean limits.idle_ms?"),
        ("limit.idle_ms=1", "--set: limit.idle_ms: no such key; did you mean limits.idle_ms?"),
        ("Shards=1", "--set: Shards: no such key; did you mean shards?"),
        ("limits.idel_ms=1", "--set: limits.idel_ms: no such key; did you mean limits.idle_ms?"),
        (
            "auth.public_key=f",
            "--set: auth.public_key: no such key; did you mean auth.public_key_file?",
        ),
        ("port=4000", "--set: port: no such key; chinwag --help lists them"),
        ("=1", "--set: : no such key; chinwag --help"),
        ("\u{1b}[2J=1", "--set: \\u{1b}[2J: no such key"),
    ] {
        check_set(&[set], &[expected]);
    }
}

#[test]
fn what_is_no_toml_is_said_by_line_and_nothing_else_of_the_file() {
    check_file("shards = \nlisten = 5\n[log\n", &["c.toml:1: not TOML: ", "c.toml:3: not TOML: "]);
    check_file("shards = 1\nshards = 1\n", &["c.toml:2: not TOML: "]);
    let no_file = Flags { config: Some("none.toml".into()), ..Flags::default() };
    let nothing = Surroundings { variables: &[], read: &|_| Err(io::ErrorKind::NotFound.into()) };
    let text = Config::load(&no_file, &nothing).unwrap_err().to_string();
    assert!(text.contains("--config: cannot read none.toml: "), "{text}");
}

#[test]
fn a_secret_is_never_shown_however_wrongly_it_is_written() {
    // `Start::load` looks for it in every text. Here it stands in each place where an error could
    // quote it.
    for file in [
        "auth.secret = 'hunter2'",
        "auth.secret = \"hunter2",
        "auth.secret = hunter2",
        "auth.secret = 'hunter2' 'hunter2'",
        "auth.secret = \"\\hunter2\"",
        "auth.secret = ['hunter2']",
        "auth.secret.hunter2 = 1",
        "auth.previous_secret = 'hunter2'",
        "auth.secert = 'hunter2 hunter2 hunter2 hunter2 hunter2'",
        "secret = 'hunter2'",
        "auth = 'hunter2'",
        "[auth]\nsecret = '''\nhunter2",
        "[auth]\nsecret = 'hunter2'\nsecret = 'hunter2'",
    ] {
        assert!(Start { file: Some(file), ..Start::default() }.load().is_err(), "{file}");
    }
    for set in
        ["auth.secret=hunter2", "auth.secert=hunter2", "auth.secret:hunter2", "secret=hunter2"]
    {
        assert!(Start { set: &[set], ..Start::default() }.load().is_err(), "{set}");
    }
    for name in ["CHINWAG_AUTH__SECRET", "CHINWAG_AUTH_SECRET", "CHINWAG_SECRET"] {
        let variables = &[(name, "hunter2")];
        let loaded = Start { variables, ..Start::default() }.load_all();
        assert!(!format!("{loaded:?}").contains("hunter2"), "{name}");
        assert!(loaded.is_err() || loaded.is_ok_and(|loaded| loaded.flawless().is_err()), "{name}");
    }
    let config = from_file(&format!("[auth]\nsecret = '{SECRET}'\nprevious_secret = '{SECRET}'"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn variables_that_are_not_text_are_said() {
    use std::os::unix::ffi::OsStringExt;
    let variables = [("CHINWAG_SHARDS".into(), OsString::from_vec(vec![0xff]))];
    let surroundings = Surroundings { variables: &variables, read: &|_| unreachable!() };
    let text = Config::load(&Flags::default(), &surroundings).unwrap_err().to_string();
    assert!(text.contains("CHINWAG_SHARDS: is not UTF-8"), "{text}");
}

#[test]
fn relations_between_values_hold() {
    for (set, expected) in [
        (
            &["limits.message_bytes=60000"][..],
            "--set: limits.message_bytes = 60_000: must be at least 65_536, because",
        ),
        (
            &["limits.frame_bytes=16384"],
            "--set: limits.frame_bytes = 16_384: must be at least 18_432, because",
        ),
        (
            &["limits.room_lag_bytes=131091"],
            "--set: limits.room_lag_bytes = 131_091: must be at least 131_092, because",
        ),
        (
            &["limits.conn_out_bytes=500000"],
            "--set: limits.conn_out_bytes = 500_000: must be at least 524_288, because",
        ),
        (
            &["history.page_bytes=16384"],
            "--set: history.page_bytes = 16_384: must be at least 18_432, because",
        ),
        (
            &["history.room_bytes=16384"],
            "--set: history.room_bytes = 16_384: must be at least 18_432, because",
        ),
        (
            &["history.room_bytes=4194305", "history.total_bytes=100000000"],
            "--set: history.room_bytes = 4_194_305: must be at most 4_194_304 where messages can \
             be changed, because a change moves all that lies behind it; or set chat.changes = 0",
        ),
        (
            &["history.total_bytes=500000"],
            "--set: history.total_bytes = 500_000: must be at least 524_288, because",
        ),
        (
            &["presence.tick_max_ms=99"],
            "--set: presence.tick_max_ms = 99: must be at least 100, because",
        ),
        (&["presence.full_max=99"], "--set: presence.full_max = 99: must be at least 100, because"),
        // The one at fault is the one that was set, but where it stands the reader sees either way.
        (
            &["limits.body_bytes=100000", "history.page_bytes=200000"],
            "default: limits.frame_bytes = 65_536: must be at least 102_048, because clients send a message in one frame, \
             with some 2 KiB around its body, and limits.body_bytes = 100_000 (--set)",
        ),
    ] {
        check_set(set, &[expected]);
    }
    // At their bounds, and where they do not matter, they are silent.
    from_set(&["limits.room_lag_bytes=131092", "limits.message_bytes=65536"]);
    from_set(&[
        "history.messages=0",
        "history.room_bytes=1024",
        "history.page_bytes=1024",
        "history.total_bytes=1024",
    ]);
    from_set(&["history.room_bytes=4194305", "history.total_bytes=100000000", "chat.changes=0"]);
    from_set(&["presence.full_max=0", "presence.listed=10000"]);
    // A bad value is complained of once.
    check_set(
        &["limits.frame_bytes=99999999"],
        &["--set: limits.frame_bytes = \"99999999\": must be 1_024 to 16_777_216 bytes"],
    );
}

#[test]
fn a_public_address_needs_a_key() {
    for listen in ["listen=0.0.0.0:4000", "listen=[::]:4000", "listen=192.0.2.1:80"] {
        check_set(&[listen], &["--set: listen: "]);
        let config = from_set(&[listen, &format!("auth.secret={SECRET}")]);
        assert!(!config.auth.guests && config.auth.has_key());
    }
    for listen in [
        "listen=127.0.0.1:4000",
        "listen=[::1]:4000",
        "listen=[::ffff:127.0.0.1]:1",
        "listen=127.9.9.9:1",
    ] {
        let config = from_set(&[listen]);
        assert!(config.auth.guests && !config.auth.has_key());
    }
    let text = Start { set: &["listen=0.0.0.0:1"], ..Start::default() }.load().unwrap_err();
    assert!(text.contains("CHINWAG_AUTH__SECRET=$(openssl rand -base64 48)"), "{text}");
}

#[test]
fn guests_are_welcome_by_default_only_where_nobody_else_can_come() {
    let secret = format!("auth.secret={SECRET}");
    assert!(from_set(&[]).auth.guests);
    assert!(!from_set(&["auth.guests=false"]).auth.guests);
    assert!(!from_set(&[&secret]).auth.guests);
    assert!(from_set(&[&secret, "auth.guests=true"]).auth.guests);
    assert!(from_set(&[&secret, "auth.guests=true", "listen=0.0.0.0:1"]).auth.guests);
}

#[test]
fn what_bounds_a_store_is_nothing_without_one_and_a_time_is_for_memory_too() {
    assert_eq!(from_set(&["history.keep_s=9", "store.path="]).store.keep_s, 9);
    check_set(
        &["store.waiting_bytes=1000", "store.batch_messages=0"],
        &[
            "--set: store.waiting_bytes = \"1000\": must be 524_288 to 1_073_741_824 bytes",
            "--set: store.batch_messages = \"0\": must be 1 to 100_000",
        ],
    );
    let limits =
        from_set(&["store.checkpoint_bytes=8388608", "store.batch_bytes=4096"]).store.limits;
    assert_eq!((limits.checkpoint_bytes, limits.batch_bytes), (8 << 20, 4_096));
    for key in ["store.keep_messages", "store.keep_bytes"] {
        let set = format!("{key}=1000");
        check_set(
            &[&set, "store.path="],
            &[&format!("--set: {key}: is nothing without store.path")],
        );
        from_set(&[&set]);
        from_set(&[&format!("{key}=0")]);
    }
}

#[test]
fn phrases_that_messages_may_not_have_are_read_and_what_is_none_is_said_by_its_line() {
    let counted = |file: &str| {
        let phrases = from_file(file).blocked.phrases().expect("it was checked");
        phrases.map(|phrases| phrases.count())
    };
    assert_eq!(counted("chat.blocked_file = 'words.txt'"), Some(2));
    assert_eq!(counted("chat.blocked_file = ''"), None);
    assert_eq!(counted(""), None);
    check_file(
        "\nchat.blocked_file = 'bad.txt'",
        &[
            "c.toml:2: chat.blocked_file: bad.txt:3: has a control character",
            "c.toml:2: chat.blocked_file: bad.txt:4: has 300 bytes, and may have 256",
        ],
    );
    check_set(&["chat.blocked_file=none.txt"], &["--set: chat.blocked_file: none.txt: "]);
    check_set(
        &["chat.blocked_file=bytes.txt"],
        &["--set: chat.blocked_file: bytes.txt: is no text"],
    );
    check_file(
        "chat.blocked_file = 1",
        &["c.toml:1: chat.blocked_file = 1: must be FILE, or \"\" (none)"],
    );
}

#[test]
fn servers_with_an_engine_keep_nothing_beside_it_and_know_each_others_tokens() {
    let secret = &*format!("auth.secret={SECRET}");
    let engine = "engine.url=redis://:password@localhost:6379";
    let config = from_set(&[engine, secret]);
    assert_eq!(config.store.path, "", "the default is for those without one");
    assert!(!format!("{config:?}").contains("password"));
    from_set(&[engine, secret, "store.path="]);
    for scheme in ["rediss", "redis+sentinel", "rediss+sentinel"] {
        from_set(&[&format!("engine.url={scheme}://:password@one,two:26379/tea"), secret]);
    }
    for scheme in ["redis+cluster", "rediss+cluster"] {
        from_set(&[&format!("engine.url={scheme}://:password@one,two:6380"), secret]);
    }
    let beside = "--set: store.path: is nothing beside engine.url, in which rooms are kept";
    check_set(&[engine, secret, "store.path=data"], &[beside]);
    let needs = "--set: engine.url: needs auth.secret, the same at each server: else a token \
                 counts at one of them only";
    check_set(&[engine], &[needs]);
    for url in [
        "localhost:6379",
        "redis://",
        "http://:hush@host",
        "redis:///0",
        "redis://:hush@a b",
        "redis+sentinel:///tea",
        "redis+cluster://",
        "redis+cluster://:hush@one/0",
        "redis-cluster://:hush@one",
        "redis-sentinel://:hush@one/tea",
    ] {
        let text = Start { set: &[&format!("engine.url={url}"), secret], ..Start::default() };
        let text = text.load().unwrap_err();
        assert!(text.contains("engine.url: must be redis://HOST:PORT or rediss://"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
    let late = [engine, secret, "engine.dead_ms=1500", "cluster.lease_ms=3999"];
    let message = [
        "--set: engine.dead_ms = 1_500: must be at least 2_000, because one ping may be late, \
         and engine.ping_ms = 1_000 (default)",
        "--set: cluster.lease_ms = 3_999: must be at least 4_000, because one heartbeat may be \
         late, and cluster.heartbeat_ms = 2_000 (default)",
    ];
    check_set(&late, &message);
}

#[test]
#[cfg(feature = "archive-postgres")]
fn an_archive_is_of_an_engine_and_its_password_is_shown_to_nobody() {
    let secret = &*format!("auth.secret={SECRET}");
    let engine = "engine.url=redis://localhost:6379";
    let archive = "archive.url=postgres://chinwag:password@localhost/chat?sslmode=disable";
    let config = from_set(&[engine, secret, archive]);
    assert!(config.archive.url.is_some() && !format!("{config:?}").contains("password"));
    let nothing = "--set: archive.url: is nothing without engine.url, of which it is the archive: \
                   a server without one keeps all in store.path";
    check_set(&[archive], &[nothing]);
    for url in
        ["localhost", "postgres://", "mysql://:hush@host", "postgres:///chat", "postgres://a b"]
    {
        let set = format!("archive.url={url}");
        let text = Start { set: &[engine, secret, &set], ..Start::default() }.load().unwrap_err();
        assert!(text.contains("archive.url: must be postgres://HOST/DATABASE"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn backups_are_of_a_store_and_do_not_lie_in_it() {
    let nothing = ["--set: store.backup: is nothing without store.path"];
    check_set(&["store.path=", "store.backup=b"], &nothing);
    for backup in ["data", "./data", "data/b"] {
        let set = format!("store.backup={backup}");
        let expected =
            format!("--set: store.backup = {backup:?}: must not be in store.path (--set), ");
        let text = Start { set: &["store.path=data", &set], ..Start::default() }.load();
        let text = text.unwrap_err();
        assert!(text.contains(&expected), "{text}");
    }
    let config = from_set(&["store.path=data", "store.backup=data-backups"]);
    assert_eq!((config.store.backup_every_s, config.store.backup_keep), (86_400, 7));
    from_set(&["store.path=backups/data", "store.backup=backups"]);
}

#[test]
fn algorithm_and_keys_go_together() {
    let secret = format!("auth.secret={SECRET}");
    let previous = format!("auth.previous_secret={SECRET}");
    let config = from_set(&[
        "auth.algorithm=EdDSA",
        "auth.public_key_file=2026=ed.pem,ed.pem,./a=b.pem",
        "listen=0.0.0.0:1",
    ]);
    let kids: Vec<_> =
        config.auth.public_keys.iter().map(|key| (key.kid.as_deref(), &*key.path)).collect();
    assert_eq!(kids, [(Some("2026"), "ed.pem"), (None, "ed.pem"), (None, "./a=b.pem")]);
    assert!(!config.auth.guests && config.auth.keys(&[]).unwrap().signer.is_none());
    from_set(&[&secret, &previous]);

    for (set, expected) in [
        (
            &[previous.as_str()][..],
            &["--set: auth.previous_secret: is nothing without auth.secret"][..],
        ),
        (
            &["auth.public_key_file=ed.pem"],
            &["--set: auth.public_key_file: is for auth.algorithm = RS256"],
        ),
        (
            &["auth.algorithm=EdDSA", &secret, &previous],
            &[
                "--set: auth.secret: is for auth.algorithm = HS256, not EdDSA",
                "--set: auth.previous_secret: is for auth.algorithm = HS256, not EdDSA",
                "--set: auth.algorithm: EdDSA: needs auth.public_key_file",
            ],
        ),
        (
            &["auth.algorithm=EdDSA", "auth.public_key_file=ed.pem", "auth.guests=true"],
            &["--set: auth.guests: true: guests' tokens are signed here, which EdDSA cannot do"],
        ),
        (&["auth.algorithm=EdDSA"], &["--set: auth.algorithm: EdDSA: needs auth.public_key_file"]),
        (
            &["auth.algorithm=RS256", "auth.public_key_file=ed.pem"],
            &["--set: auth.public_key_file: ed.pem: this is no public key of the algorithm"],
        ),
        (
            &["auth.algorithm=EdDSA", "auth.public_key_file=none.pem,a=text.pem"],
            &[
                "--set: auth.public_key_file: none.pem: ",
                "--set: auth.public_key_file: text.pem: this is no public key",
            ],
        ),
        (
            &["auth.algorithm=EdDSA", "auth.public_key_file=a=ed.pem,"],
            &["--set: auth.public_key_file = "],
        ),
    ] {
        check_set(set, expected);
    }
}

#[test]
fn a_made_secret_serves_where_none_is_configured() {
    let auth = AuthConfig::default();
    assert!(auth.keys(&[7; 32]).is_ok_and(|keys| keys.signer.is_some()));
    assert_eq!(auth.keys(&[7; 31]).err(), Some(KeyError::ShortSecret));
}

#[test]
fn origins_are_those_that_the_handshake_can_match() {
    for origin in [
        "https://a.example",
        "http://a.example:8080",
        "https://xn--bcher-kva.example",
        "http://127.0.0.1:4000",
        "http://[::1]",
        "http://[::1]:4000",
        "chrome-extension://abcdef",
        "http://a.example:443",
    ] {
        assert_eq!(from_set(&[&format!("http.origins={origin}")]).http.origins, [origin]);
    }
    for origin in [
        "null",
        "*",
        "https://*.a.example",
        "a.example",
        "//a.example",
        "https://",
        "https://a.example/",
        "https://a.example/x",
        "https://a.example?x",
        "https://a.example:",
        "https://a.example:+1",
        "https://a.example:99999",
        "https://u@a.example",
        "https://bücher.example",
        "https://a.example https://b.example",
        "https://a.example,,https://b.example",
    ] {
        check_set(&[&format!("http.origins={origin}")], &["--set: http.origins = "]);
    }
}

#[test]
fn each_key_has_its_own_name_variable_and_place() {
    let mut names: Vec<_> = keys::ALL.iter().map(|key| sources::variable(key.name)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), keys::ALL.len());
    assert!(names.iter().all(|name| name.len() < NAME_BYTES_MAX && !name.contains('.')));
    // Two keys that wrote into the same field would undo each other: each must change the
    // configuration in its own way.
    let mut seen: Vec<Config> = Vec::new();
    for key in keys::ALL.iter().filter(|key| key.is_number()) {
        let mut config = Config::default();
        // What has no end by default has no number behind it.
        let value = keys::value_of(&config, key.name).checked_add(3).unwrap_or(3);
        key.set(&mut config, &Given::Text(value.to_string())).unwrap();
        assert_eq!(keys::value_of(&config, key.name), value, "{}", key.name);
        assert!(config != Config::default() && !seen.contains(&config), "{}", key.name);
        seen.push(config);
    }
}

#[test]
fn the_reference_in_the_documentation_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- keys: begin -->\n", "<!-- keys: end -->\n");
    let from = text.find(begin).unwrap() + begin.len();
    let to = text.find(end).unwrap();
    let expected = format!("\n{}\n", reference());
    if text[from..to] != expected && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{expected}{}", &text[..from], &text[to..])).unwrap();
        return;
    }
    assert!(
        text[from..to] == expected,
        "docs/configuration.md is not up to date: run the tests with UPDATE_DOCS=1"
    );
}
