//! `fix`, the whole visit, and the parts of it that have commands of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::climb;
use super::owner;
use super::phones::Phones;
use super::photos_gallery;
use super::run::{Both, Run};
use super::visits::{Recorded, Recorder, begin, ended, print_failure, print_result};
use super::{secrets, terminal};
use crate::facts::value;
use crate::progress::Observer;
use crate::remedy::Consent;
use crate::report::{self, Report};
use crate::visit::plan::{Answer, Plan};
use crate::visit::{Lock, Outcome, Stop, Trouble, Visit, Wish, unreached};

/// The whole visit.
pub(super) async fn fix(run: &Run) -> Result<(), Stop> {
    let wish = Wish { photos: true, backup: true, ..Wish::default() };
    visit(run, wish, Question::Ask, "fix").await.map_err(|failed| failed.told(run, "fix"))
}

/// A part of the visit that the user asked for by its own command: no further question.
pub(super) async fn protect_as_told(run: &Run, wish: Wish, name: &str) -> Result<(), Stop> {
    visit(run, wish, Question::Answered, name).await.map_err(|failed| failed.told(run, name))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Ask,
    Answered,
}

/// How a visit failed: with or without its result printed already.
enum Failure {
    Told(Stop),
    Untold(Stop),
}

impl Failure {
    fn told(self, run: &Run, name: &str) -> Stop {
        match self {
            Failure::Told(stop) => stop,
            Failure::Untold(stop) => print_failure(run, name, stop),
        }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Failure::Untold(stop)
    }
}

async fn visit(run: &Run, wish: Wish, question: Question, name: &str) -> Result<(), Failure> {
    let phones = Phones::open(run)?;
    let recorder = Arc::new(Recorder::default());
    let watch: Arc<dyn Observer> = Arc::new(Both(run.watch(), Arc::clone(&recorder) as Arc<dyn Observer>));
    let mut visit = match begin(run, &phones, Consent::default(), watch).await {
        Ok(visit) => visit,
        Err(why) => {
            let outcome = unreached(&why, phones.simulated);
            show(run, &Report::of(&outcome), name, false);
            return Err(Failure::Told(why.stop));
        }
    };
    let before = visit.diagnose().await?;
    if !run.global.json {
        let answer = report::answer_text(&Report::of(&before), &terminal::stdout_style());
        terminal::print(&format!("\n{answer}"));
    }
    ended(&before)?;
    let wish = agreed(run, &mut visit, &before, wish, question).await?;
    if wish.backup {
        learn_password(run, &mut visit).await?;
    }
    let dest = visit.dest().to_owned();
    let recorded = Arc::new(Recorded::begin(&dest, &visit, &before, &name.replace('-', " "))?);
    recorder.keep_in(&recorded);
    let protected = visit.protect(&before.facts, wish).await;
    let mut outcome = visit.conclude(before.facts, protected).await;
    let report = recorded.end(&mut outcome)?;
    show(run, &report, name, true);
    if question == Question::Ask && climb::offer(run, &mut visit, &recorded, &mut outcome).await {
        recorded.end(&mut outcome)?;
    }
    run.screen.say(&format!("\n{}", outcome.verdict.sentence()));
    if let Some(made) = outcome.protection.as_ref().and_then(|protection| protection.gallery.as_ref()) {
        run.screen.say(&photos_gallery::sentence(made));
    }
    say_where(run, &phones, &recorded.path().join("report.html"));
    ended(&outcome).map_err(Failure::Told)
}

/// A phone that encrypts its backups: with the password the backup is proven inside. Without it one is made too.
async fn learn_password(run: &Run, visit: &mut Visit) -> Result<(), Stop> {
    // A phone that does not say is told of when the backup is made.
    if visit.knows_password() || !visit.encrypts_backups().await.unwrap_or(false) {
        return Ok(());
    }
    // It may have been changed since the last backup: who types the same twice is believed.
    let lock = Lock::of_newest(visit.dest(), visit.udid()).await;
    if let Some(password) = secrets::wanted(run, visit.udid(), lock.as_ref()).await? {
        visit.learn_password(password);
    }
    Ok(())
}

/// Said beside the plan of a backup that will not be encrypted.
const NOT_ENCRYPTED: &str = "  Note     the backup is not encrypted: it leaves out saved passwords, Health
           data, Wi-Fi networks, call history and history of websites. If these
           matter, set a password first: idevice-fix backup password set
";

/// Shows the plan and gets a yes for it.
async fn agreed(
    run: &Run,
    visit: &mut Visit,
    before: &Outcome,
    mut wish: Wish,
    question: Question,
) -> Result<Wish, Stop> {
    loop {
        let plan = visit.plan(&before.facts, wish).await?;
        wish.expected = plan.time();
        let plain = wish.backup && value(&before.facts.local_backup.will_encrypt) != Some(true);
        run.screen.say(&format!("\n{}{}", plan.text(), if plain { NOT_ENCRYPTED } else { "" }));
        if question == Question::Answered {
            return plan.obstacle().map_or(Ok(wish), Err);
        }
        if let Some(stop) = plan.obstacle() {
            if !terminal::can_ask() || run.global.yes {
                return Err(stop);
            }
            run.screen.say(&stop.to_string());
        }
        match answer(run, &plan).await? {
            Answer::OtherFolder(folder) => visit.go_to(absolute(&folder)?),
            Answer::PhotosOnly => {
                wish.backup = false;
                return visit.plan(&before.facts, wish).await?.obstacle().map_or(Ok(wish), Err);
            }
            _ if plan.fits() => return Ok(wish),
            _ => {}
        }
    }
}

/// The answer, when it is some kind of yes.
async fn answer(run: &Run, plan: &Plan) -> Result<Answer, Stop> {
    match owner::ask(run).await {
        _ if run.cancel.is_cancelled() => Err(Stop::interrupted()),
        Answer::Nobody => Err(Stop::new(
            Trouble::PersonNeeded,
            "Nothing was copied, since nobody is at a terminal to say yes.",
            "Run it again with -y to start at once.",
        )),
        Answer::No => Err(Stop::new(
            Trouble::PersonNeeded,
            "Nothing was copied, as you said.",
            format!("Run it again when you like; it would go into {}.", plan.folder.display()),
        )),
        yes => Ok(yes),
    }
}

fn absolute(folder: &Path) -> Result<PathBuf, Stop> {
    std::path::absolute(folder).map_err(|error| {
        Stop::new(Trouble::Usage, format!("{} is no folder: {error}.", folder.display()), "")
    })
}

fn show(run: &Run, report: &Report, name: &str, whole: bool) {
    if run.global.json {
        print_result(name, report);
    } else if whole {
        terminal::print(&format!("\n{}", report::text(report, &terminal::stdout_style())));
    }
}

fn say_where(run: &Run, phones: &Phones, report: &std::path::Path) {
    run.screen.say(&format!("The report: {}", report.display()));
    if let Some(demo) = &phones.demo {
        run.screen
            .say(&format!("This was a demo. Everything it made is in {} and stays there.", demo.display()));
    }
}
