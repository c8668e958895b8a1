//! The files of the chat page, embedded in the binary.

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use sha1::{Digest, Sha1};

/// A file of the page.
#[derive(Clone, Debug)]
pub(super) struct Asset {
    /// Its media type.
    pub(super) media_type: &'static str,
    /// What it contains.
    pub(super) content: &'static [u8],
    /// Its entity tag: a digest of the content, so that an unchanged file is not sent again (RFC
    /// 9110, 8.8.3).
    pub(super) etag: String,
}

/// All files, by the path under which they are served.
pub(super) struct Assets {
    by_path: HashMap<&'static str, Asset>,
}

macro_rules! files {
    ($($file:literal),* $(,)?) => { [$((concat!("/", $file), include_bytes!(concat!("../web/", $file)) as &[u8])),*] };
}

impl Assets {
    /// The page's files.
    #[must_use]
    pub(super) fn new() -> Self {
        let mut by_path: HashMap<_, _> =
            FILES.into_iter().map(|(path, content)| (path, Asset::new(path, content))).collect();
        if let Some(index) = by_path.get("/index.html").cloned() {
            by_path.insert("/", index);
        }
        Self { by_path }
    }

    /// The file at a path.
    #[must_use]
    pub(super) fn at(&self, path: &str) -> Option<&Asset> {
        self.by_path.get(path)
    }
}

impl Default for Assets {
    fn default() -> Self {
        Self::new()
    }
}

impl Asset {
    fn new(path: &str, content: &'static [u8]) -> Self {
        let media_type = match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("webmanifest") => "application/manifest+json",
            _ => "application/octet-stream",
        };
        Self {
            media_type,
            content,
            etag: format!("\"{}\"", BASE64URL_NOPAD.encode(&Sha1::digest(content))),
        }
    }
}

/// Every file of `src/web`. A test fails when one is missing here.
const FILES: [(&str, &[u8]); 41] = files![
    "index.html",
    "style.css",
    "favicon.svg",
    "theme.js",
    "tick.js",
    "main.js",
    "channel.js",
    "presence.js",
    "session.js",
    "state/acting.js",
    "state/changes.js",
    "state/chat.js",
    "state/delivery.js",
    "state/lobby.js",
    "state/name.js",
    "state/reactions.js",
    "state/rights.js",
    "state/room.js",
    "state/rows.js",
    "state/ruling.js",
    "state/store.js",
    "state/stretch.js",
    "view/actions.js",
    "view/audit.js",
    "view/composer.js",
    "view/conversation.js",
    "view/dialogs.js",
    "view/dom.js",
    "view/invite.js",
    "view/members.js",
    "view/mentions.js",
    "view/menu.js",
    "view/people.js",
    "view/pins.js",
    "view/reactions.js",
    "view/rooms.js",
    "view/settings.js",
    "view/status.js",
    "view/text.js",
    "view/window.js",
    "view/words.js",
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn names_below(folder: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the page") {
            let entry = entry.expect("an entry");
            let name = format!("{prefix}/{}", entry.file_name().into_string().expect("ASCII"));
            if entry.file_type().expect("a type").is_dir() {
                names_below(&entry.path(), &name, names);
            } else {
                names.push(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let mut names = Vec::new();
        names_below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/web")), "", &mut names);
        for name in names {
            let asset = Assets::new()
                .at(&name)
                .cloned()
                .unwrap_or_else(|| panic!("{name} is not embedded"));
            assert_ne!(asset.media_type, "application/octet-stream", "{name}");
        }
    }
}
