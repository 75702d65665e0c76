//! `check`: every fault that it knows by name, seeded and recognised.

#[path = "check/servers.rs"]
mod servers;

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use beluga_o11y_sandbox::{Fault, LangSmithAccount, LangfuseProject, OpikCloud, Sandbox};
use chrono::{TimeDelta, Utc};
use rcgen::date_time_ymd;
use serde_json::{Value, json};

use crate::support::{Place, Ran};
use servers::{Authority, answer, answering, tunnel};

const ALL: [&str; 5] = ["opik", "langfuse", "phoenix", "langsmith", "otlp"];

/// Of no key may more be seen than its end.
const CANARY: &str = "canary";
const KEY: &str = "canary-0123456789-tail";
const OTHER_KEY: &str = "canary-9876543210-liat";
const SECRET_KEY: &str = "sk-lf-canary-0123-tail";
const PUBLIC_KEY: &str = "pk-lf-0123456789";
const PERSONAL_KEY: &str = "lsv2_pt_canary-0123-tail";
const ORGANISATION_KEY: &str = "lsv2_sk_canary-0123-tail";
const WORKSPACE_ID: &str = "01a2053e-d6f8-792b-8988-1657efa89323";

/// Wants a key everywhere.
fn sandbox() -> Sandbox {
    let builder = Sandbox::builder()
        .with_cloud(OpikCloud::new(KEY).with_workspace("ml-team"))
        .with_langfuse(LangfuseProject::new(PUBLIC_KEY, SECRET_KEY))
        .with_phoenix_key(KEY)
        .with_langsmith(LangSmithAccount::new(PERSONAL_KEY))
        .with_otlp_header("authorization", format!("Bearer {KEY}"));
    builder.start().unwrap()
}

/// With all that it takes to reach it.
fn place(sandbox: &Sandbox) -> Place {
    let variables = sandbox.environment().into_iter();
    variables.fold(Place::new(), |place, (name, value)| place.with(name, value))
}

/// What a check reported, in JSON.
struct Checked {
    code: Option<i32>,
    report: Value,
}

/// A step that is not as it should be.
#[derive(Debug)]
struct Odd {
    step: String,
    status: String,
    problem: String,
    /// What is said about it, in JSON and, if people were told too, to them.
    said: String,
}

fn ran(place: &Place, arguments: &[&str]) -> Ran {
    let ran = place.run(arguments);
    assert!(!ran.out.contains(CANARY), "{}", ran.out);
    assert!(!ran.err.contains(CANARY), "{}", ran.err);
    ran
}

#[track_caller]
fn check(place: &Place, arguments: &[&str]) -> Checked {
    let mut all = vec!["check", "--json"];
    all.extend(arguments);
    let ran = ran(place, &all);
    let report = serde_json::from_str(&ran.out);
    let report: Value = report.unwrap_or_else(|_| panic!("{}\n{}", ran.out, ran.err));
    let code = ran.code;
    assert_eq!(code, Some(i32::from(report["ok"] != true)), "{report:#}");
    Checked { code, report }
}

