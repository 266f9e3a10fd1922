//! The server and a bare use of its database by turns, or the server alone: what its clients do in their slices, and how a slice
//! ends.

use crate::{
    baseline::database::Database,
    duel::{Duel, Side, Slice},
    load::{Measurement, OwnCpu, Run},
    progress::Progress,
    swarm::{Behaviour, Swarm},
};

/// What the clients of the server do in its slices.
pub trait Contender: Behaviour {
    /// What is counted, in words.
    const UNIT: &'static str;

    /// Sends from now on, until the slice ends.
    fn begin(&mut self, slice: Slice, swarm: &mut Swarm);

    /// The slice is over, or breaks off now.
    fn end(&mut self);

    /// Grows with whatever has to arrive.
    fn activity(&self) -> u64;

    /// Whether all that was meant to be sent has been, and has arrived.
    fn is_settled(&self) -> bool;

    /// How much was done so far.
    fn per_second(&self) -> Option<f64>;
}

/// Goes through all slices, or up to one in which something never arrived, and counts the rows of the bare one.
pub fn take_turns<M: Measurement>(
    measurement: &M,
    run: &mut Run<'_>,
    swarm: &mut Swarm,
    contender: &mut impl Contender,
    mut bare: Option<&mut Database>,
) -> anyhow::Result<()> {
    let duration = measurement.load().duration();
    let duel = if bare.is_some() { Duel::new(duration) } else { Duel::alone(duration) };
    let mut progress = Progress::new(M::NAME, duel.len().into());
    let mut ended = Ok(true);
    for number in 0..duel.len() {
        ended = take_turn(&duel, number, run, swarm, contender, bare.as_deref_mut());
        if !matches!(ended, Ok(true)) {
            break;
        }
        progress.show((number + 1).into(), || figures(contender, bare.as_deref()));
    }
    if let Some(bare) = bare {
        run.tally.add_rate("baseline_rows", bare.per_second());
    }
    ended.map(drop)
}

/// False where something never arrived.
fn take_turn(
    duel: &Duel,
    number: u32,
    run: &mut Run<'_>,
    swarm: &mut Swarm,
    contender: &mut impl Contender,
    bare: Option<&mut Database>,
) -> anyhow::Result<bool> {
    run.meet("slice", swarm, contender)?;
    let slice = duel.begin(number);
    if slice.side == Side::Baseline
        && let Some(bare) = bare
    {
        return bare.measure(swarm, contender, slice).map(|()| true);
    }
    let own_cpu = OwnCpu::start();
    contender.begin(slice, swarm);
    let ended = swarm.run_until(contender, slice.end);
    own_cpu.check(run);
    // What is under way when a slice ends still counts in it, as late as it comes.
    let ended = ended.and_then(|()| swarm.settle(contender, |all| all.activity(), |all| all.is_settled()));
    contender.end();
    ended
}

fn figures<C: Contender>(contender: &C, bare: Option<&Database>) -> String {
    let done = format!("{:.0} {}/s", contender.per_second().unwrap_or_default(), C::UNIT);
    match bare {
        Some(bare) => format!("{done}, bare {:.0} rows/s", bare.per_second().unwrap_or_default()),
        None => done,
    }
}
