//! Which models are of one family: trained by the same people on much the same data, and known to
//! prefer each other's answers.

use std::collections::BTreeSet;

/// What a name in a model's name says about its family. A name counts where it begins a word, so
/// that `phi` is not found in `dolphin`; a model may have two, such as a distillate.
const NAMES: &[(&str, &str)] = &[
    ("gpt", "openai"),
    ("chatgpt", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("codex", "openai"),
    ("openai", "openai"),
    ("claude", "anthropic"),
    ("anthropic", "anthropic"),
    ("gemini", "google"),
    ("gemma", "google"),
    ("codegemma", "google"),
    ("medgemma", "google"),
    ("google", "google"),
    ("llama", "llama"),
    ("codellama", "llama"),
    ("tinyllama", "llama"),
    ("vicuna", "llama"),
    ("hermes", "llama"),
    ("mistral", "mistral"),
    ("mistralai", "mistral"),
    ("mixtral", "mistral"),
    ("ministral", "mistral"),
    ("magistral", "mistral"),
    ("codestral", "mistral"),
    ("devstral", "mistral"),
    ("pixtral", "mistral"),
    ("open-mistral", "mistral"),
    ("qwen", "qwen"),
    ("qwq", "qwen"),
    ("qvq", "qwen"),
    ("deepseek", "deepseek"),
    ("grok", "xai"),
    ("command", "cohere"),
    ("aya", "cohere"),
    ("c4ai", "cohere"),
    ("phi", "microsoft"),
    ("wizardlm", "microsoft"),
    ("nemotron", "nvidia"),
    ("kimi", "moonshot"),
    ("moonshot", "moonshot"),
    ("glm", "zhipu"),
    ("chatglm", "zhipu"),
    ("granite", "ibm"),
    ("nova", "amazon"),
    ("titan", "amazon"),
    ("olmo", "allenai"),
    ("tulu", "allenai"),
    ("smollm", "huggingface"),
    ("minimax", "minimax"),
    ("yi", "01-ai"),
];

/// Vendors that answer with models of their own only.
const OWN_MODELS: &[(&str, &str)] = &[
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("deepseek", "deepseek"),
    ("xai", "xai"),
    ("mistral", "mistral"),
    ("gemini", "google"),
    ("cohere", "cohere"),
];

/// The families of a model. `elsewhere` says that the user set an address: then the vendor names a
/// dialect and not who made the model. Never empty: a model that no name is known of is a family of
/// its own.
pub fn families(vendor: &str, model: &str, elsewhere: bool) -> BTreeSet<String> {
    let model = model.to_lowercase();
    let mut families = BTreeSet::new();
    if vendor == "simulated" || vendor.starts_with("simulated-") {
        // The simulated judge knows the right answers, not the simulated teacher's habits.
        let judge = model == crate::simulate::JUDGE_MODEL;
        families.insert(
            if judge {
                "simulated-judge"
            } else {
                "simulated"
            }
            .to_owned(),
        );
        return families;
    }
    if !elsewhere && let Some((_, family)) = OWN_MODELS.iter().find(|(name, _)| *name == vendor) {
        families.insert((*family).to_owned());
    }
    for (name, family) in NAMES {
        if begins_a_word(&model, name) {
            families.insert((*family).to_owned());
        }
    }
    if families.is_empty() {
        families.insert(model);
    }
    families
}

/// Whether `name` stands in `model` at the start or after a sign, and is not just the start of
/// another word: digits and signs may follow (`qwen2.5`, `o1-mini`), letters may not.
fn begins_a_word(model: &str, name: &str) -> bool {
    model.match_indices(name).any(|(start, _)| {
        let before = model[..start].chars().next_back();
        let after = model[start + name.len()..].chars().next();
        before.is_none_or(|character| !character.is_alphanumeric())
            && after.is_none_or(|character| !character.is_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::families;

    fn of(vendor: &str, model: &str) -> Vec<String> {
        families(vendor, model, false).into_iter().collect()
    }

    #[test]
    fn a_vendor_of_its_own_models_is_a_family_and_a_host_is_not() {
        assert_eq!(of("anthropic", "claude-haiku-4-5"), ["anthropic"]);
        assert_eq!(of("openrouter", "anthropic/claude-sonnet-5"), ["anthropic"]);
        assert_eq!(of("groq", "openai/gpt-oss-120b"), ["openai"]);
        assert_eq!(of("groq", "llama-3.3-70b-versatile"), ["llama"]);
        assert_eq!(of("vllm", "Qwen/Qwen2.5-7B-Instruct"), ["qwen"]);
        assert_eq!(of("openai", "some-tuned-model"), ["openai"]);
    }

    #[test]
    fn a_distillate_is_of_both_families() {
        assert_eq!(
            of("groq", "deepseek-r1-distill-llama-70b"),
            ["deepseek", "llama"]
        );
    }

    #[test]
    fn names_count_as_words_only() {
        assert_eq!(of("ollama", "dolphin-mix"), ["dolphin-mix"]);
        assert_eq!(of("ollama", "phi3:mini"), ["microsoft"]);
        assert_eq!(of("ollama", "yield-7b"), ["yield-7b"]);
        assert_eq!(of("openrouter", "openai/o3-mini"), ["openai"]);
    }

    #[test]
    fn an_address_of_the_users_own_makes_the_vendor_a_dialect() {
        let elsewhere = families("openai", "mixtral-8x7b", true);
        assert_eq!(elsewhere.into_iter().collect::<Vec<_>>(), ["mistral"]);
    }

    #[test]
    fn the_simulated_judge_is_of_another_family_than_the_simulated_teacher() {
        assert_eq!(of("simulated", "judge"), ["simulated-judge"]);
        assert_eq!(of("simulated-anthropic", "frontier"), ["simulated"]);
    }
}
