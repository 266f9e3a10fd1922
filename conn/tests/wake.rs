//! No interleaving of producers and reactor loses a wake-up: every order that the memory model allows, by loom.
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

/// What loom explores: an inbox of one place per producer, with no more synchronisation than a channel must have, and an
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
