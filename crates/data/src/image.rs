//! Images from files: PNG and JPEG.

use std::io::Cursor;
#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

use wgrad_core::Result;
use wgrad_files::file_error;

use crate::Array;
#[cfg(not(target_arch = "wasm32"))]
use crate::Dataset;

/// How an image's channels are given.
///
/// ```
/// assert_eq!(wgrad::data::Channels::Gray.count(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// Red, green and blue.
    #[default]
    Rgb,
    /// One channel of luminance: 0.299 r + 0.587 g + 0.114 b.
    Gray,
}

impl Channels {
    /// How many.
    pub fn count(self) -> usize {
        match self {
            Channels::Rgb => 3,
            Channels::Gray => 1,
        }
    }
}

/// Images of more pixels are refused: a header of a few bytes may state any size.
pub const MOST_PIXELS: usize = 1 << 28;

/// Reads an image, `[channels, height, width]` of bytes. What is transparent is as if it were not; 16 bits a channel
/// become 8.
///
/// ```
/// use wgrad::data::{Array, Channels, encode_png, load_image};
///
/// let path = std::env::temp_dir().join(format!("example-{}.png", std::process::id()));
/// std::fs::write(&path, encode_png(&Array::full(7, [3, 4, 5]))?).unwrap();
/// assert_eq!(load_image(&path, Channels::Gray)?, Array::full(7, [1, 4, 5]));
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::File`](wgrad_core::Error::File) where the file cannot be read or is not a sound PNG or JPEG.
#[cfg(not(target_arch = "wasm32"))]
pub fn load_image(path: impl AsRef<Path>, channels: Channels) -> Result<Array<u8>> {
    let path = path.as_ref();
    let file = wgrad_files::Mapped::open(path)?;
    decode_image(&file, &path.display().to_string(), channels)
}

/// An image of a file's bytes; `name` stands for the file in errors.
///
/// ```
/// use wgrad::data::{Channels, decode_image};
///
/// let error = decode_image(b"GIF89a", "cat.gif", Channels::Rgb).unwrap_err();
/// assert_eq!(error.to_string(), "cat.gif: neither a PNG nor a JPEG image");
/// ```
///
/// # Errors
/// As [`load_image`].
pub fn decode_image(bytes: &[u8], name: &str, channels: Channels) -> Result<Array<u8>> {
    let pixels = match bytes {
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        [0xff, 0xd8, ..] => jpeg(bytes),
        _ => Err("neither a PNG nor a JPEG image".to_string()),
    };
    pixels
        .and_then(|pixels| pixels.planes(channels))
        .map_err(|problem| file_error(name, problem))
}

/// An image as a PNG file's bytes: `[1, height, width]` gray or `[3, height, width]` in colour.
///
/// ```
/// use wgrad::data::{Array, Channels, decode_image, encode_png};
///
/// let image = Array::new(vec![1u8, 2, 3, 4, 5, 6], [3, 1, 2])?;
/// let file = encode_png(&image)?;
/// assert_eq!(decode_image(&file, "example", Channels::Rgb)?, image);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](wgrad_core::Error::Shape) for another shape.
#[track_caller]
pub fn encode_png(image: &Array<u8>) -> Result<Vec<u8>> {
    let refused = || wgrad_core::Error::Shape {
        op: "encode_png",
        problem: format!(
            "an image has shape [1 or 3, height, width], not {}",
            image.shape()
        ),
        place: wgrad_core::Place::caller(),
    };
    let &[channels @ (1 | 3), height, width] = image.dims() else {
        return Err(refused());
    };
    let size = u32::try_from(width).ok().zip(u32::try_from(height).ok());
    let (w, h) = size.filter(|&(w, h)| w > 0 && h > 0).ok_or_else(refused)?;
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, w, h);
    encoder.set_color(match channels {
        1 => ::png::ColorType::Grayscale,
        _ => ::png::ColorType::Rgb,
    });
    let plane = height * width;
    let pixels: Vec<u8> = (0..plane)
        .flat_map(|at| (0..channels).map(move |c| image.values()[c * plane + at]))
        .collect();
    let written = encoder
        .write_header()
        .and_then(|mut w| w.write_image_data(&pixels));
    written.map_err(|e| file_error("png", e.to_string()))?;
    Ok(file)
}

