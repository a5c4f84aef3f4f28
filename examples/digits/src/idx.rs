//! The IDX format of the MNIST files: big-endian extents, then unsigned bytes.

use std::fs;
use std::path::Path;

/// An array of bytes with its extents.
pub struct Idx {
    pub dims: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Reads a file of unsigned bytes, whose size must be just what its extents say.
pub fn read(path: &Path) -> Result<Idx, String> {
    let fail = |what: &str| format!("{}: {what}", path.display());
    let raw = fs::read(path).map_err(|e| fail(&e.to_string()))?;
    let [0, 0, 8, rank, rest @ ..] = &raw[..] else {
        return Err(fail("not an IDX file of unsigned bytes (uncompressed?)"));
    };
    let (dims, bytes) = rest.split_at_checked(4 * *rank as usize).ok_or_else(|| fail("the header is cut off"))?;
    let dims: Vec<usize> =
        dims.chunks_exact(4).map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize).collect();
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if count != Some(bytes.len()) {
        return Err(fail(&format!("{dims:?} elements announced, {} bytes present", bytes.len())));
    }
    Ok(Idx { dims, bytes: bytes.to_vec() })
}

/// Images scaled to `0..=1`, and their labels.
pub struct Digits {
    pub side: usize,
    pub images: Vec<f32>,
    pub labels: Vec<i32>,
}

impl Digits {
    /// Reads a pair of files of square images and labels from 0 to 9; `white` is the largest pixel value.
    pub fn read(images: &Path, labels: &Path, white: f32) -> Result<Digits, String> {
        let (image, label) = (read(images)?, read(labels)?);
        let [count, side, width] = image.dims[..] else {
            return Err(format!("{}: {:?} is no list of images", images.display(), image.dims));
        };
        if side != width || label.dims != [count] || label.bytes.iter().any(|&l| l > 9) {
            return Err(format!("{}: labels do not fit {:?}", labels.display(), image.dims));
        }
        let images = image.bytes.iter().map(|&p| p as f32 / white).collect();
        Ok(Digits { side, images, labels: label.bytes.iter().map(|&l| l as i32).collect() })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The images with the given numbers.
    pub fn pick(&self, rows: &[usize]) -> Digits {
        let size = self.side * self.side;
        let images = rows.iter().flat_map(|r| &self.images[r * size..(r + 1) * size]).copied().collect();
        Digits { side: self.side, images, labels: rows.iter().map(|&r| self.labels[r]).collect() }
    }
}
