//! Pictures of pixels, as PNG files.

use std::path::Path;

use wgrad_core::{DType, Error, Place, Result, Tensor};

use crate::checkpoint::failure;

/// An RGB picture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    width: usize,
    height: usize,
    /// Three bytes per pixel, row after row.
    bytes: Vec<u8>,
}

impl Picture {
    /// A black picture.
    pub fn new(width: usize, height: usize) -> Picture {
        Picture {
            width,
            height,
            bytes: vec![0; width * height * 3],
        }
    }

    /// Images of shape `[n, channels, height, width]` with 1 (grey) or 3 (RGB) channels and values from `low` (black)
    /// to `high`, side by side in rows of `columns`, each `scale` times as large. NaN is black.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::train::Picture;
    ///
    /// # let dev = wgrad::cpu();
    /// let noise = Tensor::rand([10, 1, 8, 8], &dev);
    /// let picture = Picture::grid(&noise, 5, 4, (0.0, 1.0))?;
    /// assert_eq!(picture.size(), (5 * (8 * 4 + 2) + 2, 2 * (8 * 4 + 2) + 2));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes, and what reading can fail with.
    #[track_caller]
    pub fn grid(
        images: &Tensor,
        columns: usize,
        scale: usize,
        (low, high): (f64, f64),
    ) -> Result<Picture> {
        const GAP: usize = 2;
        let place = Place::caller();
        let shape = images.shape()?;
        let &[n, channels @ (1 | 3), rows, width] = shape.dims() else {
            return Err(Error::Shape {
                op: "grid",
                problem: format!("[n, 1 or 3, height, width] is wanted, not {shape}"),
                place,
            });
        };
        let (columns, scale) = (columns.clamp(1, n.max(1)), scale.max(1));
        let values = images.detach().to_dtype(DType::F32).to_vec::<f32>()?;
        let lines = n.div_ceil(columns);
        let (step_x, step_y) = (width * scale + GAP, rows * scale + GAP);
        let mut picture = Picture::new(columns * step_x + GAP, lines * step_y + GAP);
        picture.bytes.fill(110);
        let byte = |value: f32| {
            let share = (f64::from(value) - low) / (high - low);
            (share * 255.0).round() as u8 // saturates; NaN is 0
        };
        for image in 0..n {
            let (left, top) = (
                image % columns * step_x + GAP,
                image / columns * step_y + GAP,
            );
            for y in 0..rows * scale {
                for x in 0..width * scale {
                    let pixel = ((top + y) * picture.width + left + x) * 3;
                    for channel in 0..3 {
                        let plane = image * channels + channel.min(channels - 1);
                        let from = (plane * rows + y / scale) * width + x / scale;
                        picture.bytes[pixel + channel] = byte(values[from]);
                    }
                }
            }
        }
        Ok(picture)
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The bytes of a PNG file.
    pub(crate) fn to_png(&self) -> std::io::Result<Vec<u8>> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.bytes)?;
        writer.finish()?;
        Ok(file)
    }

    /// Writes the picture as a PNG file, which appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let png = self.to_png().map_err(|e| failure(path.as_ref(), e))?;
        replace(path.as_ref(), &png)
    }
}

/// Puts a file with these bytes in the place of the one at `path`, at once or not at all. Its directory is made.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| failure(path, e))?;
    }
    wgrad_files::replace(path, contents)
}
