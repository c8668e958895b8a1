//! A store as pages that anybody can read: a folder of HTML without scripts, for a web server or a
//! disk, which search engines can read too.
//!
//! ```text
//!   index.html            the rooms
//!   ROOM/1.html, ...      what was said in one, some messages a page
//! ```
//!
//! A message is found on its page by its offset, so a link to one stays right as more is said.
//!
//! Deliberately absent: reading a store, for it is made of the lines of an export; rooms that not
//! everybody may join, unless one is asked for by its name.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;

use serde::Deserialize;
use sha1::{Digest, Sha1};

use super::counted;
use super::export::{Choice, export_public};
use super::line::{Any, Kind, MessageLine, RoomLine};
use crate::auth::level::Joiners;
use crate::link::facts::RoomSettings;
use crate::side::store::error::StoreError;
use crate::wire::http::date::rfc3339;

/// How many offsets a page has.
const PAGE_OFFSETS: u64 = 500;

/// The longest name of a folder that is made of a room's, in bytes: file systems take 255.
const FOLDER_BYTES_MAX: usize = 200;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
article{margin:.6rem 0;overflow-wrap:anywhere}\
article:target{background:color-mix(in srgb,currentColor 12%,transparent)}\
.body{white-space:pre-wrap;unicode-bidi:plaintext;margin:0}\
.more{opacity:.7;font-size:.85em}\
strong,li a{unicode-bidi:isolate}\
nav{display:flex;gap:1rem;margin:1rem 0}\
blockquote{margin:0;padding-left:.6rem;border-left:3px solid currentColor;opacity:.8}";

/// Writes what everybody may read into a folder that is not there yet, or is empty, and tells each
/// damage that it finds. Returns how many it has told.
///
/// # Errors
///
/// As `export`; if there is something in the folder.
pub fn export_html(
    folder: &Path,
    choice: &Choice,
    to: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<u64, StoreError> {
    fs::create_dir_all(to)?;
    if fs::read_dir(to)?.next().is_some() {
        return Err(StoreError::Exists { file: to.to_owned() });
    }
    let (read, write) = io::pipe()?;
    // The writer goes with what writes, which is the end of the lines.
    let (private, damaged) = thread::scope(|scope| {
        let is_asked_for = choice.room.is_some();
        let pages = scope.spawn(move || Pages::new(to, is_asked_for).all(BufReader::new(read)));
        let damaged = export_public(folder, choice, &mut BufWriter::new(write), tell);
        (pages.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), damaged)
    });
    // If both failed, it is told why one did: that the other end took no more says less.
    let (private, damaged) = match (private, damaged) {
        (Ok(private), Ok(damaged)) => (private, damaged),
        (Err(error), Ok(_) | Err(StoreError::Io(_))) | (_, Err(error)) => return Err(error),
    };
    if private > 0 {
        tell(&format!("left out: rooms that not everybody may join: {private}"));
    }
    Ok(damaged)
}

/// The pages, as lines come.
struct Pages {
    to: PathBuf,
    /// Whether one room is asked for by its name, be it private.
    is_asked_for: bool,
    room: Option<Room>,
    /// For the list: the title, the first page, how many messages there are.
    rooms: Vec<(String, String, u64)>,
    /// How many are left out.
    private: u64,
}

/// The room whose messages come.
struct Room {
    title: String,
    folder: String,
    /// The numbers of its pages.
    first: u64,
    last: u64,
    messages: u64,
    /// The page that is being written, by its number.
    page: Option<(u64, BufWriter<File>)>,
}

impl Pages {
    fn new(to: &Path, is_asked_for: bool) -> Self {
        Self { to: to.to_owned(), is_asked_for, room: None, rooms: Vec::new(), private: 0 }
    }

