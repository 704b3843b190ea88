use super::*;

#[test]
fn show_samples() {
    let corpus = Corpus::new(1);
    let mut words = 0;
    for number in 0..60 {
        let sample = corpus.sample(number);
        words += sample.text().split_whitespace().count();
        println!("--- {number}");
        match sample {
            Sample::Prose(text) => println!("{text}"),
            Sample::Chat(messages) => {
                for message in messages {
                    println!("[{}] {}", message.role.as_str(), message.content);
                }
            }
        }
    }
    println!("words {words}");
}
