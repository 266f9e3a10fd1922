//! Pictures: what is told of them, and what they no longer tell.

use std::io::{Cursor, Write as _};

use flate2::{Compression, Crc, write::ZlibEncoder};
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Rgb, RgbImage, RgbaImage};

use super::*;

/// A picture whose left half is red, and the other blue.
fn halves(width: u32, height: u32) -> DynamicImage {
    let colour = |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) };
    RgbImage::from_fn(width, height, colour).into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A picture that is larger than its thumbnail.
pub fn picture(width: u32, height: u32) -> Vec<u8> {
    encoded(&halves(width, height), ImageFormat::Png)
}

/// The TIFF of EXIF: an orientation, and the place where the picture was taken.
fn tiff(orientation: u8) -> Vec<u8> {
    let head = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
    [&head[..], &[orientation, 0, 0, 0, 0, 0, 0], b"GPS 48.8584 N"].concat()
}

fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let exif = [&b"Exif\0\0"[..], &tiff(orientation)].concat();
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..], b"a film with GPS"].concat()
}

/// A PNG with EXIF behind its first chunk.
fn png_with_exif(png: &[u8], orientation: u8) -> Vec<u8> {
    let (tiff, first_chunk_end) = (tiff(orientation), 33);
    let length = u32::try_from(tiff.len()).unwrap().to_be_bytes();
    [&png[..first_chunk_end], &length, b"eXIf", &tiff, b"crc.", &png[first_chunk_end..]].concat()
}

/// A WebP of one chunk, with another one that says that there is EXIF, and that.
fn webp_with_exif(webp: &[u8], (width, height): (u32, u32), orientation: u8) -> Vec<u8> {
    let side = |pixels: u32| (pixels - 1).to_le_bytes()[..3].to_vec();
    let extended = [&b"VP8X\x0a\0\0\0\x08\0\0\0"[..], &side(width), &side(height)].concat();
    let mut exif = tiff(orientation);
    exif.resize(exif.len().next_multiple_of(2), 0);
    let exif = [&b"EXIF"[..], &u32::try_from(exif.len()).unwrap().to_le_bytes(), &exif].concat();
    let chunks = [b"WEBP", &extended[..], &webp[12..], &exif].concat();
    [b"RIFF", &u32::try_from(chunks.len()).unwrap().to_le_bytes()[..], &chunks].concat()
}

/// A colour profile of a screen, with a text of whose that is behind its colours.
fn profile() -> Vec<u8> {
    let xyz = [&b"XYZ \0\0\0\0"[..], &[0, 0, 0x80, 0].repeat(3)].concat();
    let (curve, text) = (b"curv\0\0\0\0\0\0\0\x01\x02\x33", b"text\0\0\0\0GPS: the phone of Ann\0");
    let mut tags: Vec<(&[u8; 4], &[u8])> = vec![(b"cprt", text)];
    tags.extend([b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt"].map(|name| (name, &xyz[..])));
    tags.extend([b"rTRC", b"gTRC", b"bTRC"].map(|name| (name, &curve[..])));
    let mut header = [&[0; 8][..], b"\x02\x10\0\0mntrRGB XYZ ", &[0; 12], b"acsp", &[0; 88]].concat();
    header[48..52].copy_from_slice(b"GPS!");
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, bytes) in &tags {
        let at = 132 + 12 * tags.len() + data.len();
        let numbers = [at, bytes.len()].map(|number| u32::try_from(number).unwrap().to_be_bytes());
        entries.extend([&name[..], &numbers.concat()].concat());
        data.extend_from_slice(bytes);
    }
    [header, u32::try_from(tags.len()).unwrap().to_be_bytes().to_vec(), entries, data].concat()
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let checked = [&kind[..], data].concat();
    let mut checksum = Crc::new();
    checksum.update(&checked);
    [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], &checked, &checksum.sum().to_be_bytes()].concat()
}

