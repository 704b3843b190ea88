//! The way in, and pages that only say something.

use super::{
    super::html::{Html, markup},
    head,
};

/// The form that asks for the admin key.
pub(in crate::ui) fn form(nonce: &str, problem: Option<&str>) -> Html {
    let mut html = Html::new();
    head(&mut html, nonce, "Log in");
    html.raw("<body><main class=\"login\"><div class=\"card\"><h1>distill proxy</h1>");
    if let Some(problem) = problem {
        markup!(&mut html; "<p class=\"problem\" role=\"alert\">" (problem) "</p>");
    }
    html.raw("<form method=\"post\" action=\"/ui/login\"><label for=\"key\">Admin key</label><input id=\"key\" name=\"key\" type=\"password\" autocomplete=\"current-password\" required autofocus><button>Log in</button></form></div></main></body></html>");
    html
}

/// A page with a message.
pub(in crate::ui) fn message(nonce: &str, title: &'static str, words: &str) -> Html {
    let mut html = Html::new();
    head(&mut html, nonce, title);
    markup!(&mut html;
        "<body><main class=\"login\"><div class=\"card\"><h1>" (title) "</h1><p>" (words)
        "</p><p><a href=\"/ui\">To the overview</a></p></div></main></body></html>");
    html
}
