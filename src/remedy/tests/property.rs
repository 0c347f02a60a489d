//! The gate against the oracle, in both directions: nothing is safe or open unless the table is fulfilled, and nothing
//! is withheld when it is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::remedy::gate::{Answer, Question, clear, verdict};
use crate::remedy::{ReasonId, RemedyId};

use super::observed::UDID;
use super::oracle::{Holds, Line, answer, column, only_backed_up, stay_in_icloud};
use super::world::{Tape, World};

/// What a gated remedy asks of the table: a column, or only the line under it.
fn is_open(world: &World, remedy: RemedyId) -> bool {
    let question = match remedy {
        RemedyId::ToggleIcloudPhotos | RemedyId::SignOutAndIn | RemedyId::DeletePhotosToFreeSpace => {
            Question::ToggleIcloudPhotos
        }
        RemedyId::DeleteIcloudLibrary => Question::DeleteIcloudLibrary,
        RemedyId::EraseAndRestore => Question::Erase,
        RemedyId::StartIcloudBackupAnew | RemedyId::DeleteIcloudAppData => return only_backed_up(world),
        _ => unreachable!("only gated remedies are asked about"),
    };
    column(world, question).iter().all(|(_, holds)| *holds == Holds::Yes)
}

/// Every line that does not hold is named by a reason, and no reason names a line that holds.
fn assert_reasons_name_the_lines(lines: &[(Line, Holds)], ids: &[ReasonId], world: &World) {
    for (line, holds) in lines {
        let named = ids.iter().any(|id| line.is_named_by(*id));
        let shared = lines.iter().any(|(other, _)| {
            other != line && ids.iter().any(|id| other.is_named_by(*id) && line.is_named_by(*id))
        });
        assert!(
            named || *holds == Holds::Yes,
            "{line:?} does not hold and is not named by {ids:?} in {world:#?}"
        );
        assert!(
            !named || shared || *holds != Holds::Yes,
            "{line:?} holds and is named by {ids:?} in {world:#?}"
        );
    }
    let strays: Vec<&ReasonId> =
        ids.iter().filter(|id| !lines.iter().any(|(line, _)| line.is_named_by(**id))).collect();
    assert!(strays.is_empty(), "{strays:?} name no line of the column");
}

/// Holds the gate to the oracle in one world; the answers, for counting.
fn agree(world: &World, cleared: bool) -> [Answer; 4] {
    let observed = world.observe();
    let proofs = observed.proofs();
    let verdict = verdict(&observed.facts, &proofs, &observed.consent, &observed.moment);
    for question in Question::ALL {
        let lines = column(world, question);
        assert_eq!(
            verdict.answer(question),
            answer(&lines),
            "{question:?}: {:#?} in {world:#?}",
            verdict.reasons
        );
        let ids: Vec<ReasonId> = verdict.reasons_for(question).map(|reason| reason.id).collect();
        assert_reasons_name_the_lines(&lines, &ids, world);
    }
    let told = verdict.erase == Answer::Safe && stay_in_icloud(world) > 0;
    assert_eq!(!verdict.told.is_empty(), told, "{world:#?}");
    assert!(verdict.sentence().starts_with(verdict.photos.shout()));
    if cleared {
        for remedy in RemedyId::ALL.iter().copied().filter(|id| id.is_gated()) {
            match clear(remedy, &observed.facts, &proofs, &observed.consent, &observed.moment) {
                Ok(cleared) => {
                    assert!(is_open(world, remedy), "{remedy} is open in {world:#?}");
                    assert_eq!((cleared.remedy(), cleared.udid().as_str()), (remedy, UDID));
                }
                Err(blocked) => {
                    assert!(!is_open(world, remedy), "{remedy} is shut by {blocked:?} in {world:#?}");
                    assert!(!blocked.is_empty());
                }
            }
        }
    }
    Question::ALL.map(|question| verdict.answer(question))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_gate_agrees_with_the_table_in_any_world(
        tape in proptest::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..160)
    ) {
        agree(&World::draw(&mut Tape::new(&tape)), true);
    }
}

/// SplitMix64: seeded, so that a failure can be seen again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A tape on which one choice in `rarity` is free and the others are harmless.
    fn tape(&mut self, rarity: u64) -> Vec<u8> {
        (0..160)
            .map(|_| {
                let drawn = self.next();
                if drawn.is_multiple_of(rarity) { (drawn >> 32) as u8 } else { 0 }
            })
            .collect()
    }
}

/// So many worlds, unless `IDEVICE_FIX_WORLDS` wants another number: a hundred thousand take half a minute.
const WORLDS: u32 = 10_000;

/// Worlds from nearly harmless ones to chaos. Each answer has to be met often, else nothing is shown.
#[test]
fn the_gate_agrees_with_the_table_in_thousands_of_worlds() {
    const SEED: u64 = 0x1DE5_1CE0;
    let wanted = std::env::var("IDEVICE_FIX_WORLDS").ok().map(|number| number.parse::<u32>());
    let worlds = wanted.transpose().expect("IDEVICE_FIX_WORLDS is a number").unwrap_or(WORLDS);
    let mut random = Random(SEED);
    let mut met: BTreeMap<(usize, &str), u32> = BTreeMap::new();
    for number in 0..worlds {
        let rarity = [60, 30, 12, 5, 2][number as usize % 5];
        let tape = random.tape(rarity);
        let answers = agree(&World::draw(&mut Tape::new(&tape)), number % 32 == 0);
        for (question, answer) in answers.iter().enumerate() {
            *met.entry((question, answer.as_str())).or_default() += 1;
        }
    }
    for (question, name) in Question::ALL.iter().enumerate() {
        for (answer, least) in
            [("safe", worlds / 20), ("not-safe", worlds / 50), ("cannot-tell", worlds / 20)]
        {
            let times = met.get(&(question, answer)).copied().unwrap_or(0);
            assert!(times >= least, "{name:?} was {answer} only {times} times: {met:?}");
        }
    }
    println!("{worlds} worlds: {met:?}");
}
