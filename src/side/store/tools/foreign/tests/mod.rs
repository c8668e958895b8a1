//! What a fixture does not show, and what these tests share. Whole exports: `tests/store`.

mod archive;
mod discord;
mod lines;
mod mattermost;
mod slack;

use std::fs;

use super::*;
use crate::side::store::tests::Folder;

/// The files of an export in a folder.
fn folder_with(files: &[(&str, &[u8])]) -> Folder {
    let folder = Folder::new();
    for (name, content) in files {
        let path = folder.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// What comes of an export: its lines, and what is told of it.
fn converted(
    product: Product,
    file: &Path,
) -> Result<(Vec<serde_json::Value>, Vec<String>), StoreError> {
    let mut out = Vec::new();
    let notes = convert(product, Archive::open(file, product.kind())?, &mut |line| {
        out.push(serde_json::from_slice(line).unwrap());
        Ok(())
    })?;
    Ok((out, notes))
}

/// The same of files that are an export.
fn taken(product: Product, files: &[(&str, &str)]) -> (Vec<serde_json::Value>, Vec<String>) {
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    converted(product, &folder_with(&files).0).unwrap()
}

/// What is said against files that are none.
fn refused(product: Product, files: &[(&str, &[u8])]) -> String {
    converted(product, &folder_with(files).0).unwrap_err().to_string()
}

/// Of each message its room, author, text, and the offset of what it answers.
fn said(lines: &[serde_json::Value]) -> Vec<(&str, &str, &str, u64)> {
    let messages = lines.iter().filter(|line| line["kind"] == "message");
    messages
        .map(|message| {
            let text = |field: &str| message[field].as_str().unwrap_or_default();
            let answered = message["reply_to"].as_u64().unwrap_or_default();
            (text("room"), text("user"), text("body"), answered)
        })
        .collect()
}
