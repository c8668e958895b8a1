//! The result as one page that needs nothing else: the reports stand in it as JSON, and a script of
//! its own draws them.
//!
//! One run has its figures large; several runs of one scenario stand side by side, several of one
//! label as a median with its spread.

use super::Report;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
///
/// # Errors
/// A report cannot be written as JSON, which no report that was measured or read gives cause for.
pub(crate) fn render(reports: &[Report]) -> Result<String, String> {
    let data = serde_json::to_string(reports).map_err(|error| error.to_string())?;
    // Nothing in a label or reason may end the script element (HTML, 4.12.1.3).
    let data = data.replace('<', "\\u003c");
    let place = |page: &str, mark: &str, text: &str| page.replacen(mark, text, 1);
    let page = place(PAGE, "/*CSS*/", STYLE);
    let page = place(&page, "/*JS*/", SCRIPT);
    Ok(place(&page, "/*DATA*/", &data))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        let page = super::render(&[]).unwrap();
        for foreign in ["src=", "href=", "@import", "url(", "https://"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.replace("http://www.w3.org/2000/svg", "").find("http://").is_none());
        assert!(page.contains("\n[]\n"), "the data has its place");
    }
}
