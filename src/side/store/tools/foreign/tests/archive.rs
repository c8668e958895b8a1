//! Folders and zips, and what is in them beside an export.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

#[test]
fn an_export_in_a_zip_is_read_as_one_in_a_folder() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("export.zip");
    let mut zip = ZipWriter::new(File::create_new(&path).unwrap());
    let channels = r#"[{"id":"C1","name":"tea","created":1}]"#;
    let day = r#"[{"type":"message","user":"U1","text":"hi","ts":"2.5"}]"#;
    for (name, content) in [("tea/2026-11-01.json", day), ("channels.json", channels)] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    let mut out = Vec::new();
    let take = &mut |line: &[u8]| {
        out.extend_from_slice(line);
        Ok(())
    };
    convert(Product::Slack, Archive::open(&path, "json").unwrap(), take).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(r#""at":2500,"user":"U1","name":"U1","body":"hi""#), "{out}");

    let cut = folder.0.join("cut.zip");
    let whole = fs::read(&path).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(Archive::open(&cut, "json"), Err(StoreError::Damaged { .. })));
}

const CHANNELS: &str = r#"[{"id":"C1","name":"tea","created":1}]"#;
const DAY: &str = r#"[{"user":"U1","text":"hi","ts":"2.5"}]"#;

/// An entry of a zip.
enum Packed<'a> {
    File(&'a str),
    LinkTo(&'a str),
}

/// Files and links as a folder, and as a zip.
fn in_both(files: &[(&str, Packed<'_>)]) -> [(Folder, PathBuf); 2] {
    let plain: Vec<_> = files
        .iter()
        .filter_map(|(name, packed)| match packed {
            Packed::File(content) => Some((*name, content.as_bytes())),
            Packed::LinkTo(_) => None,
        })
        .collect();
    let (folder, zipped) = (folder_with(&plain), Folder::new());
    fs::create_dir_all(&folder.0).unwrap();
    fs::create_dir_all(&zipped.0).unwrap();
    let path = zipped.0.join("export.zip");
    let mut zip = ZipWriter::new(File::create_new(&path).unwrap());
    let options = SimpleFileOptions::default();
    for (name, packed) in files {
        match packed {
            Packed::File(content) => {
                zip.start_file(*name, options).unwrap();
                zip.write_all(content.as_bytes()).unwrap();
            }
            Packed::LinkTo(target) => {
                zip.add_symlink(*name, *target, options).unwrap();
                std::os::unix::fs::symlink(target, folder.0.join(name)).unwrap();
            }
        }
    }
    zip.finish().unwrap();
    let path_of_folder = folder.0.clone();
    [(folder, path_of_folder), (zipped, path)]
}

#[test]
fn what_is_not_read_is_passed_over_and_told_in_a_folder_as_in_a_zip() {
    let deep = "data/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/picture.png";
    let files = [
        ("channels.json", Packed::File(CHANNELS)),
        ("tea/1.json", Packed::File(DAY)),
        (deep, Packed::File("a picture")),
        ("note.txt", Packed::File("a note")),
        ("tea/._1.json", Packed::File("\0\u{5}")),
        ("__MACOSX/tea/1.json", Packed::File("\0\u{5}")),
        ("tea/etc", Packed::LinkTo("/etc")),
        ("latest", Packed::LinkTo("tea/1.json")),
    ];
    for (_folder, path) in in_both(&files) {
        let (lines, notes) = converted(Product::Slack, &path).unwrap();
        assert_eq!(said(&lines), [("tea", "U1", "hi", 0)]);
        assert_eq!(
            notes,
            [
                format!("passed over: files that are no .json: 2, the first is {deep:?}"),
                "passed over: files that macOS has added: 2, the first is \
                 \"__MACOSX/tea/1.json\""
                    .to_owned(),
                "passed over: links, which are not followed: 2, the first is \"latest\"".to_owned(),
            ]
        );
    }
}

#[test]
fn a_link_that_would_be_read_is_named_in_a_folder_as_in_a_zip() {
    let files = [
        ("channels.json", Packed::File(CHANNELS)),
        ("tea/1.json", Packed::File(DAY)),
        ("tea/2.json", Packed::LinkTo("1.json")),
    ];
    for (_folder, path) in in_both(&files) {
        let error = converted(Product::Slack, &path).unwrap_err().to_string();
        assert!(error.contains("tea/2.json: it is a link, which is not followed"), "{error}");
    }
}

#[test]
fn a_name_that_is_not_utf_8_matters_where_it_would_be_read_only() {
    let named = |name: &[u8]| OsStr::from_bytes(name).to_owned();
    let folder = folder_with(&[("channels.json", CHANNELS.as_bytes())]);
    let notes_of = |path: &Path| converted(Product::Slack, path).unwrap().1;
    let data = folder.0.join(named(b"data\xe4"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join(named(b"\xfc.png")), "").unwrap();
    let notes = notes_of(&folder.0);
    let expected = "files that are no .json: 1, the first is \"data\u{fffd}/\u{fffd}.png\"";
    assert_eq!(notes, [format!("passed over: {expected}")]);
    fs::write(data.join("1.json"), CHANNEL).unwrap();
    let unread = "left out: files of channels that are not in the export: 1";
    assert_eq!(notes_of(&folder.0)[1..], [unread]);
    fs::remove_file(folder.0.join("channels.json")).unwrap();
    let error = converted(Product::Discord, &folder.0).unwrap_err().to_string();
    assert!(error.contains("data\u{fffd}/1.json: its name is not UTF-8"), "{error}");
}

#[test]
fn what_is_neither_a_file_nor_a_folder_is_passed_over_unless_it_would_be_read() {
    let folder = folder_with(&[("channels.json", CHANNELS.as_bytes())]);
    let _socket = UnixListener::bind(folder.0.join("socket")).unwrap();
    let (_, notes) = converted(Product::Slack, &folder.0).unwrap();
    let expected = "what is neither a file nor a folder: 1, the first is \"socket\"";
    assert_eq!(notes, [format!("passed over: {expected}")]);
    fs::create_dir(folder.0.join("tea")).unwrap();
    let _other = UnixListener::bind(folder.0.join("tea/1.json")).unwrap();
    let error = converted(Product::Slack, &folder.0).unwrap_err().to_string();
    assert!(error.contains("tea/1.json: it is neither a file nor a folder"), "{error}");
}

#[test]
fn what_is_not_utf_8_in_a_file_is_named() {
    let channels: (&str, &[u8]) = ("channels.json", CHANNELS.as_bytes());
    let day = DAY.as_bytes();
    let marked = [b"\xef\xbb\xbf", day].concat();
    let (lines, notes) =
        converted(Product::Slack, &folder_with(&[channels, ("tea/1.json", &marked)]).0).unwrap();
    assert_eq!((said(&lines), notes), (vec![("tea", "U1", "hi", 0)], vec![]));
    let utf16: Vec<u8> = day.iter().flat_map(|byte| [*byte, 0]).collect();
    let latin = day.iter().map(|byte| if *byte == b'i' { 0xe4 } else { *byte }).collect::<Vec<_>>();
    for content in [utf16, latin] {
        let error = refused(Product::Slack, &[channels, ("tea/1.json", &content)]);
        assert!(error.contains("tea/1.json: "), "{error}");
    }
}

/// A zip of files with the same content, which is not compressed.
fn stored(names: &[&str], content: &str) -> (Folder, PathBuf) {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("export.zip");
    let mut zip = ZipWriter::new(File::create_new(&path).unwrap());
    let options = SimpleFileOptions::default();
    let options = options.compression_method(zip::CompressionMethod::Stored);
    for name in names {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    (folder, path)
}

const CHANNEL: &str = r#"{"channel":{"id":"1","name":"tea"},"messages":[]}"#;

#[test]
fn a_name_in_a_zip_that_leads_out_of_it_is_named_where_it_would_be_read() {
    for name in
        ["../secret.json", "/etc/passwd.json", "tea/../../1.json", "tea//1.json", "./a.json"]
    {
        let (_folder, path) = stored(&[name, "tea.json"], CHANNEL);
        let error = converted(Product::Discord, &path).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}: its name leads out of the export")), "{error}");
    }
    let (_folder, path) = stored(&["tea\\1.json", "../secret.txt"], CHANNEL);
    let (lines, notes) = converted(Product::Discord, &path).unwrap();
    assert_eq!(lines[1]["room"], "tea", "as programs of Windows write it");
    let expected = "files that are no .json: 1, the first is \"../secret.txt\"";
    assert_eq!(notes[0], format!("passed over: {expected}"));
    let (_folder, path) = stored(&["tea\\1.json", "tea/1.json"], CHANNEL);
    let error = converted(Product::Discord, &path).unwrap_err().to_string();
    assert!(error.contains("tea/1.json: another file has the same name"), "{error}");
}

#[test]
fn what_was_altered_in_a_zip_is_named() {
    let (_folder, path) = stored(&["tea/1.json"], CHANNEL);
    let mut altered = fs::read(&path).unwrap();
    let at = altered.windows(5).position(|five| five == b"\"tea\"").unwrap();
    altered[at + 1] = b'p';
    fs::write(&path, altered).unwrap();
    let error = converted(Product::Discord, &path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("tea/1.json: "), "{error}");
}

#[test]
fn what_is_packed_in_a_way_that_is_not_known_is_named() {
    let (_folder, path) = stored(&["tea/1.json"], CHANNEL);
    let mut packed = fs::read(&path).unwrap();
    let directory = packed.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    // Deflate64, as Windows packs what is large: in front of the file, and in the directory.
    packed[8] = 9;
    packed[directory + 10] = 9;
    fs::write(&path, packed).unwrap();
    let error = converted(Product::Discord, &path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("tea/1.json: compression method not supported"), "{error}");
}

/// What unpacks to far more than it is: many names of the same bytes.
#[test]
fn a_zip_whose_files_share_their_bytes_is_refused() {
    let (_folder, path) = stored(&["tea/1.json", "tea/2.json"], CHANNEL);
    let mut zip = fs::read(&path).unwrap();
    // In the directory at its end, the second begins where the first does.
    let find = |zip: &[u8], name: &[u8]| {
        zip.windows(name.len()).rposition(|window| window == name).unwrap()
    };
    let (one, other) = (find(&zip, b"tea/1.json"), find(&zip, b"tea/2.json"));
    zip.copy_within(one - 4..one, other - 4);
    fs::write(&path, zip).unwrap();
    let error = converted(Product::Discord, &path).unwrap_err().to_string();
    assert!(error.contains("files in it share their bytes"), "{error}");
}

#[test]
fn a_pipe_is_read_as_a_file_is() {
    let text = r#"{"type":"channel","channel":{"team":"t","name":"tea","type":"O"}}"#;
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let (lines, _) = converted(Product::Mattermost, Path::new(&path)).unwrap();
    assert_eq!(lines[1]["room"], "tea");
}