fn with_profile(picture: &[u8], format: ImageFormat) -> Vec<u8> {
    let profile = profile();
    match format {
        ImageFormat::Jpeg => {
            let segment = [&b"ICC_PROFILE\0\x01\x01"[..], &profile].concat();
            let length = u16::try_from(segment.len() + 2).unwrap().to_be_bytes();
            [&picture[..2], &[0xff, 0xe2], &length, &segment, &picture[2..]].concat()
        }
        ImageFormat::Png => {
            let chunk = png_chunk(b"iCCP", &[&b"the phone of Ann\0\0"[..], &zipped(&profile)].concat());
            [&picture[..33], &chunk, &picture[33..]].concat()
        }
        _ => {
            let extended = b"VP8X\x0a\0\0\0\x20\0\0\0\x4f\0\0\x27\0\0";
            let length = u32::try_from(profile.len()).unwrap().to_le_bytes();
            let padding = &[0][..profile.len() % 2];
            let chunks = [b"WEBP", &extended[..], b"ICCP", &length, &profile, padding, &picture[12..]].concat();
            [b"RIFF", &u32::try_from(chunks.len()).unwrap().to_le_bytes()[..], &chunks].concat()
        }
    }
}

fn profile_of(picture: &[u8]) -> Option<Vec<u8>> {
    let reader = ImageReader::new(Cursor::new(picture)).with_guessed_format().unwrap();
    reader.into_decoder().unwrap().icc_profile().unwrap()
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_loses_its_place_and_has_a_thumbnail_as_it_is_seen() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let plain = |format| encoded(&halves(800, 400), format);
    let photos: [(&str, Vec<u8>, &[u8]); 3] = [
        ("image/jpeg", with_exif(&plain(ImageFormat::Jpeg), 6), b"Exif"),
        ("image/png", png_with_exif(&plain(ImageFormat::Png), 6), b"eXIf"),
        ("image/webp", webp_with_exif(&plain(ImageFormat::WebP), (800, 400), 6), b"EXIF"),
    ];
    for (kind, photo, exif) in photos {
        let about = uploaded(address, &phone, "photo", &photo);
        assert_eq!(
            (about["kind"].as_str(), about["width"].as_u64(), about["height"].as_u64()),
            (Some(kind), Some(400), Some(800))
        );
        let file = read(address, about["url"].as_str().unwrap());
        assert!(holds(&photo, b"GPS") && !holds(&file.body, b"GPS") && holds(&file.body, exif), "{kind}");
        assert_eq!(file.body.len() as u64, about["size_bytes"].as_u64().unwrap());
        assert!(file.header("content-disposition").starts_with("inline; "));
        // Whoever reads the file turns it, as it is kept.
        let kept = image::load_from_memory(&file.body).unwrap();
        assert_eq!((kept.width(), kept.height()), (800, 400), "{kind}");
        let thumbnail = read(address, about["thumbnail_url"].as_str().unwrap());
        assert_eq!((thumbnail.status, thumbnail.header("content-type")), (200, "image/jpeg"));
        let small = image::load_from_memory(&thumbnail.body).unwrap().to_rgb8();
        assert_eq!((small.width(), small.height()), (160, 320));
        let (top, bottom) = (small.get_pixel(80, 40), small.get_pixel(80, 280));
        assert!(top[0] > 200 && bottom[2] > 200, "turned to the right: {top:?} {bottom:?}");
    }
    assert_eq!(kept(&server), (0, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_keeps_its_colours_and_loses_whose_they_are() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let photo = with_profile(&encoded(&halves(80, 40), format), format);
        assert!(profile_of(&photo).is_some_and(|profile| holds(&profile, b"GPS")), "{format:?}");
        let about = uploaded(address, &phone, "a", &photo);
        assert_eq!((about["kind"].as_str(), about["width"].as_u64()), (Some(format.to_mime_type()), Some(80)));
        let file = read(address, about["url"].as_str().unwrap());
        let kept = profile_of(&file.body).unwrap();
        assert!(!holds(&kept, b"GPS") && !holds(&file.body, b"Ann"), "{format:?}");
        let curve = b"curv\0\0\0\0\0\0\0\x01\x02\x33";
        assert!([&b"rXYZ"[..], b"gXYZ", b"bXYZ", b"wtpt", b"rTRC", curve].iter().all(|colour| holds(&kept, colour)));
        assert_eq!(image::load_from_memory(&file.body).unwrap(), image::load_from_memory(&photo).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_unpacks_to_more_than_its_pixels_is_not_shown() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let header = [0, 0, 0, 16, 0, 0, 0, 16, 8, 2, 0, 0, 0];
    let png = |profile: &[u8], rows: &[u8]| {
        let beside = if profile.is_empty() { Vec::new() } else { png_chunk(b"iCCP", profile) };
        let chunks = [png_chunk(b"IHDR", &header), beside, png_chunk(b"IDAT", &zipped(rows)), png_chunk(b"IEND", b"")];
        [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()
    };
    let (rows, large) = (vec![0; 16 * 49], vec![0; 32 << 20]);
    let bomb = uploaded(address, &phone, "a.png", &png(b"", &large));
    assert_eq!((bomb["kind"].as_str(), bomb.get("width")), (Some("application/octet-stream"), None));
    let file = read(address, bomb["url"].as_str().unwrap());
    assert!(file.header("content-disposition").starts_with("attachment; "));
    // One whose profile is that large is shown without it.
    let about = uploaded(address, &phone, "b.png", &png(&[&b"ICC\0\0"[..], &zipped(&large)].concat(), &rows));
    assert_eq!((about["kind"].as_str(), about["width"].as_u64()), (Some("image/png"), Some(16)));
    assert_eq!(read(address, about["url"].as_str().unwrap()).body, png(b"", &rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_something_else_as_well_is_a_picture_only() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let other = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>PK\x03\x04";
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let plain = encoded(&halves(80, 40), format);
        let polyglot = [&plain[..], other].concat();
        let about = uploaded(address, &phone, "a.html", &polyglot);
        let kind = about["kind"].as_str().unwrap();
        assert!(kind.starts_with("image/") && about["width"].as_u64() == Some(80), "{kind}");
        let file = read(address, about["url"].as_str().unwrap());
        assert_eq!((file.header("content-type"), file.header("x-content-type-options")), (kind, "nosniff"));
        assert!(!holds(&file.body, b"alert") && !holds(&file.body, b"PK\x03\x04"), "{kind}");
        image::load_from_memory(&file.body).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_all_kinds_have_a_size_and_a_thumbnail() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let clear = DynamicImage::from(RgbaImage::new(40, 30));
    for (format, kind) in
        [(ImageFormat::Png, "image/png"), (ImageFormat::Gif, "image/gif"), (ImageFormat::WebP, "image/webp")]
    {
        let about = uploaded(address, &phone, "a", &encoded(&clear, format));
        assert_eq!(
            (about["kind"].as_str(), about["width"].as_u64(), about["height"].as_u64()),
            (Some(kind), Some(40), Some(30))
        );
        let thumbnail = read(address, about["thumbnail_url"].as_str().unwrap());
        let small = image::load_from_memory(&thumbnail.body).unwrap().to_rgb8();
        assert!(small.pixels().all(|pixel| pixel.0.iter().all(|colour| *colour > 250)), "{kind}: on white");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gif_loses_its_comments_and_what_stands_behind_it() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let told = [&DOT[..DOT.len() - 1], b"\x21\xfe\x0dGPS 48.8584 N\0;<script>alert(1)</script>"].concat();
    let about = uploaded(address, &phone, "a.gif", &told);
    assert_eq!((about["kind"].as_str(), about["width"].as_u64()), (Some("image/gif"), Some(1)));
    assert_eq!(read(address, about["url"].as_str().unwrap()).body, DOT);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_photo_from_two_places_is_kept_once() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let plain = encoded(&halves(80, 40), ImageFormat::Jpeg);
    let first = uploaded(address, &phone, "a.jpg", &with_exif(&plain, 1));
    let second = uploaded(address, &phone, "b.jpg", &plain);
    assert_eq!((first["sha256"].as_str(), kept(&server)), (second["sha256"].as_str(), (0, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_refused_and_leaves_nothing() {
    let (server, address) = start_with(|files| files.picture_pixels_max = 10_000).await;
    let phone = server.sign_in("1").await;
    let bomb = encoded(&DynamicImage::new_luma8(101, 100), ImageFormat::Png);
    assert_eq!(
        upload(address, &phone, "a.png", &bomb).refusal(422),
        "a picture of this kind may have no more than 10000 pixels"
    );
    // Each of its pixels takes eight bytes.
    let deep = encoded(&DynamicImage::new_rgba16(51, 100), ImageFormat::Png);
    assert_eq!(
        upload(address, &phone, "a.png", &deep).refusal(422),
        "a picture of this kind may have no more than 5000 pixels"
    );
    // One that says that it is larger than any memory.
    let mut huge = encoded(&DynamicImage::new_luma8(1, 1), ImageFormat::Gif);
    huge[6..10].copy_from_slice(&[0xff; 4]);
    upload(address, &phone, "a.gif", &huge).refusal(422);
    assert_eq!(kept(&server), (0, 0));
    uploaded(address, &phone, "a.png", &encoded(&DynamicImage::new_luma8(100, 100), ImageFormat::Png));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_begins_as_a_picture_is_not_shown() {
    let (server, address) = start_with(|files| files.picture_bytes_max = 1_000).await;
    let phone = server.sign_in("1").await;
    let polyglot = b"GIF89a/*\x01\0\x01\0*/=1;alert(1)//<script>alert(1)</script>";
    let about = uploaded(address, &phone, "a.gif", polyglot);
    assert_eq!((about["kind"].as_str(), about.get("thumbnail_url")), (Some("application/octet-stream"), None));
    let file = read(address, about["url"].as_str().unwrap());
    assert!(file.header("content-disposition").starts_with("attachment; ") && file.body == polyglot);
    let cut = &encoded(&halves(16, 16), ImageFormat::Png)[..60];
    assert_eq!(uploaded(address, &phone, "a.png", cut)["kind"].as_str(), Some("application/octet-stream"));
    // One with more bytes than are looked at is what its bytes say, and saved.
    let noise = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x * 11) as u8]));
    let large = encoded(&noise.into(), ImageFormat::Png);
    assert!(large.len() > 1_000);
    let about = uploaded(address, &phone, "a.png", &large);
    assert_eq!((about["kind"].as_str(), about.get("width")), (Some("image/png"), None));
    assert!(read(address, about["url"].as_str().unwrap()).header("content-disposition").starts_with("attachment; "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_is_not_decoded_loses_its_place_as_well() {
    let (server, address) = start_with(|files| files.picture_bytes_max = 100).await;
    let phone = server.sign_in("1").await;
    let large = with_exif(&encoded(&halves(80, 40), ImageFormat::Jpeg), 6);
    let wrong = with_exif(b"\xff\xd8\xff\xda\0\x02\x12\xff\xd9", 6);
    // EXIF of a TIFF: the directory has a camera's name, which stands behind it.
    let tiff = b"II\x2a\0\x08\0\0\0\x01\0\x10\x01\x02\0\x0d\0\0\0\x1a\0\0\0\0\0\0\0GPS 48.8584 N".to_vec();
    for (bytes, kind) in [(large, "image/jpeg"), (wrong, "application/octet-stream"), (tiff, "image/tiff")] {
        let about = uploaded(address, &phone, "a", &bytes);
        assert_eq!((about["kind"].as_str(), about.get("width")), (Some(kind), None));
        let file = read(address, about["url"].as_str().unwrap());
        assert!(holds(&bytes, b"GPS") && !holds(&file.body, b"GPS"), "{kind}");
        assert!(file.header("content-disposition").starts_with("attachment; "));
        assert_eq!(file.body.len() as u64, about["size_bytes"].as_u64().unwrap());
    }
    assert_eq!(kept(&server), (0, 3));
}
