use std::{net::IpAddr, sync::Arc};

use axum::http::{HeaderMap, HeaderName, Uri};
use distill_ledger::{Caller, Role};

use super::{Sender, anonymous, presented, recognise, require_admin};
use crate::{config::SecurityConfig, problem::Problem};

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect()
}

fn someone(user: &str, role: Role) -> Arc<Caller> {
    Arc::new(Caller {
        user: user.into(),
        role,
        ..anonymous()
    })
}

async fn ask(
    address: &str,
    require_keys: bool,
    pairs: &[(&str, &str)],
) -> Result<Arc<Caller>, Problem> {
    let headers = headers(pairs);
    let security = SecurityConfig {
        require_keys,
        hosts: vec!["proxy.example.org".into()],
        ..SecurityConfig::default()
    };
    recognise(
        &Sender {
            address: address.parse::<IpAddr>().unwrap(),
            headers: &headers,
            uri: &Uri::from_static("/v1/models"),
        },
        &security,
        &Arc::new(anonymous()),
        |key| async move {
            match key.as_str() {
                "dk-ada" => Some(someone("ada", Role::User)),
                "admin-key" => Some(someone("admin", Role::Admin)),
                _ => None,
            }
        },
    )
    .await
}

#[tokio::test]
async fn a_key_is_taken_from_every_header_that_clients_use() {
    for pair in [
        ("authorization", "Bearer dk-ada"),
        ("authorization", "bearer  dk-ada"),
        ("x-api-key", "dk-ada"),
        ("api-key", "dk-ada"),
    ] {
        assert_eq!(
            ask("10.0.0.1", true, &[pair]).await.unwrap().user,
            "ada",
            "{pair:?}"
        );
    }
    let both = [("authorization", "Bearer stale"), ("x-api-key", "dk-ada")];
    assert_eq!(ask("10.0.0.1", true, &both).await.unwrap().user, "ada");
    assert_eq!(
        presented(&headers(&[
            ("authorization", "Basic eA=="),
            ("x-api-key", " ")
        ]))
        .count(),
        0
    );
}

#[tokio::test]
async fn the_admin_key_is_told_apart() {
    let admin = ask("127.0.0.1", true, &[("x-api-key", "admin-key")])
        .await
        .unwrap();
    assert_eq!(admin.role, Role::Admin);
    assert!(require_admin(&admin).is_ok());
    let ada = ask("127.0.0.1", true, &[("x-api-key", "dk-ada")])
        .await
        .unwrap();
    assert_eq!(require_admin(&ada).unwrap_err().status, 403);
}

#[tokio::test]
async fn without_a_known_key_nobody_is_let_in_and_the_key_is_not_repeated() {
    for pairs in [&[][..], &[("x-api-key", "sk-planted")][..]] {
        let problem = ask("127.0.0.1", true, pairs).await.unwrap_err();
        assert_eq!(problem.status, 401);
        assert!(!format!("{problem:?}").contains("planted"));
    }
    assert_eq!(
        ask("10.0.0.1", false, &[]).await.unwrap_err().status,
        401,
        "another machine always needs a key"
    );
    let passed_on = [("host", "localhost"), ("x-forwarded-for", "10.0.0.1")];
    assert_eq!(
        ask("127.0.0.1", false, &passed_on)
            .await
            .unwrap_err()
            .status,
        401,
        "and so does one behind another server"
    );
}

#[tokio::test]
async fn where_no_keys_are_asked_for_this_machine_is_anonymous_with_any() {
    for pairs in [
        &[("host", "127.0.0.1:8080")][..],
        &[("host", "localhost:8080"), ("x-api-key", "sk-anything")][..],
        &[("host", "[::1]:8080"), ("origin", "http://localhost:3000")][..],
        &[("host", "proxy.example.org:80")][..],
        &[
            ("host", "localhost"),
            ("origin", "vscode-file://vscode-app"),
        ][..],
    ] {
        let caller = ask("127.0.0.1", false, pairs).await.unwrap();
        assert_eq!(
            (caller.user.as_str(), caller.role),
            ("anonymous", Role::User)
        );
    }
    assert_eq!(
        ask("::1", false, &[("x-api-key", "dk-ada")])
            .await
            .unwrap()
            .user,
        "ada"
    );
}

#[tokio::test]
async fn a_site_cannot_spend_in_the_name_of_whoever_looks_at_it() {
    for pairs in [
        &[
            ("host", "127.0.0.1:8080"),
            ("origin", "https://evil.example"),
        ][..],
        &[("host", "127.0.0.1:8080"), ("origin", "null")][..],
        &[("host", "evil.example:8080")][..],
        &[("host", "127.0.0.1.evil.example")][..],
        &[
            ("host", "localhost.evil.example"),
            ("origin", "http://localhost.evil.example"),
        ][..],
    ] {
        assert_eq!(
            ask("127.0.0.1", false, pairs).await.unwrap_err().status,
            403,
            "{pairs:?}"
        );
    }
}
