//! Tokenizers by Hugging Face's library.

use std::path::Path;

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use wgrad_core::{Error, Place, Result};
use wgrad_files::{file_error, replace};

use crate::split::value;

/// Cuts text into the tokens of a vocabulary.
///
/// ```
/// use wgrad::data::text::Tokenizer;
///
/// let text = "low lower lowest low slow lowly";
/// let tokens = Tokenizer::train_bpe([text], 270)?;
/// let ids = tokens.encode("slower")?;
/// assert!(ids.len() < 6);
/// assert_eq!(tokens.decode(&ids)?, "slower");
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// Learns byte pair encoding over bytes, as GPT-2's, from texts: any text can be encoded. The vocabulary has the
    /// 256 bytes and what is learned, `vocabulary` tokens in all at most.
    ///
    /// # Errors
    /// [`Error::Value`] where that is below 256.
    #[track_caller]
    pub fn train_bpe<S: AsRef<str> + Send>(
        texts: impl IntoIterator<Item = S, IntoIter: Send>,
        vocabulary: usize,
    ) -> Result<Tokenizer> {
        let place = Place::caller();
        if vocabulary < 256 {
            let problem = format!("a vocabulary of {vocabulary}; the 256 bytes alone are more");
            return Err(value("train_bpe", problem, place));
        }
        let trainer = BpeTrainer::builder()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build();
        // As for GPT-2, but without a space in front of the text: what is decoded is what was encoded.
        let bytes = ByteLevel::default().add_prefix_space(false);
        let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(bytes));
        tokenizer.with_decoder(Some(bytes));
        let mut trainer = TrainerWrapper::BpeTrainer(trainer);
        let texts = texts.into_iter();
        tokenizer
            .train(&mut trainer, texts)
            .map_err(|e| value("train_bpe", e.to_string(), place))?;
        Ok(Tokenizer(tokenizer))
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read or is not one.
    pub fn load(path: impl AsRef<Path>) -> Result<Tokenizer> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|e| file_error(&name, e.to_string()))?;
        let read = tokenizers::Tokenizer::from_bytes(&text);
        read.map(Tokenizer)
            .map_err(|e| file_error(&name, e.to_string()))
    }

    /// Writes a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let name = path.as_ref().display().to_string();
        let text = self.0.to_string(true);
        let text = text.map_err(|e| file_error(&name, e.to_string()))?;
        replace(path, text.as_bytes())
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// A text's tokens, without special ones.
    ///
    /// # Errors
    /// [`Error::Value`] where the tokenizer has none for a part of the text.
    #[track_caller]
    pub fn encode(&self, text: &str) -> Result<Vec<i32>> {
        let encoded = self.0.encode(text, false);
        let encoded = encoded.map_err(|e| self.error("encode", &*e))?;
        Ok(encoded.get_ids().iter().map(|&id| id as i32).collect())
    }

    /// The text of tokens; special ones are left out.
    ///
    /// # Errors
    /// [`Error::Value`] where a token cannot be one.
    #[track_caller]
    pub fn decode(&self, tokens: &[i32]) -> Result<String> {
        let ids = tokens.iter().map(|&t| u32::try_from(t));
        let ids: Result<Vec<u32>, _> = ids.collect();
        let ids = ids.map_err(|e| self.error("decode", &e))?;
        self.0
            .decode(&ids, true)
            .map_err(|e| self.error("decode", &*e))
    }

    #[track_caller]
    fn error(&self, op: &'static str, error: &dyn std::error::Error) -> Error {
        value(op, error.to_string(), Place::caller())
    }
}