impl Checked {
    #[track_caller]
    fn of(&self, provider: &str) -> &Value {
        let checks = self.report["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["provider"] == provider);
        found.unwrap_or_else(|| panic!("no {provider} in {:#}", self.report))
    }

    fn odd(&self, provider: &str) -> Vec<Odd> {
        let steps = self.of(provider)["steps"].as_array().unwrap();
        let odd = steps
            .iter()
            .filter(|step| !["ok", "skipped"].contains(&text(&step["status"])));
        odd.map(|step| Odd {
            step: text(&step["step"]).to_owned(),
            status: text(&step["status"]).to_owned(),
            problem: text(&step["problem"]).to_owned(),
            said: format!("{} {} {}", step["text"], step["cause"], step["remedy"]),
        })
        .collect()
    }

    #[track_caller]
    fn step(&self, provider: &str, name: &str) -> &Value {
        let steps = self.of(provider)["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["step"] == name);
        step.unwrap_or_else(|| panic!("no {name} in {:#}", self.report))
    }

    #[track_caller]
    fn is_well(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{:#}", self.report);
        for provider in self.report["checks"].as_array().unwrap() {
            let odd = self.odd(text(&provider["provider"]));
            assert!(odd.is_empty(), "{odd:?}");
        }
        self
    }

    fn setting(&self, provider: &str, name: &str) -> (String, String) {
        let settings = self.of(provider)["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["name"] == name);
        let setting = setting.unwrap();
        let part = |part: &str| setting[part].as_str().unwrap_or_default().to_owned();
        (part("value"), part("from"))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The one step that fails, with this problem and all these words in what is said, also to people.
#[track_caller]
fn fails(place: &Place, arguments: &[&str], step: &str, problem: &str, words: &[&str]) {
    fails_quietly(place, arguments, step, problem, words);
    let mut all = vec!["check"];
    all.extend(arguments);
    let ran = ran(place, &all).ends_with(1);
    let told: Vec<_> = ran
        .out
        .lines()
        .skip_while(|line| !line.starts_with("  NO  "))
        .collect();
    let told = told.join("\n");
    for word in words {
        assert!(told.contains(word), "no {word:?} in {}", ran.out);
    }
}

/// Like [`fails`], but run once.
#[track_caller]
fn fails_quietly(place: &Place, arguments: &[&str], step: &str, problem: &str, words: &[&str]) {
    let checked = check(place, arguments);
    let provider = text(&checked.report["checks"][0]["provider"]).to_owned();
    let odd = checked.odd(&provider);
    let failed: Vec<_> = odd.iter().filter(|odd| odd.status == "failed").collect();
    let [failed] = &failed[..] else {
        panic!("{:#}", checked.report);
    };
    assert_eq!(checked.code, Some(1));
    let found = (failed.step.as_str(), failed.problem.as_str());
    assert_eq!(found, (step, problem), "{:#}", checked.report);
    for word in words {
        assert!(failed.said.contains(word), "no {word:?} in {}", failed.said);
    }
}

/// All is well but for this one step.
#[track_caller]
fn warns(place: &Place, arguments: &[&str], step: &str, problem: &str, words: &[&str]) {
    let checked = check(place, arguments);
    assert_eq!(checked.code, Some(0), "{:#}", checked.report);
    let provider = text(&checked.report["checks"][0]["provider"]).to_owned();
    let odd = checked.odd(&provider);
    let [odd] = &odd[..] else {
        panic!("{:#}", checked.report);
    };
    let found = (odd.step.as_str(), odd.status.as_str(), odd.problem.as_str());
    assert_eq!(found, (step, "warning", problem), "{:#}", checked.report);
    for word in words {
        assert!(odd.said.contains(word), "no {word:?} in {}", odd.said);
    }
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

// What is well.

#[test]
fn all_are_well() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let checked = check(&place, &ALL);
    checked.is_well();
    assert_eq!(sandbox.calls().len(), 5);
    for provider in ALL {
        for step in ["settings", "connection", "server", "credentials", "project"] {
            assert_eq!(checked.step(provider, step)["status"], "ok", "{provider}");
        }
        assert_eq!(checked.step(provider, "credentials")["text"], "accepted");
        let read_back = if provider == "otlp" { "skipped" } else { "ok" };
        assert_eq!(checked.step(provider, "read_back")["status"], read_back);
        // There is nothing to look up.
        assert_eq!(checked.step(provider, "name")["status"], "skipped");
    }
    assert_eq!(checked.step("opik", "server")["text"], "Opik 2.2.48");
    assert_eq!(checked.step("opik", "project")["text"], "workspace ml-team");

    let ran = ran(&place, &["check", "opik", "otlp"]).ends_with(0);
    let ran = ran
        .says("  ok  server       Opik 2.2.48")
        .says("  ok  read back    it can be read")
        .says("  --  read back    there is no standard way to ask for it")
        .says("API key     …tail");
    assert!(
        ran.out.starts_with("opik  http://127.0.0.1:"),
        "{}",
        ran.out
    );
    assert_eq!(ran.err, "");
}

#[test]
fn a_name_is_looked_up() {
    let sandbox = Sandbox::start().unwrap();
    let port = sandbox.address().port();
    let url = format!("http://localhost:{port}/opik/api");
    let checked = check(&Place::new(), &["opik", "--url", &url]);
    let name = text(&checked.is_well().step("opik", "name")["text"]).to_owned();
    assert!(name.starts_with("localhost is "), "{name}");
    assert!(name.contains("127.0.0.1"), "{name}");
}

#[test]
fn nothing_is_written_if_nothing_may_be() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let mut arguments = ALL.to_vec();
    arguments.push("--no-write");
    let checked = check(&place, &arguments);
    checked.is_well();
    for provider in ALL {
        let steps = checked.of(provider)["steps"].as_array().unwrap();
        assert_eq!(steps.last().unwrap()["step"], "project", "{provider}");
    }
    assert_eq!(sandbox.calls().len(), 0);
    assert!(sandbox.traces().is_empty());
}

#[test]
fn one_bad_backend_does_not_hide_the_others() {
    let sandbox = sandbox();
    sandbox.inject(Fault::status(500).on("/phoenix/v1/traces").always());
    let place = place(&sandbox);
    let checked = check(&place, &ALL);
    assert_eq!(checked.code, Some(1));
    for provider in ALL {
        assert_eq!(checked.of(provider)["ok"], provider != "phoenix");
    }
    let ran = ran(&place, &["--quiet", "check", "opik", "phoenix"]).ends_with(1);
    let ran = ran.says("ok  read back").says("NO  credentials");
    assert!(!ran.out.contains("setting  "), "{}", ran.out);
}

#[test]
fn without_names_those_with_credentials_are_meant() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let names = |checked: &Checked| {
        let checks = checked.report["checks"].as_array().unwrap();
        let names = checks.iter().map(|check| text(&check["provider"]));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    // OTLP's variables are there for other telemetry.
    let checked = check(&place, &["--no-write"]);
    assert_eq!(names(checked.is_well()), ALL[..4]);
    let place = place.with("BELUGA_O11Y_EXPORTERS", "otlp,phoenix");
    let checked = check(&place, &["--no-write"]);
    assert_eq!(names(checked.is_well()), ["otlp", "phoenix"]);
    // Named twice is named once.
    let checked = check(&place, &["--no-write", "opik", "opik"]);
    assert_eq!(names(checked.is_well()), ["opik"]);

    let ran = ran(&place, &["check", "--url", "http://127.0.0.1:1"]).ends_with(2);
    ran.complains("flags for the connection are for one backend");
}

#[test]
fn who_names_nobody_is_told_what_to_set() {
    let ran = Place::new().run(&["check", "--json"]).ends_with(2);
    assert_eq!(ran.out, "");
    ran.complains("none has credentials")
        .complains("name one (opik, langfuse, phoenix, langsmith, otlp), or set its variables");
    for (name, value, words) in [
        (
            "BELUGA_O11Y_EXPORTERS",
            "none",
            "BELUGA_O11Y_EXPORTERS says that nothing is sent",
        ),
        (
            "BELUGA_O11Y_DISABLED",
            "1",
            "BELUGA_O11Y_DISABLED says that nothing is sent",
        ),
        (
            "BELUGA_O11Y_EXPORTERS",
            "opk",
            "`opk`, which is no provider",
        ),
        ("BELUGA_O11Y_EXPORTERS", "o\u{1b}[31m", "o\\u{1b}[31m"),
    ] {
        let place = Place::new().with(name, value);
        let ran = place.run(&["check"]).ends_with(2).complains(words);
        assert!(!ran.err.contains('\u{1b}'), "{}", ran.err);
    }
    let ran = Place::new().run(&["check", "comet"]).ends_with(2);
    ran.complains("opik, langfuse, phoenix, langsmith, otlp");
    let ran = Place::new().run(&["check", "--timeout", "0", "opik"]);
    ran.ends_with(2).complains("above zero");
}

// Where settings come from.

#[test]
fn origins_are_told() {
    let sandbox = sandbox();
    let place = Place::new().with("OPIK_WORKSPACE", "ml-team");
    let file = place.file(
        ".opik.config",
        format!(
            "[opik]\nurl_override = {}\napi_key = {KEY}\nworkspace = beaten\n",
            sandbox.opik_url()
        ),
    );
    let arguments = ["opik", "--project", "flagged"];
    let checked = check(&place, &arguments);
    assert_eq!(checked.code, Some(0));
    let setting = |name| checked.setting("opik", name);
    let from = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    let of_file = |key: &str| format!("{file}: {key}");
    assert_eq!(setting("project"), from("flagged", "flag"));
    assert_eq!(setting("workspace"), from("ml-team", "OPIK_WORKSPACE"));
    assert_eq!(setting("API key"), from("…tail", &of_file("api_key")));
    let base_url = (sandbox.opik_url(), of_file("url_override"));
    assert_eq!(setting("base URL"), base_url);
    assert_eq!(setting("allow http"), from("false", "default"));
    let ran = ran(&place, &["check", "opik", "--project", "flagged"]).ends_with(0);
    ran.says(&of_file("api_key"));

    // A flag beats them all, and of a short key nothing is shown.
    let ran = place.run(&["check", "opik", "--json", "--api-key", "shortkey123"]);
    let ran = ran.ends_with(1).says("\"…\"");
    assert!(!ran.out.contains("key123"), "{}", ran.out);
}

#[test]
fn what_is_on_the_way_is_a_setting() {
    let sandbox = sandbox();
    let authority = Authority::new();
    let host = "opik.example.com";
    let (proxy, _) = tunnel(authority.tls(host, sandbox.address(), |_| {}));
    let place = place(&sandbox).with("HTTPS_PROXY", url(proxy, ""));
    let ca = place.file("ca.pem", &authority.pem);
    let base_url = format!("https://{host}/opik/api");
    let arguments = ["opik", "--url", &base_url, "--ca", &ca];
    let checked = check(&place, &arguments);
    checked.is_well();
    let proxy_setting = (url(proxy, ""), "HTTPS_PROXY".to_owned());
    assert_eq!(checked.setting("opik", "proxy"), proxy_setting);
    assert_eq!(
        checked.setting("opik", "own authorities"),
        (ca.clone(), "flag".to_owned())
    );
    assert_eq!(
        checked.step("opik", "connection")["text"],
        "through a proxy"
    );
    // A user and a password in it are not shown.
    let secret = format!("http://user:canary@{proxy}");
    check(
        &place,
        &["opik", "--url", &base_url, "--ca", &ca, "--proxy", &secret],
    )
    .is_well();
}

#[test]
fn wrong_settings_are_a_failed_check() {
    let place = Place::new();
    let missing = place.path("missing.pem");
    let not_pem = place.file("not.pem", "canary");
    for (arguments, words) in [
        (["opik", "--public-key", "x"], "opik has no public key"),
        (["phoenix", "--workspace", "x"], "phoenix has no workspaces"),
        (
            ["otlp", "--api-key", "x"],
            "--header 'authorization: Bearer KEY'",
        ),
        (
            ["langfuse", "--project", "x"],
            "takes the workspace and the project from its keys",
        ),
        (["opik", "--header", "canary"], "expected `name: value`"),
        (["opik", "--ca", missing.to_str().unwrap()], "cannot read"),
        (["opik", "--url", "opik.example.com"], "base URL"),
        (
            ["opik", "--url", "http://u:canary@h/"],
            "credentials in the URL",
        ),
    ] {
        fails(&place, &arguments, "settings", "settings", &[words]);
    }
    let arguments = ["phoenix", "--url", "https://h.example", "--ca", &not_pem];
    fails(&place, &arguments, "settings", "settings", &["certificate"]);
    let arguments = ["opik", "--url", "http://h.internal", "--proxy", "canary"];
    fails(&place, &arguments, "settings", "proxy", &["invalid proxy"]);
    let place = place.with("OPIK_CONFIG_PATH", not_pem);
    fails(&place, &["opik"], "settings", "settings", &["not.pem:1"]);
}

// Keys, regions, workspaces, projects.

#[test]
fn wrong_keys() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let cause = "…liat, from: flag";
    for provider in ["opik", "phoenix", "langsmith"] {
        let arguments = [provider, "--api-key", OTHER_KEY];
        let words = ["the API key was refused", "API key …liat, from: flag"];
        fails(&place, &arguments, "credentials", "wrong_key", &words);
    }
    let arguments = ["langfuse", "--api-key", OTHER_KEY];
    let words = ["the keys were refused", "secret key", cause];
    fails(&place, &arguments, "credentials", "wrong_key", &words);
    let header = format!("authorization: Bearer {OTHER_KEY}");
    let arguments = ["otlp", "--header", &header];
    let words = ["the credentials were refused", cause];
    fails(&place, &arguments, "credentials", "wrong_key", &words);
    assert_eq!(sandbox.calls().len(), 0);
}

#[test]
fn a_key_that_may_ask_and_not_write() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    for (status, problem) in [(401, "wrong_key"), (403, "forbidden")] {
        for (provider, path) in [("opik", "/traces/batch"), ("langsmith", "/runs/batch")] {
            sandbox.clear_faults();
            sandbox.inject(Fault::status(status).on(path).always());
            let words = ["the API key", "API key …tail, from: "];
            fails(&place, &[provider], "test_record", problem, &words);
        }
    }
}

#[test]
fn missing_keys() {
    let none = Place::new();
    let words = [
        "API key is required for www.comet.com",
        "OPIK_API_KEY",
        "--api-key KEY",
    ];
    fails(&none, &["opik"], "settings", "missing_key", &words);
    let words = ["LANGFUSE_PUBLIC_KEY"];
    fails(&none, &["langfuse"], "settings", "missing_key", &words);
    let public = Place::new().with("LANGFUSE_PUBLIC_KEY", PUBLIC_KEY);
    let words = ["LANGFUSE_SECRET_KEY", "--api-key KEY"];
    fails(&public, &["langfuse"], "settings", "missing_key", &words);
    let words = ["LANGSMITH_API_KEY", "--api-key KEY"];
    fails(&none, &["langsmith"], "settings", "missing_key", &words);

    // Only the server knows that it wants one.
    let sandbox = sandbox();
    for (provider, url, word) in [
        ("opik", sandbox.opik_url(), "OPIK_API_KEY"),
        ("phoenix", sandbox.phoenix_url(), "PHOENIX_API_KEY"),
        ("otlp", sandbox.otlp_url(), "OTEL_EXPORTER_OTLP_HEADERS"),
    ] {
        let arguments = [provider, "--url", &url];
        fails(
            &none,
            &arguments,
            "credentials",
            "missing_key",
            &[word, "here: "],
        );
    }
}

#[test]
fn a_header_of_ones_own_is_a_credential_too() {
    let builder = Sandbox::builder().with_otlp_header("x-api-key", KEY);
    let sandbox = builder.start().unwrap();
    let url = sandbox.otlp_url();
    let header = format!("x-api-key: {KEY}");
    let arguments = ["otlp", "--url", &url, "--header", &header];
    let checked = check(&Place::new(), &arguments);
    checked.is_well();
    assert_eq!(checked.step("otlp", "credentials")["text"], "accepted");
    let header = format!("x-api-key: {OTHER_KEY}");
    let arguments = ["otlp", "--url", &url, "--header", &header];
    let words = ["takes no header for them", "headers 1 header, from: flag"];
    fails(
        &Place::new(),
        &arguments,
        "credentials",
        "wrong_key",
        &words,
    );
}

#[test]
fn swapped_keys() {
    let sandbox = sandbox();
    let url = sandbox.langfuse_url();
    let place = Place::new()
        .with("LANGFUSE_BASE_URL", url)
        .with("LANGFUSE_PUBLIC_KEY", SECRET_KEY)
        .with("LANGFUSE_SECRET_KEY", PUBLIC_KEY);
    fails(&place, &["langfuse"], "settings", "wrong_key", &["swapped"]);
    assert_eq!(sandbox.request_count(), 0);
}

#[test]
fn keys_of_an_organisation_open_no_project() {
    let sandbox = sandbox();
    sandbox.inject(Fault::status(403).on("/api/public/projects").always());
    let words = [
        "the keys are those of an organisation",
        "make keys in the settings of a project",
    ];
    fails(
        &place(&sandbox),
        &["langfuse"],
        "project",
        "project_missing",
        &words,
    );
}

#[test]
fn a_suspended_project_and_a_viewers_key_may_not_write() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    sandbox.inject(Fault::status(403).on("/langfuse/api/public/otel").always());
    sandbox.inject(Fault::status(403).on("/phoenix/v1/traces").always());
    let words = ["suspended", "secret key …tail, from: LANGFUSE_SECRET_KEY"];
    fails(&place, &["langfuse"], "credentials", "forbidden", &words);
    let words = [
        "a viewer's, which may not write",
        "API key …tail, from: PHOENIX_API_KEY",
    ];
    fails(&place, &["phoenix"], "credentials", "forbidden", &words);
}

#[test]
fn the_other_regions_are_named() {
    let sandbox = sandbox();
    for (provider, host, others) in [
        (
            "langfuse",
            "cloud.langfuse.com",
            [
                "https://us.cloud.langfuse.com",
                "https://jp.cloud.langfuse.com",
                "https://hipaa.cloud.langfuse.com",
            ],
        ),
        (
            "langsmith",
            "api.smith.langchain.com",
            [
                "https://eu.api.smith.langchain.com",
                "https://apac.api.smith.langchain.com",
                "https://aws.api.smith.langchain.com",
            ],
        ),
    ] {
        let authority = Authority::new();
        let (proxy, asked) = tunnel(authority.tls(host, sandbox.address(), |_| {}));
        let place = place(&sandbox);
        let ca = place.file("ca.pem", &authority.pem);
        let base_url = format!("https://{host}/{provider}");
        let proxy = url(proxy, "");
        let arguments = [provider, "--url", &base_url, "--ca", &ca, "--proxy", &proxy];
        check(&place, &arguments).is_well();
        assert_eq!(
            asked.lock().unwrap()[0],
            format!("CONNECT {host}:443 HTTP/1.1")
        );

        let arguments = [&arguments[..], &["--api-key", OTHER_KEY]].concat();
        let this = format!("this is {host}, the others are");
        let words = [&[this.as_str(), "…liat, from: flag"][..], &others[..]].concat();
        fails(
            &place,
            &arguments,
            "credentials",
            "wrong_key_or_region",
            &words,
        );
    }
    // The key's own workspace is in another region, or a named one is not the key's.
    let host = "eu.api.smith.langchain.com";
    let authority = Authority::new();
    let (proxy, _) = tunnel(authority.tls(host, sandbox.address(), |_| {}));
    let place = place(&sandbox);
    let ca = place.file("ca.pem", &authority.pem);
    let base_url = format!("https://{host}/langsmith");
    let proxy = url(proxy, "");
    let arguments = [
        "langsmith",
        "--url",
        &base_url,
        "--ca",
        &ca,
        "--proxy",
        &proxy,
    ];
    sandbox.inject(Fault::status(403).on("/sessions").always());
    let words = ["https://api.smith.langchain.com"];
    fails(
        &place,
        &arguments,
        "credentials",
        "wrong_key_or_region",
        &words,
    );
    let arguments = [&arguments[..], &["--workspace", WORKSPACE_ID]].concat();
    let words = ["the API key's region", WORKSPACE_ID];
    let words = [&words[1..], &["workspace id"]].concat();
    fails(&place, &arguments, "project", "wrong_workspace", &words);
}

#[test]
fn wrong_workspaces() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let arguments = ["opik", "--workspace", "ml-taem"];
    let words = [
        "there is no workspace `ml-taem`",
        "workspace ml-taem, from: flag",
    ];
    fails(&place, &arguments, "project", "wrong_workspace", &words);
    let credentials = check(&place, &arguments);
    assert_eq!(
        credentials.step("opik", "credentials")["text"],
        "the key is known"
    );
    sandbox.inject(Fault::status(403).on("/v1/private/auth").always());
    let words = [
        "may not use the workspace `ml-team`",
        "from: OPIK_WORKSPACE",
    ];
    fails(&place, &["opik"], "project", "wrong_workspace", &words);

    let own = Sandbox::start().unwrap();
    let url = own.opik_url();
    let arguments = ["opik", "--url", &url, "--workspace", "ml-team"];
    let words = ["a self-hosted Opik has only `default`"];
    fails(
        &Place::new(),
        &arguments,
        "project",
        "wrong_workspace",
        &words,
    );
    let checked = check(&Place::new(), &arguments);
    let credentials = &checked.step("opik", "credentials")["text"];
    assert_eq!(credentials, "none, and none was asked for");
}

#[test]
fn wrong_workspaces_of_langsmith() {
    let account = LangSmithAccount::new(ORGANISATION_KEY).with_workspace(WORKSPACE_ID);
    let sandbox = Sandbox::builder().with_langsmith(account).start().unwrap();
    let url = sandbox.langsmith_url();
    let place = Place::new().with("LANGSMITH_API_KEY", ORGANISATION_KEY);
    let arguments = ["langsmith", "--url", &url];
    let words = [
        "belongs to a whole organisation",
        "LANGSMITH_WORKSPACE_ID",
        "--workspace ID",
    ];
    fails(&place, &arguments, "project", "missing_workspace", &words);
    let other = "01a2053e-d6f8-792b-8988-000000000000";
    let arguments = ["langsmith", "--url", &url, "--workspace", other];
    let words = [
        "workspace",
        "workspace id 01a2053e-d6f8-792b-8988-000000000000, from: flag",
    ];
    fails(&place, &arguments, "project", "wrong_workspace", &words);
    let arguments = ["langsmith", "--url", &url, "--workspace", WORKSPACE_ID];
    check(&place, &arguments).is_well();
    sandbox.inject(Fault::status(422).on("/sessions").always());
    let words = ["check that the workspace id is the UUID"];
    fails(&place, &arguments, "project", "wrong_workspace", &words);
}

#[test]
fn a_project_that_is_not_there_yet() {
    let sandbox = sandbox();
    for (provider, variable) in [
        ("opik", "OPIK_PROJECT_NAME"),
        ("phoenix", "PHOENIX_PROJECT_NAME"),
        ("langsmith", "LANGSMITH_PROJECT"),
    ] {
        // Nobody has named one.
        check(&place(&sandbox), &[provider, "--no-write"]).is_well();
        let arguments = [provider, "--project", "typo", "--no-write"];
        let words = [
            "there is no project typo yet",
            "check its name",
            "project typo, from: flag",
        ];
        warns(
            &place(&sandbox),
            &arguments,
            "project",
            "project_missing",
            &words,
        );
        let place = place(&sandbox).with(variable, "new");
        let words = ["there is no project new yet", variable];
        warns(&place, &[provider], "project", "project_missing", &words);
        // The test record has made it.
        check(&place, &[provider]).is_well();
    }
}

// The way there.

#[test]
fn a_key_is_not_sent_over_plain_http() {
    let place = Place::new().with("LANGFUSE_PUBLIC_KEY", PUBLIC_KEY);
    for provider in ["opik", "langfuse", "phoenix", "langsmith"] {
        let arguments = [
            provider,
            "--url",
            "http://o11y.example.com",
            "--api-key",
            KEY,
        ];
        let words = [
            "could be read on its way: use https://",
            "--allow-http",
            "from: flag",
        ];
        fails(&place, &arguments, "settings", "plain_http", &words);
    }
    let header = format!("authorization: Bearer {KEY}");
    let arguments = [
        "otlp",
        "--url",
        "http://o11y.example.com",
        "--header",
        &header,
    ];
    fails(
        &place,
        &arguments,
        "settings",
        "plain_http",
        &["use https://"],
    );

    // Allowed, it goes there: by a proxy, so that nothing leaves this machine.
    let sandbox = Sandbox::start().unwrap();
    let (proxy, _) = tunnel(sandbox.address());
    let proxy = url(proxy, "");
    let arguments = [
        "opik",
        "--url",
        "http://o11y.example.com/opik/api",
        "--api-key",
        KEY,
        "--proxy",
        &proxy,
        "--allow-http",
    ];
    let checked = check(&place, &arguments);
    assert_eq!(checked.step("opik", "settings")["status"], "ok");
    let allowed = ("true".to_owned(), "flag".to_owned());
    assert_eq!(checked.setting("opik", "allow http"), allowed);
}

#[test]
fn proxies() {
    let place = Place::new();
    let variables = "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY set the proxy";
    for scheme in ["http", "https"] {
        let base_url = format!("{scheme}://opik.example.internal/api");
        let with = |proxy: &str, step: &str, problem: &str, words: &[&str]| {
            let arguments = ["opik", "--url", &base_url, "--proxy", proxy];
            fails(&place, &arguments, step, problem, words);
        };
        let words = ["the proxy is not there", "127.0.0.1:1", variables];
        with("http://127.0.0.1:1", "connection", "proxy", &words);

        let closed = answering(|_| answer("407 Proxy Authentication Required", ""));
        let step = if scheme == "https" {
            "connection"
        } else {
            "server"
        };
        let words = ["asks for a user and a password in its URL", variables];
        with(&url(closed, ""), step, "proxy", &words);

        let lost = answering(|_| answer("502 Bad Gateway", ""));
        match scheme {
            "https" => {
                let words = ["the proxy did not connect to it", variables];
                with(&url(lost, ""), "connection", "proxy", &words);
            }
            // It may also be the server's.
            _ => with(&url(lost, ""), "server", "unhealthy", &["502"]),
        }
    }
    // One that hangs.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = url(listener.local_addr().unwrap(), "");
    for (scheme, step) in [("https", "connection"), ("http", "server")] {
        let base_url = format!("{scheme}://opik.example.internal/api");
        let arguments = [
            "opik",
            "--url",
            &base_url,
            "--proxy",
            &hanging,
            "--timeout",
            "1",
        ];
        let words = ["through the proxy 127.0.0.1:"];
        fails_quietly(&place, &arguments, step, "timeout", &words);
    }
    // The variable, and one that excludes the host.
    let place = Place::new().with("ALL_PROXY", "http://127.0.0.1:1");
    let arguments = ["opik", "--url", "https://opik.example.invalid/api"];
    fails(
        &place,
        &arguments,
        "connection",
        "proxy",
        &["the proxy is not there"],
    );
    let place = place.with("NO_PROXY", ".invalid");
    let words = ["its name cannot be resolved"];
    fails(&place, &arguments, "connection", "dns", &words);
}

#[test]
fn certificates() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let authority = Authority::new();
    let ca = place.file("ca.pem", &authority.pem);
    let serve = |name, change: fn(&mut rcgen::CertificateParams)| {
        let address = authority.tls(name, sandbox.address(), change);
        format!("https://{address}/opik/api")
    };

