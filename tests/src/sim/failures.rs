//! Tries every failure of a medium that can happen to a history.

use coldpress_core::drive::MediumError;
use coldpress_core::recovery::MountError;

use super::arena::Arena;
use super::exhaust::{Mounted, STRIDE, Tried, coarse_plans, in_case, survive};
use super::fault::{Effect, Faults};
use super::script::{Do, Setup};
use super::world::{Lasting, World};

/// The ways in which one operation can fail.
const EFFECTS: [Effect; 6] = [
    Effect::clean(MediumError::Io),
    Effect::clean(MediumError::NoSpace),
    Effect::clean(MediumError::Unreadable),
    Effect::short(MediumError::NoSpace, 1),
    Effect::short(MediumError::Io, 24),
    Effect::done(MediumError::Io),
];

/// How many operations a history takes on a medium that was never written.
fn operations(setup: &Setup, arena: &mut Arena, script: &[Do]) -> u64 {
    let mut world = setup.mount(arena, setup.blank());
    world.follow(script);
    world.settle();
    world.lasting.medium.counts().operations
}

/// Lets each operation of a history fail in each way, `lasts` in a row; the history goes on to its end all the same. Nothing
/// that is readable or acknowledged is lost, neither in the running tier nor over a cut at any moment after the failure.
pub fn fail_everywhere(setup: &Setup, script: &[Do], lasts: u64) -> Tried {
    let (mut tried, mut mounted) = (Tried::default(), Mounted::default());
    let mut arena = setup.arena();
    for number in (0..operations(setup, &mut arena, script)).step_by(STRIDE) {
        for effect in EFFECTS {
            let mut faults = Faults::default();
            faults.during(number, number + lasts, effect);
            let name = || format!("operation {number} and {} after it: {effect:?}", lasts - 1);
            in_case(name, || {
                tried.add(fail_once(setup, &mut arena, script, faults.clone(), number, &mut mounted))
            });
        }
    }
    tried
}

/// Lets each two operations of a history fail that are at most `apart` from each other.
pub fn fail_in_pairs(setup: &Setup, script: &[Do], apart: u64) -> Tried {
    let (mut tried, mut mounted) = (Tried::default(), Mounted::default());
    let mut arena = setup.arena();
    let ways = [Effect::clean(MediumError::Io), Effect::done(MediumError::Io)];
    for first in (0..operations(setup, &mut arena, script)).step_by(STRIDE) {
        for second in first + 1..=first + apart {
            for (one, two) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let mut faults = Faults::default();
                faults.at(first, ways[one]);
                faults.at(second, ways[two]);
                let name = || format!("operations {first} and {second}: {:?} and {:?}", ways[one], ways[two]);
                in_case(name, || {
                    tried.add(fail_once(setup, &mut arena, script, faults.clone(), first, &mut mounted))
                });
            }
        }
    }
    tried
}

/// Runs one case. A failed mount reports the error, changes nothing and ends the case.
fn fail_once(
    setup: &Setup,
    arena: &mut Arena,
    script: &[Do],
    faults: Faults,
    first: u64,
    mounted: &mut Mounted,
) -> Tried {
    let mut tried = Tried { cases: 1, ..Tried::default() };
    let mut lasting = setup.blank();
    lasting.medium.faults = faults;
    let Ok(mut world) = World::mounted(setup.config, arena.lend(), lasting) else { return tried };
    world.may_overcount = true;
    world.moments = Some(Vec::new());
    world.follow(script);
    world.settle();
    world.check_current();
    world.sync();
    world.settle();
    world.check();
    let mut moments = world.moments.take().unwrap_or_default();
    moments.push(world.end());
    mounted.begin_run();
    for moment in moments.iter().filter(|moment| moment.medium.counts().operations > first) {
        tried.moments += 1;
        for plan in coarse_plans(moment) {
            let mut left = moment.cut(&plan);
            if mounted.is_new(&mut left) {
                tried.distinct += 1;
                survive(&mut setup.mount(arena, left), &[]);
            }
        }
    }
    tried
}

/// Lets each operation of a mount, and of the steps after it, fail in each way. A failed mount leaves the medium as it was. A
/// mount that goes on may miss unreadable parts, and destroys none of them: the mount after it finds everything.
pub fn fail_mount_everywhere(setup: &Setup, lasting: &Lasting, after: &[Do]) -> Tried {
    let mut tried = Tried::default();
    let mut arena = setup.arena();
    let start = lasting.medium.counts().operations;
    let end = {
        let mut world = setup.mount(&mut arena, lasting.clone());
        survive(&mut world, &[]);
        world.follow(after);
        world.settle();
        world.lasting.medium.counts().operations
    };
    for number in (start..end).step_by(STRIDE) {
        for effect in EFFECTS {
            tried.cases += 1;
            let mut lasting = lasting.clone();
            lasting.medium.faults.at(number, effect);
            in_case(
                || format!("operation {} of the mount: {effect:?}", number - start),
                || {
                    let left = mount_once(setup, &mut arena, lasting, after);
                    tried.distinct += 1;
                    let mut world = setup.mount(&mut arena, left.cut(&[]));
                    world.check_recovered();
                },
            );
        }
    }
    tried
}

fn mount_once(setup: &Setup, arena: &mut Arena, lasting: Lasting, after: &[Do]) -> Lasting {
    let before = lasting.medium.bytes().to_vec();
    let mut world = World::new(setup.config, arena.lend(), lasting);
    match world.mount() {
        Ok(()) => {
            world.follow(after);
            world.settle();
        }
        Err(error) => {
            assert!(matches!(error, MountError::Medium(_)), "the mount failed otherwise: {error}");
            assert_eq!(world.lasting.medium.bytes(), before, "a mount that failed changed the medium");
        }
    }
    world.end()
}
