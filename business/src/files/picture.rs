//! Pictures: what they tell is taken out, then they are decoded for their size and a thumbnail, under limits of bytes, pixels and memory.
//!
//! On threads that may wait, so many at a time as the settings say. Always holds: what is not decoded is not shown as a picture.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Cursor, Write},
    path::Path,
    sync::Arc,
};

use image::{
    DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
    codecs::jpeg::JpegEncoder, metadata::Orientation,
};
use ring::digest::{Context, SHA256};
use tokio::sync::Semaphore;

use super::{folder::private, metadata};
use crate::{domain::file::FileHash, settings::FilesSettings};

const THUMBNAIL_QUALITY: u8 = 80;
/// What stands behind a picture that lets it through.
const PAPER: u32 = 255;

/// The places for decoding, and the limits. Clones share them.
#[derive(Debug, Clone)]
pub struct Pictures {
    places: Arc<Semaphore>,
    limits: PictureLimits,
}

#[derive(Debug, Clone, Copy)]
struct PictureLimits {
    bytes_max: u64,
    pixels_max: u64,
    thumbnail_pixels: u32,
}

/// A picture that can be shown.
#[derive(Debug)]
pub struct Picture {
    /// Of the bytes without what they told.
    pub hash: FileHash,
    pub size_bytes: u64,
    /// As it is shown.
    pub width: u32,
    pub height: u32,
    pub thumbnail_bytes: u64,
}

/// Why a file is not shown as a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureProblem {
    /// It has more pixels than are decoded.
    #[error("a picture may have no more than {0} pixels")]
    TooManyPixels(u64),
    /// It has more bytes than are looked at.
    #[error("it has too many bytes to be decoded")]
    TooManyBytes,
    /// It is none, whatever its first bytes say.
    #[error("it is no picture that can be decoded")]
    NotOne,
    #[error(transparent)]
    Disk(io::Error),
}

impl Pictures {
    pub fn new(settings: &FilesSettings) -> Self {
        let limits = PictureLimits {
            bytes_max: settings.picture_bytes_max,
            pixels_max: settings.picture_pixels_max,
            thumbnail_pixels: settings.thumbnail_pixels,
        };
        Self { places: Arc::new(Semaphore::new(settings.picture_tasks_max)), limits }
    }

    /// Writes the picture at `from` without what it tells to `clean`, and a small one to `thumbnail`.
    pub async fn prepare(
        &self,
        kind: &'static str,
        from: &Path,
        clean: &Path,
        thumbnail: &Path,
    ) -> Result<Picture, PictureProblem> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| PictureProblem::NotOne)?;
        let (limits, from, clean, thumbnail) = (self.limits, from.to_owned(), clean.to_owned(), thumbnail.to_owned());
        let task = tokio::task::spawn_blocking(move || {
            let _place = place;
            prepare(kind, limits, &from, &clean, &thumbnail)
        });
        // A decoder that panics has met what is no picture.
        task.await.unwrap_or(Err(PictureProblem::NotOne))
    }
}

fn prepare(
    kind: &str,
    limits: PictureLimits,
    from: &Path,
    clean: &Path,
    thumbnail: &Path,
) -> Result<Picture, PictureProblem> {
    let from = File::open(from).map_err(PictureProblem::Disk)?;
    if from.metadata().map_err(PictureProblem::Disk)?.len() > limits.bytes_max {
        return Err(PictureProblem::TooManyBytes);
    }
    let create = |path: &Path| private().create(true).truncate(true).write(true).open(path);
    let mut to = Hashing {
        file: BufWriter::new(create(clean).map_err(PictureProblem::Disk)?),
        hash: Context::new(&SHA256),
        length: 0,
    };
    metadata::strip(kind, &mut BufReader::new(from), &mut to).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => PictureProblem::NotOne,
        _ => PictureProblem::Disk(error),
    })?;
    let (hash, size_bytes) = to.finish().map_err(PictureProblem::Disk)?;
    let (small, width, height) = decode(kind, limits, clean)?;
    let jpeg = encoded(&small)?;
    let mut file = create(thumbnail).map_err(PictureProblem::Disk)?;
    file.write_all(&jpeg).and_then(|()| file.sync_all()).map_err(PictureProblem::Disk)?;
    Ok(Picture { hash, size_bytes, width, height, thumbnail_bytes: jpeg.len() as u64 })
}

/// A small picture, and the size of the large one as it is shown.
fn decode(kind: &str, limits: PictureLimits, path: &Path) -> Result<(DynamicImage, u32, u32), PictureProblem> {
    let format = ImageFormat::from_mime_type(kind).ok_or(PictureProblem::NotOne)?;
    let file = BufReader::new(File::open(path).map_err(PictureProblem::Disk)?);
    let mut reader = ImageReader::with_format(file, format);
    let mut memory = Limits::no_limits();
    memory.max_alloc = Some(limits.pixels_max.saturating_mul(4).saturating_add(limits.bytes_max));
    reader.limits(memory);
    let problem = |error: ImageError| match error {
        ImageError::Limits(_) => PictureProblem::TooManyPixels(limits.pixels_max),
        _ => PictureProblem::NotOne,
    };
    let mut decoder = reader.into_decoder().map_err(problem)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits.pixels_max {
        return Err(PictureProblem::TooManyPixels(limits.pixels_max));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let large = DynamicImage::from_decoder(decoder).map_err(problem)?;
    let side = limits.thumbnail_pixels;
    let mut small = if width.max(height) <= side { large } else { large.thumbnail(side, side) };
    small.apply_orientation(orientation);
    let is_turned = matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = if is_turned { (height, width) } else { (width, height) };
    Ok((small, width, height))
}

/// As JPEG, on white where it lets something through.
fn encoded(small: &DynamicImage) -> Result<Vec<u8>, PictureProblem> {
    let small = small.to_rgba8();
    let mut opaque = RgbImage::new(small.width(), small.height());
    for (to, from) in opaque.pixels_mut().zip(small.pixels()) {
        let [red, green, blue, alpha] = from.0.map(u32::from);
        let over = |colour: u32| ((colour * alpha + PAPER * (255 - alpha)) / 255) as u8;
        *to = Rgb([over(red), over(green), over(blue)]);
    }
    let mut jpeg = Cursor::new(Vec::new());
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, THUMBNAIL_QUALITY);
    opaque.write_with_encoder(encoder).map_err(|_| PictureProblem::NotOne)?;
    Ok(jpeg.into_inner())
}

/// A file whose hash is known when it is written.
struct Hashing {
    file: BufWriter<File>,
    hash: Context,
    length: u64,
}

impl Hashing {
    fn finish(self) -> io::Result<(FileHash, u64)> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let hash = self.hash.finish();
        Ok((FileHash(hash.as_ref().try_into().expect("SHA-256 has 32 bytes")), self.length))
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
