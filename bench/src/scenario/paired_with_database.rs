//! The server and a bare use of its database by turns, or the server alone: what its clients do in their slices, and how a slice
//! ends.

use crate::{
    baseline::database::Database,
    load::{Measurement, OwnCpu, Run},
    paired_run::{PairedRun, Side, Slice},
    progress::Progress,
    swarm::{Behaviour, Swarm},
};

/// What the clients of the server do in its slices.
pub trait PairedClients: Behaviour {
    /// What is counted, in words.
    const UNIT: &'static str;

    /// Sends from now on, until the slice ends.
    fn begin(&mut self, slice: Slice, swarm: &mut Swarm);

    /// The slice is over, or breaks off now.
    fn end(&mut self);

    /// What was done so far for which the services are charged, measured or not.
    fn operations(&self) -> u64;

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
    clients: &mut impl PairedClients,
    mut bare: Option<&mut Database>,
) -> anyhow::Result<()> {
    let duration = measurement.load().duration();
    let paired = if bare.is_some() { PairedRun::new(duration) } else { PairedRun::alone(duration) };
    let mut progress = Progress::new(M::NAME, paired.len().into());
    let mut ended = Ok(true);
    for number in 0..paired.len() {
        ended = take_turn(&paired, number, run, swarm, clients, bare.as_deref_mut());
        if !matches!(ended, Ok(true)) {
            break;
        }
        progress.show((number + 1).into(), || figures(clients, bare.as_deref()));
    }
    if let Some(bare) = bare {
        run.counts.add_rate("baseline_rows", bare.per_second());
    }
    ended.map(drop)
}

/// False where something never arrived.
fn take_turn(
    paired: &PairedRun,
    number: u32,
    run: &mut Run<'_>,
    swarm: &mut Swarm,
    clients: &mut impl PairedClients,
    bare: Option<&mut Database>,
) -> anyhow::Result<bool> {
    run.meet("slice", swarm, clients)?;
    let (spent, done) = (run.spent(), clients.operations());
    let slice = paired.begin(number);
    if slice.side == Side::Baseline
        && let Some(bare) = bare
    {
        return bare.measure(swarm, clients, slice).map(|()| true);
    }
    let own_cpu = OwnCpu::start();
    clients.begin(slice, swarm);
    let ended = swarm.run_until(clients, slice.end);
    own_cpu.check(run);
    // What is under way when a slice ends still counts in it, as late as it comes.
    let ended = ended.and_then(|()| swarm.settle(clients, |all| all.activity(), |all| all.is_settled()));
    clients.end();
    run.charge(&spent, clients.operations() - done);
    ended
}

fn figures<C: PairedClients>(clients: &C, bare: Option<&Database>) -> String {
    let done = format!("{:.0} {}/s", clients.per_second().unwrap_or_default(), C::UNIT);
    match bare {
        Some(bare) => format!("{done}, bare {:.0} rows/s", bare.per_second().unwrap_or_default()),
        None => done,
    }
}
