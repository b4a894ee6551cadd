//! The lifetime that a JWT states. Nothing is verified, because the token is the server's to judge. A token
//! that is not a JWT is a token all the same.

use std::time::Duration;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::wall;

/// Padding may be there or not.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The times in a JWT's claims: seconds since 1970, which may have a fraction (RFC 7519, section 2).
///
/// ```
/// use tower_bearer::oauth2::JwtTimes;
///
/// // The claims are `{"exp":1700003600,"iat":1700000000}`.
/// let times = JwtTimes::read("e30.eyJleHAiOjE3MDAwMDM2MDAsImlhdCI6MTcwMDAwMDAwMH0.c2ln").unwrap();
/// assert_eq!(times.expires_at(), Some(1_700_003_600.0));
/// assert!(JwtTimes::read("opaque").is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct JwtTimes {
    exp: Option<f64>,
    iat: Option<f64>,
}

impl JwtTimes {
    /// Reads the times from a token, if it is a JWT that has an `exp`.
    #[must_use]
    pub fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        let claims = Zeroizing::new(URL_SAFE.decode(claims).ok()?);
        if !claims.starts_with(b"{") {
            return None;
        }
        let times: Self = serde_json::from_slice(&claims).ok()?;
        times.exp.map(|_| times)
    }

    /// Returns when the token expires, in seconds since 1970.
    #[must_use]
    pub fn expires_at(self) -> Option<f64> {
        self.exp
    }

    /// Returns the time from now, by the local clock, until an instant in seconds since 1970. It is zero if
    /// the instant has passed.
    #[must_use]
    pub fn left_until(instant: f64) -> Duration {
        let left = instant - wall::seconds_since_1970();
        Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX)
    }
}

/// Returns how long the token lives from now on: zero if it has expired.
///
/// The answer's `Date` comes from the clock that made `exp`, so with it a wrong local clock does no harm.
/// Without it the local clock counts only if `iat` agrees with it. Otherwise a token would look expired, or
/// endless, on a machine whose clock is wrong.
pub(crate) fn lifetime(times: JwtTimes, answered: Option<f64>, local: f64) -> Option<Duration> {
    let exp = times.exp?;
    let left = match (answered, times.iat) {
        (Some(answered), _) => exp - answered,
        (None, Some(iat)) => {
            let left = exp - local;
            let whole = exp - iat;
            if left > 0.0 && left <= whole {
                left
            } else {
                whole
            }
        }
        (None, None) => exp - local,
    };
    Some(Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE.encode(claims))
    }

    #[test]
    fn b13_any_token_is_looked_at_without_an_error() {
        let exp = |token: &str| JwtTimes::read(token).and_then(|times| times.exp);
        assert_eq!(exp(&jwt(r#"{"exp":100,"iat":40}"#)), Some(100.0));
        assert_eq!(
            exp(&jwt(r#"{"exp":100,"iat":40}"#).replace('=', "")),
            Some(100.0)
        );
        assert_eq!(
            exp(&jwt(
                r#"{"exp":100.5,"name":"J\u00fcrgen \ud83d\ude00 ???>>>"}"#
            )),
            Some(100.5)
        );
        // Its payload has `-` and `_` in base64url.
        assert_eq!(
            exp(&jwt("{\"exp\":7,\"n\":\"\u{fb}\u{ff}\u{fe}~~~\"}")),
            Some(7.0)
        );
        for odd in [
            "",
            "opaque",
            "a.b",
            "a.b.c.d",
            "..",
            &jwt("[]"),
            &jwt("[100,40]"),
            &jwt(r#"{"exp":"soon"}"#),
            &jwt("{}"),
        ] {
            assert_eq!(exp(odd), None, "{odd}");
        }
    }

    #[test]
    fn c04_a_wrong_local_clock_does_no_harm() {
        let times = JwtTimes {
            exp: Some(1000.0),
            iat: Some(700.0),
        };
        let secs = |answered, local| lifetime(times, answered, local).unwrap().as_secs();
        assert_eq!(secs(Some(700.0), 0.0), 300);
        assert_eq!(
            secs(Some(900.0), 1e9),
            100,
            "a token that was handed out before is older"
        );
        assert_eq!(secs(Some(1000.0), 0.0), 0);
        assert_eq!(secs(Some(2000.0), 0.0), 0);
        // Without the server's time: the local one, if `iat` bears it out.
        assert_eq!(secs(None, 800.0), 200);
        assert_eq!(secs(None, 100.0), 300, "the local clock is slow");
        assert_eq!(secs(None, 1300.0), 300, "the local clock is fast");
    }

    #[test]
    fn times_without_sense_make_no_panic() {
        for exp in [f64::MAX, f64::MIN, 1e300, -1.0] {
            let times = JwtTimes {
                exp: Some(exp),
                iat: None,
            };
            assert!(lifetime(times, Some(0.0), 0.0).is_some());
        }
    }
}
