//! Pictures: what they tell is taken out, then they are decoded for their size and a thumbnail, under limits of bytes, pixels and memory.
//!
//! On threads that may wait, so many at a time as the settings say, by turns between users. Always holds: what is not decoded is not shown
//! as a picture.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Cursor, Write},
    path::Path,
    time::Duration,
};

use gim_config::places::{NoPlace, Places};
use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
    codecs::jpeg::JpegEncoder, metadata::Orientation,
};
use jpeg_decoder::PixelFormat;
use ring::digest::{Context, SHA256};

use super::{
    blank::{BLANKED, blank},
    folder::{Folder, private},
    kind::UNKNOWN,
    metadata::{self, JpegForm, jpeg_form},
    staged::hash_of,
    threads::Threads,
};
use crate::{
    domain::file::{FileHash, FileId},
    settings::FilesSettings,
};

const THUMBNAIL_QUALITY: u8 = 80;
/// What stands behind a picture that lets it through.
const PAPER: u32 = 255;

/// Of a pixel of most pictures.
const RGB_BYTES: u64 = 3;

/// What the pictures of a moving PNG that follow its first one may take together, of the memory for one.
const FRAMES_MAX: u64 = 4;

/// How long a picture waits for its turn: for large ones of many users.
const TURN_WAIT: Duration = Duration::from_secs(600);

/// The places for decoding, and the limits. Clones share them.
#[derive(Debug, Clone)]
pub struct Pictures {
    places: Places,
    /// For those that are only copied, which takes as long as they are large.
    copying: Places,
    threads: Threads,
    limits: PictureLimits,
}

#[derive(Debug, Clone, Copy)]
struct PictureLimits {
    bytes_max: u64,
    pixels_max: u64,
    thumbnail_pixels: u32,
}

/// A picture without what it told.
#[derive(Debug)]
pub struct Picture {
    /// The media type; another one where it is none that can be decoded.
    pub kind: &'static str,
    /// Of the bytes without what they told.
    pub hash: FileHash,
    pub size_bytes: u64,
    /// As it is shown; 0 of what is not decoded.
    pub width: u32,
    pub height: u32,
    pub thumbnail_bytes: u64,
}

/// What was written of a picture.
struct Cleaned {
    hash: FileHash,
    size_bytes: u64,
    /// How it is to be turned, by EXIF's numbers.
    orientation: u8,
}

/// Why a file is not shown as a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureProblem {
    /// It has more pixels than are decoded: as many of its kind as memory is for.
    #[error("a picture of this kind may have no more than {0} pixels")]
    TooManyPixels(u64),
    /// It is none, whatever its first bytes say.
    #[error("it is no picture that can be decoded")]
    NotOne,
    /// Too many others are looked at.
    #[error(transparent)]
    NoTurn(#[from] NoPlace),
    #[error(transparent)]
    Disk(io::Error),
}

impl Pictures {
    pub fn new(settings: &FilesSettings, threads: Threads) -> Self {
        let limits = PictureLimits {
            bytes_max: settings.picture_bytes_max,
            pixels_max: settings.picture_pixels_max,
            thumbnail_pixels: settings.thumbnail_pixels,
        };
        let of_user_max = settings.uploads_per_user_max as usize;
        let places = || Places::new(settings.picture_tasks_max, of_user_max, TURN_WAIT);
        Self { places: places(), copying: places(), threads, limits }
    }

    /// Writes the uploaded picture of a user without what it tells, and a small one where it can be decoded; of a failure nothing is left.
    pub async fn prepare(
        &self,
        user_id: u64,
        kind: &'static str,
        folder: &Folder,
        file_id: FileId,
        uploaded_bytes: u64,
    ) -> Result<Picture, PictureProblem> {
        let is_decoded = !BLANKED.contains(&kind) && uploaded_bytes <= self.limits.bytes_max;
        let places = if is_decoded { &self.places } else { &self.copying };
        let place = places.take(user_id).await?;
        let (limits, folder) = (is_decoded.then_some(self.limits), folder.clone());
        let task = self.threads.spawn_blocking(move || {
            let _place = place;
            let prepared = prepare(kind, limits, &folder, file_id);
            if prepared.is_err() {
                folder.remove_copies(file_id).map_err(PictureProblem::Disk)?;
            }
            prepared
        });
        // A decoder that panics has met what is no picture.
        task.await.unwrap_or(Err(PictureProblem::NotOne))
    }
}

