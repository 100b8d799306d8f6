//! Access: the token, the host that a request names, and the page that it comes from.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;

use crate::errors::ServiceError;

/// The shortest token: a shorter one can be guessed.
const TOKEN_BYTES_MIN: usize = 8;
/// The longest token: it has to fit the header of a request.
const TOKEN_BYTES_MAX: usize = 1024;

/// The secret that clients show. Its text is never printed.
pub(crate) struct Token(Box<[u8]>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    pub(crate) fn new(text: &str) -> Result<Self, ServiceError> {
        let text = text.trim();
        if text.len() < TOKEN_BYTES_MIN || text.len() > TOKEN_BYTES_MAX {
            let limits = format!("a token has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} bytes");
            return Err(ServiceError::Option(limits));
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// Compares in a time that depends on the length alone.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }

    /// Reads the value of an `Authorization` header.
    pub(crate) fn is_bearer(&self, header: &[u8]) -> bool {
        let Some((scheme, shown)) = header.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && self.is(shown.trim_ascii())
    }
}

/// Tells whether a `Host` header names this machine. A page elsewhere can have its own name resolved to a loopback address; the
/// browser then still sends that name.
pub(crate) fn is_own_host(host: &str, bound: SocketAddr, allowed: &[String]) -> bool {
    let name = without_port(host);
    if name.eq_ignore_ascii_case("localhost") || allowed.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return true;
    }
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback() || address == bound.ip())
}

/// Tells whether an `Origin` header is that of the page that this service serves itself.
pub(crate) fn is_own_origin(origin: &str, host: &str) -> bool {
    let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    named.is_some_and(|named| named.eq_ignore_ascii_case(host))
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host.ends_with(']') => host.get(..at).unwrap_or(host),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_in_a_header_is_compared_whole() {
        let token = Token::new("correct horse").unwrap();
        assert!(token.is_bearer(b"Bearer correct horse") && token.is_bearer(b"bearer correct horse"));
        for wrong in [&b"Bearer correct hors"[..], b"Bearer correct horse x", b"correct horse", b"Basic", b""]
        {
            assert!(!token.is_bearer(wrong));
        }
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn host_of_another_name_is_not_ours() {
        let bound: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let allowed = ["cache.example".to_owned()];
        for own in
            ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "[::1]:8080", "[::1]", "cache.example:80"]
        {
            assert!(is_own_host(own, bound, &allowed), "{own}");
        }
        for other in ["evil.example", "evil.example:8080", "10.0.0.7", "", "localhost.evil.example"] {
            assert!(!is_own_host(other, bound, &allowed), "{other}");
        }
    }

    #[test]
    fn origin_of_another_page_is_not_ours() {
        assert!(is_own_origin("http://127.0.0.1:8080", "127.0.0.1:8080"));
        for other in ["http://evil.example", "null", "http://127.0.0.1:8081", "file://127.0.0.1:8080"] {
            assert!(!is_own_origin(other, "127.0.0.1:8080"), "{other}");
        }
    }
}
