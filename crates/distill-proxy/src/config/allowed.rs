//! Who may ask: lists of users, teams and roles.

use distill_ledger::{Caller, Role};

/// Whether a caller is on a list of `USER`, `team:NAME` and `role:admin`. An empty list lets everybody
/// in, and administrators are never left out.
pub fn is_allowed(list: &[String], caller: &Caller) -> bool {
    list.is_empty()
        || caller.role == Role::Admin
        || list.iter().any(|name| match name.split_once(':') {
            Some(("team", team)) => caller.team.as_deref() == Some(team),
            Some(("role", _)) => false,
            _ => *name == caller.user,
        })
}

#[cfg(test)]
mod tests {
    use distill_ledger::{Caller, KeyLimits, Role};

    use super::is_allowed;

    #[test]
    fn lists_name_users_teams_and_the_administrator() {
        let caller = |user: &str, team: Option<&str>, role| Caller {
            key_id: "k".to_owned(),
            user: user.to_owned(),
            team: team.map(str::to_owned),
            discipline: None,
            level: None,
            role,
            models: Vec::new(),
            limits: KeyLimits::default(),
        };
        let anna = caller("anna", Some("core"), Role::User);
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert!(is_allowed(&[], &anna));
        assert!(is_allowed(&list(&["anna"]), &anna));
        assert!(is_allowed(&list(&["bert", "team:core"]), &anna));
        assert!(!is_allowed(
            &list(&["bert", "team:other", "role:admin"]),
            &anna
        ));
        assert!(!is_allowed(&list(&["core"]), &anna), "a team is no user");
        assert!(is_allowed(
            &list(&["bert"]),
            &caller("root", None, Role::Admin)
        ));
    }
}
