//! The pages, README among them: links lead somewhere, and blocks of code are what they say they
//! are.

mod blocks;
mod code;
mod links;

use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
