//! A small GPT learns to write this project's source code, byte by byte.
//!
//! ```text
//! cargo run --release --example char_gpt
//! cargo run --release --example char_gpt -- --steps 5000 --temperature 0.7
//! ```
//!
//! The text is `crates/core/src`; a tenth of the files is for validation. The network is a decoder of pre-norm blocks
//! with rotary positions and causal attention. Afterwards it writes: the keys and values of what stands there are kept
//! ([`KvCache`]), so that a byte costs one pass over one byte.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use wgrad::data::{DataLoader, text};
use wgrad::nn::RmsNorm;
use wgrad::optim::schedule::{CosineAnnealingLr, warm_up};
use wgrad::prelude::*;
use wgrad::train::{Perplexity, Steps};
use wgrad::{AttentionOptions, KvCache, RotaryOptions};

const WIDTH: usize = 128;
const HEADS: usize = 4;
const LAYERS: usize = 3;
/// Bytes of a training window.
const LENGTH: usize = 128;
const BATCH: usize = 16;
/// All bytes are tokens.
const TOKENS: usize = 256;

/// Learns to write source code.
#[derive(Parser)]
struct Options {
    /// Steps of training
    #[arg(long, default_value_t = 600)]
    steps: u64,
    /// How many bytes to write afterwards
    #[arg(long, default_value_t = 400)]
    write: usize,
    /// What to begin with
    #[arg(long, value_parser = NonEmptyStringValueParser::new(), default_value = "impl Tensor {\n    /// ")]
    prompt: String,
    /// Below 1 the likely bytes become likelier
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
}

#[derive(Module)]
struct Block {
    attention_norm: RmsNorm,
    qkv: nn::Linear,
    out: nn::Linear,
    mlp_norm: RmsNorm,
    mlp: nn::Sequential,
}

impl Block {
    fn new(dev: &Device) -> Block {
        let layer = |from, to| nn::Linear::new(from, to, dev);
        Block {
            attention_norm: RmsNorm::new(WIDTH, dev),
            qkv: layer(WIDTH, 3 * WIDTH),
            out: layer(WIDTH, WIDTH),
            mlp_norm: RmsNorm::new(WIDTH, dev),
            mlp: nn::Sequential::from((layer(WIDTH, 4 * WIDTH), nn::Gelu, layer(4 * WIDTH, WIDTH))),
        }
    }

    /// With a cache, `x` are the tokens behind those in it.
    fn forward(&self, x: &Tensor, cache: Option<&mut KvCache>) -> wgrad::Result<Tensor> {
        let [n, length, _] = x.dims()?;
        let qkv = self.qkv.forward(&self.attention_norm.forward(x)?)?;
        let heads = qkv
            .reshape([n, length, 3, HEADS, WIDTH / HEADS])
            .permute([2, 0, 3, 1, 4]);
        let offset = cache.as_ref().map_or(0, |cache| cache.len());
        let turned = |part| {
            let options = RotaryOptions {
                offset,
                ..Default::default()
            };
            heads.select(0, part).rotary_embedding_with(options)
        };
        let (q, k, v) = (turned(0), turned(1), heads.select(0, 2));
        let attended = match cache {
            Some(cache) => cache.attend(&q, &k, &v)?,
            None => {
                let causal = AttentionOptions {
                    is_causal: true,
                    ..Default::default()
                };
                q.scaled_dot_product_attention_with(&k, &v, causal)
            }
        };
        let attended = attended.transpose(1, 2).reshape([n, length, WIDTH]);
        let x = x + self.out.forward(&attended)?;
        let mlp = self.mlp.forward(&self.mlp_norm.forward(&x)?)?;
        (x + mlp).checked()
    }
}

#[derive(Module)]
struct Gpt {
    embedding: nn::Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    head: nn::Linear,
}

impl Gpt {
    fn new(dev: &Device) -> Gpt {
        Gpt {
            embedding: nn::Embedding::new(TOKENS, WIDTH, dev),
            blocks: (0..LAYERS).map(|_| Block::new(dev)).collect(),
            norm: RmsNorm::new(WIDTH, dev),
            head: nn::Linear::new(WIDTH, TOKENS, dev),
        }
    }

