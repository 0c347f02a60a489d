//! What may happen to a backup, again and again: kills, unplugs, full disks, silence, rot, and phones that mean harm.
//!
//! After each the backup that was proven before is still proven completely, and the next run finishes without help.
//! By default a few of each are tried, which takes seconds. `IDEVICE_FIX_TRIALS=all` tries them all, which takes an
//! hour, and says how many there were and how they ended (with `--nocapture`).

mod accidents;
mod desk;
mod endless;
mod hostile;
mod kills;
mod rot;
mod scripted;

/// How many of something are tried: `few`, or all of them.
fn trials(few: usize, all: usize) -> usize {
    if std::env::var("IDEVICE_FIX_TRIALS").is_ok_and(|told| told == "all") { all } else { few }
}
