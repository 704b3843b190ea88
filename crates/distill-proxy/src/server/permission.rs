//! What a caller may ask.

use distill_ledger::{Caller, Role};
use distill_wire::ErrorKind;

use crate::{config::is_allowed, problem::Problem};

/// Whether a name is one of these patterns; `*` at the end stands for anything.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Whether the caller's key allows a route, a model or a task (`task/NAME`) of that name.
pub(crate) fn may_name(caller: &Caller, name: &str) -> bool {
    caller.role == Role::Admin
        || caller.models.is_empty()
        || caller.models.iter().any(|pattern| matches(pattern, name))
}

/// Refuses a name that the caller may not use.
///
/// # Errors
/// A [`Problem`] with status 403.
pub(crate) fn require(caller: &Caller, name: &str, allow: &[String]) -> Result<(), Problem> {
    if may_name(caller, name) && is_allowed(allow, caller) {
        Ok(())
    } else {
        Err(Problem::new(
            ErrorKind::Permission,
            format!("this key may not ask `{name}`; GET /v1/models lists what it may"),
        )
        .code("model_not_allowed"))
    }
}

#[cfg(test)]
mod tests {
    use distill_ledger::{Caller, Role};

    use super::{may_name, require};
    use crate::server::authenticate::anonymous;

    fn caller(models: &[&str]) -> Caller {
        Caller {
            user: "ada".into(),
            team: Some("core".into()),
            models: models.iter().map(|&model| model.to_owned()).collect(),
            ..anonymous()
        }
    }

    #[test]
    fn a_key_allows_names_and_beginnings_of_names() {
        let some = caller(&["fast", "openai/*"]);
        assert!(may_name(&some, "fast") && may_name(&some, "openai/gpt-5"));
        assert!(!may_name(&some, "faster") && !may_name(&some, "xai/grok"));
        assert!(may_name(&caller(&[]), "anything"));
        let admin = Caller {
            role: Role::Admin,
            ..some
        };
        assert!(may_name(&admin, "xai/grok"));
    }

    #[test]
    fn the_route_has_its_say_too() {
        let ada = caller(&[]);
        assert!(require(&ada, "fast", &["team:core".into()]).is_ok());
        assert_eq!(
            require(&ada, "fast", &["bob".into()]).unwrap_err().status,
            403
        );
    }
}