    let good = serve("127.0.0.1", |_| {});
    let words = ["not signed by a trusted authority", "here: --ca FILE"];
    fails(
        &place,
        &["opik", "--url", &good],
        "tls",
        "untrusted_certificate",
        &words,
    );
    let checked = check(&place, &["opik", "--url", &good, "--ca", &ca]);
    checked.is_well();
    let tls = &checked.step("opik", "tls")["text"];
    assert_eq!(tls, "the certificate is trusted");

    let wrong = serve("opik.example.com", |_| {});
    let arguments = ["opik", "--url", &wrong, "--ca", &ca];
    let words = ["for another host name", "from: flag"];
    fails(&place, &arguments, "tls", "certificate", &words);
    let expired = serve("127.0.0.1", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let arguments = ["opik", "--url", &expired, "--ca", &ca];
    let words = ["has expired or is not valid yet", "this machine's clock"];
    fails(&place, &arguments, "tls", "certificate", &words);

    let plain = format!("https://{}/opik/api", sandbox.address());
    let words = ["does not speak TLS; is it http://"];
    fails(&place, &["opik", "--url", &plain], "tls", "tls", &words);
    let encrypted = good.replace("https:", "http:");
    let words = ["check the scheme and the port", "base URL http://"];
    fails(
        &place,
        &["opik", "--url", &encrypted],
        "server",
        "wrong_server",
        &words,
    );
}

#[test]
fn redirects() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    sandbox.inject(
        Fault::status(301)
            .with_header("location", "https://elsewhere.example/login?token=canary")
            .always(),
    );
    for provider in ALL {
        let words = ["redirects to elsewhere.example", "--url", ", from: "];
        fails(&place, &[provider], "server", "redirect", &words);
    }
    // One of the record alone.
    sandbox.clear_faults();
    sandbox.inject(
        Fault::redirect("https://elsewhere.example/")
            .on("/batch")
            .always(),
    );
    for provider in ["opik", "langsmith"] {
        let words = ["elsewhere.example", "--url"];
        fails(&place, &[provider], "test_record", "redirect", &words);
    }
}

