//! `disk`: what the disk alone takes to keep messages: a bare process that appends so many bytes to
//! a file, and syncs it (`fdatasync`), again and again. No server that answers when a message is on
//! disk can be faster.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::{SECOND_NS, Span, at, now_ns, real, time_text};
use crate::stats::Times;

/// What to write.
#[derive(Args, Clone, Debug)]
#[command(args_override_self = true)]
pub(crate) struct Disk {
    /// The folder for the file, on the disk that is meant. The file is deleted in the end.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Bytes of a message.
    #[arg(long, default_value_t = 300)]
    bytes: u32,
    /// Messages that are written and synced together, each of these in turn.
    #[arg(long, default_value = "1,10,100,1000", value_delimiter = ',')]
    batch: Vec<u32>,
    /// How long one measurement takes.
    #[arg(long, default_value = "3s")]
    duration: Span,
}

impl Disk {
    /// Measures, and says what it took.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn run(&self) -> Result<(), String> {
        let path = self.folder.join(format!("loadtest-disk-{}", std::process::id()));
        let measured = self.measure(&path);
        let removed = fs::remove_file(&path);
        measured.and(removed).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn measure(&self, path: &Path) -> std::io::Result<()> {
        println!("{:>8} {:>14} {:>10} {:>10}", "batch", "messages/s", "p50", "p99");
        for &batch in &self.batch {
            let bytes = vec![b'x'; at(self.bytes) * at(batch)];
            let mut file = File::create(path)?;
            let (mut times, mut messages) = (Times::default(), 0);
            let (start, mut before) = (now_ns(), now_ns());
            while before < start + self.duration.0 {
                file.write_all(&bytes)?;
                file.sync_data()?;
                let now = now_ns();
                times.record(now - before);
                messages += u64::from(batch);
                before = now;
            }
            let per_s = real(messages) * real(SECOND_NS) / real(before - start);
            let summary = times.summary();
            let (p50, p99) = (time_text(summary.p50_ns), time_text(summary.p99_ns));
            println!("{batch:>8} {per_s:>14.0} {p50:>10} {p99:>10}");
        }
        Ok(())
    }
}
