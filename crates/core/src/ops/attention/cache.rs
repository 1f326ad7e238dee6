//! Keys and values of what came before, for generation.

use super::{AttentionOptions, NAME};
use crate::autograd::no_grad;
use crate::tensor::Tensor;
use crate::tensor::device::Target;
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// Tokens of a block: attention goes over whole ones.
const BLOCK: usize = 64;

/// The keys and values of all tokens so far, in tensors of a fixed capacity, so that each step of generation is
/// the program of the step before it and is replayed.
///
/// A step costs a copy of the cache (results are new tensors; the old ones' memory is used again) and attention
/// to what is filled, in whole blocks of 64 tokens, of which a mask leaves those that are there: the program
/// changes once a block.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::KvCache;
/// # let dev = wgrad::cpu();
/// let mut cache = KvCache::new([1, 2, 16, 4], &dev); // batch, heads, capacity, size of a head
/// let x = Tensor::randn([1, 2, 5, 4], &dev);
/// // The prompt, then a token at a time.
/// let prompt = x.narrow(2, 0, 4);
/// cache.attend(&prompt, &prompt, &prompt)?;
/// let token = x.narrow(2, 4, 1);
/// let y = cache.attend(&token, &token, &token)?;
/// assert_eq!(cache.len(), 5);
/// let whole = x.scaled_dot_product_attention(&x, &x).narrow(2, 4, 1);
/// assert!((y - whole).abs().max().item::<f32>()? < 1e-5);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct KvCache {
    keys: Tensor,
    values: Tensor,
    capacity: usize,
    len: usize,
}

impl KvCache {
    /// An empty cache of `[batch, heads, capacity, size]`.
    pub fn new(shape: [usize; 4], target: impl Target) -> KvCache {
        let keys = Tensor::zeros(shape, target);
        KvCache {
            values: keys.zeros_like(),
            keys,
            capacity: shape[2],
            len: 0,
        }
    }

    /// How many tokens it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Keys and values, `[batch, heads, capacity, size]`, of which the first [`KvCache::len`] count.
    pub fn tensors(&self) -> (&Tensor, &Tensor) {
        (&self.keys, &self.values)
    }

    /// Takes in the keys and values of the next tokens, `[batch, heads, tokens, size]`, and attends to all so
    /// far: each of the queries to its own token and those before it. Heads may be grouped as in
    /// [`AttentionOptions::enable_gqa`]. Without gradients.
    ///
    /// # Errors
    /// [`Error::Shape`] where the tokens do not fit, or there is no more room for them; what is wrong with the
    /// operands.
    #[track_caller]
    pub fn attend(&mut self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let place = Place::caller();
        place.within(|| no_grad(|| self.step(q, k, v, place)))
    }

    fn step(&mut self, q: &Tensor, k: &Tensor, v: &Tensor, place: Place) -> Result<Tensor> {
        let (queries, keys, values) = (q.shape()?, k.shape()?, v.shape()?);
        let whole = self.keys.shape()?;
        let fits = keys.rank() == 4
            && (keys[0], keys[1], keys[3]) == (whole[0], whole[1], whole[3])
            && keys == values
            && queries.rank() == 4
            && queries[2] == keys[2];
        if !fits {
            let [batch, heads, size] = [0, 1, 3].map(|d| whole.get(d).copied().unwrap_or(0));
            let problem = format!(
                "queries {queries}, keys {keys} and values {values} for a cache of {whole}: keys and values must be \
                 [{batch}, {heads}, tokens, {size}], and queries of four dimensions with as many tokens"
            );
            return Err(Error::shape(NAME, place, problem));
        }
        let (count, first, device) = (keys[2], self.len, self.keys.device());
        if count > self.capacity - first {
            let problem = format!(
                "{first} tokens and {count} more in a cache of {whole}, which must not hold more than {} tokens",
                self.capacity
            );
            return Err(Error::shape(NAME, place, problem));
        }
        let positions = |n: usize| Tensor::arange(n, (DType::I32, device));
        let own = positions(count) + i32::try_from(first).unwrap_or(i32::MAX);
        let keys = self.keys.index_copy(2, &own, k).checked()?;
        let values = self.values.index_copy(2, &own, v).checked()?;
        let filled = (first + count).max(1).next_multiple_of(BLOCK);
        let filled = filled.min(self.capacity);
        let options = AttentionOptions {
            mask: Some(positions(filled).le(own.unsqueeze(1))),
            enable_gqa: true,
            ..AttentionOptions::default()
        };
        let seen = |of: &Tensor| of.narrow(2, 0, filled);
        let y = q
            .scaled_dot_product_attention_with(&seen(&keys), &seen(&values), options)
            .checked()?;
        (self.keys, self.values, self.len) = (keys, values, first + count);
        Ok(y)
    }
}