    /// Writes all. Returns how many rooms not everybody may join.
    fn all(mut self, mut lines: impl BufRead) -> Result<u64, StoreError> {
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            let parsed = |error: serde_json::Error| StoreError::Io(error.into());
            let Any { kind } = serde_json::from_str(&line).map_err(parsed)?;
            match kind {
                Kind::Room => self.room(&serde_json::from_str(&line).map_err(parsed)?)?,
                Kind::Message => self.message(&serde_json::from_str(&line).map_err(parsed)?)?,
                Kind::Chinwag | Kind::Era | Kind::Standing | Kind::Audit | Kind::End => {}
            }
            line.clear();
        }
        self.end_room()?;
        self.index()
    }

    fn room(&mut self, line: &RoomLine<'_>) -> Result<(), StoreError> {
        self.end_room()?;
        let settings = line.settings.as_deref().map(RoomSettings::read).unwrap_or_default();
        if settings.join != Joiners::All && !self.is_asked_for {
            self.private += 1;
            return Ok(());
        }
        let folder = folder_name(&line.room);
        fs::create_dir(self.to.join(&folder))?;
        let title = if line.title.is_empty() { &line.room } else { &line.title };
        self.room = Some(Room {
            title: title.to_string(),
            folder,
            first: page_of(line.last.min(line.floor + 1).max(1)),
            last: page_of(line.last.max(1)),
            messages: 0,
            page: None,
        });
        Ok(())
    }

    fn message(&mut self, line: &MessageLine<'_>) -> Result<(), StoreError> {
        let Some(room) = &mut self.room else { return Ok(()) };
        room.turn_to(&self.to, page_of(line.offset))?;
        room.messages += 1;
        let Some((_, page)) = &mut room.page else { return Ok(()) };
        Ok(push_message(page, line, room.first)?)
    }

    fn end_room(&mut self) -> Result<(), StoreError> {
        let Some(mut room) = self.room.take() else { return Ok(()) };
        // A page is there even if nothing was said, or is kept.
        if room.messages == 0 {
            room.first = room.last;
            room.turn_to(&self.to, room.last)?;
        }
        room.end_page()?;
        let link = format!("{}/{}.html", room.folder, room.first);
        self.rooms.push((room.title, link, room.messages));
        Ok(())
    }

    fn index(mut self) -> Result<u64, StoreError> {
        self.rooms.sort_unstable();
        let mut page = BufWriter::new(File::create_new(self.to.join("index.html"))?);
        push_head(&mut page, "Rooms", "All rooms of this archive")?;
        writeln!(page, "<h1>Rooms</h1>\n<ul>")?;
        for (title, link, messages) in &self.rooms {
            let (title, messages) = (escaped(title), counted(*messages, "message"));
            writeln!(
                page,
                "<li><a href=\"{link}\">{title}</a> <span class=\"more\">{messages}</span></li>"
            )?;
        }
        writeln!(page, "</ul>\n</body>\n</html>")?;
        page.flush()?;
        Ok(self.private)
    }
}

impl Room {
    /// Begins a page, unless it is the one that is being written.
    fn turn_to(&mut self, to: &Path, number: u64) -> Result<(), StoreError> {
        if self.page.as_ref().is_some_and(|(at, _)| *at == number) {
            return Ok(());
        }
        let from = self.page.as_ref().map_or(self.first, |(at, _)| at + 1);
        // Those in between have nothing that is kept, and are there all the same.
        for number in from..=number {
            self.end_page()?;
            let file = to.join(&self.folder).join(format!("{number}.html"));
            let mut page = BufWriter::new(File::create_new(file)?);
            let title = &self.title;
            let about = format!("What was said in {title}, page {number} of {}", self.last);
            push_head(&mut page, title, &about)?;
            writeln!(page, "<h1>{}</h1>", escaped(title))?;
            self.page = Some((number, page));
            self.push_nav()?;
        }
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), StoreError> {
        self.push_nav()?;
        let Some((_, page)) = &mut self.page else { return Ok(()) };
        writeln!(page, "</body>\n</html>")?;
        Ok(page.flush()?)
    }

    fn push_nav(&mut self) -> Result<(), StoreError> {
        let Some((number, page)) = &mut self.page else { return Ok(()) };
        let number = *number;
        write!(page, "<nav><a href=\"../index.html\">Rooms</a>")?;
        if number > self.first {
            write!(page, " <a rel=\"prev\" href=\"{}.html\">Earlier</a>", number - 1)?;
        }
        if number < self.last {
            write!(page, " <a rel=\"next\" href=\"{}.html\">Later</a>", number + 1)?;
        }
        Ok(writeln!(page, "</nav>")?)
    }
}