/// Pixels one after the other, each of some samples.
struct Pixels {
    samples: usize,
    height: usize,
    width: usize,
    bytes: Vec<u8>,
}

impl Pixels {
    fn planes(self, channels: Channels) -> Result<Array<u8>, String> {
        let pixels = self.bytes.chunks_exact(self.samples);
        let size = self.height * self.width;
        // Gray, gray and alpha, or colour and perhaps alpha.
        let colored = self.samples >= 3;
        let values: Vec<u8> = match (channels, colored) {
            (Channels::Rgb, _) => (0..3)
                .flat_map(|c| pixels.clone().map(move |p| p[if colored { c } else { 0 }]))
                .collect(),
            (Channels::Gray, false) => pixels.map(|p| p[0]).collect(),
            (Channels::Gray, true) => {
                let gray = |p: &[u8]| {
                    let [r, g, b] = [p[0], p[1], p[2]].map(f32::from);
                    (0.299 * r + 0.587 * g + 0.114 * b).round() as u8
                };
                pixels.map(gray).collect()
            }
        };
        if values.len() != channels.count() * size {
            return Err("fewer pixels than its size".to_string());
        }
        Array::new(values, [channels.count(), self.height, self.width]).map_err(|e| e.to_string())
    }
}

fn within_limits(height: usize, width: usize) -> Result<(), String> {
    match height.checked_mul(width) {
        Some(0) => Err("an image without pixels".to_string()),
        Some(n) if n <= MOST_PIXELS => Ok(()),
        _ => Err(format!(
            "{width} x {height} pixels are more than {MOST_PIXELS}"
        )),
    }
}

fn png(bytes: &[u8]) -> Result<Pixels, String> {
    let wrong = |e: ::png::DecodingError| format!("PNG: {e}");
    let limits = ::png::Limits {
        bytes: 8 * MOST_PIXELS,
    };
    let mut decoder = ::png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(::png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(wrong)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    within_limits(height, width)?;
    // Deflate makes no more than 1,032 bytes of one, so that a small file has no large image.
    let length = reader
        .output_buffer_size()
        .ok_or("an image beyond any memory")?;
    if length / 2 / 1032 > bytes.len() {
        return Err(format!(
            "PNG: {length} bytes of pixels cannot be packed into {}",
            bytes.len()
        ));
    }
    let mut pixels = vec![0; length];
    let frame = reader.next_frame(&mut pixels).map_err(wrong)?;
    reader.finish().map_err(wrong)?;
    pixels.truncate(frame.buffer_size());
    Ok(Pixels {
        samples: frame.color_type.samples(),
        height,
        width,
        bytes: pixels,
    })
}

fn jpeg(bytes: &[u8]) -> Result<Pixels, String> {
    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::bytestream::ZCursor;
    use zune_jpeg::zune_core::colorspace::ColorSpace;
    use zune_jpeg::zune_core::options::DecoderOptions;
    let wrong = |e: zune_jpeg::errors::DecodeErrors| format!("JPEG: {e}");
    // The decoder fills up with gray what is missing. Within a scan no marker but restarts can stand.
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    if last([0xff, 0xd9]) < last([0xff, 0xda]) {
        return Err("JPEG: cut short: the last scan has no end".to_string());
    }
    let options = DecoderOptions::default()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(wrong)?;
    let (width, height) = decoder.dimensions().ok_or("JPEG: no size")?;
    within_limits(height, width)?;
    // A block of 8 x 8 pixels takes at least one bit for each of its channels.
    if height * width / 64 / 8 > bytes.len() {
        return Err(format!(
            "JPEG: {width} x {height} pixels cannot be packed into {} bytes",
            bytes.len()
        ));
    }
    Ok(Pixels {
        samples: 3,
        height,
        width,
        bytes: decoder.decode().map_err(wrong)?,
    })
}

/// The images of a directory whose subdirectories are classes: `cat/1.png`, `cat/2.jpg`, `dog/1.png`. Examples are
/// `(image, class)`; images are read when they are asked for, and may differ in size.
///
/// Classes are numbered in the order of their names, images are in the order of theirs; directories in a class's
/// directory belong to it. Files of other kinds are left out.
///
/// ```no_run
/// # use wgrad::prelude::*;
/// use wgrad::data::transform::{CenterCrop, Resize, Transform};
/// use wgrad::data::{Channels, DataLoader, Dataset, ImageFolder};
/// # let dev = wgrad::cpu();
///
/// let set = ImageFolder::open("animals/", Channels::Rgb)?;
/// println!("{:?}", set.class_names());
/// let set = set.augment(7, |(image, class), random| {
///     let image = Resize::shorter(256).apply(image, random)?;
///     Ok((CenterCrop::new(224, 224).apply(image, random)?, class))
/// });
/// let loader = DataLoader::new(set, &dev).batch_size(32).shuffle(7).workers(4);
/// # Ok::<(), Error>(())
/// ```
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug)]
pub struct ImageFolder {
    files: Vec<(PathBuf, i32)>,
    class_names: Vec<String>,
    channels: Channels,
}

