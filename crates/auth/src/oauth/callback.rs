//! [`Callback`]: what a provider sends back through the browser.

use std::fmt;

use url::form_urlencoded;

/// No honest answer is longer, in bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// The parameters of an authorization response (RFC 6749 §4.1.2, RFC 9207), from a query or a posted form. Nothing in it is to be
/// believed yet. `Debug` shows no values.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Callback {
    pub(super) state: String,
    pub(super) code: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) error: Option<String>,
    pub(super) description: Option<String>,
    /// Apple sends the name once, beside the code.
    pub(super) user: Option<String>,
}

impl Callback {
    /// Reads `a=b&c=d`. `None` when there is no state, or a parameter that counts stands there twice (RFC 6749 §3.1).
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let mut callback = Self::default();
        let mut state = None;
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let place = match &*name {
                "state" => &mut state,
                "code" => &mut callback.code,
                "iss" => &mut callback.issuer,
                "error" => &mut callback.error,
                "error_description" => &mut callback.description,
                "user" => &mut callback.user,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        callback.state = state.filter(|state| !state.is_empty())?;
        Some(callback)
    }

    /// The same as a query.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", &self.state);
        let others = [
            ("code", &self.code),
            ("iss", &self.issuer),
            ("error", &self.error),
            ("error_description", &self.description),
            ("user", &self.user),
        ];
        for (name, value) in others {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("code", &self.code.is_some())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_counts_stands_there_once() {
        assert!(Callback::parse("code=a&state=b&foo=c&foo=d").is_some());
        for bad in ["", "code=a", "state=", "state=a&state=b", "state=a&code=b&code=c", "state=a&iss=b&iss=b"]
        {
            assert_eq!(Callback::parse(bad), None, "{bad}");
        }
        let shown = format!("{:?}", Callback::parse("code=secret&state=hidden").unwrap());
        assert!(!shown.contains("secret") && !shown.contains("hidden"));
    }

    proptest! {
        #[test]
        fn queries_round_trip(text in ".{0,40}", code in ".{0,40}") {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("state", &format!("x{text}")).append_pair("code", &code).finish();
            let callback = Callback::parse(&query).unwrap();
            prop_assert_eq!(Callback::parse(&callback.to_query()), Some(callback));
        }
    }
}
