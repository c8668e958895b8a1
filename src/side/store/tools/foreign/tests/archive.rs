//! Folders and zips, and what is in them beside an export.

use std::fs::{self, File};
use std::io::Write as _;

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
    convert(Product::Slack, Archive::open(&path).unwrap(), take).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(r#""at":2500,"user":"U1","name":"U1","body":"hi""#), "{out}");

    let cut = folder.0.join("cut.zip");
    let whole = fs::read(&path).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(Archive::open(&cut), Err(StoreError::Damaged { .. })));
}

#[test]
fn what_a_folder_has_beside_files_and_what_a_file_has_beside_utf_8_is_named() {
    let channels: (&str, &[u8]) = ("channels.json", br#"[{"id":"C1","name":"tea","created":1}]"#);
    let day = br#"[{"user":"U1","text":"hi","ts":"2.5"}]"#;
    let marked = [b"\xef\xbb\xbf", &day[..]].concat();
    let utf16: Vec<u8> = day.iter().flat_map(|byte| [*byte, 0]).collect();
    let latin = day.iter().map(|byte| if *byte == b'i' { 0xe4 } else { *byte }).collect::<Vec<_>>();

    let folder = folder_with(&[
        channels,
        ("tea/1.json", &marked),
        ("__MACOSX/tea/._1.json", b"\0\x05\x16\x07"),
        ("tea/._1.json", b"\0\x05\x16\x07"),
    ]);
    let (lines, notes) = converted(Product::Slack, &folder.0).unwrap();
    assert_eq!((said(&lines), notes), (vec![("tea", "U1", "hi", 0)], vec![]));

    std::os::unix::fs::symlink("/etc", folder.0.join("tea/etc")).unwrap();
    let error = converted(Product::Slack, &folder.0).unwrap_err().to_string();
    assert!(error.contains("tea/etc: it is neither a file nor a folder"), "{error}");
    for (name, content, expected) in [
        ("tea/1.json", &*utf16, "tea/1.json: "),
        ("tea/1.json", &latin, "tea/1.json: "),
        ("a/b/c/d/e/1.json", day, "a/b/c/d/e: it is too deep within other folders"),
    ] {
        let error = refused(Product::Slack, &[channels, (name, content)]);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn names_in_a_zip_lead_nowhere_and_what_was_altered_in_one_is_named() {
    let zipped = |names: &[&str]| {
        let folder = folder_with(&[("secret.json", br#"[{"user":"U1","text":"hi","ts":"2.5"}]"#)]);
        let path = folder.0.join("export.zip");
        let mut zip = ZipWriter::new(File::create_new(&path).unwrap());
        let stored = SimpleFileOptions::default();
        let stored = stored.compression_method(zip::CompressionMethod::Stored);
        for name in names {
            zip.start_file(*name, stored).unwrap();
            let content = if name.ends_with("channels.json") {
                r#"[{"id":"C1","name":".."},{"id":"C2","name":"tea"}]"#
            } else {
                r#"[{"user":"U1","text":"inside","ts":"2.5"}]"#
            };
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        (folder, path)
    };
    let (_folder, path) =
        zipped(&["channels.json", "../secret.json", "/etc/passwd.json", "tea/1.json"]);
    let (lines, notes) = converted(Product::Slack, &path).unwrap();
    assert_eq!(said(&lines), [("..", "U1", "inside", 0), ("tea", "U1", "inside", 0)]);
    assert_eq!(notes, ["left out: files of channels that are not in the export: 1"]);

    let mut altered = fs::read(&path).unwrap();
    let at = altered.windows(6).rposition(|six| six == b"inside").unwrap();
    altered[at] = b'x';
    fs::write(&path, altered).unwrap();
    let error = converted(Product::Slack, &path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("tea/1.json: "), "{error}");
}
