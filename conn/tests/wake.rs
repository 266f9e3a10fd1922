//! No interleaving of producers and reactor loses a wake-up, nor a command that found the queue full or the reactor's budget
//! spent: every order that the memory model allows, by loom.
//! `cargo test -p gim-conn --features loom --test wake`

#![cfg(feature = "loom")]

use gim_conn::reactor::wake::Armed;
use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

const PRODUCERS: usize = 2;

/// What loom explores: a command queue of one place per producer, with no more synchronisation than a channel must have, and an
/// eventfd that stays signalled until `poll` takes it.
#[derive(Default)]
struct Model {
    armed: Armed,
    places: Vec<AtomicBool>,
    signalled: Mutex<bool>,
    poll: Condvar,
}

impl Model {
    fn produce(&self, place: usize) {
        self.places[place].store(true, Ordering::Release);
        self.call();
    }

    fn call(&self) {
        if self.armed.arm() {
            *self.signalled.lock().unwrap() = true;
            self.poll.notify_one();
        }
    }

    fn poll(&self) {
        let mut signalled = self.signalled.lock().unwrap();
        while !*signalled {
            signalled = self.poll.wait(signalled).unwrap();
        }
        *signalled = false;
    }

    fn drain(&self) -> usize {
        self.places
            .iter()
            .filter(|place| place.load(Ordering::Acquire))
            .map(|place| place.store(false, Ordering::Relaxed))
            .count()
    }
}

#[test]
fn a_command_that_was_put_in_is_always_found() {
    loom::model(|| {
        let places = (0..PRODUCERS).map(|_| AtomicBool::new(false)).collect();
        let model = Arc::new(Model { places, ..Model::default() });
        for place in 0..PRODUCERS {
            let model = model.clone();
            thread::spawn(move || model.produce(place));
        }
        // A lost wake-up leaves the reactor in `poll` for ever, which loom reports as a deadlock.
        let mut found = 0;
        while found < PRODUCERS {
            model.poll();
            model.armed.disarm();
            found += model.drain();
        }
    });
}

/// The hand-over through a channel with one place, to a reactor that takes one command per turn.
#[derive(Default)]
struct HandOver {
    model: Model,
    commands: Mutex<Option<usize>>,
}

impl HandOver {
    /// As the bridge does it: a full queue is tried again later.
    fn send(&self, command: usize) {
        loop {
            let mut commands = self.commands.lock().unwrap();
            if commands.is_none() {
                *commands = Some(command);
                break;
            }
            drop(commands);
            thread::yield_now();
        }
        self.model.call();
    }
}

#[test]
fn a_full_queue_and_a_spent_budget_leave_no_command_behind() {
    let mut orders = loom::model::Builder::new();
    // With three threads of which two retry, all orders are too many; what is lost is lost with few forced switches.
    orders.preemption_bound = Some(3);
    orders.check(|| {
        let hand_over = Arc::new(HandOver::default());
        for command in 0..PRODUCERS {
            let hand_over = hand_over.clone();
            thread::spawn(move || hand_over.send(command));
        }
        let mut taken = [0; PRODUCERS];
        let mut is_left = false;
        while taken.iter().sum::<usize>() < PRODUCERS {
            // A turn: it does not sleep where the one before ended with its budget.
            if !is_left {
                hand_over.model.poll();
            }
            hand_over.model.armed.disarm();
            let command = hand_over.commands.lock().unwrap().take();
            is_left = command.is_some();
            if let Some(command) = command {
                taken[command] += 1;
            }
        }
        assert_eq!(taken, [1; PRODUCERS]);
    });
}