    fn forward(
        &self,
        tokens: &Tensor,
        mut caches: Option<&mut [KvCache]>,
    ) -> wgrad::Result<Tensor> {
        let mut x = self.embedding.forward(tokens)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, caches.as_deref_mut().map(|caches| &mut caches[i]))?;
        }
        self.head.forward(&self.norm.forward(&x)?)
    }

    /// Writes behind a prompt, a byte at a time. Where the network has not learned to look further back, it goes on
    /// from the last half of what it sees.
    fn write(&self, options: &Options, dev: &Device) -> Result<(), Box<dyn Error>> {
        let mut out = std::io::stdout();
        let shape = [1, HEADS, LENGTH, WIDTH / HEADS];
        let mut caches: Vec<KvCache> = (0..LAYERS).map(|_| KvCache::new(shape, dev)).collect();
        let mut written = text::bytes(&options.prompt);
        write!(out, "{}", options.prompt)?;
        let mut seen = written.len().min(LENGTH / 2);
        for _ in 0..options.write {
            if caches[0].len() + seen > LENGTH {
                caches.iter_mut().for_each(KvCache::clear);
                seen = LENGTH / 2;
            }
            let new = &written[written.len() - seen..];
            let new = Tensor::from_slice(new, [1, new.len()], dev);
            let logits = no_grad(|| self.forward(&new, Some(&mut caches)))?;
            let chances = (logits.select(1, -1) / options.temperature).softmax(-1);
            let next = Tensor::multinomial(&chances, 1, false).to_vec::<i32>()?;
            write!(out, "{}", text::decode_bytes(&next))?;
            out.flush()?;
            written.extend(next);
            seen = 1;
        }
        writeln!(out)?;
        Ok(())
    }
}

/// The text of a directory's Rust files, each tenth file apart.
fn sources(directory: &Path, texts: &mut [String; 2], count: &mut usize) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for path in entries.iter().map(std::fs::DirEntry::path) {
        if path.is_dir() {
            sources(&path, texts, count)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            *count += 1;
            texts[usize::from(count.is_multiple_of(10))] += &std::fs::read_to_string(path)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let dev = wgrad::default_device();
    dev.seed(1);
    let mut texts = [String::new(), String::new()];
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/core/src"),
        &mut texts,
        &mut 0,
    )?;
    let [train, valid] = texts.map(|text| text::bytes(&text));
    println!(
        "{} bytes to learn from, {} for validation",
        train.len(),
        valid.len()
    );
    let train = text::Windows::new(train, LENGTH, 1)?;
    // A few windows tell enough.
    let valid = text::Windows::new(valid[..LENGTH * 160 + 1].to_vec(), LENGTH, LENGTH)?;

    let model = Gpt::new(&dev);
    let adam = AdamW::new(
        model.parameters(),
        AdamWOptions {
            lr: 2e-3,
            betas: (0.9, 0.95),
            weight_decay: 0.1,
            ..Default::default()
        },
    );
    let decay = CosineAnnealingLr {
        t_max: options.steps.saturating_sub(50).max(1),
        eta_min: 1e-4,
    };
    let mut trainer = Trainer::new(model, adam)
        .loss(|model, batch| {
            let logits = model.forward(&batch.x, None)?.flatten(0, 1);
            let y = batch.y.flatten(0, 1);
            Ok((logits.cross_entropy(&y), logits, y))
        })
        .metric(Perplexity)
        .schedule(warm_up(50, decay))
        .clip_norm(1.0)
        .progress();
    let load = |set| DataLoader::new(set, &dev).batch_size(BATCH);
    let fit = trainer.fit(&load(train).shuffle(1), &load(valid), Steps(options.steps))?;
    let loss = fit
        .last()
        .and_then(|last| last.score("loss"))
        .unwrap_or(f64::NAN);

    println!("--------");
    trainer.model().write(&options, &dev)?;
    println!("--------\n{loss:.3} nats per byte of files it has not seen");
    assert!(
        loss < 1.9 || options.steps < 600,
        "it should have learned more"
    );
    Ok(())
}