/// Decodes it only where there are limits.
fn prepare(
    kind: &'static str,
    limits: Option<PictureLimits>,
    folder: &Folder,
    file_id: FileId,
) -> Result<Picture, PictureProblem> {
    let from = File::open(folder.upload(file_id)).map_err(PictureProblem::Disk)?;
    let copied_bytes = from.metadata().map_err(PictureProblem::Disk)?.len();
    folder.check_room(copied_bytes).map_err(PictureProblem::Disk)?;
    let clean = &folder.clean(file_id);
    let Cleaned { hash, size_bytes, orientation } = cleaned(kind, from, clean)?;
    let not_shown = Picture { kind, hash, size_bytes, width: 0, height: 0, thumbnail_bytes: 0 };
    let Some(limits) = limits else { return Ok(not_shown) };
    let decoded = decode(kind, limits, clean, orientation);
    let small = decoded.and_then(|(small, width, height)| Ok((encoded(&small)?, width, height)));
    let (jpeg, width, height) = match small {
        Ok(small) => small,
        Err(PictureProblem::NotOne) => return Ok(Picture { kind: UNKNOWN, ..not_shown }),
        Err(problem) => return Err(problem),
    };
    let mut file = create(&folder.thumbnail(file_id)).map_err(PictureProblem::Disk)?;
    file.write_all(&jpeg).and_then(|()| file.sync_all()).map_err(PictureProblem::Disk)?;
    Ok(Picture { width, height, thumbnail_bytes: jpeg.len() as u64, ..not_shown })
}

/// Writes a picture without what it tells, and says what that is.
fn cleaned(kind: &str, from: File, clean: &Path) -> Result<Cleaned, PictureProblem> {
    let problem = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => PictureProblem::NotOne,
        _ => PictureProblem::Disk(error),
    };
    let mut to = Hashing {
        file: BufWriter::new(create(clean).map_err(PictureProblem::Disk)?),
        hash: Context::new(&SHA256),
        length: 0,
    };
    let orientation = metadata::strip(kind, &mut BufReader::new(from), &mut to).map_err(problem)?;
    let (hash, size_bytes) = to.finish().map_err(PictureProblem::Disk)?;
    if !BLANKED.contains(&kind) {
        return Ok(Cleaned { hash, size_bytes, orientation });
    }
    // It was copied as it is.
    let mut file = File::options().read(true).write(true).open(clean).map_err(PictureProblem::Disk)?;
    blank(kind, &file).map_err(problem)?;
    file.sync_all().map_err(PictureProblem::Disk)?;
    let hash = FileHash::of(hash_of(&mut file).map_err(PictureProblem::Disk)?);
    Ok(Cleaned { hash, size_bytes, orientation })
}

fn create(path: &Path) -> io::Result<File> {
    private().create(true).truncate(true).write(true).open(path)
}

/// A small picture, and the size of the large one as it is shown.
fn decode(
    kind: &str,
    limits: PictureLimits,
    path: &Path,
    orientation: u8,
) -> Result<(DynamicImage, u32, u32), PictureProblem> {
    let orientation = Orientation::from_exif(orientation).unwrap_or(Orientation::NoTransforms);
    let form = if kind == "image/jpeg" { Some(form_of(path)?) } else { None };
    if let Some(form) = form.filter(|form| form.is_unusual) {
        return Ok(small_of(unusual_jpeg(path, limits, form)?, limits, orientation));
    }
    let format = ImageFormat::from_mime_type(kind).ok_or(PictureProblem::NotOne)?;
    let file = BufReader::new(File::open(path).map_err(PictureProblem::Disk)?);
    let mut reader = ImageReader::with_format(file, format);
    let mut memory = Limits::no_limits();
    memory.max_alloc = Some(limits.memory_bytes().saturating_add(limits.bytes_max));
    reader.limits(memory);
    let problem = |error: ImageError| match error {
        ImageError::Limits(_) => PictureProblem::TooManyPixels(limits.pixels_max),
        _ => PictureProblem::NotOne,
    };
    let decoder = reader.into_decoder().map_err(problem)?;
    let (width, height) = decoder.dimensions();
    let pixels_max = limits.pixels_max.min(limits.memory_bytes() / pixel_bytes(kind, form, &decoder));
    if u64::from(width) * u64::from(height) > pixels_max {
        return Err(PictureProblem::TooManyPixels(pixels_max));
    }
    if kind == "image/png" {
        let mut file = BufReader::new(File::open(path).map_err(PictureProblem::Disk)?);
        let frames_bytes_max = limits.memory_bytes().saturating_mul(FRAMES_MAX);
        metadata::check_unpacked(&mut file, frames_bytes_max).map_err(|_| PictureProblem::NotOne)?;
    }
    Ok(small_of(DynamicImage::from_decoder(decoder).map_err(problem)?, limits, orientation))
}

