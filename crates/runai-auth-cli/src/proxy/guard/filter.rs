//! Which methods and paths are served.

use http::{Method, StatusCode};
use runai_auth::tower_bearer::ForeignText;

use crate::{
    failure::Failure,
    flags::RuleArgs,
    proxy::{path::Prefix, reason::Reason, refusal::Refusal},
};

/// The rules for methods and paths. The default serves all.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    methods: Option<Vec<Method>>,
    allow: Vec<Prefix>,
    deny: Vec<Prefix>,
}

impl Filter {
    pub(crate) fn new(rules: &RuleArgs) -> Result<Self, Failure> {
        let prefixes = |texts: &[String]| -> Result<Vec<Prefix>, Failure> {
            let texts = texts.iter().filter(|text| !text.is_empty());
            let parse = |text: &String| {
                Prefix::parse(text).map_err(|why| {
                    Failure::usage(
                        format!("the rule for {}: {why}", ForeignText::new(text)),
                        "Write a path like /api/v1/workloads, with `*` for any one segment",
                    )
                })
            };
            texts.map(parse).collect()
        };
        let mut methods: Option<Vec<Method>> = None;
        for text in rules.methods.iter().filter(|text| !text.is_empty()) {
            let method = text.trim().to_ascii_uppercase().parse().map_err(|_| {
                Failure::usage(
                    format!("{} is not a method", ForeignText::new(text)),
                    "Write --methods GET,HEAD,POST",
                )
            })?;
            methods.get_or_insert_default().push(method);
        }
        if rules.read_only {
            let safe = [Method::GET, Method::HEAD, Method::OPTIONS];
            methods = Some(match methods {
                None => safe.to_vec(),
                Some(listed) => listed.into_iter().filter(|it| safe.contains(it)).collect(),
            });
        }
        Ok(Self {
            methods,
            allow: prefixes(&rules.allow_path)?,
            deny: prefixes(&rules.deny_path)?,
        })
    }

    pub(super) fn check_method(&self, method: &Method) -> Result<(), Refusal> {
        let refused = |served: &[Method]| {
            let served: Vec<_> = served.iter().map(Method::as_str).collect();
            Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Reason::Method,
                "the proxy does not serve this method",
                "It was started with --read-only or --methods",
            )
            .allow(served.join(", ")))
        };
        match &self.methods {
            Some(served) if !served.contains(method) => refused(served),
            // The answer would contain what the proxy adds: the token.
            _ if method == Method::TRACE => refused(&[]),
            _ => Ok(()),
        }
    }

    pub(super) fn check_path(&self, path: &str) -> Result<(), Refusal> {
        let is_allowed = self.allow.is_empty() || self.allow.iter().any(|it| it.allows(path));
        if is_allowed && !self.deny.iter().any(|it| it.denies(path)) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            Reason::Path,
            "the proxy does not serve this path",
            "It was started with --allow-path or --deny-path",
        ))
    }
}
