//! Pictures: what is told of them, and what they no longer tell.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, RgbaImage};

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
