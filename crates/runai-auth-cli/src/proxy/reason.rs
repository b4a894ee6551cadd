//! Why the proxy answers a request itself, for programs: `reason` in its JSON, a label in its metrics.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident => $text:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The Host is not one of the proxy's names.
    Host => "host",
    /// The request comes from a page of another origin.
    Origin => "origin",
    /// The request has a form that only forward proxies serve, or that can be read in two ways.
    Form => "form",
    /// The inbound key is missing or wrong.
    Key => "key",
    /// The path can be read in two ways, or a rule forbids it.
    Path => "path",
    /// A rule forbids the method.
    Method => "method",
    /// The path is a token endpoint's.
    Token => "token",
    /// Too many requests are in flight.
    Busy => "busy",
    /// The caller's body broke off.
    Body => "body",
    /// The control plane refused the credentials, or they cannot be read.
    InvalidCredentials => "refused",
    /// There is no token now.
    Unavailable => "unavailable",
    /// The control plane rejects tokens that it issued.
    Rejected => "rejected",
    /// No connection to the control plane can be made.
    Unreachable => "unreachable",
    /// The connection to the control plane broke.
    Upstream => "upstream",
}
