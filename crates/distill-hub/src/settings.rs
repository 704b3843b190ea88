//! Where the hub is and what may be done with it, as the environment says.
//!
//! The variables are those of Python's `huggingface_hub`, so that both share one cache:
//! <https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Cache, HubError};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Largest token file: a token has some 40 characters.
const MAX_TOKEN_BYTES: u64 = 4096;

/// What a [`Hub`](crate::Hub) goes by.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    pub cache: Cache,
    pub token: Option<Token>,
    /// Nothing is asked of the network.
    pub offline: bool,
    /// The wait before a request is sent again; it doubles each time.
    pub first_wait: Duration,
}

/// A token of the hub. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token as it was given, without the spaces around it; `None` for an empty one.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl HubSettings {
    /// Reads the settings: `HF_ENDPOINT`; `HF_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`; `HF_TOKEN`, else the file
    /// `HF_TOKEN_PATH`, else `HF_HOME/token`; `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`.
    ///
    /// # Errors
    /// [`HubError::Settings`] when no folder can be told, or the token's file cannot be read.
    pub fn new(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let user = ["HOME", "USERPROFILE"]
            .iter()
            .find_map(|name| variable(name))
            .map(PathBuf::from);
        let folder = |name: &str| {
            let text = variable(name).filter(|text| !text.is_empty())?;
            Some(expand(&text, user.as_deref()))
        };
        let home = folder("HF_HOME")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(user.clone()?.join(".cache").join("huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or_else(|| HubError::Settings {
                problem: "no variable says where models are kept".to_owned(),
            })?;
        let token = match ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
            .iter()
            .find_map(|name| variable(name))
        {
            Some(text) => Token::new(&text),
            None => folder("HF_TOKEN_PATH")
                .or_else(|| Some(home?.join("token")))
                .map(|path| read_token(&path))
                .transpose()?
                .flatten(),
        };
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
            .iter()
            .find_map(|name| variable(name))
            .is_some_and(|value| is_true(&value));
        let endpoint = variable("HF_ENDPOINT")
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        Ok(Self {
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            cache: Cache::new(cache),
            token,
            offline,
            first_wait: FIRST_WAIT,
        })
    }
}

/// The values that Python's library takes for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"]
        .iter()
        .any(|yes| value.eq_ignore_ascii_case(yes))
}

/// `~` at the beginning stands for the user's folder.
fn expand(text: &str, user: Option<&Path>) -> PathBuf {
    match (text.strip_prefix('~'), user) {
        (Some(""), Some(user)) => user.to_owned(),
        (Some(rest), Some(user)) if rest.starts_with(['/', '\\']) => user.join(&rest[1..]),
        _ => PathBuf::from(text),
    }
}

fn read_token(path: &Path) -> Result<Option<Token>, HubError> {
    let failed = |problem: String| HubError::Settings {
        problem: format!("the token's file `{}` {problem}", path.display()),
    };
    let size = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
        Ok(metadata) => metadata.len(),
    };
    if size > MAX_TOKEN_BYTES {
        return Err(failed(format!("has {size} bytes and holds no token")));
    }
    std::fs::read_to_string(path)
        .map(|text| Token::new(&text))
        .map_err(|error| failed(format!("cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<HubSettings, HubError> {
        let variables: BTreeMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        HubSettings::new(&|name| variables.get(name).cloned())
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        let cache = |variables: &[(&str, &str)]| {
            settings(variables)
                .unwrap()
                .cache
                .path()
                .display()
                .to_string()
        };
        let home = ("HOME", "/home/ada");
        assert_eq!(cache(&[home]), "/home/ada/.cache/huggingface/hub");
        assert_eq!(
            cache(&[home, ("XDG_CACHE_HOME", "/x")]),
            "/x/huggingface/hub"
        );
        assert_eq!(
            cache(&[home, ("HF_HOME", "~/models")]),
            "/home/ada/models/hub"
        );
        assert_eq!(
            cache(&[home, ("HF_HOME", "/m"), ("HF_HUB_CACHE", "/cache")]),
            "/cache"
        );
        assert!(settings(&[]).is_err());
    }

    #[test]
    fn the_endpoint_and_the_switch_are_read() {
        let plain = settings(&[("HOME", "/h")]).unwrap();
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert!(!plain.offline);
        let other = settings(&[
            ("HOME", "/h"),
            ("HF_ENDPOINT", "https://mirror.example/"),
            ("HF_HUB_OFFLINE", "Yes"),
        ])
        .unwrap();
        assert_eq!(other.endpoint, "https://mirror.example");
        assert!(other.offline);
        let no = settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", "0")]).unwrap();
        assert!(!no.offline);
    }

    #[test]
    fn a_token_comes_from_the_variable_or_from_its_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "hf_from_file\n").unwrap();
        let read = settings(&[("HF_HOME", home)]).unwrap();
        assert_eq!(read.token.as_ref().map(Token::expose), Some("hf_from_file"));
        assert!(!format!("{read:?}").contains("hf_from_file"));
        let given = settings(&[("HF_HOME", home), ("HF_TOKEN", " hf_given ")]).unwrap();
        assert_eq!(given.token.as_ref().map(Token::expose), Some("hf_given"));

        std::fs::write(folder.path().join("token"), vec![b'x'; 5000]).unwrap();
        let error = settings(&[("HF_HOME", home)]).unwrap_err();
        assert!(!error.to_string().contains("xxx"), "{error}");
    }
}