/// What is at the address of a receiver of OTLP, besides what takes spans, is its own affair.
#[test]
fn a_redirect_elsewhere() {
    let server = answering(|head| match head.starts_with("POST /v1/traces ") {
        true => answer("200 OK", ""),
        false => answer("308 Permanent Redirect\r\nLocation: /ui", ""),
    });
    check(&Place::new(), &["otlp", "--url", &url(server, "")]).is_well();
}

#[test]
fn clocks() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let ping = |server: TimeDelta| {
        let date = (Utc::now() + server).format("%a, %d %b %Y %H:%M:%S GMT");
        sandbox.clear_faults();
        let fault = Fault::status(200).with_body(json!({"healthy": true}).to_string());
        let fault = fault.with_header("date", date.to_string());
        sandbox.inject(fault.on("is-alive/ping").always());
    };
    let remedy = "set this machine's clock";
    for (server, words) in [
        (TimeDelta::hours(25), "behind the server's"),
        (TimeDelta::hours(-25), "ahead of the server's"),
        (TimeDelta::days(400), "behind the server's"),
    ] {
        ping(server);
        fails(&place, &["opik"], "clock", "clock", &[words, remedy]);
    }
    for (server, words) in [
        (TimeDelta::minutes(10), "min"),
        (TimeDelta::minutes(-10), "ahead of"),
        (TimeDelta::hours(23), "behind"),
    ] {
        ping(server);
        warns(&place, &["opik"], "clock", "clock", &[words, remedy]);
    }
    ping(TimeDelta::minutes(4));
    check(&place, &["opik"]).is_well();
}