/// Turns it, not by its decoder, which knows how of some kinds only.
fn small_of(large: DynamicImage, limits: PictureLimits, orientation: Orientation) -> (DynamicImage, u32, u32) {
    let (side, width, height) = (limits.thumbnail_pixels, large.width(), large.height());
    let mut small = if width.max(height) <= side { large } else { large.thumbnail(side, side) };
    small.apply_orientation(orientation);
    let is_turned = matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = if is_turned { (height, width) } else { (width, height) };
    (small, width, height)
}

fn form_of(path: &Path) -> Result<JpegForm, PictureProblem> {
    let mut file = BufReader::new(File::open(path).map_err(PictureProblem::Disk)?);
    jpeg_form(&mut file).map_err(|_| PictureProblem::NotOne)
}

/// A JPEG that the usual decoder shows wrongly, or not at all; by one that is slower.
fn unusual_jpeg(path: &Path, limits: PictureLimits, form: JpegForm) -> Result<DynamicImage, PictureProblem> {
    let (width, height) = (u32::from(form.width), u32::from(form.height));
    let pixels_max = limits.pixels_max.min(limits.memory_bytes() / (RGB_BYTES + form.bytes_beside));
    if u64::from(width) * u64::from(height) > pixels_max {
        return Err(PictureProblem::TooManyPixels(pixels_max));
    }
    let file = BufReader::new(File::open(path).map_err(PictureProblem::Disk)?);
    let mut decoder = jpeg_decoder::Decoder::new(file);
    decoder.set_max_decoding_buffer_size(usize::try_from(pixels_max * RGB_BYTES).unwrap_or(usize::MAX));
    let pixels = decoder.decode().map_err(|_| PictureProblem::NotOne)?;
    let large = match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::RGB24) => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
        Some(PixelFormat::L8) => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        _ => None,
    };
    large.ok_or(PictureProblem::NotOne)
}

impl PictureLimits {
    /// What a picture may take as long as it is decoded, beside its own bytes.
    fn memory_bytes(self) -> u64 {
        self.pixels_max.saturating_mul(4)
    }
}

