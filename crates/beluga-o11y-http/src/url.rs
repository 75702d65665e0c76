//! Where requests go, and who could read them on their way.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use reqwest::Url;

use crate::HttpConfigError;

/// How far a host is away, judged by its name or address alone: nothing is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine.
    Loopback,
    /// The local network: addresses that are not routed on the internet, and names that only mean
    /// something inside a network.
    Private,
    /// Anywhere.
    Public,
}

/// An absolute `http://` or `https://` URL with a host and perhaps a path; nothing else.
#[derive(Clone)]
pub(crate) struct BaseUrl {
    url: Url,
    text: String,
    reach: Reach,
}

impl BaseUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, HttpConfigError> {
        let invalid = |problem| HttpConfigError::InvalidBaseUrl { problem };
        let mut url = parse_http(text).map_err(invalid)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpConfigError::CredentialsInUrl);
        }
        if url.query().is_some() {
            return Err(invalid("take out the ? and what follows it"));
        }
        if url.fragment().is_some() {
            return Err(invalid("take out the # and what follows it"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);

        Ok(Self {
            text: url.as_str().trim_end_matches('/').to_owned(),
            reach: reach(url.host_str().unwrap_or_default()),
            url,
        })
    }

    /// The path's segments after the base URL's own. `Url::join` would drop the last segment of a base
    /// without a trailing slash, and all of them before a path with a leading one.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        // Only a URL without a host has no segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments
                .pop_if_empty()
                .extend(path.split('/').filter(|segment| !segment.is_empty()));
        }
        url
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The one of the scheme if it names none.
    pub(crate) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// `host` or `host:port`.
    pub(crate) fn authority(&self) -> String {
        authority(&self.url)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A URL of ours or of a proxy, or what is wrong with it, in words that hold nothing of it.
pub(crate) fn parse_http(text: &str) -> Result<Url, &'static str> {
    const SCHEME: &str = "it must start with http:// or https://";

    let text = text.trim();
    if text.is_empty() {
        return Err("it is blank");
    }
    // The parser would take out line breaks and tabs without a word.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("there is a blank or a control character in it");
    }
    // The parser would also accept `http:host` and `http:\\host`.
    let has_scheme = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if !has_scheme {
        return Err(SCHEME);
    }
    let url = Url::parse(text).map_err(|_| "its host or port is not valid")?;
    // A host such as `{{host}}` or `a b` fails only when it is sent; refuse what no resolver takes.
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err("it has no host"),
    }
}

/// A base URL, or a path below it, for people. Of one that cannot be used only the host, if it has one: a user, a
/// password or a key may stand anywhere else in it.
pub(crate) fn shown(base_url: &str, path: Option<&str>) -> String {
    match (BaseUrl::parse(base_url), path) {
        (Ok(base), None) => base.text,
        (Ok(base), Some(path)) => base.join(path).into(),
        (Err(_), _) => match parse_http(base_url) {
            Ok(url) => format!("{}://{}/…", url.scheme(), authority(&url)),
            Err(_) => "…".to_owned(),
        },
    }
}

/// `host` or `host:port`, if the URL names a port.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// `host` as a parsed URL has it: lower case, addresses in their usual form, IPv6 in brackets.
pub(crate) fn reach(host: &str) -> Reach {
    let address = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse().map(IpAddr::V6).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    };
    match address {
        Some(IpAddr::V4(address)) => v4_reach(address),
        Some(IpAddr::V6(address)) => v6_reach(address),
        None => name_reach(host),
    }
}

fn v4_reach(address: Ipv4Addr) -> Reach {
    // 0.0.0.0 as a target is this machine; some servers print it as their address.
    if address.is_loopback() || address.is_unspecified() {
        Reach::Loopback
    } else if address.is_private() || address.is_link_local() {
        // Not 100.64/10: that is shared between the customers of one internet provider.
        Reach::Private
    } else {
        Reach::Public
    }
}