#[test]
fn nobody_there() {
    let place = Place::new();
    for provider in ["opik", "phoenix", "otlp"] {
        let arguments = [provider, "--url", "http://127.0.0.1:1"];
        let words = [
            "127.0.0.1:1 refuses the connection",
            "check that the server runs, and the port",
            "from: flag",
        ];
        fails(&place, &arguments, "connection", "refused", &words);
        let arguments = [provider, "--url", "http://does-not-exist.invalid"];
        let words = [
            "does-not-exist.invalid cannot be resolved",
            "base URL",
            "from: flag",
        ];
        fails(&place, &arguments, "name", "dns", &words);
    }
}

// What a server says.

/// What a status says, wherever it comes from.
const STATUSES: &[(u16, &str, &str)] = &[
    (402, "quota", "the plan's limit is used up"),
    (413, "too_large", "look for the body limit"),
    (429, "rate_limited", "try again later"),
    (500, "unhealthy", ""),
    (503, "unhealthy", ""),
    (504, "timeout", ""),
];

fn statuses(provider: &str, path: &str, after: u64, step: &str) {
    let sandbox = sandbox();
    let place = place(&sandbox);
    for (status, problem, words) in STATUSES {
        sandbox.clear_faults();
        sandbox.inject(Fault::status(*status).on(path).after(after).always());
        let words = [&status.to_string(), *words];
        fails_quietly(&place, &[provider], step, problem, &words);
    }
}