/// What a pixel takes as long as its picture is decoded.
fn pixel_bytes(kind: &str, form: Option<JpegForm>, decoder: &impl ImageDecoder) -> u64 {
    let decoded = u64::from(decoder.color_type().bytes_per_pixel());
    match kind {
        "image/png" => decoded,
        "image/jpeg" => decoded + form.map_or(0, |form| form.bytes_beside),
        // One more picture, of which that one is made.
        _ => 2 * decoded.max(4),
    }
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
        Ok((FileHash::of(self.hash), self.length))
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

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::{super::threads, *};

    #[tokio::test]
    async fn a_user_waits_for_a_turn_of_her_own() {
        let settings = FilesSettings { picture_tasks_max: 2, uploads_per_user_max: 1, ..FilesSettings::default() };
        let (threads, _running) = threads::start().unwrap();
        let pictures = Pictures::new(&settings, threads);
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::open(data.path(), 0).unwrap();
        let prepared = async |user_id| pictures.prepare(user_id, "image/gif", &folder, FileId::random(), 1).await;
        let _turn = pictures.places.take(7).await.unwrap();
        assert!(matches!(prepared(7).await, Err(PictureProblem::NoTurn(NoPlace::TooMany))));
        assert!(matches!(prepared(8).await, Err(PictureProblem::Disk(_))), "there is no such file, but a turn");
        let large = settings.picture_bytes_max + 1;
        let copied = pictures.prepare(7, "image/gif", &folder, FileId::random(), large).await;
        assert!(matches!(copied, Err(PictureProblem::Disk(_))), "what is only copied has turns of its own");
    }

    #[tokio::test]
    async fn a_copy_of_a_picture_leaves_room_to_others_and_nothing_behind() {
        let (threads, _running) = threads::start().unwrap();
        let pictures = Pictures::new(&FilesSettings::default(), threads);
        let data = tempfile::tempdir().unwrap();
        let file_id = FileId::random();
        Folder::open(data.path(), 0).unwrap().create_upload(file_id).unwrap().write_all(b"GIF89a").unwrap();
        let full = Folder::open(data.path(), u64::MAX).unwrap();
        let refused = pictures.prepare(1, "image/gif", &full, file_id, 6).await;
        let Err(PictureProblem::Disk(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(full.upload(file_id).exists() && !full.clean(file_id).exists());
    }

    /// Four squares of 16 pixels: red and green above blue and yellow.
    const SQUARES: [[u8; 3]; 4] = [[200, 40, 40], [40, 180, 60], [40, 60, 200], [220, 210, 60]];
    const PROGRESSIVE_WITH_RESTARTS: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC4zNDL/\
     2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjL/wgARCAAgACADASIAAhEBAxEB/8QA\
     FwABAQEBAAAAAAAAAAAAAAAAAAUCBv/EABcBAAMBAAAAAAAAAAAAAAAAAAQFBgP/3QAEAAH/2gAMAwEAAhADEAAAAZYDo//QyF6T/9GEKAX/0uiE7v8A/8QA\
     FBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABBQJ//9B//9F//9J//9N//9R//9V//9Z//9d//9B//9F//9J//9N//9R//9V//9Z//8QAFBEBAAAAAAAAAAAA\
     AAAAAAAAAP/aAAgBAwEBPwF//9B//9F//9J//8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAgBAgEBPwF//9B//9F//9J//8QAFBABAAAAAAAAAAAAAAAAAAAA\
     AP/aAAgBAQAGPwJ//9B//9F//9J//9N//9R//9V//9Z//9d//9B//9F//9J//9N//9R//9V//9Z//8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPyF/\
     /9B//9F//9J//9N//9R//9V//9Z//9d//9B//9F//9J//9N//9R//9V//9Z//9oADAMBAAIAAwAAABAH/9AH/9EP/9IH/8QAFBEBAAAAAAAAAAAAAAAAAAAA\
     AP/aAAgBAwEBPxB//9B//9F//9J//8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAgBAgEBPxB//9B//9F//9J//8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgB\
     AQABPxB//9B//9F//9J//9N//9R//9V//9Z//9d//9B//9F//9J//9N//9R//9V//9Z//9k=";
    const EACH_IN_A_SCAN: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC4zNDL/\
     2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjL/wAARCAAgACADASIAAhEBAxEB/8QA\
     FgABAQEAAAAAAAAAAAAAAAAAAAYH/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQAAPwCXFIJsUgiRvwwEb8P/xAAXAQADAQAAAAAAAAAAAAAAAAAEBQcI\
     /8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAgBAhEAPwBOHWFnp//EABUBAQEAAAAAAAAAAAAAAAAAAAYH/8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAgBAxEA\
     PwCjoGRET//Z";
    const MORE_SAMPLES_OF_COLOURS: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC4zNDL/\
     2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjL/wAARCAAgACADAREAAiEBAyEB/8QA\
     FQABAQAAAAAAAAAAAAAAAAAABgf/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAGQEBAAMBAQAAAAAAAAAAAAAAAAQGBwgF/8QAFBEBAAAAAAAAAAAAAAAAAAAA\
     AP/aAAwDAQACEQMRAD8ALvHGjhIjjAwbSBvgSI4wMCWwixC/OehYhAXQorovznoWIf/Z";

    #[test]
    fn jpegs_of_unusual_forms_are_shown_as_they_are() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("a.jpg");
        let limits = PictureLimits { bytes_max: 1_000_000, pixels_max: 32 * 32 * 3, thumbnail_pixels: 32 };
        for jpeg in [PROGRESSIVE_WITH_RESTARTS, EACH_IN_A_SCAN, MORE_SAMPLES_OF_COLOURS] {
            std::fs::write(&path, BASE64_STANDARD.decode(jpeg).unwrap()).unwrap();
            let (small, width, height) = decode("image/jpeg", limits, &path, 1).unwrap();
            assert_eq!((width, height), (32, 32));
            let small = small.to_rgb8();
            for ((x, y), square) in [(8, 8), (24, 8), (8, 24), (24, 24)].into_iter().zip(SQUARES) {
                let shown = small.get_pixel(x, y).0;
                assert!(shown.iter().zip(square).all(|(shown, was)| shown.abs_diff(was) < 12), "{shown:?} {square:?}");
            }
            let few = PictureLimits { pixels_max: 32 * 32 - 1, ..limits };
            let refused = decode("image/jpeg", few, &path, 1);
            assert!(matches!(refused, Err(PictureProblem::TooManyPixels(_))), "{refused:?}");
        }
    }
}
