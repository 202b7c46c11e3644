//! Which web pages may open a socket.
//!
//! Browsers let any page open a WebSocket to anywhere, and say in `Origin` whose page it is. A
//! program that is no browser sends none, and could send any; it is not what this is about.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};

/// What a browser says of whose page has asked, as seen from here (Fetch Metadata).
pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The pages that may open a socket, besides those of this very host.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    listed: Vec<String>,
    /// Whether the server listens beyond this machine.
    exposed: bool,
}

impl Origins {
    pub(super) fn new(listed: Vec<String>, exposed: bool) -> Self {
        Self { listed, exposed }
    }

    /// Whether a request with these headers may be made.
    pub(super) fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return self.allows_silence(headers);
        };
        let Ok(origin) = origin.to_str() else { return false };
        if self.listed.iter().any(|listed| listed == "*" || listed == origin) {
            return true;
        }
        let Ok(origin) = origin.parse::<Uri>() else { return false };
        let Some(page) = origin.authority() else { return false };
        if is_loopback(page) {
            return true;
        }
        // A page whose name its owner points at 127.0.0.1 (DNS rebinding) is of the "same host",
        // too. So a name counts only where the server has one, that is, beyond this machine.
        let named_for_us = self.exposed || address(page).is_some();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        named_for_us && host.is_some_and(|host| host.eq_ignore_ascii_case(page.as_str()))
    }

    /// Whether a request may be made that does not say of which page it is. A browser says it of
    /// every socket, but not of what a page reads from its own host: so where only this machine
    /// can come, the host must not be a name that somebody else has pointed at it. Nor does it say
    /// it of an image on a page of another site, but then it says that much (Fetch Metadata).
    fn allows_silence(&self, headers: &HeaderMap) -> bool {
        let is_elsewhere = headers.get(FETCH_SITE).is_some_and(|site| site == "cross-site");
        let is_socket = headers.contains_key(header::UPGRADE);
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.and_then(|host| host.parse::<Authority>().ok());
        let is_ours = |host: &Authority| {
            let listed = |page: &String| {
                let page = page.parse::<Uri>().ok();
                page.and_then(|page| page.authority().cloned()).is_some_and(|page| page == *host)
            };
            is_loopback(host) || address(host).is_some() || self.listed.iter().any(listed)
        };
        let named = self.exposed || self.listed.iter().any(|listed| listed == "*");
        !is_elsewhere && (is_socket || named || host.as_ref().is_none_or(is_ours))
    }
}

fn is_loopback(page: &Authority) -> bool {
    page.host().eq_ignore_ascii_case("localhost")
        || address(page).is_some_and(|address| address.is_loopback())
}

fn address(page: &Authority) -> Option<std::net::IpAddr> {
    page.host().trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(origins: &Origins, origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::HOST, host.parse().unwrap());
        origins.allow(&headers)
    }

    #[test]
    fn pages_of_this_machine_may() {
        let origins = Origins::default();
        for page in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080"] {
            assert!(allows(&origins, page, "127.0.0.1:4600"), "{page}");
        }
        assert!(origins.allow(&HeaderMap::new()), "no browser, no origin");
    }

    #[test]
    fn other_pages_may_not_unless_they_are_listed() {
        let origins = Origins::default();
        for page in ["https://evil.example", "null", "http://localhost.evil.example", "x"] {
            assert!(!allows(&origins, page, "127.0.0.1:4600"), "{page}");
        }
        let listed = Origins::new(vec!["https://app.example".to_owned()], false);
        assert!(allows(&listed, "https://app.example", "127.0.0.1:4600"));
        assert!(!allows(&listed, "http://app.example", "127.0.0.1:4600"));
        let all = Origins::new(vec!["*".to_owned()], false);
        assert!(allows(&all, "https://evil.example", "127.0.0.1:4600"));
    }

    #[test]
    fn a_request_of_no_page_names_this_machine_as_it_is_called() {
        let read = |origins: &Origins, more: &[(&'static str, &str)]| {
            let pairs = more
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            origins.allow(&pairs.collect())
        };
        let local = Origins::default();
        for host in ["127.0.0.1:4600", "localhost:4600", "[::1]:4600", "10.0.0.7"] {
            assert!(read(&local, &[("host", host)]), "{host}");
        }
        let rebound = [("host", "evil.example:4600")];
        assert!(!read(&local, &rebound), "dns rebinding");
        assert!(read(&local, &[rebound[0], ("upgrade", "websocket")]), "no browser");
        assert!(read(&Origins::new(vec![], true), &rebound), "it may be called so");
        let listed = Origins::new(vec!["https://state.example".to_owned()], false);
        assert!(read(&listed, &[("host", "state.example")]));
        let image = [("host", "127.0.0.1:4600"), ("sec-fetch-site", "cross-site")];
        assert!(!read(&local, &image));
    }

    #[test]
    fn a_page_of_the_same_host_may_where_the_host_can_have_a_name() {
        let (local, exposed) = (Origins::new(vec![], false), Origins::new(vec![], true));
        let page = "http://state.example:4600";
        assert!(allows(&exposed, page, "state.example:4600"));
        assert!(!allows(&exposed, page, "other.example:4600"));
        assert!(!allows(&local, page, "state.example:4600"), "dns rebinding");
        assert!(allows(&local, "http://10.0.0.7:4600", "10.0.0.7:4600"));
    }
}