fn push_head(page: &mut impl Write, title: &str, about: &str) -> io::Result<()> {
    let (title, about) = (escaped(title), escaped(about));
    writeln!(
        page,
        "<!doctype html>\n<html lang=\"und\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <meta name=\"description\" content=\"{about}\">\n<style>{STYLE}</style>\n</head>\n<body>"
    )
}

fn push_message(page: &mut impl Write, line: &MessageLine<'_>, first: u64) -> io::Result<()> {
    let MessageLine { offset, name, .. } = line;
    let at = rfc3339(line.at.unsigned_abs()).escape_ascii().to_string();
    writeln!(
        page,
        "<article id=\"m{offset}\"><strong>{}</strong> <a class=\"more\" href=\"#m{offset}\">\
         <time datetime=\"{at}\">{at}</time></a>",
        escaped(name)
    )?;
    if let Some(answered) = line.reply_to {
        let number = page_of(answered);
        // What is let go of has no page.
        if number < first {
            writeln!(page, "<blockquote class=\"more\">Answer to message {answered}</blockquote>")?;
        } else {
            writeln!(
                page,
                "<blockquote class=\"more\">Answer to <a href=\"{number}.html#m{answered}\">message \
                 {answered}</a></blockquote>"
            )?;
        }
    }
    if line.deleted_at.is_some() {
        return writeln!(page, "<p class=\"body more\">Deleted</p>\n</article>");
    }
    let body = line.body.and_then(|body| serde_json::from_str::<String>(body.get()).ok());
    let edited = line.edited_at.map_or("", |_| " <span class=\"more\">(edited)</span>");
    writeln!(page, "<p class=\"body\">{}{edited}</p>", escaped(&body.unwrap_or_default()))?;
    let files: Vec<_> = file_names(line).map(|name| escaped(&name)).collect();
    if !files.is_empty() {
        writeln!(page, "<p class=\"more\">Files: {}</p>", files.join(", "))?;
    }
    let reactions: Vec<_> = line
        .reactions
        .iter()
        .flatten()
        .map(|(emoji, users)| format!("{} {}", escaped(emoji), users.len()))
        .collect();
    if !reactions.is_empty() {
        writeln!(page, "<p class=\"more\">{}</p>", reactions.join(" · "))?;
    }
    writeln!(page, "</article>")
}

/// The files that hang on a message, by what `data.files` calls them.
fn file_names(line: &MessageLine<'_>) -> impl Iterator<Item = String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Data {
        files: Vec<Named>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Named {
        name: String,
    }
    let data = line.data.and_then(|data| serde_json::from_str::<Data>(data.get()).ok());
    let names = data.unwrap_or_default().files.into_iter().map(|file| file.name);
    names.filter(|name| !name.is_empty())
}

/// The number of the page that has an offset.
fn page_of(offset: u64) -> u64 {
    offset.saturating_sub(1) / PAGE_OFFSETS + 1
}

/// A folder for a room, which no other one has: what is no letter of ASCII, number, `-` or `_` as
/// its bytes in hexadecimal, each behind a `~`.
fn folder_name(room: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let name: String =
        room.bytes()
            .map(|byte| {
                if is_plain(&byte) { char::from(byte).to_string() } else { format!("~{byte:02x}") }
            })
            .collect();
    if name.len() <= FOLDER_BYTES_MAX {
        return name;
    }
    let digest = Sha1::digest(room);
    // No name of a room that is short begins so.
    digest.iter().fold("~~".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// A text between tags, or in quotes. HTML has no control characters but white space.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\r' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_markup_and_has_no_character_that_html_does_not_know() {
        assert_eq!(escaped("<b title='\"'>&"), "&lt;b title=&#39;&quot;&#39;&gt;&amp;");
        assert_eq!(escaped("a\r\n\tb\0\u{7}\u{85}"), "a\r\n\tb\u{fffd}\u{fffd}\u{fffd}");
    }
}
