//! `photos gallery`: the contact sheet again, from the copy alone.

use serde_json::json;

use super::photos::one_kept;
use super::run::Run;
use super::terminal;
use crate::visit::{GalleryMade, Stop, Trouble, gallery_without_phone, phones_kept, words};

/// Makes the page again.
pub(super) async fn again(run: &Run) -> Result<(), Stop> {
    let made = make(run).await.map_err(|stop| run.explain("photos-gallery", stop))?;
    if run.global.json {
        terminal::print_json(&json!({"schema": "idevice-fix/photos-gallery/1", "gallery": made}));
    } else {
        terminal::print(&format!("{}\n", sentence(&made)));
    }
    Ok(())
}

async fn make(run: &Run) -> Result<GalleryMade, Stop> {
    let dest = run.dest()?;
    let udid = one_kept(run, phones_kept(&dest)?)?;
    let made = gallery_without_phone(dest.join(udid.as_str()), udid.clone(), run.cancel.clone()).await?;
    made.ok_or_else(|| {
        Stop::new(
            Trouble::Failed,
            format!("No photos of the phone {udid} are kept under {}.", dest.display()),
            "Copy them first: idevice-fix photos pull --gallery.",
        )
    })
}

/// What the page is, for a person.
pub(super) fn sentence(made: &GalleryMade) -> String {
    let mut text = format!(
        "The contact sheet: {} ({}",
        made.page,
        words::counted(made.items, "photo or video", "photos and videos")
    );
    let plain = made.items.saturating_sub(made.with_thumbnail);
    if plain > 0 {
        text.push_str(&format!(", {} without a small picture", words::count(plain)));
    }
    if made.hidden_left_out > 0 {
        text.push_str(&format!("; {} of the Hidden album left out", words::count(made.hidden_left_out)));
    }
    text.push_str(").");
    text
}