#[test]
fn statuses_of_opik() {
    statuses("opik", "/is-alive/ping", 1, "server");
    statuses("opik", "/v1/private/auth", 0, "credentials");
    statuses("opik", "/traces/batch", 0, "test_record");
    statuses("opik", "/spans/batch", 0, "test_record");
    statuses("opik", "/v1/private/spans/0", 0, "read_back");
}

#[test]
fn statuses_of_langfuse() {
    statuses("langfuse", "/api/public/health", 1, "server");
    statuses("langfuse", "/api/public/projects", 0, "credentials");
    statuses("langfuse", "/api/public/otel", 0, "credentials");
    statuses("langfuse", "/api/public/otel", 1, "test_record");
    statuses("langfuse", "/v2/observations", 0, "read_back");
}

#[test]
fn statuses_of_phoenix() {
    statuses("phoenix", "/arize_phoenix_version", 1, "server");
    statuses("phoenix", "/phoenix/v1/traces", 0, "credentials");
    statuses("phoenix", "/phoenix/v1/traces", 1, "test_record");
    statuses("phoenix", "/spans", 0, "read_back");
}

#[test]
fn statuses_of_langsmith() {
    statuses("langsmith", "/langsmith/info", 1, "server");
    statuses("langsmith", "/sessions", 0, "credentials");
    statuses("langsmith", "/runs/batch", 0, "test_record");
    statuses("langsmith", "/runs/0", 0, "read_back");
}

#[test]
fn statuses_of_otlp() {
    statuses("otlp", "/otlp/v1/traces", 0, "server");
    statuses("otlp", "/otlp/v1/traces", 1, "credentials");
    statuses("otlp", "/otlp/v1/traces", 2, "test_record");
}

#[test]
fn a_body_limit_in_front() {
    let builder = Sandbox::builder().with_max_body_bytes(100);
    let sandbox = builder.start().unwrap();
    let url = sandbox.opik_url();
    let words = ["413", "something in between takes small requests only"];
    fails(
        &Place::new(),
        &["opik", "--url", &url],
        "test_record",
        "too_large",
        &words,
    );
}

#[test]
fn an_unhealthy_server() {
    let sandbox = sandbox();
    let fault = Fault::status(200).with_body(r#"{"healthy":false}"#);
    sandbox.inject(fault.on("/is-alive/ping").always());
    let words = ["there but not healthy"];
    fails(&place(&sandbox), &["opik"], "server", "unhealthy", &words);
}

#[test]
fn servers_without_the_endpoint() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let not_found =
        || Fault::status(404).with_body(r#"{"code":404,"message":"HTTP 404 Not Found"}"#);
    for (provider, path, step, words) in [
        (
            "opik",
            "/v1/private/auth",
            "credentials",
            "has version 2.2.48 and lacks the endpoint v1/private/auth",
        ),
        ("opik", "/traces/batch", "test_record", "404"),
        ("opik", "/spans/batch", "test_record", "404"),
        (
            "langfuse",
            "/api/public/otel",
            "credentials",
            "takes no OTLP (status 404); it must be 3.30 or newer",
        ),
        (
            "phoenix",
            "/phoenix/v1/traces",
            "credentials",
            "takes no OTLP at v1/traces (status 404)",
        ),
        (
            "langsmith",
            "/sessions",
            "credentials",
            "lacks the endpoint sessions (status 404); update it",
        ),
        ("langsmith", "/runs/batch", "test_record", "404"),
        (
            "otlp",
            "/v1/traces",
            "server",
            "check the endpoint and its port",
        ),
    ] {
        sandbox.clear_faults();
        sandbox.inject(not_found().on(path).always());
        let words = [words, ", from: "];
        fails(&place, &[provider], step, "old_server", &words);
    }
    // An old Opik that cannot be asked for a project by name is none the worse for it.
    sandbox.clear_faults();
    sandbox.inject(not_found().on("/projects/retrieve").always());
    check(&place, &["opik", "--project", "p"]).is_well();
}

#[test]
fn servers_of_another_kind() {
    let page = "<!doctype html><html><head></head><body>welcome</body></html>";
    let server = answering(move |_| answer("200 OK\r\nContent-Type: text/html", page));
    let base_url = url(server, "");
    let place = Place::new()
        .with("LANGFUSE_PUBLIC_KEY", PUBLIC_KEY)
        .with("LANGFUSE_SECRET_KEY", SECRET_KEY)
        .with("LANGSMITH_API_KEY", PERSONAL_KEY);
    for provider in ALL {
        let words = [
            "answers with status 200, but not as",
            "check the",
            ", from: flag",
        ];
        fails(
            &place,
            &[provider, "--url", &base_url],
            "server",
            "wrong_server",
            &words,
        );
    }
    // No HTTP at all.
    let ssh = answering(|_| "SSH-2.0-OpenSSH_9.6\r\n".to_owned());
    let words = ["does not speak HTTP/1.1"];
    fails(
        &place,
        &["opik", "--url", &url(ssh, "")],
        "server",
        "wrong_server",
        &words,
    );
    let silent = answering(|_| String::new());
    let words = ["broke before the answer was there"];
    let arguments = ["opik", "--url", &url(silent, "")];
    fails(&place, &arguments, "connection", "connection", &words);
}

#[test]
fn a_record_that_is_refused() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    sandbox.inject(Fault::status(422).on("/traces/batch").always());
    fails(&place, &["opik"], "test_record", "rejected", &["422"]);
    sandbox.answer_otlp_partially(1, "no \u{1b}[31m model");
    let words = ["the server answered: no ", "[31m model"];
    fails(&place, &["otlp"], "test_record", "rejected", &words);

    // By what is not the backend, although it looked like it before.
    for (status, body, problem) in [
        (200, "<html>log in</html>", "wrong_server"),
        (418, "{}", "rejected"),
        (
            400,
            r#"{"message":"Workspace not found"}"#,
            "wrong_workspace",
        ),
    ] {
        sandbox.clear_faults();
        let fault = Fault::status(status).with_body(body);
        sandbox.inject(fault.on("/traces/batch").always());
        fails(&place, &["opik"], "test_record", problem, &[]);
    }
}

