//! What comes after what.

use std::collections::{BTreeSet, HashMap};

/// An application: the place of the layer, and the number of the application.
pub(super) type Place = (usize, usize);

/// Applications, each after those that it waits for; among those that are ready, in the order of the description.
#[derive(Default)]
pub(super) struct Order {
    ready: BTreeSet<Place>,
    /// How many others each still waits for.
    waits: HashMap<Place, usize>,
    /// Who waits for an application.
    users: HashMap<Place, Vec<Place>>,
}

impl Order {
    /// Adds an application that waits for others.
    pub fn add(&mut self, place: Place, after: BTreeSet<Place>) {
        match after.len() {
            0 => drop(self.ready.insert(place)),
            count => drop(self.waits.insert(place, count)),
        }
        after.into_iter().for_each(|from| self.users.entry(from).or_default().push(place));
    }

    /// Takes the next application that waits for nothing.
    pub fn next(&mut self) -> Option<Place> {
        self.ready.pop_first()
    }

    /// Tells those that wait for an application that it is there.
    pub fn made(&mut self, place: Place) {
        for user in self.users.remove(&place).unwrap_or_default() {
            if let Some(count) = self.waits.get_mut(&user) {
                *count -= 1;
                if *count == 0 {
                    self.waits.remove(&user);
                    self.ready.insert(user);
                }
            }
        }
    }

    /// Those that still wait.
    pub fn waiting(&self) -> impl Iterator<Item = Place> {
        self.waits.keys().copied()
    }
}
