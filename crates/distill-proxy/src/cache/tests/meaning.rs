//! Questions that mean the same.

use super::*;

fn meaning(similarity: f64) -> CacheConfig {
    CacheConfig {
        semantic: Some(SemanticConfig {
            similarity,
            embedding: EmbeddingConfig::Local,
        }),
        ..CacheConfig::default()
    }
}

fn says(words: &str) -> Asked {
    Asked {
        config: meaning(0.8),
        embed: Some(embed_locally()),
        ..Asked::new(&question(json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": words},
        ]})))
    }
}

#[tokio::test]
async fn a_question_in_nearly_the_same_words_is_answered() {
    let cache = cache();
    says("What is the capital of France?")
        .keep(&cache, &answered())
        .await;
    let hit = says("what is the capital of France please")
        .hit(&cache)
        .await;
    assert_eq!(hit.kind, "semantic");
    assert!(hit.headers()[0].1.starts_with("hit; kind=semantic; age=0"));
    says("How tall is the tower of Pisa?").lead(&cache).await;
}

#[tokio::test]
async fn everything_but_the_last_words_must_be_the_same() {
    let cache = cache();
    let first = says("What is the capital of France?");
    first.keep(&cache, &answered()).await;
    let same = "What is the capital of France";
    let mut other_system = says(same);
    other_system.body = question(json!({"messages": [
        {"role": "system", "content": "Be long."}, {"role": "user", "content": same},
    ]}))
    .to_string()
    .into();
    let mut longer = says(same);
    longer.body = question(json!({"max_tokens": 3, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": same},
    ]}))
    .to_string()
    .into();
    let stranger = Asked {
        caller: caller("eve", Some("ads")),
        ..says(same)
    };
    let task = Asked {
        task: Some("digest"),
        ..says(same)
    };
    let gone = Asked {
        leads_to: "box/other",
        ..says(same)
    };
    let strict = Asked {
        config: meaning(0.9999),
        ..says(same.trim_end_matches('e'))
    };
    let off = Asked {
        config: CacheConfig::default(),
        ..says(same)
    };
    for other in [other_system, longer, stranger, task, gone, strict, off] {
        other.lead(&cache).await;
    }
    says(same).hit(&cache).await;
}

#[tokio::test]
async fn questions_with_other_numbers_are_other_questions() {
    let cache = cache();
    let about = |year: u32| {
        says(&format!(
            "How many people lived in the whole of the city of Lyon in the year {year}?"
        ))
    };
    about(1990).keep(&cache, &answered()).await;
    about(1991).lead(&cache).await;
    about(1990).hit(&cache).await;
}

#[tokio::test]
async fn tools_and_images_are_never_compared_by_meaning() {
    let cache = cache();
    let asks = |words: &str, more: Value| {
        let mut body: Value = serde_json::from_slice(&says(words).body).unwrap();
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        let mut asked = says(words);
        asked.body = body.to_string().into();
        asked.config.tools = true;
        asked
    };
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    asks("What is the capital of France?", tools.clone())
        .keep(&cache, &answered())
        .await;
    asks("What is the capital of France", tools)
        .lead(&cache)
        .await;
    let image = |words: &str| {
        asks(
            words,
            json!({"messages": [{"role": "user", "content": [
                {"type": "text", "text": words},
                {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
            ]}]}),
        )
    };
    image("What is the capital of France?")
        .keep(&cache, &answered())
        .await;
    image("What is the capital of France").lead(&cache).await;
}

#[tokio::test]
async fn vectors_of_an_embedding_model_are_compared_by_their_angle() {
    let cache = cache();
    // Only the direction counts; a text that cannot be embedded is compared exactly.
    let embed: Embed = Arc::new(|text: String| {
        let vector = match text.trim() {
            "a" => Some(vec![2.0, 0.0]),
            "b" => Some(vec![9.0, 3.0]),
            "c" => Some(vec![0.0, 1.0]),
            "zero" => Some(vec![0.0, 0.0]),
            _ => None,
        };
        Box::pin(std::future::ready(vector))
    });
    let says = |words: &str| Asked {
        embed: Some(embed.clone()),
        ..says(words)
    };
    says("a").keep(&cache, &answered()).await;
    assert_eq!(says("b").hit(&cache).await.kind, "semantic");
    says("c").lead(&cache).await;
    says("zero").keep(&cache, &answered()).await;
    says("zero").hit(&cache).await;
    says("unknown").keep(&cache, &answered()).await;
    assert_eq!(says("unknown").hit(&cache).await.kind, "exact");
}

#[tokio::test(start_paused = true)]
async fn what_means_the_same_ends_with_its_time_too() {
    let cache = cache();
    says("What is the capital of France?")
        .keep(&cache, &answered())
        .await;
    tokio::time::advance(Duration::from_hours(1)).await;
    says("What is the capital of France").lead(&cache).await;
}

mod embedding {
    use crate::cache::alike::{Vector, embed};

    fn cosine(one: &str, other: &str) -> f64 {
        let vector = |text: &str| Vector::new(embed(text).unwrap()).unwrap();
        vector(one).cosine(&vector(other))
    }

    #[test]
    fn near_wordings_are_near_and_others_far() {
        let text = "How do I reset the password of my account?";
        assert!((cosine(text, text) - 1.0).abs() < 1e-6);
        assert!((cosine(text, &text.to_uppercase()) - 1.0).abs() < 1e-6);
        let near = cosine(text, "How do I reset my account's password?");
        let far = cosine(text, "Which planets have rings?");
        assert!(near > 0.6 && far < 0.3 && near < 1.0, "{near} {far}");
        assert_eq!(embed(" \n?!"), None);
    }
}
