//! `photos` and its parts, as clap sees them.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::photos::layout::Layout;
use crate::visit::lists::List;

#[derive(Debug, Subcommand)]
pub(crate) enum Photos {
    /// Where every original is: counts, then lists
    Status(PhotosStatus),
    /// Copy all originals, edits and sidecars; goes on where it stopped
    Pull(PhotosPull),
    /// Check the copy against its manifest
    Verify,
    /// Arrange the copy that is there, without the phone: folders of links beside it
    Layout {
        /// by-date, by-album, recently-deleted
        #[arg(required = true, value_name = "LAYOUT", value_parser = layouts())]
        layouts: Vec<Layout>,
    },
    /// Take in originals that were downloaded elsewhere (icloud.com, privacy.apple.com, a Mac)
    Adopt {
        /// The folder that the download was unpacked into; nothing in it is changed
        dir: PathBuf,
    },
    /// Make the contact sheet of the copy again, without the phone
    Gallery,
    /// Export the pictures of the copy into a folder, HEIC as JPEG; the copy stays as it is
    Export {
        /// The folder; what is there already is never replaced
        #[arg(long, value_name = "DIR")]
        jpeg: PathBuf,
    },
}

/// Every list by its name.
fn lists() -> impl TypedValueParser<Value = List> {
    PossibleValuesParser::new(List::ALL.map(List::as_str)).map(|name| {
        let found = List::ALL.into_iter().find(|list| list.as_str() == name);
        found.expect("only these names are possible")
    })
}

/// Every arrangement by its name.
fn layouts() -> impl TypedValueParser<Value = Layout> {
    PossibleValuesParser::new(Layout::ALL.map(Layout::as_str)).map(|name| {
        let found = Layout::ALL.into_iter().find(|layout| layout.as_str() == name);
        found.expect("only these names are possible")
    })
}

#[derive(Debug, Args)]
pub(crate) struct PhotosStatus {
    /// List them, newest first: several separated by commas, or the option again
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = lists())]
    pub(crate) list: Vec<List>,
    /// The lists (without --list: everything) as CSV on stdout
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PhotosPull {
    /// Then arrange the copy: folders of links beside it, never second copies
    #[arg(long, value_name = "LAYOUT", value_delimiter = ',', value_parser = layouts())]
    pub(crate) layout: Vec<Layout>,
    /// Read each file twice and keep it only when both readings agree
    #[arg(long)]
    pub(crate) paranoid: bool,
    /// Also make a contact sheet of the copy: one page, photos.html
    #[arg(long)]
    pub(crate) gallery: bool,
    /// Show the Hidden album on the contact sheet as well
    #[arg(long, requires = "gallery")]
    pub(crate) hidden: bool,
}
