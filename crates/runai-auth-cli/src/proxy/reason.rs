//! Why the proxy itself answers a request, for programs: `reason` in its JSON, a label in its metrics.

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
    /// The Host is none of ours.
    Host => "host",
    /// A page of another origin asks.
    Origin => "origin",
    /// The request has a form that only forward proxies serve, or none.
    Form => "form",
    /// The inbound key is missing or wrong.
    Key => "key",
    /// The path may be read in two ways, or a rule forbids it.
    Path => "path",
    /// A rule forbids the method.
    Method => "method",
    /// A token endpoint.
    Token => "token",
    /// Too many requests at once.
    Busy => "busy",
    /// The caller's body broke off.
    Body => "body",
    /// The control plane refused the credentials.
    Refused => "refused",
    /// There is no token now.
    Unavailable => "unavailable",
    /// The control plane rejects tokens that it issued.
    Rejected => "rejected",
    /// There is no connection to the control plane.
    Unreachable => "unreachable",
    /// The connection to the control plane broke.
    Upstream => "upstream",
}
