//! Text as numbers.

#[cfg(feature = "tokenizers")]
mod tokenizer;

use wgrad_core::{Place, Result};

use crate::Dataset;
use crate::split::value;

#[cfg(feature = "tokenizers")]
pub use tokenizer::Tokenizer;

/// Tokens of a text to learn the next one from: windows of `length` tokens and the same ones a step later.
///
/// Bytes are tokens by themselves ([`bytes`]); a tokenizer gives others.
///
/// ```
/// use wgrad::data::{Dataset, text};
///
/// let tokens = text::bytes("hello");
/// let set = text::Windows::new(tokens, 3, 1)?;
/// assert_eq!(set.len(), 2);
/// let (x, y) = set.example(1)?;
/// assert_eq!((text::decode_bytes(&x), text::decode_bytes(&y)), ("ell".into(), "llo".into()));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Windows {
    tokens: Vec<i32>,
    length: usize,
    step: usize,
}

impl Windows {
    /// Windows that begin `step` tokens after one another: 1 for all there are, `length` for ones that do not overlap.
    ///
    /// # Errors
    /// [`Error::Value`](wgrad_core::Error::Value) where length or step is 0.
    #[track_caller]
    pub fn new(tokens: Vec<i32>, length: usize, step: usize) -> Result<Windows> {
        if length == 0 || step == 0 {
            let problem = format!("windows of {length} tokens, {step} apart; both are at least 1");
            return Err(value("Windows", problem, Place::caller()));
        }
        Ok(Windows {
            tokens,
            length,
            step,
        })
    }

    /// All tokens.
    pub fn tokens(&self) -> &[i32] {
        &self.tokens
    }
}

impl Dataset for Windows {
    type Item = (Vec<i32>, Vec<i32>);

    fn len(&self) -> usize {
        match self.tokens.len().checked_sub(self.length.saturating_add(1)) {
            Some(room) => room / self.step + 1,
            None => 0,
        }
    }

    fn example(&self, index: usize) -> Result<(Vec<i32>, Vec<i32>)> {
        if index >= self.len() {
            let place = Place::caller();
            return Err(crate::array::out_of_range(
                "example",
                index,
                self.len(),
                place,
            ));
        }
        let begin = index * self.step;
        let window = |at: usize| self.tokens[at..at + self.length].to_vec();
        Ok((window(begin), window(begin + 1)))
    }
}

/// A text's bytes as tokens, 0 to 255.
///
/// ```
/// assert_eq!(wgrad::data::text::bytes("hi"), [104, 105]);
/// ```
pub fn bytes(text: &str) -> Vec<i32> {
    text.bytes().map(i32::from).collect()
}

/// Tokens that are bytes as text; what is not UTF-8, or no byte, becomes the replacement character.
///
/// ```
/// use wgrad::data::text;
///
/// assert_eq!(text::decode_bytes(&text::bytes("größer")), "größer");
/// ```
pub fn decode_bytes(tokens: &[i32]) -> String {
    let bytes = tokens.iter().map(|&t| u8::try_from(t).unwrap_or(0xff));
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}
