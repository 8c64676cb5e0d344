//! The smallest plan that still fails.

use crate::run::{Ran, Settings, run};

/// Takes faults out of a failing run as long as it fails; gives what is left, and what came of it.
pub fn shrink(settings: &Settings, ran: Ran) -> (Settings, Ran) {
    let (mut settings, mut ran) = (settings.clone(), ran);
    let mut number = 0;
    while number < settings.plan.faults.len() {
        let mut smaller = settings.clone();
        smaller.plan.faults.remove(number);
        let tried = run(&smaller);
        if tried.broken.is_empty() {
            number += 1;
        } else {
            (settings, ran) = (smaller, tried);
        }
    }
    (settings, ran)
}
