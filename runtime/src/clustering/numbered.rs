//! The calls of a lane that are in some state.

use std::collections::{VecDeque, vec_deque};

/// Calls by number. They come and go about in their order.
#[derive(Debug)]
pub(super) struct Numbered<C>(VecDeque<(u64, C)>);

impl<C> Default for Numbered<C> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<C> Numbered<C> {
    fn place(&self, number: u64) -> Result<usize, usize> {
        match self.0.front() {
            Some((first, _)) if *first == number => Ok(0),
            _ => self.0.binary_search_by_key(&number, |(number, _)| *number),
        }
    }

    pub(super) fn insert(&mut self, number: u64, call: C) -> &C {
        let (Ok(place) | Err(place)) = match self.0.back() {
            Some((last, _)) if *last > number => self.place(number),
            _ => Ok(self.0.len()),
        };
        self.0.insert(place, (number, call));
        &self.0[place].1
    }

    pub(super) fn get(&self, number: u64) -> Option<&C> {
        self.0.get(self.place(number).ok()?).map(|(_, call)| call)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<C> {
        let place = self.place(number).ok()?;
        self.0.remove(place).map(|(_, call)| call)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &C)> {
        self.0.iter().map(|(number, call)| (*number, call))
    }
}

impl<C> IntoIterator for Numbered<C> {
    type Item = (u64, C);
    type IntoIter = vec_deque::IntoIter<(u64, C)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