#[test]
fn switched_off() {
    for (provider, variable) in [
        ("opik", "OPIK_TRACK_DISABLE"),
        ("langfuse", "BELUGA_O11Y_DISABLED"),
        ("phoenix", "BELUGA_O11Y_DISABLED"),
        ("langsmith", "BELUGA_O11Y_DISABLED"),
        ("otlp", "OTEL_SDK_DISABLED"),
    ] {
        let sandbox = sandbox();
        let place = place(&sandbox).with(variable, "true");
        let words = [&format!("switched off by {variable}"), "unset it to send"];
        fails(&place, &[provider], "settings", "switched_off", &words);
        assert_eq!(sandbox.request_count(), 0);
    }
}

// What takes its time.

#[test]
fn never_readable() {
    let later = "look for it in the user interface later";
    let not_there = || Fault::status(404);
    let empty = || Fault::status(200).with_body(r#"{"data":[],"meta":{}}"#);
    let cases = [
        ("opik", "/v1/private/spans/0", not_there(), later),
        ("phoenix", "/spans", not_there(), later),
        ("langsmith", "/runs/0", not_there(), later),
        ("langfuse", "/v2/observations", empty(), later),
        // An older server that cannot be asked.
        (
            "langfuse",
            "/v2/observations",
            not_there(),
            "lacks the endpoint api/public/v2/observations",
        ),
    ];
    // All at once, since each is given up only after seconds.
    thread::scope(|scope| {
        for (provider, path, fault, words) in cases {
            scope.spawn(move || {
                let sandbox = sandbox();
                sandbox.inject(fault.on(path).always());
                let since = Instant::now();
                let place = place(&sandbox);
                warns(&place, &[provider], "read_back", "not_readable", &[words]);
                assert!(since.elapsed() < Duration::from_secs(12));
                assert_eq!(sandbox.calls().len(), 1);
            });
        }
    });
}

#[test]
fn phoenix_cannot_be_asked_for_a_project_with_a_slash() {
    let sandbox = sandbox();
    let arguments = ["phoenix", "--project", "team/app"];
    let words = ["because of its name"];
    warns(
        &place(&sandbox),
        &arguments,
        "read_back",
        "not_readable",
        &words,
    );
}

#[test]
fn all_hang() {
    let sandbox = sandbox();
    sandbox.inject(Fault::silence().always());
    let since = Instant::now();
    let checked = check(&place(&sandbox), &ALL);
    assert!(since.elapsed() < Duration::from_secs(12));
    for provider in ALL {
        let odd = checked.odd(provider);
        assert_eq!(odd.len(), 1);
        assert_eq!(
            (odd[0].step.as_str(), odd[0].problem.as_str()),
            ("server", "timeout")
        );
        assert!(odd[0].said.contains("within 4s"), "{odd:?}");
    }
}

#[test]
fn a_listener_that_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let base_url = url(address, "");
    let arguments = ["opik", "--url", &base_url, "--timeout", "1"];
    let words = ["no answer from", "within 1s", ", from: flag"];
    fails_quietly(&Place::new(), &arguments, "server", "timeout", &words);
    let base_url = base_url.replace("http:", "https:");
    let arguments = ["opik", "--url", &base_url, "--timeout", "1"];
    let words = ["does not answer in TLS", ", from: flag"];
    fails_quietly(&Place::new(), &arguments, "tls", "timeout", &words);

    // TLS is well, and what is behind it is not.
    let authority = Authority::new();
    let place = Place::new();
    let ca = place.file("ca.pem", &authority.pem);
    let address = authority.tls("127.0.0.1", address, |_| {});
    let base_url = format!("https://{address}");
    let arguments = ["opik", "--url", &base_url, "--timeout", "2", "--ca", &ca];
    fails_quietly(&place, &arguments, "server", "timeout", &["within 2s"]);
    assert_eq!(
        check(&place, &arguments).step("opik", "tls")["status"],
        "ok"
    );
}

#[test]
fn a_record_that_hangs() {
    let cases = [
        ("opik", "/spans/batch", 0),
        ("langsmith", "/runs/batch", 0),
        ("phoenix", "/phoenix/v1/traces", 1),
    ];
    thread::scope(|scope| {
        for (provider, path, after) in cases {
            scope.spawn(move || {
                let sandbox = sandbox();
                sandbox.inject(Fault::silence().on(path).after(after).always());
                let place = place(&sandbox);
                let arguments = [provider, "--timeout", "1"];
                let words = ["no answer"];
                fails_quietly(&place, &arguments, "test_record", "timeout", &words);
            });
        }
    });
}

/// Each request is in time, and all together are not.
#[test]
fn a_server_that_is_slow_with_everything() {
    let sandbox = sandbox();
    sandbox.inject(Fault::latency(Duration::from_millis(2_500)).always());
    let since = Instant::now();
    let checked = check(&place(&sandbox), &ALL);
    let took = since.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    for provider in ALL {
        let odd = checked.odd(provider);
        assert_eq!(odd[0].problem, "timeout", "{odd:?}");
        assert!(odd[0].said.contains("no answer within 9 s"), "{odd:?}");
    }
    assert!(took > Duration::from_secs(8), "{took:?}");
}

// What others write.