fn v6_reach(address: Ipv6Addr) -> Reach {
    if let Some(v4) = address.to_ipv4_mapped() {
        v4_reach(v4)
    } else if address.is_loopback() || address.is_unspecified() {
        Reach::Loopback
    } else if address.is_unique_local() || address.is_unicast_link_local() {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn name_reach(name: &str) -> Reach {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if name == "localhost" || ends(&[".localhost"]) {
        Reach::Loopback
    } else if !name.contains('.') || ends(&[".svc", ".cluster.local", ".local", ".internal"]) {
        Reach::Private
    } else {
        Reach::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_named_is_that_of_the_scheme() {
        for (url, expected) in [
            ("https://www.comet.com/opik/api", 443),
            ("http://opik.internal", 80),
            ("http://127.0.0.1:5173/api:1", 5173),
            ("http://[::1]/api", 80),
            ("https://[fd00::1]:8443", 8443),
        ] {
            assert_eq!(BaseUrl::parse(url).unwrap().port(), expected, "{url}");
        }
    }

    #[test]
    fn joins() {
        for (base, path, expected) in [
            (
                "https://www.comet.com/opik/api",
                "v1/private/x",
                "https://www.comet.com/opik/api/v1/private/x",
            ),
            (
                "https://www.comet.com/opik/api/",
                "v1/private/x",
                "https://www.comet.com/opik/api/v1/private/x",
            ),
            (
                "https://www.comet.com/opik/api/",
                "/v1/private/x",
                "https://www.comet.com/opik/api/v1/private/x",
            ),
            (
                "https://www.comet.com/opik/api//",
                "v1//x/",
                "https://www.comet.com/opik/api/v1/x",
            ),
            ("  https://h  ", "v1/x", "https://h/v1/x"),
            (
                "http://localhost:5173/api",
                "is-alive/ping",
                "http://localhost:5173/api/is-alive/ping",
            ),
            ("http://h:8080", "", "http://h:8080/"),
            ("http://h:8080/a", "", "http://h:8080/a"),
            ("https://h:443/a", "b", "https://h/a/b"),
            ("HTTPS://Host/A", "b", "https://host/A/b"),
            // What is in a segment stays in it.
            (
                "https://h/a",
                "x y?z=1#f%2F",
                "https://h/a/x%20y%3Fz=1%23f%252F",
            ),
            ("https://h/a", "../../etc", "https://h/a/etc"),
            ("https://h/a", "http://evil/", "https://h/a/http:/evil"),
            (
                "http://[::1]:4318",
                "v1/traces",
                "http://[::1]:4318/v1/traces",
            ),
        ] {
            let url = BaseUrl::parse(base).unwrap();
            assert_eq!(url.join(path).as_str(), expected, "{base} + {path}");
        }
    }

    #[test]
    fn display_form() {
        for (base, shown) in [
            (
                "https://www.comet.com/opik/api/",
                "https://www.comet.com/opik/api",
            ),
            (" http://h:80/ ", "http://h"),
            ("http://h:81", "http://h:81"),
        ] {
            assert_eq!(BaseUrl::parse(base).unwrap().as_str(), shown);
        }
    }

    #[test]
    fn refusals_name_the_problem_and_not_the_url() {
        for (base, part) in [
            ("", "blank"),
            (" \n ", "blank"),
            ("canary.example/api", "http://"),
            ("localhost:5173", "http://"),
            ("ftp://canary", "http://"),
            ("file:///canary", "http://"),
            ("//canary", "http://"),
            ("http:canary", "http://"),
            ("http:\\\\canary", "http://"),
            ("http://", "host"),
            ("http://:80", "host"),
            ("http://canary:99999", "host or port"),
            ("http://[canary", "host or port"),
            ("http://ca nary", "blank"),
            ("http://ca\nnary", "blank"),
            ("https://user:canary@h", "credentials in the URL"),
            ("https://canary@h", "credentials in the URL"),
            ("https://:canary@h", "credentials in the URL"),
            ("https://h/?key=canary", "?"),
            ("https://h/#canary", "#"),
        ] {
            let error = BaseUrl::parse(base).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(part), "{base}: {text}");
            assert!(
                !format!("{text}{error:?}").contains("canary"),
                "{base}: {text}"
            );
            assert!(!text.ends_with('.'));
        }
    }

    #[test]
    fn who_could_read_it() {
        use Reach::{Loopback, Private, Public};
        for (reach, hosts) in [
            (
                Loopback,
                &[
                    "127.0.0.1",
                    "127.255.255.254",
                    "127.1",
                    "2130706433",
                    "0x7f.0.0.1",
                    "0.0.0.0",
                    "[::1]",
                    "[::]",
                    "[::ffff:127.0.0.1]",
                    "localhost",
                    "LOCALHOST",
                    "localhost.",
                    "opik.localhost",
                    "a.b.LocalHost.",
                ][..],
            ),
            (
                Private,
                &[
                    "10.0.0.1",
                    "10.255.255.255",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.0.1",
                    "169.254.1.1",
                    "[fc00::1]",
                    "[fdff::1]",
                    "[fe80::1]",
                    "[febf::1]",
                    "[::ffff:10.0.0.1]",
                    "[::ffff:c0a8:1]",
                    "collector",
                    "Collector",
                    "collector.",
                    "otel.observability.svc",
                    "otel.ns.svc.",
                    "otel.ns.svc.cluster.local",
                    "printer.local",
                    "vm.c.project.INTERNAL",
                    "x.internal.",
                ],
            ),
            (
                Public,
                &[
                    "8.8.8.8",
                    "9.255.255.255",
                    "11.0.0.0",
                    "126.255.255.255",
                    "128.0.0.1",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.167.255.255",
                    "192.169.0.0",
                    "169.253.255.255",
                    "169.255.0.0",
                    "100.64.0.1",
                    "100.127.255.255",
                    "[2001:db8::1]",
                    "[fbff::1]",
                    "[fec0::1]",
                    "[::ffff:8.8.8.8]",
                    "[::10.0.0.1]",
                    "[64:ff9b::a00:1]",
                    "example.com",
                    "www.comet.com.",
                    "localhost.example.com",
                    "127.0.0.1.example.com",
                    "evillocalhost.com",
                    "mylocal.com",
                    "svc.example.com",
                    "notsvc.com",
                    "x.local.example",
                    "xn--n3h.com",
                    "internal.example.com",
                ],
            ),
        ] {
            for host in hosts {
                let url = BaseUrl::parse(&format!("http://{host}/x")).unwrap();
                assert_eq!(url.reach(), reach, "{host}");
            }
        }
    }
}
