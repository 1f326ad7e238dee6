//! Byte pair encoding.
#![cfg(feature = "tokenizers")]

use wgrad::data::text::{Tokenizer, Windows};

const TEXT: &str = "the cat and the other cat sat on the mat; the größte cat\n";

#[test]
fn what_is_encoded_is_decoded() {
    let tokenizer = Tokenizer::train_bpe([TEXT, TEXT], 300).unwrap();
    assert!(tokenizer.vocabulary() > 256 && tokenizer.vocabulary() <= 300);
    for text in [TEXT, "", " ", "unseen: 日本 \u{0}\r\n", "  the"] {
        let tokens = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
    }
    // The most frequent word is a token.
    assert_eq!(tokenizer.encode(" the").unwrap().len(), 1);
    let again = Tokenizer::train_bpe([TEXT, TEXT], 300).unwrap();
    assert_eq!(again.encode(TEXT).unwrap(), tokenizer.encode(TEXT).unwrap());
    let set = Windows::new(tokenizer.encode(TEXT).unwrap(), 4, 1).unwrap();
    assert!(wgrad::data::Dataset::len(&set) > 0);
}

#[test]
fn tokenizers_are_saved_and_loaded() {
    let path = std::env::temp_dir().join(format!("wgrad-tokenizer-{}.json", std::process::id()));
    let tokenizer = Tokenizer::train_bpe([TEXT, TEXT], 280).unwrap();
    tokenizer.save(&path).unwrap();
    let loaded = Tokenizer::load(&path).unwrap();
    assert_eq!(
        loaded.encode(TEXT).unwrap(),
        tokenizer.encode(TEXT).unwrap()
    );
    std::fs::write(&path, "{}").unwrap();
    let error = Tokenizer::load(&path).err().unwrap().to_string();
    assert!(error.contains("wgrad-tokenizer-"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(Tokenizer::load(&path).is_err());
    assert!(Tokenizer::train_bpe([TEXT], 255).is_err());
    assert!(tokenizer.decode(&[-1]).is_err());
}