#[test]
fn nothing_that_others_write_acts_on_the_terminal() {
    let evil = "\u{1b}]0;x\u{7}\u{9b}31m\u{202e}";
    let sandbox = Sandbox::start().unwrap();
    let version = json!({"version": format!("2{evil}")}).to_string();
    sandbox.inject(
        Fault::status(200)
            .with_body(version)
            .on("/is-alive/ver")
            .always(),
    );
    let sessions = json!([{"name": "x"}]).to_string();
    sandbox.inject(
        Fault::status(200)
            .with_body(sessions)
            .on("/sessions")
            .always(),
    );
    let tidy = |text: &str| {
        let acts = |char: char| char.is_control() && char != '\n' || char == '\u{202e}';
        !text.contains(acts)
    };
    let project = format!("p{evil}");
    let place = Place::new()
        .with("OPIK_URL_OVERRIDE", sandbox.opik_url())
        .with("OPIK_PROJECT_NAME", &project)
        .with("LANGSMITH_ENDPOINT", sandbox.langsmith_url())
        .with("LANGSMITH_API_KEY", PERSONAL_KEY)
        .with("LANGSMITH_PROJECT", &project);
    for arguments in [
        &["check", "--no-write"][..],
        &["check", "--no-write", "--json"],
    ] {
        let ran = place.run(arguments).ends_with(0);
        assert!(tidy(&ran.out), "{:?}", ran.out);
        assert!(tidy(&ran.err), "{:?}", ran.err);
        let ran = ran.says("u{1b}").says("u{9b}").says("u{202e}");
        assert_eq!(ran.out.matches("there is no project p").count(), 2);
    }

    // And what a server refuses with.
    sandbox.inject(
        Fault::status(422)
            .with_body(json!({"errors": [evil]}).to_string())
            .on("/batch")
            .always(),
    );
    for arguments in [&["check"][..], &["check", "--json"], &["check", "-vv"]] {
        let ran = place.run(arguments).ends_with(1);
        assert!(tidy(&ran.out), "{:?}", ran.out);
        assert!(tidy(&ran.err), "{:?}", ran.err);
    }
}

/// Whatever variable it is in.
#[test]
fn no_variable_acts_on_the_terminal() {
    let evil = "x\u{1b}]0;y\u{7}\u{9b}31m";
    for (provider, name, value) in [
        ("opik", "OPIK_WORKSPACE", evil.to_owned()),
        (
            "opik",
            "OPIK_URL_OVERRIDE",
            format!("http://127.0.0.1:1/{evil}"),
        ),
        ("opik", "OPIK_URL_OVERRIDE", evil.to_owned()),
        ("opik", "OPIK_API_KEY", format!("key-{evil}")),
        ("opik", "OPIK_CONFIG_PATH", format!("/nowhere/{evil}")),
        ("opik", "OPIK_TRACK_DISABLE", evil.to_owned()),
        ("opik", "BELUGA_O11Y_ALLOW_HTTP", evil.to_owned()),
        ("opik", "HTTPS_PROXY", evil.to_owned()),
        ("langfuse", "LANGFUSE_PUBLIC_KEY", evil.to_owned()),
        ("langfuse", "LANGFUSE_BASE_URL", evil.to_owned()),
        ("phoenix", "PHOENIX_PROJECT_NAME", evil.to_owned()),
        ("langsmith", "LANGSMITH_WORKSPACE_ID", evil.to_owned()),
        ("otlp", "OTEL_SERVICE_NAME", evil.to_owned()),
        (
            "otlp",
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("{evil}={evil}"),
        ),
        ("otlp", "OTEL_EXPORTER_OTLP_PROTOCOL", evil.to_owned()),
        ("otlp", "OTEL_EXPORTER_OTLP_TIMEOUT", evil.to_owned()),
    ] {
        // Where nobody is.
        let place = Place::new()
            .with("OPIK_URL_OVERRIDE", "http://127.0.0.1:1")
            .with("LANGFUSE_BASE_URL", "http://127.0.0.1:1")
            .with("LANGFUSE_PUBLIC_KEY", PUBLIC_KEY)
            .with("LANGFUSE_SECRET_KEY", SECRET_KEY)
            .with("PHOENIX_COLLECTOR_ENDPOINT", "http://127.0.0.1:1")
            .with("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")
            .with("LANGSMITH_API_KEY", PERSONAL_KEY)
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            .with(name, value);
        for arguments in [
            &["check", provider][..],
            &["check", "--json", provider],
            &["send", "--model", "m", "--to", provider],
        ] {
            let ran = ran(&place, arguments);
            assert!([Some(1), Some(2)].contains(&ran.code), "{ran:?}");
            let acts = |char: char| char.is_control() && char != '\n';
            assert!(!ran.out.contains(acts), "{name}: {:?}", ran.out);
            assert!(!ran.err.contains(acts), "{name}: {:?}", ran.err);
        }
    }
}

#[test]
fn what_a_server_says_is_cut() {
    let sandbox = Sandbox::start().unwrap();
    for length in [50_000, 1_000_000] {
        sandbox.clear_faults();
        let version = json!({"version": "9".repeat(length)}).to_string();
        sandbox.inject(
            Fault::status(200)
                .with_body(&version)
                .on("/is-alive/ver")
                .always(),
        );
        let health = json!({"status": "OK", "version": "9".repeat(length)}).to_string();
        sandbox.inject(
            Fault::status(200)
                .with_body(health)
                .on("/api/public/health")
                .always(),
        );
        let place = sandbox
            .environment()
            .into_iter()
            .fold(Place::new(), |place, (name, value)| place.with(name, value));
        for arguments in [
            &["check", "opik", "langfuse"][..],
            &["check", "--json", "opik", "langfuse"],
        ] {
            let ran = place.run(arguments);
            assert!(ran.out.len() < 10_000, "{}", ran.out.len());
            ran.says("Opik");
        }
    }
    sandbox.clear_faults();
    sandbox.inject(Fault::huge_body(200, 100_000_000).always());
    let url = sandbox.opik_url();
    let words = ["but not as Opik does"];
    fails(
        &Place::new(),
        &["opik", "--url", &url],
        "server",
        "wrong_server",
        &words,
    );
}

/// A key that is in no message may still be in the library's own log.
#[test]
fn the_log_shows_no_key() {
    let sandbox = sandbox();
    let place = place(&sandbox);
    let mut arguments = vec!["-vv", "check"];
    arguments.extend(ALL);
    ran(&place, &arguments).ends_with(0);
    sandbox.inject(Fault::status(401).always());
    ran(&place, &arguments).ends_with(1);
}

#[test]
fn nobody_reads_the_report() {
    let sandbox = Sandbox::start().unwrap();
    let mut child = Place::with_opik(&sandbox).start(&["check", "opik"]);
    drop(child.stdout.take());
    let deadline = Instant::now() + Duration::from_secs(10);
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(code, Some(141));
}