#[cfg(not(target_arch = "wasm32"))]
impl ImageFolder {
    /// Looks for the images.
    ///
    /// # Errors
    /// [`Error::File`](wgrad_core::Error::File) where a directory cannot be read, or there is no class or no image.
    pub fn open(directory: impl AsRef<Path>, channels: Channels) -> Result<ImageFolder> {
        let directory = directory.as_ref();
        let (classes, _) = contents(directory)?;
        let (mut files, mut class_names) = (Vec::new(), Vec::new());
        for class in classes {
            let number = class_names.len() as i32;
            let name = class.file_name().unwrap_or_default();
            class_names.push(name.to_string_lossy().into_owned());
            let mut images = Vec::new();
            collect(&class, &mut images, 0)?;
            files.extend(images.into_iter().map(|path| (path, number)));
        }
        if files.is_empty() {
            let problem = "no .png, .jpg or .jpeg file in a subdirectory";
            return Err(file_error(&directory.display().to_string(), problem));
        }
        Ok(ImageFolder {
            files,
            class_names,
            channels,
        })
    }

    /// The classes' names, by number.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The files and their classes.
    pub fn files(&self) -> &[(PathBuf, i32)] {
        &self.files
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Dataset for ImageFolder {
    type Item = (Array<u8>, i32);

    fn len(&self) -> usize {
        self.files.len()
    }

    fn example(&self, index: usize) -> Result<(Array<u8>, i32)> {
        let (path, class) = Dataset::example(&self.files, index)?;
        Ok((load_image(path, self.channels)?, class))
    }
}

/// The directories and the files of a directory, each by name.
#[cfg(not(target_arch = "wasm32"))]
fn contents(directory: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let read = || -> std::io::Result<_> {
        let (mut directories, mut files) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path);
            }
        }
        directories.sort();
        files.sort();
        Ok((directories, files))
    };
    read().map_err(|e| file_error(&directory.display().to_string(), e.to_string()))
}

#[cfg(not(target_arch = "wasm32"))]
fn collect(directory: &Path, images: &mut Vec<PathBuf>, depth: usize) -> Result<()> {
    // A link to a directory above would never end.
    if depth > 16 {
        let problem = "directories within directories, 16 deep";
        return Err(file_error(&directory.display().to_string(), problem));
    }
    let (directories, files) = contents(directory)?;
    let is_image = |path: &PathBuf| {
        let extension = path.extension().and_then(|e| e.to_str());
        let extension = extension.map(str::to_ascii_lowercase);
        matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg"))
    };
    images.extend(files.into_iter().filter(is_image));
    directories
        .iter()
        .try_for_each(|inner| collect(inner, images, depth + 1))
}
